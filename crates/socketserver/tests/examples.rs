//! The examples do what they say.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

/// A running example; ended when it is dropped.
struct Example {
    child: Child,
    address: SocketAddr,
}

impl Example {
    fn start(name: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(program(name));
        let mut child = command
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let address = line
            .trim()
            .strip_prefix("listening on ")
            .unwrap()
            .parse()
            .unwrap();
        Self { child, address }
    }

    fn connect(&self) -> BufReader<TcpStream> {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        BufReader::new(stream)
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where cargo has put an example: beside the folder of the tests.
fn program(name: &str) -> PathBuf {
    // Cargo builds the examples for a run of all tests, and not for this one alone.
    static BUILT: Once = Once::new();
    BUILT.call_once(|| {
        let mut cargo = Command::new(env!("CARGO"));
        let package = ["--package", "socketserver", "--examples"];
        let status = cargo
            .args(["build", "--quiet", "--locked"])
            .args(package)
            .status();
        assert!(status.unwrap().success(), "the examples do not build");
    });
    let test = std::env::current_exe().unwrap();
    test.parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("examples")
        .join(name)
}

fn line(reader: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    line
}

#[test]
fn shout_answers_in_capitals_on_every_engine() {
    for engine in ["sequential", "threading", "forking", "pool", "reactor"] {
        let example = Example::start("shout", &[engine, "127.0.0.1:0"]);
        let mut client = example.connect();
        client.get_mut().write_all(b"hello\n").unwrap();
        assert_eq!(line(&mut client), "HELLO\n", "{engine}");
        client
            .get_mut()
            .write_all(b"one\ntwo\nquit\nnever heard\n")
            .unwrap();
        assert_eq!(line(&mut client), "ONE\n", "{engine}");
        assert_eq!(line(&mut client), "TWO\n", "{engine}");
        assert_eq!(line(&mut client), "", "{engine}");
    }
}

#[test]
fn daytime_tells_the_time() {
    let example = Example::start("daytime", &["127.0.0.1:0"]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(b"", example.address).unwrap();
    let mut answer = [0; 100];
    let count = socket.recv(&mut answer).unwrap();
    assert!(String::from_utf8_lossy(&answer[..count]).ends_with(" seconds since 1970\n"));
}

#[test]
fn chat_tells_everyone() {
    let example = Example::start("chat", &["127.0.0.1:0"]);
    let (mut ada, mut bob) = (example.connect(), example.connect());
    let name = ada.get_ref().local_addr().unwrap();
    // Bob is in the room once he has heard himself.
    bob.get_mut().write_all(b"here\n").unwrap();
    assert!(line(&mut bob).ends_with(" here\n"));
    ada.get_mut().write_all(b"hello\n").unwrap();
    assert_eq!(line(&mut bob), format!("{name} hello\n"));
}
