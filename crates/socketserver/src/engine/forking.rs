//! A child process for each request.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, WaitOptions, WaitStatus};

use super::{BlockingEngine, Engine, Place, Task};
use crate::live::{Ticket, lock};
use crate::telemetry::EndReason;
use crate::wait::{Interest, Poller};

/// How often to ask whether a child has ended for which there was no descriptor.
const BLIND_REAP: Duration = Duration::from_millis(100);

/// Runs each request in a child process of its own: Python's `ForkingMixIn`.
///
/// The child runs one handler and exits; its memory is a copy, so nothing that it changes is seen by
/// others. It lets go of the listening sockets at once, and ends in good order when the server drains
/// or is gone.
/// Children are reaped as soon as they end, each by its own pid: other children of the process are
/// left alone.
///
/// It serves only in a process with one thread, and refuses to start in another (`fork(2)`).
#[derive(Debug)]
pub struct Forking {
    max_children: usize,
    children: Mutex<HashMap<i32, Child>>,
    /// Readable when a child has ended; made at the first run.
    poller: OnceLock<Poller>,
}

/// A child that has not been reaped.
#[derive(Debug)]
struct Child {
    ticket: Ticket,
    /// Readable when it has ended.
    ended: Option<OwnedFd>,
}

impl Default for Forking {
    fn default() -> Self {
        Self {
            max_children: 40,
            children: Mutex::default(),
            poller: OnceLock::new(),
        }
    }
}

impl Forking {
    /// How many children may live at once; default 40. At the limit nothing more is accepted until
    /// one has ended; neither the loop nor a shutdown waits for that.
    #[must_use]
    pub fn max_children(mut self, children: usize) -> Self {
        self.max_children = children.max(1);
        self
    }

    /// How many children live (Python: `len(active_children)`).
    pub fn active_children(&self) -> usize {
        lock(&self.children).len()
    }

    /// Takes the seat of `pid` back if it has ended.
    fn reap(&self, pid: Pid) {
        let status = match rustix::process::waitpid(Some(pid), WaitOptions::NOHANG) {
            Ok(None) | Err(rustix::io::Errno::INTR) => return,
            Ok(Some((_, status))) => Some(status),
            // Somebody else has reaped it, or nobody is to (`SIGCHLD` ignored): it is gone all the
            // same.
            Err(_) => None,
        };
        let child = lock(&self.children).remove(&pid.as_raw_nonzero().get());
        let Some(mut child) = child else { return };
        if let (Some(ended), Some(poller)) = (&child.ended, self.poller.get()) {
            // Dropping is not enough: children forked since have a copy, which would stay readable.
            poller.remove(ended);
        }
        child.ticket.outcome = match status.and_then(WaitStatus::terminating_signal) {
            Some(signal) => {
                let reason = format!("was killed by signal {signal}");
                child.ticket.report_child(reason);
                EndReason::Panicked
            }
            None => status.map_or(EndReason::Done, outcome),
        };
    }

    /// The descriptors that a new child must not keep: those by which its siblings are watched.
    fn fds(&self) -> Vec<RawFd> {
        let children = lock(&self.children);
        let ended = children.values().filter_map(|child| child.ended.as_ref());
        let mut fds: Vec<RawFd> = ended.map(AsRawFd::as_raw_fd).collect();
        fds.extend(self.event_fd().map(|fd| fd.as_raw_fd()));
        fds
    }
}

/// How the request of a child that ended with `status` ended.
fn outcome(status: WaitStatus) -> EndReason {
    let code = status
        .exit_status()
        .and_then(|code| u8::try_from(code).ok());
    code.and_then(child_reason).unwrap_or(EndReason::Panicked)
}

/// The exit code of a child whose request ended for `reason`: 0 is done, 1 failed, as in Python.
fn child_status(reason: EndReason) -> i32 {
    match reason {
        EndReason::Done => 0,
        EndReason::Failed => 1,
        reason => 16 + reason as i32,
    }
}

fn child_reason(code: u8) -> Option<EndReason> {
    match code {
        0 => Some(EndReason::Done),
        1 => Some(EndReason::Failed),
        code => EndReason::from_code(code.checked_sub(16)?),
    }
}

impl Engine for Forking {
    fn name(&self) -> &'static str {
        "forking"
    }

    fn place(&self) -> Place {
        Place::Process
    }

    fn start(&self) -> io::Result<()> {
        let threads = socketserver_sys::fork::thread_count()?;
        if threads != 1 {
            let text = format!(
                "it cannot serve in a process with {threads} threads; start it before any other \
                 thread, or choose another engine"
            );
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        if self.poller.get().is_none() {
            let _ = self.poller.set(Poller::new()?);
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.active_children() < self.max_children
    }

    fn process_request(&self, task: Task) -> io::Result<()> {
        let Task {
            ticket,
            work,
            close_in_child,
            ..
        } = task;
        let mut close = self.fds();
        close.extend_from_slice(&close_in_child);
        let mut parts = Some((ticket, work));
        let pid = socketserver_sys::fork::fork(&close, || match parts.take() {
            Some((ticket, work)) => child_status(work.run(ticket)),
            None => 1,
        })?;
        let Some((ticket, _)) = parts else {
            return Ok(());
        };
        // The parent's copy of the socket went with the closure.
        ticket.live.moved_to(pid);
        // Without a descriptor for it the child is reaped at the loop's next turn, whenever that is.
        let ended = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok();
        if let (Some(ended), Some(poller)) = (&ended, self.poller.get()) {
            let _ = poller.add(ended, 0, Interest::Readable);
        }
        let child = Child { ticket, ended };
        lock(&self.children).insert(pid.as_raw_nonzero().get(), child);
        Ok(())
    }

    fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        self.poller.get().map(Poller::as_fd)
    }

    fn deadline(&self) -> Option<Instant> {
        // A child without a descriptor has to be asked.
        let is_blind = |child: &Child| child.ended.is_none();
        lock(&self.children)
            .values()
            .any(is_blind)
            .then(|| Instant::now() + BLIND_REAP)
    }

    fn service_actions(&self) {
        let pids: Vec<i32> = lock(&self.children).keys().copied().collect();
        for pid in pids.into_iter().filter_map(Pid::from_raw) {
            self.reap(pid);
        }
    }

    fn stop(&self) {
        self.service_actions();
    }
}

impl Drop for Forking {
    fn drop(&mut self) {
        // Who is still at work belongs to nobody any more; who has ended is no zombie for it.
        self.service_actions();
    }
}

impl BlockingEngine for Forking {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_tells_by_its_exit_code_how_its_request_ended() {
        for reason in [
            EndReason::Done,
            EndReason::Failed,
            EndReason::Panicked,
            EndReason::Drained,
        ] {
            let code = u8::try_from(child_status(reason)).unwrap();
            assert_eq!(child_reason(code), Some(reason));
        }
        assert_eq!(child_reason(2), None);
    }
}
