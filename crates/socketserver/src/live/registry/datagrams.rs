//! Datagrams that are served where they are received, one after another: they take no seat.
//!
//! Nobody but the serving thread could meet one in the registry, so they are not listed there; they
//! are numbered, limited, told and counted as all others.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socketserver_sys::gauges::{Gauges, GaugesCell};

use super::super::{Live, Reach, lock};
use super::Registry;
use crate::address::Address;
use crate::endpoint::Endpoint;
use crate::telemetry::{Counters, EndReason, Event};

/// A datagram whose handler is done, until its replies have been sent.
#[derive(Debug)]
pub(crate) struct HandledDatagram {
    id: u64,
    pub(crate) peer: Address,
    reason: EndReason,
    bytes_in: u64,
    pub(crate) bytes_out: u64,
    duration: Duration,
}

impl Registry {
    /// What datagrams that come in by `endpoint` can be served with, one after another.
    pub(crate) fn unseated(&self, endpoint: &Arc<Endpoint>) -> Arc<Live> {
        let endpoint = Arc::clone(endpoint);
        Arc::new(Live {
            id: 0,
            peer: Address::Unnamed,
            endpoint,
            started: self.clock.moment(),
            gauges: GaugesCell::Own(Gauges::default()),
            reach: Mutex::new(Reach::Nothing),
        })
    }

    /// Whether the limit per address lets one more of `peer` live.
    pub(crate) fn admits(&self, peer: &Address) -> bool {
        let (Some(origin), Some(limit)) = (self.origin(peer, None), self.limits.per_address) else {
            return true;
        };
        let seats = lock(&self.seats);
        seats.origins.get(&origin).copied().unwrap_or(0) < limit
    }

    /// Makes `live` that of the next datagram, and tells that it has started.
    ///
    /// The clock is read only if somebody [observes](Self::is_observed) it.
    pub(crate) fn begin_datagram(&self, live: &mut Arc<Live>, peer: &Address, is_observed: bool) {
        if Arc::get_mut(live).is_none() {
            *live = self.unseated(&live.endpoint);
        }
        let Some(live) = Arc::get_mut(live) else {
            return;
        };
        live.id = self.next.fetch_add(1, Ordering::Relaxed);
        copy(peer, &mut live.peer);
        if let GaugesCell::Own(gauges) = &mut live.gauges {
            // Nobody else has reached it, so the other ones stand as they stood.
            *gauges.bytes_in.get_mut() = 0;
            *gauges.bytes_out.get_mut() = 0;
        }
        if is_observed {
            live.started = self.clock.moment();
            let id = live.id;
            self.telemetry.emit(&Event::Started { id, peer });
        } else {
            let started = 1;
            self.telemetry.count_unobserved(&Counters {
                started,
                ..Counters::default()
            });
        }
    }

    /// Notes what became of the datagram of `live`, whose handler is done.
    pub(crate) fn handled(
        &self,
        live: &Live,
        peer: Address,
        reason: EndReason,
        is_observed: bool,
    ) -> HandledDatagram {
        let now = if is_observed {
            self.clock.moment()
        } else {
            live.started
        };
        HandledDatagram {
            id: live.id,
            peer,
            reason,
            bytes_in: live.gauges.bytes_in.load(Ordering::Relaxed),
            bytes_out: live.gauges.bytes_out.load(Ordering::Relaxed),
            duration: now.since(live.started),
        }
    }

    /// Tells that datagrams have ended.
    pub(crate) fn end_datagrams(&self, handled: &[HandledDatagram]) {
        if let Some(report) = &mut lock(&self.seats).drain {
            report.finished += handled.len();
        }
        if !self.telemetry.is_observed() {
            let mut sum = Counters::default();
            for one in handled {
                sum.count_ended(one.reason, one.bytes_in, one.bytes_out);
            }
            return self.telemetry.count_unobserved(&sum);
        }
        for one in handled {
            self.telemetry.emit(&Event::Ended {
                id: one.id,
                peer: &one.peer,
                reason: one.reason,
                bytes_in: one.bytes_in,
                bytes_out: one.bytes_out,
                duration: one.duration,
            });
        }
    }

    /// Whether anybody sees more of datagrams than the counters.
    pub(crate) fn is_observed(&self) -> bool {
        self.telemetry.is_observed()
    }
}

/// Makes `to` a copy of `from`, without an allocation if `to` has one that can be used again.
fn copy(from: &Address, to: &mut Address) {
    match (from, to) {
        (Address::Abstract(from), Address::Abstract(to)) => to.clone_from(from),
        (Address::Path(from), Address::Path(to)) => to.clone_from(from),
        (from, to) => *to = from.clone(),
    }
}
