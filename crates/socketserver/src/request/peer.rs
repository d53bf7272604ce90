//! A peer, as a message handler sees it.

use std::fmt;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use super::link::Link;
use crate::address::Address;
use crate::codec::Encode;
use crate::control::ServerHandle;
use crate::endpoint::Endpoint;
use crate::outbox::Outbox;
use crate::turn::{Conductor, Turn};

/// Who is at the other end of a message handler's connection, for the length of a call.
///
/// What is written is gathered, and sent when the input has run dry: sixteen messages that came in
/// together are answered by one system call.
/// Nothing here waits.
pub struct Peer<'a> {
    pub(crate) link: &'a mut Link,
    pub(crate) turn: &'a mut Turn,
}

impl fmt::Debug for Peer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("id", &self.id())
            .field("address", self.address())
            .finish_non_exhaustive()
    }
}

impl Peer<'_> {
    /// Writes `bytes`, now or when the input has run dry.
    ///
    /// On the Reactor and the Pool, what a peer does not read waits in memory: up to half of
    /// [`Limits::outbox_bytes`](crate::Limits#structfield.outbox_bytes), and its handler hears no
    /// further message; on the other engines the handler's thread waits, and no more than that waits
    /// in memory. A peer that reads nothing for
    /// [`Limits::write_timeout`](crate::Limits#structfield.write_timeout) is cut off.
    ///
    /// # Errors
    ///
    /// `ConnectionAborted` if the connection has been cut off, or is now: on the Reactor and the Pool,
    /// when more than `outbox_bytes` wait already, which one message's answer alone must bring about.
    /// `BrokenPipe` or `ConnectionReset` if the peer is gone.
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.link.write(bytes, self.turn)
    }

    /// Writes `message` as `codec` frames it.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for what cannot be framed; else as [`write`](Self::write).
    pub fn send<M: ?Sized>(&mut self, codec: &impl Encode<M>, message: &M) -> io::Result<()> {
        let mut bytes = Vec::new();
        codec.encode(message, &mut bytes)?;
        self.write(&bytes)
    }

    /// A queue by which others send to this connection.
    ///
    /// From the first call on, what the handler writes goes in order with what others push.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`] in a forked child: nobody else could push to it.
    pub fn outbox(&mut self) -> io::Result<Outbox> {
        self.link.share_outbox(self.turn)
    }

    /// Bytes that wait for the peer to read.
    pub fn queued_bytes(&self) -> usize {
        self.link.waiting_bytes() + self.turn.output.len()
    }

    /// Has [`tick`](crate::MessageHandler::tick) called once, after `time`; a later call replaces an
    /// earlier one.
    ///
    /// It is called at the end of the loop's turn in which the time is over, messages or not.
    pub fn wake_after(&mut self, time: Duration) {
        let at = self.turn.now.after(time);
        self.link.extra().wake_at = Some(at);
    }

    /// Takes [`wake_after`](Self::wake_after) back.
    pub fn cancel_wake(&mut self) {
        if self.link.peek().is_some() {
            self.link.extra().wake_at = None;
        }
    }

    /// What ends the pause that the handler is about to begin by returning
    /// [`Next::Pause`](crate::Next::Pause).
    ///
    /// Hand it to whoever does the work. It is good for one pause, and an earlier one is void.
    pub fn resumer(&mut self) -> Resumer {
        Resumer {
            pause: self.link.extra().begin_pause(),
            conductor: Arc::clone(&self.turn.conductor),
            seat: self.link.seat,
        }
    }

    /// Who is at the other end (Python: `client_address`).
    pub fn address(&self) -> &Address {
        &self.link.live().peer
    }

    /// The number of the connection, unique in this server.
    pub fn id(&self) -> u64 {
        self.link.live().id
    }

    /// The endpoint that it came in by.
    pub fn endpoint(&self) -> &Endpoint {
        &self.link.live().endpoint
    }

    /// The server that accepted it.
    pub fn server(&self) -> &ServerHandle {
        &self.link.site.server
    }

    /// Whether the server is shutting down, so that this should come to an end.
    pub fn is_draining(&self) -> bool {
        self.link.live().is_drained()
    }

    /// Sets how long the peer of this connection may be silent; as
    /// [`Limits::idle_timeout`](crate::Limits#structfield.idle_timeout).
    pub fn set_idle_timeout(&mut self, timeout: Option<Duration>) {
        self.link.set_idle_timeout(timeout);
    }
}

/// So that `write!` works; as [`Peer::write`].
impl Write for Peer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.link.write(bytes, self.turn)?;
        Ok(bytes.len())
    }

    /// Does nothing: what was written is sent when the input has run dry.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Peer<'_> {
    /// The raw socket; what is read or written here is not counted, and goes before what was written
    /// and not yet sent.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.socket.as_fd()
    }
}

/// Ends a pause, from any thread; dropped, it does so too.
///
/// The handler's [`resumed`](crate::MessageHandler::resumed) is called, and then hears messages again.
#[must_use = "dropped, it ends the pause"]
pub struct Resumer {
    conductor: Arc<dyn Conductor>,
    seat: u64,
    pause: u32,
}

impl fmt::Debug for Resumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resumer").finish_non_exhaustive()
    }
}

impl Resumer {
    /// Ends the pause.
    pub fn resume(self) {
        drop(self);
    }
}

impl Drop for Resumer {
    fn drop(&mut self) {
        self.conductor.resume(self.seat, self.pause);
    }
}
