//! What a server tells of itself: events, and counters of them.
//!
//! The library writes no log and prints nothing.
//! It emits [`Event`]s, to `tracing` and to an [`Observer`]; the program decides what becomes of them.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::address::Address;
use crate::endpoint::Endpoint;
use crate::error::{Error, catch};

mod counters;

use counters::Cells;
pub use counters::Counters;

/// Why a request ended.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
#[repr(u8)]
pub enum EndReason {
    /// The handler returned.
    Done = 1,
    /// It was idle when the server shut down.
    Drained,
    /// Somebody told it to close: [`ServerHandle::disconnect`](crate::ServerHandle::disconnect).
    Disconnected,
    /// The handler returned an error that was no mere disconnect.
    Failed,
    /// It was still running at the end of the drain, and was cut off.
    Forced,
    /// Silence for [`idle_timeout`](crate::Limits::idle_timeout).
    IdleTimeout,
    /// The handler panicked.
    Panicked,
    /// The handler failed as the peer had gone away.
    PeerGone,
    /// A message took longer than [`read_timeout`](crate::Limits::read_timeout).
    ReadTimeout,
    /// It took longer than [`request_timeout`](crate::Limits::request_timeout).
    RequestTimeout,
    /// The peer did not read, and its [`Outbox`](crate::Outbox) was full.
    SlowConsumer,
    /// The peer did not read for [`write_timeout`](crate::Limits::write_timeout).
    WriteTimeout,
}

impl EndReason {
    const ALL: [Self; 12] = [
        Self::Done,
        Self::Drained,
        Self::Disconnected,
        Self::Failed,
        Self::Forced,
        Self::IdleTimeout,
        Self::Panicked,
        Self::PeerGone,
        Self::ReadTimeout,
        Self::RequestTimeout,
        Self::SlowConsumer,
        Self::WriteTimeout,
    ];

    /// The reason whose number is `code`.
    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|&reason| reason as u8 == code)
    }

    /// Whether the server cut the request off.
    pub fn is_cut(self) -> bool {
        !matches!(
            self,
            Self::Done | Self::Failed | Self::Panicked | Self::PeerGone | Self::Drained
        )
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "done",
            Self::Drained => "idle at shutdown",
            Self::Disconnected => "disconnected",
            Self::Failed => "failed",
            Self::Forced => "cut off at the end of the drain",
            Self::IdleTimeout => "idle timeout",
            Self::Panicked => "panicked",
            Self::PeerGone => "the peer has gone",
            Self::ReadTimeout => "read timeout",
            Self::RequestTimeout => "request timeout",
            Self::SlowConsumer => "slow consumer",
            Self::WriteTimeout => "write timeout",
        })
    }
}

/// Why a request was refused before a handler saw it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Refusal {
    /// The process or the machine is out of descriptors.
    Descriptors,
    /// The engine could not take it: no thread, no process.
    Engine,
    /// A datagram larger than the transport's limit.
    Oversize,
    /// [`per_address`](crate::Limits::per_address).
    PerAddress,
    /// The server was closing.
    Shutdown,
    /// [`verify_request`](crate::Hooks::verify_request) said no.
    Verify,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Descriptors => "out of descriptors",
            Self::Engine => "the engine could not take it",
            Self::Oversize => "datagram too large",
            Self::PerAddress => "too many from one address",
            Self::Shutdown => "the server is closing",
            Self::Verify => "verify_request",
        })
    }
}

/// A fact about a server, told when it happens.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Accepting has paused, for want of a resource; told once until it has resumed.
    AcceptPaused {
        /// The listener.
        endpoint: &'a Endpoint,
        /// What `accept(2)` said.
        error: &'a io::Error,
    },
    /// Accepting goes on.
    AcceptResumed {
        /// The listener.
        endpoint: &'a Endpoint,
        /// How many were refused meanwhile.
        refused: u64,
    },
    /// One connection could not be accepted, and nothing else is the matter.
    AcceptFailed {
        /// The listener.
        endpoint: &'a Endpoint,
        /// What `accept(2)` said.
        error: &'a io::Error,
    },
    /// A request has ended.
    Ended {
        /// Its number.
        id: u64,
        /// Its peer.
        peer: &'a Address,
        /// Why it ended.
        reason: EndReason,
        /// Bytes received.
        bytes_in: u64,
        /// Bytes sent.
        bytes_out: u64,
        /// How long it took.
        duration: Duration,
    },
    /// A handler, a hook or the engine failed; the default `handle_error` tells this.
    Failed {
        /// How.
        error: &'a Error,
    },
    /// The connection limit was lowered to what the descriptor limit can hold.
    LimitLowered {
        /// What was asked for.
        from: usize,
        /// What it is.
        to: usize,
    },
    /// A handler holds up its event loop, and with it all connections there.
    LoopHeld {
        /// The number of the connection that it serves.
        id: u64,
        /// Its peer.
        peer: &'a Address,
        /// For how long at least.
        time: Duration,
    },
    /// A request was refused.
    Refused {
        /// Its peer.
        peer: &'a Address,
        /// Why.
        reason: Refusal,
    },
    /// A datagram could not be sent, as the peer's queue or the network's was full.
    ReplyDropped {
        /// The peer.
        peer: &'a Address,
    },
    /// A request has been accepted and goes to the engine.
    Started {
        /// Its number.
        id: u64,
        /// Its peer.
        peer: &'a Address,
    },
}

/// Watches a server's events.
///
/// It is called on the thread on which the thing happens, so it must be quick.
pub trait Observer: Send + Sync + 'static {
    /// An event has happened.
    fn event(&self, event: &Event<'_>);
}

impl<F: Fn(&Event<'_>) + Send + Sync + 'static> Observer for F {
    fn event(&self, event: &Event<'_>) {
        self(event);
    }
}

/// Where events go: counters, `tracing`, and the program's observer.
#[derive(Clone)]
pub(crate) struct Telemetry {
    cells: Arc<Cells>,
    observer: Option<Arc<dyn Observer>>,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Telemetry")
            .field(&self.cells.snapshot())
            .finish()
    }
}

impl Telemetry {
    pub(crate) fn new(observer: Option<Arc<dyn Observer>>) -> Self {
        Self {
            cells: Arc::default(),
            observer,
        }
    }

    pub(crate) fn counters(&self) -> Counters {
        self.cells.snapshot()
    }

    /// Whether anybody sees the events of a request, beside the counters.
    pub(crate) fn is_observed(&self) -> bool {
        self.observer.is_some() || tracing::enabled!(tracing::Level::DEBUG)
    }

    /// Counts what nobody [observes](Self::is_observed) otherwise.
    #[inline]
    pub(crate) fn count_unobserved(&self, more: &Counters) {
        self.cells.add(more);
    }

    /// Counts `event`, traces it, and tells the observer, whose panic is its own affair.
    pub(crate) fn emit(&self, event: &Event<'_>) {
        self.count(event);
        trace(event);
        if let Some(observer) = &self.observer
            && catch(|| observer.event(event)).is_err()
        {
            tracing::error!("the observer panicked");
        }
    }

    fn count(&self, event: &Event<'_>) {
        let add = |cell: &AtomicU64, by| cell.fetch_add(by, Ordering::Relaxed);
        let cells = &*self.cells;
        match event {
            Event::AcceptPaused { .. } => add(&cells.accept_pauses, 1),
            Event::AcceptFailed { .. } => add(&cells.accept_failures, 1),
            Event::Ended {
                reason,
                bytes_in,
                bytes_out,
                ..
            } => {
                let mut one = Counters::default();
                one.count_ended(*reason, *bytes_in, *bytes_out);
                cells.add(&one);
                0
            }
            Event::LoopHeld { .. } => add(&cells.loops_held, 1),
            Event::Refused { .. } => add(&cells.refused, 1),
            Event::ReplyDropped { .. } => add(&cells.replies_dropped, 1),
            Event::Started { .. } => add(&cells.started, 1),
            Event::AcceptResumed { .. } | Event::Failed { .. } | Event::LimitLowered { .. } => 0,
        };
    }
}

/// Hands `event` to `tracing`, at the level that its reader deserves.
fn trace(event: &Event<'_>) {
    match event {
        Event::AcceptPaused { endpoint, error } => {
            tracing::warn!(%endpoint, %error, "accepting pauses");
        }
        Event::AcceptResumed { endpoint, refused } => {
            tracing::debug!(%endpoint, refused, "accepting resumes");
        }
        Event::AcceptFailed { endpoint, error } => {
            tracing::debug!(%endpoint, %error, "a connection could not be accepted");
        }
        Event::Ended {
            id,
            peer,
            reason,
            bytes_in,
            bytes_out,
            duration,
        } => {
            let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
            if reason.is_cut() {
                tracing::info!(id, %peer, %reason, bytes_in, bytes_out, duration_ms, "cut off");
            } else {
                tracing::debug!(id, %peer, %reason, bytes_in, bytes_out, duration_ms, "ended");
            }
        }
        Event::Failed { error } if error.is_disconnect() => tracing::debug!(%error, "disconnected"),
        Event::Failed { error } => tracing::warn!(%error, "failed"),
        Event::LimitLowered { from, to } => {
            tracing::warn!(
                from,
                to,
                "the connection limit is lowered to what the descriptor limit can hold; ulimit -n raises it"
            );
        }
        Event::LoopHeld { id, peer, time } => {
            tracing::warn!(
                id,
                %peer,
                ?time,
                "a handler holds up its event loop: hand slow work to a thread, and pause"
            );
        }
        Event::Refused { peer, reason } => tracing::debug!(%peer, %reason, "refused"),
        Event::ReplyDropped { peer } => tracing::debug!(%peer, "a reply was dropped"),
        Event::Started { id, peer } => tracing::debug!(id, %peer, "started"),
    }
}
