//! The forking engine, as a process among others.

use std::net::TcpStream;

use crate::program::{Client, Program, until};

/// A child kept the listening socket: after a `kill -9` of the parent nobody could take the port.
#[test]
fn a_killed_parent_leaves_no_child_that_holds_the_port() {
    let mut program = Program::start("echo --engine forking --listen tcp://127.0.0.1:0");
    let address = program.address();
    let mut client = Client::connect(address);
    client.send("hello\n");
    client.line();
    program.child.kill().unwrap();
    program.child.wait().unwrap();
    // The child sees that its server is gone, and lets its client go.
    assert_eq!(client.rest(), b"");
    assert!(TcpStream::connect(address).is_err());
    let second = Program::start(&format!("echo --engine forking --listen tcp://{address}"));
    let mut client = Client::connect(second.address());
    client.send("again\n");
    assert!(client.line().ends_with(" again\n"));
}

/// With `max_children` children at work the original's loop was deaf, to a shutdown too.
#[test]
fn at_its_limit_of_children_it_lets_others_wait_and_can_be_stopped() {
    let mut program = Program::start(
        "echo --engine forking --max-children 2 --console --listen tcp://127.0.0.1:0",
    );
    let address = program.address();
    let mut served: Vec<_> = (0..2).map(|_| Client::connect(address)).collect();
    for client in &mut served {
        client.send("hello\n");
        client.line();
    }
    let mut waiting = Client::connect(address);
    waiting.send("me too\n");
    program.type_line("ps");
    until("two run", || program.output().contains("2 running"));
    drop(served.pop());
    assert!(waiting.line().ends_with(" me too\n"));
    program.type_line("quit");
    assert_eq!(program.end().code(), Some(0));
}

#[test]
fn children_that_have_ended_are_reaped() {
    let program = Program::start("echo --engine forking --listen tcp://127.0.0.1:0");
    let address = program.address();
    for _ in 0..50 {
        let mut client = Client::connect(address);
        client.send("hello\nquit\n");
        client.rest();
    }
    let children = format!("/proc/{0}/task/{0}/children", program.child.id());
    until("no child is left", || {
        std::fs::read_to_string(&children)
            .unwrap()
            .trim()
            .is_empty()
    });
}
