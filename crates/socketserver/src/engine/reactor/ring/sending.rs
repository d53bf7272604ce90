//! What the kernel sends: handing it over, and hearing what became of it.

use std::io;
use std::os::fd::AsFd;

use socketserver_sys::ring::Payload;

use super::{OF_OUTBOX, RingPort};
use crate::engine::Wants;
use crate::engine::reactor::event_loop::{Hall, attend};
use crate::engine::seats::Mark;
use crate::outbox::{Flight, Outbox};

/// Output buffers that are kept for use again, and the largest that are.
const KEPT: usize = 1024;
const KEPT_BYTES: usize = 16 << 10;

impl RingPort {
    /// A send is over.
    pub(super) fn sent(
        &mut self,
        hall: &mut Hall,
        token: u64,
        result: io::Result<usize>,
        payload: Payload,
    ) {
        let seat = token & !OF_OUTBOX;
        let goes_on = land(hall, seat, token != seat, result, &payload);
        if let Payload::Owned(mut bytes) = payload
            && bytes.capacity() <= KEPT_BYTES
            && self.outputs.len() < KEPT
        {
            bytes.clear();
            self.outputs.push(bytes);
        }
        if goes_on {
            return;
        }
        if let Some(outbox) = outbox_at(hall, seat) {
            self.take_off(hall, seat, &outbox);
        }
        let is_busy = hall
            .seats
            .get(seat)
            .is_some_and(|slot| slot.has(Mark::Listens) && !slot.has(Mark::AwaitsRoom));
        if !is_busy {
            attend(self, hall, seat);
        }
    }

    /// Has the kernel send what waits in an outbox, unless it sends already.
    pub(super) fn take_off(&mut self, hall: &mut Hall, seat: u64, outbox: &Outbox) {
        let Some(driven) = hall.seats.get(seat).and_then(|slot| slot.driven.as_deref()) else {
            return;
        };
        if let Some(flight) = outbox.take_off() {
            let payload = match flight {
                Flight::Shared(bytes) => Payload::Shared(bytes),
                Flight::Joined(bytes) => Payload::Owned(bytes),
            };
            self.ring
                .send(driven.socket().as_fd(), payload, seat | OF_OUTBOX);
        }
    }
}

pub(super) fn outbox_at(hall: &mut Hall, seat: u64) -> Option<Outbox> {
    let slot = hall.seats.get(seat)?;
    slot.driven.as_deref()?.outbox().cloned()
}

/// Tells the connection what has been sent, or leaves that for later; tells whether nothing else is
/// to be done about it.
fn land(
    hall: &mut Hall,
    seat: u64,
    of_outbox: bool,
    result: io::Result<usize>,
    payload: &Payload,
) -> bool {
    let Some(slot) = hall.seats.get(seat) else {
        return true;
    };
    if of_outbox {
        let outbox = slot.driven.as_deref().and_then(|driven| driven.outbox());
        let waits = outbox.is_some_and(|outbox| outbox.landed(&result, payload.bytes()));
        return !waits && slot.has(Mark::Listens) && !slot.has(Mark::AwaitsRoom);
    }
    let count = *result.as_ref().unwrap_or(&0);
    let rest = payload.bytes().get(count..).unwrap_or_default();
    if result.is_ok() && rest.is_empty() && !slot.has(Mark::AwaitsLanding) {
        // It is told when it is called next; its memory would have to be fetched for this.
        slot.mark(Mark::HasLanded, true);
        return true;
    }
    hall.call(seat, |driven, turn| {
        if result.is_ok() && !rest.is_empty() {
            driven.landed_short(rest, turn);
        } else {
            driven.landed(result.map(drop), turn);
        }
        Wants::default()
    });
    false
}
