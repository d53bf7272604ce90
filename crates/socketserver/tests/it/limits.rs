//! Limits on how many and how large: exact, global, and given back.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use socketserver::{
    Builder, Connection, Datagram, Engine, Limits, Refusal, Running, Sequential, Tcp, Threading,
    Udp, UnixStream, handler_fn,
};

use crate::support::{
    Client, Directory, Latch, PATIENCE, Record, Told, address_of, ask, connect, connect_unix,
    echo_lines, engines, parallel_engines, read_line, rest, until, until_empty, within,
};

/// Counts how many handlers run at once.
#[derive(Clone, Default)]
struct Crowd {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    served: Arc<AtomicUsize>,
    most_seats: Arc<AtomicUsize>,
}

impl Crowd {
    /// Says "in", and stays until the peer ends.
    fn handle(&self, connection: &mut Connection) -> io::Result<()> {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let seats = connection.server().connection_count();
        self.most_seats.fetch_max(seats, Ordering::SeqCst);
        let result = connection
            .writer()
            .write_all(b"in\n")
            .and_then(|()| io::copy(&mut connection.reader(), &mut io::sink()));
        self.now.fetch_sub(1, Ordering::SeqCst);
        self.served.fetch_add(1, Ordering::SeqCst);
        result.map(drop)
    }
}

fn stay_until(latch: &Latch, mut client: impl Client + 'static) -> thread::JoinHandle<()> {
    let latch = latch.clone();
    thread::spawn(move || {
        assert_eq!(read_line(&mut client), "in\n");
        latch.wait();
    })
}

#[test]
fn the_connection_limit_is_exact_over_two_listeners() {
    let directory = Directory::new();
    let path = directory.path("second");
    let (crowd, latch) = (Crowd::default(), Latch::default());
    let handler = {
        let crowd = crowd.clone();
        move |connection: &mut Connection| crowd.handle(connection)
    };
    let mut server = Builder::new(Tcp::default(), Threading::default())
        .limits(Limits::default().connections(10))
        .bind("127.0.0.1:0", handler_fn(handler.clone()))
        .unwrap();
    server
        .listen(UnixStream::default(), &path, handler_fn(handler))
        .unwrap();
    let server = server.start().unwrap();
    let mut clients = Vec::new();
    for _ in 0..50 {
        clients.push(stay_until(&latch, connect(&server)));
        clients.push(stay_until(&latch, connect_unix(&path)));
    }
    until("ten are in", || crowd.now.load(Ordering::SeqCst) == 10);
    assert_eq!(server.handle().connection_count(), 10);
    assert_eq!(server.handle().counters().started, 10);
    latch.open();
    for client in clients {
        client.join().unwrap();
    }
    until_empty(server.handle());
    within(move || server.stop()).unwrap();
    let crowd = [crowd.most, crowd.most_seats, crowd.served];
    assert_eq!(
        crowd.map(|count| count.load(Ordering::SeqCst)),
        [10, 10, 100]
    );
}

#[test]
fn a_limit_of_one_serves_one_after_the_other() {
    for engine in engines() {
        let name = engine.name();
        let server = Builder::new(Tcp::default(), engine)
            .limits(Limits::default().connections(1))
            .bind("127.0.0.1:0", handler_fn(echo_lines))
            .unwrap()
            .start()
            .unwrap();
        let mut clients: Vec<_> = (0..5).map(|_| connect(&server)).collect();
        for client in &mut clients {
            client.write_all(b"me\n").unwrap();
        }
        for (number, mut client) in clients.into_iter().enumerate() {
            assert_eq!(read_line(&mut client), "me\n");
            assert_eq!(
                server.handle().counters().started,
                number as u64 + 1,
                "{name}"
            );
        }
        within(move || server.stop()).unwrap();
    }
}

fn limited(limits: Limits, record: &Record) -> Running {
    Builder::new(Tcp::default(), Threading::default())
        .limits(limits)
        .observer(record.clone())
        .bind("0.0.0.0:0", handler_fn(echo_lines))
        .unwrap()
        .start()
        .unwrap()
}

/// Connects from the loopback address `from`.
fn connect_from(from: &str, server: &Running) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let from: SocketAddr = from.parse().unwrap();
    socket.bind(&from.into()).unwrap();
    let to = SocketAddr::from(([127, 0, 0, 1], address_of(server).port()));
    socket.connect_timeout(&to.into(), PATIENCE).unwrap();
    let client = TcpStream::from(socket);
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

#[test]
fn the_limit_per_address_counts_each_address_alone_and_is_given_back() {
    let record = Record::default();
    let server = limited(Limits::default().per_address(Some(2)), &record);
    for round in 1..=3 {
        let mut ours: Vec<_> = (0..2)
            .map(|_| connect_from("127.0.0.1:0", &server))
            .collect();
        for client in &mut ours {
            assert_eq!(ask(client, "hi\n"), "hi\n");
        }
        assert_eq!(
            rest(&mut connect_from("127.0.0.1:0", &server)).unwrap(),
            b""
        );
        let mut other = connect_from("127.0.0.2:0", &server);
        assert_eq!(ask(&mut other, "hi\n"), "hi\n");
        until("it is told", || {
            record.times(&Told::Refused(Refusal::PerAddress)) == round
        });
        drop((ours, other));
        until_empty(server.handle());
    }
    within(move || server.stop()).unwrap();
}

#[test]
fn who_is_refused_while_it_speaks_sees_an_end_and_no_reset() {
    let directory = Directory::new();
    let path = directory.path("refuses");
    let mut server = Builder::new(Tcp::default(), Threading::default())
        .limits(Limits::default().per_address(Some(0)))
        .bind("127.0.0.1:0", handler_fn(echo_lines))
        .unwrap();
    server
        .listen(UnixStream::default(), &path, handler_fn(echo_lines))
        .unwrap();
    // They have spoken before they are accepted.
    let address = server.local_address().inet().unwrap();
    let mut tcp = crate::support::connect_to(address);
    let mut unix = connect_unix(&path);
    tcp.write_all(b"unheard\n").unwrap();
    unix.write_all(b"unheard\n").unwrap();
    let server = server.start().unwrap();
    assert_eq!(rest(&mut tcp).unwrap(), b"");
    assert_eq!(rest(&mut unix).unwrap(), b"");
    within(move || server.stop()).unwrap();
}

#[test]
fn the_limit_per_address_counts_a_unix_user() {
    let directory = Directory::new();
    let path = directory.path("user");
    let record = Record::default();
    let server = Builder::new(UnixStream::default(), Threading::default())
        .limits(Limits::default().per_address(Some(1)))
        .observer(record.clone())
        .bind(&path, handler_fn(echo_lines))
        .unwrap()
        .start()
        .unwrap();
    for round in 1..=2 {
        let mut first = connect_unix(&path);
        assert_eq!(ask(&mut first, "hi\n"), "hi\n");
        assert_eq!(rest(&mut connect_unix(&path)).unwrap(), b"");
        until("it is told", || {
            record.times(&Told::Refused(Refusal::PerAddress)) == round
        });
        drop(first);
        until_empty(server.handle());
    }
    within(move || server.stop()).unwrap();
}

#[test]
fn local_peers_are_free_of_it_if_the_server_says_so() {
    let record = Record::default();
    let limits = Limits::default().per_address(Some(1)).exempt_local(true);
    let server = limited(limits, &record);
    let mut clients: Vec<_> = (0..5)
        .map(|_| connect_from("127.0.0.3:0", &server))
        .collect();
    for client in &mut clients {
        assert_eq!(ask(client, "hi\n"), "hi\n");
    }
    drop(clients);
    within(move || server.stop()).unwrap();
    assert_eq!(record.times(&Told::Refused(Refusal::PerAddress)), 0);
}

#[test]
fn the_limit_per_address_drops_datagrams_too() {
    let (record, latch) = (Record::default(), Latch::default());
    let handler = {
        let latch = latch.clone();
        move |datagram: &mut Datagram| {
            latch.wait();
            datagram.reply(datagram.payload())
        }
    };
    let server = Builder::new(Udp::default(), Threading::default())
        .limits(Limits::default().per_address(Some(2)))
        .observer(record.clone())
        .bind("127.0.0.1:0", handler_fn(handler))
        .unwrap()
        .start()
        .unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    for number in 1..=3 {
        client.send_to(&[number], address_of(&server)).unwrap();
    }
    until("the third is dropped", || {
        record.times(&Told::Refused(Refusal::PerAddress)) == 1
    });
    latch.open();
    let mut answers = [
        client.recv(&mut [0; 4]).unwrap(),
        client.recv(&mut [0; 4]).unwrap(),
    ];
    answers.sort_unstable();
    assert_eq!(answers, [1, 1]);
    within(move || server.stop()).unwrap();
}

/// Reports each line's length, or that it was too long.
fn measure(connection: &mut Connection) -> io::Result<()> {
    let (reader, mut writer) = connection.split();
    for line in reader.lines() {
        match line {
            Ok(line) => writeln!(writer, "{}", line.len())?,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                writer.write_all(b"too long\n")?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The same, a line a call.
fn measure_by_calls(connection: &mut Connection) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        let answer = match connection.reader().read_line(&mut line) {
            Ok(0) => return Ok(()),
            Ok(_) => format!("{}\n", line.strip_suffix(b"\n").unwrap_or(&line).len()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => "too long\n".to_owned(),
            Err(error) => return Err(error),
        };
        connection.writer().write_all(answer.as_bytes())?;
    }
}

#[test]
fn a_line_over_the_limit_is_told_once_and_the_next_line_is_served() {
    for handler in [measure, measure_by_calls] {
        let server = Builder::new(Tcp::default(), Threading::default())
            .limits(Limits::default().line_bytes(100))
            .bind("127.0.0.1:0", handler_fn(handler))
            .unwrap()
            .start()
            .unwrap();
        let mut client = connect(&server);
        let long = "x".repeat(50_000);
        for (line, answer) in [
            ("short\n", "5\n"),
            (&format!("{}\n", "y".repeat(99)), "99\n"),
            (&format!("{}\n", "y".repeat(100)), "too long\n"),
            (&format!("{long}\n"), "too long\n"),
            ("after\n", "5\n"),
        ] {
            assert_eq!(ask(&mut client, line), answer);
        }
        drop(client);
        within(move || server.stop()).unwrap();
    }
}

/// An endless line takes no more memory than the limit and one read.
#[test]
fn an_endless_line_is_discarded_as_it_comes() {
    for handler in [measure, measure_by_calls] {
        let server = Builder::new(Tcp::default(), Sequential)
            .limits(Limits::default().line_bytes(1000))
            .bind("127.0.0.1:0", handler_fn(handler))
            .unwrap()
            .start()
            .unwrap();
        let mut client = connect(&server);
        client.write_all(&vec![b'e'; 8 << 20]).unwrap();
        client.write_all(b"\nend\n").unwrap();
        assert_eq!(read_line(&mut client), "too long\n");
        assert_eq!(read_line(&mut client), "3\n");
        drop(client);
        within(move || server.stop()).unwrap();
    }
}

#[test]
fn a_limit_that_descriptors_cannot_hold_is_lowered_and_told_once_a_run() {
    for engine in parallel_engines() {
        let record = Record::default();
        let server = Builder::new(Tcp::default(), engine)
            .limits(Limits::default().connections(usize::MAX))
            .observer(record.clone())
            .bind("127.0.0.1:0", handler_fn(echo_lines))
            .unwrap()
            .start()
            .unwrap();
        for _ in 0..5 {
            assert_eq!(ask(&mut connect(&server), "hi\n"), "hi\n");
        }
        within(move || server.stop()).unwrap();
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let lowered = |told: &Told| match *told {
            Told::LimitLowered(from, to) => from == usize::MAX && to as u64 <= limit.unwrap(),
            _ => false,
        };
        assert_eq!(record.count(lowered), 1);
        assert_eq!(
            record.count(|told| matches!(told, Told::LimitLowered(..))),
            1
        );
    }
}

/// A seat is free when the connection has closed, not when its handler is done.
#[test]
fn a_connection_that_is_closing_keeps_its_seat() {
    let greet = |connection: &mut Connection| connection.writer().write_all(b"bye\n");
    let server = Builder::new(Tcp::default(), Threading::default())
        .limits(
            Limits::default()
                .connections(1)
                .linger_timeout(Duration::from_secs(60)),
        )
        .bind("127.0.0.1:0", handler_fn(greet))
        .unwrap()
        .start()
        .unwrap();
    let mut first = connect(&server);
    let mut second = connect(&server);
    assert_eq!(rest(&mut first).unwrap(), b"bye\n");
    assert_eq!(server.handle().counters().started, 1);
    drop(first);
    assert_eq!(rest(&mut second).unwrap(), b"bye\n");
    drop(second);
    within(move || server.stop()).unwrap();
}
