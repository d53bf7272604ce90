//! `socketserver echo`.

use std::io::{Read, Write};
use std::net::{Shutdown, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};

use crate::program::{Client, ENGINES, PATIENCE, Program, engines_of_a_room, until};

fn start(engine: &str, more: &str) -> Program {
    Program::start(&format!(
        "echo --engine {engine} {more} --listen tcp://127.0.0.1:0"
    ))
}

#[test]
fn each_message_comes_back_behind_the_address_of_its_sender_on_every_engine() {
    for engine in ENGINES {
        let program = start(engine, "");
        let mut client = Client::connect(program.address());
        client.send("hello\r\nwor");
        assert_eq!(
            client.line(),
            format!("{} hello\r\n", client.name),
            "{engine}"
        );
        client.send(b"ld\nquit\n");
        assert_eq!(
            client.rest(),
            format!("{} world\n", client.name).as_bytes(),
            "{engine}"
        );
    }
}

/// D-12: `quit` behind another message, or in two pieces, was not seen.
#[test]
fn quit_is_a_line_wherever_the_segments_end() {
    for engine in ENGINES {
        let program = start(engine, "");
        let mut client = Client::connect(program.address());
        client.send("bye\r\nqu");
        assert_eq!(client.line(), format!("{} bye\r\n", client.name));
        client.send("it \t\r\nnobody hears this\n");
        assert_eq!(client.rest(), b"", "{engine}");
    }
}

/// D-15: a line must not grow without bound, and what happens at the bound is said.
#[test]
fn a_line_that_is_too_long_is_answered_and_the_next_one_heard_on_every_engine() {
    for engine in ENGINES {
        let program = start(engine, "--line-bytes 100");
        let mut client = Client::connect(program.address());
        client.send(format!("{}\nshort\n", "x".repeat(70_000)));
        let told = "* the line is longer than 100 bytes\n";
        assert_eq!(client.line(), told, "{engine}");
        assert_eq!(client.line(), format!("{} short\n", client.name));
        let logged = format!("{} sent a line that is too long\n", client.name);
        let last = format!("{} short\n", client.name);
        // What the program writes to its log is read here a little later.
        until("it is logged", || program.log().contains(&logged));
        until("the next is logged", || program.log().ends_with(&last));
        // Once, and nothing of the line itself.
        assert_eq!(program.log().lines().count(), 2, "{engine}");
    }
}

/// More than any queue or buffer on the way has room for.
#[test]
fn all_lines_of_a_paste_come_back_in_order_on_every_engine() {
    for engine in ENGINES {
        let program = start(engine, "--quiet");
        let mut client = Client::connect(program.address());
        let mut socket = client.reader.get_ref().try_clone().unwrap();
        let text = "x".repeat(1000);
        let sender = std::thread::spawn(move || {
            for number in 0..10_000 {
                writeln!(socket, "{number} {text}").unwrap();
            }
            socket.write_all(b"quit\n").unwrap();
        });
        for number in 0..10_000 {
            let line = client.line();
            let start = format!("{} {number} x", client.name);
            assert!(line.starts_with(&start), "{engine}: {line:.40}");
        }
        assert_eq!(client.rest(), b"", "{engine}");
        sender.join().unwrap();
    }
}

/// A client that has gone in the middle of a line was heard so far.
#[test]
fn half_a_line_before_the_end_of_input_is_answered_on_every_engine() {
    for engine in ENGINES {
        let program = start(engine, "");
        let mut client = Client::connect(program.address());
        client.send("whole\nhalf");
        client.reader.get_ref().shutdown(Shutdown::Write).unwrap();
        let expected = format!("{0} whole\n{0} half", client.name);
        assert_eq!(client.rest(), expected.as_bytes(), "{engine}");
    }
}

/// D-13, D-14: a byte that is not UTF-8, or a character cut in two, killed the session.
#[test]
fn bytes_that_are_no_text_come_back_unchanged() {
    let program = Program::start("echo --listen tcp://127.0.0.1:0");
    let mut client = Client::connect(program.address());
    let mut message = vec![b'a'; 1023];
    message.extend("中文".as_bytes());
    message.extend(b"\xff\xfe\xd6\xd0\n");
    client.send(&message);
    let mut answer = vec![0; client.name.len() + 1 + message.len()];
    client.reader.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [client.name.as_bytes(), b" ", &message].concat());
}

#[test]
fn a_client_that_sends_no_line_feed_is_heard_after_a_pause_on_every_engine() {
    for engine in ENGINES {
        let program = start(engine, "");
        let mut client = Client::connect(program.address());
        client.send("hello");
        let mut answer = vec![0; client.name.len() + 6];
        client.reader.read_exact(&mut answer).unwrap();
        let expected = format!("{} hello", client.name);
        assert_eq!(answer, expected.as_bytes(), "{engine}");
        client.send("quit");
        assert_eq!(client.rest(), b"", "{engine}");
    }
}

#[test]
fn raw_echo_changes_nothing_and_knows_no_quit() {
    for engine in ENGINES {
        let program = start(engine, "--raw");
        let mut client = Client::connect(program.address());
        client.send(b"quit\n\0\xff");
        client.reader.get_ref().shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.rest(), b"quit\n\0\xff", "{engine}");
    }
}

#[test]
fn one_server_echoes_on_every_transport_at_once() {
    for engine in engines_of_a_room() {
        on_every_transport(engine);
    }
}

fn on_every_transport(engine: &str) {
    let name = format!("socketserver-echo-{}", std::process::id());
    let program = Program::start(&format!(
        "echo --engine {engine} --listen tcp://[::1]:0 --listen udp://127.0.0.1:0 \
         --listen unix://@{name}"
    ));
    let endpoints = program.endpoints(3);
    let mut tcp = Client::connect(
        endpoints[0]
            .strip_prefix("tcp://")
            .unwrap()
            .parse()
            .unwrap(),
    );
    tcp.send("6\n");
    // D-17: with IPv6 the message was lost, and the scope was shown instead.
    assert_eq!(tcp.line(), format!("{} 6\n", tcp.name));
    assert!(tcp.name.starts_with("[::1]:"));

    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.set_read_timeout(Some(PATIENCE)).unwrap();
    udp.connect(endpoints[1].strip_prefix("udp://").unwrap())
        .unwrap();
    udp.send(b"datagram").unwrap();
    let mut answer = [0; 100];
    let count = udp.recv(&mut answer).unwrap();
    let wanted = format!("{} datagram", udp.local_addr().unwrap());
    assert_eq!(String::from_utf8_lossy(&answer[..count]), wanted);

    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let mut unix = UnixStream::connect_addr(&address).unwrap();
    unix.set_read_timeout(Some(PATIENCE)).unwrap();
    unix.write_all(b"local\nquit\n").unwrap();
    let mut answer = String::new();
    unix.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("unix-") && answer.ends_with(" local\n"),
        "{answer}"
    );
}

/// D-16: a line could be forged in the log, and an escape sequence reached the operator's terminal.
#[test]
fn the_log_has_the_original_s_shape_and_shows_control_characters() {
    let program = Program::start("echo --listen tcp://127.0.0.1:0");
    let mut client = Client::connect(program.address());
    client.send("a\x1b[2J\rb\n");
    client.line();
    until("it is logged", || program.log().contains("[2J"));
    let log = program.log();
    let line = log.lines().next().unwrap();
    let (time, message) = line.split_at(24);
    assert_eq!(message, format!("{} a\\u{{1b}}[2J\\rb", client.name));
    let shape: String = time
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    assert_eq!(shape, "0000-00-00 00:00:00,000 ");
}

#[test]
fn the_log_can_be_json() {
    let program = Program::start("echo --log-format json --listen tcp://127.0.0.1:0");
    let mut client = Client::connect(program.address());
    client.send("hi\n");
    client.line();
    until("it is logged", || program.log().contains('\n'));
    let log = program.log();
    assert!(
        log.starts_with('{') && log.contains(&format!("{} hi", client.name)),
        "{log}"
    );
}
