//! What waits in an outbox.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Overflow;
use crate::socket::Socket;

#[expect(clippy::struct_excessive_bools, reason = "each is a fact by itself")]
pub(super) struct Queue {
    /// `None` once the connection has ended.
    pub(super) socket: Option<Arc<Socket>>,
    pub(super) messages: VecDeque<Arc<[u8]>>,
    /// How much of the first message has gone out.
    pub(super) sent: usize,
    /// Whether the first message is the end of something whose beginning has gone out.
    pub(super) first_follows: bool,
    /// Bytes that wait.
    pub(super) bytes: usize,
    /// Whether a loop looks after it.
    pub(super) looked_after: bool,
    /// Bytes at the front that the kernel is sending at the moment.
    pub(super) in_flight: usize,
    /// Whether the kernel is sending something that was never in the queue, and how much of it is
    /// counted here.
    pub(super) is_held: bool,
    pub(super) held_bytes: usize,
    /// Whether the handler is done, so that nothing new is taken.
    pub(super) ending: bool,
    pub(super) overflow: Overflow,
    pub(super) dropped: u64,
}

impl Queue {
    pub(super) fn new(socket: Arc<Socket>) -> Self {
        Self {
            socket: Some(socket),
            messages: VecDeque::new(),
            sent: 0,
            first_follows: false,
            bytes: 0,
            looked_after: false,
            in_flight: 0,
            is_held: false,
            held_bytes: 0,
            ending: false,
            overflow: Overflow::default(),
            dropped: 0,
        }
    }

    /// Whether the kernel is sending, so that nobody else may.
    pub(super) fn is_sending(&self) -> bool {
        self.in_flight > 0 || self.is_held
    }

    /// Messages at the front that must stay where they are: a part of them is out, or may be.
    pub(super) fn started(&self) -> usize {
        let mut left = self
            .in_flight
            .max(usize::from(self.sent > 0 || self.first_follows));
        let mut count = 0;
        for message in &self.messages {
            if left == 0 {
                break;
            }
            let waits = message.len() - if count == 0 { self.sent } else { 0 };
            left = left.saturating_sub(waits);
            count += 1;
        }
        count
    }

    /// The socket, while messages are taken.
    pub(super) fn open(&self) -> Option<Arc<Socket>> {
        if self.ending {
            None
        } else {
            self.socket.clone()
        }
    }

    /// Notes that `sent` bytes have gone out.
    pub(super) fn advance(&mut self, mut sent: usize) {
        self.bytes -= sent;
        while let Some(first) = self.messages.front() {
            let left = first.len() - self.sent;
            if sent < left {
                self.sent += sent;
                return;
            }
            sent -= left;
            self.sent = 0;
            self.first_follows = false;
            self.messages.pop_front();
        }
    }

    pub(super) fn clear(&mut self, total: &AtomicUsize) {
        total.fetch_sub(self.bytes, Ordering::Relaxed);
        self.messages.clear();
        self.bytes = 0;
        self.sent = 0;
        self.first_follows = false;
        // What is in flight is so until it has landed.
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // Every path that ends a connection clears the queue first.
        debug_assert_eq!(self.bytes, 0, "bytes of a dropped outbox stay in the total");
    }
}
