//! Outboxes: what others send to a connection, bounded, and never waited for.
//!
//! A sender first tries the socket itself; what does not fit is queued, and the serving loop sends it
//! when the peer reads on.
//! So no connection needs a second thread or a descriptor to be woken by.
//!
//! On an event loop it is queued at once, and goes out in one piece at the end of the loop's turn
//! ([`turn`]).

use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use crate::clock::Clock;
use crate::control::Shared;
use crate::live::{Live, lock};
use crate::socket::Socket;
use crate::telemetry::EndReason;
use crate::wait::{Interest, Polled, Waited, Waiter};

mod flight;
mod overflow;
mod queue;
pub(crate) mod turn;

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

    /// Sends `message`, behind nothing but what is in the queue.
    pub(crate) fn put(&self, message: Arc<[u8]>) -> Result<(), PushError> {
        let mut queue = lock(&self.0.queue);
        let sent = self.try_send(&mut queue, &message)?;
        if sent == message.len() {
            return Ok(());
        }
        self.keep(queue, message, sent)
    }

    /// Sends all of `messages`, which `joined` holds one after another.
    pub(crate) fn put_all(
        &self,
        messages: &[Arc<[u8]>],
        joined: &Arc<[u8]>,
    ) -> Result<(), PushError> {
        let mut queue = lock(&self.0.queue);
        let mut sent = 0;
        if queue.messages.is_empty() {
            if matches!(self.0.way, Way::Ring(_)) && joined.len() <= self.0.piece() {
                return self.keep(queue, Arc::clone(joined), 0);
            }
            sent = self.send_now(&mut queue, joined)?;
            if sent == joined.len() {
                return Ok(());
            }
        }
        // What did not fit waits as the messages that it is, so that each can be dropped alone; nobody
        // comes between them.
        let mut result = Ok(());
        for message in messages {
            if sent >= message.len() {
                sent -= message.len();
                continue;
            }
            let begun = std::mem::take(&mut sent);
            let kept = self.0.keep(&mut queue, Arc::clone(message), begun);
            result = result.and(kept);
            if kept == Err(PushError::Closed) {
                break;
            }
        }
        self.let_go(queue);
        result
    }

    /// Sends what of `message` the socket takes, if nothing waits and it is the sender's to do.
    fn try_send(&self, queue: &mut Queue, message: &[u8]) -> Result<usize, PushError> {
        if queue.open().is_none() {
            return Err(PushError::Closed);
        }
        if !self.0.way.is_at_once() || !queue.messages.is_empty() {
            return Ok(0);
        }
        self.send_now(queue, message)
    }

    fn send_now(&self, queue: &mut Queue, message: &[u8]) -> Result<usize, PushError> {
        let Some(socket) = queue.open() else {
            return Err(PushError::Closed);
        };
        if let Ok(count) = socket.send_now(message) {
            let sent = count.unwrap_or(0);
            self.0.live.sent_beside(sent);
            return Ok(sent);
        }
        queue.clear(&self.0.shared.outbox_total);
        queue.socket = None;
        Err(PushError::Closed)
    }

    /// Lets `message`, of which `sent` bytes are out, wait, if there is room or it must follow.
    fn keep(
        &self,
        mut queue: MutexGuard<'_, Queue>,
        message: Arc<[u8]>,
        sent: usize,
    ) -> Result<(), PushError> {
        let kept = self.0.keep(&mut queue, message, sent);
        self.let_go(queue);
        kept
    }

    /// Lets go of the queue, and sees to what was done to it.
    fn let_go(&self, mut queue: MutexGuard<'_, Queue>) {
        let is_cut = std::mem::take(&mut queue.is_cut);
        let is_new =
            !queue.messages.is_empty() && !std::mem::replace(&mut queue.looked_after, true);
        drop(queue);
        if is_cut {
            self.0.live.cut(EndReason::SlowConsumer);
        }
        if is_new && (self.0.way.is_at_once() || !turn::defer(self)) {
            self.hand_over();
        }
    }

    /// Sends what the connection's own handler writes, whatever the bounds: it is for the handler's
    /// loop to hear no more of a peer that does not read.
    pub(crate) fn write_own(&self, bytes: &[u8]) -> Result<(), PushError> {
        turn::settle_broadcasts();
        let mut queue = lock(&self.0.queue);
        let sent = self.try_send(&mut queue, bytes)?;
        if sent < bytes.len() {
            if sent == 0 {
                let total = &self.0.shared.outbox_total;
                total.fetch_add(bytes.len(), Ordering::Relaxed);
            }
            self.enqueue(queue, bytes.into(), sent);
        }
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

    /// Lets `message` wait: one of which a part is out, or for which room was made.
    fn enqueue(&self, mut queue: MutexGuard<'_, Queue>, message: Arc<[u8]>, sent: usize) {
        self.0.enqueue(&mut queue, message, sent);
        self.let_go(queue);
    }

    /// Leaves it to its loop.
    fn hand_over(&self) {
        if let Some(flusher) = self.0.flusher.upgrade() {
            flusher.look_after(self.clone());
        }
    }

    /// Sends, at the end of a loop's turn, what was pushed in it.
    pub(crate) fn settle(&self) {
        if self.flush() {
            self.hand_over();
        }
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

    /// Lets `message` wait, or does as the overflow policy says.
    fn keep(&self, queue: &mut Queue, message: Arc<[u8]>, sent: usize) -> Result<(), PushError> {
        if queue.open().is_none() {
            return Err(PushError::Closed);
        }
        // What has gone out in part must follow whole, room or not.
        let has_room = sent > 0
            || self.make_room(queue, message.len())
            || self.flush_for_room(queue, message.len());
        if has_room {
            self.enqueue(queue, message, sent);
            return Ok(());
        }
        if queue.overflow == Overflow::Disconnect {
            queue.clear(&self.shared.outbox_total);
            queue.socket = None;
            queue.is_cut = true;
        } else {
            queue.dropped += 1;
        }
        Err(PushError::Full)
    }

    fn enqueue(&self, queue: &mut Queue, message: Arc<[u8]>, sent: usize) {
        let waits = message.len() - sent;
        if queue.messages.is_empty() {
            queue.sent = sent;
        }
        queue.bytes += waits;
        if sent > 0 {
            let total = &self.shared.outbox_total;
            total.fetch_add(waits, Ordering::Relaxed);
        }
        queue.messages.push_back(message);
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
            let oldest = queue.started();
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

    /// Sends what was only waiting for the end of a turn, to make room.
    fn flush_for_room(&self, queue: &mut Queue, bytes: usize) -> bool {
        if self.way.is_at_once() {
            return false;
        }
        // An error shows when the loop looks.
        self.flush(queue).is_ok() && self.make_room(queue, bytes)
    }

    /// Sends what fits.
    fn flush(&self, queue: &mut Queue) -> io::Result<()> {
        let Some(socket) = queue.socket.clone() else {
            return Ok(());
        };
        if queue.is_sending() {
            return Ok(());
        }
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
