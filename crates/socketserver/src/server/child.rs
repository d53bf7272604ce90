//! How a forked child learns that its server drains, or is gone: by a pipe that the server holds.
//!
//! A byte in it is the drain; its end is the end of the server, which then no deadline comes from.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::live::{Activity, Live};
use crate::wait::Interrupt;

pub(super) struct ChildInterrupt {
    pipe: Arc<OwnedFd>,
    live: Arc<Live>,
    drains: AtomicBool,
    is_gone: AtomicBool,
}

impl ChildInterrupt {
    pub(super) fn new(pipe: Arc<OwnedFd>, live: Arc<Live>) -> Self {
        Self {
            pipe,
            live,
            drains: AtomicBool::new(false),
            is_gone: AtomicBool::new(false),
        }
    }

    /// What the pipe has to tell at the moment.
    fn look(&self) -> PollFlags {
        let mut fds = [PollFd::new(&self.pipe, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        match poll(&mut fds, Some(&now)) {
            Ok(1..) => fds[0].revents(),
            _ => PollFlags::empty(),
        }
    }
}

impl Interrupt for ChildInterrupt {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        let is_gone = self.is_gone.load(Ordering::Relaxed);
        (!is_gone).then(|| self.pipe.as_fd())
    }

    fn wanted(&self) -> PollFlags {
        // The byte stays in the pipe, for the other children. Seen once, only the end is news, which is
        // told without being asked for.
        if self.drains.load(Ordering::Relaxed) {
            PollFlags::empty()
        } else {
            PollFlags::IN
        }
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn attend(&self) {
        let told = self.look();
        if told.contains(PollFlags::HUP) {
            self.is_gone.store(true, Ordering::Relaxed);
        }
        if !told.is_empty() && !self.drains.swap(true, Ordering::Relaxed) {
            self.live.drain();
        }
    }

    fn is_draining(&self) -> bool {
        if !self.drains.load(Ordering::Relaxed) && !self.look().is_empty() {
            // It was at work when the drain began, so it was not idle.
            self.live.now(Activity::Busy);
            self.attend();
        }
        self.drains.load(Ordering::Relaxed)
    }

    fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Relaxed)
    }
}
