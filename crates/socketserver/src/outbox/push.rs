//! Pushing: what goes out at once, what waits, and what there is no room for.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

use super::queue::Queue;
use super::{Outbox, Overflow, PushError, Way, turn};
use crate::live::lock;
use crate::telemetry::EndReason;

/// What became of messages that were to wait.
#[derive(Default)]
struct Kept {
    /// A loop is to look after the outbox from now on.
    hands_over: bool,
    /// There was no room for all of them.
    is_full: bool,
    /// So the connection is to be cut off.
    cuts_off: bool,
}

impl Outbox {
    /// Sends `message`, behind nothing but what is in the queue.
    pub(crate) fn put(&self, message: Arc<[u8]>) -> Result<(), PushError> {
        let mut queue = lock(&self.0.queue);
        let sent = self.try_send(&mut queue, &message)?;
        if sent == message.len() {
            return Ok(());
        }
        let mut kept = Kept::default();
        self.keep(&mut queue, message, sent, &mut kept);
        self.finish(queue, &kept)
    }

    /// Sends all of `messages`, which `joined` holds one after another.
    pub(crate) fn put_all(
        &self,
        messages: &[Arc<[u8]>],
        joined: &Arc<[u8]>,
    ) -> Result<(), PushError> {
        let mut queue = lock(&self.0.queue);
        if queue.open().is_none() {
            return Err(PushError::Closed);
        }
        let mut sent = 0;
        if queue.messages.is_empty() && !queue.is_sending() {
            if let Way::Ring(seat) = self.0.way
                && self.fly(&mut queue, joined, seat)
            {
                return Ok(());
            }
            sent = self.send_now(&mut queue, joined)?;
        }
        // What did not fit waits as the messages that it is, so that each can be dropped alone.
        let mut kept = Kept::default();
        for message in messages {
            if sent >= message.len() {
                sent -= message.len();
                continue;
            }
            let begun = std::mem::take(&mut sent);
            self.keep(&mut queue, Arc::clone(message), begun, &mut kept);
            if kept.cuts_off {
                break;
            }
        }
        self.finish(queue, &kept)
    }

    /// Sends what the connection's own handler writes, whatever the bounds: it is for the handler's
    /// loop to hear no more of a peer that does not read.
    pub(crate) fn write_own(&self, bytes: &[u8]) -> Result<(), PushError> {
        turn::settle_broadcasts();
        let mut queue = lock(&self.0.queue);
        let sent = self.try_send(&mut queue, bytes)?;
        if sent == bytes.len() {
            return Ok(());
        }
        if sent == 0 {
            let total = &self.0.shared.outbox_total;
            total.fetch_add(bytes.len(), Ordering::Relaxed);
        }
        let mut kept = Kept::default();
        self.enqueue(&mut queue, bytes.into(), sent, &mut kept);
        self.finish(queue, &kept)
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
    fn keep(&self, queue: &mut Queue, message: Arc<[u8]>, sent: usize, kept: &mut Kept) {
        let inner = &*self.0;
        // What has gone out in part must follow whole, room or not.
        if sent > 0
            || inner.make_room(queue, message.len())
            || inner.flush_for_room(queue, message.len())
        {
            return self.enqueue(queue, message, sent, kept);
        }
        kept.is_full = true;
        if queue.overflow == Overflow::Disconnect {
            kept.cuts_off = true;
            queue.clear(&inner.shared.outbox_total);
            queue.socket = None;
        } else {
            queue.dropped += 1;
        }
    }

    /// Lets `message` wait: one of which a part is out, or for which room was made.
    fn enqueue(&self, queue: &mut Queue, message: Arc<[u8]>, sent: usize, kept: &mut Kept) {
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
        kept.hands_over |= !std::mem::replace(&mut queue.looked_after, true);
    }

    /// Lets the rest of a piece, of which `sent` bytes are out, wait.
    pub(super) fn enqueue_rest(
        &self,
        mut queue: MutexGuard<'_, Queue>,
        piece: Arc<[u8]>,
        sent: usize,
    ) {
        let mut kept = Kept::default();
        self.enqueue(&mut queue, piece, sent, &mut kept);
        // There was room for it: it is out in part.
        let _ = self.finish(queue, &kept);
    }

    /// Does, without the lock, what has come of it.
    fn finish(&self, queue: MutexGuard<'_, Queue>, kept: &Kept) -> Result<(), PushError> {
        drop(queue);
        if kept.hands_over && (self.0.way.is_at_once() || !turn::defer(self)) {
            self.hand_over();
        }
        if kept.cuts_off {
            self.0.live.cut(EndReason::SlowConsumer);
        }
        if kept.is_full {
            return Err(PushError::Full);
        }
        Ok(())
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
}
