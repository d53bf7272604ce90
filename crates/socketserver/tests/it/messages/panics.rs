//! What goes wrong in a message handler costs its own connection, and is told once.

use std::io::{self, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use socketserver::codec::{Codec, Decoded, Input};
use socketserver::{EndReason, Limits, MessageHandler, Next, Peer};

use super::{Play, Stage, sentences};
use crate::support::{read_line, rest, until};

/// Where it goes wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Where {
    Make,
    Codec,
    Setup,
    Decode,
    Handle,
    Invalid,
    Tick,
    Resumed,
    Finish,
    Drop,
    Nowhere,
}

const ALL: [Where; 10] = [
    Where::Make,
    Where::Codec,
    Where::Setup,
    Where::Decode,
    Where::Handle,
    Where::Invalid,
    Where::Tick,
    Where::Resumed,
    Where::Finish,
    Where::Drop,
];

/// Counts what was called.
#[derive(Clone, Default)]
struct Counts {
    setups: Arc<AtomicUsize>,
    finishes: Arc<AtomicUsize>,
    drops: Arc<AtomicUsize>,
}

struct Fragile {
    at: Where,
    panics: bool,
    counts: Counts,
}

impl Fragile {
    fn go(&self, at: Where) -> io::Result<Next> {
        if self.at != at {
            return Ok(Next::Continue);
        }
        assert!(!self.panics, "a panic in {at:?}");
        Err(io::Error::other(format!("an error in {at:?}")))
    }
}

/// Bytes, of which `?` is none.
struct Bytes(bool);

impl Codec for Bytes {
    type Message<'a> = u8;

    fn for_limits(_: &Limits) -> Self {
        Self(false)
    }

    fn decode(&mut self, input: &[u8], _: Input) -> Decoded<u8> {
        assert!(!self.0, "a panic in Decode");
        if input[0] == b'?' {
            let error = io::Error::new(io::ErrorKind::InvalidData, "no byte");
            return Decoded::Invalid { used: 1, error };
        }
        Decoded::Message {
            message: input[0],
            used: 1,
        }
    }
}

impl MessageHandler for Fragile {
    type Codec = Bytes;

    fn codec(&mut self, _: &Limits) -> Bytes {
        assert!(self.at != Where::Codec, "a panic in Codec");
        Bytes(self.at == Where::Decode)
    }

    fn setup(&mut self, peer: &mut Peer<'_>) -> io::Result<()> {
        self.go(Where::Setup)?;
        self.counts.setups.fetch_add(1, Ordering::SeqCst);
        if self.at == Where::Tick {
            peer.wake_after(std::time::Duration::from_millis(1));
        }
        peer.write(b"set up\n")
    }

    fn handle(&mut self, _: u8, peer: &mut Peer<'_>) -> io::Result<Next> {
        if self.at == Where::Resumed {
            peer.resumer().resume();
            return Ok(Next::Pause);
        }
        self.go(Where::Handle)
    }

    fn invalid(&mut self, _: io::Error, _: &mut Peer<'_>) -> io::Result<Next> {
        self.go(Where::Invalid)
    }

    fn tick(&mut self, _: &mut Peer<'_>) -> io::Result<Next> {
        self.go(Where::Tick)
    }

    fn resumed(&mut self, _: &mut Peer<'_>) -> io::Result<Next> {
        self.go(Where::Resumed)
    }

    fn finish(&mut self, peer: &mut Peer<'_>) -> io::Result<()> {
        self.counts.finishes.fetch_add(1, Ordering::SeqCst);
        peer.write(b"finished\n")?;
        self.go(Where::Finish).map(drop)
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        self.counts.drops.fetch_add(1, Ordering::SeqCst);
        assert!(
            self.at != Where::Drop || !self.panics || std::thread::panicking(),
            "a panic in Drop"
        );
    }
}

/// Serves handlers of which each goes wrong where `script` says next.
fn play(stage: Stage, script: Vec<(Where, bool)>) -> (Play, Counts) {
    let counts = Counts::default();
    let kept = counts.clone();
    let next = AtomicUsize::new(0);
    let play = stage.serve(move || {
        let number = next.fetch_add(1, Ordering::SeqCst);
        let (at, panics) = script
            .get(number)
            .copied()
            .unwrap_or((Where::Nowhere, false));
        assert!(at != Where::Make, "a panic in Make");
        Fragile {
            at,
            panics,
            counts: kept.clone(),
        }
    });
    (play, counts)
}

sentences! {
    fn a_panic_costs_one_connection_wherever_it_is(kind) {
        let script: Vec<_> = ALL.iter().map(|&at| (at, true)).collect();
        let (play, counts) = play(Stage::new(kind), script);
        for (number, at) in ALL.into_iter().enumerate() {
            let mut client = play.connect();
            let _ = client.write_all(b"a?");
            if at != Where::Tick {
                let _ = client.shutdown(Shutdown::Write);
            }
            let heard = rest(&mut client).unwrap_or_default();
            let heard = String::from_utf8(heard).unwrap();
            drop(client);
            until("it has ended", || play.record.ends().len() == number + 1);
            let reason = play.record.ends()[number];
            assert_eq!(reason, EndReason::Panicked, "{kind:?} {at:?}");
            let failures = play.record.failures();
            assert_eq!(failures.len(), number + 1, "{kind:?} {at:?}: {failures:?}");
            assert!(failures[number].ends_with(&format!("a panic in {at:?}")), "{kind:?}: {failures:?}");
            let is_set_up = !matches!(at, Where::Make | Where::Codec | Where::Setup);
            let wanted = if is_set_up { "set up\nfinished\n" } else { "" };
            assert_eq!(heard, wanted, "{kind:?} {at:?}");
        }
        assert_eq!(play.handle().counters().panicked, ALL.len() as u64);
        // Who comes next is served.
        let mut client = play.connect();
        assert_eq!(read_line(&mut client), "set up\n");
        drop(client);
        play.until_count(0);
        let setups = counts.setups.load(Ordering::SeqCst);
        assert_eq!(counts.finishes.load(Ordering::SeqCst), setups, "{kind:?}");
        assert_eq!(counts.drops.load(Ordering::SeqCst), ALL.len(), "{kind:?}: one was never made");
        play.stop();
    }

    fn an_error_is_told_once_and_finish_runs_if_setup_succeeded(kind) {
        let places = [Where::Setup, Where::Handle, Where::Invalid, Where::Resumed, Where::Finish];
        let script: Vec<_> = places.iter().map(|&at| (at, false)).collect();
        let (play, counts) = play(Stage::new(kind), script);
        for (number, at) in places.into_iter().enumerate() {
            let mut client = play.connect();
            let _ = client.write_all(b"a?");
            let _ = client.shutdown(Shutdown::Write);
            let heard = rest(&mut client).unwrap_or_default();
            drop(client);
            until("it has ended", || play.record.ends().len() == number + 1);
            assert_eq!(play.record.ends()[number], EndReason::Failed, "{kind:?} {at:?}");
            let failures = play.record.failures();
            assert_eq!(failures.len(), number + 1, "{kind:?} {at:?}: {failures:?}");
            assert!(failures[number].ends_with(&format!("an error in {at:?}")), "{kind:?}: {failures:?}");
            let wanted: &[u8] = if at == Where::Setup { b"" } else { b"set up\nfinished\n" };
            assert_eq!(heard, wanted, "{kind:?} {at:?}");
        }
        assert_eq!(counts.finishes.load(Ordering::SeqCst), 4);
        play.stop();
    }
}
