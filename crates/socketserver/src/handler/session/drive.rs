//! A session as an engine sees it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::{Halt, Phase, Session};
use crate::clock::Moment;
use crate::codec::Input;
use crate::engine::{Driven, Wants};
use crate::error::{Step, catch};
use crate::handler::MessageHandler;
use crate::hooks::Steps;
use crate::outbox::Outbox;
use crate::request::{Link, cut_error};
use crate::socket::Socket;
use crate::telemetry::EndReason;
use crate::turn::Turn;
use crate::wait::Waiter;

impl<H: MessageHandler> Driven for Session<H> {
    fn id(&self) -> u64 {
        self.link.live().id
    }

    fn socket(&self) -> &Arc<Socket> {
        &self.link.socket
    }

    fn take_seat(&mut self, seat: u64) {
        self.link.seat = seat;
    }

    fn open(&mut self, turn: &mut Turn) -> Wants {
        if self.coded.is_some() {
            let halt = self.call(Step::Setup, turn, |coded, peer| {
                match coded.handler.setup(peer) {
                    Ok(()) => Halt::Dry,
                    Err(error) => Halt::Over(Err(error)),
                }
            });
            if let Halt::Dry = halt {
                self.phase = Phase::Open;
            }
        }
        if self.phase == Phase::New {
            self.phase = Phase::Over;
        }
        self.wants(turn)
    }

    #[inline]
    fn receive(&mut self, bytes: &[u8], turn: &mut Turn) -> Wants {
        self.link.live().received(bytes.len());
        self.link.active = turn.now;
        if self.link.peek().is_some() {
            self.link.extra().was_quiet = false;
        }
        self.hear(bytes, Input::More, turn);
        self.wants(turn)
    }

    fn end_input(&mut self, error: Option<io::Error>, turn: &mut Turn) -> Wants {
        let is_drained = self.link.live().is_drained();
        if let Some(reason) = self.link.live().cut_reason() {
            self.end_by(cut_error(reason), turn);
        } else if let Some(error) = error {
            self.end_by(error, turn);
        } else if self.phase == Phase::Open {
            self.link.peer_has_ended = !is_drained;
            self.phase = Phase::Ending;
            if !self.is_held() {
                self.hear_last(is_drained, turn);
            }
        }
        self.wants(turn)
    }

    fn attend(&mut self, turn: &mut Turn) -> Wants {
        if self.phase == Phase::Over {
            self.link.watch_output(turn.now);
            self.end_flight();
            return self.wants(turn);
        }
        // One without an outbox has nothing that could have held it up.
        let was_full = self.link.own_outbox().is_some();
        if self.link.check_output(turn.now) {
            self.link.watch_output(turn.now);
        }
        if let Some(reason) = self.link.live().cut_reason() {
            self.end_by(cut_error(reason), turn);
            return self.wants(turn);
        }
        if was_full && !self.is_held() {
            self.hear_on(turn);
        }
        self.meet_deadlines(turn);
        self.wants(turn)
    }

    fn resume(&mut self, pause: u32, turn: &mut Turn) -> Wants {
        if self.link.peek().is_some() {
            self.link.extra().end_pause(pause);
        }
        self.wants(turn)
    }

    fn flush(&mut self, turn: &mut Turn) -> Wants {
        if let Err(error) = self.link.flush(turn) {
            turn.clear_output();
            self.fail(error, turn);
        }
        self.wants(turn)
    }

    fn take_output(&mut self, turn: &mut Turn) -> Option<Vec<u8>> {
        match self.link.take_output(turn) {
            Ok(output) => output,
            Err(error) => {
                turn.clear_output();
                self.fail(error, turn);
                None
            }
        }
    }

    fn landed(&mut self, result: io::Result<()>, turn: &mut Turn) {
        self.link.landed();
        if let Err(error) = result {
            self.fail(error, turn);
        }
    }

    fn landed_short(&mut self, rest: &[u8], turn: &mut Turn) {
        self.link.landed_short(rest, turn);
    }

    fn outbox(&self) -> Option<&Outbox> {
        self.link.own_outbox()
    }

    fn idle_deadline(&self) -> Option<Moment> {
        // One of its own has a timer.
        let is_common = !self.link.has_own_idle_timeout();
        self.link.idle_deadline().filter(|_| is_common)
    }

    fn idle_timeout(&self) -> Option<Duration> {
        self.link.limits().idle_timeout
    }

    fn closes_at_once(&self) -> bool {
        self.link.peer_has_ended && self.link.own_outbox().is_none()
    }

    fn close(self: Box<Self>) {
        self.conclude();
    }

    fn serve(self: Box<Self>, waiter: &Waiter, has_timeouts: bool) -> EndReason {
        self.serve_here(waiter, has_timeouts)
    }
}

impl<H: MessageHandler> Session<H> {
    /// Drops the handler and tells what went wrong.
    pub(super) fn tell(mut self) -> (Link, EndReason) {
        let hooks = self.link.site.hooks.clone();
        let peer = self.link.live().peer.clone();
        let errors = match self.link.peek() {
            Some(_) => std::mem::take(&mut self.link.extra().errors),
            None => Vec::new(),
        };
        let mut steps = Steps::from(errors);
        let coded = self.coded.take();
        steps.run(Step::Finish, &peer, &hooks, || {
            drop(coded);
            Ok(())
        });
        // The program's hook may panic in ways of its own.
        let outcome = catch(|| steps.end(&hooks)).unwrap_or(EndReason::Panicked);
        (self.link, outcome)
    }

    fn conclude(self) {
        let (link, outcome) = self.tell();
        link.close(outcome);
    }

    /// A write has failed: the peer is gone.
    fn fail(&mut self, error: io::Error, turn: &mut Turn) {
        self.end_by(error, turn);
    }

    /// Ends what the kernel sends for who has been cut off; it would wait for the peer for ever.
    pub(super) fn end_flight(&self) {
        if self.link.is_sending() && self.link.live().cut_reason().is_some() {
            self.link.socket.end();
        }
    }

    fn meet_deadlines(&mut self, turn: &mut Turn) {
        let now = turn.now;
        if self.link.idle_deadline().is_some_and(|at| at <= now) {
            return self.cut(EndReason::IdleTimeout, turn);
        }
        if self.link.is_overdue(now) {
            return self.cut(EndReason::ReadTimeout, turn);
        }
        let is_quiet = self.quiet_after().is_some_and(|quiet| {
            let was_quiet = self.link.peek().is_none_or(|extra| extra.was_quiet);
            self.link.has_pending() && !was_quiet && now >= self.link.active.after(quiet)
        });
        if is_quiet && !self.is_held() {
            self.link.extra().was_quiet = true;
            self.hear(&[], Input::Quiet, turn);
        }
        self.wake(turn);
    }
}
