//! The forking engine, as a process among others.

use std::io::{self, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::program::{Client, Program, stat, ticks, until};

/// The children of `program` that have not been reaped.
fn children(program: &Program) -> Vec<i32> {
    let path = format!("/proc/{0}/task/{0}/children", program.child.id());
    let children = std::fs::read_to_string(path).unwrap();
    children
        .split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect()
}

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
    until("no child is left", || children(&program).is_empty());
}

/// What told of the end of the first stayed open in the second, and woke the loop without end.
#[test]
fn the_end_of_one_of_two_children_that_overlap_leaves_the_server_at_rest() {
    let program = Program::start("echo --engine forking --listen tcp://127.0.0.1:0");
    let mut clients: Vec<_> = (0..2)
        .map(|_| {
            let mut client = Client::connect(program.address());
            client.send("hello\n");
            client.line();
            client
        })
        .collect();
    drop(clients.remove(0));
    until("one is left", || children(&program).len() == 1);
    let before = ticks(&program);
    thread::sleep(Duration::from_millis(300));
    let busy = ticks(&program) - before;
    assert!(busy < 10, "{busy} of 30 hundredths of a second");
    clients[0].send("still here\n");
    assert!(clients[0].line().ends_with(" still here\n"));
}

#[test]
fn a_child_that_is_killed_is_told_in_the_log() {
    let program = Program::start("echo --engine forking --listen tcp://127.0.0.1:0");
    let mut client = Client::connect(program.address());
    client.send("hello\n");
    client.line();
    let pid = Pid::from_raw(children(&program)[0]).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    assert_eq!(client.rest(), b"");
    let told = format!("the child serving {} was killed by signal 9", client.name);
    until("it is told", || program.log().contains(&told));
    // The others are served as before.
    let mut next = Client::connect(program.address());
    next.send("next\n");
    assert!(next.line().ends_with(" next\n"));
}

#[test]
fn a_killed_parent_leaves_no_child_that_waits_for_a_peer_to_read() {
    let mut program = Program::start(
        "echo --raw --engine forking --write-timeout none --idle-timeout none \
         --listen tcp://127.0.0.1:0",
    );
    let mut client = TcpStream::connect(program.address()).unwrap();
    client.set_nonblocking(true).unwrap();
    let mut still = 0;
    until("neither side has room", || {
        still = match client.write(&[b'x'; 16 << 10]) {
            Ok(_) => 0,
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                still + 1
            }
        };
        still > 40
    });
    let child = children(&program)[0];
    program.child.kill().unwrap();
    program.child.wait().unwrap();
    until("it has ended", || {
        stat(child).is_none_or(|fields| fields[0] == "Z")
    });
}
