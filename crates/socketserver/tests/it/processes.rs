//! Servers in processes of their own, under a descriptor limit that they run into.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socketserver::{
    Builder, Connection, Handled, Limits, Tcp, Threading, ThreadingTcpServer, handler_fn,
};

use crate::support::{
    Latch, PATIENCE, Record, Told, ask, child, connect_to, echo_lines, is_child, read_line, reset,
    rest, run_in_child, until, until_empty, within,
};

/// The descriptor limit of the child.
const LIMIT: u64 = 60;

/// Serves under the limit until the standard input ends; tells its port first and its record last.
fn serve(handler: fn(&mut Connection) -> io::Result<()>) {
    let old = getrlimit(Resource::Nofile);
    let limit = Rlimit {
        current: Some(LIMIT),
        ..old
    };
    setrlimit(Resource::Nofile, limit).unwrap();
    let record = Record::default();
    let server = Builder::new(Tcp::default(), Threading::default())
        .observer(record.clone())
        .bind("127.0.0.1:0", handler_fn(handler))
        .unwrap()
        .start()
        .unwrap();
    println!("\nserving {}", server.endpoint().address());
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
    server.stop().unwrap();
    let told = |wanted: fn(&Told) -> bool| record.count(wanted);
    println!(
        "\nlowered {} paused {} resumed {}",
        told(|told| matches!(told, Told::LimitLowered(_, to) if *to < 60)),
        told(|told| matches!(told, Told::AcceptPaused)),
        told(|told| matches!(told, Told::AcceptResumed(_))),
    );
}

/// The child, from outside.
struct Served {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Served {
    fn new(test: &str) -> Self {
        let mut process = child(test).stdin(Stdio::piped()).spawn().unwrap();
        let input = process.stdin.take();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let address = word_after(&mut output, "serving ").parse().unwrap();
        Self {
            process,
            input,
            output,
            address,
        }
    }

    /// Ends it and returns what it told.
    fn end(mut self) -> String {
        drop(self.input.take());
        let told = word_after(&mut self.output, "lowered ");
        let status = within(move || self.process.wait().unwrap());
        assert!(status.success());
        told
    }
}

fn word_after(output: &mut impl BufRead, start: &str) -> String {
    loop {
        let mut line = String::new();
        assert_ne!(
            output.read_line(&mut line).unwrap(),
            0,
            "the child has ended"
        );
        if let Some(rest) = line.strip_prefix(start) {
            return rest.trim().to_owned();
        }
    }
}

#[test]
fn a_hundred_clients_are_all_served_by_a_process_with_sixty_descriptors() {
    const NAME: &str =
        "processes::a_hundred_clients_are_all_served_by_a_process_with_sixty_descriptors";
    if is_child(NAME) {
        return serve(echo_lines);
    }
    let server = Served::new(NAME);
    let mut first = connect_to(server.address);
    assert_eq!(ask(&mut first, "first\n"), "first\n");
    let mut clients: Vec<TcpStream> = (0..100).map(|_| connect_to(server.address)).collect();
    for client in &mut clients {
        client.write_all(b"me too\n").unwrap();
    }
    assert_eq!(ask(&mut first, "still here\n"), "still here\n");
    // Each that leaves makes room for one that waits.
    for mut client in clients {
        assert_eq!(read_line(&mut client), "me too\n");
    }
    drop(first);
    assert_eq!(server.end(), "1 paused 0 resumed 0");
}

/// Takes two descriptors more than its connection, which the server could not foresee.
fn greedy(connection: &mut Connection) -> io::Result<()> {
    let _files = (File::open("/dev/null"), File::open("/dev/null"));
    echo_lines(connection)
}

#[test]
fn a_process_without_descriptors_says_so_once_serves_whom_it_has_and_refuses_the_rest() {
    const NAME: &str = "processes::\
        a_process_without_descriptors_says_so_once_serves_whom_it_has_and_refuses_the_rest";
    if is_child(NAME) {
        return serve(greedy);
    }
    let server = Served::new(NAME);
    let mut existing: Vec<TcpStream> = (0..12).map(|_| connect_to(server.address)).collect();
    for client in &mut existing {
        assert_eq!(ask(client, "first\n"), "first\n");
    }
    let mut late: Vec<TcpStream> = (0..88).map(|_| connect_to(server.address)).collect();
    let (mut seated, mut refused) = (Vec::new(), 0);
    for mut client in late.drain(..) {
        let _ = client.write_all(b"late\n");
        let mut answer = [0; 5];
        match client.read(&mut answer) {
            Ok(5) => seated.push(client),
            Ok(0) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(refused > 0, "it cannot have served them all");
    for client in existing.iter_mut().chain(&mut seated) {
        assert_eq!(ask(client, "still here\n"), "still here\n");
    }
    drop((existing, seated));
    // Now there are descriptors, or will be in a moment, and so it serves again.
    until("it serves again", || {
        let mut next = connect_to(server.address);
        let _ = next.write_all(b"last\n");
        matches!(next.read(&mut [0; 5]), Ok(5))
    });
    assert_eq!(server.end(), "1 paused 1 resumed 1");
}

/// How many descriptors this process has open.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Serves one client, whose handler holds an outbox when its server is dropped.
fn drop_a_server_at_work() {
    let latch = Latch::default();
    let waits = latch.clone();
    let hold = move |connection: &mut Connection| {
        let outbox = connection.outbox()?;
        waits.wait();
        outbox.push(&b"bye\n"[..]).map_err(io::Error::other)
    };
    let mut server = ThreadingTcpServer::bind("127.0.0.1:0", handler_fn(hold)).unwrap();
    let mut client = connect_to(server.local_address().inet().unwrap());
    let handled = server.handle_request(Some(PATIENCE)).unwrap();
    assert_eq!(handled, Handled::Started);
    drop(server);
    latch.open();
    assert_eq!(rest(&mut client).unwrap(), b"bye\n");
}

#[test]
fn a_server_that_is_dropped_while_a_handler_holds_an_outbox_leaves_no_descriptor() {
    const NAME: &str =
        "processes::a_server_that_is_dropped_while_a_handler_holds_an_outbox_leaves_no_descriptor";
    if !is_child(NAME) {
        return run_in_child(NAME);
    }
    let before = descriptors();
    for _ in 0..20 {
        drop_a_server_at_work();
    }
    until("all is closed", || descriptors() <= before);
}

/// Queues more than the peer has room for, and then waits for the peer.
fn overfill(connection: &mut Connection) -> io::Result<()> {
    let outbox = connection.outbox()?;
    while outbox.queued_bytes() == 0 {
        outbox
            .push(vec![b'm'; 64 << 10])
            .map_err(io::Error::other)?;
    }
    io::copy(&mut connection.reader(), &mut io::sink()).map(drop)
}

#[test]
fn an_outbox_with_messages_left_keeps_no_descriptor_of_a_connection_that_has_ended() {
    const NAME: &str = "processes::an_outbox_with_messages_left_keeps_no_descriptor_of_a_connection_that_has_ended";
    if !is_child(NAME) {
        return run_in_child(NAME);
    }
    let server = Builder::new(Tcp::default(), Threading::default())
        .limits(Limits::default().outbox_bytes(1 << 20))
        .bind("127.0.0.1:0", handler_fn(overfill))
        .unwrap()
        .start()
        .unwrap();
    let before = descriptors();
    for round in 0..20 {
        let client = connect_to(server.endpoint().address().inet().unwrap());
        let handle = server.handle();
        until("something waits", || {
            let infos = handle.connections();
            infos.iter().any(|info| info.activity.is_idle())
        });
        if round % 2 == 0 {
            assert!(handle.disconnect(round + 1));
        } else {
            reset(client);
        }
        until_empty(handle);
    }
    until("all is closed", || descriptors() <= before);
    within(move || server.stop()).unwrap();
}
