//! What a server tells of itself: events in pairs, counters, the list of connections.

use std::io::{self, Read, Write};
use std::net::UdpSocket;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socketserver::testing::ManualClock;
use socketserver::{
    Activity, Builder, Connection, Datagram, EndReason, Event, Limits, Sequential, Tcp, Threading,
    Udp, handler_fn,
};

use crate::support::{
    HOUR, PATIENCE, Record, Told, address_of, ask, connect, echo, echo_lines, engines, flood,
    parallel_engines, read_line, rest, until, until_empty, within,
};

/// Ends as its first line says.
fn obedient(connection: &mut Connection) -> io::Result<()> {
    let mut line = Vec::new();
    connection.reader().read_line(&mut line)?;
    match &line[..] {
        b"error\n" => Err(io::Error::other("as it was told")),
        b"panic\n" => panic!("as it was told"),
        b"flood\n" => flood(connection),
        b"echo\n" => echo(connection),
        _ => Ok(()),
    }
}

/// Each request is started once and ended once, in this order.
fn assert_paired(record: &Record) -> usize {
    let mut open = std::collections::HashSet::new();
    let mut seen = std::collections::HashSet::new();
    for told in record.all() {
        match told {
            Told::Started(id) => assert!(seen.insert(id) && open.insert(id), "{id} twice"),
            Told::Ended { id, .. } => assert!(open.remove(&id), "{id} ended unstarted, or twice"),
            _ => {}
        }
    }
    assert!(open.is_empty(), "{open:?} never ended");
    seen.len()
}

#[test]
fn every_request_is_started_once_and_ended_once_whatever_happens() {
    for engine in parallel_engines() {
        let (time, record) = (ManualClock::new(), Record::default());
        let server = Builder::new(Tcp::default(), engine)
            .clock(time.clock())
            .limits(
                Limits::default()
                    .request_timeout(Some(HOUR))
                    .idle_timeout(None),
            )
            .observer(record.clone())
            .bind("127.0.0.1:0", handler_fn(obedient))
            .unwrap()
            .start()
            .unwrap();
        let handle = server.handle().clone();
        for order in ["return\n", "error\n", "panic\n"] {
            let mut client = connect(&server);
            client.write_all(order.as_bytes()).unwrap();
            assert_eq!(rest(&mut client).unwrap(), b"");
            drop(client);
            until_empty(&handle);
        }
        let mut disconnected = connect(&server);
        assert_eq!(ask(&mut disconnected, "echo\n\n"), "\n");
        assert!(handle.disconnect(handle.connections()[0].id));
        assert_eq!(rest(&mut disconnected).unwrap(), b"");
        until_empty(&handle);
        let _cut = connect(&server);
        until("it has come", || handle.connection_count() == 1);
        time.advance(HOUR);
        until_empty(&handle);
        let mut drained = connect(&server);
        assert_eq!(ask(&mut drained, "echo\n\n"), "\n");
        let mut forced = connect(&server);
        forced.write_all(b"flood\n").unwrap();
        until("it writes", || {
            handle
                .connections()
                .last()
                .is_some_and(|info| info.bytes_out > 1 << 16)
        });
        handle.shutdown();
        assert_eq!(rest(&mut drained).unwrap(), b"");
        drop(drained);
        until("the idle one has left", || handle.connection_count() == 1);
        handle.abort();
        within(move || server.wait()).unwrap();
        assert_eq!(assert_paired(&record), 7);
        let mut ends = record.ends();
        ends[5..].sort_by_key(|reason| *reason as u8);
        let wanted = [
            EndReason::Done,
            EndReason::Failed,
            EndReason::Panicked,
            EndReason::Disconnected,
            EndReason::RequestTimeout,
            EndReason::Drained,
            EndReason::Forced,
        ];
        assert_eq!(ends, wanted);
        let counters = handle.counters();
        let counted = [
            counters.started,
            counters.ended,
            counters.failed,
            counters.panicked,
            counters.cut,
        ];
        assert_eq!(counted, [7, 7, 1, 1, 3]);
    }
}

#[test]
fn a_mere_disconnect_is_counted_as_no_failure() {
    for engine in engines() {
        let record = Record::default();
        let server = Builder::new(Tcp::default(), engine)
            .observer(record.clone())
            .bind("127.0.0.1:0", handler_fn(obedient))
            .unwrap()
            .start()
            .unwrap();
        let mut client = connect(&server);
        client.write_all(b"flood\n").unwrap();
        until("it writes", || {
            server
                .handle()
                .connections()
                .iter()
                .any(|info| info.bytes_out > 0)
        });
        crate::support::reset(client);
        until("it has ended", || record.ends().len() == 1);
        assert_eq!(server.handle().counters().failed, 0);
        within(move || server.stop()).unwrap();
    }
}

#[test]
fn bytes_are_counted_in_both_directions() {
    for engine in engines() {
        let record = Record::default();
        let server = Builder::new(Tcp::default(), engine)
            .observer(record.clone())
            .bind("127.0.0.1:0", handler_fn(echo_lines))
            .unwrap()
            .start()
            .unwrap();
        let mut client = connect(&server);
        for _ in 0..3 {
            assert_eq!(ask(&mut client, "12345\r\n"), "12345\n");
        }
        drop(client);
        until_empty(server.handle());
        let counters = server.handle().counters();
        assert_eq!((counters.bytes_in, counters.bytes_out), (21, 18));
        let ended = |told: &Told| {
            matches!(
                told,
                Told::Ended {
                    bytes_in: 21,
                    bytes_out: 18,
                    ..
                }
            )
        };
        assert_eq!(record.count(ended), 1);
        within(move || server.stop()).unwrap();
    }
}

#[test]
fn the_list_tells_who_is_connected_and_what_each_is_doing() {
    let (time, latch) = (ManualClock::new(), crate::support::Latch::default());
    let waits = latch.clone();
    let handler = move |connection: &mut Connection| {
        let mut line = Vec::new();
        while connection.reader().read_line(&mut line)? > 0 {
            match &line[..] {
                b"work\n" => waits.wait(),
                b"flood\n" => flood(connection)?,
                _ => connection.writer().write_all(&line)?,
            }
        }
        Ok(())
    };
    let server = Builder::new(Tcp::default(), Threading::default())
        .clock(time.clock())
        .limits(Limits::default().idle_timeout(None).write_timeout(None))
        .bind("127.0.0.1:0", handler_fn(handler))
        .unwrap()
        .start()
        .unwrap();
    let handle = server.handle().clone();
    let mut idle = connect(&server);
    assert_eq!(ask(&mut idle, "four\n"), "four\n");
    time.advance(HOUR);
    let (mut busy, mut writing) = (connect(&server), connect(&server));
    busy.write_all(b"work\n").unwrap();
    until("it works", || {
        handle
            .connections()
            .get(1)
            .is_some_and(|info| info.bytes_in == 5)
    });
    writing.write_all(b"flood\n").unwrap();
    let expected = [Activity::Reading, Activity::Busy, Activity::Writing];
    until("each does its own", || {
        let doing: Vec<_> = handle
            .connections()
            .iter()
            .map(|info| info.activity)
            .collect();
        doing == expected
    });
    let infos = handle.connections();
    let peers: Vec<_> = infos.iter().map(|info| info.peer.inet()).collect();
    let ours = [&idle, &busy, &writing].map(|client| client.local_addr().ok());
    assert_eq!(peers, ours);
    assert_eq!(infos[0].age, HOUR);
    assert_eq!(infos[1].age, Duration::ZERO);
    assert_eq!((infos[0].bytes_in, infos[0].bytes_out), (5, 5));
    assert_eq!(infos[0].endpoint, *server.endpoint());
    assert_eq!(infos[0].process, None);
    let waits: Vec<_> = infos.iter().map(|info| info.activity.waits_for()).collect();
    assert_eq!(waits, [Some("input"), None, Some("the peer to read")]);
    let is_idle: Vec<_> = infos.iter().map(|info| info.activity.is_idle()).collect();
    assert_eq!(is_idle, [true, false, false]);
    latch.open();
    drop((idle, busy, writing));
    within(move || server.stop()).unwrap();
}

#[test]
fn one_connection_can_be_found_and_disconnected_and_the_others_stay() {
    for engine in parallel_engines() {
        let record = Record::default();
        let server = Builder::new(Tcp::default(), engine)
            .observer(record.clone())
            .bind("127.0.0.1:0", handler_fn(echo_lines))
            .unwrap()
            .start()
            .unwrap();
        let handle = server.handle().clone();
        let mut clients: Vec<_> = (0..3).map(|_| connect(&server)).collect();
        for client in &mut clients {
            assert_eq!(ask(client, "hi\n"), "hi\n");
        }
        let peer = clients[1].local_addr().ok();
        let found = handle
            .connections()
            .into_iter()
            .find(|info| info.peer.inet() == peer);
        let id = found.unwrap().id;
        assert_eq!(handle.find(id).unwrap().peer.inet(), peer);
        assert!(handle.disconnect(id));
        assert_eq!(rest(&mut clients[1]).unwrap(), b"");
        until("it is gone", || handle.find(id).is_none());
        assert!(!handle.disconnect(id));
        until("it is told", || record.ends() == [EndReason::Disconnected]);
        assert_eq!(ask(&mut clients[0], "hi\n"), "hi\n");
        assert_eq!(ask(&mut clients[2], "hi\n"), "hi\n");
        drop(clients);
        within(move || server.stop()).unwrap();
    }
}

#[test]
fn an_observer_that_panics_harms_nobody() {
    for engine in engines() {
        let server = Builder::new(Tcp::default(), engine)
            .observer(|event: &Event<'_>| panic!("{event:?}"))
            .bind("127.0.0.1:0", handler_fn(echo_lines))
            .unwrap()
            .start()
            .unwrap();
        for _ in 0..3 {
            assert_eq!(ask(&mut connect(&server), "hi\n"), "hi\n");
        }
        until_empty(server.handle());
        assert_eq!(server.handle().counters().ended, 3);
        within(move || server.stop()).unwrap();
    }
}

/// An observer may look into the server, and send, while it is told something.
#[test]
fn an_observer_may_use_the_handle() {
    let slot: Arc<Mutex<Option<socketserver::ServerHandle>>> = Arc::default();
    let inside = Arc::clone(&slot);
    let observer = move |_: &Event<'_>| {
        if let Some(handle) = &*inside.lock().unwrap() {
            for info in handle.connections() {
                handle.find(info.id);
            }
            handle.counters();
        }
    };
    let server = Builder::new(Tcp::default(), Threading::default())
        .observer(observer)
        .bind("127.0.0.1:0", handler_fn(echo_lines))
        .unwrap();
    *slot.lock().unwrap() = Some(server.handle());
    let server = server.start().unwrap();
    assert_eq!(ask(&mut connect(&server), "hi\n"), "hi\n");
    within(move || server.stop()).unwrap();
    slot.lock().unwrap().take();
}

#[test]
fn datagrams_are_started_and_ended_too() {
    let record = Record::default();
    let answer = |datagram: &mut Datagram| datagram.reply(b"123");
    let server = Builder::new(Udp::default(), Sequential)
        .observer(record.clone())
        .bind("127.0.0.1:0", handler_fn(answer))
        .unwrap()
        .start()
        .unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send_to(b"12345", address_of(&server)).unwrap();
    assert_eq!(client.recv(&mut [0; 8]).unwrap(), 3);
    within(move || server.stop()).unwrap();
    assert_eq!(assert_paired(&record), 1);
    let ended = |told: &Told| {
        matches!(
            told,
            Told::Ended {
                bytes_in: 5,
                bytes_out: 3,
                ..
            }
        )
    };
    assert_eq!(record.count(ended), 1);
}

#[test]
fn a_client_s_bytes_are_counted_while_it_is_connected() {
    let server = Builder::new(Tcp::default(), Threading::default())
        .bind("127.0.0.1:0", handler_fn(echo_lines))
        .unwrap()
        .start()
        .unwrap();
    let mut client = connect(&server);
    for number in 1..=3 {
        client.write_all(b"12\n").unwrap();
        assert_eq!(read_line(&mut client), "12\n");
        until("it is counted", || {
            let info = &server.handle().connections()[0];
            (info.bytes_in, info.bytes_out) == (3 * number, 3 * number)
        });
    }
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    within(move || server.stop()).unwrap();
}
