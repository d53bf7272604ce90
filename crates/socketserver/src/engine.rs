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

mod forking;
mod pool;
mod sequential;
mod threading;

pub use forking::Forking;
pub use pool::Pool;
pub use sequential::Sequential;
pub use threading::Threading;

/// Where an engine runs a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Place {
    /// On the thread in `serve_forever`, one after another.
    Caller,
    /// On an event loop of the engine's.
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

/// What a task does, given its seat; it returns how the request ended.
pub(crate) type Work = Box<dyn FnOnce(Ticket) -> EndReason + Send>;

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

    /// Runs it on this thread, to its end; it does not panic.
    pub fn run(self) {
        let Self { work, ticket, .. } = self;
        // A handler's panics are caught where they happen; this is for what nobody has thought of.
        if let Err(message) = catch(|| work(ticket)) {
            tracing::error!(message, "a request panicked beside its handler");
        }
    }
}
