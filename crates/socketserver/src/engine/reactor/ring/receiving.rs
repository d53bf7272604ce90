//! What comes in: asking the kernel to receive, and handing over what it has received.

use std::os::fd::AsFd;

use socketserver_sys::ring::{Buffer, Completion};

use super::{ODD, RingPort, TURN};
use crate::engine::Wants;
use crate::engine::reactor::event_loop::{Hall, finish};
use crate::engine::seats::{Mark, Slot};

impl RingPort {
    /// The next thing to see to in this turn.
    ///
    /// Once enough has been read in it, each connection is heard once more, and what else has come in
    /// waits, in its order, while what has been sent is heard of: who floods must not keep others
    /// waiting, nor fill their outboxes faster than they are emptied.
    pub(super) fn next(&mut self) -> Option<Completion> {
        loop {
            let waiting = self.waiting.pop_front().or_else(|| self.next.take());
            let completion = waiting.or_else(|| self.ring.next())?;
            let Some(token) = input_token(&completion).filter(|_| self.read >= TURN) else {
                return Some(completion);
            };
            if self.heard.insert(token & !ODD) {
                return Some(completion);
            }
            self.later.push_back(completion);
        }
    }

    /// Hands what has come in over, with all else that has for the same connection.
    pub(super) fn received(&mut self, hall: &mut Hall, token: u64, buffer: Buffer, armed: bool) {
        let mut wants = self.hand_over(hall, token, buffer, armed);
        loop {
            if self.read >= TURN || !self.waiting.is_empty() || self.next.is_some() {
                break;
            }
            match self.ring.next() {
                Some(Completion::Received {
                    token: another,
                    buffer,
                    armed,
                }) if another == token => {
                    wants = self.hand_over(hall, token, buffer, armed);
                }
                other => {
                    self.next = other;
                    break;
                }
            }
        }
        finish(self, hall, token & !ODD, wants);
    }

    #[inline]
    pub(super) fn hand_over(
        &mut self,
        hall: &mut Hall,
        token: u64,
        buffer: Buffer,
        armed: bool,
    ) -> Option<Wants> {
        let bytes = self.ring.bytes(&buffer);
        self.read += bytes.len();
        self.hunger.is_fed(token & !ODD);
        let wants = hall.call(token & !ODD, |driven, turn| driven.receive(bytes, turn));
        self.ring.give_back(buffer);
        if !armed {
            mark_receive(hall, token, false);
        }
        wants
    }

    /// Asks the kernel to receive, if that is wanted and it does not, or to stop.
    pub(super) fn listen(&mut self, hall: &mut Hall, seat: u64) {
        let Some(slot) = hall.seats.get(seat) else {
            return;
        };
        let (listens, receives) = (slot.has(Mark::Listens), slot.has(Mark::Receives));
        if listens && !receives {
            slot.mark(Mark::Receives, true);
            slot.mark(Mark::Cancels, false);
            slot.mark(Mark::IsOdd, !slot.has(Mark::IsOdd));
            let token = receive_token(slot, seat);
            if let Some(driven) = slot.driven.as_deref() {
                self.ring.receive(driven.socket().as_fd(), token);
            }
        } else if !listens && receives && !slot.has(Mark::Cancels) {
            slot.mark(Mark::Cancels, true);
            self.ring.cancel_receive(receive_token(slot, seat));
        }
    }

    /// Receives again for those that had no buffer.
    pub(super) fn feed(&mut self, hall: &mut Hall) {
        for seat in self.hunger.ask() {
            self.listen(hall, seat);
        }
    }
}

/// The token of a receive that it is of: the order of these counts.
fn input_token(completion: &Completion) -> Option<u64> {
    match completion {
        Completion::Received { token, .. }
        | Completion::Ended { token, .. }
        | Completion::ReceiveFailed { token, .. }
        | Completion::Cancelled { token, .. } => Some(*token),
        _ => None,
    }
}

/// The token of the present receive at `seat`.
pub(super) fn receive_token(slot: &Slot, seat: u64) -> u64 {
    if slot.has(Mark::IsOdd) {
        seat | ODD
    } else {
        seat
    }
}

/// Notes whether the kernel goes on to receive, if that was told of the present receive; tells for which
/// seat.
pub(super) fn mark_receive(hall: &mut Hall, token: u64, armed: bool) -> u64 {
    let seat = token & !ODD;
    if !armed
        && let Some(slot) = hall.seats.get(seat)
        && receive_token(slot, seat) == token
    {
        slot.mark(Mark::Receives, false);
        slot.mark(Mark::Cancels, false);
    }
    seat
}
