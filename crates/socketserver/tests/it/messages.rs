//! Message handlers on every engine, told in sentences; each sentence is a trial for each engine.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use socketserver::codec::{Line, Lines};
use socketserver::testing::{ManualClock, Memory};
use socketserver::{
    Builder, ConnectionInfo, DrainReport, Driver, Engine, Limits, MessageHandler, Next, Peer, Pool,
    Reactor, Running, Sequential, ServerHandle, Threading,
};

use crate::support::{Record, bounded, read_line, until, within};

mod broadcasts;
mod flushing;
mod framing;
mod lifecycle;
mod outboxes;
mod packets;
mod panics;
mod pauses;
mod rest;
mod silence;
mod storms;
mod timers;

/// The engines, in this process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Sequential,
    Threading,
    Pool,
    Reactor,
    TwoLoops,
    Ring,
}

impl Kind {
    /// An engine that serves several at once, with as many threads as that takes.
    pub(crate) fn engine(self) -> Box<dyn Engine> {
        match self {
            Self::Sequential => Box::new(Sequential),
            Self::Threading => Box::new(Threading::default()),
            Self::Pool => Box::new(Pool::new(4)),
            Self::Reactor => Box::new(Reactor::new(1)),
            Self::TwoLoops => Box::new(Reactor::new(2)),
            Self::Ring => Box::new(Reactor::new(2).driver(Driver::Uring)),
        }
    }
}

/// Makes of each sentence a trial for each engine; with `parallel`, for each that serves several
/// connections at once; with `reactor`, for each that has event loops.
macro_rules! sentences {
    (@ $engines:tt $($(#[$meta:meta])* fn $name:ident($kind:ident) $body:block)*) => {$(
        $(#[$meta])*
        mod $name {
            #[allow(unused_imports, reason = "not every sentence needs all of them")]
            use super::*;
            #[allow(clippy::needless_pass_by_value, reason = "it is a copy")]
            fn run($kind: crate::messages::Kind) $body
            crate::messages::trials!($engines);
        }
    )*};
    (parallel: $($rest:tt)*) => {
        crate::messages::sentences!(@ [threading: Threading, pool: Pool, reactor: Reactor, two_loops: TwoLoops, ring: Ring] $($rest)*);
    };
    (reactor: $($rest:tt)*) => {
        crate::messages::sentences!(@ [reactor: Reactor, two_loops: TwoLoops, ring: Ring] $($rest)*);
    };
    ($($rest:tt)*) => {
        crate::messages::sentences!(@ [sequential: Sequential, threading: Threading, pool: Pool, reactor: Reactor, two_loops: TwoLoops, ring: Ring] $($rest)*);
    };
}

macro_rules! trials {
    ([$($name:ident: $kind:ident),*]) => {$(
        #[test]
        fn $name() {
            run(crate::messages::Kind::$kind);
        }
    )*};
}

pub(crate) use {sentences, trials};

/// What a [`Talk`] is called for.
#[derive(Debug)]
pub(crate) enum Call<'a> {
    Setup,
    /// A line as it came in.
    Line(&'a [u8]),
    Invalid(io::Error),
    Tick,
    Resumed,
    Finish,
}

/// A handler of lines that is one function.
pub(crate) struct Talk<F>(F);

impl<F> MessageHandler for Talk<F>
where
    F: FnMut(Call<'_>, &mut Peer<'_>) -> io::Result<Next> + Send + 'static,
{
    type Codec = Lines;

    fn setup(&mut self, peer: &mut Peer<'_>) -> io::Result<()> {
        (self.0)(Call::Setup, peer).map(|_| ())
    }

    fn handle(&mut self, line: Line<'_>, peer: &mut Peer<'_>) -> io::Result<Next> {
        (self.0)(Call::Line(line.raw()), peer)
    }

    fn invalid(&mut self, error: io::Error, peer: &mut Peer<'_>) -> io::Result<Next> {
        (self.0)(Call::Invalid(error), peer)
    }

    fn tick(&mut self, peer: &mut Peer<'_>) -> io::Result<Next> {
        (self.0)(Call::Tick, peer)
    }

    fn resumed(&mut self, peer: &mut Peer<'_>) -> io::Result<Next> {
        (self.0)(Call::Resumed, peer)
    }

    fn finish(&mut self, peer: &mut Peer<'_>) -> io::Result<()> {
        (self.0)(Call::Finish, peer).map(|_| ())
    }
}

/// Makes handlers of `call`.
pub(crate) fn talk<F>(call: F) -> impl Fn() -> Talk<F> + Send + Sync + 'static
where
    F: FnMut(Call<'_>, &mut Peer<'_>) -> io::Result<Next> + Clone + Send + Sync + 'static,
{
    move || Talk(call.clone())
}

/// Sends each line back; ends the connection where a line is too long.
pub(crate) fn echo(call: Call<'_>, peer: &mut Peer<'_>) -> io::Result<Next> {
    match call {
        Call::Line(line) => peer.write(line)?,
        Call::Invalid(error) => return Err(error),
        _ => {}
    }
    Ok(Next::Continue)
}

/// Limits without any timeout.
pub(crate) fn patient() -> Limits {
    Limits::default()
        .idle_timeout(None)
        .read_timeout(None)
        .write_timeout(None)
}

/// What a server in memory is made of.
pub(crate) struct Stage {
    engine: Box<dyn Engine>,
    limits: Limits,
    is_by_hand: bool,
    drain_timeout: Option<Duration>,
}

impl Stage {
    pub(crate) fn new(kind: Kind) -> Self {
        Self::with(kind.engine())
    }

    pub(crate) fn with(engine: Box<dyn Engine>) -> Self {
        Self {
            engine,
            limits: Limits::default(),
            is_by_hand: false,
            drain_timeout: None,
        }
    }

    pub(crate) fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Its time is moved by the test.
    pub(crate) fn by_hand(mut self) -> Self {
        self.is_by_hand = true;
        self
    }

    pub(crate) fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = Some(timeout);
        self
    }

    /// Starts a server of `call`s.
    pub(crate) fn talk<F>(self, call: F) -> Play
    where
        F: FnMut(Call<'_>, &mut Peer<'_>) -> io::Result<Next> + Clone + Send + Sync + 'static,
    {
        self.serve(talk(call))
    }

    /// Starts a server of what `make` makes.
    pub(crate) fn serve<H: MessageHandler>(
        self,
        make: impl Fn() -> H + Send + Sync + 'static,
    ) -> Play {
        let (memory, record) = (Memory::new().unwrap(), Record::default());
        let time = ManualClock::new();
        let mut builder = Builder::new(memory.clone(), self.engine)
            .limits(self.limits)
            .observer(record.clone());
        if self.is_by_hand {
            builder = builder.clock(time.clock());
        }
        if let Some(timeout) = self.drain_timeout {
            builder = builder.drain_timeout(timeout);
        }
        let server = builder.bind((), make).unwrap().start().unwrap();
        Play {
            server,
            memory,
            time,
            record,
        }
    }
}

/// A server in memory.
pub(crate) struct Play {
    pub(crate) server: Running,
    pub(crate) memory: Memory,
    pub(crate) time: ManualClock,
    pub(crate) record: Record,
}

impl Play {
    pub(crate) fn connect(&self) -> UnixStream {
        bounded(self.memory.connect().unwrap())
    }

    pub(crate) fn handle(&self) -> &ServerHandle {
        self.server.handle()
    }

    /// What is known of the only connection, once there is one.
    pub(crate) fn only(&self) -> ConnectionInfo {
        self.until_count(1);
        self.handle().connections().remove(0)
    }

    /// Waits until so many are connected.
    pub(crate) fn until_count(&self, count: usize) {
        until("so many are connected", || {
            self.handle().connection_count() == count
        });
    }

    /// Stops the server in good order.
    pub(crate) fn stop(self) -> DrainReport {
        let server = self.server;
        within(move || server.stop()).unwrap()
    }
}

/// Sends `text` and reads one line.
pub(crate) fn ask(client: &mut UnixStream, text: &str) -> String {
    client.write_all(text.as_bytes()).unwrap();
    read_line(client)
}
