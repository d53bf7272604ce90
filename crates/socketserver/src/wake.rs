//! A waker: what other threads, signal handlers and forked children pull to wake a loop.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

/// What a stop adds to the counter, so that a child that shares nothing else can ask for one.
const STOP: u64 = 1 << 32;

/// An eventfd (`eventfd(2)`); readable from a wake until it is taken.
#[derive(Debug)]
pub(crate) struct Waker(OwnedFd);

impl Waker {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(
            0,
            EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK,
        )?))
    }

    /// Wakes the loop: one write, so it is safe in a signal handler.
    pub(crate) fn wake(&self) {
        self.add(1);
    }

    /// Wakes the loop and tells it to stop, from a process that shares no memory with it.
    pub(crate) fn wake_to_stop(&self) {
        self.add(STOP);
    }

    /// Takes all wakes since the last time; tells whether one of them was to stop.
    pub(crate) fn take(&self) -> bool {
        let mut counter = [0; 8];
        match rustix::io::read(&self.0, &mut counter) {
            Ok(_) => u64::from_ne_bytes(counter) >= STOP,
            Err(_) => false,
        }
    }

    fn add(&self, by: u64) {
        // It can fail only when the counter is full, and then the descriptor is readable anyhow.
        let _ = rustix::io::write(&self.0, &by.to_ne_bytes());
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
