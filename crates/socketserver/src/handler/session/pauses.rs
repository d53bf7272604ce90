//! Pauses and timers of a handler.

use std::sync::Arc;

use super::{Halt, Phase, Session, halt};
use crate::error::Step;
use crate::handler::{MessageHandler, Next};
use crate::live::{Activity, Alarm};
use crate::request::Extra;
use crate::turn::Turn;

impl<H: MessageHandler> Session<H> {
    /// Calls `tick` if it is time.
    pub(super) fn wake(&mut self, turn: &mut Turn) {
        let at = self.link.peek().and_then(|extra| extra.wake_at);
        let is_heard = matches!(self.phase, Phase::Open | Phase::Ending);
        if !is_heard || at.is_none_or(|at| at > turn.now) {
            return;
        }
        self.link.extra().wake_at = None;
        let halt = self.call(Step::Handle, turn, |coded, peer| {
            let next = coded.handler.tick(peer);
            halt(next, peer.link)
        });
        if let Halt::Over(_) = halt {
            self.finish(turn);
        }
    }

    /// Ends a pause that nobody will, or somebody has.
    pub(super) fn end_pause(&mut self, turn: &mut Turn) {
        while self.link.is_paused && self.phase != Phase::Over {
            if !self.link.peek().is_none_or(Extra::is_pause_over) {
                self.link.live().now(Activity::Busy);
                let alarm: Arc<dyn Alarm> = turn.conductor.clone();
                self.link.live().guard(&alarm, self.link.seat);
                return;
            }
            self.link.is_paused = false;
            self.link.extra().pause_is_over();
            self.link.live().unguard();
            self.link.active = turn.now;
            let halt = self.call(Step::Handle, turn, |coded, peer| {
                let next = coded.handler.resumed(peer);
                match (next, peer.link.peek()) {
                    // Nobody could end it, and to call `resumed` again would never end.
                    (Ok(Next::Pause), extra) if extra.is_none_or(|it| !it.can_pause()) => Halt::Dry,
                    (next, _) => halt(next, peer.link),
                }
            });
            match halt {
                Halt::Over(_) => self.finish(turn),
                _ if !self.is_held() => self.hear_on(turn),
                _ => {}
            }
        }
    }
}
