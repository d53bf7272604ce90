//! One loop, whichever its driver; and which driver can be had.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::Driver;
use super::epoll::EpollPort;
use super::event_loop::EventLoop;
use super::inbox::Inbox;
use super::watchdog::Watched;
use crate::engine::Task;

/// The loop of a thread, whichever its driver.
pub(super) enum Own {
    Epoll(Box<EventLoop<EpollPort>>),
    #[cfg(feature = "uring")]
    Ring(Box<EventLoop<super::ring::RingPort>>),
}

/// Does the same with the loop, whichever it is.
macro_rules! either {
    ($own:expr, $it:ident => $call:expr) => {
        match $own {
            Own::Epoll($it) => $call,
            #[cfg(feature = "uring")]
            Own::Ring($it) => $call,
        }
    };
}

impl Own {
    pub(super) fn new(
        driver: Driver,
        inbox: &Arc<Inbox>,
        watched: &Arc<Watched>,
    ) -> io::Result<Self> {
        #[cfg(feature = "uring")]
        if driver == Driver::Uring {
            let it = EventLoop::<super::ring::RingPort>::new(inbox, watched)?;
            return Ok(Self::Ring(Box::new(it)));
        }
        let _ = driver;
        let it = EventLoop::<EpollPort>::new(inbox, watched)?;
        Ok(Self::Epoll(Box::new(it)))
    }

    fn run(self) {
        either!(self, it => it.run());
    }

    pub(super) fn run_beside(
        &mut self,
        fd: BorrowedFd<'_>,
        timeout: Option<Duration>,
    ) -> io::Result<bool> {
        either!(self, it => it.run_beside(fd, timeout))
    }

    pub(super) fn admit(&mut self, task: Task) -> io::Result<()> {
        either!(self, it => it.admit_here(task))
    }

    pub(super) fn end(mut self) {
        either!(&mut self, it => it.end());
    }
}

/// Starts a loop on a thread of its own.
pub(super) fn start_loop(
    driver: Driver,
    number: usize,
    inbox: &Arc<Inbox>,
    watched: &Arc<Watched>,
) -> io::Result<JoinHandle<()>> {
    let (inbox, watched) = (Arc::clone(inbox), Arc::clone(watched));
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let thread = thread::Builder::new()
        .name(format!("loop-{}", number + 1))
        .spawn(move || match Own::new(driver, &inbox, &watched) {
            Ok(own) => {
                let _ = tell.send(Ok(()));
                own.run();
            }
            Err(error) => {
                let _ = tell.send(Err(error));
            }
        })?;
    told.recv()
        .unwrap_or_else(|_| Err(io::Error::other("the loop did not start")))?;
    Ok(thread)
}

/// The driver to use: the one that was asked for, if it can be had here.
pub(super) fn available(driver: Driver) -> Driver {
    if driver == Driver::Uring
        && let Err(error) = try_ring()
    {
        tracing::warn!(%error, "io_uring cannot be used here: the reactor uses epoll");
        return Driver::Epoll;
    }
    driver
}

#[cfg(feature = "uring")]
fn try_ring() -> io::Result<()> {
    super::ring::try_out()
}

#[cfg(not(feature = "uring"))]
fn try_ring() -> io::Result<()> {
    let text = "this program was built without the feature `uring`";
    Err(io::Error::new(io::ErrorKind::Unsupported, text))
}
