//! The epoll driver: sockets tell of each change once, and are read until they are dry.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use super::event_loop::{EventLoop, Hall, Port, attend, finish, note};
use super::inbox::Inbox;
use super::watchdog::Watched;
use crate::engine::Wants;
use crate::engine::seats::Mark;
use crate::outbox::{Outbox, Way};
use crate::socket::Socket;
use crate::wait::{Events, Interest, Poller, Ready};

/// Bytes that are read at once. Only what comes in is touched, so a large buffer costs small messages
/// nothing, and halves what large ones cost.
const CHUNK: usize = 256 << 10;

/// Tokens of what is no connection: above any seat.
const INBOX: u64 = u64::MAX;
const BESIDE: u64 = u64::MAX - 1;

pub(super) struct EpollPort {
    poller: Poller,
    events: Events,
    input: Vec<u8>,
    /// Who has more to read, in the next turn.
    more: VecDeque<u64>,
    beside: Option<RawFd>,
}

impl EventLoop<EpollPort> {
    pub(super) fn new(inbox: &Arc<Inbox>, watched: &Arc<Watched>) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.add(&**inbox, INBOX, Interest::Readable)?;
        Ok(Self {
            hall: Hall::new(inbox, watched, EpollPort::WAY),
            port: EpollPort {
                poller,
                events: Events::new(),
                input: vec![0; CHUNK],
                more: VecDeque::new(),
                beside: None,
            },
        })
    }
}

impl EpollPort {
    /// A socket has something to tell.
    #[inline]
    fn ready(&mut self, hall: &mut Hall, ready: Ready) {
        let seat = ready.token;
        let Some(slot) = hall.seats.get(seat) else {
            return;
        };
        if ready.input {
            slot.mark(Mark::Readable, true);
        }
        let listens = slot.has(Mark::Listens);
        if ready.room && slot.has(Mark::AwaitsRoom) {
            self.send_on(hall, seat);
        } else if ready.hang_up && !listens {
            // Nobody reads it, so nobody would learn that it was cut off.
            attend(self, hall, seat);
        }
        if ready.input && listens {
            self.read(hall, seat, ready.end);
        }
    }

    /// Reads what there is, or as much as one may in a turn.
    fn read(&mut self, hall: &mut Hall, seat: u64, to_the_end: bool) {
        let input = &mut self.input;
        let mut read = 0;
        let wants = loop {
            let mut is_dry = false;
            let wants = hall.call(seat, |driven, turn| {
                match driven.socket().receive_now(input) {
                    Ok(Some(0)) => driven.end_input(None, turn),
                    Ok(Some(count)) => {
                        read += count;
                        // A read that was not full has emptied the socket, but for its end.
                        is_dry = count < CHUNK && !to_the_end;
                        driven.receive(&input[..count], turn)
                    }
                    Ok(None) => {
                        is_dry = true;
                        driven.flush(turn)
                    }
                    Err(error) => driven.end_input(Some(error), turn),
                }
            });
            if is_dry && let Some(slot) = hall.seats.get(seat) {
                slot.mark(Mark::Readable, false);
            }
            if is_dry || read >= CHUNK || !wants.is_some_and(|wants| wants.input) {
                break wants;
            }
        };
        finish(self, hall, seat, wants);
    }
}

fn outbox_at(hall: &mut Hall, seat: u64) -> Option<Outbox> {
    let slot = hall.seats.get(seat)?;
    slot.driven.as_deref()?.outbox().cloned()
}

impl Port for EpollPort {
    const WAY: fn(u64) -> Way = Way::Loop;
    const FLIES: bool = false;
    const MAY_REST: bool = true;

    fn add(&mut self, socket: &Arc<Socket>, seat: u64) -> io::Result<()> {
        self.poller.add(&**socket, seat, Interest::Changes)
    }

    fn remove(&mut self, hall: &mut Hall, seat: u64) {
        // Closing it removes it.
        if let Some(slot) = hall.seats.get(seat)
            && let Some(driven) = slot.driven.as_deref()
            && !driven.closes_at_once()
        {
            self.poller.remove(&**driven.socket());
        }
    }

    fn turn(
        &mut self,
        hall: &mut Hall,
        beside: Option<BorrowedFd<'_>>,
        timeout: Option<Duration>,
    ) -> io::Result<bool> {
        if let Some(fd) = beside
            && self.beside != Some(fd.as_raw_fd())
        {
            self.poller.add(fd, BESIDE, Interest::Readable)?;
            self.beside = Some(fd.as_raw_fd());
        }
        let timeout = hall.timeout(!self.more.is_empty(), timeout);
        hall.watched.sleeps();
        self.poller.wait_for(&mut self.events, timeout)?;
        hall.watched.wakes();
        hall.begin_turn(Self::FLIES);
        let mut is_ready = false;
        // Those that have had a whole turn's share come after all others have had theirs.
        let waited = self.more.len();
        let events = std::mem::replace(&mut self.events, Events::none());
        for ready in events.iter() {
            match ready.token {
                INBOX => hall.inbox.awake(),
                BESIDE => is_ready = true,
                _ => self.ready(hall, ready),
            }
        }
        self.events = events;
        for _ in 0..waited {
            let Some(seat) = self.more.pop_front() else {
                break;
            };
            let Some(slot) = hall.seats.get(seat) else {
                continue;
            };
            slot.mark(Mark::HasMore, false);
            if slot.has(Mark::Readable) && slot.has(Mark::Listens) {
                self.read(hall, seat, true);
            }
        }
        Ok(is_ready)
    }

    #[inline]
    fn meet(&mut self, hall: &mut Hall, seat: u64, wants: Wants) {
        note(hall, seat, wants);
        let Some(slot) = hall.seats.get(seat) else {
            return;
        };
        if wants.input && slot.has(Mark::Readable) && !slot.has(Mark::HasMore) {
            slot.mark(Mark::HasMore, true);
            self.more.push_back(seat);
        }
        if wants.room != slot.has(Mark::AwaitsRoom) {
            slot.mark(Mark::AwaitsRoom, wants.room);
            let interest = if wants.room {
                Interest::AllChanges
            } else {
                Interest::Changes
            };
            if let Some(driven) = slot.driven.as_deref() {
                // What is ready already is told anew.
                let _ = self.poller.modify(&**driven.socket(), seat, interest);
            }
        }
    }

    fn flush(&mut self, hall: &mut Hall, seat: u64) -> Option<Wants> {
        hall.call(seat, |driven, turn| driven.flush(turn))
    }

    fn send(&mut self, hall: &mut Hall, outbox: &Outbox) {
        match outbox.seat() {
            // To leave the rest to this loop once more would never end: it waits for room.
            Some(seat) if outbox.is_looked_after_by(hall.inbox.number()) => {
                if outbox.flush() {
                    attend(self, hall, seat);
                }
            }
            _ => outbox.settle(),
        }
    }

    fn take_flights(&mut self, _hall: &mut Hall) {}

    fn send_on(&mut self, hall: &mut Hall, seat: u64) {
        if let Some(outbox) = outbox_at(hall, seat) {
            outbox.flush();
        }
        attend(self, hall, seat);
    }
}
