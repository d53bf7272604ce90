//! Stopping costs nobody what was already sent: idle, busy, queued, late, slow and stuck.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socketserver::testing::ManualClock;
use socketserver::{
    Activity, BlockingEngine, Builder, Connection, Datagram, DrainReport, EndReason, Engine,
    Limits, Place, Pool, Sequential, Task, Tcp, Threading, ThreadingTcpServer, UdpServer,
    UnixStream, handler_fn,
};

use crate::support::{
    Client, Directory, HOUR, Latch, Record, ask, connect, connect_to, connect_unix, echo_lines,
    engines, flood, parallel_engines, read_line, rest, until, until_empty, within,
};

/// Echoes lines; the line "work" is answered only when the latch opens.
fn worker(
    latch: &Latch,
) -> impl Fn(&mut Connection) -> io::Result<()> + Clone + Send + Sync + 'static {
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
            let mut doing: Vec<_> = handle
                .connections()
                .iter()
                .map(|info| info.activity)
                .collect();
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
        let numbers = (
            report.idle_closed,
            report.finished,
            report.forced,
            report.stuck,
        );
        assert_eq!(numbers, (1, 1, 0, 0), "{name}");
    }
}

/// Echoes lines; the line "work" takes until a drain has begun.
fn works_until_the_drain(connection: &mut Connection) -> io::Result<()> {
    let mut line = Vec::new();
    while connection.reader().read_line(&mut line)? > 0 {
        if line == b"work\n" {
            until("the drain begins", || connection.is_draining());
        }
        connection.writer().write_all(&line)?;
    }
    Ok(())
}

#[test]
fn a_parked_connection_is_idle_and_one_with_a_byte_in_it_is_not() {
    let server = Builder::new(Tcp::default(), Pool::new(1))
        .bind("127.0.0.1:0", handler_fn(works_until_the_drain))
        .unwrap()
        .start()
        .unwrap();
    let handle = server.handle().clone();
    let mut busy = connect(&server);
    busy.write_all(b"work\n").unwrap();
    until("the only thread is taken", || {
        handle.connections().iter().any(|info| info.bytes_in == 5)
    });
    let (mut parked, mut asked) = (connect(&server), connect(&server));
    asked.write_all(b"hi\n").unwrap();
    until("both are in", || handle.connection_count() == 3);
    handle.shutdown();
    for (client, answer) in [
        (&mut busy, "work\n"),
        (&mut asked, "hi\n"),
        (&mut parked, ""),
    ] {
        assert_eq!(rest(client).unwrap(), answer.as_bytes());
    }
    drop((busy, parked, asked));
    let report = within(move || server.wait()).unwrap();
    assert_eq!((report.idle_closed, report.finished), (1, 2));
}

/// How many finished, were closed idle, were forced, are stuck.
fn ends(report: DrainReport) -> (usize, usize, usize, usize) {
    let DrainReport {
        finished,
        idle_closed,
        forced,
        stuck,
        ..
    } = report;
    (finished, idle_closed, forced, stuck)
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
        handle
            .connections()
            .iter()
            .any(|info| info.bytes_in > 0 && info.activity == Activity::Busy)
    });
    let mut queued: Vec<C> = (0..50).map(|_| connect()).collect();
    for (number, client) in queued.iter_mut().enumerate() {
        client
            .write_all(format!("number {number}\n").as_bytes())
            .unwrap();
    }
    handle.shutdown();
    // A handler that has not waited for so long lets the loop look around when it next writes: the
    // drain begins then, with this one at work.
    let asked = Instant::now();
    until("a look around is due", || {
        asked.elapsed() > Duration::from_millis(20)
    });
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
    assert_eq!(ends(report), (51, 0, 0, 0));
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
    assert_eq!(ends(report), (51, 0, 0, 0));
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
        assert!(
            !handle.wait(Duration::from_millis(20)),
            "{name}: there is an hour yet"
        );
        until("the hour is over", || {
            time.advance(HOUR);
            handle.wait(Duration::ZERO)
        });
        let report = within(move || server.wait()).unwrap();
        assert_eq!(
            (report.forced, report.finished, report.stuck),
            (1, 0, 0),
            "{name}"
        );
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
    until("it works", || {
        handle.connections().iter().any(|info| info.bytes_in == 5)
    });
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
    until("it works", || {
        handle.connections().iter().any(|info| info.bytes_in == 5)
    });
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
        assert_eq!(
            report.finished + report.idle_closed + report.forced + report.stuck,
            0
        );
    }
}

/// Threading, which counts how often the loop has turned in a drain.
#[derive(Default)]
struct Counting {
    inner: Threading,
    turns: Arc<AtomicUsize>,
}

impl Engine for Counting {
    fn name(&self) -> &'static str {
        self.inner.name()
    }
    fn place(&self) -> Place {
        self.inner.place()
    }
    fn process_request(&self, task: Task) -> io::Result<()> {
        self.inner.process_request(task)
    }
    fn service_actions(&self) {
        self.turns.fetch_add(1, Ordering::SeqCst);
    }
}

impl BlockingEngine for Counting {}

/// Who comes too late must not keep the draining loop busy.
#[test]
fn a_drain_sleeps_while_it_waits() {
    let (directory, latch) = (Directory::new(), Latch::default());
    let path = directory.path("sleeps");
    let engine = Counting::default();
    let turns = Arc::clone(&engine.turns);
    let server = Builder::new(UnixStream::default(), engine)
        .bind(&path, handler_fn(worker(&latch)))
        .unwrap()
        .start()
        .unwrap();
    let handle = server.handle().clone();
    let (mut idle, mut busy) = (connect_unix(&path), connect_unix(&path));
    assert_eq!(ask(&mut idle, "hi\n"), "hi\n");
    busy.write_all(b"work\n").unwrap();
    until("it works", || {
        handle.connections().iter().any(|info| info.bytes_in == 5)
    });
    handle.shutdown();
    assert_eq!(rest(&mut idle).unwrap(), b"");
    drop(idle);
    until("the idle one has left", || handle.connection_count() == 1);
    thread::sleep(Duration::from_millis(10));
    let mut late = connect_unix(&path);
    late.write_all(b"late\n").unwrap();
    let before = turns.load(Ordering::SeqCst);
    assert!(!handle.wait(Duration::from_millis(50)));
    let turned = turns.load(Ordering::SeqCst) - before;
    assert!(turned < 10, "{turned} turns with nothing to do");
    latch.open();
    assert_eq!(rest(&mut busy).unwrap(), b"work\n");
    drop(busy);
    within(move || server.wait()).unwrap();
    assert_eq!(rest(&mut late).unwrap(), b"", "refused in good order");
}

/// A server that speaks first, and a datagram without a byte: neither has anything to be read.
#[test]
fn who_is_served_out_of_the_queue_without_a_word_has_not_been_idle() {
    let (latch, waits) = (Latch::default(), Latch::default());
    let (opens, hold) = (latch.clone(), waits.clone());
    let greet = move |connection: &mut Connection| {
        opens.open();
        hold.wait();
        connection.writer().write_all(b"hello\n")
    };
    let server = Builder::new(Tcp::default(), Sequential)
        .bind("127.0.0.1:0", handler_fn(greet))
        .unwrap()
        .start()
        .unwrap();
    let mut clients: Vec<_> = (0..5).map(|_| connect(&server)).collect();
    latch.wait();
    server.handle().shutdown();
    waits.open();
    for client in &mut clients {
        assert_eq!(rest(client).unwrap(), b"hello\n");
    }
    drop(clients);
    let report = within(move || server.wait()).unwrap();
    assert_eq!((report.finished, report.idle_closed), (5, 0));
    let mut server = UdpServer::bind("127.0.0.1:0", handler_fn(|_: &mut Datagram| Ok(()))).unwrap();
    let address = server.local_address().inet().unwrap();
    let client = std::net::UdpSocket::bind("127.0.0.1:0");
    client.unwrap().send_to(b"", address).unwrap();
    server.handle().shutdown();
    let report = server.serve_forever().unwrap();
    assert_eq!((report.finished, report.idle_closed), (1, 0));
}
