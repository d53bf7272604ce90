//! Accepting: who is let in, who waits, who is refused, and what errors mean.

use std::io;
use std::time::Instant;

use rustix::io::Errno;

use super::Handled;
use super::core::Core;
use super::descriptors::open_reserve;
use super::source::{Admission, Source, Taken, back_off};
use crate::clock::earlier;
use crate::engine::{Engine, Place};
use crate::error::Error;
use crate::telemetry::{Event, Refusal, Telemetry};
use crate::wait::{Interest, Interrupt, is_shut_down};

/// Requests that are accepted in a row before the loop looks at everything else again.
const BATCH: usize = 64;

/// Requests of one queue that are still served in a drain; a datagram socket may never run dry.
const DRAIN_BATCH: usize = 4096;

/// Errors in a row, each of a connection of its own, after which accepting pauses all the same.
const FAILURES: u32 = 32;

/// A source, and whether the loop waits on it.
pub(super) struct Gate {
    pub(super) source: Box<dyn Source>,
    token: u64,
    is_open: bool,
    pause: Option<Pause>,
    failures: u32,
    /// How many of the queue a drain may still serve; `None` while there is none.
    drain_left: Option<usize>,
    /// What became of the last request, for `handle_request`.
    pub(super) handled: Option<Handled>,
}

/// Accepting pauses, for want of a resource.
struct Pause {
    until: Instant,
    times: u32,
    refused: u64,
}

impl Gate {
    pub(super) fn new(source: Box<dyn Source>, token: u64) -> Self {
        Self {
            source,
            token,
            is_open: false,
            pause: None,
            failures: 0,
            drain_left: None,
            handled: None,
        }
    }

    pub(super) fn begin_run(&mut self) {
        self.drain_left = None;
        self.handled = None;
    }

    pub(super) fn begin_drain(&mut self) {
        self.drain_left = Some(DRAIN_BATCH);
    }

    /// Refuses who is in the queue.
    pub(super) fn refuse_all(&mut self, telemetry: &Telemetry) {
        let reason = Refusal::Shutdown;
        for _ in 0..DRAIN_BATCH {
            let Ok(peer) = self.source.refuse() else {
                return;
            };
            telemetry.emit(&Event::Refused {
                peer: &peer,
                reason,
            });
        }
    }

    /// Whether a drain has yet to empty its queue.
    pub(super) fn is_draining(&self) -> bool {
        self.drain_left.is_some_and(|left| left > 0)
    }
}

/// What an error of `accept(2)` means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Meaning {
    /// The queue is empty.
    Empty,
    /// The listening socket is gone.
    Gone,
    /// This connection has failed, and nothing else is the matter.
    OneFailed,
    /// A resource is used up: it will not be better at once.
    Shortage,
}

fn meaning(error: &io::Error) -> Meaning {
    match Errno::from_io_error(error) {
        Some(Errno::AGAIN) => Meaning::Empty,
        Some(Errno::BADF | Errno::INVAL | Errno::NOTSOCK) => Meaning::Gone,
        // accept(2) asks to treat the pending errors of the network like EAGAIN: to try the next.
        // A firewall gives EPERM.
        Some(
            Errno::INTR
            | Errno::CONNABORTED
            | Errno::PERM
            | Errno::PROTO
            | Errno::NETDOWN
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::HOSTUNREACH
            | Errno::OPNOTSUPP
            | Errno::NETUNREACH
            | Errno::CONNRESET
            | Errno::CONNREFUSED
            | Errno::TIMEDOUT,
        ) => Meaning::OneFailed,
        None if error.kind() == io::ErrorKind::WouldBlock => Meaning::Empty,
        _ => Meaning::Shortage,
    }
}

impl Core {
    /// Waits on the sources that may accept, and on no others; tells when the next one's pause ends.
    pub(super) fn open_gates(&mut self, engine: &dyn Engine) -> Option<Instant> {
        let has_room = engine.has_room() && self.shared.registry.has_room();
        let now = self.shared.clock.now();
        let mut reopens = None;
        for gate in &mut self.gates {
            let pause = gate.pause.as_ref().map(|pause| pause.until);
            reopens = earlier(reopens, pause.filter(|&until| until > now));
            let may_open = has_room && gate.pause.as_ref().is_none_or(|pause| pause.until <= now);
            if may_open == gate.is_open {
                continue;
            }
            if may_open {
                let added = self
                    .poller
                    .add(gate.source.fd(), gate.token, Interest::Readable);
                gate.is_open = added.is_ok();
            } else {
                self.poller.remove(gate.source.fd());
                gate.is_open = false;
            }
        }
        reopens
    }

    /// Waits on no source.
    pub(super) fn shut_gates(&mut self) {
        for gate in &mut self.gates {
            if std::mem::take(&mut gate.is_open) {
                self.poller.remove(gate.source.fd());
            }
        }
    }

    /// Accepts from the source `token`, `at_most` so many requests.
    pub(super) fn accept(
        &mut self,
        token: u64,
        engine: &dyn Engine,
        admission: &Admission,
        at_most: usize,
    ) -> Result<(), Error> {
        let Ok(number) = usize::try_from(token) else {
            return Ok(());
        };
        let at_most = BATCH.min(at_most);
        let mut left = at_most;
        while left > 0 {
            // Requests that were served here have taken their time.
            self.keeper.glance();
            if self.shared.is_stopping() || !engine.has_room() || !self.shared.registry.has_room() {
                break;
            }
            let (count, goes_on) = self.accept_some(number, engine, admission, left)?;
            if count == 0 && left == at_most {
                self.check_listening(number)?;
            }
            if !goes_on {
                break;
            }
            left = left.saturating_sub(count);
        }
        Ok(())
    }

    /// Fails if a source that was ready and had nothing is shut down: it would be ready for ever.
    fn check_listening(&self, number: usize) -> Result<(), Error> {
        let source = &self.gates[number].source;
        if !is_shut_down(source.fd()) {
            return Ok(());
        }
        let text = "the socket has been shut down";
        Err(Error::Listener {
            endpoint: source.endpoint().to_string(),
            source: io::Error::new(io::ErrorKind::NotConnected, text),
        })
    }

    /// Serves what the queues hold while there is room, in a drain.
    pub(super) fn empty_queues(
        &mut self,
        engine: &dyn Engine,
        admission: &Admission,
    ) -> Result<(), Error> {
        for number in 0..self.gates.len() {
            while self.gates[number].is_draining()
                && engine.has_room()
                && self.shared.registry.has_room()
            {
                let left = self.gates[number].drain_left.unwrap_or(0);
                let (count, goes_on) = match self.accept_some(number, engine, admission, left) {
                    // The listener is gone, and its queue with it.
                    Err(Error::Listener { .. }) => (0, false),
                    accepted => accepted?,
                };
                let left = if goes_on {
                    left.saturating_sub(count)
                } else {
                    0
                };
                self.gates[number].drain_left = Some(left);
                self.keeper.glance();
                if self.keeper.has_forced() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Accepts one request, or a batch of at most so many if the source serves them by itself; tells
    /// how many, and whether there may be another.
    fn accept_some(
        &mut self,
        number: usize,
        engine: &dyn Engine,
        admission: &Admission,
        at_most: usize,
    ) -> Result<(usize, bool), Error> {
        let source = &mut self.gates[number].source;
        let accepted = match source.serve_batch(admission, at_most) {
            Ok(None) => self.accept_one(number, engine, admission),
            Ok(Some(batch)) => {
                self.accept_works_again(number);
                self.gates[number].handled = batch.last;
                return Ok((batch.count, batch.goes_on));
            }
            Err(error) => self.accept_failed(number, error),
        };
        accepted.map(|goes_on| (usize::from(goes_on), goes_on))
    }

    /// Accepts one request; tells whether there may be another.
    fn accept_one(
        &mut self,
        number: usize,
        engine: &dyn Engine,
        admission: &Admission,
    ) -> Result<bool, Error> {
        let taken = self.gates[number].source.accept(admission);
        let taken = match taken {
            Ok(taken) => taken,
            Err(error) => return self.accept_failed(number, error),
        };
        self.accept_works_again(number);
        self.gates[number].handled = Some(match taken {
            Taken::Refused(peer, reason) => {
                self.shared.telemetry.emit(&Event::Refused {
                    peer: &peer,
                    reason,
                });
                Handled::Refused(reason)
            }
            Taken::Task(task) => {
                let (peer, live) = (
                    task.peer().clone(),
                    std::sync::Arc::clone(&task.ticket.live),
                );
                if self.keeper.is_draining() {
                    // It came in after the drain began, so it is told here.
                    live.drain();
                }
                match engine.process_request(task) {
                    Ok(()) if engine.place() == Place::Caller => Handled::Served,
                    Ok(()) => Handled::Started,
                    Err(source) => {
                        let reason = Refusal::Engine;
                        self.shared.telemetry.emit(&Event::Refused {
                            peer: &peer,
                            reason,
                        });
                        self.hooks().handle_error(&Error::Engine {
                            engine: engine.name(),
                            source,
                        });
                        Handled::Refused(reason)
                    }
                }
            }
        });
        Ok(true)
    }

    /// Decides what an error of accept means; tells whether there may be another request.
    fn accept_failed(&mut self, number: usize, error: io::Error) -> Result<bool, Error> {
        let gate = &mut self.gates[number];
        let endpoint = gate.source.endpoint();
        match meaning(&error) {
            Meaning::Empty => Ok(false),
            Meaning::Gone => Err(Error::Listener {
                endpoint: endpoint.to_string(),
                source: error,
            }),
            Meaning::OneFailed if gate.failures < FAILURES => {
                gate.failures += 1;
                self.shared.telemetry.emit(&Event::AcceptFailed {
                    endpoint,
                    error: &error,
                });
                Ok(true)
            }
            Meaning::OneFailed | Meaning::Shortage => {
                self.pause(number, &error);
                Ok(false)
            }
        }
    }

    /// Stops accepting for a while. The first time is told; from the second on, who waits is refused
    /// rather than left hanging.
    fn pause(&mut self, number: usize, error: &io::Error) {
        let now = self.shared.clock.now();
        let gate = &mut self.gates[number];
        let times = gate.pause.as_ref().map_or(0, |pause| pause.times);
        let mut refused = gate.pause.as_ref().map_or(0, |pause| pause.refused);
        if times == 0 {
            let endpoint = gate.source.endpoint();
            self.shared
                .telemetry
                .emit(&Event::AcceptPaused { endpoint, error });
        } else {
            refused += self.refuse_waiting(number);
        }
        let gate = &mut self.gates[number];
        gate.failures = 0;
        let until = now + back_off(times);
        gate.pause = Some(Pause {
            until,
            times: times + 1,
            refused,
        });
        if std::mem::take(&mut gate.is_open) {
            self.poller.remove(gate.source.fd());
        }
    }

    /// Refuses some of those who wait, with the descriptor that was kept for this.
    fn refuse_waiting(&mut self, number: usize) -> u64 {
        let mut refused = 0;
        while refused < BATCH as u64 && self.reserve.take().is_some() {
            let answer = self.gates[number].source.refuse();
            self.reserve = open_reserve();
            let Ok(peer) = answer else { break };
            refused += 1;
            let reason = Refusal::Descriptors;
            self.shared.telemetry.emit(&Event::Refused {
                peer: &peer,
                reason,
            });
        }
        refused
    }

    /// A request was accepted: a pause, if there was one, is over.
    fn accept_works_again(&mut self, number: usize) {
        let gate = &mut self.gates[number];
        gate.failures = 0;
        if let Some(pause) = gate.pause.take() {
            let endpoint = gate.source.endpoint();
            let refused = pause.refused;
            self.shared
                .telemetry
                .emit(&Event::AcceptResumed { endpoint, refused });
            if self.reserve.is_none() {
                self.reserve = open_reserve();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_of_accept_is_met_as_its_manual_page_says() {
        for (errno, wanted) in [
            (Errno::AGAIN, Meaning::Empty),
            (Errno::BADF, Meaning::Gone),
            (Errno::CONNABORTED, Meaning::OneFailed),
            (Errno::PERM, Meaning::OneFailed),
            (Errno::MFILE, Meaning::Shortage),
            (Errno::NFILE, Meaning::Shortage),
            (Errno::NOBUFS, Meaning::Shortage),
            (Errno::NOMEM, Meaning::Shortage),
        ] {
            assert_eq!(meaning(&errno.into()), wanted, "{errno:?}");
        }
    }
}
