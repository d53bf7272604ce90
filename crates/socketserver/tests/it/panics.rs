//! A program's values may panic wherever they are dropped or shown; that costs one request.

use std::fmt;
use std::io;
use std::panic::panic_any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use socketserver::{
    BlockingEngine, Builder, Connection, EndReason, Pool, RequestHandler, Running, Sequential, Tcp,
    Threading, handler_fn,
};

use crate::support::{Record, ask, connect, echo_lines, engines, rest, until, within};

/// A handler that may refuse its setup, and then panics when it is dropped.
struct Fragile {
    is_broken: bool,
}

impl RequestHandler for Fragile {
    fn setup(&mut self, _: &mut Connection) -> io::Result<()> {
        if self.is_broken {
            return Err(io::Error::other("no"));
        }
        Ok(())
    }

    fn handle(&mut self, connection: &mut Connection) -> io::Result<()> {
        echo_lines(connection)
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        assert!(!self.is_broken, "a panic when the handler is dropped");
    }
}

#[test]
fn a_handler_that_panics_when_dropped_after_a_failed_setup_costs_one_request() {
    const BROKEN: usize = 5;
    let engines: [Box<dyn BlockingEngine>; 3] = [
        Box::new(Sequential),
        Box::new(Threading::default()),
        // Were a thread lost with each, none would be left.
        Box::new(Pool::new(2).greeting(true)),
    ];
    for engine in engines {
        let (name, record) = (engine.name(), Record::default());
        let made = AtomicUsize::new(0);
        let factory = move || Fragile {
            is_broken: made.fetch_add(1, Ordering::SeqCst) < BROKEN,
        };
        let server = Builder::new(Tcp::default(), engine)
            .observer(record.clone())
            .bind("127.0.0.1:0", factory)
            .unwrap()
            .start()
            .unwrap();
        for _ in 0..BROKEN {
            assert_eq!(rest(&mut connect(&server)).unwrap(), b"", "{name}");
        }
        until("all have ended", || record.ends().len() == BROKEN);
        assert_eq!(record.ends(), [EndReason::Panicked; BROKEN], "{name}");
        assert_eq!(ask(&mut connect(&server), "still here\n"), "still here\n");
        within(move || server.stop()).unwrap();
    }
}

/// A value that panics when it is dropped, or shown.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(thread::panicking(), "a panic when it is dropped");
    }
}

impl fmt::Debug for Bomb {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("a panic when it is debugged")
    }
}

impl fmt::Display for Bomb {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("a panic when it is shown")
    }
}

impl std::error::Error for Bomb {}

/// On `engine`, the first `broken` requests go wrong as `fail` does; the next one is served.
fn outlives(
    engine: Box<dyn BlockingEngine>,
    broken: usize,
    fail: fn() -> io::Result<()>,
) -> (Running, Record) {
    let record = Record::default();
    let begun = Arc::new(AtomicUsize::new(0));
    let handler = move |connection: &mut Connection| {
        if begun.fetch_add(1, Ordering::SeqCst) < broken {
            return fail();
        }
        echo_lines(connection)
    };
    let server = Builder::new(Tcp::default(), engine)
        .observer(record.clone())
        .bind("127.0.0.1:0", handler_fn(handler))
        .unwrap()
        .start()
        .unwrap();
    for _ in 0..broken {
        assert_eq!(rest(&mut connect(&server)).unwrap(), b"");
    }
    until("they have ended", || record.ends().len() == broken);
    assert_eq!(ask(&mut connect(&server), "still here\n"), "still here\n");
    (server, record)
}

#[test]
fn a_panic_s_payload_that_panics_when_dropped_costs_one_request() {
    for engine in engines() {
        let (server, record) = outlives(engine, 5, || panic_any(Bomb));
        within(move || server.stop()).unwrap();
        assert_eq!(record.ends()[..5], [EndReason::Panicked; 5]);
    }
}

#[test]
fn an_error_that_panics_when_shown_and_when_dropped_costs_one_request() {
    for engine in engines() {
        let (server, record) = outlives(engine, 5, || Err(io::Error::other(Bomb)));
        within(move || server.stop()).unwrap();
        let ends = record.ends();
        let has_failed = |end: &EndReason| matches!(end, EndReason::Failed | EndReason::Panicked);
        assert!(ends[..5].iter().all(has_failed), "{ends:?}");
    }
}
