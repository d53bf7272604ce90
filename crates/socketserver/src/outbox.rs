//! Outboxes: what others send to a connection, bounded, and never waited for.
//!
//! A sender first tries the socket itself; what does not fit is queued, and the serving loop sends it
//! when the peer reads on.
//! So no connection needs a second thread or a descriptor to be woken by.
//!
//! On an event loop it is queued at once, and goes out in one piece at the end of the loop's turn
//! ([`turn`]).

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use crate::clock::Clock;
use crate::control::Shared;
use crate::live::{Live, lock};
use crate::socket::Socket;
use crate::wait::{Interest, Polled, Waited, Waiter};

mod bounds;
mod flight;
mod overflow;
mod push;
mod queue;
pub(crate) mod turn;

#[cfg(feature = "uring")]
pub(crate) use flight::Flight;
pub use overflow::{Overflow, PushError};

use queue::Queue;

/// Bytes of a handler's write that go out in one piece; less if the outbox is small.
const PIECE: usize = 64 << 10;

/// How many messages go out in one system call.
const BATCH: usize = 64;

/// A bounded queue of messages to one connection: clone it, keep it, send from any thread.
///
/// A message goes out whole or not at all, in the order of the pushes.
/// The bounds are [`outbox_bytes`](crate::Limits::outbox_bytes),
/// [`outbox_messages`](crate::Limits::outbox_messages) and
/// [`outbox_total_bytes`](crate::Limits::outbox_total_bytes); they count what the kernel has not taken.
#[derive(Clone)]
pub struct Outbox(Arc<Inner>);

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("connection", &self.0.live.id)
            .finish_non_exhaustive()
    }
}

/// Sends on what an outbox could not, when its socket has room.
pub(crate) trait Flusher: Send + Sync {
    /// Looks after `outbox` until it is empty.
    fn look_after(&self, outbox: Outbox);
}

/// Who sends what is pushed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    /// Whoever pushes, if the socket has room.
    AtOnce,
    /// As `AtOnce`; what is left, by who serves the connection at this seat.
    AtSeat(u64),
    /// The event loop at whose turn it was pushed, at the turn's end, or else the one at whose seat
    /// the connection is served.
    Loop(u64),
    /// As `Loop`; that one has the kernel do it.
    Ring(u64),
}

impl Way {
    fn is_at_once(self) -> bool {
        matches!(self, Self::AtOnce | Self::AtSeat(_))
    }
}

struct Inner {
    queue: Mutex<Queue>,
    live: Arc<Live>,
    shared: Arc<Shared>,
    way: Way,
    /// Weak: the loop holds outboxes, and must not be held by them.
    flusher: Weak<dyn Flusher>,
}

impl Outbox {
    pub(crate) fn new(
        socket: Arc<Socket>,
        live: Arc<Live>,
        shared: Arc<Shared>,
        flusher: &Arc<dyn Flusher>,
        way: Way,
    ) -> Self {
        Self(Arc::new(Inner {
            queue: Mutex::new(Queue::new(socket)),
            live,
            shared,
            way,
            flusher: Arc::downgrade(flusher),
        }))
    }

    /// Sets what happens to a message for which there is no room; default
    /// [`Disconnect`](Overflow::Disconnect).
    pub fn set_overflow(&self, overflow: Overflow) {
        lock(&self.0.queue).overflow = overflow;
    }

    /// Sends `message` now or later; never waits.
    ///
    /// # Errors
    ///
    /// [`PushError::Closed`] if the connection has ended, [`PushError::Full`] if there was no room.
    pub fn push(&self, message: impl Into<Arc<[u8]>>) -> Result<(), PushError> {
        // What this handler has sent to many before comes before it.
        turn::settle_broadcasts();
        self.put(message.into())
    }

    /// The number of the connection that it leads to.
    pub fn connection(&self) -> u64 {
        self.0.live.id
    }

    /// Bytes that wait.
    pub fn queued_bytes(&self) -> usize {
        let queue = lock(&self.0.queue);
        queue.bytes + queue.held_bytes
    }

    /// Whether nothing waits, and nothing is being done about it.
    pub(crate) fn is_at_rest(&self) -> bool {
        let queue = lock(&self.0.queue);
        queue.messages.is_empty() && !queue.looked_after
    }

    /// Messages that were dropped for want of room.
    pub fn dropped(&self) -> u64 {
        lock(&self.0.queue).dropped
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        lock(&self.0.queue).open().is_none()
    }

    /// Where its event loop serves the connection.
    pub(crate) fn seat(&self) -> Option<u64> {
        match self.0.way {
            Way::AtOnce => None,
            Way::AtSeat(seat) | Way::Loop(seat) | Way::Ring(seat) => Some(seat),
        }
    }

    /// Writes for the handler, behind what waits: some of `buffer`, or all of it if it is no more than
    /// a piece, once what waits has gone out.
    ///
    /// `None` if it has not within `timeout`.
    pub(crate) fn write(
        &self,
        buffer: &[u8],
        waiter: &Waiter,
        timeout: Option<Duration>,
        clock: &Clock,
    ) -> io::Result<Option<usize>> {
        let polled = match waiter {
            Waiter::Polled(polled) => polled.clone(),
            Waiter::Blocking => Polled {
                clock: clock.clone(),
                interrupt: None,
            },
        };
        let deadline = timeout.and_then(|timeout| clock.now().checked_add(timeout));
        polled.glance();
        loop {
            let mut queue = lock(&self.0.queue);
            let Some(socket) = queue.open() else {
                let text = "the connection has ended";
                return Err(io::Error::new(io::ErrorKind::BrokenPipe, text));
            };
            self.0.flush(&mut queue)?;
            if queue.messages.is_empty() {
                let sent = socket.send_now(buffer)?.unwrap_or(0);
                self.0.live.sent_beside(sent);
                if sent == buffer.len() {
                    return Ok(Some(sent));
                }
                if sent > 0 {
                    // The rest of the piece must follow whole. No more of it than that waits here: a
                    // handler's own haste must not fill the outbox for others.
                    let end = buffer.len().min(sent.max(self.0.piece()));
                    if end > sent {
                        self.enqueue_rest(queue, buffer[..end].into(), sent);
                    }
                    return Ok(Some(end));
                }
            }
            drop(queue);
            if polled.wait(socket.as_fd(), Interest::Writable, deadline)? == Waited::TimedOut {
                return Ok(None);
            }
        }
    }

    /// Sends what fits; tells whether anything is left.
    pub(crate) fn flush(&self) -> bool {
        let mut queue = lock(&self.0.queue);
        if self.0.flush(&mut queue).is_err() {
            queue.clear(&self.0.shared.outbox_total);
            queue.socket = None;
        }
        queue.looked_after = !queue.messages.is_empty();
        queue.looked_after
    }

    /// Takes nothing new; tells whether something is left to send.
    pub(crate) fn end(&self) -> bool {
        let mut queue = lock(&self.0.queue);
        queue.ending = true;
        !queue.messages.is_empty()
    }

    /// Lets go of the socket.
    pub(crate) fn close(&self) {
        let mut queue = lock(&self.0.queue);
        queue.clear(&self.0.shared.outbox_total);
        queue.ending = true;
        queue.socket = None;
    }

    /// The socket, to wait on, while the connection lives.
    pub(crate) fn socket(&self) -> Option<Arc<Socket>> {
        lock(&self.0.queue).socket.clone()
    }
}
