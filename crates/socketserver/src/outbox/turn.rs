//! What the turn of an event loop puts off to its end.
//!
//! While a loop calls handlers, what they push waits: all that one turn has for a connection then goes
//! out in one piece, and all that it has for a room is joined once.

use std::cell::RefCell;
use std::sync::Arc;

use super::Outbox;

/// Something to send to many at the end of a turn.
pub(crate) trait Settle {
    /// Sends it, if nobody has yet.
    fn settle(&self);
}

/// What the kernel is to send, and to which seats.
type Flights = Vec<(u64, Arc<[u8]>)>;

#[derive(Default)]
struct PutOff {
    is_on: bool,
    /// The loop whose turn it is, if the kernel sends for it.
    ring: usize,
    /// What the kernel is to send, and to which seats.
    flights: Flights,
    /// Those of a turn in which this one was begun, by a handler that serves.
    outer: Vec<(usize, Flights)>,
    outboxes: Vec<Outbox>,
    broadcasts: Vec<Arc<dyn Settle>>,
}

thread_local! {
    static PUT_OFF: RefCell<PutOff> = RefCell::default();
}

/// A turn begins on this thread: of the loop `ring`, if the kernel sends for it, or else 0.
pub(crate) fn begin(ring: usize) {
    PUT_OFF.with_borrow_mut(|put_off| {
        if !put_off.flights.is_empty() && put_off.ring != ring {
            let flights = std::mem::take(&mut put_off.flights);
            put_off.outer.push((put_off.ring, flights));
        }
        put_off.is_on = true;
        put_off.ring = ring;
    });
}

/// Has the kernel send `bytes` to `seat` at the end of the turn, if it is one of the loop `ring`.
pub(super) fn fly(ring: usize, seat: u64, bytes: &Arc<[u8]>) -> bool {
    PUT_OFF.with_borrow_mut(|put_off| {
        let is_own = put_off.is_on && put_off.ring == ring;
        if is_own {
            put_off.flights.push((seat, Arc::clone(bytes)));
        }
        is_own
    })
}

/// Takes what the kernel is to send for the loop `ring`.
pub(crate) fn take_flights(ring: usize, flights: &mut Flights) {
    PUT_OFF.with_borrow_mut(|put_off| {
        if put_off.ring == ring {
            std::mem::swap(&mut put_off.flights, flights);
        }
        while let Some(at) = put_off.outer.iter().position(|(it, _)| *it == ring) {
            flights.extend(put_off.outer.swap_remove(at).1);
        }
    });
}

/// Whether a turn is on, on this thread.
pub(crate) fn is_on() -> bool {
    PUT_OFF.with_borrow(|put_off| put_off.is_on)
}

/// Puts `outbox` off to the end of the turn; tells whether there is one.
pub(super) fn defer(outbox: &Outbox) -> bool {
    PUT_OFF.with_borrow_mut(|put_off| {
        if put_off.is_on {
            put_off.outboxes.push(outbox.clone());
        }
        put_off.is_on
    })
}

/// Puts `broadcast` off to the end of the turn that is on.
pub(crate) fn defer_broadcast(broadcast: &Arc<dyn Settle>) {
    PUT_OFF.with_borrow_mut(|put_off| {
        // There are few: one for each room that somebody has spoken in.
        let is_known = put_off
            .broadcasts
            .iter()
            .any(|it| Arc::ptr_eq(it, broadcast));
        if !is_known {
            put_off.broadcasts.push(Arc::clone(broadcast));
        }
    });
}

/// Sends what was broadcast in this turn so far.
pub(crate) fn settle_broadcasts() {
    // Sending may put something off, and may not find it borrowed.
    loop {
        let broadcasts = PUT_OFF.with_borrow_mut(|put_off| std::mem::take(&mut put_off.broadcasts));
        if broadcasts.is_empty() {
            return;
        }
        for broadcast in broadcasts {
            broadcast.settle();
        }
    }
}

/// Sends all that the turn has put off, the outboxes by `send`; the turn goes on.
pub(crate) fn settle(mut send: impl FnMut(&Outbox)) {
    settle_broadcasts();
    let mut outboxes = PUT_OFF.with_borrow_mut(|put_off| std::mem::take(&mut put_off.outboxes));
    for outbox in outboxes.drain(..) {
        send(&outbox);
    }
    // The memory is kept for the next turn, unless a storm has made it large.
    PUT_OFF.with_borrow_mut(|put_off| {
        if put_off.outboxes.is_empty() && outboxes.capacity() <= 1 << 16 {
            put_off.outboxes = outboxes;
        }
    });
}

/// The turn is over: what is pushed from now on is nobody's to put off.
pub(crate) fn end() {
    PUT_OFF.with_borrow_mut(|put_off| put_off.is_on = false);
    settle(Outbox::settle);
}
