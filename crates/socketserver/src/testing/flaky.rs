//! A listener that fails on purpose.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::address::Address;
use crate::live::lock;
use crate::transport::{BoxListener, Listener};

/// Wraps a listener so that its `accept` fails when a test wants it to.
///
/// Its descriptor is readable only when there is something to accept, so a fault shows when somebody
/// connects.
pub struct FlakyListener<A> {
    inner: BoxListener<A>,
    faults: Faults,
}

impl<A> std::fmt::Debug for FlakyListener<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FlakyListener")
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

impl<A> FlakyListener<A> {
    /// Wraps `inner`, which fails as `faults` says.
    pub fn new(inner: BoxListener<A>, faults: Faults) -> Self {
        Self { inner, faults }
    }
}

/// The faults of a [`FlakyListener`]: error numbers of `errno(3)`.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Script>>);

#[derive(Debug, Default)]
struct Script {
    next: VecDeque<i32>,
    always: Option<i32>,
    accepts: u64,
}

impl Faults {
    /// No faults yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets one accept fail with `errno`, after those that were asked for before.
    pub fn push(&self, errno: i32) {
        lock(&self.0).next.push_back(errno);
    }

    /// Lets every accept fail with `errno`, until it is called with `None`.
    pub fn hold(&self, errno: Option<i32>) {
        lock(&self.0).always = errno;
    }

    /// How often accept was called.
    pub fn accepts(&self) -> u64 {
        lock(&self.0).accepts
    }

    fn take(&self) -> Option<io::Error> {
        let mut script = lock(&self.0);
        script.accepts += 1;
        let errno = script.next.pop_front().or(script.always)?;
        Some(io::Error::from_raw_os_error(errno))
    }
}

impl<A: 'static> Listener for FlakyListener<A> {
    type Accepted = A;

    fn accept(&mut self) -> io::Result<(A, Address)> {
        match self.faults.take() {
            Some(error) => Err(error),
            None => self.inner.accept(),
        }
    }

    fn local_address(&self) -> io::Result<Address> {
        self.inner.local_address()
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }

    fn pause(&mut self) {
        self.inner.pause();
    }

    fn resume(&mut self) {
        self.inner.resume();
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    fn retire(&mut self) {
        self.inner.retire();
    }

    fn set_timeouts(&mut self, read: Option<Duration>, write: Option<Duration>) -> bool {
        self.inner.set_timeouts(read, write)
    }
}
