//! Sending by the kernel: what it is given stays in the queue until it says that it is done.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::queue::Queue;
use super::{BATCH, Outbox, PIECE, turn};
use crate::live::lock;

/// What the kernel is to send.
#[derive(Debug)]
pub(crate) enum Flight {
    /// One message, shared.
    Shared(Arc<[u8]>),
    /// Several, or the rest of one.
    Joined(Vec<u8>),
}

impl Outbox {
    /// What to send next; `None` if nothing waits, or something is under way.
    pub(crate) fn take_off(&self) -> Option<Flight> {
        let mut queue = lock(&self.0.queue);
        if queue.socket.is_none() || queue.is_sending() {
            return None;
        }
        let first = queue.messages.front()?;
        let flight = if queue.messages.len() == 1 && queue.sent == 0 {
            Flight::Shared(Arc::clone(first))
        } else {
            let mut joined = first[queue.sent..].to_vec();
            for message in queue.messages.iter().take(BATCH).skip(1) {
                if joined.len() + message.len() > PIECE {
                    break;
                }
                joined.extend_from_slice(message);
            }
            Flight::Joined(joined)
        };
        queue.in_flight = match &flight {
            Flight::Shared(bytes) => bytes.len(),
            Flight::Joined(bytes) => bytes.len(),
        };
        Some(flight)
    }

    /// Has the kernel send `bytes` at the end of the turn without waiting in the queue, if this is a
    /// turn of the loop that serves the connection; tells whether it will.
    pub(super) fn fly(&self, queue: &mut Queue, bytes: &Arc<[u8]>, seat: u64) -> bool {
        if queue.is_sending()
            || queue.open().is_none()
            || !turn::fly(self.0.flusher.as_ptr().cast::<()>().addr(), seat, bytes)
        {
            return false;
        }
        queue.is_held = true;
        queue.held_bytes = bytes.len();
        true
    }

    /// Has everything wait, or no longer, for something that the kernel sends beside it.
    pub(crate) fn hold(&self, holds: bool) {
        lock(&self.0.queue).is_held = holds;
    }

    /// Whether the kernel is sending.
    pub(crate) fn is_sending(&self) -> bool {
        lock(&self.0.queue).is_sending()
    }

    /// Whether it is `flusher` that looks after it.
    pub(crate) fn is_looked_after_by(&self, flusher: usize) -> bool {
        self.0.flusher.as_ptr().cast::<()>().addr() == flusher
    }

    /// Notes what became of the last flight; tells whether more waits.
    pub(crate) fn landed(&self, result: &io::Result<usize>, bytes: &[u8]) -> bool {
        let mut queue = lock(&self.0.queue);
        let was = std::mem::take(&mut queue.in_flight);
        let held = std::mem::take(&mut queue.held_bytes);
        queue.is_held = false;
        if let Ok(sent) = *result {
            self.0.live.sent_beside(sent);
            if held == 0 {
                // The queue may have been cleared meanwhile.
                let sent = sent.min(was).min(queue.bytes);
                queue.advance(sent);
                self.0
                    .shared
                    .outbox_total
                    .fetch_sub(sent, Ordering::Relaxed);
            } else if let Some(rest) = bytes.get(sent..)
                && !rest.is_empty()
            {
                self.put_first(&mut queue, rest);
            }
        } else {
            queue.clear(&self.0.shared.outbox_total);
            queue.socket = None;
        }
        queue.looked_after = !queue.messages.is_empty();
        queue.looked_after
    }

    /// Has `rest`, the end of something whose beginning has been sent beside the queue, follow at once.
    pub(crate) fn follow(&self, rest: &[u8]) {
        let mut queue = lock(&self.0.queue);
        self.put_first(&mut queue, rest);
        queue.looked_after = true;
    }

    fn put_first(&self, queue: &mut Queue, rest: &[u8]) {
        if queue.socket.is_none() {
            return;
        }
        debug_assert_eq!(queue.sent, 0, "nothing of the queue has gone out meanwhile");
        queue.messages.push_front(rest.into());
        queue.bytes += rest.len();
        // It is no message that could be dropped.
        queue.first_follows = true;
        let total = &self.0.shared.outbox_total;
        total.fetch_add(rest.len(), Ordering::Relaxed);
    }
}
