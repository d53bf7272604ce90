//! Sessions: a message handler, its codec and its connection, driven by whichever engine.
//!
//! A session is given bytes and asked what it wants next; it makes no system call that waits.
//! Only [`blocking`] drives one on a thread that may.

use std::io;
use std::sync::Arc;

use crate::clock::Moment;
use crate::codec::{Codec, Decoded, Input};
use crate::engine::Wants;
use crate::error::{Error, Step, Stop, catch, is_stop};
use crate::handler::{MakeSession, MessageHandler, Next};
use crate::live::Activity;
use crate::request::{Link, Peer, cut_error};
use crate::telemetry::EndReason;
use crate::turn::Turn;

mod blocking;
mod drive;
mod pauses;

/// A connection and its message handler.
pub(crate) struct Session<H: MessageHandler> {
    link: Link,
    /// `None` if it could not be made.
    coded: Option<Coded<H>>,
    phase: Phase,
}

struct Coded<H: MessageHandler> {
    handler: H,
    codec: H::Codec,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// `setup` has not been called.
    New,
    /// Messages are heard.
    Open,
    /// The input has ended; what is left of it is heard.
    Ending,
    /// `finish` has been called, or there was nothing to call it on.
    Over,
}

/// Erases the type of the handlers that `make` makes.
pub(crate) fn sessions<H: MessageHandler>(
    make: impl Fn() -> H + Send + Sync + 'static,
) -> MakeSession {
    Arc::new(move |link| Box::new(Session::new(link, &make)))
}

/// How a series of messages came to its end.
enum Halt {
    /// There is no further message in the input.
    Dry,
    /// The peer is to read first, or a pause has begun.
    Held,
    /// Messages are over.
    Over(io::Result<()>),
}

impl<H: MessageHandler> Coded<H> {
    /// Hands all messages in `input` over; tells how much of it they took.
    fn hear(&mut self, input: &[u8], why: Input, peer: &mut Peer<'_>) -> (usize, Halt) {
        let mut used = 0;
        loop {
            if used == input.len() {
                return (used, Halt::Dry);
            }
            let next = match self.codec.decode(&input[used..], why) {
                Decoded::Incomplete => return (used, Halt::Dry),
                Decoded::Skipped { used: count } => {
                    used += count;
                    continue;
                }
                Decoded::Invalid { used: count, error } => {
                    used += count;
                    self.handler.invalid(error, peer)
                }
                Decoded::Message {
                    message,
                    used: count,
                } => {
                    used += count;
                    self.handler.handle(message, peer)
                }
            };
            match next {
                Ok(Next::Continue) => match peer.link.fills_up(peer.turn) {
                    Ok(false) => {}
                    Ok(true) => return (used, Halt::Held),
                    Err(error) => return (used, Halt::Over(Err(error))),
                },
                other => return (used, halt(other, peer.link)),
            }
        }
    }
}

/// What becomes of the connection when its handler wants `next`.
fn halt(next: io::Result<Next>, link: &mut Link) -> Halt {
    match next {
        Ok(Next::Continue) => Halt::Dry,
        Ok(Next::Pause) => {
            link.is_paused = true;
            Halt::Held
        }
        Ok(Next::Close) => Halt::Over(Ok(())),
        Ok(Next::Stop) => Halt::Over(Err(Stop.into())),
        Err(error) => Halt::Over(Err(error)),
    }
}

impl<H: MessageHandler> Session<H> {
    fn new(mut link: Link, make: &impl Fn() -> H) -> Self {
        link.live().now(Activity::Busy);
        let limits = link.site.server.limits();
        let outcome = catch(|| {
            let mut handler = make();
            let codec = handler.codec(limits);
            Coded { handler, codec }
        });
        let coded = match outcome {
            Ok(coded) => Some(coded),
            Err(message) => {
                let peer = link.live().peer.clone();
                let step = Step::Make;
                link.extra().errors.push(Error::Panic {
                    peer,
                    step,
                    message,
                });
                None
            }
        };
        Self {
            link,
            coded,
            phase: Phase::New,
        }
    }

    /// Calls the handler, and keeps what goes wrong.
    fn call(
        &mut self,
        step: Step,
        turn: &mut Turn,
        call: impl FnOnce(&mut Coded<H>, &mut Peer<'_>) -> Halt,
    ) -> Halt {
        let Some(coded) = &mut self.coded else {
            return Halt::Over(Ok(()));
        };
        self.link.live().now(Activity::Busy);
        let link = &mut self.link;
        match catch(|| call(coded, &mut Peer { link, turn })) {
            Ok(Halt::Over(Err(error))) if is_stop(&error) => {
                self.link.site.hooks.stop();
                Halt::Over(Ok(()))
            }
            Ok(Halt::Over(Err(source))) => {
                let peer = self.link.live().peer.clone();
                self.keep(Error::Handler { peer, step, source });
                Halt::Over(Ok(()))
            }
            Ok(halt) => halt,
            Err(message) => {
                let peer = self.link.live().peer.clone();
                self.keep(Error::Panic {
                    peer,
                    step,
                    message,
                });
                Halt::Over(Ok(()))
            }
        }
    }

    fn keep(&mut self, error: Error) {
        self.link.extra().errors.push(error);
    }

    /// Hears the messages in what was kept and in `bytes`.
    fn hear(&mut self, bytes: &[u8], why: Input, turn: &mut Turn) {
        if !matches!(self.phase, Phase::Open | Phase::Ending) {
            return;
        }
        let mut pending = self.link.take_pending();
        let was_pending = !pending.is_empty();
        if self.is_held() {
            pending.extend_from_slice(bytes);
            return self.link.keep_pending(pending, !was_pending, turn.now);
        }
        let halt;
        let mut is_new = true;
        if was_pending {
            pending.extend_from_slice(bytes);
            let (used, how) = self.hear_in(&pending, why, turn);
            is_new = used > 0;
            pending.drain(..used);
            halt = how;
        } else {
            let (used, how) = self.hear_in(bytes, why, turn);
            pending.extend_from_slice(&bytes[used..]);
            halt = how;
        }
        let halt = match halt {
            Halt::Dry => self.bound(&mut pending, turn),
            other => other,
        };
        if let Halt::Over(_) = halt {
            return self.finish(turn);
        }
        self.link.keep_pending(pending, is_new, turn.now);
    }

    fn hear_in(&mut self, input: &[u8], why: Input, turn: &mut Turn) -> (usize, Halt) {
        let mut used = 0;
        let halt = self.call(Step::Handle, turn, |coded, peer| {
            let (count, halt) = coded.hear(input, why, peer);
            used = count;
            halt
        });
        (used, halt)
    }

    /// Discards the beginning of a message that has grown longer than any may be.
    fn bound(&mut self, pending: &mut Vec<u8>, turn: &mut Turn) -> Halt {
        let Some(coded) = &self.coded else {
            return Halt::Dry;
        };
        let limit = coded.codec.frame_bytes();
        let limit = limit.unwrap_or(self.link.limits().line_bytes).max(1);
        if pending.len() < limit {
            return Halt::Dry;
        }
        pending.clear();
        self.call(Step::Handle, turn, |coded, peer| {
            let text = format!("the message is longer than {limit} bytes");
            let error = io::Error::new(io::ErrorKind::InvalidData, text);
            let next = coded.handler.invalid(error, peer);
            halt(next, peer.link)
        })
    }

    /// Hears what a pause or a slow peer has held up.
    fn hear_on(&mut self, turn: &mut Turn) {
        self.link.begin_message_anew(turn.now);
        let has_pending = self.link.has_pending();
        if self.phase == Phase::Ending {
            let is_drained = self.link.live().is_drained() && !self.link.peer_has_ended;
            self.hear_last(is_drained, turn);
        } else if has_pending {
            self.hear(&[], Input::More, turn);
        }
    }

    /// Hears what the end of the input leaves, and is done unless something holds it up.
    fn hear_last(&mut self, is_drained: bool, turn: &mut Turn) {
        if is_drained {
            // Nobody knows what a message would have been that a drain has cut; but one that a pause
            // may end is whole as it stands.
            self.hear(&[], Input::More, turn);
            let ends = self.quiet_after().is_some();
            if ends && !self.is_held() && self.link.has_pending() {
                self.hear(&[], Input::Quiet, turn);
            }
        } else if self.link.has_pending() {
            self.hear(&[], Input::End, turn);
        }
        if self.phase != Phase::Over && !self.is_held() {
            self.finish(turn);
        }
    }

    fn is_held(&self) -> bool {
        self.link.is_paused || self.link.is_full()
    }

    fn quiet_after(&self) -> Option<std::time::Duration> {
        self.coded
            .as_ref()
            .and_then(|coded| coded.codec.quiet_after())
    }

    /// Ends the messages: `finish`, and no more calls.
    fn finish(&mut self, turn: &mut Turn) {
        if matches!(self.phase, Phase::Open | Phase::Ending) {
            self.link.is_paused = false;
            let halt = self.call(Step::Finish, turn, |coded, peer| {
                Halt::Over(coded.handler.finish(peer))
            });
            drop(halt);
        }
        self.phase = Phase::Over;
    }

    /// Ends it for `reason`.
    fn cut(&mut self, reason: EndReason, turn: &mut Turn) {
        self.link.live().note_cut(reason);
        self.end_by(cut_error(reason), turn);
    }

    /// Ends it by an error that is no handler's own.
    fn end_by(&mut self, source: io::Error, turn: &mut Turn) {
        if self.phase != Phase::Over {
            let source = self.link.live().cut_reason().map_or(source, cut_error);
            let peer = self.link.live().peer.clone();
            let step = Step::Handle;
            self.keep(Error::Handler { peer, step, source });
        }
        self.finish(turn);
        self.end_flight();
    }

    /// What it wants, after whatever it was given.
    fn wants(&mut self, turn: &mut Turn) -> Wants {
        self.end_pause(turn);
        let is_over = self.phase == Phase::Over;
        let room = !is_over && self.link.check_output(turn.now);
        let is_sending = is_over && self.link.is_sending();
        if room || is_sending {
            self.link.owes |= is_sending;
            self.link.watch_stuck(turn.now);
        }
        if !is_over && !self.link.is_paused {
            let activity = match (room && self.link.owes, turn.output.is_empty()) {
                (true, _) => Activity::Writing,
                // It is about to be sent.
                (false, false) => Activity::Busy,
                // A thread that waits says so when its deadline stands.
                (false, true) if turn.waiter.is_some() => Activity::Busy,
                (false, true) => Activity::Reading,
            };
            self.link.live().now(activity);
        }
        self.link.tidy();
        Wants {
            input: self.phase == Phase::Open && !self.is_held(),
            room,
            landing: is_over || self.link.own_outbox().is_some() || self.is_held(),
            is_over: is_over && !is_sending,
            at: self.deadline(),
        }
    }

    /// When to attend to it for another reason than silence.
    fn deadline(&self) -> Option<Moment> {
        self.link.peek()?;
        if self.phase == Phase::Over {
            return self.link.stuck_deadline();
        }
        self.link.deadline(self.quiet_after())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Chunks;
    use crate::live::Live;

    struct Echo;

    impl MessageHandler for Echo {
        type Codec = Chunks;

        fn handle(&mut self, bytes: &[u8], peer: &mut Peer<'_>) -> io::Result<Next> {
            peer.write(bytes)?;
            Ok(Next::Continue)
        }
    }

    #[test]
    fn an_idle_connection_is_kept_in_few_bytes() {
        // Beside these there are a socket, and a place in the registry and in the loop: together less
        // than 0.3 KiB, with what the allocator adds.
        assert!(size_of::<Live>() <= 104, "{}", size_of::<Live>());
        assert!(
            size_of::<Session<Echo>>() <= 88,
            "{}",
            size_of::<Session<Echo>>()
        );
    }
}
