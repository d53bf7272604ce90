//! The load: one thread, epoll, N connections in a closed loop, every byte of every reply checked.
//!
//! [`PingPong`] keeps its connections and sends the next message when the reply to the last one is
//! complete; [`churn()`] makes a new connection for each message.
//! Nothing here waits without a bound.

mod churn;
mod exchange;
mod ping_pong;

pub(crate) use churn::{CHURN_CONCURRENCY, churn};
pub(crate) use exchange::Reply;
pub(crate) use ping_pong::PingPong;

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use crate::failure::{Doing, Failure, Result};
use crate::histogram::Histogram;
use crate::statistics;

/// How long a server may be silent before the run is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many events one wait returns at most.
const EVENTS: usize = 1024;

/// How much load to make; whichever bound is met first ends it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// No message is sent later than this.
    pub(crate) time: Duration,
    /// No more messages are sent than this.
    pub(crate) messages: u64,
}

/// What came of a load.
pub(crate) struct Outcome {
    /// Replies received and found right; for churn, connections.
    pub(crate) messages: u64,
    /// From the first message sent to the last reply received.
    pub(crate) elapsed: Duration,
    /// Of each message, or of each connection from connect to reply.
    pub(crate) latency: Histogram,
}

impl Outcome {
    /// Messages per second.
    pub(crate) fn rate(&self) -> f64 {
        statistics::count(self.messages) / self.elapsed.as_secs_f64()
    }
}

/// An epoll instance whose registrations are numbers.
struct Poller {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Poller {
    fn new() -> Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)
                .doing(|| "create an epoll instance".into())?,
            events: Vec::with_capacity(EVENTS),
        })
    }

    fn add(&self, fd: impl AsFd, number: usize, flags: epoll::EventFlags) -> Result<()> {
        let data = epoll::EventData::new_u64(number as u64);
        epoll::add(&self.epoll, fd, data, flags).doing(|| "add a socket to epoll".into())
    }

    fn modify(&self, fd: impl AsFd, number: usize, flags: epoll::EventFlags) -> Result<()> {
        let data = epoll::EventData::new_u64(number as u64);
        epoll::modify(&self.epoll, fd, data, flags).doing(|| "modify a socket in epoll".into())
    }

    /// Waits for events and lends them as numbers; none if a signal came first.
    fn wait(&mut self) -> Result<impl Iterator<Item = (usize, epoll::EventFlags)>> {
        self.events.clear();
        let patience = Timespec::try_from(PATIENCE).doing(|| "convert a time".into())?;
        match epoll::wait(
            &self.epoll,
            spare_capacity(&mut self.events),
            Some(&patience),
        ) {
            Ok(0) => {
                return Err(Failure::new(format!(
                    "the server has been silent for {} s",
                    PATIENCE.as_secs()
                )));
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).doing(|| "wait for the server".into()),
        }
        // Every number was a `usize` when it was registered.
        Ok(self.events.iter().map(|event| {
            let number = event.data.u64();
            (usize::try_from(number).unwrap_or(usize::MAX), event.flags)
        }))
    }
}

/// The bounds of a load that is under way.
struct Budget {
    end: Instant,
    messages: u64,
}

impl Budget {
    fn of(span: Span, start: Instant) -> Self {
        Self {
            end: start + span.time,
            messages: span.messages,
        }
    }

    /// Takes leave to send `messages` at the moment `now`.
    fn take(&mut self, messages: u64, now: Instant) -> bool {
        let granted = now < self.end && messages <= self.messages;
        if granted {
            self.messages -= messages;
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::std_threads;
    use std::net::TcpListener;
    use std::thread;

    /// Serves `connections` connections with the bare loop while `load` runs.
    fn beside_the_bare_loop<T>(
        connections: usize,
        load: impl FnOnce(std::net::SocketAddr) -> T,
    ) -> T {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            std_threads::serve(listener.incoming().take(connections), false);
        });
        let result = load(address);
        server.join().unwrap();
        result
    }

    const BRIEF: Span = Span {
        time: Duration::from_secs(5),
        messages: 200,
    };

    #[test]
    fn ping_pong_gets_every_message_back_and_stops_at_its_bound() {
        let outcome = beside_the_bare_loop(4, |address| {
            let mut load = PingPong::connect(address, 4, 1, Reply::Same).unwrap();
            load.drive(BRIEF).unwrap()
        });
        assert_eq!(outcome.messages, 200);
        assert!(outcome.rate() > 0.0);
        assert!(outcome.latency.quantile(500).is_some());
    }

    #[test]
    fn pipelined_messages_are_counted_one_by_one() {
        let outcome = beside_the_bare_loop(2, |address| {
            let mut load = PingPong::connect(address, 2, 8, Reply::Same).unwrap();
            load.drive(BRIEF).unwrap()
        });
        assert_eq!(outcome.messages, 200);
    }

    #[test]
    fn churn_makes_a_connection_for_each_message() {
        let outcome = beside_the_bare_loop(200, |address| {
            churn(address, 10, BRIEF, Reply::Same).unwrap()
        });
        assert_eq!(outcome.messages, 200);
    }

    #[test]
    fn a_reply_without_its_address_is_an_error() {
        let error = beside_the_bare_loop(1, |address| {
            let mut load = PingPong::connect(address, 1, 1, Reply::Addressed).unwrap();
            load.drive(BRIEF).err().unwrap()
        });
        assert!(error.to_string().contains("reply"), "{error}");
    }
}
