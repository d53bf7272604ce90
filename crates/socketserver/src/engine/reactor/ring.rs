//! The `io_uring` driver: the kernel receives into buffers that it is lent and sends what it is given,
//! and one system call a turn tells and asks for everything.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use socketserver_sys::ring::{Completion, Payload, Ring, Settings};

use super::event_loop::{EventLoop, Hall, Port, attend, finish, note};
use super::inbox::Inbox;
use super::watchdog::Watched;
use crate::engine::Wants;
use crate::engine::seats::Mark;
use crate::outbox::{Outbox, Way, turn};
use crate::socket::Socket;

mod hunger;
mod receiving;
mod sending;

use hunger::Hunger;
use receiving::{mark_receive, receive_token};
use sending::outbox_at;

/// Tokens of what is no connection: above any seat.
const INBOX: u64 = (1 << 56) - 1;
const BESIDE: u64 = INBOX - 1;

/// In the token of a send: it is of an outbox.
const OF_OUTBOX: u64 = 1 << 55;

/// In the token of a receive: it alternates with each time that one is asked for, so that the end of
/// an earlier one is not taken for that of the present.
const ODD: u64 = 1 << 54;

/// Operations that are queued at once.
const ENTRIES: u32 = 4096;

/// Bytes that are read in a turn, and then some.
const TURN: usize = 256 << 10;

pub(super) struct RingPort {
    ring: Ring,
    beside: Beside,
    /// A completion that was taken too early.
    next: Option<Completion>,
    /// What has waited since the last turn, and what is to wait for the next.
    waiting: VecDeque<Completion>,
    later: VecDeque<Completion>,
    /// Who has been heard after enough had been read.
    heard: HashSet<u64>,
    /// Bytes that have been read in this turn.
    read: usize,
    hunger: Hunger,
    /// What the kernel is to send at the end of a turn; empty between two.
    flights: Vec<(u64, Arc<[u8]>)>,
    /// Output buffers that are not in use.
    outputs: Vec<Vec<u8>>,
    /// Sockets of those who have left, of which the kernel may yet be asked something by number.
    parting: Vec<Arc<Socket>>,
}

/// The descriptor that is waited for beside the loop's own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Beside {
    Unknown,
    Watched(RawFd),
}

/// A few large buffers, of which each receive takes as much as it needs; or many small ones, where the
/// kernel cannot divide them.
fn make_ring() -> io::Result<Ring> {
    let ring = Ring::new(&Settings {
        entries: ENTRIES,
        buffers: 16,
        buffer_bytes: 256 << 10,
        incremental: true,
    })?;
    if ring.is_incremental() {
        return Ok(ring);
    }
    Ring::new(&Settings {
        entries: ENTRIES,
        buffers: 256,
        buffer_bytes: 16 << 10,
        incremental: false,
    })
}

/// Whether the kernel has what is needed, and allows it.
pub(super) fn try_out() -> io::Result<()> {
    make_ring().map(drop)
}

impl EventLoop<RingPort> {
    pub(super) fn new(inbox: &Arc<Inbox>, watched: &Arc<Watched>) -> io::Result<Self> {
        let mut ring = make_ring()?;
        ring.watch(inbox.as_fd(), INBOX);
        Ok(Self {
            hall: Hall::new(inbox, watched, RingPort::WAY),
            port: RingPort {
                ring,
                beside: Beside::Unknown,
                next: None,
                waiting: VecDeque::new(),
                later: VecDeque::new(),
                heard: HashSet::new(),
                read: 0,
                hunger: Hunger::default(),
                flights: Vec::new(),
                outputs: Vec::new(),
                parting: Vec::new(),
            },
        })
    }
}

impl RingPort {
    /// Something has happened; tells whether what is waited for beside is readable.
    fn complete(&mut self, hall: &mut Hall, completion: Completion) -> bool {
        match completion {
            Completion::Received {
                token,
                buffer,
                armed,
            } => self.received(hall, token, buffer, armed),
            Completion::Sent {
                token,
                result,
                payload,
            } => self.sent(hall, token, result, payload),
            Completion::Ended { token, armed } => {
                let seat = mark_receive(hall, token, armed);
                let wants = hall.call(seat, |driven, turn| driven.end_input(None, turn));
                finish(self, hall, seat, wants);
            }
            Completion::ReceiveFailed {
                token,
                starved: true,
                armed,
                ..
            } => {
                let seat = mark_receive(hall, token, armed);
                self.hunger.starves(seat);
            }
            Completion::ReceiveFailed {
                token,
                error,
                armed,
                ..
            } => {
                let seat = mark_receive(hall, token, armed);
                let wants = hall.call(seat, |driven, turn| driven.end_input(Some(error), turn));
                finish(self, hall, seat, wants);
            }
            Completion::Cancelled { token, .. } => {
                let seat = mark_receive(hall, token, false);
                self.listen(hall, seat);
            }
            Completion::Readable { token: BESIDE, .. } => {
                self.beside = Beside::Unknown;
                return true;
            }
            Completion::Readable { armed, .. } => {
                hall.inbox.awake();
                if !armed {
                    self.ring.watch(hall.inbox.as_fd(), INBOX);
                }
            }
            Completion::WatchFailed { token: BESIDE, .. } => self.beside = Beside::Unknown,
            Completion::WatchFailed { .. } => {
                self.ring.watch(hall.inbox.as_fd(), INBOX);
            }
            Completion::Accepted { .. } | Completion::AcceptFailed { .. } => {}
        }
        false
    }
}

impl Port for RingPort {
    const WAY: fn(u64) -> Way = Way::Ring;
    const FLIES: bool = true;
    // The kernel may have something to be told of those who have gone.
    const MAY_REST: bool = false;

    fn add(&mut self, _socket: &Arc<Socket>, _seat: u64) -> io::Result<()> {
        // It is received from as soon as its handler is set up.
        Ok(())
    }

    fn remove(&mut self, hall: &mut Hall, seat: u64) {
        self.hunger.is_fed(seat);
        // The kernel holds the socket as long as it receives from it.
        let Some(slot) = hall.seats.get(seat).filter(|it| it.has(Mark::Receives)) else {
            return;
        };
        if !slot.has(Mark::Cancels) {
            let token = receive_token(slot, seat);
            self.ring.cancel_receive(token);
        }
        if let Some(driven) = slot.driven.as_deref() {
            // If it is only about to be asked, the number must not be another's by then. The end of
            // the receive ends the wait.
            self.parting.push(Arc::clone(driven.socket()));
        }
    }

    fn turn(
        &mut self,
        hall: &mut Hall,
        beside: Option<BorrowedFd<'_>>,
        timeout: Option<Duration>,
    ) -> io::Result<bool> {
        if let Some(fd) = beside
            && self.beside != Beside::Watched(fd.as_raw_fd())
        {
            self.ring.watch_once(fd, BESIDE);
            self.beside = Beside::Watched(fd.as_raw_fd());
        }
        let has_more = self.next.is_some() || !self.later.is_empty();
        let timeout = hall.timeout(has_more, timeout);
        self.read = 0;
        self.heard.clear();
        std::mem::swap(&mut self.waiting, &mut self.later);
        hall.watched.sleeps();
        self.ring.wait(timeout)?;
        if self.ring.is_submitted() {
            self.parting.clear();
        }
        hall.watched.wakes();
        hall.begin_turn(Self::FLIES);
        let mut is_ready = false;
        while let Some(completion) = self.next() {
            is_ready |= self.complete(hall, completion);
        }
        self.feed(hall);
        Ok(is_ready)
    }

    #[inline]
    fn meet(&mut self, hall: &mut Hall, seat: u64, wants: Wants) {
        note(hall, seat, wants);
        let Some(slot) = hall.seats.get(seat) else {
            return;
        };
        slot.mark(Mark::AwaitsRoom, wants.room);
        slot.mark(Mark::AwaitsLanding, wants.landing);
        if wants.input != slot.has(Mark::Receives) {
            self.listen(hall, seat);
        }
    }

    fn flush(&mut self, hall: &mut Hall, seat: u64) -> Option<Wants> {
        let mut output = None;
        let wants = hall.call(seat, |driven, turn| {
            output = driven.take_output(turn);
            driven.flush(turn)
        })?;
        if let Some(output) = output
            && let Some(slot) = hall.seats.get(seat)
            && let Some(driven) = slot.driven.as_deref()
        {
            let payload = Payload::Owned(output);
            self.ring.send(driven.socket().as_fd(), payload, seat);
            if let Some(buffer) = self.outputs.pop() {
                hall.turn.output = buffer;
            }
        }
        Some(wants)
    }

    fn send(&mut self, hall: &mut Hall, outbox: &Outbox) {
        match outbox.seat() {
            Some(seat) if outbox.is_looked_after_by(hall.inbox.number()) => {
                self.take_off(hall, seat, outbox);
            }
            _ => outbox.settle(),
        }
    }

    fn take_flights(&mut self, hall: &mut Hall) {
        let mut flights = std::mem::take(&mut self.flights);
        turn::take_flights(hall.inbox.number(), &mut flights);
        for (seat, bytes) in flights.drain(..) {
            if let Some(slot) = hall.seats.get(seat)
                && let Some(driven) = slot.driven.as_deref()
            {
                let payload = Payload::Shared(bytes);
                self.ring
                    .send(driven.socket().as_fd(), payload, seat | OF_OUTBOX);
            }
        }
        self.flights = flights;
    }

    fn send_on(&mut self, hall: &mut Hall, seat: u64) {
        if let Some(outbox) = outbox_at(hall, seat) {
            self.take_off(hall, seat, &outbox);
        }
        attend(self, hall, seat);
    }
}
