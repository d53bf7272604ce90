//! What the kernel, a handler and a peer can do wrong, and whom it may cost.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use socketserver::testing::{Faults, FlakyListener, ManualClock};
use socketserver::{
    Address, Builder, Connection, EndReason, Engine, Error, Limits, Refusal, RequestHandler,
    Running, Tcp, Threading, Transport, handler_fn,
};

use crate::support::{
    HOUR, Record, Told, ask, connect, echo_lines, engines, flood, is_child, reset, rest,
    run_in_child, until, until_empty, within,
};

/// A server whose accepts fail as told, the clock that it goes by, and its record.
fn flaky() -> (Running, Faults, ManualClock, Record) {
    let (faults, time, record) = (Faults::new(), ManualClock::new(), Record::default());
    let address = Address::from("127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap());
    let listener = FlakyListener::new(Tcp::default().bind(&address).unwrap(), faults.clone());
    let server = Builder::new(Tcp::default(), Threading::default())
        .clock(time.clock())
        .observer(record.clone())
        .listener(listener, handler_fn(echo_lines))
        .unwrap()
        .start()
        .unwrap();
    (server, faults, time, record)
}

#[test]
fn a_shortage_pauses_accepting_once_and_then_serves() {
    for errno in [Errno::NFILE, Errno::MFILE, Errno::NOMEM, Errno::NOBUFS] {
        let (server, faults, time, record) = flaky();
        let mut existing = connect(&server);
        assert_eq!(ask(&mut existing, "before\n"), "before\n");
        let before = faults.accepts();
        faults.push(errno.raw_os_error());
        let mut client = connect(&server);
        until("it has paused", || record.times(&Told::AcceptPaused) == 1);
        // The clock stands still, and so does accepting, though somebody waits; the others go on.
        for _ in 0..20 {
            assert_eq!(ask(&mut existing, "meanwhile\n"), "meanwhile\n");
        }
        assert_eq!(
            faults.accepts() - before,
            1,
            "{errno:?}: one attempt, one back-off"
        );
        time.advance(Duration::from_millis(100));
        assert_eq!(ask(&mut client, "after\n"), "after\n");
        assert_eq!(record.times(&Told::AcceptPaused), 1, "{errno:?}");
        assert_eq!(record.times(&Told::AcceptResumed(0)), 1, "{errno:?}");
        assert_eq!(server.handle().counters().accept_pauses, 1);
        drop((existing, client));
        within(move || server.stop()).unwrap();
    }
}

#[test]
fn a_lasting_shortage_is_told_once_and_tried_ever_less_often() {
    let (server, faults, time, record) = flaky();
    faults.hold(Some(Errno::MFILE.raw_os_error()));
    let mut client = connect(&server);
    until("it has paused", || record.times(&Told::AcceptPaused) == 1);
    for _ in 0..10 {
        let before = faults.accepts();
        time.advance(Duration::from_secs(1));
        until("it has tried again", || faults.accepts() > before);
        thread::sleep(Duration::from_millis(3));
        // One attempt, and one to refuse who waits.
        assert!(faults.accepts() - before <= 2);
    }
    faults.hold(None);
    time.advance(Duration::from_secs(1));
    assert_eq!(ask(&mut client, "at last\n"), "at last\n");
    assert_eq!(record.times(&Told::AcceptPaused), 1);
    assert_eq!(
        record.count(|told| matches!(told, Told::AcceptResumed(_))),
        1
    );
    drop(client);
    within(move || server.stop()).unwrap();
}

#[test]
fn who_waits_through_a_second_pause_is_refused_in_good_order() {
    let (server, faults, time, record) = flaky();
    for _ in 0..2 {
        faults.push(Errno::MFILE.raw_os_error());
    }
    let mut client = connect(&server);
    until("it has paused", || record.times(&Told::AcceptPaused) == 1);
    time.advance(Duration::from_millis(100));
    assert_eq!(rest(&mut client).unwrap(), b"");
    until("it is told", || {
        record.times(&Told::Refused(Refusal::Descriptors)) == 1
    });
    let mut next = connect(&server);
    until("it is served", || {
        time.advance(Duration::from_secs(1));
        server.handle().connection_count() == 1
    });
    assert_eq!(ask(&mut next, "hi\n"), "hi\n");
    assert_eq!(record.times(&Told::AcceptResumed(1)), 1);
    drop(next);
    within(move || server.stop()).unwrap();
}

#[test]
fn a_connection_that_fails_by_itself_does_not_hold_up_the_next() {
    for errno in [Errno::CONNABORTED, Errno::PERM, Errno::PROTO, Errno::INTR] {
        let (server, faults, _time, record) = flaky();
        faults.push(errno.raw_os_error());
        // The clock stands still: served at once or never.
        let mut client = connect(&server);
        assert_eq!(ask(&mut client, "hi\n"), "hi\n", "{errno:?}");
        assert_eq!(record.times(&Told::AcceptFailed), 1, "{errno:?}");
        assert_eq!(record.times(&Told::AcceptPaused), 0, "{errno:?}");
        drop(client);
        within(move || server.stop()).unwrap();
    }
}

#[test]
fn failures_without_end_do_not_make_the_loop_spin() {
    let (server, faults, time, record) = flaky();
    faults.hold(Some(Errno::CONNABORTED.raw_os_error()));
    let mut client = connect(&server);
    until("it has paused", || record.times(&Told::AcceptPaused) == 1);
    let tries = faults.accepts();
    thread::sleep(Duration::from_millis(10));
    assert!(tries <= 40 && faults.accepts() == tries, "{tries}");
    faults.hold(None);
    time.advance(Duration::from_secs(1));
    assert_eq!(ask(&mut client, "hi\n"), "hi\n");
    drop(client);
    within(move || server.stop()).unwrap();
}

#[test]
fn a_listener_that_is_gone_ends_the_loop() {
    for errno in [Errno::BADF, Errno::INVAL, Errno::NOTSOCK] {
        let (server, faults, _time, _record) = flaky();
        faults.push(errno.raw_os_error());
        let _client = connect(&server);
        let error = within(move || server.wait()).unwrap_err();
        assert!(matches!(error, Error::Listener { .. }), "{error}");
    }
}

#[test]
fn a_shutdown_ends_a_pause() {
    let (server, faults, _time, record) = flaky();
    faults.hold(Some(Errno::MFILE.raw_os_error()));
    let _client = connect(&server);
    until("it has paused", || record.times(&Told::AcceptPaused) == 1);
    within(move || server.stop()).unwrap();
}

/// Panics in `handle`; counts what came after.
struct Panics(Arc<AtomicUsize>);

impl RequestHandler for Panics {
    fn handle(&mut self, _: &mut Connection) -> io::Result<()> {
        panic!("as it was told")
    }
    fn finish(&mut self, _: &mut Connection) -> io::Result<()> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

fn entries(directory: &str) -> usize {
    std::fs::read_dir(directory).unwrap().count()
}

/// In a process of its own, whose threads and descriptors are all its own.
#[test]
fn a_thousand_handlers_that_panic_cost_nothing_that_stays() {
    const NAME: &str = "faults::a_thousand_handlers_that_panic_cost_nothing_that_stays";
    if !is_child(NAME) {
        return run_in_child(NAME);
    }
    std::panic::set_hook(Box::new(|_| ()));
    for engine in engines() {
        let (name, finished) = (engine.name(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&finished);
        let server = Builder::new(Tcp::default(), engine)
            .bind("127.0.0.1:0", move || Panics(Arc::clone(&counted)))
            .unwrap()
            .start()
            .unwrap();
        let handle = server.handle().clone();
        assert_eq!(rest(&mut connect(&server)).unwrap(), b"");
        until_empty(&handle);
        let baseline = || (entries("/proc/self/task"), entries("/proc/self/fd"));
        thread::sleep(Duration::from_millis(20));
        let before = baseline();
        for _ in 1..1000 {
            assert_eq!(rest(&mut connect(&server)).unwrap(), b"");
        }
        until_empty(&handle);
        until("threads and descriptors are what they were", || {
            let now = baseline();
            now.0 <= before.0 && now.1 <= before.1
        });
        assert_eq!(finished.load(Ordering::SeqCst), 1000, "{name}");
        assert_eq!(handle.counters().panicked, 1000, "{name}");
        within(move || server.stop()).unwrap();
    }
}

#[test]
fn a_panic_whose_payload_is_no_text_is_told_without_one() {
    for engine in engines() {
        let record = Record::default();
        let server = Builder::new(Tcp::default(), engine)
            .observer(record.clone())
            .bind(
                "127.0.0.1:0",
                handler_fn(|_: &mut Connection| std::panic::panic_any(17)),
            )
            .unwrap()
            .start()
            .unwrap();
        assert_eq!(rest(&mut connect(&server)).unwrap(), b"");
        within(move || server.stop()).unwrap();
        assert!(record.failures()[0].contains("no message"));
        assert_eq!(record.ends(), [EndReason::Panicked]);
    }
}

/// Resets `client` while its handler writes.
fn ends_as_a_disconnect(end: fn(TcpStream)) {
    for engine in engines() {
        let (name, record) = (engine.name(), Record::default());
        let server = Builder::new(Tcp::default(), engine)
            .observer(record.clone())
            .limits(Limits::default().write_timeout(Some(HOUR)))
            .bind("127.0.0.1:0", handler_fn(flood))
            .unwrap()
            .start()
            .unwrap();
        let handle = server.handle().clone();
        for number in 1..=3 {
            let client = connect(&server);
            until("it writes", || {
                handle.connections().iter().any(|info| info.bytes_out > 0)
            });
            end(client);
            until("it has ended", || record.ends().len() == number);
        }
        assert_eq!(record.ends(), [EndReason::PeerGone; 3], "{name}");
        within(move || server.stop()).unwrap();
        let failures = record.failures();
        assert!(failures.len() == 3, "{failures:?}");
    }
}

#[test]
fn a_reset_during_a_write_ends_that_connection_only() {
    ends_as_a_disconnect(reset);
}

/// A write to a peer that is gone raises `SIGPIPE` if it is not kept from it.
#[test]
fn a_peer_that_vanishes_during_a_write_ends_that_connection_only() {
    ends_as_a_disconnect(drop);
}

#[test]
fn a_peer_that_resets_at_once_harms_nobody() {
    for engine in engines() {
        let server = Builder::new(Tcp::default(), engine)
            .bind("127.0.0.1:0", handler_fn(echo_lines))
            .unwrap()
            .start()
            .unwrap();
        for _ in 0..100 {
            let mut client = connect(&server);
            client.write_all(b"x").unwrap();
            reset(client);
        }
        assert_eq!(ask(&mut connect(&server), "hi\n"), "hi\n");
        until_empty(server.handle());
        within(move || server.stop()).unwrap();
    }
}
