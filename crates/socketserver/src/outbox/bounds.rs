//! The bounds of an outbox, and sending what fits.

use std::io::{self, IoSlice};
use std::sync::atomic::Ordering;

use super::queue::Queue;
use super::{BATCH, Inner, Overflow, PIECE};

impl Inner {
    /// Bytes of a handler's write that go out in one piece.
    pub(super) fn piece(&self) -> usize {
        PIECE.min(self.shared.limits.outbox_bytes / 2)
    }

    /// Takes room for `bytes` more, after dropping what the overflow policy lets go; tells whether
    /// there was.
    pub(super) fn make_room(&self, queue: &mut Queue, bytes: usize) -> bool {
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
    pub(super) fn flush_for_room(&self, queue: &mut Queue, bytes: usize) -> bool {
        if self.way.is_at_once() {
            return false;
        }
        // An error shows when the loop looks.
        self.flush(queue).is_ok() && self.make_room(queue, bytes)
    }

    /// Sends what fits.
    pub(super) fn flush(&self, queue: &mut Queue) -> io::Result<()> {
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
