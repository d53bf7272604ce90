//! `socketserver chat` and `socketserver join`.

use rustix::process::Signal;

use crate::program::{Client, Program, engines_of_a_room, until};

#[test]
fn what_one_says_everyone_hears_the_sender_included_on_every_engine() {
    for engine in engines_of_a_room() {
        let program = Program::start(&format!(
            "chat --engine {engine} --listen tcp://127.0.0.1:0"
        ));
        let mut ada = Client::connect(program.address());
        assert!(ada.line().starts_with("* Welcome. 1 here."), "{engine}");
        let mut bob = Client::connect(program.address());
        assert!(bob.line().starts_with("* Welcome. 2 here."), "{engine}");
        assert_eq!(ada.line(), format!("* {} joined\n", bob.name));
        ada.send("hello\n");
        for client in [&mut ada, &mut bob] {
            assert!(client.line().ends_with(" hello\n"), "{engine}");
        }
        bob.send("quit\n");
        assert_eq!(bob.rest(), b"* bye\n", "{engine}");
        assert_eq!(ada.line(), format!("* {} left\n", bob.name));
    }
}

#[test]
fn plain_is_the_wire_of_the_original() {
    let program = Program::start("chat --plain --listen tcp://127.0.0.1:0");
    let mut ada = Client::connect(program.address());
    ada.send("one\n");
    assert_eq!(ada.line(), format!("{} one\n", ada.name));
    ada.send("quit");
    ada.send("\n");
    assert_eq!(ada.rest(), b"");
}

#[test]
fn strangers_do_not_see_addresses() {
    let program = Program::start("chat --listen tcp://0.0.0.0:0");
    let endpoint = program.endpoints(1).remove(0);
    let port = endpoint.rsplit_once(':').unwrap().1;
    let mut client = Client::connect(format!("127.0.0.1:{port}").parse().unwrap());
    let greeting = client.line();
    assert!(greeting.contains("You are guest-1."), "{greeting}");
}

#[test]
fn the_client_says_what_is_typed_and_notices_when_the_server_is_gone() {
    let mut server = Program::start("chat --listen tcp://127.0.0.1:0");
    let address = server.address();
    let mut listener = Client::connect(address);
    listener.line();
    let mut client = Program::start(&format!("join tcp://{address} --nick ada --no-reconnect"));
    until("it has joined", || client.output().contains("is now ada"));
    client.type_line("hello");
    until("it hears itself", || {
        client.output().contains("ada hello\n")
    });
    server.signal(Signal::TERM);
    listener.rest();
    until("it notices", || client.log().contains("connection lost"));
    assert_eq!(client.end().code(), Some(1));
    assert_eq!(server.end().code(), Some(0));
}

#[test]
fn the_client_in_a_pipe_says_its_lines_and_leaves() {
    let server = Program::start("chat --listen tcp://127.0.0.1:0");
    let address = server.address();
    let mut listener = Client::connect(address);
    listener.line();
    let mut client = Program::start(&format!("join tcp://{address}"));
    client.type_line("build green");
    drop(client.stdin.take());
    assert_eq!(client.end().code(), Some(0), "{}", client.log());
    assert!(listener.line().ends_with(" joined\n"));
    assert!(listener.line().ends_with(" build green\n"));
    assert!(listener.line().ends_with(" left\n"));
}
