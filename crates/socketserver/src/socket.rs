//! A connected stream socket and its system calls; `EINTR` and `SIGPIPE` end here.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, sockopt};

use crate::wait::{Interest, Waited, Waiter};

/// A connected stream socket, TCP or Unix, in blocking mode.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
}

/// What a read brought.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Received {
    /// So many bytes; 0 is the end of input.
    Bytes(usize),
    /// It would have waited, and the server is draining.
    Draining,
    /// Nothing came before the deadline.
    TimedOut,
}

impl Socket {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Receives, waiting as `waiter` says. `deadline` counts only for a polled wait; the blocking one
    /// has it from [`set_read_timeout`](Self::set_read_timeout).
    #[inline]
    pub(crate) fn receive(
        &self,
        buffer: &mut [u8],
        waiter: &Waiter,
        deadline: Option<Instant>,
    ) -> io::Result<Received> {
        let polled = match waiter {
            Waiter::Blocking => {
                return match self.recv(buffer, RecvFlags::empty()) {
                    Ok(count) => Ok(Received::Bytes(count)),
                    Err(Errno::AGAIN) => Ok(Received::TimedOut),
                    Err(error) => Err(error.into()),
                };
            }
            Waiter::Polled(polled) => polled,
        };
        polled.glance();
        loop {
            match self.recv(buffer, RecvFlags::DONTWAIT) {
                Ok(count) => return Ok(Received::Bytes(count)),
                Err(Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
            match polled.wait(self.as_fd(), Interest::Readable, deadline)? {
                Waited::Ready => {}
                Waited::Draining => return Ok(Received::Draining),
                Waited::TimedOut => return Ok(Received::TimedOut),
            }
        }
    }

    /// Sends some of `buffer`, waiting as `waiter` says; `None` if nothing went out in time.
    #[inline]
    pub(crate) fn send(
        &self,
        buffer: &[u8],
        waiter: &Waiter,
        deadline: Option<Instant>,
    ) -> io::Result<Option<usize>> {
        let polled = match waiter {
            Waiter::Blocking => {
                return match self.transmit(buffer, SendFlags::empty()) {
                    Ok(count) => Ok(Some(count)),
                    Err(Errno::AGAIN) => Ok(None),
                    Err(error) => Err(error.into()),
                };
            }
            Waiter::Polled(polled) => polled,
        };
        polled.glance();
        loop {
            match self.send_now(buffer)? {
                Some(count) => return Ok(Some(count)),
                None => match polled.wait(self.as_fd(), Interest::Writable, deadline)? {
                    Waited::TimedOut => return Ok(None),
                    Waited::Ready | Waited::Draining => {}
                },
            }
        }
    }

    /// Receives without waiting; `None` if there is nothing.
    pub(crate) fn receive_now(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.recv(buffer, RecvFlags::DONTWAIT) {
            Ok(count) => Ok(Some(count)),
            Err(Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends without waiting; `None` if there is no room.
    pub(crate) fn send_now(&self, buffer: &[u8]) -> io::Result<Option<usize>> {
        match self.transmit(buffer, SendFlags::DONTWAIT) {
            Ok(count) => Ok(Some(count)),
            Err(Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends several buffers in one call without waiting; `None` if there is no room.
    pub(crate) fn send_all_now(&self, buffers: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        loop {
            let mut control = SendAncillaryBuffer::default();
            match rustix::net::sendmsg(&self.fd, buffers, &mut control, flags) {
                Ok(count) => return Ok(Some(count)),
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Bounds each blocking read.
    pub(crate) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        Ok(sockopt::set_socket_timeout(
            &self.fd,
            sockopt::Timeout::Recv,
            timeout.map(nonzero),
        )?)
    }

    /// Bounds each blocking write.
    pub(crate) fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        Ok(sockopt::set_socket_timeout(
            &self.fd,
            sockopt::Timeout::Send,
            timeout.map(nonzero),
        )?)
    }

    /// Makes every read that would wait, now or later, see the end of input.
    pub(crate) fn end_reading(&self) {
        let _ = rustix::net::shutdown(&self.fd, Shutdown::Read);
    }

    /// Tells the peer that nothing more will be sent.
    pub(crate) fn end_writing(&self) {
        let _ = rustix::net::shutdown(&self.fd, Shutdown::Write);
    }

    /// Ends both directions; whoever waits on the socket wakes.
    pub(crate) fn end(&self) {
        let _ = rustix::net::shutdown(&self.fd, Shutdown::Both);
    }

    /// Ends a connection that is not served, before it is dropped: what has come in is thrown away,
    /// or the kernel would send a reset instead of an end.
    pub(crate) fn turn_away(&self) {
        self.end_writing();
        let mut discard = [0; 4096];
        for _ in 0..16 {
            if !matches!(self.receive_now(&mut discard), Ok(Some(1..))) {
                break;
            }
        }
    }

    /// Whether the peer has received all that was sent, its end included.
    pub(crate) fn peer_has_everything(&self) -> bool {
        // What was sent to a Unix socket is in its peer's queue at once.
        socketserver_sys::socket::peer_has_everything(&self.fd).unwrap_or(true)
    }

    /// The user at the other end of a Unix socket.
    pub(crate) fn user(&self) -> Option<u32> {
        sockopt::socket_peercred(&self.fd)
            .ok()
            .map(|credentials| credentials.uid.as_raw())
    }

    #[inline]
    fn recv(&self, buffer: &mut [u8], flags: RecvFlags) -> rustix::io::Result<usize> {
        loop {
            match rustix::net::recv(&self.fd, &mut *buffer, flags) {
                Ok((count, _)) => return Ok(count),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }

    #[inline]
    fn transmit(&self, buffer: &[u8], flags: SendFlags) -> rustix::io::Result<usize> {
        loop {
            match rustix::net::send(&self.fd, buffer, flags | SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                result => return result,
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The kernel takes a timeout of zero as none at all.
fn nonzero(timeout: Duration) -> Duration {
    timeout.max(Duration::from_micros(1))
}
