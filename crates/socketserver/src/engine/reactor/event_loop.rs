//! What both drivers of a loop do alike: admit, call, attend, close.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::inbox::{Inbox, Post};
use super::watchdog::Watched;
use crate::engine::seats::{Mark, Seats};
use crate::engine::{Driven, Task, Wants, Work};
use crate::outbox::{Outbox, Way, turn};
use crate::socket::Socket;
use crate::turn::Turn;

/// How often a turn reads its posts anew before it sees to its sockets again.
const ROUNDS: usize = 4;

/// How a loop hears of its sockets.
pub(super) trait Port {
    /// How outboxes of its connections are sent.
    const WAY: fn(u64) -> Way;
    /// Whether the kernel sends for it.
    const FLIES: bool;
    /// Whether it has nothing to do while nobody has a seat.
    const MAY_REST: bool;

    /// Waits for the socket at `seat` from now on.
    fn add(&mut self, socket: &Arc<Socket>, seat: u64) -> io::Result<()>;
    /// Waits for the one at `seat` no longer; it is about to be closed.
    fn remove(&mut self, hall: &mut Hall, seat: u64);
    /// Waits at most `timeout`; a `fd` beside its own is waited for, too. Tells whether that is
    /// readable.
    fn turn(
        &mut self,
        hall: &mut Hall,
        beside: Option<BorrowedFd<'_>>,
        timeout: Option<Duration>,
    ) -> io::Result<bool>;
    /// Does what the connection at `seat` wants now.
    fn meet(&mut self, hall: &mut Hall, seat: u64, wants: Wants);
    /// Sends what the handler at `seat` has written.
    fn flush(&mut self, hall: &mut Hall, seat: u64) -> Option<Wants>;
    /// Sends what waits in an outbox at the end of a turn; what is left of another loop's is posted to
    /// that.
    fn send(&mut self, hall: &mut Hall, outbox: &Outbox);
    /// Has the kernel send what the turn has put off.
    fn take_flights(&mut self, hall: &mut Hall);
    /// Sends what waits in the outbox at `seat`, as far as there is room, and sees to the rest.
    fn send_on(&mut self, hall: &mut Hall, seat: u64);
}

/// The connections of a loop, and what comes to them from elsewhere.
pub(super) struct Hall {
    pub(super) seats: Seats,
    pub(super) turn: Turn,
    pub(super) inbox: Arc<Inbox>,
    pub(super) watched: Arc<Watched>,
    posts: Vec<Post>,
    due: Vec<u64>,
    pub(super) is_stopping: bool,
}

/// A loop: a hall, and a port to hear of it.
pub(super) struct EventLoop<P> {
    pub(super) hall: Hall,
    pub(super) port: P,
}

impl Hall {
    pub(super) fn new(inbox: &Arc<Inbox>, watched: &Arc<Watched>, way: fn(u64) -> Way) -> Self {
        Self {
            seats: Seats::new(),
            turn: Turn::new(Arc::clone(inbox) as _, way),
            inbox: Arc::clone(inbox),
            watched: Arc::clone(watched),
            posts: Vec::new(),
            due: Vec::new(),
            is_stopping: false,
        }
    }

    /// Calls the connection at `seat`, and lets the watchdog know.
    #[inline]
    pub(super) fn call(
        &mut self,
        seat: u64,
        call: impl FnOnce(&mut dyn Driven, &mut Turn) -> Wants,
    ) -> Option<Wants> {
        let slot = self.seats.get(seat)?;
        let has_landed = slot.has(Mark::HasLanded);
        if has_landed {
            slot.mark(Mark::HasLanded, false);
        }
        let driven = slot.driven.as_deref_mut()?;
        if has_landed {
            driven.landed(Ok(()), &mut self.turn);
        }
        self.watched.calls(driven.id());
        let wants = call(driven, &mut self.turn);
        self.watched.is_back();
        Some(wants)
    }

    /// Begins a turn of so many events at the present.
    pub(super) fn begin_turn(&mut self, flies: bool) {
        self.turn.now = self.seats.clock.moment();
        self.inbox.enter(true);
        turn::begin(if flies { self.inbox.number() } else { 0 });
    }

    /// How long to wait for events, at most until `deadline`.
    pub(super) fn timeout(&self, has_more: bool, timeout: Option<Duration>) -> Option<Duration> {
        if has_more || self.inbox.is_full() {
            return Some(Duration::ZERO);
        }
        let own = self.seats.clock.until(self.seats.next_deadline());
        [own, timeout].into_iter().flatten().min()
    }
}

impl<P: Port> EventLoop<P> {
    /// Serves until it is told to stop, on a thread of its own.
    pub(super) fn run(mut self) {
        while !self.hall.is_stopping {
            if let Err(error) = self.turn(None, None) {
                tracing::error!(%error, "an event loop cannot wait, and ends");
                break;
            }
        }
        self.hall.inbox.shut();
        self.end();
    }

    /// Serves until `beside` is readable or `timeout` is over; `false` if there is nothing to serve, and
    /// whoever has `beside` can wait for it alone.
    pub(super) fn run_beside(
        &mut self,
        beside: BorrowedFd<'_>,
        timeout: Option<Duration>,
    ) -> io::Result<bool> {
        if P::MAY_REST && self.hall.seats.is_empty() && !self.hall.inbox.is_full() {
            // Nobody has a seat that something could be posted for: one wait is enough, which is what
            // datagrams are served by.
            self.hall.watched.sleeps();
            return Ok(false);
        }
        let began = Instant::now();
        loop {
            let left = timeout.map(|timeout| timeout.saturating_sub(began.elapsed()));
            if self.turn(Some(beside), left)? || left.is_some_and(|left| left.is_zero()) {
                return Ok(true);
            }
        }
    }

    fn turn(
        &mut self,
        beside: Option<BorrowedFd<'_>>,
        timeout: Option<Duration>,
    ) -> io::Result<bool> {
        let Self { hall, port } = self;
        let is_ready = port.turn(hall, beside, timeout)?;
        self.attend_to_due();
        self.read_posts();
        self.end_turn();
        Ok(is_ready)
    }

    /// Sends what the turn has put off, and hears what that has led to; what that leads to without end
    /// is left to the next turns, which do not wait then.
    fn end_turn(&mut self) {
        let mut rounds = 0;
        loop {
            let Self { hall, port } = self;
            turn::settle(|outbox| port.send(hall, outbox));
            port.take_flights(hall);
            if !self.hall.inbox.is_full() || rounds == ROUNDS {
                break;
            }
            rounds += 1;
            self.read_posts();
        }
        turn::end();
        self.hall.inbox.enter(false);
    }

    fn attend_to_due(&mut self) {
        let Self { hall, port } = self;
        let mut due = std::mem::take(&mut hall.due);
        hall.seats.due(hall.turn.now, &mut due);
        for seat in due.drain(..) {
            attend(port, hall, seat);
        }
        hall.due = due;
    }

    fn read_posts(&mut self) {
        if !self.hall.inbox.is_full() {
            return;
        }
        let mut posts = std::mem::take(&mut self.hall.posts);
        self.hall.inbox.take(&mut posts);
        for post in posts.drain(..) {
            match post {
                Post::Admit(task) => {
                    let peer = task.peer().clone();
                    if let Err(error) = self.admit(task) {
                        tracing::warn!(%peer, %error, "a loop cannot take one more connection");
                    }
                }
                Post::Flush(seat) => self.port.send_on(&mut self.hall, seat),
                Post::Attend(seat) => attend(&mut self.port, &mut self.hall, seat),
                Post::Resume(seat, pause) => {
                    let Self { hall, port } = self;
                    let wants = hall.call(seat, |driven, turn| driven.resume(pause, turn));
                    finish(port, hall, seat, wants);
                }
                Post::Stop => self.hall.is_stopping = true,
            }
        }
        self.hall.posts = posts;
    }

    /// Seats a new connection, outside a turn or in one.
    pub(super) fn admit(&mut self, task: Task) -> io::Result<()> {
        let Self { hall, port } = self;
        let Task {
            ticket,
            work,
            socket,
            clock,
            ..
        } = task;
        let (Work::Driven(newcomer), Some(socket)) = (work, socket) else {
            let text = "an event loop serves message handlers only";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        };
        if hall.seats.is_empty() {
            hall.seats.clock = clock;
        }
        hall.turn.now = hall.seats.clock.moment();
        let seat = hall.seats.take();
        if let Err(error) = port.add(&socket, seat) {
            hall.seats.give_back(seat);
            hall.inbox.forget();
            return Err(error);
        }
        drop(socket);
        hall.seats.sit(seat, newcomer.admit(ticket));
        let wants = hall.call(seat, |driven, turn| driven.open(turn));
        finish(port, hall, seat, wants);
        Ok(())
    }

    /// Seats a new connection between two turns.
    pub(super) fn admit_here(&mut self, task: Task) -> io::Result<()> {
        self.hall.begin_turn(P::FLIES);
        let admitted = self.admit(task);
        self.end_turn();
        admitted
    }

    /// Closes whoever is left.
    pub(super) fn end(&mut self) {
        for seat in self.hall.seats.all() {
            let error = io::Error::new(io::ErrorKind::ConnectionAborted, "the server has stopped");
            self.hall
                .call(seat, |driven, turn| driven.end_input(Some(error), turn));
            self.hall.turn.clear_output();
            if let Some(driven) = self.hall.seats.leave(seat) {
                self.hall.inbox.forget();
                driven.close();
            }
        }
    }
}

/// Attends to the connection at `seat`.
pub(super) fn attend<P: Port>(port: &mut P, hall: &mut Hall, seat: u64) {
    let wants = hall.call(seat, |driven, turn| driven.attend(turn));
    finish(port, hall, seat, wants);
}

/// Sends what the connection at `seat` has written, and does what it wants, after a call.
#[inline]
pub(super) fn finish<P: Port>(port: &mut P, hall: &mut Hall, seat: u64, wants: Option<Wants>) {
    let Some(mut wants) = wants else { return };
    if !hall.turn.output.is_empty()
        && let Some(newer) = port.flush(hall, seat)
    {
        wants = newer;
    }
    if let Some(at) = wants.at {
        hall.seats.arm(seat, at, hall.turn.now);
    }
    if wants.is_over {
        close(port, hall, seat);
    } else {
        port.meet(hall, seat, wants);
    }
}

fn close<P: Port>(port: &mut P, hall: &mut Hall, seat: u64) {
    port.remove(hall, seat);
    if let Some(driven) = hall.seats.leave(seat) {
        hall.inbox.forget();
        driven.close();
    }
}

/// Notes in the slot what the connection wants.
pub(super) fn note(hall: &mut Hall, seat: u64, wants: Wants) {
    if let Some(slot) = hall.seats.get(seat) {
        slot.mark(Mark::Listens, wants.input);
    }
    hall.seats.watch_silence(seat);
}
