//! The requests that are alive: what is known of each, and how each is reached.
//!
//! A [`Ticket`] is a seat in the [`Registry`]; the seat is given back when the ticket is dropped,
//! on every path.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use socketserver_sys::gauges::GaugesCell;

use crate::address::{Address, Origin};
use crate::clock::Clock;
use crate::endpoint::Endpoint;
use crate::limits::Limits;
use crate::socket::Socket;
use crate::telemetry::{EndReason, Event, Refusal, Telemetry};
use crate::wake::Waker;

/// What a request is doing.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
#[repr(u8)]
pub enum Activity {
    /// It waits for a worker.
    Queued,
    /// Its handler is at work.
    Busy,
    /// Its handler waits for input: the request is idle.
    Reading,
    /// Its handler waits for the peer to read.
    Writing,
    /// The handler is done; what was sent is still under way to the peer.
    Closing,
}

impl Activity {
    fn from_code(code: u8) -> Self {
        [Self::Busy, Self::Reading, Self::Writing, Self::Closing]
            .into_iter()
            .find(|&activity| activity as u8 == code)
            .unwrap_or(Self::Queued)
    }

    /// Whether it waits for its peer to speak.
    pub fn is_idle(self) -> bool {
        matches!(self, Self::Queued | Self::Reading)
    }

    /// What it waits for, if it waits.
    pub fn waits_for(self) -> Option<&'static str> {
        match self {
            Self::Queued => Some("a worker or the first byte"),
            Self::Reading => Some("input"),
            Self::Writing => Some("the peer to read"),
            Self::Closing => Some("the peer to close"),
            Self::Busy => None,
        }
    }
}

/// How a live request can be reached from outside its handler.
#[derive(Debug)]
enum Reach {
    /// A datagram: it waits for nothing.
    Nothing,
    /// By its socket.
    Socket(Arc<Socket>),
    /// By its process.
    Process(Pid),
}

/// One live request.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) id: u64,
    pub(crate) peer: Address,
    pub(crate) endpoint: Arc<Endpoint>,
    started: Instant,
    gauges: GaugesCell,
    reach: Mutex<Reach>,
}

impl Live {
    /// Notes what it is doing; the handler's own thread is the only one to do so.
    #[inline]
    pub(crate) fn now(&self, activity: Activity) {
        self.gauges
            .activity
            .store(activity as u8, Ordering::Relaxed);
    }

    /// Counts bytes received; only one thread does so at a time.
    #[inline]
    pub(crate) fn received(&self, bytes: usize) {
        add(&self.gauges.bytes_in, bytes);
    }

    /// Counts bytes sent by the handler; only one thread does so at a time.
    #[inline]
    pub(crate) fn sent(&self, bytes: usize) {
        add(&self.gauges.bytes_out, bytes);
    }

    /// Counts bytes sent from an outbox, from any thread.
    pub(crate) fn sent_beside(&self, bytes: usize) {
        self.gauges
            .bytes_out
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Why it was cut off, if it was.
    #[inline]
    pub(crate) fn cut_reason(&self) -> Option<EndReason> {
        match self.gauges.cut.load(Ordering::Acquire) {
            0 => None,
            code => EndReason::from_code(code),
        }
    }

    /// Notes why it is cut off; the first reason counts.
    pub(crate) fn note_cut(&self, reason: EndReason) {
        let _ =
            self.gauges
                .cut
                .compare_exchange(0, reason as u8, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Cuts it off: its reads and writes fail from now on.
    pub(crate) fn cut(&self, reason: EndReason) {
        self.note_cut(reason);
        match &*lock(&self.reach) {
            Reach::Nothing => {}
            Reach::Socket(socket) => socket.end(),
            // Its engine has not reaped it, or this would not be its reach: the pid is still its own.
            Reach::Process(pid) => {
                let _ = rustix::process::kill_process(*pid, Signal::KILL);
            }
        }
    }

    /// Lets it end in good order: every read that would wait sees the end of input.
    pub(crate) fn drain(&self) {
        let reach = lock(&self.reach);
        let activity = self.activity();
        if activity.is_idle() && !matches!(*reach, Reach::Nothing) {
            let unheard = if activity == Activity::Queued {
                UNHEARD
            } else {
                0
            };
            let idle_at = (self.gauges.bytes_in.load(Ordering::Relaxed) + 1) | unheard;
            self.gauges.idle_at.store(idle_at, Ordering::Relaxed);
        }
        self.gauges.drained.store(true, Ordering::Release);
        if let Reach::Socket(socket) = &*reach {
            socket.end_reading();
        }
    }

    /// Whether a drain has ended its reading side.
    pub(crate) fn is_drained(&self) -> bool {
        self.gauges.drained.load(Ordering::Acquire)
    }

    /// From now on it is served by a child process, which tells by its exit code whether it was idle.
    pub(crate) fn moved_to(&self, pid: Pid) {
        *lock(&self.reach) = Reach::Process(pid);
        self.gauges.idle_at.store(0, Ordering::Relaxed);
    }

    fn activity(&self) -> Activity {
        Activity::from_code(self.gauges.activity.load(Ordering::Relaxed))
    }

    fn info(&self, now: Instant) -> ConnectionInfo {
        let activity = self.activity();
        ConnectionInfo {
            id: self.id,
            peer: self.peer.clone(),
            endpoint: Endpoint::clone(&self.endpoint),
            age: now.saturating_duration_since(self.started),
            bytes_in: self.gauges.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.gauges.bytes_out.load(Ordering::Relaxed),
            activity,
            process: match &*lock(&self.reach) {
                Reach::Process(pid) => u32::try_from(pid.as_raw_nonzero().get()).ok(),
                _ => None,
            },
        }
    }

    /// How it ended, given what its handler said.
    fn reason(&self, outcome: EndReason) -> EndReason {
        if let Some(cut) = self.cut_reason() {
            return cut;
        }
        let idle_at = self.gauges.idle_at.load(Ordering::Relaxed);
        let silent = idle_at & !UNHEARD == self.gauges.bytes_in.load(Ordering::Relaxed) + 1;
        // A handler that began after the drain, and had something to say, has done its work.
        let served = idle_at & UNHEARD != 0 && self.gauges.bytes_out.load(Ordering::Relaxed) > 0;
        if idle_at != 0 && silent && !served && outcome != EndReason::Panicked {
            return EndReason::Drained;
        }
        outcome
    }
}

/// In `idle_at`: no handler had begun.
const UNHEARD: u64 = 1 << 63;

fn add(cell: &AtomicU64, bytes: usize) {
    cell.store(
        cell.load(Ordering::Relaxed) + bytes as u64,
        Ordering::Relaxed,
    );
}

/// What is known of a live request, at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// Its number, unique in this server.
    pub id: u64,
    /// Its peer.
    pub peer: Address,
    /// The endpoint that it came in by.
    pub endpoint: Endpoint,
    /// How long it has lived.
    pub age: Duration,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// What it is doing.
    pub activity: Activity,
    /// The child process that serves it, under forking.
    pub process: Option<u32>,
}

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
    /// By number, and so by age.
    live: BTreeMap<u64, Arc<Live>>,
    origins: HashMap<Origin, usize>,
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
            started: self.clock.now(),
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
            }
            seats.live.insert(live.id, Arc::clone(&live));
        }
        self.telemetry.emit(&Event::Started {
            id: live.id,
            peer: &live.peer,
        });
        Ok(Ticket {
            live,
            registry: Arc::clone(self),
            origin,
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

    /// How many live.
    pub(crate) fn count(&self) -> usize {
        lock(&self.seats).live.len()
    }

    /// What is known of all that live, the oldest first.
    pub(crate) fn list(&self) -> Vec<ConnectionInfo> {
        let now = self.clock.now();
        let live: Vec<_> = lock(&self.seats).live.values().cloned().collect();
        live.iter().map(|live| live.info(now)).collect()
    }

    /// What is known of number `id`.
    pub(crate) fn info(&self, id: u64) -> Option<ConnectionInfo> {
        self.find(id).map(|live| live.info(self.clock.now()))
    }

    pub(crate) fn find(&self, id: u64) -> Option<Arc<Live>> {
        lock(&self.seats).live.get(&id).cloned()
    }

    /// The oldest request with a number above `after`, and when it began.
    pub(crate) fn oldest_after(&self, after: u64) -> Option<(Arc<Live>, Instant)> {
        let seats = lock(&self.seats);
        let (_, live) = seats.live.range(after + 1..).next()?;
        Some((Arc::clone(live), live.started))
    }

    /// Begins a drain: the idle end at once, and every end is counted from now on.
    pub(crate) fn begin_drain(&self) {
        let live: Vec<_> = {
            let mut seats = lock(&self.seats);
            seats.drain = Some(DrainReport::default());
            seats.live.values().cloned().collect()
        };
        for live in live {
            live.drain();
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

    fn leave(&self, ticket: &Ticket) {
        let live = &ticket.live;
        let reason = live.reason(ticket.outcome);
        let wake = {
            let mut seats = lock(&self.seats);
            seats.live.remove(&live.id);
            if let Some(origin) = ticket.origin
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
            std::mem::take(&mut seats.awaited) || seats.drain.is_some()
        };
        // The socket closes with the last who holds it.
        *lock(&live.reach) = Reach::Nothing;
        self.telemetry.emit(&Event::Ended {
            id: live.id,
            peer: &live.peer,
            reason,
            bytes_in: live.gauges.bytes_in.load(Ordering::Relaxed),
            bytes_out: live.gauges.bytes_out.load(Ordering::Relaxed),
            duration: self.clock.now().saturating_duration_since(live.started),
        });
        if wake {
            self.waker.wake();
        }
    }
}

/// A live request's seat; dropped, the request is no more.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) live: Arc<Live>,
    registry: Arc<Registry>,
    origin: Option<Origin>,
    /// What the handler said; `Done` until it said something.
    pub(crate) outcome: EndReason,
}

impl Ticket {
    /// How the request ended, as far as that is known.
    pub(crate) fn reason(&self) -> EndReason {
        self.live.reason(self.outcome)
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

/// Locks, though a panic may have poisoned: every critical section here leaves its data whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
