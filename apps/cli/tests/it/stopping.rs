//! How the command ends: by its console, by the end of input, by signals.

use rustix::process::Signal;

use crate::program::{Client, ENGINES, Program, command, engines_of_a_room, until};

/// D-1, D-4, D-6: `quit` did not end the program, or left its clients without a word; the end of input
/// and every signal was a traceback.
#[test]
fn quit_and_the_end_of_input_and_each_signal_end_it_in_good_order() {
    for program in [
        "echo --engine sequential",
        "echo --engine forking",
        "echo --engine pool",
        "echo --engine reactor",
        "chat --engine threading",
        "chat --engine pool",
        "chat --engine reactor",
    ] {
        for way in ["quit", "eof", "TERM", "INT"] {
            let mut program =
                Program::start(&format!("{program} --console --listen tcp://127.0.0.1:0"));
            let mut client = Client::connect(program.address());
            client.send("hello\n");
            client.line();
            match way {
                "quit" => program.type_line("quit"),
                "eof" => drop(program.stdin.take()),
                "TERM" => program.signal(Signal::TERM),
                _ => program.signal(Signal::INT),
            }
            client.rest();
            assert_eq!(program.end().code(), Some(0), "{way}: {}", program.log());
        }
    }
}

/// D-6: a service whose standard input is closed or empty must not end, nor spin.
#[test]
fn without_a_terminal_standard_input_is_left_alone() {
    let mut program = Program::start("echo --listen tcp://127.0.0.1:0");
    drop(program.stdin.take());
    let mut client = Client::connect(program.address());
    client.send("hello\n");
    assert!(client.line().ends_with(" hello\n"));
    assert!(!program.output().contains(">>>"));
    program.signal(Signal::TERM);
    drop(client);
    assert_eq!(program.end().code(), Some(0));
}

#[test]
fn a_console_on_an_empty_file_is_the_end_of_input() {
    let mut command = command("echo --console --listen tcp://127.0.0.1:0");
    let file = std::fs::File::open("/dev/null").unwrap();
    let output = command.stdin(file).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_second_signal_leaves_at_once() {
    for engine in engines_of_a_room() {
        second_signal(engine);
    }
}

fn second_signal(engine: &str) {
    let arguments = "--drain-timeout 1h --listen tcp://127.0.0.1:0";
    let mut program = Program::start(&format!("echo --engine {engine} {arguments}"));
    // A peer that does not read what it asked for keeps a handler at work.
    let mut busy = Client::connect(program.address());
    let flood = vec![b'x'; 60_000];
    busy.reader.get_ref().set_nonblocking(true).unwrap();
    let mut stuck = 0;
    until("the server waits for its peer", || {
        use std::io::Write;
        let wrote = busy.reader.get_mut().write(&flood).is_ok()
            && busy.reader.get_mut().write(b"\n").is_ok();
        stuck = if wrote { 0 } else { stuck + 1 };
        stuck > 20
    });
    program.signal(Signal::TERM);
    let address = program.address();
    until("it drains", || {
        std::net::TcpStream::connect_timeout(&address, std::time::Duration::from_millis(50))
            .is_err()
    });
    program.signal(Signal::TERM);
    let status = program.end();
    assert_eq!(status.code(), Some(128 + 15), "{engine}: {}", program.log());
}

/// D-5: after a stop with clients connected the port was taken for a minute.
#[test]
fn it_can_be_started_again_on_the_same_port_at_once() {
    for engine in ENGINES {
        let mut first = Program::start(&format!(
            "echo --engine {engine} --listen tcp://127.0.0.1:0"
        ));
        let address = first.address();
        let mut client = Client::connect(address);
        client.send("hello\n");
        client.line();
        first.signal(Signal::TERM);
        client.rest();
        assert_eq!(first.end().code(), Some(0));
        let second = Program::start(&format!("echo --engine {engine} --listen tcp://{address}"));
        let mut client = Client::connect(second.address());
        client.send("again\n");
        assert!(client.line().ends_with(" again\n"), "{engine}");
    }
}
