//! A server at rest does nothing, and a loop that is held up is told of.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use socketserver::{Next, Pool, Reactor};

use super::{Call, Kind, Stage, ask, sentences};
use crate::support::{Latch, Told, is_child, read_line, run_in_child, until};

/// What each thread of this process but the present one has done so far: its name, how often it gave
/// the processor up, and the ticks that it used.
fn doings() -> Vec<(String, u64, u64)> {
    let own = rustix::thread::gettid().as_raw_nonzero().to_string();
    let mut doings = Vec::new();
    for entry in fs::read_dir("/proc/self/task").unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.ends_with(&own) {
            continue;
        }
        let Ok(status) = fs::read_to_string(path.join("status")) else {
            continue;
        };
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().to_owned()
        };
        let switches = field("voluntary_ctxt_switches").parse().unwrap();
        let stat = fs::read_to_string(path.join("schedstat")).unwrap_or_default();
        let nanos = stat
            .split(' ')
            .next()
            .and_then(|it| it.parse().ok())
            .unwrap_or(0);
        doings.push((field("Name"), switches, nanos));
    }
    doings.sort();
    doings
}

sentences! {
    /// In a process of its own: what other trials do must not count.
    fn a_server_whose_connections_are_silent_does_nothing(kind) {
        let name = thread::current().name().unwrap().to_owned();
        if !is_child(&name) {
            return run_in_child(&name);
        }
        let play = Stage::new(kind).talk(crate::messages::echo);
        let count = if kind == Kind::Sequential { 1 } else { 20 };
        let clients: Vec<_> = (0..count).map(|number| {
            let mut client = play.connect();
            let line = format!("{number}\n");
            assert_eq!(ask(&mut client, &line), line);
            client
        }).collect();
        // Until everybody sleeps: a thread that is about to has one switch left.
        let mut before = doings();
        until("all is quiet", || {
            thread::sleep(Duration::from_millis(50));
            let now = doings();
            std::mem::replace(&mut before, now.clone()) == now
        });
        thread::sleep(Duration::from_millis(300));
        assert_eq!(doings(), before, "{kind:?}: somebody did something");
        let line = "still here\n";
        for client in &mut clients.into_iter() {
            assert_eq!(ask(&mut { client }, line), line);
        }
        play.stop();
    }
}

/// How often a loop was told to be held.
fn held(play: &super::Play) -> Vec<u64> {
    let held = |told| match told {
        Told::LoopHeld(id) => Some(id),
        _ => None,
    };
    play.record.all().into_iter().filter_map(held).collect()
}

/// A handler that holds its loop until the latch is open, at the line `hold`.
fn holder(reactor: Reactor, latch: &Latch) -> super::Play {
    let latch = latch.clone();
    Stage::with(Box::new(reactor)).talk(move |call, peer| {
        if let Call::Line(line) = call {
            if line == b"hold\n" {
                latch.wait();
            }
            peer.write(line)?;
        }
        Ok(Next::Continue)
    })
}

#[test]
fn the_watchdog_names_the_connection_that_holds_its_loop_once() {
    for loops in 1..=2 {
        let latch = Latch::default();
        let reactor = Reactor::new(loops).watchdog(Some(Duration::from_millis(20)));
        let play = holder(reactor, &latch);
        let (mut first, mut second) = (play.connect(), play.connect());
        assert_eq!(ask(&mut first, "hi\n"), "hi\n");
        assert_eq!(ask(&mut second, "hi\n"), "hi\n");
        let id = play.handle().connections()[1].id;
        second.write_all(b"hold\n").unwrap();
        until("it is told", || held(&play) == [id]);
        thread::sleep(Duration::from_millis(100));
        assert_eq!(held(&play), [id], "it is told once for a call");
        assert_eq!(play.handle().counters().loops_held, 1);
        if loops == 2 {
            // The other loop goes on meanwhile.
            assert_eq!(ask(&mut first, "on\n"), "on\n");
        }
        latch.open();
        assert_eq!(read_line(&mut second), "hold\n");
        drop((first, second));
        play.stop();
    }
}

#[test]
fn many_quick_calls_of_one_connection_hold_no_loop() {
    let reactor = Reactor::new(1).watchdog(Some(Duration::from_millis(20)));
    let play = holder(reactor, &Latch::default());
    let mut client = play.connect();
    let began = std::time::Instant::now();
    while began.elapsed() < Duration::from_millis(150) {
        assert_eq!(ask(&mut client, "quick\n"), "quick\n");
    }
    assert_eq!(held(&play), []);
    drop(client);
    play.stop();
}

#[test]
fn a_loop_without_a_watchdog_is_not_told_of() {
    let latch = Latch::default();
    let play = holder(Reactor::new(1).watchdog(None), &latch);
    let mut client = play.connect();
    client.write_all(b"hold\n").unwrap();
    thread::sleep(Duration::from_millis(50));
    latch.open();
    assert_eq!(read_line(&mut client), "hold\n");
    assert_eq!(held(&play), []);
    drop(client);
    play.stop();
}

/// Its threads wait where they must, and that is nobody's business.
#[test]
fn a_pool_serves_others_while_a_handler_waits() {
    let latch = Latch::default();
    let waits = latch.clone();
    let play = Stage::with(Box::new(Pool::new(2))).talk(move |call, peer| {
        if let Call::Line(line) = call {
            if line == b"hold\n" {
                waits.wait();
            }
            peer.write(line)?;
        }
        Ok(Next::Continue)
    });
    let mut holder = play.connect();
    holder.write_all(b"hold\n").unwrap();
    let mut others: Vec<_> = (0..50).map(|_| play.connect()).collect();
    for round in 0..3 {
        for client in &mut others {
            let line = format!("{round}\n");
            assert_eq!(ask(client, &line), line);
        }
    }
    latch.open();
    assert_eq!(read_line(&mut holder), "hold\n");
    drop((holder, others));
    play.stop();
}
