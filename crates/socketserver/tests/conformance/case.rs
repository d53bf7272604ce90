//! The matrix: transports, kinds of handlers, engines, and which of them a sentence is about.

use std::fmt;

use socketserver::Scheme;

use crate::Outcome;
use crate::server_process::Setup;

/// A kind of handler.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// It is given a whole request, and may wait: a stream, or a datagram.
    Requests,
    /// It is given one message of a stream after another.
    Messages,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Requests, Self::Messages];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Messages => "messages",
        }
    }
}

/// An engine, as it is set up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Engine {
    Sequential,
    Threading,
    Forking,
    Pool,
    /// One loop, on the thread that serves.
    Reactor,
    /// Three loops: most connections are on another thread than the one that accepts.
    ReactorOfThree,
    /// Two loops that are driven by `io_uring`, where the kernel allows it.
    #[cfg(feature = "uring")]
    ReactorUring,
}

impl Engine {
    pub(crate) const ALL: &[Self] = &[
        Self::Sequential,
        Self::Threading,
        Self::Forking,
        Self::Pool,
        Self::Reactor,
        Self::ReactorOfThree,
        #[cfg(feature = "uring")]
        Self::ReactorUring,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::Threading => "threading",
            Self::Forking => "forking",
            Self::Pool => "pool",
            Self::Reactor => "reactor",
            Self::ReactorOfThree => "reactor_of_three",
            #[cfg(feature = "uring")]
            Self::ReactorUring => "reactor_uring",
        }
    }

    pub(crate) fn is_reactor(self) -> bool {
        self.loops() > 0
    }

    /// How many event loops it has.
    pub(crate) fn loops(self) -> usize {
        match self {
            Self::Reactor => 1,
            Self::ReactorOfThree => 3,
            #[cfg(feature = "uring")]
            Self::ReactorUring => 2,
            _ => 0,
        }
    }

    /// What the library calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            other if other.is_reactor() => Self::Reactor.as_str(),
            other => other.as_str(),
        }
    }
}

/// One cell of the matrix.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) scheme: Scheme,
    pub(crate) kind: Kind,
    pub(crate) engine: Engine,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, engine) = (self.kind.as_str(), self.engine.as_str());
        write!(f, "{}::{kind}::{engine}", self.scheme.as_str())
    }
}

impl Case {
    /// A server of this transport, kind of handler and engine, not started yet.
    pub(crate) fn server(self) -> Setup {
        Setup::new(self)
    }

    /// Whether the library has it: a datagram is no stream of messages, and a stream's request waits
    /// for its peer, which an event loop must not.
    fn exists(self) -> bool {
        match (self.kind, self.scheme.is_datagram()) {
            (Kind::Messages, is_datagram) => !is_datagram,
            (Kind::Requests, false) => !self.engine.is_reactor(),
            (Kind::Requests, true) => true,
        }
    }

    /// Whether its requests are served one after another, on the thread that serves.
    pub(crate) fn is_one_by_one(self) -> bool {
        match self.engine {
            Engine::Sequential => true,
            // It takes datagrams for what never waits.
            engine if engine.is_reactor() => self.scheme.is_datagram(),
            _ => false,
        }
    }
}

/// All cells.
pub(crate) fn all() -> impl Iterator<Item = Case> {
    let engines = |(scheme, kind)| {
        Engine::ALL.iter().map(move |&engine| Case {
            scheme,
            kind,
            engine,
        })
    };
    let kinds = |scheme| Kind::ALL.into_iter().map(move |kind| (scheme, kind));
    let cells = Scheme::ALL.into_iter().flat_map(kinds).flat_map(engines);
    cells.filter(|case| case.exists())
}

/// Something that holds.
#[derive(Clone, Copy)]
pub(crate) struct Sentence {
    pub(crate) name: &'static str,
    pub(crate) holds_for: fn(Case) -> bool,
    pub(crate) check: fn(Case) -> Outcome,
}

/// Lists the sentences of a module, by the cells that they hold for.
macro_rules! sentences {
    ($($holds_for:ident: $($name:ident),+;)+) => {
        pub(crate) const SENTENCES: &[crate::case::Sentence] = &[$($(
            crate::case::Sentence {
                name: stringify!($name),
                holds_for: crate::case::$holds_for,
                check: $name,
            },
        )+)+];
    };
}
pub(crate) use sentences;

pub(crate) fn everywhere(_: Case) -> bool {
    true
}

pub(crate) fn on_streams(case: Case) -> bool {
    !case.scheme.is_datagram()
}

pub(crate) fn on_datagrams(case: Case) -> bool {
    case.scheme.is_datagram()
}

pub(crate) fn on_internet(case: Case) -> bool {
    matches!(case.scheme, Scheme::Tcp | Scheme::Udp)
}

pub(crate) fn on_unix(case: Case) -> bool {
    !on_internet(case)
}

/// They hold less than those of the internet, so that it soon shows on the one side what is read on
/// the other.
pub(crate) fn on_unix_streams(case: Case) -> bool {
    on_unix(case) && on_streams(case)
}

pub(crate) fn on_unix_datagrams(case: Case) -> bool {
    on_unix(case) && on_datagrams(case)
}

pub(crate) fn on_udp(case: Case) -> bool {
    on_internet(case) && on_datagrams(case)
}

pub(crate) fn side_by_side(case: Case) -> bool {
    !case.is_one_by_one()
}

pub(crate) fn side_by_side_on_streams(case: Case) -> bool {
    side_by_side(case) && on_streams(case)
}

/// Where the stop that is asked for can find a handler at work: side by side, and wherever a handler
/// that is at work elsewhere only pauses.
pub(crate) fn side_by_side_or_pausing(case: Case) -> bool {
    side_by_side(case) || on_messages(case)
}

pub(crate) fn on_messages(case: Case) -> bool {
    case.kind == Kind::Messages
}

pub(crate) fn on_messages_side_by_side(case: Case) -> bool {
    on_messages(case) && side_by_side(case)
}

pub(crate) fn shared_memory_on_streams(case: Case) -> bool {
    side_by_side_on_streams(case) && !forking(case)
}

/// Engines that have a `handle_request`.
pub(crate) fn blocking(case: Case) -> bool {
    !case.engine.is_reactor()
}

pub(crate) fn forking(case: Case) -> bool {
    case.engine == Engine::Forking
}

pub(crate) fn forking_on_streams(case: Case) -> bool {
    forking(case) && on_streams(case)
}

/// Engines on which who says nothing takes no thread.
pub(crate) fn parking_on_streams(case: Case) -> bool {
    (case.engine == Engine::Pool || case.engine.is_reactor()) && on_streams(case)
}

pub(crate) fn parking_messages(case: Case) -> bool {
    parking_on_streams(case) && on_messages(case)
}
