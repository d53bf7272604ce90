//! The operator's console.

use crate::program::{Client, ENGINES, Program, until};

/// D-8: there were no commands but a dump of the threads.
#[test]
fn ps_lists_who_is_connected_and_what_it_waits_for_on_every_engine() {
    for engine in ENGINES {
        let arguments = format!("echo --engine {engine} --console --listen tcp://127.0.0.1:0");
        let mut program = Program::start(&arguments);
        let mut client = Client::connect(program.address());
        client.send("hello\n");
        client.line();
        // Six bytes came in, and the answer went out, also where a child process has it.
        let sent = (client.name.len() + " hello\n".len()).to_string();
        let words = [client.name.as_str(), "6", &sent, "reading", "input"];
        until("ps lists the client as it is", || {
            program.type_line("ps");
            let output = program.output();
            output.lines().any(|row| {
                words
                    .iter()
                    .all(|word| row.split_whitespace().any(|found| found == *word))
            })
        });
    }
}

#[test]
fn ps_tells_who_does_not_read_on_every_engine() {
    for engine in ENGINES {
        let arguments =
            format!("echo --raw --engine {engine} --console --listen tcp://127.0.0.1:0");
        let mut program = Program::start(&arguments);
        let mut client = Client::connect(program.address());
        client.reader.get_ref().set_nonblocking(true).unwrap();
        let flood = vec![b'x'; 64 << 10];
        until("ps tells", || {
            use std::io::Write;
            let _ = client.reader.get_mut().write(&flood);
            program.type_line("ps");
            program.output().contains("writing  the peer to read")
        });
    }
}

#[test]
fn kick_cuts_a_connection_off_on_every_engine() {
    for engine in ENGINES {
        let arguments = format!("echo --engine {engine} --console --listen tcp://127.0.0.1:0");
        let mut program = Program::start(&arguments);
        let mut client = Client::connect(program.address());
        client.send("hello\n");
        client.line();
        program.type_line("kick 1");
        assert_eq!(client.rest(), b"", "{engine}");
        until("it is said", || {
            program.output().contains("connection 1 is cut off")
        });
        program.type_line("kick 7");
        until("it is said", || {
            program.output().contains("there is no connection 7")
        });
    }
}

#[test]
fn a_blank_line_prompts_again_and_an_unknown_command_lists_the_known() {
    let mut program = Program::start("chat --console --listen tcp://127.0.0.1:0");
    program.address();
    until("the prompt is there", || program.output().ends_with(">>> "));
    program.type_line("   ");
    until("it prompts again", || {
        program.output().ends_with(">>> >>> ")
    });
    program.type_line("threads");
    until("the list comes", || {
        program.output().contains("no such command: threads")
    });
    for name in ["who", "ps", "stats", "kick", "help", "quit"] {
        assert!(program.output().contains(name), "{name}");
    }
}

#[test]
fn bytes_that_are_no_text_at_the_console_do_no_harm() {
    use std::io::Write;
    let mut program = Program::start("chat --console --listen tcp://127.0.0.1:0");
    program.address();
    program
        .stdin
        .as_mut()
        .unwrap()
        .write_all(b"\xff\xfe\n")
        .unwrap();
    until("it is answered", || {
        program.output().contains("no such command")
    });
    program.type_line("quit");
    assert_eq!(program.end().code(), Some(0));
}

#[test]
fn who_lists_the_members_of_the_room() {
    let mut program = Program::start("chat --console --listen tcp://127.0.0.1:0");
    let mut client = Client::connect(program.address());
    client.send("/nick ada\n");
    client.line();
    client.line();
    program.type_line("who");
    until("who answers", || {
        program.output().contains("1 here\n  ada\n")
    });
}
