//! Closing a connection without losing what was sent.
//!
//! A plain `close(2)` with unread input, or before the peer has read, makes the kernel throw the
//! reply away and send a reset.
//! So: send what waits, end the writing side, read what the peer still sends, then close.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use crate::live::{Activity, Ticket};
use crate::outbox::Outbox;
use crate::socket::Socket;
use crate::wait::{Interest, Polled, Waited};

/// A connection whose handler is done.
#[derive(Debug)]
pub(crate) struct Closing {
    socket: Arc<Socket>,
    outbox: Option<Outbox>,
    phase: Phase,
    peer_has_ended: bool,
    discarded: usize,
    /// Whether the last look left something to read.
    has_more: bool,
    /// When it began to close.
    since: Instant,
    ticket: Ticket,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// The outbox is still to be sent.
    Flushing,
    /// The peer is to read it, and to close.
    Lingering,
    /// Nothing is left to do.
    Done,
}

impl Closing {
    /// Begins to close; what can be done without waiting is done.
    pub(super) fn new(
        socket: Arc<Socket>,
        outbox: Option<Outbox>,
        ticket: Ticket,
        peer_has_ended: bool,
    ) -> Self {
        // Who sees it closing may count on the deadline to stand.
        let since = ticket.now();
        ticket.live.now(Activity::Closing);
        let has_waiting = outbox.as_ref().is_some_and(Outbox::end);
        let phase = if has_waiting {
            Phase::Flushing
        } else {
            Phase::Lingering
        };
        let mut closing = Self {
            socket,
            outbox,
            phase,
            peer_has_ended,
            discarded: 0,
            has_more: false,
            since,
            ticket,
        };
        if phase == Phase::Lingering {
            closing.end_writing();
        }
        closing.advance(usize::MAX);
        closing
    }

    /// The number of the connection.
    pub(crate) fn id(&self) -> u64 {
        self.ticket.live.id
    }

    /// When it began to close.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// How the request ended, as far as that is known.
    pub(super) fn reason(&self) -> crate::EndReason {
        self.ticket.reason()
    }

    /// Whether it can be dropped.
    pub(crate) fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// Whether there is more to read already.
    pub(crate) fn has_more(&self) -> bool {
        self.has_more
    }

    /// Whether others could send to the connection.
    pub(crate) fn has_outbox(&self) -> bool {
        self.outbox.is_some()
    }

    /// What to wait for.
    pub(crate) fn interest(&self) -> Interest {
        if self.phase == Phase::Flushing {
            Interest::Writable
        } else {
            Interest::Changes
        }
    }

    /// When it has waited long enough, if it began to wait for this at `now`.
    pub(crate) fn deadline(&self, now: Instant, limits: &crate::Limits) -> Option<Instant> {
        match self.phase {
            Phase::Flushing => limits
                .write_timeout
                .and_then(|timeout| now.checked_add(timeout)),
            _ => now.checked_add(limits.linger_timeout),
        }
    }

    /// Does what can be done without waiting; tells whether it waits anew now: for something else, or
    /// for more after some has gone out.
    pub(crate) fn advance(&mut self, linger_bytes: usize) -> bool {
        let queued = |outbox: &Option<Outbox>| outbox.as_ref().map_or(0, Outbox::queued_bytes);
        let before = (self.phase, queued(&self.outbox));
        if self.phase == Phase::Flushing && !self.outbox.as_ref().is_some_and(Outbox::flush) {
            self.phase = Phase::Lingering;
            self.end_writing();
        }
        if self.phase == Phase::Lingering && self.linger(linger_bytes) {
            self.phase = Phase::Done;
        }
        (self.phase, queued(&self.outbox)) != before
    }

    fn end_writing(&mut self) {
        // A peer that has ended its side will send nothing more: closing is enough, and the kernel
        // sends the rest by itself. Where others hold the socket, closing is left to the last of them.
        if !self.peer_has_ended || self.outbox.is_some() {
            self.socket.end_writing();
        }
        if self.peer_has_ended {
            self.phase = Phase::Done;
        }
    }

    /// Reads what the peer still sends; tells whether that is over.
    fn linger(&mut self, linger_bytes: usize) -> bool {
        let mut discard = [0; 16 << 10];
        self.has_more = false;
        // A peer that sends without end is left to the next turn, and then to the bound.
        for _ in 0..16 {
            match self.socket.receive_now(&mut discard) {
                // After a drain has ended the reading side this does not say that the peer is done,
                // but nobody waits for its last word then: it is enough that it has ours.
                Ok(Some(0)) => {
                    return !self.ticket.live.is_drained() || self.socket.peer_has_everything();
                }
                Ok(Some(count)) => self.discarded += count,
                Ok(None) => return false,
                Err(_) => return true,
            }
            if self.discarded > linger_bytes {
                return true;
            }
        }
        self.has_more = true;
        false
    }

    /// Closes in the present thread, waiting as long as the limits allow: for a forked child, which
    /// has no loop to leave this to.
    pub(crate) fn finish_here(mut self, polled: &Polled, limits: &crate::Limits) {
        let mut deadline = self.deadline(polled.clock.now(), limits);
        while !self.is_done() {
            let interest = match self.interest() {
                Interest::Writable => Interest::Writable,
                _ => Interest::Readable,
            };
            match polled.wait(self.socket.as_fd(), interest, deadline) {
                Ok(Waited::Ready) => {}
                _ => return,
            }
            if self.advance(limits.linger_bytes) {
                deadline = self.deadline(polled.clock.now(), limits);
            } else if self.ticket.live.is_drained() {
                // The reading side was ended here: it stays readable, and tells nothing more. The
                // kernel sends on what is not acknowledged.
                return;
            }
        }
    }
}

impl AsFd for Closing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        if let Some(outbox) = &self.outbox {
            outbox.close();
        }
    }
}
