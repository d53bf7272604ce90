//! Outboxes: what others send to a connection, bounded, and never waited for.
//!
//! A sender first tries the socket itself; what does not fit is queued, and the serving loop sends it
//! when the peer reads on.
//! So no connection needs a second thread or a descriptor to be woken by.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use crate::clock::Clock;
use crate::control::Shared;
use crate::live::{Live, lock};
use crate::socket::Socket;
use crate::telemetry::EndReason;
use crate::wait::{Interest, Polled, Waited, Waiter};

mod overflow;

pub use overflow::{Overflow, PushError};

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

struct Inner {
    queue: Mutex<Queue>,
    live: Arc<Live>,
    shared: Arc<Shared>,
    /// Weak: the loop holds outboxes, and must not be held by them.
    flusher: Weak<dyn Flusher>,
}

struct Queue {
    /// `None` once the connection has ended.
    socket: Option<Arc<Socket>>,
    messages: VecDeque<Arc<[u8]>>,
    /// How much of the first message has gone out.
    sent: usize,
    /// Bytes that wait.
    bytes: usize,
    /// Whether the serving loop looks after it.
    looked_after: bool,
    /// Whether the handler is done, so that nothing new is taken.
    ending: bool,
    overflow: Overflow,
    dropped: u64,
}

impl Outbox {
    pub(crate) fn new(
        socket: Arc<Socket>,
        live: Arc<Live>,
        shared: Arc<Shared>,
        flusher: &Arc<dyn Flusher>,
    ) -> Self {
        let queue = Queue {
            socket: Some(socket),
            messages: VecDeque::new(),
            sent: 0,
            bytes: 0,
            looked_after: false,
            ending: false,
            overflow: Overflow::default(),
            dropped: 0,
        };
        Self(Arc::new(Inner {
            queue: Mutex::new(queue),
            live,
            shared,
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
        let message = message.into();
        let inner = &*self.0;
        let mut queue = lock(&inner.queue);
        let Some(socket) = queue.open() else {
            return Err(PushError::Closed);
        };
        let mut sent = 0;
        if queue.messages.is_empty() {
            if let Ok(count) = socket.send_now(&message) {
                sent = count.unwrap_or(0);
            } else {
                queue.clear(&inner.shared.outbox_total);
                queue.socket = None;
                return Err(PushError::Closed);
            }
            inner.live.sent_beside(sent);
            if sent == message.len() {
                return Ok(());
            }
        }
        // What has gone out in part must follow whole, room or not.
        if sent == 0 && !inner.make_room(&mut queue, message.len()) {
            let cut_off = queue.overflow == Overflow::Disconnect;
            if cut_off {
                queue.clear(&inner.shared.outbox_total);
                queue.socket = None;
            } else {
                queue.dropped += 1;
            }
            drop(queue);
            if cut_off {
                inner.live.cut(EndReason::SlowConsumer);
            }
            return Err(PushError::Full);
        }
        self.enqueue(queue, message, sent);
        Ok(())
    }

    /// The number of the connection that it leads to.
    pub fn connection(&self) -> u64 {
        self.0.live.id
    }

    /// Bytes that wait.
    pub fn queued_bytes(&self) -> usize {
        lock(&self.0.queue).bytes
    }

    /// Messages that were dropped for want of room.
    pub fn dropped(&self) -> u64 {
        lock(&self.0.queue).dropped
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        lock(&self.0.queue).open().is_none()
    }

    /// Lets `message` wait: one of which a part is out, or for which room was made.
    fn enqueue(
        &self,
        mut queue: std::sync::MutexGuard<'_, Queue>,
        message: Arc<[u8]>,
        sent: usize,
    ) {
        let waits = message.len() - sent;
        if queue.messages.is_empty() {
            queue.sent = sent;
        }
        queue.bytes += waits;
        if sent > 0 {
            let total = &self.0.shared.outbox_total;
            total.fetch_add(waits, Ordering::Relaxed);
        }
        queue.messages.push_back(message);
        if !std::mem::replace(&mut queue.looked_after, true) {
            drop(queue);
            if let Some(flusher) = self.0.flusher.upgrade() {
                flusher.look_after(self.clone());
            }
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
                        self.enqueue(queue, buffer[..end].into(), sent);
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

impl Inner {
    /// Bytes of a handler's write that go out in one piece.
    fn piece(&self) -> usize {
        PIECE.min(self.shared.limits.outbox_bytes / 2)
    }

    /// Takes room for `bytes` more, after dropping what the overflow policy lets go; tells whether
    /// there was.
    fn make_room(&self, queue: &mut Queue, bytes: usize) -> bool {
        let (limits, total) = (&self.shared.limits, &self.shared.outbox_total);
        let add = |total| Some(total + bytes).filter(|&sum| sum <= limits.outbox_total_bytes);
        let of_others = total.load(Ordering::Relaxed).saturating_sub(queue.bytes);
        if bytes > limits.outbox_bytes || add(of_others).is_none() {
            // It would not fit though all were dropped: nothing is worth dropping for it.
            return false;
        }
        loop {
            if queue.messages.len() < limits.outbox_messages
                && queue.bytes + bytes <= limits.outbox_bytes
                && total
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
                    .is_ok()
            {
                return true;
            }
            // The first message stays if a part of it is out.
            let oldest = usize::from(queue.sent > 0);
            if queue.overflow != Overflow::DropOldest || queue.messages.len() <= oldest {
                return false;
            }
            if let Some(message) = queue.messages.remove(oldest) {
                queue.bytes -= message.len();
                total.fetch_sub(message.len(), Ordering::Relaxed);
                queue.dropped += 1;
            }
        }
    }

    /// Sends what fits.
    fn flush(&self, queue: &mut Queue) -> io::Result<()> {
        let Some(socket) = queue.socket.clone() else {
            return Ok(());
        };
        while !queue.messages.is_empty() {
            let sent = {
                let mut slices = [IoSlice::new(&[]); BATCH];
                let count = queue.messages.len().min(BATCH);
                for (slice, message) in slices.iter_mut().zip(&queue.messages) {
                    *slice = IoSlice::new(message);
                }
                slices[0] = IoSlice::new(&queue.messages[0][queue.sent..]);
                match socket.send_all_now(&slices[..count])? {
                    Some(sent) => sent,
                    None => return Ok(()),
                }
            };
            queue.advance(sent);
            self.shared.outbox_total.fetch_sub(sent, Ordering::Relaxed);
            self.live.sent_beside(sent);
        }
        Ok(())
    }
}

impl Queue {
    /// The socket, while messages are taken.
    fn open(&self) -> Option<Arc<Socket>> {
        if self.ending {
            None
        } else {
            self.socket.clone()
        }
    }

    /// Notes that `sent` bytes have gone out.
    fn advance(&mut self, mut sent: usize) {
        self.bytes -= sent;
        while let Some(first) = self.messages.front() {
            let left = first.len() - self.sent;
            if sent < left {
                self.sent += sent;
                return;
            }
            sent -= left;
            self.sent = 0;
            self.messages.pop_front();
        }
    }

    fn clear(&mut self, total: &AtomicUsize) {
        total.fetch_sub(self.bytes, Ordering::Relaxed);
        self.messages.clear();
        self.bytes = 0;
        self.sent = 0;
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // Every path that ends a connection clears the queue first.
        debug_assert_eq!(self.bytes, 0, "bytes of a dropped outbox stay in the total");
    }
}
