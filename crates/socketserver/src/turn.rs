//! A turn of a loop: what it lends to the connection in hand.
//!
//! No connection has a buffer of its own while it is idle; a loop has one, and lends it.

use std::fmt;
use std::sync::Arc;

use crate::clock::Moment;
use crate::live::Alarm;
use crate::outbox::{Flusher, Way};
use crate::wait::Waiter;

/// Who drives a message handler's connection.
pub(crate) trait Conductor: Alarm + Flusher {
    /// Goes on with the connection at `seat`, which paused for the `pause`th time.
    fn resume(&self, seat: u64, pause: u32);
}

/// Whether the pause with number `a` began after that with number `b`.
pub(crate) fn is_newer(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() > 0
}

/// What a loop lends to the connection in hand.
pub(crate) struct Turn {
    /// When the turn began.
    pub(crate) now: Moment,
    /// What the handler has written and nobody has sent.
    pub(crate) output: Vec<u8>,
    /// How to wait, on a thread that may.
    pub(crate) waiter: Option<Waiter>,
    pub(crate) conductor: Arc<dyn Conductor>,
    /// How outboxes of connections at a seat are sent.
    pub(crate) way: fn(u64) -> Way,
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn")
            .field("output", &self.output.len())
            .finish_non_exhaustive()
    }
}

/// Bytes of memory that the output keeps from one connection to the next.
const KEPT: usize = 256 << 10;

impl Turn {
    pub(crate) fn new(conductor: Arc<dyn Conductor>, way: fn(u64) -> Way) -> Self {
        Self {
            now: Moment::default(),
            output: Vec::new(),
            waiter: None,
            conductor,
            way,
        }
    }

    /// Forgets the output, which has been sent or kept elsewhere.
    pub(crate) fn clear_output(&mut self) {
        self.output.clear();
        if self.output.capacity() > KEPT {
            self.output = Vec::new();
        }
    }
}
