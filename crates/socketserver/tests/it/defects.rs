//! The defects of the programs that this library replaces, each with a test that fails on it.
//!
//! Their numbers are those of the list of 34.
//! Where a sentence elsewhere is the test, it is named:
//!
//! - 2, closing ends the loop: `gone::a_tcp_listener_that_is_shut_down_ends_the_loop_with_its_name`
//! - 5, restart on the port: `lifecycle::a_server_restarts_on_its_port_right_after_a_stop_with_clients`
//! - 15, a line has a limit: `limits::a_line_over_the_limit_is_told_once_and_the_next_line_is_served`
//! - 22, a slow receiver: `outbox::a_member_that_never_reads_delays_nobody_and_is_cut_off`
//! - 23 and 24, one writer and one order: `outbox::fifty_members_on_threads_hear_eight_senders_in_one_order`
//! - 27, half-close: `drain::a_peer_that_has_ended_its_side_still_gets_the_reply`
//! - 29, a limit on clients: `limits::the_connection_limit_is_exact_over_two_listeners`
//! - 31, no busy loop without descriptors: `faults::a_lasting_shortage_is_told_once_and_tried_ever_less_often`
//!
//! Those of the console, the chat and its client are tested with these programs.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socketserver::testing::{ManualClock, Memory};
use socketserver::{
    Broadcast, Builder, Connection, EndReason, Limits, RequestHandler, Sequential, Tcp, Threading,
    ThreadingTcpServer, ThreadingUnixStreamServer, handler_fn,
};

use crate::support::{
    Directory, HOUR, Latch, Record, address_of, ask, bounded, connect, connect_to, connect_unix,
    echo_lines, read_line, reset, rest, until, until_empty, within,
};

/// Tells everybody each line, with the name of who said it.
fn room() -> (
    impl Fn(&mut Connection) -> io::Result<()> + Clone + Send + Sync + 'static,
    Broadcast,
) {
    let room = Broadcast::new();
    let shared = room.clone();
    let handler = move |connection: &mut Connection| {
        let outbox = connection.outbox()?;
        let _membership = shared.join(outbox)?;
        let peer = connection.peer().to_string();
        for line in connection.reader().lines() {
            shared.send([peer.as_bytes(), b" ", &line?, b"\n"].concat());
        }
        Ok(())
    };
    (handler, room)
}

#[test]
fn d03_the_port_is_closed_when_the_stop_returns() {
    for _ in 0..10 {
        let server = ThreadingTcpServer::bind("127.0.0.1:0", handler_fn(echo_lines))
            .unwrap()
            .start()
            .unwrap();
        let address = address_of(&server);
        within(move || server.stop()).unwrap();
        let error = TcpStream::connect(address).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}

/// Counts its `finish`.
struct Finishes(Arc<AtomicUsize>);

impl RequestHandler for Finishes {
    fn handle(&mut self, connection: &mut Connection) -> io::Result<()> {
        echo_lines(connection)
    }
    fn finish(&mut self, connection: &mut Connection) -> io::Result<()> {
        self.0.fetch_add(1, Ordering::SeqCst);
        connection.writer().write_all(b"goodbye\n")
    }
}

#[test]
fn d04_clients_are_not_abandoned_and_finish_runs_for_each() {
    let finished = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&finished);
    let server = ThreadingTcpServer::bind("127.0.0.1:0", move || Finishes(Arc::clone(&counted)))
        .unwrap()
        .start()
        .unwrap();
    let mut clients: Vec<_> = (0..5).map(|_| connect(&server)).collect();
    for client in &mut clients {
        assert_eq!(ask(client, "hi\n"), "hi\n");
    }
    until("all are idle", || {
        let infos = server.handle().connections();
        infos.iter().all(|info| info.activity.is_idle())
    });
    server.handle().shutdown();
    for client in &mut clients {
        assert_eq!(rest(client).unwrap(), b"goodbye\n");
    }
    drop(clients);
    let report = within(move || server.wait()).unwrap();
    assert_eq!(
        (finished.load(Ordering::SeqCst), report.idle_closed),
        (5, 5)
    );
}

/// Sends `pieces` one by one to a line echo, each when the one before it has been received, and
/// returns the lines that come back.
fn answers(pieces: &[&[u8]], count: usize) -> Vec<String> {
    let server = ThreadingTcpServer::bind("127.0.0.1:0", handler_fn(echo_lossy))
        .unwrap()
        .start()
        .unwrap();
    let mut client = connect(&server);
    let mut sent = 0;
    for piece in pieces {
        client.write_all(piece).unwrap();
        sent += piece.len() as u64;
        until("it is received", || {
            server
                .handle()
                .connections()
                .iter()
                .any(|info| info.bytes_in == sent)
        });
    }
    let lines = (0..count).map(|_| read_line(&mut client)).collect();
    drop(client);
    within(move || server.stop()).unwrap();
    lines
}

/// Echoes lines as text, whatever bytes they are.
fn echo_lossy(connection: &mut Connection) -> io::Result<()> {
    let (reader, mut writer) = connection.split();
    for line in reader.lines() {
        writeln!(writer, "[{}]", String::from_utf8_lossy(&line?))?;
    }
    Ok(())
}

#[test]
fn d10_a_message_is_not_split_at_1024() {
    let long = "m".repeat(3000);
    let sent = format!("{long}\n");
    assert_eq!(answers(&[sent.as_bytes()], 1), [format!("[{long}]\n")]);
}

#[test]
fn d11_messages_that_arrive_together_stay_apart() {
    let lines = answers(&[b"m0\nm1\nm2\n"], 3);
    assert_eq!(lines, ["[m0]\n", "[m1]\n", "[m2]\n"]);
}

#[test]
fn d12_a_word_is_seen_whether_it_comes_merged_or_split() {
    let lines = answers(&[b"bye\r\nqu", b"it\r", b"\n"], 2);
    assert_eq!(lines, ["[bye]\n", "[quit]\n"]);
}

#[test]
fn d13_a_character_that_is_cut_in_two_costs_nothing() {
    let first = [&[b'a'; 1023][..], &"中".as_bytes()[..1]].concat();
    let second = [&"中".as_bytes()[1..], b"\n"].concat();
    let wanted = format!("[{}中]\n", "a".repeat(1023));
    assert_eq!(answers(&[&first, &second], 1), [wanted]);
}

#[test]
fn d14_a_byte_that_is_no_text_costs_nothing() {
    let lines = answers(&[b"\xff\xfe\n", b"after\n"], 2);
    assert_eq!(lines, ["[\u{fffd}\u{fffd}]\n", "[after]\n"]);
}

#[test]
fn d17_every_family_of_address_has_a_name() {
    let (handler, _room) = room();
    let server = ThreadingTcpServer::bind("[::1]:0", handler_fn(handler.clone()))
        .unwrap()
        .start()
        .unwrap();
    let mut client = connect(&server);
    let wanted = format!("{} hi\n", client.local_addr().unwrap());
    assert_eq!(ask(&mut client, "hi\n"), wanted);
    drop(client);
    within(move || server.stop()).unwrap();
    let directory = Directory::new();
    let path = directory.path("named");
    let server = ThreadingUnixStreamServer::bind(&path, handler_fn(handler))
        .unwrap()
        .start()
        .unwrap();
    assert_eq!(ask(&mut connect_unix(&path), "hi\n"), "unnamed hi\n");
    within(move || server.stop()).unwrap();
}

#[test]
fn d18_a_member_that_died_leaves_no_corpse_in_the_room() {
    let (handler, room) = room();
    let server = ThreadingTcpServer::bind("127.0.0.1:0", handler_fn(handler))
        .unwrap()
        .start()
        .unwrap();
    let mut stays = connect(&server);
    for _ in 0..20 {
        let mut dies = connect(&server);
        until("both are in", || room.len() == 2);
        dies.write_all(b"\xff").unwrap();
        reset(dies);
        until("it is out", || room.len() == 1);
    }
    assert!(ask(&mut stays, "hi\n").ends_with(" hi\n"));
    drop(stays);
    within(move || server.stop()).unwrap();
}

#[test]
fn d19_a_receiver_that_fails_costs_the_sender_nothing() {
    let (handler, room) = room();
    let server = ThreadingTcpServer::bind("127.0.0.1:0", handler_fn(handler))
        .unwrap()
        .start()
        .unwrap();
    let mut sender = connect(&server);
    let receivers: Vec<_> = (0..10).map(|_| connect(&server)).collect();
    until("all are in", || room.len() == 11);
    for receiver in receivers {
        reset(receiver);
        for _ in 0..10 {
            assert!(ask(&mut sender, "hi\n").ends_with(" hi\n"));
        }
    }
    until("they are out", || room.len() == 1);
    drop(sender);
    within(move || server.stop()).unwrap();
}

#[test]
fn d21_two_servers_share_nothing() {
    let (first, _) = room();
    let (second, _) = room();
    let one = ThreadingTcpServer::bind("127.0.0.1:0", handler_fn(first))
        .unwrap()
        .start()
        .unwrap();
    let two = ThreadingTcpServer::bind("127.0.0.1:0", handler_fn(second))
        .unwrap()
        .start()
        .unwrap();
    let (mut here, mut there) = (connect(&one), connect(&two));
    assert!(ask(&mut here, "here\n").ends_with(" here\n"));
    assert!(ask(&mut there, "there\n").ends_with(" there\n"));
    drop((here, there));
    within(move || one.stop().and_then(|_| two.stop())).unwrap();
}

#[test]
fn d25_a_long_reply_is_sent_to_its_end() {
    const REPLY: usize = 8 << 20;
    let send = |connection: &mut Connection| connection.writer().write_all(&vec![b'r'; REPLY]);
    let send_with_outbox = |connection: &mut Connection| {
        connection.outbox()?;
        connection.writer().write_all(&vec![b'r'; REPLY])
    };
    for handler in [send, send_with_outbox] as [fn(&mut Connection) -> io::Result<()>; 2] {
        let server = ThreadingTcpServer::bind("127.0.0.1:0", handler_fn(handler))
            .unwrap()
            .start()
            .unwrap();
        assert_eq!(rest(&mut connect(&server)).unwrap().len(), REPLY);
        within(move || server.stop()).unwrap();
    }
}

/// With a backlog of 5 every seventh of these would wait for a second.
#[test]
fn d28_a_hundred_clients_find_a_place_in_the_queue() {
    let latch = Latch::default();
    let busy = {
        let latch = latch.clone();
        move |_: &mut Connection| {
            latch.wait();
            Ok(())
        }
    };
    let server = Builder::new(Tcp::default(), Sequential)
        .bind("127.0.0.1:0", handler_fn(busy))
        .unwrap()
        .start()
        .unwrap();
    let address = address_of(&server);
    let clients: Vec<_> = (0..100)
        .map(|_| TcpStream::connect_timeout(&address, Duration::from_millis(900)).unwrap())
        .collect();
    latch.open();
    drop(clients);
    until_empty(server.handle());
    within(move || server.stop()).unwrap();
}

#[test]
fn d30_a_peer_that_has_vanished_is_given_up() {
    let (memory, time, record) = (
        Memory::new().unwrap(),
        ManualClock::new(),
        Record::default(),
    );
    let server = Builder::new(memory.clone(), Threading::default())
        .clock(time.clock())
        .limits(Limits::default().idle_timeout(Some(HOUR)))
        .observer(record.clone())
        .bind((), handler_fn(echo_lines))
        .unwrap()
        .start()
        .unwrap();
    let mut silent = bounded(memory.connect().unwrap());
    assert_eq!(ask(&mut silent, "hi\n"), "hi\n");
    until("it is given up", || {
        time.advance(HOUR);
        record.ends() == [EndReason::IdleTimeout]
    });
    assert_eq!(server.handle().connection_count(), 0);
    within(move || server.stop()).unwrap();
}

#[test]
fn d32_a_routine_disconnect_is_told_as_no_more_than_that() {
    let (record, routine) = (Record::default(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&routine);
    let kept = record.clone();
    let server = Builder::new(Tcp::default(), Threading::default())
        .observer(move |event: &socketserver::Event<'_>| {
            socketserver::Observer::event(&kept, event);
            if let socketserver::Event::Failed { error } = event {
                assert!(error.is_disconnect(), "{error}");
                counted.fetch_add(1, Ordering::SeqCst);
            }
        })
        .bind("127.0.0.1:0", handler_fn(echo_lines))
        .unwrap()
        .start()
        .unwrap();
    let mut client = connect_to(address_of(&server));
    assert_eq!(ask(&mut client, "hi\n"), "hi\n");
    reset(client);
    until("it has ended", || record.ends().len() == 1);
    within(move || server.stop()).unwrap();
    assert_eq!(routine.load(Ordering::SeqCst), 1);
    let failures = record.failures();
    assert!(
        failures[0].ends_with("Connection reset by peer"),
        "{failures:?}"
    );
    assert_eq!(failures[0].lines().count(), 1);
}

#[test]
fn d33_a_client_is_told_of_the_end_though_somebody_holds_its_outbox() {
    let held = Arc::new(std::sync::Mutex::new(Vec::new()));
    let keeps = Arc::clone(&held);
    let handler = move |connection: &mut Connection| {
        keeps.lock().unwrap().push(connection.outbox()?);
        connection.writer().write_all(b"bye\n")
    };
    let server = ThreadingTcpServer::bind("127.0.0.1:0", handler_fn(handler))
        .unwrap()
        .start()
        .unwrap();
    assert_eq!(rest(&mut connect(&server)).unwrap(), b"bye\n");
    until_empty(server.handle());
    assert!(held.lock().unwrap()[0].is_closed());
    within(move || server.stop()).unwrap();
}
