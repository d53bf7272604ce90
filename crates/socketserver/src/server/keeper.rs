//! The keeper: looks after what no handler does, in the serving loop.
//!
//! Outboxes that wait for room, connections that are closing, deadlines of requests, the descriptors
//! that the program watches, the wake-up, and the beginning and the deadline of a drain.
//! A handler that runs on the serving thread turns it while it waits, so that all this goes on.

use std::collections::{BinaryHeap, HashMap};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::watch::Watch;
use crate::clock::earlier;
use crate::control::Shared;
use crate::live::{Live, lock};
use crate::outbox::{Flusher, Outbox};
use crate::request::{Closer, Closing};
use crate::socket::Socket;
use crate::telemetry::EndReason;
use crate::wait::{Interest, Interrupt, Poller};

/// How long a request that never waits may keep the serving thread from everything else.
const GLANCE_MILLIS: u64 = 5;

/// The kinds of descriptor in the keeper's poller; the number beside them is in the low bits.
const KIND: u64 = 3 << 62;
const WAKE: u64 = 0;
const WATCH: u64 = 1 << 62;
const FLUSH: u64 = 2 << 62;
const CLOSE: u64 = 3 << 62;

/// Something for the keeper to look after from now on.
enum Chore {
    Flush(Outbox),
    Close(Closing),
}

pub(crate) struct Keeper {
    poller: Poller,
    shared: Arc<Shared>,
    drain_timeout: Duration,
    inbox: Mutex<Vec<Chore>>,
    state: Mutex<State>,
    is_draining: AtomicBool,
    began: Instant,
    /// When somebody last glanced at what there is to do, in milliseconds since it began.
    glanced: AtomicU64,
}

#[derive(Default)]
struct State {
    watches: Vec<Option<Watch>>,
    flushing: HashMap<u64, (Outbox, Arc<Socket>)>,
    closing: HashMap<u64, (Closing, Option<Instant>)>,
    /// The requests up to this number have met the request timeout, or have ended.
    timed_out: u64,
    /// Deadlines of closing connections, the earliest on top.
    deadlines: BinaryHeap<std::cmp::Reverse<(Instant, u64)>>,
    /// The end of the drain, and whether it has been enforced.
    drain_deadline: Option<Instant>,
    has_forced: bool,
    /// A byte in it tells the forked children that a drain has begun, and its closing, should this
    /// process die, that there is no server any more.
    drain_pipe: Option<OwnedFd>,
    ready: Vec<u64>,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").finish_non_exhaustive()
    }
}

impl Keeper {
    pub(super) fn new(
        shared: Arc<Shared>,
        drain_timeout: Duration,
        watches: Vec<Watch>,
    ) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.add(&*shared.waker, WAKE, Interest::Readable)?;
        let mut kept = Vec::new();
        for (number, mut watch) in watches.into_iter().enumerate() {
            watch.begin(&poller, WATCH | number as u64)?;
            kept.push(Some(watch));
        }
        let state = State {
            watches: kept,
            ..State::default()
        };
        Ok(Self {
            poller,
            shared,
            drain_timeout,
            inbox: Mutex::default(),
            state: Mutex::new(state),
            is_draining: AtomicBool::new(false),
            began: Instant::now(),
            glanced: AtomicU64::new(0),
        })
    }

    /// Holds `pipe` until the run ends, to tell the forked children of a drain.
    pub(super) fn hold(&self, pipe: OwnedFd) {
        lock(&self.state).drain_pipe = Some(pipe);
    }

    /// The pipe that is held, if one is.
    pub(super) fn held(&self) -> Option<RawFd> {
        lock(&self.state)
            .drain_pipe
            .as_ref()
            .map(AsRawFd::as_raw_fd)
    }

    /// A run begins.
    pub(super) fn begin_run(&self) {
        let mut state = lock(&self.state);
        state.drain_deadline = None;
        state.has_forced = false;
        self.is_draining.store(false, Ordering::SeqCst);
    }

    /// A run has ended.
    pub(super) fn end_run(&self) {
        self.is_draining.store(false, Ordering::SeqCst);
        lock(&self.state).drain_pipe = None;
    }

    /// How many connections are closing.
    pub(super) fn closing_count(&self) -> usize {
        lock(&self.state).closing.len() + lock(&self.inbox).len()
    }

    /// When to turn at the latest.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let state = lock(&self.state);
        if state.watches.iter().flatten().any(|watch| watch.is_eager) {
            return Some(self.shared.clock.now());
        }
        let first = state.deadlines.peek().map(|entry| entry.0.0);
        let drain = state.drain_deadline.filter(|_| !state.has_forced);
        earlier(
            earlier(first, drain),
            self.request_deadline(&state).map(|(_, deadline)| deadline),
        )
    }

    /// The request that has to end next, and when.
    ///
    /// All have the same time, so it is the oldest that has not been cut off.
    fn request_deadline(&self, state: &State) -> Option<(Arc<Live>, Instant)> {
        let timeout = self.shared.limits.request_timeout?;
        let (live, started) = self.shared.registry.oldest_after(state.timed_out)?;
        Some((live, started.checked_add(timeout)?))
    }

    /// Hands a chore over; the loop is woken once for as many as come before it looks.
    fn post(&self, chore: Chore) {
        let mut inbox = lock(&self.inbox);
        let is_first = inbox.is_empty();
        inbox.push(chore);
        drop(inbox);
        if is_first {
            self.shared.waker.wake();
        }
    }

    /// Does what there is to do; never waits.
    pub(super) fn turn(&self) -> io::Result<()> {
        let state = &mut *lock(&self.state);
        let mut ready = std::mem::take(&mut state.ready);
        self.poller.wait(&mut ready, Some(Duration::ZERO))?;
        for &token in &ready {
            self.handle(state, token);
        }
        state.ready = ready;
        for number in 0..state.watches.len() {
            if state.watches[number]
                .as_ref()
                .is_some_and(|watch| watch.is_eager)
            {
                self.call_watch(state, number);
            }
        }
        let chores = std::mem::take(&mut *lock(&self.inbox));
        for chore in chores {
            self.take_on(state, chore);
        }
        self.check_drain(state);
        self.check_deadlines(state);
        Ok(())
    }

    fn handle(&self, state: &mut State, token: u64) {
        let number = token & !KIND;
        match token & KIND {
            WAKE => self.shared.take_wakes(),
            WATCH => self.call_watch(state, usize::try_from(number).unwrap_or(usize::MAX)),
            FLUSH => {
                if let Some((outbox, socket)) = state.flushing.get(&number)
                    && !outbox.flush()
                {
                    self.poller.remove(&**socket);
                    state.flushing.remove(&number);
                }
            }
            _ => self.advance(state, number),
        }
    }

    fn call_watch(&self, state: &mut State, number: usize) {
        if let Some(slot) = state.watches.get_mut(number)
            && let Some(watch) = slot
            && !watch.call(&self.shared.handle())
        {
            watch.end(&self.poller);
            *slot = None;
        }
    }

    fn take_on(&self, state: &mut State, chore: Chore) {
        match chore {
            Chore::Flush(outbox) => {
                let Some(socket) = outbox.socket() else {
                    return;
                };
                let id = outbox.connection();
                if state.closing.contains_key(&id) {
                    return;
                }
                let added = self.poller.add(&*socket, FLUSH | id, Interest::Writable);
                if added.is_ok() {
                    state.flushing.insert(id, (outbox, socket));
                }
            }
            Chore::Close(closing) => {
                let id = closing.id();
                if let Some((_, socket)) = state.flushing.remove(&id) {
                    self.poller.remove(&*socket);
                }
                if closing.is_done() {
                    return;
                }
                if state.has_forced {
                    // It was cut off: there is nobody to wait for.
                    return;
                }
                if self
                    .poller
                    .add(&closing, CLOSE | id, closing.interest())
                    .is_ok()
                {
                    let deadline = self.bound(state, &closing, closing.since());
                    state.closing.insert(id, (closing, deadline));
                    // Between its last try and now it may have become ready, which is told once.
                    self.advance(state, id);
                }
            }
        }
    }

    /// Notes when `closing`, which waits since `since`, has waited long enough.
    fn bound(&self, state: &mut State, closing: &Closing, since: Instant) -> Option<Instant> {
        let deadline = closing.deadline(since, &self.shared.limits);
        let entry = deadline.map(|deadline| std::cmp::Reverse((deadline, closing.id())));
        state.deadlines.extend(entry);
        deadline
    }

    /// Moves a closing connection on.
    fn advance(&self, state: &mut State, id: u64) {
        let Some((mut closing, mut deadline)) = state.closing.remove(&id) else {
            return;
        };
        let waits_anew = closing.advance(self.shared.limits.linger_bytes);
        if waits_anew && !closing.is_done() {
            let now = self.shared.clock.now();
            deadline = self.bound(state, &closing, now);
        }
        if (waits_anew || closing.has_more()) && !closing.is_done() {
            // What is there already is told anew.
            let _ = self.poller.modify(&closing, CLOSE | id, closing.interest());
        }
        if closing.is_done() {
            self.poller.remove(&closing);
        } else {
            state.closing.insert(id, (closing, deadline));
        }
    }

    /// Begins the drain when it is time, and enforces its end.
    fn check_drain(&self, state: &mut State) {
        if !self.shared.is_stopping() {
            return;
        }
        let now = self.shared.clock.now();
        if !self.is_draining.swap(true, Ordering::SeqCst) {
            state.drain_deadline = now.checked_add(self.drain_timeout);
            if let Some(pipe) = &state.drain_pipe {
                // The pipe is empty, so there is room. It is not closed: a child that is forked in
                // the drain closes its number, which must not be another's by then.
                let _ = rustix::io::write(pipe, b"d");
            }
            self.shared.registry.begin_drain();
        }
        let is_over = self.shared.is_aborting() || self.shared.clock.is_past(state.drain_deadline);
        if is_over && !std::mem::replace(&mut state.has_forced, true) {
            for (_, (closing, _)) in state.closing.drain() {
                self.poller.remove(&closing);
            }
            self.shared.registry.force();
        }
    }

    /// Whether the drain's end has been enforced.
    pub(super) fn has_forced(&self) -> bool {
        lock(&self.state).has_forced
    }

    fn check_deadlines(&self, state: &mut State) {
        let now = self.shared.clock.now();
        while let Some((live, deadline)) = self.request_deadline(state)
            && deadline <= now
        {
            state.timed_out = live.id;
            live.cut(EndReason::RequestTimeout);
        }
        while let Some(&std::cmp::Reverse((deadline, id))) = state.deadlines.peek() {
            if deadline > now {
                return;
            }
            state.deadlines.pop();
            match state.closing.get(&id) {
                // It has begun to wait for something else since.
                Some((_, newer)) if newer.is_some_and(|newer| newer > now) => {}
                Some(_) => {
                    if let Some((closing, _)) = state.closing.remove(&id) {
                        self.poller.remove(&closing);
                    }
                }
                None => {}
            }
        }
    }
}

impl AsFd for Keeper {
    /// Readable when there is something to do.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }
}

impl Flusher for Keeper {
    fn look_after(&self, outbox: Outbox) {
        self.post(Chore::Flush(outbox));
    }
}

impl Closer for Keeper {
    fn close(&self, closing: Closing) {
        // One with an outbox may still be looked after, and is to be let go of.
        if !closing.is_done() || closing.has_outbox() {
            self.post(Chore::Close(closing));
        }
    }
}

impl Interrupt for Keeper {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.poller.as_fd())
    }

    fn deadline(&self) -> Option<Instant> {
        self.next_deadline()
    }

    fn attend(&self) {
        // An error of the poller ends the loop, which meets it next.
        let _ = self.turn();
    }

    fn glance(&self) {
        // Real time, whatever the clock: it bounds how long a signal waits.
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if now >= self.glanced.load(Ordering::Relaxed) + GLANCE_MILLIS {
            self.glanced.store(now, Ordering::Relaxed);
            self.attend();
        }
    }

    fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::SeqCst)
    }
}
