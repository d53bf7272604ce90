//! Sources: a listener, and how its requests become tasks.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use socketserver_sys::gauges::{Gauges, GaugesCell, SharedGauges};

use super::Handled;
use super::child::ChildInterrupt;
use super::keeper::Keeper;
use crate::address::Address;
use crate::control::Shared;
use crate::endpoint::Endpoint;
use crate::engine::{Place, Task, Work};
use crate::hooks::GuardedHooks;
use crate::live::{Live, Ticket};
use crate::socket::Socket;
use crate::telemetry::Refusal;
use crate::wait::{Interrupt, Polled, Waiter};

mod packets;
mod streams;

pub(super) use packets::PacketSource;
pub(super) use streams::StreamSource;

/// A listener of any kind, as the loop sees it.
pub(super) trait Source: Send {
    fn endpoint(&self) -> &Arc<Endpoint>;
    fn fd(&self) -> BorrowedFd<'_>;
    /// Lets nobody new into the queue, or again.
    fn pause(&mut self, pauses: bool);
    /// Lets nobody new into the queue, for good.
    fn retire(&mut self);
    /// Whether the queue is ours to turn away.
    fn owns_queue(&self) -> bool;
    /// Tells the timeouts to the listener.
    fn begin_run(&mut self, admission: &Admission);
    /// Whether a forked child must let go of it.
    fn is_listening(&self) -> bool;
    /// Takes the next request.
    fn accept(&mut self, admission: &Admission) -> io::Result<Taken>;
    /// Takes requests, at most so many, and serves them to their end here and now; `None`: it yields
    /// each by [`accept`](Self::accept), for the engine to run.
    fn serve_batch(&mut self, admission: &Admission, at_most: usize) -> io::Result<Option<Batch>> {
        let _ = (admission, at_most);
        Ok(None)
    }
    /// Takes the next request and refuses it.
    fn refuse(&mut self) -> io::Result<Address>;
}

/// What came of an accept.
pub(super) enum Taken {
    Task(Task),
    Refused(Address, Refusal),
}

/// What came of a batch.
pub(super) struct Batch {
    /// How many requests there were.
    pub(super) count: usize,
    /// Whether there may be another at once.
    pub(super) goes_on: bool,
    /// What became of the last one, if there was any.
    pub(super) last: Option<Handled>,
}

/// What a source needs to make a task.
pub(super) struct Admission {
    pub(super) shared: Arc<Shared>,
    pub(super) keeper: Arc<Keeper>,
    pub(super) hooks: GuardedHooks,
    pub(super) place: Place,
    /// What a forked child sees the drain by.
    pub(super) drain_pipe: Option<Arc<OwnedFd>>,
    pub(super) close_in_child: Arc<[RawFd]>,
}

impl Admission {
    /// How the socket of a request waits.
    fn waiter(&self, live: &Arc<Live>) -> Waiter {
        let clock = self.shared.clock.clone();
        let interrupt: Option<Arc<dyn Interrupt>> = match (self.place, &self.drain_pipe) {
            (Place::Caller, _) => Some(Arc::clone(&self.keeper) as Arc<dyn Interrupt>),
            (Place::Process, Some(pipe)) => Some(Arc::new(ChildInterrupt::new(
                Arc::clone(pipe),
                Arc::clone(live),
            ))),
            // A loop's own waits are none of the connection's.
            (Place::Loop, _) => return Waiter::Blocking,
            _ if clock.is_manual() => None,
            _ => return Waiter::Blocking,
        };
        Waiter::Polled(Polled { clock, interrupt })
    }

    /// Where a request's numbers are kept: a child's in memory that it shares with us.
    fn gauges(&self) -> GaugesCell {
        if self.place == Place::Process
            && let Ok(shared) = SharedGauges::new()
        {
            return GaugesCell::Shared(shared);
        }
        // Without memory for a page they stay unknown, which is no reason to refuse the request.
        GaugesCell::Own(Gauges::default())
    }

    fn task(&self, ticket: Ticket, socket: Option<Arc<Socket>>, work: Work) -> Task {
        Task {
            ticket,
            work,
            socket,
            idle_timeout: self.shared.limits.idle_timeout,
            clock: self.shared.clock.clone(),
            close_in_child: Arc::clone(&self.close_in_child),
        }
    }
}

/// The raw numbers of the descriptors that a forked child must let go of.
pub(super) fn listening_fds<'a>(sources: impl Iterator<Item = &'a Box<dyn Source>>) -> Vec<RawFd> {
    let listening = sources.filter(|source| source.is_listening());
    listening.map(|source| source.fd().as_raw_fd()).collect()
}

/// How long accepting pauses for want of a resource: a tenth of a second, doubled up to a whole one.
pub(super) fn back_off(pauses: u32) -> Duration {
    Duration::from_millis(100 << pauses.min(4)).min(Duration::from_secs(1))
}
