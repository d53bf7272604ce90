//! Stopping costs nobody what was already sent: idle, busy, queued, late, slow and stuck.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use socketserver::testing::{ManualClock, Memory};
use socketserver::{
    Activity, Builder, Connection, EndReason, Engine, Limits, Pool, Sequential, Tcp, Threading,
    ThreadingTcpServer, UnixStream, handler_fn,
};

use crate::support::{
    Client, Directory, HOUR, Latch, PATIENCE, Record, ask, bounded, connect, connect_to,
    connect_unix, echo_lines, engines, flood, parallel_engines, read_line, rest, until,
    until_empty, within,
};

/// Echoes lines; the line "work" is answered only when the latch opens.
fn worker(latch: &Latch) -> impl Fn(&mut Connection) -> io::Result<()> + Clone + Send + Sync + 'static {
    let latch = latch.clone();
    move |connection: &mut Connection| {
        let (reader, mut writer) = connection.split();
        for line in reader.lines() {
            let line = line?;
            if line == b"work" {
                latch.wait();
            }
            writer.write_all(&[&line[..], b"\n"].concat())?;
        }
        Ok(())
    }
}

#[test]
fn the_idle_are_closed_at_once_and_the_busy_get_their_whole_reply() {
    for engine in parallel_engines() {
        let name = engine.name();
        let latch = Latch::default();
        let server = Builder::new(Tcp::default(), engine)
            .bind("127.0.0.1:0", handler_fn(worker(&latch)))
            .unwrap()
            .start()
            .unwrap();
        let handle = server.handle().clone();
        let (mut idle, mut busy) = (connect(&server), connect(&server));
        assert_eq!(ask(&mut idle, "hi\n"), "hi\n");
        busy.write_all(b"work\n").unwrap();
        until("one is idle and one is busy", || {
            let mut doing: Vec<_> = handle.connections().iter().map(|info| info.activity).collect();
            doing.sort_by_key(|activity| *activity as u8);
            doing == [Activity::Busy, Activity::Reading]
        });
        handle.shutdown();
        // The busy one still works, and the idle one is gone.
        assert_eq!(rest(&mut idle).unwrap(), b"");
        drop(idle);
        until("the idle one has left", || handle.connection_count() == 1);
        latch.open();
        assert_eq!(rest(&mut busy).unwrap(), b"work\n");
        drop(busy);
        let report = within(move || server.wait()).unwrap();
        let numbers = (report.idle_closed, report.finished, report.forced, report.stuck);
        assert_eq!(numbers, (1, 1, 0, 0), "{name}");
    }
}

#[test]
fn a_parked_connection_is_idle_and_one_with_a_byte_in_it_is_not() {
    let server = Builder::new(Tcp::default(), Pool::new(1))
        .bind("127.0.0.1:0", handler_fn(echo_lines))
        .unwrap()
        .start()
        .unwrap();
    let mut parked = connect(&server);
    until("it is parked", || server.handle().connection_count() == 1);
    let mut asked = connect(&server);
    asked.write_all(b"hi\n").unwrap();
    server.handle().shutdown();
    assert_eq!(rest(&mut asked).unwrap(), b"hi\n");
    assert_eq!(rest(&mut parked).unwrap(), b"");
    drop((parked, asked));
    let report = within(move || server.wait()).unwrap();
    assert_eq!((report.idle_closed, report.finished), (1, 1));
}

/// Keeps a sequential server busy while 50 clients queue up, shuts it down, and lets it go on.
fn fifty_are_served<C: Client>(
    connect: impl Fn() -> C,
    latch: &Latch,
    handle: &socketserver::ServerHandle,
) {
    let mut first = connect();
    first.write_all(b"work\n").unwrap();
    until("the server is busy", || {
        handle.connections().iter().any(|info| info.bytes_in > 0 && info.activity == Activity::Busy)
    });
    let mut queued: Vec<C> = (0..50).map(|_| connect()).collect();
    for (number, client) in queued.iter_mut().enumerate() {
        client.write_all(format!("number {number}\n").as_bytes()).unwrap();
    }
    handle.shutdown();
    latch.open();
    assert_eq!(rest(&mut first).unwrap(), b"work\n");
    drop(first);
    for (number, mut client) in queued.into_iter().enumerate() {
        let reply = String::from_utf8(rest(&mut client).unwrap()).unwrap();
        assert_eq!(reply, format!("number {number}\n"));
    }
}

#[test]
fn who_waits_in_a_tcp_queue_is_served_and_none_is_reset() {
    let latch = Latch::default();
    let server = Builder::new(Tcp::default(), Sequential)
        .bind("127.0.0.1:0", handler_fn(worker(&latch)))
        .unwrap()
        .start()
        .unwrap();
    fifty_are_served(|| connect(&server), &latch, server.handle());
    let report = within(move || server.wait()).unwrap();
    assert_eq!((report.finished, report.forced), (51, 0));
}

#[test]
fn who_waits_in_a_unix_queue_is_served_and_none_is_reset() {
    let directory = Directory::new();
    let path = directory.path("queue");
    let latch = Latch::default();
    let server = Builder::new(UnixStream::default(), Sequential)
        .bind(&path, handler_fn(worker(&latch)))
        .unwrap()
        .start()
        .unwrap();
    fifty_are_served(|| connect_unix(&path), &latch, server.handle());
    let report = within(move || server.wait()).unwrap();
    assert_eq!((report.finished, report.forced), (51, 0));
}

#[test]
fn at_the_deadline_what_still_writes_is_cut_off() {
    for engine in engines() {
        let name = engine.name();
        let (time, record) = (ManualClock::new(), Record::default());
        let server = Builder::new(Tcp::default(), engine)
            .clock(time.clock())
            .drain_timeout(HOUR)
            .limits(Limits::default().write_timeout(None))
            .observer(record.clone())
            .bind("127.0.0.1:0", handler_fn(flood))
            .unwrap()
            .start()
            .unwrap();
        let handle = server.handle().clone();
        let _sleeper = connect(&server);
        until("it is served", || handle.connection_count() == 1);
        handle.shutdown();
        assert!(!handle.wait(Duration::from_millis(20)), "{name}: there is an hour yet");
        until("the hour is over", || {
            time.advance(HOUR);
            handle.wait(Duration::ZERO)
        });
        let report = within(move || server.wait()).unwrap();
        assert_eq!((report.forced, report.finished, report.stuck), (1, 0, 0), "{name}");
        assert_eq!(record.ends(), [EndReason::Forced], "{name}");
    }
}

#[test]
fn a_handler_that_waits_for_something_else_is_stuck_and_told_as_such() {
    let latch = Latch::default();
    let time = ManualClock::new();
    let server = Builder::new(Tcp::default(), Threading::default())
        .clock(time.clock())
        .bind("127.0.0.1:0", handler_fn(worker(&latch)))
        .unwrap()
        .start()
        .unwrap();
    let handle = server.handle().clone();
    let mut client = connect(&server);
    client.write_all(b"work\n").unwrap();
    until("it works", || handle.connections().iter().any(|info| info.bytes_in == 5));
    handle.shutdown();
    until("the run is over", || {
        time.advance(HOUR);
        handle.wait(Duration::ZERO)
    });
    let report = within(move || server.wait()).unwrap();
    assert_eq!((report.stuck, report.forced, report.finished), (1, 0, 0));
    // Its connection has been ended all the same, and goes with it.
    assert_eq!(rest(&mut client).unwrap(), b"");
    drop(client);
    latch.open();
    until_empty(&handle);
}

#[test]
fn a_peer_that_never_closes_is_waited_for_no_longer_than_the_linger_timeout() {
    for engine in engines() {
        let name = engine.name();
        let time = ManualClock::new();
        let greet = |connection: &mut Connection| connection.writer().write_all(b"bye\n");
        let server = Builder::new(Tcp::default(), engine)
            .clock(time.clock())
            .limits(Limits::default().linger_timeout(Duration::from_secs(60)))
            .drain_timeout(HOUR)
            .bind("127.0.0.1:0", handler_fn(greet))
            .unwrap()
            .start()
            .unwrap();
        let handle = server.handle().clone();
        let mut lazy = connect(&server);
        assert_eq!(rest(&mut lazy).unwrap(), b"bye\n");
        until("it is closing", || {
            let doing = handle.connections();
            doing.iter().all(|info| info.activity == Activity::Closing) && !doing.is_empty()
        });
        handle.shutdown();
        assert!(!handle.wait(Duration::from_millis(20)), "{name}: the peer may still read");
        until("the linger timeout is over", || {
            time.advance(Duration::from_secs(61));
            handle.wait(Duration::ZERO)
        });
        let report = within(move || server.wait()).unwrap();
        assert_eq!((report.finished, report.forced), (1, 0), "{name}");
    }
}

/// The newcomer's first packet is dropped, so that it tries again; a reset would have been an answer.
#[test]
fn who_connects_during_a_drain_is_not_reset_and_is_served_by_the_next_run() {
    let latch = Latch::default();
    let mut server = ThreadingTcpServer::bind("127.0.0.1:0", handler_fn(worker(&latch))).unwrap();
    let address = server.local_address().inet().unwrap();
    let handle = server.handle();
    let run = thread::spawn(move || server.serve_forever().map(|_| server));
    let (mut idle, mut busy) = (connect_to(address), connect_to(address));
    assert_eq!(ask(&mut idle, "hi\n"), "hi\n");
    busy.write_all(b"work\n").unwrap();
    until("it works", || handle.connections().iter().any(|info| info.bytes_in == 5));
    handle.shutdown();
    assert_eq!(rest(&mut idle).unwrap(), b"");
    drop(idle);
    until("the idle one has left", || handle.connection_count() == 1);
    let late = thread::spawn(move || {
        let mut client = connect_to(address);
        ask(&mut client, "late\n")
    });
    latch.open();
    assert_eq!(rest(&mut busy).unwrap(), b"work\n");
    drop(busy);
    let mut server = within(move || run.join().unwrap()).unwrap();
    let handle = server.handle();
    let run = thread::spawn(move || server.serve_forever());
    assert_eq!(within(move || late.join().unwrap()), "late\n");
    handle.shutdown();
    within(move || run.join().unwrap()).unwrap();
}

/// A plain close with unread input would throw the reply away and send a reset.
#[test]
fn a_large_reply_survives_unread_input() {
    const REPLY: usize = 200_000;
    let reply = |connection: &mut Connection| connection.writer().write_all(&vec![b'r'; REPLY]);
    let server = Builder::new(Tcp::default(), Pool::new(8).greeting(true))
        .bind("127.0.0.1:0", handler_fn(reply))
        .unwrap()
        .start()
        .unwrap();
    let whole = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..100)
        .map(|_| {
            let (mut client, whole) = (connect(&server), Arc::clone(&whole));
            thread::spawn(move || {
                client.write_all(&[b'u'; 30_000]).unwrap();
                assert_eq!(rest(&mut client).unwrap().len(), REPLY);
                whole.fetch_add(1, Ordering::SeqCst);
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    assert_eq!(whole.load(Ordering::SeqCst), 100);
    within(move || server.stop()).unwrap();
}

#[test]
fn a_peer_that_has_ended_its_side_still_gets_the_reply() {
    for engine in engines() {
        let server = Builder::new(Tcp::default(), engine)
            .bind("127.0.0.1:0", handler_fn(echo_lines))
            .unwrap()
            .start()
            .unwrap();
        let mut client = connect(&server);
        client.write_all(b"half\nclosed").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(&mut client).unwrap(), b"half\nclosed\n");
        drop(client);
        within(move || server.stop()).unwrap();
    }
}

/// `write_timeout` is a bound on standing still: who reads slowly gets everything.
#[test]
fn a_slow_reader_of_the_last_messages_gets_them_all() {
    const MESSAGE: usize = 64 << 10;
    let (memory, time) = (Memory::new().unwrap(), ManualClock::new());
    let fill = |connection: &mut Connection| {
        let outbox = connection.outbox()?;
        for _ in 0..14 {
            outbox.push(vec![b'm'; MESSAGE]).map_err(io::Error::other)?;
        }
        Ok(())
    };
    let server = Builder::new(memory.clone(), Threading::default())
        .clock(time.clock())
        .limits(Limits::default().write_timeout(Some(Duration::from_secs(30))))
        .bind((), handler_fn(fill))
        .unwrap()
        .start()
        .unwrap();
    let handle = server.handle().clone();
    let mut client = bounded(memory.connect().unwrap());
    until("the handler is done", || {
        handle.connections().iter().any(|info| info.activity == Activity::Closing)
    });
    let mut block = vec![0; MESSAGE];
    for _ in 0..14 {
        let before = handle.connections().first().map_or(u64::MAX, |info| info.bytes_out);
        client.read_exact(&mut block).unwrap();
        let is_all = before == 14 * MESSAGE as u64;
        until("the server has sent on", || {
            is_all || handle.connections().first().is_none_or(|info| info.bytes_out > before)
        });
        time.advance(Duration::from_secs(20));
        // Gives the loop the occasion to cut it off, were it to do so.
        thread::sleep(Duration::from_millis(3));
    }
    assert_eq!(rest(&mut client).unwrap(), b"");
    drop(client);
    within(move || server.stop()).unwrap();
}

#[test]
fn a_run_that_has_nothing_to_drain_says_so() {
    for engine in engines() {
        let server = Builder::new(Tcp::default(), engine)
            .bind("127.0.0.1:0", handler_fn(echo_lines))
            .unwrap()
            .start()
            .unwrap();
        let mut gone = connect(&server);
        gone.write_all(b"one\n").unwrap();
        assert_eq!(read_line(&mut gone), "one\n");
        drop(gone);
        until_empty(server.handle());
        let report = within(move || server.stop()).unwrap();
        assert_eq!(report.finished + report.idle_closed + report.forced + report.stuck, 0);
        assert!(report.elapsed < PATIENCE);
    }
}
