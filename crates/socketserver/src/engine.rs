//! Engines: who runs a request.
//!
//! An [`Engine`] is handed [`Task`]s and knows nothing of what is in them: neither transports nor
//! handlers.

use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::address::Address;
use crate::clock::Clock;
use crate::error::catch;
use crate::live::Ticket;
use crate::socket::Socket;
use crate::telemetry::EndReason;
use crate::wait::Waiter;

mod driven;
mod forking;
mod pool;
mod reactor;
mod seats;
mod sequential;
mod threading;

pub(crate) use driven::{Driven, Wants};
pub use forking::Forking;
pub use pool::Pool;
pub use reactor::{Driver, Reactor};
pub use sequential::Sequential;
pub use threading::Threading;

/// Where an engine runs a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Place {
    /// On the thread in `serve_forever`, one after another.
    Caller,
    /// On event loops of the engine's, which nothing may hold up.
    Loop,
    /// In a child process.
    Process,
    /// On another thread.
    Thread,
}

/// Runs requests: Python's `process_request`, and the mix-ins that override it.
///
/// An engine can wrap another and pass the calls on.
pub trait Engine: Send + Sync + 'static {
    /// Its name, in lower case.
    fn name(&self) -> &'static str;

    /// Where it runs a request.
    fn place(&self) -> Place;

    /// A run begins.
    ///
    /// # Errors
    ///
    /// Why it cannot serve in this process; the run then ends.
    fn start(&self) -> io::Result<()> {
        Ok(())
    }

    /// Whether it would take one more request; while not, nothing is accepted.
    fn has_room(&self) -> bool {
        true
    }

    /// Runs `task`, or sees to it that it is run.
    ///
    /// # Errors
    ///
    /// Why it could not; the request is refused.
    fn process_request(&self, task: Task) -> io::Result<()>;

    /// A descriptor that is readable when [`service_actions`](Self::service_actions) has something to
    /// do.
    fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Waits until `fd` is readable or `timeout` is over, and does the engine's own work meanwhile;
    /// `false`, the default, if it has no use for the thread that serves.
    ///
    /// # Errors
    ///
    /// That of the system call by which it waits; the run then ends.
    fn wait(&self, fd: BorrowedFd<'_>, timeout: Option<Duration>) -> io::Result<bool> {
        let _ = (fd, timeout);
        Ok(false)
    }

    /// When `service_actions` is to be called at the latest.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Does the engine's own work, such as reaping its children; never waits.
    fn service_actions(&self) {}

    /// A run has ended, and no task is left but those that are stuck.
    fn stop(&self) {}
}

/// An engine on which a handler may wait: every engine but an event loop.
#[diagnostic::on_unimplemented(
    message = "a `RequestHandler` cannot run on `{Self}`: it waits for its peer, and would hold up all other connections",
    note = "write a `MessageHandler`, or choose Sequential, Threading, Forking or Pool"
)]
pub trait BlockingEngine: Engine {}

/// An engine whose requests share the server's memory: every engine but Forking.
#[diagnostic::on_unimplemented(
    message = "`{Self}` shares no memory between requests, and this needs it",
    note = "choose Sequential, Threading or Pool: under Forking each child would have a copy of its own"
)]
pub trait SharedMemory: Engine {}

/// Passes every call on to what a pointer points to.
macro_rules! forward {
    ($($target:ty),*) => {$(
        impl Engine for $target {
            fn name(&self) -> &'static str {
                (**self).name()
            }
            fn place(&self) -> Place {
                (**self).place()
            }
            fn start(&self) -> io::Result<()> {
                (**self).start()
            }
            fn has_room(&self) -> bool {
                (**self).has_room()
            }
            fn process_request(&self, task: Task) -> io::Result<()> {
                (**self).process_request(task)
            }
            fn event_fd(&self) -> Option<BorrowedFd<'_>> {
                (**self).event_fd()
            }
            fn wait(&self, fd: BorrowedFd<'_>, timeout: Option<Duration>) -> io::Result<bool> {
                (**self).wait(fd, timeout)
            }
            fn deadline(&self) -> Option<Instant> {
                (**self).deadline()
            }
            fn service_actions(&self) {
                (**self).service_actions();
            }
            fn stop(&self) {
                (**self).stop();
            }
        }
    )*};
}

forward!(
    Box<dyn Engine>,
    Box<dyn BlockingEngine>,
    Box<dyn SharedMemory>
);
impl BlockingEngine for Box<dyn BlockingEngine> {}
impl SharedMemory for Box<dyn SharedMemory> {}

/// What a task does, given its seat.
pub(crate) enum Work {
    /// It waits where it must, and tells how the request ended.
    Blocking(Box<dyn FnOnce(Ticket) -> EndReason + Send>),
    /// It is driven, or drives itself on a thread that may wait.
    Driven(Box<dyn Newcomer>),
}

/// A message handler's connection before it has a handler.
pub(crate) trait Newcomer: Send {
    /// Makes the handler.
    fn admit(self: Box<Self>, ticket: Ticket) -> Box<dyn Driven>;
    /// How to wait on this connection's socket, and whether that has the timeouts already.
    fn waiter(&self) -> (Waiter, bool);
}

/// One request, ready to run; an engine sees no more of it than this.
///
/// Dropped, it closes its connection.
pub struct Task {
    pub(crate) ticket: Ticket,
    pub(crate) work: Work,
    /// What to wait on until there is something to do, and for how long.
    pub(crate) socket: Option<Arc<Socket>>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) clock: Clock,
    /// Descriptors of the server that a child process must not keep.
    pub(crate) close_in_child: Arc<[RawFd]>,
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("id", &self.id())
            .field("peer", self.peer())
            .finish_non_exhaustive()
    }
}

impl Task {
    /// The number of the request, unique in its server.
    pub fn id(&self) -> u64 {
        self.ticket.live.id
    }

    /// Whose request it is.
    pub fn peer(&self) -> &Address {
        &self.ticket.live.peer
    }

    /// Runs it on this thread, to its end, waiting where it must; it does not panic.
    pub fn run(self) {
        let Self { work, ticket, .. } = self;
        // A handler's panics are caught where they happen; this is for what nobody has thought of.
        if let Err(message) = catch(|| work.run(ticket)) {
            tracing::error!(message, "a request panicked beside its handler");
        }
    }
}

impl Work {
    pub(crate) fn run(self, ticket: Ticket) -> EndReason {
        match self {
            Self::Blocking(work) => work(ticket),
            Self::Driven(newcomer) => {
                let (waiter, has_timeouts) = newcomer.waiter();
                newcomer.admit(ticket).serve(&waiter, has_timeouts)
            }
        }
    }
}
