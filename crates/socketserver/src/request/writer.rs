//! The writing half of a connection: Python's `wfile`.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::connection::cut_error;
use crate::control::ServerHandle;
use crate::live::{Activity, Live};
use crate::outbox::Outbox;
use crate::socket::Socket;
use crate::telemetry::EndReason;
use crate::wait::Waiter;

/// The writing half of a connection; each write goes to the kernel at once.
///
/// Wrap it in a [`BufWriter`](io::BufWriter) for many small writes.
#[derive(Debug)]
pub struct Writer<'a> {
    pub(super) socket: &'a Socket,
    pub(super) live: &'a Live,
    pub(super) waiter: &'a Waiter,
    pub(super) timeout: Option<Duration>,
    pub(super) told: &'a mut Option<Duration>,
    pub(super) outbox: Option<&'a Outbox>,
    pub(super) server: &'a ServerHandle,
}

impl Writer<'_> {
    /// Waits as the kernel or the outbox does; `None` at the timeout.
    #[inline]
    fn send(&mut self, buffer: &[u8]) -> io::Result<Option<usize>> {
        // Who sees it writing may count on the deadline to stand.
        let deadline = self.waiter.deadline(self.timeout);
        self.live.now(Activity::Writing);
        if let Some(outbox) = self.outbox {
            let clock = &self.server.shared().clock;
            return outbox.write(buffer, self.waiter, self.timeout, clock);
        }
        if matches!(self.waiter, Waiter::Blocking) && *self.told != self.timeout {
            self.socket.set_write_timeout(self.timeout)?;
            *self.told = self.timeout;
        }
        let sent = self.socket.send(buffer, self.waiter, deadline)?;
        self.live.sent(sent.unwrap_or(0));
        Ok(sent)
    }

    #[cold]
    fn failed(&self, error: io::Error) -> io::Error {
        self.live.cut_reason().map_or(error, cut_error)
    }
}

impl Write for Writer<'_> {
    /// Sends some of `buffer`; waits for room, at most the write timeout.
    ///
    /// # Errors
    ///
    /// `TimedOut` at the timeout; `BrokenPipe` or `ConnectionReset` if the peer is gone.
    #[inline]
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let sent = self.send(buffer);
        self.live.now(Activity::Busy);
        match sent {
            Ok(Some(count)) => Ok(count),
            Ok(None) => {
                self.live.note_cut(EndReason::WriteTimeout);
                Err(cut_error(EndReason::WriteTimeout))
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Does nothing: a write has left when it returns.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Writer<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
