//! All live requests of a server: who is let in, who is listed, who is told to end.
//!
//! A [`Ticket`] is a seat in the [`Registry`]; the seat is given back when the ticket is dropped, on
//! every path.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use socketserver_sys::gauges::GaugesCell;

use super::roster::Roster;
use super::{ConnectionInfo, Live, Reach, lock};
use crate::address::{Address, Origin};
use crate::clock::Clock;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::limits::Limits;
use crate::socket::Socket;
use crate::telemetry::{EndReason, Event, Refusal, Telemetry};
use crate::wake::Waker;

mod datagrams;

pub(crate) use datagrams::DatagramBatch;

/// What became of the requests that were running when a server stopped.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct DrainReport {
    /// Requests that were at work, or in the queue, and ended by themselves.
    pub finished: usize,
    /// Requests that waited for their peer, and were closed at once.
    pub idle_closed: usize,
    /// Requests that were cut off, at the deadline or by `abort`.
    pub forced: usize,
    /// Requests whose handler did not return even then: it waits for something that is not its
    /// connection. Its thread goes on.
    pub stuck: usize,
    /// How long the drain took.
    pub elapsed: Duration,
}

/// All live requests of a server.
#[derive(Debug)]
pub(crate) struct Registry {
    seats: Mutex<Seats>,
    next: AtomicU64,
    limit: AtomicU64,
    limits: Arc<Limits>,
    clock: Clock,
    telemetry: Telemetry,
    waker: Arc<Waker>,
}

#[derive(Debug, Default)]
struct Seats {
    live: Roster,
    /// How many there are from each origin, and where each is from; kept only for the limit.
    origins: HashMap<Origin, usize>,
    origin_of: HashMap<u64, Origin>,
    /// How many have left their seats, and their end has not been told yet.
    leaving: usize,
    /// Whether the loop waits for a seat, and wants to be woken.
    awaited: bool,
    /// The tally of a drain, while there is one.
    drain: Option<DrainReport>,
}

impl Registry {
    pub(crate) fn new(
        limits: Arc<Limits>,
        clock: Clock,
        telemetry: Telemetry,
        waker: Arc<Waker>,
    ) -> Self {
        let limit = AtomicU64::new(limits.connections as u64);
        Self {
            seats: Mutex::default(),
            next: AtomicU64::new(1),
            limit,
            limits,
            clock,
            telemetry,
            waker,
        }
    }

    /// Sets how many may live at once.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.store(limit as u64, Ordering::Relaxed);
    }

    /// Whether one more may live; if not, the loop is woken when that has changed.
    pub(crate) fn has_room(&self) -> bool {
        let mut seats = lock(&self.seats);
        seats.awaited = seats.live.len() as u64 >= self.limit.load(Ordering::Relaxed);
        !seats.awaited
    }

    /// Seats a request of `peer`.
    ///
    /// Only the serving loop calls it, after [`has_room`](Self::has_room), so the limit is exact.
    pub(crate) fn admit(
        self: &Arc<Self>,
        endpoint: &Arc<Endpoint>,
        peer: Address,
        socket: Option<&Arc<Socket>>,
        gauges: GaugesCell,
    ) -> Result<Ticket, (Address, Refusal)> {
        let origin = self.origin(&peer, socket);
        let live = Arc::new(Live {
            id: self.next.fetch_add(1, Ordering::Relaxed),
            peer,
            endpoint: Arc::clone(endpoint),
            started: self.clock.moment(),
            gauges,
            reach: Mutex::new(
                socket.map_or(Reach::Nothing, |socket| Reach::Socket(Arc::clone(socket))),
            ),
        });
        {
            let mut seats = lock(&self.seats);
            if let (Some(origin), Some(limit)) = (origin, self.limits.per_address) {
                let count = seats.origins.entry(origin).or_default();
                if *count >= limit {
                    drop(seats);
                    let peer = live.peer.clone();
                    return Err((peer, Refusal::PerAddress));
                }
                *count += 1;
                seats.origin_of.insert(live.id, origin);
            }
            seats.live.push(Arc::clone(&live));
        }
        self.telemetry.emit(&Event::Started {
            id: live.id,
            peer: &live.peer,
        });
        Ok(Ticket {
            live,
            registry: Arc::clone(self),
            outcome: EndReason::Done,
        })
    }

    fn origin(&self, peer: &Address, socket: Option<&Arc<Socket>>) -> Option<Origin> {
        self.limits.per_address?;
        if self.limits.exempt_local && peer.is_local() {
            return None;
        }
        Some(Origin::of(peer, || socket.and_then(|socket| socket.user())))
    }

    /// How many live, or have ended without that having been told.
    pub(crate) fn count(&self) -> usize {
        let seats = lock(&self.seats);
        seats.live.len() + seats.leaving
    }

    /// What is known of all that live, the oldest first.
    pub(crate) fn list(&self) -> Vec<ConnectionInfo> {
        let now = self.clock.moment();
        let live: Vec<_> = lock(&self.seats).live.values().cloned().collect();
        live.iter().map(|live| live.info(now)).collect()
    }

    /// What is known of number `id`.
    pub(crate) fn info(&self, id: u64) -> Option<ConnectionInfo> {
        self.find(id).map(|live| live.info(self.clock.moment()))
    }

    pub(crate) fn find(&self, id: u64) -> Option<Arc<Live>> {
        lock(&self.seats).live.get(id).cloned()
    }

    /// The oldest request with a number above `after`, and when it began.
    pub(crate) fn oldest_after(&self, after: u64) -> Option<(Arc<Live>, Instant)> {
        let seats = lock(&self.seats);
        let live = seats.live.after(after)?;
        Some((Arc::clone(live), self.clock.instant(live.started)?))
    }

    /// Begins a drain: the idle end at once, and every end is counted from now on.
    pub(crate) fn begin_drain(&self) {
        let live: Vec<_> = {
            let mut seats = lock(&self.seats);
            seats.drain = Some(DrainReport::default());
            seats.live.values().cloned().collect()
        };
        // First all are looked at: the end of one may let another be served, and be idle again.
        for live in &live {
            live.note_idle();
        }
        for live in &live {
            live.end_input();
        }
    }

    /// Cuts off all that live.
    pub(crate) fn force(&self) {
        let live: Vec<_> = lock(&self.seats).live.values().cloned().collect();
        for live in live {
            live.cut(EndReason::Forced);
        }
    }

    /// Ends a drain and tells what became of it.
    pub(crate) fn end_drain(&self) -> DrainReport {
        let mut seats = lock(&self.seats);
        let stuck = seats.live.len();
        DrainReport {
            stuck,
            ..seats.drain.take().unwrap_or_default()
        }
    }

    /// Tells that the handler of connection `id` has held its loop for `time`.
    pub(crate) fn report_held(&self, id: u64, time: Duration) {
        if let Some(live) = self.find(id) {
            self.telemetry.emit(&Event::LoopHeld {
                id,
                peer: &live.peer,
                time,
            });
        }
    }

    fn leave(&self, ticket: &Ticket) {
        let live = &ticket.live;
        let reason = live.reason(ticket.outcome);
        {
            let mut seats = lock(&self.seats);
            seats.live.remove(live.id);
            seats.leaving += 1;
            if let Some(origin) = seats.origin_of.remove(&live.id)
                && let Some(count) = seats.origins.get_mut(&origin)
            {
                *count -= 1;
                if *count == 0 {
                    seats.origins.remove(&origin);
                }
            }
            if let Some(report) = &mut seats.drain {
                match reason {
                    EndReason::Drained => report.idle_closed += 1,
                    EndReason::Forced => report.forced += 1,
                    _ => report.finished += 1,
                }
            }
        }
        // The socket closes with the last who holds it.
        *lock(&live.reach) = Reach::Nothing;
        self.telemetry.emit(&Event::Ended {
            id: live.id,
            peer: &live.peer,
            reason,
            bytes_in: live.gauges.bytes_in.load(Ordering::Relaxed),
            bytes_out: live.gauges.bytes_out.load(Ordering::Relaxed),
            duration: self.clock.moment().since(live.started),
        });
        // Only now: a drain that is over has told of everybody.
        let mut seats = lock(&self.seats);
        seats.leaving -= 1;
        let wakes = std::mem::take(&mut seats.awaited) || seats.drain.is_some();
        drop(seats);
        if wakes {
            self.waker.wake();
        }
    }
}

/// A live request's seat; dropped, the request is no more.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) live: Arc<Live>,
    registry: Arc<Registry>,
    /// What the handler said; `Done` until it said something.
    pub(crate) outcome: EndReason,
}

impl Ticket {
    /// How the request ended, as far as that is known.
    pub(crate) fn reason(&self) -> EndReason {
        self.live.reason(self.outcome)
    }

    /// Where it is a seat.
    pub(crate) fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry)
    }

    /// The present, by the clock of the server.
    pub(crate) fn now(&self) -> Instant {
        self.registry.clock.now()
    }

    /// Tells that the child serving the request did not end by itself, unless it was told to.
    pub(crate) fn report_child(&self, reason: String) {
        if self.live.cut_reason().is_none() {
            let peer = self.live.peer.clone();
            let error = Error::Child { peer, reason };
            self.registry
                .telemetry
                .emit(&Event::Failed { error: &error });
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // In a forked child the seat is the parent's to give back.
        if !socketserver_sys::fork::in_child() {
            self.registry.leave(self);
        }
    }
}
