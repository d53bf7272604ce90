//! Watches: descriptors of the program's, in the server's loop.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::AsFd;

use crate::control::ServerHandle;
use crate::error::catch;
use crate::wait::{Interest, Poller};

/// What is called when a watched descriptor is readable; [`ControlFlow::Break`] ends the watch.
pub(super) type WatchFn = Box<dyn FnMut(&ServerHandle) -> ControlFlow<()> + Send>;

/// A descriptor that the program wants watched.
pub(super) struct Watch {
    fd: Box<dyn AsFd + Send>,
    callback: WatchFn,
    /// Whether it cannot be polled, as a file cannot: it is always readable.
    pub(super) is_eager: bool,
}

impl Watch {
    pub(super) fn new(fd: Box<dyn AsFd + Send>, callback: WatchFn) -> Self {
        Self {
            fd,
            callback,
            is_eager: false,
        }
    }

    /// Has `poller` wait for it.
    pub(super) fn begin(&mut self, poller: &Poller, token: u64) -> io::Result<()> {
        match poller.add((*self.fd).as_fd(), token, Interest::Readable) {
            // epoll does not take files, which are always ready.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => self.is_eager = true,
            result => return result,
        }
        Ok(())
    }

    /// Tells that it is readable, and whether to go on watching it.
    pub(super) fn call(&mut self, server: &ServerHandle) -> bool {
        // One that panics would do so again: it is over.
        catch(|| (self.callback)(server)) == Ok(ControlFlow::Continue(()))
    }

    /// Has `poller` wait for it no longer.
    pub(super) fn end(&self, poller: &Poller) {
        poller.remove((*self.fd).as_fd());
    }
}
