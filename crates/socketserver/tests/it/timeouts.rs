//! Timeouts, each ending with a reason of its own; an hour of them passes in milliseconds.

use std::io::{self, Write};
use std::time::Duration;

use socketserver::testing::{ManualClock, Memory};
use socketserver::transport::Stream;
use socketserver::{
    Activity, BlockingEngine, Builder, Connection, EndReason, Engine, IntoAddress, Limits, Pool,
    Running, Tcp, Threading, Transport, handler_fn,
};

use crate::support::{
    Client, HOUR, Record, bounded, connect, echo, echo_lines, engines, flood, rest, until, within,
};

type Handle = fn(&mut Connection) -> io::Result<()>;

/// Limits without any timeout.
fn unlimited() -> Limits {
    Limits::default()
        .idle_timeout(None)
        .read_timeout(None)
        .write_timeout(None)
}

fn start<T: Transport<Accepted = Stream>>(
    transport: T,
    address: impl IntoAddress<T>,
    engine: Box<dyn BlockingEngine>,
    (limits, handle): (Limits, Handle),
    (time, record): (&ManualClock, &Record),
) -> Running {
    Builder::new(transport, engine)
        .clock(time.clock())
        .limits(limits)
        .observer(record.clone())
        .bind(address, handler_fn(handle))
        .unwrap()
        .start()
        .unwrap()
}

/// On each engine, in memory and by TCP: a client that sends `opening` and then does nothing is cut
/// off for `reason` when the hour is over, and not before.
fn ends_with(reason: EndReason, limits: &Limits, handle: Handle, opening: &[u8]) {
    for in_memory in [true, false] {
        for engine in engines() {
            let name = engine.name();
            let (time, record) = (ManualClock::new(), Record::default());
            let serving = (limits.clone(), handle);
            let told = (&time, &record);
            let (server, mut client): (Running, Box<dyn Client>) = if in_memory {
                let memory = Memory::new().unwrap();
                let server = start(memory.clone(), (), engine, serving, told);
                let client = bounded(memory.connect().unwrap());
                (server, Box::new(client))
            } else {
                let server = start(Tcp::default(), "127.0.0.1:0", engine, serving, told);
                let client = connect(&server);
                (server, Box::new(client))
            };
            client.write_all(opening).unwrap();
            let waits = |activity| matches!(activity, Activity::Reading | Activity::Writing);
            until("it was heard and waits", || {
                server
                    .handle()
                    .connections()
                    .iter()
                    .any(|info| info.bytes_in == opening.len() as u64 && waits(info.activity))
            });
            time.advance(HOUR / 2);
            std::thread::sleep(Duration::from_millis(5));
            assert_eq!(
                record.ends(),
                [],
                "{name} {in_memory}: half an hour is left"
            );
            until("the hour is over", || {
                time.advance(HOUR);
                record.ends().len() == 1
            });
            assert_eq!(record.ends(), [reason], "{name} {in_memory}");
            drop(client);
            within(move || server.stop()).unwrap();
        }
    }
}

#[test]
fn silence_is_cut_at_the_idle_timeout() {
    let limits = unlimited().idle_timeout(Some(HOUR));
    ends_with(EndReason::IdleTimeout, &limits, echo, b"");
    ends_with(EndReason::IdleTimeout, &limits, echo_lines, b"");
}

#[test]
fn half_a_line_is_cut_at_the_read_timeout() {
    let limits = unlimited().read_timeout(Some(HOUR));
    ends_with(EndReason::ReadTimeout, &limits, echo_lines, b"half a li");
}

#[test]
fn who_does_not_read_is_cut_at_the_write_timeout() {
    let limits = unlimited().write_timeout(Some(HOUR));
    ends_with(EndReason::WriteTimeout, &limits, flood, b"");
}

#[test]
fn a_request_is_cut_at_the_request_timeout_whatever_it_does() {
    let limits = unlimited().request_timeout(Some(HOUR));
    ends_with(EndReason::RequestTimeout, &limits, echo_lines, b"");
    ends_with(EndReason::RequestTimeout, &limits, flood, b"");
}

/// A parked connection has no handler; it is idle all the same.
#[test]
fn a_parked_connection_is_cut_at_the_idle_timeout() {
    let (time, record) = (ManualClock::new(), Record::default());
    let server = start(
        Tcp::default(),
        "127.0.0.1:0",
        Box::new(Pool::new(1)),
        (unlimited().idle_timeout(Some(HOUR)), echo),
        (&time, &record),
    );
    let mut client = connect(&server);
    until("it is parked", || server.handle().connection_count() == 1);
    time.advance(HOUR / 2);
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(record.ends(), []);
    time.advance(HOUR);
    assert_eq!(rest(&mut client).unwrap(), b"");
    until("it is told", || record.ends() == [EndReason::IdleTimeout]);
    within(move || server.stop()).unwrap();
}

/// Each byte comes well within the idle timeout, and the line never ends.
#[test]
fn who_drips_byte_by_byte_is_cut_at_the_read_timeout() {
    for engine in engines() {
        let name = engine.name();
        let (time, record) = (ManualClock::new(), Record::default());
        let limits = Limits::default()
            .idle_timeout(Some(Duration::from_secs(60)))
            .read_timeout(Some(Duration::from_secs(30)));
        let serving = (limits, echo_lines as Handle);
        let server = start(
            Tcp::default(),
            "127.0.0.1:0",
            engine,
            serving,
            (&time, &record),
        );
        let mut client = connect(&server);
        for number in 1..=3_u64 {
            client.write_all(b".").unwrap();
            until("the byte has come", || {
                let infos = server.handle().connections();
                infos
                    .iter()
                    .any(|info| info.bytes_in == number && info.activity == Activity::Reading)
            });
            assert_eq!(record.ends(), [], "{name}");
            time.advance(Duration::from_secs(11));
        }
        assert_eq!(rest(&mut client).unwrap(), b"");
        drop(client);
        until("it is told", || !record.ends().is_empty());
        assert_eq!(record.ends(), [EndReason::ReadTimeout], "{name}");
        within(move || server.stop()).unwrap();
    }
}

#[test]
fn who_asks_and_asks_and_never_reads_is_cut_at_the_write_timeout() {
    let (time, record) = (ManualClock::new(), Record::default());
    let serving = (unlimited().write_timeout(Some(HOUR)), echo_lines as Handle);
    let engine = Box::new(Threading::default());
    let server = start(
        Tcp::default(),
        "127.0.0.1:0",
        engine,
        serving,
        (&time, &record),
    );
    let mut client = connect(&server);
    client.set_nonblocking(true).unwrap();
    let questions = vec![b'\n'; 64 << 10];
    let mut still = 0;
    // Both directions fill up, and then nothing moves any more.
    until("nothing moves", || {
        still = if client.write(&questions).is_ok() {
            0
        } else {
            still + 1
        };
        let infos = server.handle().connections();
        still > 20 && infos.iter().any(|info| info.activity == Activity::Writing)
    });
    until("it is cut", || {
        let _ = client.write(&questions);
        time.advance(HOUR);
        !record.ends().is_empty()
    });
    assert_eq!(record.ends(), [EndReason::WriteTimeout]);
    drop(client);
    within(move || server.stop()).unwrap();
}

/// What was said at a timeout holds: a later read does not wait again.
#[test]
fn after_a_timeout_every_later_read_fails_at_once() {
    let (time, record) = (ManualClock::new(), Record::default());
    let twice: Handle = |connection| {
        let mut reader = connection.reader();
        let first = io::copy(&mut reader, &mut io::sink()).unwrap_err();
        let second = io::copy(&mut reader, &mut io::sink()).unwrap_err();
        assert_eq!([first.kind(), second.kind()], [io::ErrorKind::TimedOut; 2]);
        Err(second)
    };
    let serving = (unlimited().idle_timeout(Some(HOUR)), twice);
    let engine = Box::new(Threading::default());
    let server = start(
        Tcp::default(),
        "127.0.0.1:0",
        engine,
        serving,
        (&time, &record),
    );
    let mut client = connect(&server);
    until("it waits", || {
        let infos = server.handle().connections();
        infos.iter().any(|info| info.activity == Activity::Reading)
    });
    time.advance(HOUR);
    assert_eq!(rest(&mut client).unwrap(), b"");
    drop(client);
    until("it is told", || !record.ends().is_empty());
    assert_eq!(record.ends(), [EndReason::IdleTimeout]);
    within(move || server.stop()).unwrap();
}

/// The machine's clock: the kernel itself bounds the wait.
#[test]
fn timeouts_hold_by_the_machine_s_clock_too() {
    for engine in engines() {
        for (limits, handle, reason) in [
            (
                unlimited().idle_timeout(Some(Duration::from_millis(10))),
                echo as Handle,
                EndReason::IdleTimeout,
            ),
            (
                unlimited().write_timeout(Some(Duration::from_millis(10))),
                flood as Handle,
                EndReason::WriteTimeout,
            ),
            (
                unlimited().request_timeout(Some(Duration::from_millis(10))),
                echo as Handle,
                EndReason::RequestTimeout,
            ),
        ] {
            let name = engine.name();
            let record = Record::default();
            let engine = again(name);
            let server = Builder::new(Tcp::default(), engine)
                .limits(limits.linger_timeout(Duration::from_millis(10)))
                .observer(record.clone())
                .bind("127.0.0.1:0", handler_fn(handle))
                .unwrap()
                .start()
                .unwrap();
            let client = connect(&server);
            until("it is cut", || !record.ends().is_empty());
            assert_eq!(record.ends(), [reason], "{name}");
            drop(client);
            within(move || server.stop()).unwrap();
        }
    }
}

#[test]
fn a_connection_may_set_timeouts_of_its_own() {
    let own: Handle = |connection| {
        connection.set_idle_timeout(Some(Duration::from_millis(5)));
        echo(connection)
    };
    for engine in engines() {
        let record = Record::default();
        let server = Builder::new(Tcp::default(), engine)
            .limits(unlimited())
            .observer(record.clone())
            .bind("127.0.0.1:0", handler_fn(own))
            .unwrap()
            .start()
            .unwrap();
        assert_eq!(rest(&mut connect(&server)).unwrap(), b"");
        until("it is told", || record.ends() == [EndReason::IdleTimeout]);
        within(move || server.stop()).unwrap();
    }
}

/// They came before the listener could be told of any timeout.
#[test]
fn who_came_before_the_run_is_subject_to_its_timeouts() {
    for engine in engines() {
        let name = engine.name();
        for (handle, reason) in [
            (echo as Handle, EndReason::IdleTimeout),
            (flood as Handle, EndReason::WriteTimeout),
        ] {
            let engine = again(name);
            let record = Record::default();
            let short = Some(Duration::from_millis(10));
            let limits = unlimited().idle_timeout(short).write_timeout(short);
            let server = Builder::new(Tcp::default(), engine)
                .limits(limits.linger_timeout(Duration::from_millis(10)))
                .observer(record.clone())
                .bind("127.0.0.1:0", handler_fn(handle))
                .unwrap();
            let address = server.local_address().inet().unwrap();
            let early = crate::support::connect_to(address);
            let server = server.start().unwrap();
            until("it is cut", || !record.ends().is_empty());
            assert_eq!(record.ends(), [reason], "{name}");
            drop(early);
            within(move || server.stop()).unwrap();
        }
    }
}

/// One more engine of that name.
fn again(name: &str) -> Box<dyn BlockingEngine> {
    let all = engines().into_iter();
    all.filter(|engine| engine.name() == name).last().unwrap()
}
