//! Datagrams that are served where they are received, one after another: they take no seat.
//!
//! Nobody but the serving thread could meet one in the registry, so they are not listed there; they
//! are numbered, limited, told and counted as all others.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Registry, lock};
use crate::address::Address;
use crate::telemetry::{Counters, EndReason, Event};

/// A batch of datagrams, until their replies have been sent.
#[derive(Debug, Default)]
pub(crate) struct DatagramBatch {
    /// Whether anybody sees more of them than the counters; without, no clock is read.
    is_observed: bool,
    first_id: u64,
    /// How many have been handled.
    count: usize,
    /// When the present one began.
    began: Option<Instant>,
    /// Those that have been handled, if they are observed.
    handled: Vec<HandledDatagram>,
    /// What they come to otherwise.
    sum: Counters,
}

/// A datagram whose handler is done.
#[derive(Debug)]
struct HandledDatagram {
    id: u64,
    peer: Address,
    reason: EndReason,
    bytes_in: u64,
    bytes_out: u64,
    duration: Duration,
}

impl DatagramBatch {
    /// A batch of at most so many begins.
    pub(crate) fn open(&mut self, registry: &Registry, at_most: usize) {
        self.is_observed = registry.telemetry.is_observed();
        self.first_id = registry.next.fetch_add(at_most as u64, Ordering::Relaxed);
    }

    /// The next one, which is of `peer`, begins; tells its number and its place in the batch.
    pub(crate) fn begin(&mut self, registry: &Registry, peer: &Address) -> (u64, usize) {
        let id = self.first_id + self.count as u64;
        if self.is_observed {
            self.began = Some(registry.clock.now());
            registry.telemetry.emit(&Event::Started { id, peer });
        } else {
            let started = 1;
            registry.telemetry.count_unobserved(&Counters {
                started,
                ..Counters::default()
            });
        }
        (id, self.count)
    }

    /// The handler of the one that has begun is done.
    pub(crate) fn handled(
        &mut self,
        registry: &Registry,
        peer: Address,
        reason: EndReason,
        (bytes_in, bytes_out): (u64, u64),
    ) {
        if self.is_observed {
            let now = registry.clock.now();
            self.handled.push(HandledDatagram {
                id: self.first_id + self.count as u64,
                peer,
                reason,
                bytes_in,
                bytes_out,
                duration: now.saturating_duration_since(self.began.unwrap_or(now)),
            });
        } else {
            self.sum.count_ended(reason, bytes_in, bytes_out);
        }
        self.count += 1;
    }

    /// Replies to the one at this place could not be sent: so many, of so many bytes together.
    pub(crate) fn dropped(&mut self, registry: &Registry, nth: usize, count: usize, bytes: u64) {
        let Some(handled) = self.handled.get_mut(nth) else {
            self.sum.replies_dropped += count as u64;
            self.sum.bytes_out = self.sum.bytes_out.saturating_sub(bytes);
            return;
        };
        handled.bytes_out = handled.bytes_out.saturating_sub(bytes);
        let peer = &handled.peer;
        for _ in 0..count {
            registry.telemetry.emit(&Event::ReplyDropped { peer });
        }
    }

    /// The replies have been sent: all of the batch have ended.
    pub(crate) fn close(&mut self, registry: &Registry) {
        if let Some(report) = &mut lock(&registry.seats).drain {
            report.finished += self.count;
        }
        self.count = 0;
        registry.telemetry.count_unobserved(&self.sum);
        self.sum = Counters::default();
        for handled in self.handled.drain(..) {
            registry.telemetry.emit(&Event::Ended {
                id: handled.id,
                peer: &handled.peer,
                reason: handled.reason,
                bytes_in: handled.bytes_in,
                bytes_out: handled.bytes_out,
                duration: handled.duration,
            });
        }
    }
}

impl Registry {
    /// Whether the limit per address lets one more of `peer` live.
    pub(crate) fn admits(&self, peer: &Address) -> bool {
        let (Some(origin), Some(limit)) = (self.origin(peer, None), self.limits.per_address) else {
            return true;
        };
        let seats = lock(&self.seats);
        seats.origins.get(&origin).copied().unwrap_or(0) < limit
    }
}
