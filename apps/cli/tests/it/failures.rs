//! Wrong usage, and what cannot be done: one line, and the right status.

use std::net::TcpListener;
use std::process::Stdio;

use crate::program::command;

/// Runs the command to its end: its status and what it said on standard error.
fn run(arguments: &str) -> (Option<i32>, String) {
    let output = command(arguments).stdin(Stdio::null()).output().unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// D-7: a port in use was a traceback.
#[test]
fn a_port_in_use_is_one_line_that_names_it_and_status_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("tcp://{}", taken.local_addr().unwrap());
    for program in ["echo", "chat", "echo --engine forking"] {
        let (status, text) = run(&format!("{program} --listen {endpoint}"));
        assert_eq!(status, Some(1), "{program}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(
            text.contains(&endpoint) && text.contains("in use"),
            "{text}"
        );
    }
}

#[test]
fn wrong_usage_says_what_is_right_and_has_status_2() {
    for (arguments, wanted) in [
        ("", "Usage"),
        ("echo --listen 127.0.0.1:9999", "tcp://127.0.0.1:9999"),
        ("echo --idle-timeout 60", "60s"),
        ("echo --engine fast", "threading"),
        ("echo --per-address 0", "none"),
        ("chat --engine forking", "choose reactor"),
        ("chat --engine sequential", "choose reactor"),
        (
            "echo --engine threading --threads 4",
            "the pool and the reactor",
        ),
        (
            "chat --engine forking --threads 4",
            "the pool and the reactor",
        ),
        ("echo --threads 0", "1.."),
        ("echo --engine pool --driver epoll", "for the reactor"),
        ("echo --driver kqueue", "uring"),
        ("chat --listen udp://127.0.0.1:0", "tcp:// or unix://"),
        ("join udp://127.0.0.1:1", "tcp:// or unix://"),
        ("join tcp://127.0.0.1:1 --nick *", "name"),
        (
            "echo --engine forking --listen tcp://127.0.0.1:0 --listen udp://127.0.0.1:0",
            "two servers",
        ),
        (
            "echo --engine sequential --listen tcp://127.0.0.1:0 --listen udp://127.0.0.1:0",
            "pool",
        ),
    ] {
        let (status, text) = run(arguments);
        assert_eq!(status, Some(2), "{arguments}: {text}");
        assert!(text.contains(wanted), "{arguments}: {text}");
    }
}

/// D-34: nobody there was a traceback.
#[test]
fn a_client_that_finds_nobody_says_so_and_has_status_1() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let (status, text) = run(&format!("join tcp://{free}"));
    assert_eq!(status, Some(1));
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(
        text.contains(&format!("tcp://{free}")) && text.contains("refused"),
        "{text}"
    );
}
