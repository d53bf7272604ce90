//! The core of a server: its loop, without the types of its transport and engine.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Handled;
use super::accept::Gate;
use super::descriptors::{open_reserve, room_for_connections};
use super::keeper::Keeper;
use super::source::{Admission, Source, listening_fds};
use super::watch::Watch;
use crate::clock::earlier;
use crate::control::Shared;
use crate::engine::{Engine, Place};
use crate::error::Error;
use crate::hooks::{GuardedHooks, Hooks};
use crate::live::DrainReport;
use crate::telemetry::Event;
use crate::wait::{Interest, Poller, wait_readable};

mod drain;

/// Tokens of the loop's poller; a source's is its number.
const KEEPER: u64 = 1 << 32;
const ENGINE: u64 = 1 << 33;

pub(super) struct Core {
    pub(super) shared: Arc<Shared>,
    pub(super) keeper: Arc<Keeper>,
    pub(super) gates: Vec<Gate>,
    pub(super) poller: Poller,
    hooks: GuardedHooks,
    has_hooks: bool,
    service_interval: Duration,
    polls_engine: bool,
    /// What forked children see a drain by; the keeper holds the other end.
    drain_pipe: Option<Arc<OwnedFd>>,
    /// What the connection limit was lowered to; what varies from run to run is not told anew.
    lowered_to: Option<usize>,
    /// Given up to refuse a connection when there is no other descriptor.
    pub(super) reserve: Option<OwnedFd>,
    ready: Vec<u64>,
}

/// What a [`Core`] is made of.
pub(super) struct Settings {
    pub(super) shared: Arc<Shared>,
    pub(super) hooks: Option<Arc<dyn Hooks>>,
    pub(super) watches: Vec<Watch>,
    pub(super) drain_timeout: Duration,
    pub(super) service_interval: Duration,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Turn {
    /// Go on.
    Again,
    /// The run is to stop.
    Stopping,
}

impl Core {
    pub(super) fn new(settings: Settings) -> io::Result<Self> {
        let Settings {
            shared,
            hooks,
            watches,
            drain_timeout,
            service_interval,
        } = settings;
        let poller = Poller::new()?;
        let keeper = Arc::new(Keeper::new(Arc::clone(&shared), drain_timeout, watches)?);
        poller.add(&*keeper, KEEPER, Interest::Readable)?;
        let has_hooks = hooks.is_some();
        let hooks = hooks.unwrap_or_else(|| Arc::new(crate::DefaultHooks));
        Ok(Self {
            hooks: GuardedHooks::new(hooks, shared.handle()),
            shared,
            keeper,
            gates: Vec::new(),
            poller,
            has_hooks,
            service_interval,
            polls_engine: false,
            drain_pipe: None,
            lowered_to: None,
            reserve: open_reserve(),
            ready: Vec::new(),
        })
    }

    pub(super) fn add(&mut self, source: Box<dyn Source>) {
        self.gates.push(Gate::new(source, self.gates.len() as u64));
        let endpoints = self
            .gates
            .iter()
            .map(|gate| (**gate.source.endpoint()).clone());
        self.shared.set_endpoints(endpoints.collect());
    }

    /// Serves until a shutdown, and drains.
    pub(super) fn serve_forever(&mut self, engine: &dyn Engine) -> Result<DrainReport, Error> {
        self.shared.begin_run();
        let result = self.run(engine);
        self.keeper.end_run();
        self.shared.end_run();
        result
    }

    fn run(&mut self, engine: &dyn Engine) -> Result<DrainReport, Error> {
        let admission = self.begin(engine)?;
        let served = loop {
            match self.turn(engine, &admission, None) {
                Ok(Turn::Again) => {}
                Ok(Turn::Stopping) => break Ok(()),
                // Nobody is abandoned for it: what runs is drained as at a shutdown.
                Err(error) => {
                    self.shared.handle().shutdown();
                    break Err(error);
                }
            }
        };
        let report = self.drain(engine, &admission);
        engine.stop();
        // Who comes now waits for the next run, or is refused in good order at the close.
        for gate in &mut self.gates {
            gate.source.pause(false);
        }
        served.and(report)
    }

    /// Serves one request, if one comes before `timeout` is over.
    pub(super) fn handle_request(
        &mut self,
        engine: &dyn Engine,
        timeout: Option<Duration>,
    ) -> Result<Handled, Error> {
        let deadline = timeout.and_then(|timeout| self.shared.clock.now().checked_add(timeout));
        let admission = self.begin(engine)?;
        engine.service_actions();
        let handled = loop {
            let turn = self.turn(engine, &admission, Some(deadline))?;
            if let Some(handled) = self.gates.iter_mut().find_map(|gate| gate.handled.take()) {
                break handled;
            }
            if turn == Turn::Stopping {
                self.keeper.end_run();
                self.shared.end_run();
                break Handled::Stopped;
            }
            if self.shared.clock.is_past(deadline) {
                self.hooks.handle_timeout();
                break Handled::TimedOut;
            }
        };
        if handled == Handled::Served {
            self.settle()?;
        }
        engine.service_actions();
        Ok(handled)
    }

    /// Waits until the connections that are closing have closed; their limits bound it.
    fn settle(&mut self) -> Result<(), Error> {
        self.keeper.turn()?;
        while self.keeper.closing_count() > 0 {
            let timeout = self.shared.clock.until(self.keeper.next_deadline());
            wait_readable(&*self.keeper, timeout)?;
            self.keeper.turn()?;
        }
        Ok(())
    }

    /// Prepares a run, and lets people in.
    fn begin(&mut self, engine: &dyn Engine) -> Result<Admission, Error> {
        let admission = self.prepare(engine)?;
        for gate in &mut self.gates {
            gate.source.begin_run(&admission);
            gate.source.pause(false);
            gate.begin_run();
        }
        Ok(admission)
    }

    /// Prepares a run.
    fn prepare(&mut self, engine: &dyn Engine) -> Result<Admission, Error> {
        engine.start().map_err(|source| Error::Engine {
            engine: engine.name(),
            source,
        })?;
        if let (Some(fd), false) = (engine.event_fd(), self.polls_engine) {
            self.poller.add(fd, ENGINE, Interest::Readable)?;
            self.polls_engine = true;
        }
        self.fit_to_descriptors();
        let place = engine.place();
        self.keeper.begin_run();
        let close_in_child = if place == Place::Process {
            self.fds_of_parent()?
        } else {
            Vec::new()
        };
        let admission = Admission {
            shared: Arc::clone(&self.shared),
            keeper: Arc::clone(&self.keeper),
            hooks: self.hooks.clone(),
            place,
            drain_pipe: self.drain_pipe.clone(),
            close_in_child: close_in_child.into(),
        };
        Ok(admission)
    }

    /// Makes the pipe by which children see a drain, and lists what they must not keep open.
    fn fds_of_parent(&mut self) -> io::Result<Vec<RawFd>> {
        if self.keeper.held().is_none() {
            let flags = rustix::pipe::PipeFlags::CLOEXEC;
            let (read, write) = rustix::pipe::pipe_with(flags)?;
            self.drain_pipe = Some(Arc::new(read));
            self.keeper.hold(write);
        }
        let mut fds = listening_fds(self.gates.iter().map(|gate| &gate.source));
        fds.extend(self.keeper.held());
        fds.push(self.poller.as_fd().as_raw_fd());
        fds.push(self.keeper.as_fd().as_raw_fd());
        Ok(fds)
    }

    /// Lowers the connection limit to what the descriptor limit can hold.
    fn fit_to_descriptors(&mut self) {
        let asked = self.shared.limits.connections;
        let live = self.shared.registry.count();
        let room = room_for_connections(live).unwrap_or(usize::MAX);
        let lowered_to = (room < asked).then_some(room);
        if lowered_to.is_some() && self.lowered_to.is_none() {
            self.shared.telemetry.emit(&Event::LimitLowered {
                from: asked,
                to: room,
            });
        }
        self.lowered_to = lowered_to;
        self.shared.registry.set_limit(asked.min(room));
    }

    /// One turn of the loop: waits for something to do, and does it. With `only_until`, at most one
    /// request is accepted, and the wait ends at that deadline.
    #[expect(
        clippy::option_option,
        reason = "no deadline is another thing than no single request"
    )]
    fn turn(
        &mut self,
        engine: &dyn Engine,
        admission: &Admission,
        only_until: Option<Option<Instant>>,
    ) -> Result<Turn, Error> {
        if self.shared.is_stopping() {
            return Ok(Turn::Stopping);
        }
        let reopens = self.open_gates(engine);
        let own = earlier(self.keeper.next_deadline(), engine.deadline());
        let mut deadline = earlier(own, only_until.flatten());
        deadline = earlier(deadline, reopens);
        if self.has_hooks && only_until.is_none() {
            deadline = earlier(
                deadline,
                self.shared.clock.now().checked_add(self.service_interval),
            );
        }
        let timeout = self.shared.clock.until(deadline);
        let mut ready = std::mem::take(&mut self.ready);
        self.wait(engine, &mut ready, timeout)?;
        let is_due = self.shared.clock.is_past(own);
        if is_due || ready.contains(&KEEPER) {
            self.keeper.turn()?;
        }
        if is_due || ready.contains(&ENGINE) {
            engine.service_actions();
        }
        let mut result = Ok(());
        for &token in ready.iter().filter(|&&token| token < KEEPER) {
            let at_most = if only_until.is_some() { 1 } else { usize::MAX };
            result = self.accept(token, engine, admission, at_most);
            if result.is_err() || (only_until.is_some() && self.has_handled(token)) {
                break;
            }
        }
        self.ready = ready;
        result?;
        if self.has_hooks && only_until.is_none() {
            self.hooks.service_actions();
        }
        Ok(Turn::Again)
    }

    /// Waits for something to do; an engine may have use for the thread meanwhile.
    fn wait(
        &self,
        engine: &dyn Engine,
        ready: &mut Vec<u64>,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        let waited = engine.wait(self.poller.as_fd(), timeout)?;
        let left = if waited {
            Some(Duration::ZERO)
        } else {
            timeout
        };
        self.poller.wait(ready, left)
    }

    fn has_handled(&self, token: u64) -> bool {
        usize::try_from(token).is_ok_and(|number| self.gates[number].handled.is_some())
    }

    pub(super) fn hooks(&self) -> &GuardedHooks {
        &self.hooks
    }
}
