//! The matrix: transports, engines, and which of them a sentence is about.

use std::fmt;

use socketserver::Scheme;

use crate::Outcome;
use crate::server_process::Setup;

/// An engine, by its name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Engine {
    Sequential,
    Threading,
    Forking,
    Pool,
}

impl Engine {
    pub(crate) const ALL: [Self; 4] =
        [Self::Sequential, Self::Threading, Self::Forking, Self::Pool];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::Threading => "threading",
            Self::Forking => "forking",
            Self::Pool => "pool",
        }
    }
}

/// One cell of the matrix.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) scheme: Scheme,
    pub(crate) engine: Engine,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}", self.scheme.as_str(), self.engine.as_str())
    }
}

impl Case {
    /// A server of this transport and engine, not started yet.
    pub(crate) fn server(self) -> Setup {
        Setup::new(self)
    }
}

/// All cells.
pub(crate) fn all() -> impl Iterator<Item = Case> {
    Scheme::ALL.into_iter().flat_map(|scheme| {
        Engine::ALL
            .into_iter()
            .map(move |engine| Case { scheme, engine })
    })
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

pub(crate) fn on_unix_datagrams(case: Case) -> bool {
    on_unix(case) && on_datagrams(case)
}

pub(crate) fn on_udp(case: Case) -> bool {
    on_internet(case) && on_datagrams(case)
}

/// Engines that run requests side by side.
pub(crate) fn side_by_side(case: Case) -> bool {
    case.engine != Engine::Sequential
}

pub(crate) fn side_by_side_on_streams(case: Case) -> bool {
    side_by_side(case) && on_streams(case)
}

pub(crate) fn shared_memory_on_streams(case: Case) -> bool {
    matches!(case.engine, Engine::Threading | Engine::Pool) && on_streams(case)
}

pub(crate) fn forking(case: Case) -> bool {
    case.engine == Engine::Forking
}

pub(crate) fn forking_on_streams(case: Case) -> bool {
    forking(case) && on_streams(case)
}

pub(crate) fn pool_on_streams(case: Case) -> bool {
    case.engine == Engine::Pool && on_streams(case)
}
