//! Every wait of the library: loops wait in a [`Poller`], a request's socket by its [`Waiter`].
//!
//! A wait ends by readiness, by a deadline, or by a shutdown; `EINTR` ends here.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::io::Errno;

use crate::clock::Clock;

mod events;

pub(crate) use events::{Events, Ready};

/// What to wait for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Interest {
    /// Something to read, or end of file.
    Readable,
    /// Room to write.
    Writable,
    /// Any change on the reading side, told once a change.
    Changes,
    /// Any change on either side, told once a change.
    AllChanges,
}

/// A set of descriptors that a loop waits on (`epoll(7)`).
#[derive(Debug)]
pub(crate) struct Poller(OwnedFd);

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(epoll::CreateFlags::CLOEXEC)?))
    }

    /// Adds `fd`; what it is ready for is told under `token`.
    pub(crate) fn add(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(
            &self.0,
            fd,
            epoll::EventData::new_u64(token),
            flags(interest),
        )?)
    }

    /// Changes what is waited for on an `fd` that was added.
    pub(crate) fn modify(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(
            &self.0,
            fd,
            epoll::EventData::new_u64(token),
            flags(interest),
        )?)
    }

    /// Removes `fd`; one that is not there is nobody's problem.
    pub(crate) fn remove(&self, fd: impl AsFd) {
        let _ = epoll::delete(&self.0, fd);
    }

    /// Waits at most `timeout`, for ever if `None`, and puts the tokens of what is ready in `ready`.
    pub(crate) fn wait(&self, ready: &mut Vec<u64>, timeout: Option<Duration>) -> io::Result<()> {
        ready.clear();
        let mut events = [epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(0),
        }; 64];
        let timeout = timeout.map(timespec);
        let count = match epoll::wait(&self.0, &mut events, timeout.as_ref()) {
            Ok(count) => count,
            Err(Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        ready.extend(events[..count].iter().map(|event| event.data.u64()));
        Ok(())
    }
}

/// Waits at most `timeout` until `fd` is readable.
pub(crate) fn wait_readable(fd: impl AsFd, timeout: Option<Duration>) -> io::Result<()> {
    let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)];
    match poll(&mut fds, timeout.map(timespec).as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether `fd` is a socket whose reading side has been shut down.
pub(crate) fn is_shut_down(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::RDHUP)];
    let ends = PollFlags::HUP | PollFlags::RDHUP;
    poll(&mut fds, Some(&timespec(Duration::ZERO))).is_ok() && fds[0].revents().intersects(ends)
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn flags(interest: Interest) -> epoll::EventFlags {
    const IN: epoll::EventFlags = epoll::EventFlags::IN;
    match interest {
        Interest::Readable => IN,
        Interest::Writable => epoll::EventFlags::OUT,
        Interest::Changes => IN | epoll::EventFlags::RDHUP | epoll::EventFlags::ET,
        Interest::AllChanges => {
            IN | epoll::EventFlags::RDHUP | epoll::EventFlags::OUT | epoll::EventFlags::ET
        }
    }
}

/// `duration` for the kernel, rounded up to a millisecond: a wait that ends just before its deadline
/// would be repeated with nothing left to wait for.
fn timespec(duration: Duration) -> Timespec {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    let millis = i64::try_from(millis)
        .unwrap_or(i64::MAX)
        .min(i64::from(i32::MAX));
    Timespec {
        tv_sec: millis / 1000,
        tv_nsec: (millis % 1000) * 1_000_000,
    }
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Waited {
    /// The socket may be ready.
    Ready,
    /// The deadline has passed.
    TimedOut,
    /// The server is draining: who would wait for input is to take it as ended.
    Draining,
}

/// How the socket of a request waits.
#[derive(Clone, Debug)]
pub(crate) enum Waiter {
    /// In the system call itself, bounded by `SO_RCVTIMEO` and `SO_SNDTIMEO` and interrupted by
    /// `shutdown(2)`: nothing is paid for what does not happen.
    Blocking,
    /// By trying, and polling where that would block.
    Polled(Polled),
}

impl Waiter {
    /// When a polled wait of `timeout` from now on is over; a blocking one has its bound from the
    /// kernel.
    #[inline]
    pub(crate) fn deadline(&self, timeout: Option<Duration>) -> Option<Instant> {
        match self {
            Self::Blocking => None,
            Self::Polled(polled) => {
                timeout.and_then(|timeout| polled.clock.now().checked_add(timeout))
            }
        }
    }
}

/// A wait by `poll(2)`: where the serving thread itself runs the request, in a forked child, and by
/// a manual clock.
#[derive(Clone)]
pub(crate) struct Polled {
    pub(crate) clock: Clock,
    pub(crate) interrupt: Option<Arc<dyn Interrupt>>,
}

impl fmt::Debug for Polled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Polled").finish_non_exhaustive()
    }
}

/// What else to attend to while a request waits.
pub(crate) trait Interrupt: Send + Sync {
    /// Readable when there is something to attend to; `None` if nothing more can come.
    fn fd(&self) -> Option<BorrowedFd<'_>>;
    /// What of it to wait for.
    fn wanted(&self) -> PollFlags {
        PollFlags::IN
    }
    /// Until when to wait at most before attending all the same.
    fn deadline(&self) -> Option<Instant>;
    /// Attends to it.
    fn attend(&self);
    /// Attends to it if nobody has for a while: a request that never has to wait must not keep the
    /// serving thread from everything else.
    fn glance(&self) {}
    /// Whether the server is draining.
    fn is_draining(&self) -> bool;
    /// Whether the server is gone, so that nothing is worth waiting for.
    fn is_gone(&self) -> bool {
        false
    }
}

impl Polled {
    /// Sees to what else there is, though this request does not have to wait.
    pub(crate) fn glance(&self) {
        if let Some(interrupt) = &self.interrupt {
            interrupt.glance();
        }
    }

    /// Waits until `fd` is ready, `deadline` has passed or, if it waits to read, a drain begins.
    pub(crate) fn wait(
        &self,
        fd: BorrowedFd<'_>,
        interest: Interest,
        deadline: Option<Instant>,
    ) -> io::Result<Waited> {
        let wanted = if interest == Interest::Writable {
            PollFlags::OUT
        } else {
            PollFlags::IN
        };
        loop {
            let interrupt = self.interrupt.as_deref();
            if interest == Interest::Readable && interrupt.is_some_and(Interrupt::is_draining) {
                return Ok(Waited::Draining);
            }
            if interrupt.is_some_and(Interrupt::is_gone) {
                let text = "the server is gone";
                return Err(io::Error::new(io::ErrorKind::ConnectionAborted, text));
            }
            if self.clock.is_past(deadline) {
                return Ok(Waited::TimedOut);
            }
            let until = crate::clock::earlier(deadline, interrupt.and_then(Interrupt::deadline));
            let timeout = self.clock.until(until).map(timespec);
            let mut fds = [
                PollFd::from_borrowed_fd(fd, wanted),
                PollFd::from_borrowed_fd(fd, wanted),
            ];
            let mut count = 1;
            if let Some(interrupt) = interrupt
                && let Some(other) = interrupt.fd()
            {
                fds[1] = PollFd::from_borrowed_fd(other, interrupt.wanted());
                count = 2;
            }
            match poll(&mut fds[..count], timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let [socket, other] = fds.map(|fd| !fd.revents().is_empty());
            if let Some(interrupt) = interrupt
                && (other || self.clock.is_past(interrupt.deadline()))
            {
                interrupt.attend();
            }
            if socket {
                return Ok(Waited::Ready);
            }
        }
    }
}
