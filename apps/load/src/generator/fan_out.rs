//! Fan-out: one member speaks, every member receives, and a message is done when the last has it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;

use super::member::{Expected, Member, Wire};
use super::{Outcome, PATIENCE, Poller, Span};
use crate::failure::{Doing, Failure, Result};
use crate::histogram::Histogram;

const BUFFER_BYTES: usize = 64 * 1024;
/// A server that has not delivered for so long will not deliver to those who have nothing yet.
const SILENCE: Duration = Duration::from_millis(50);
/// How often a message is sent for those who had not joined when the last was.
const ATTEMPTS: usize = 40;
/// Of messages that may be compared with; more than are ever under way.
const SLOTS: usize = 64;

/// The members of one fan-out, idle between two calls of [`FanOut::drive`].
pub(crate) struct FanOut {
    poller: Poller,
    members: Vec<Member>,
    expected: Expected,
    wire: Wire,
    /// The number of the next message.
    sequence: u64,
    buffer: Vec<u8>,
}

/// Messages under way: the oldest first, with how many members lack them and when they were sent.
struct UnderWay {
    missing: Vec<usize>,
    began: Vec<Instant>,
    oldest: u64,
}

impl FanOut {
    /// Joins `count` members, `together` at a time, and makes sure that each receives.
    pub(crate) fn connect(
        server: SocketAddr,
        wire: Wire,
        count: usize,
        together: usize,
    ) -> Result<Self> {
        let mut load = Self {
            poller: Poller::new()?,
            members: Vec::with_capacity(count),
            expected: Expected::new(wire, SLOTS),
            wire,
            sequence: 0,
            buffer: vec![0; BUFFER_BYTES],
        };
        for place in 0..count {
            let member = Member::connect(server, wire)
                .doing(|| format!("join member {} of {count}", place + 1))?;
            load.poller.add(&member.stream, place, EventFlags::IN)?;
            load.members.push(member);
            if (place + 1).is_multiple_of(together) || place + 1 == count {
                load.synchronise()?;
            }
        }
        Ok(load)
    }

    /// Has a message reach every member.
    ///
    /// The last member sends it: it is heard only when it is one, and so are then those before it.
    fn synchronise(&mut self) -> Result<()> {
        let last = self.members.len() - 1;
        for _ in 0..ATTEMPTS {
            let mut bytes = self.next_message();
            self.members[last].send(&mut bytes)?;
            while !self.poller.wait_for(SILENCE)? {
                for (place, _) in self.poller.ready() {
                    self.members[place].receive(&self.expected, &mut self.buffer, |_| ())?;
                }
                if self.all_have_all() {
                    return Ok(());
                }
            }
        }
        Err(Failure::new(format!(
            "{ATTEMPTS} messages did not reach every one of {} members",
            self.members.len()
        )))
    }

    fn all_have_all(&self) -> bool {
        let next = Some(self.sequence);
        self.members.iter().all(|member| member.next == next)
    }

    /// Makes the next message and expects it everywhere.
    fn next_message(&mut self) -> Vec<u8> {
        let sequence = self.sequence;
        self.expected.put(sequence);
        self.sequence += 1;
        self.wire.published(sequence)
    }

    /// Sends, `window` messages being under way, until the time of `span` is over and all have all.
    pub(crate) fn drive(&mut self, window: u64, span: Span) -> Result<Outcome> {
        let start = Instant::now();
        let give_up = start + span.time + PATIENCE;
        let first = self.sequence;
        let mut under_way = UnderWay {
            missing: vec![0; SLOTS],
            began: vec![start; SLOTS],
            oldest: first,
        };
        let mut latency = Histogram::new();
        let mut outgoing = Vec::new();
        let mut now = start;
        loop {
            while now < start + span.time && self.sequence < under_way.oldest + window {
                let slot = self.expected.slot(self.sequence);
                under_way.missing[slot] = self.members.len();
                under_way.began[slot] = now;
                outgoing.extend(self.next_message());
            }
            self.members[0].send(&mut outgoing)?;
            if under_way.oldest == self.sequence {
                break;
            }
            if self.poller.wait_for(PATIENCE)? || now > give_up {
                return Err(Failure::new("the server has stopped delivering"));
            }
            self.receive(&mut under_way)?;
            now = Instant::now();
            while under_way.oldest < self.sequence {
                let slot = self.expected.slot(under_way.oldest);
                if under_way.missing[slot] > 0 {
                    break;
                }
                latency.record(now - under_way.began[slot]);
                under_way.oldest += 1;
            }
        }
        Ok(Outcome {
            messages: (self.sequence - first) * self.members.len() as u64,
            lost: 0,
            elapsed: start.elapsed(),
            latency,
        })
    }

    fn receive(&mut self, under_way: &mut UnderWay) -> Result<()> {
        for (place, _) in self.poller.ready() {
            let missing = &mut under_way.missing;
            self.members[place].receive(&self.expected, &mut self.buffer, |slot| {
                missing[slot] -= 1;
            })?;
        }
        Ok(())
    }
}
