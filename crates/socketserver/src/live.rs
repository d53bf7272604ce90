//! The requests that are alive: what is known of each, and how each is reached.
//!
//! The [`Registry`] has them all; a [`Ticket`] is a seat in it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use socketserver_sys::gauges::GaugesCell;

use crate::address::Address;
use crate::clock::Moment;
use crate::endpoint::Endpoint;
use crate::socket::Socket;
use crate::telemetry::EndReason;

mod registry;
mod roster;

pub use registry::DrainReport;
pub(crate) use registry::{DatagramBatch, Registry, Ticket};

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
    /// By its socket, which nobody looks at, and by an alarm.
    Guarded(Box<Guarded>),
    /// By its process.
    Process(Pid),
}

/// A request that waits for something else than its peer.
#[derive(Debug)]
struct Guarded {
    socket: Arc<Socket>,
    alarm: Arc<dyn Alarm>,
    seat: u64,
}

/// Tells whoever serves a request that it has been cut off.
pub(crate) trait Alarm: Send + Sync {
    /// The one at `seat` has.
    fn alarm(&self, seat: u64);
}

impl std::fmt::Debug for dyn Alarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Alarm")
    }
}

/// One live request.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) id: u64,
    pub(crate) peer: Address,
    pub(crate) endpoint: Arc<Endpoint>,
    started: Moment,
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

    /// Takes back bytes that were counted and not sent.
    pub(crate) fn unsent(&self, bytes: usize) {
        self.gauges
            .bytes_out
            .fetch_sub(bytes as u64, Ordering::Relaxed);
    }

    /// Counts bytes sent from an outbox, from any thread.
    pub(crate) fn sent_beside(&self, bytes: usize) {
        self.gauges
            .bytes_out
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes received so far.
    pub(crate) fn bytes_in(&self) -> u64 {
        self.gauges.bytes_in.load(Ordering::Relaxed)
    }

    /// Bytes sent so far.
    pub(crate) fn bytes_out(&self) -> u64 {
        self.gauges.bytes_out.load(Ordering::Relaxed)
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
            Reach::Guarded(guarded) => {
                guarded.socket.end();
                guarded.alarm.alarm(guarded.seat);
            }
            // Its engine has not reaped it, or this would not be its reach: the pid is still its own.
            Reach::Process(pid) => {
                let _ = rustix::process::kill_process(*pid, Signal::KILL);
            }
        }
    }

    /// Lets it end in good order: every read that would wait sees the end of input.
    pub(crate) fn drain(&self) {
        self.note_idle();
        self.end_input();
    }

    /// Notes, for the report of a drain, whether it is idle at this moment.
    fn note_idle(&self) {
        let activity = self.activity();
        if !activity.is_idle() || matches!(*lock(&self.reach), Reach::Nothing) {
            return;
        }
        let unheard = if activity == Activity::Queued {
            UNHEARD
        } else {
            0
        };
        let idle_at = NOTED | unheard | self.heard();
        self.gauges.idle_at.store(idle_at, Ordering::Relaxed);
    }

    /// The lower bits of how much has come in.
    fn heard(&self) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "the lower bits are meant")]
        let bytes = self.gauges.bytes_in.load(Ordering::Relaxed) as u32;
        bytes & HEARD
    }

    fn end_input(&self) {
        self.gauges.drained.store(true, Ordering::Release);
        match &*lock(&self.reach) {
            Reach::Socket(socket) => socket.end_reading(),
            Reach::Guarded(guarded) => guarded.socket.end_reading(),
            Reach::Nothing | Reach::Process(_) => {}
        }
    }

    /// Has `alarm` told of a cut: nobody looks at the socket for a while.
    pub(crate) fn guard(&self, alarm: &Arc<dyn Alarm>, seat: u64) {
        let mut reach = lock(&self.reach);
        if let Reach::Socket(socket) = &*reach {
            let socket = Arc::clone(socket);
            *reach = Reach::Guarded(Box::new(Guarded {
                socket,
                alarm: Arc::clone(alarm),
                seat,
            }));
            drop(reach);
            // A cut that came just before has told nobody.
            if self.cut_reason().is_some() {
                alarm.alarm(seat);
            }
        }
    }

    /// The socket is looked at again.
    pub(crate) fn unguard(&self) {
        let mut reach = lock(&self.reach);
        if let Reach::Guarded(guarded) = &*reach {
            let socket = Arc::clone(&guarded.socket);
            *reach = Reach::Socket(socket);
        }
    }

    /// Whether a drain has ended its reading side.
    pub(crate) fn is_drained(&self) -> bool {
        self.gauges.drained.load(Ordering::Acquire)
    }

    /// From now on it is served by a child process.
    pub(crate) fn moved_to(&self, pid: Pid) {
        *lock(&self.reach) = Reach::Process(pid);
    }

    fn activity(&self) -> Activity {
        Activity::from_code(self.gauges.activity.load(Ordering::Relaxed))
    }

    fn info(&self, now: Moment) -> ConnectionInfo {
        let activity = self.activity();
        ConnectionInfo {
            id: self.id,
            peer: self.peer.clone(),
            endpoint: Endpoint::clone(&self.endpoint),
            age: now.since(self.started),
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
        let silent = idle_at & HEARD == self.heard();
        // A handler that began after the drain, and had something to say, has done its work.
        let served = idle_at & UNHEARD != 0 && self.gauges.bytes_out.load(Ordering::Relaxed) > 0;
        if idle_at != 0 && silent && !served && outcome != EndReason::Panicked {
            return EndReason::Drained;
        }
        outcome
    }
}

/// In `idle_at`: it was noted at all; no handler had begun; how much had come in.
const NOTED: u32 = 1 << 31;
const UNHEARD: u32 = 1 << 30;
const HEARD: u32 = UNHEARD - 1;

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

/// Locks, though a panic may have poisoned: every critical section here leaves its data whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
