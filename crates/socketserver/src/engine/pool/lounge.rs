//! The lounge: where message handlers' connections wait, and hold no thread.
//!
//! One of the pool's idle threads waits for all of them, and puts who has something to say in the
//! queue. A thread takes a connection out of its seat, reads and answers as far as that is possible
//! without waiting, and brings it back.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::news::{Kit, take_news};
use crate::clock::earlier;
use crate::engine::seats::{Mark, Seats};
use crate::engine::{Driven, Task, Wants, Work};
use crate::live::{Alarm, lock};
use crate::outbox::{Flusher, Outbox};
use crate::turn::{Conductor, Turn, is_newer};
use crate::wait::{Events, Interest, Poller, Ready};
use crate::wake::Waker;

/// The token of the waker: above any seat.
const WAKE: u64 = u64::MAX;

/// Where connections wait.
pub(super) struct Lounge {
    poller: Poller,
    waker: Waker,
    state: Mutex<State>,
    /// Whether a thread waits for the connections, and until when, at the latest.
    is_watched: AtomicBool,
    /// Tells the pool that there is work.
    call: Box<dyn Fn() + Send + Sync>,
}

pub(super) struct State {
    pub(super) seats: Seats,
    /// Who has something to say, or is to be attended to.
    queue: VecDeque<u64>,
    /// Pauses that are over.
    pub(super) resumed: Vec<(u64, u32)>,
    /// Until when the thread that waits does so, at the latest.
    until: Option<Instant>,
    /// Connections in their seats or lent out.
    count: usize,
    /// Those that are lent out.
    out: usize,
    /// How many of the queue are served before the poller is looked at again.
    round: usize,
    due: Vec<u64>,
}

impl fmt::Debug for Lounge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lounge").finish_non_exhaustive()
    }
}

impl State {
    /// Puts the connection at `seat` in the queue, once.
    fn enqueue(&mut self, seat: u64) {
        if let Some(slot) = self.seats.find(seat)
            && !slot.has(Mark::IsQueued)
        {
            slot.mark(Mark::IsQueued, true);
            // Whoever has it puts it there when bringing it back.
            if !slot.has(Mark::IsOut) {
                self.queue.push_back(seat);
            }
        }
    }
}

impl State {
    /// Frees the seat of a connection that will not come back.
    fn vacate(&mut self, seat: u64) {
        self.seats.vacate(seat);
        self.resumed.retain(|(it, _)| *it != seat);
        self.count -= 1;
    }
}

impl Lounge {
    pub(super) fn new(call: impl Fn() + Send + Sync + 'static) -> io::Result<Self> {
        let (poller, waker) = (Poller::new()?, Waker::new()?);
        poller.add(&waker, WAKE, Interest::Readable)?;
        Ok(Self {
            poller,
            waker,
            state: Mutex::new(State {
                seats: Seats::new(),
                queue: VecDeque::new(),
                resumed: Vec::new(),
                until: None,
                count: 0,
                out: 0,
                round: 0,
                due: Vec::new(),
            }),
            is_watched: AtomicBool::new(false),
            call: Box::new(call),
        })
    }

    /// What a thread needs.
    pub(super) fn kit(self: &Arc<Self>) -> Kit {
        Kit {
            turn: Turn::new(Arc::clone(self) as _, crate::outbox::Way::AtSeat),
            input: Vec::new(),
            events: Events::new(),
        }
    }

    /// Takes a connection in; a thread sets its handler up.
    pub(super) fn admit(&self, task: Task) -> io::Result<()> {
        let Task {
            ticket,
            work,
            socket,
            clock,
            ..
        } = task;
        let (Work::Driven(newcomer), Some(socket)) = (work, socket) else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        // The program's code runs without the lock.
        let driven = newcomer.admit(ticket);
        let mut state = lock(&self.state);
        if state.count == 0 {
            state.seats.clock = clock;
        }
        let seat = state.seats.take();
        if let Err(error) = self.poller.add(&*socket, seat, Interest::Changes) {
            state.seats.give_back(seat);
            return Err(error);
        }
        drop(socket);
        state.seats.sit(seat, driven);
        state.count += 1;
        state.enqueue(seat);
        drop(state);
        (self.call)();
        Ok(())
    }

    /// Whether somebody waits to be served, or is to be waited for and nobody does.
    pub(super) fn has_work(&self) -> bool {
        let state = lock(&self.state);
        !state.queue.is_empty() || state.count > state.out && !self.is_watched()
    }

    /// Begins to wait for the connections, if there are any and nobody does.
    pub(super) fn begin_watch(&self) -> bool {
        let state = lock(&self.state);
        state.count > 0 && !self.is_watched.swap(true, Ordering::SeqCst)
    }

    /// Whether a thread waits for the connections.
    pub(super) fn is_watched(&self) -> bool {
        self.is_watched.load(Ordering::SeqCst)
    }

    /// Wakes the thread that waits for the connections.
    pub(super) fn wake(&self) {
        self.waker.wake();
    }

    /// Waits until somebody has something to say, and puts them in the queue; ends the watch.
    pub(super) fn watch(&self, kit: &mut Kit) {
        let timeout = {
            let mut state = lock(&self.state);
            state.until = state.seats.next_deadline();
            if state.queue.is_empty() {
                state.seats.clock.until(state.until)
            } else {
                Some(Duration::ZERO)
            }
        };
        let waited = self.poller.wait_for(&mut kit.events, timeout);
        let state = &mut *lock(&self.state);
        self.is_watched.store(false, Ordering::SeqCst);
        state.until = None;
        if let Err(error) = waited {
            tracing::error!(%error, "the pool cannot wait for its connections");
            return;
        }
        for ready in kit.events.iter() {
            if ready.token == WAKE {
                self.waker.take();
            } else {
                note(state, ready);
            }
        }
        let now = state.seats.clock.moment();
        let mut due = std::mem::take(&mut state.due);
        state.seats.due(now, &mut due);
        for seat in due.drain(..) {
            state.enqueue(seat);
        }
        state.due = due;
        state.round = state.queue.len();
    }

    /// Serves the first of the queue; `false` if it is empty.
    pub(super) fn serve_next(&self, kit: &mut Kit) -> bool {
        let mut state = lock(&self.state);
        if state.round == 0
            && !state.queue.is_empty()
            && !self.is_watched.swap(true, Ordering::SeqCst)
        {
            // Those that have always more to say must not keep the others from being heard.
            drop(state);
            self.watch(kit);
            state = lock(&self.state);
        }
        let Some(seat) = state.queue.pop_front() else {
            return false;
        };
        state.round = state.round.saturating_sub(1);
        let Some(mut driven) = state.seats.lend(seat) else {
            return true;
        };
        state.out += 1;
        // The handler may wait: the others are somebody else's to look after.
        let others = !state.queue.is_empty() || state.count > state.out && !self.is_watched();
        if others {
            drop(state);
            (self.call)();
            state = lock(&self.state);
        }
        let news = take_news(&mut state, seat);
        kit.turn.now = state.seats.clock.moment();
        drop(state);
        let (wants, is_readable) = news.attend(&mut *driven, kit);
        state = lock(&self.state);
        state.out -= 1;
        if wants.is_over {
            state.vacate(seat);
            drop(state);
            if !driven.closes_at_once() {
                self.poller.remove(&**driven.socket());
            }
            driven.close();
            return true;
        }
        self.bring_back(&mut state, seat, &*driven, wants, is_readable);
        state.seats.bring_back(seat, driven);
        true
    }

    /// Notes what a connection wants before it is brought back, and that it has news already.
    fn bring_back(
        &self,
        state: &mut State,
        seat: u64,
        driven: &dyn Driven,
        wants: Wants,
        is_readable: bool,
    ) {
        if let Some(at) = wants.at {
            let now = state.seats.clock.moment();
            state.seats.arm(seat, at, now);
            self.hurry(state);
        }
        let Some(slot) = state.seats.find(seat) else {
            return;
        };
        if is_readable {
            slot.mark(Mark::Readable, true);
        }
        slot.mark(Mark::Listens, wants.input);
        if wants.room != slot.has(Mark::AwaitsRoom) {
            slot.mark(Mark::AwaitsRoom, wants.room);
            let interest = if wants.room {
                Interest::AllChanges
            } else {
                Interest::Changes
            };
            // What is ready already is told anew.
            let _ = self.poller.modify(&**driven.socket(), seat, interest);
        }
        if slot.has(Mark::IsQueued) || wants.input && slot.has(Mark::Readable) {
            // It has had its share; others come first.
            slot.mark(Mark::IsQueued, true);
            state.queue.push_back(seat);
        }
        state.seats.watch_silence_of(driven);
    }

    /// Wakes the thread that waits if it would wait for too long.
    fn hurry(&self, state: &State) {
        let next = state.seats.next_deadline();
        let is_late = next.is_some() && earlier(next, state.until) != state.until;
        if is_late && self.is_watched() {
            self.waker.wake();
        }
    }

    /// Closes whoever is left.
    pub(super) fn end(self: &Arc<Self>) {
        let mut kit = self.kit();
        let seats = lock(&self.state).seats.all();
        for seat in seats {
            let mut state = lock(&self.state);
            let Some(mut driven) = state.seats.lend(seat) else {
                continue;
            };
            state.vacate(seat);
            drop(state);
            let error = io::Error::new(io::ErrorKind::ConnectionAborted, "the server has stopped");
            driven.end_input(Some(error), &mut kit.turn);
            kit.turn.clear_output();
            driven.close();
        }
    }
}

/// Notes what a socket is ready for.
fn note(state: &mut State, ready: Ready) {
    let Some(slot) = state.seats.find(ready.token) else {
        return;
    };
    if ready.input {
        slot.mark(Mark::Readable, true);
    }
    if ready.end {
        slot.mark(Mark::HasEnded, true);
    }
    if ready.room {
        slot.mark(Mark::HasRoom, true);
    }
    let listens = slot.has(Mark::Listens) || slot.has(Mark::IsOut);
    let matters = ready.input && listens || ready.room && slot.has(Mark::AwaitsRoom);
    if matters || ready.hang_up {
        state.enqueue(ready.token);
    }
}

impl Flusher for Lounge {
    fn look_after(&self, outbox: Outbox) {
        let Some(seat) = outbox.seat() else { return };
        let mut state = lock(&self.state);
        if let Some(slot) = state.seats.find(seat) {
            slot.mark(Mark::HasRoom, true);
        }
        state.enqueue(seat);
        drop(state);
        (self.call)();
    }
}

impl Alarm for Lounge {
    fn alarm(&self, seat: u64) {
        lock(&self.state).enqueue(seat);
        (self.call)();
    }
}

impl Conductor for Lounge {
    fn resume(&self, seat: u64, pause: u32) {
        let mut state = lock(&self.state);
        // A later pause makes an earlier one void, whichever is told last.
        let known = state.resumed.iter().position(|(it, _)| *it == seat);
        match known {
            Some(at) if is_newer(pause, state.resumed[at].1) => state.resumed[at].1 = pause,
            None if state.seats.find(seat).is_some() => state.resumed.push((seat, pause)),
            _ => return,
        }
        state.enqueue(seat);
        drop(state);
        (self.call)();
    }
}
