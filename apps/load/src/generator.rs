//! The load: one thread, epoll, N connections in a closed loop, every byte of every reply checked.
//!
//! [`PingPong`] keeps its connections and sends the next message when the reply to the last one is
//! complete; [`churn()`] makes a new connection for each message; [`Datagrams`] does without
//! connections; [`FanOut`] has one member speak and all listen.
//! Nothing here waits without a bound.

mod churn;
mod datagrams;
mod exchange;
mod fan_out;
mod member;
mod ping_pong;

pub(crate) use churn::{CHURN_CONCURRENCY, churn};
pub(crate) use datagrams::Datagrams;
pub(crate) use exchange::{ONE_SMALL, Reply, Shape};
pub(crate) use fan_out::FanOut;
pub(crate) use member::Wire;
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
    /// Replies received and found right; for churn, connections; for fan-out, deliveries.
    pub(crate) messages: u64,
    /// Datagrams that were sent and not answered in time.
    pub(crate) lost: u64,
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
    ///
    /// # Errors
    ///
    /// Fails if the server is silent for longer than anybody would wait.
    fn wait(&mut self) -> Result<impl Iterator<Item = (usize, epoll::EventFlags)>> {
        if self.wait_for(PATIENCE)? {
            return Err(Failure::new(format!(
                "the server has been silent for {} s",
                PATIENCE.as_secs()
            )));
        }
        Ok(self.ready())
    }

    /// Waits for events, which [`Self::ready`] lends then; tells whether the time ran out.
    fn wait_for(&mut self, time: Duration) -> Result<bool> {
        self.events.clear();
        let timeout = Timespec::try_from(time).doing(|| "convert a time".into())?;
        let events = spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, events, Some(&timeout)) {
            Ok(count) => Ok(count == 0),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error).doing(|| "wait for the server".into()),
        }
    }

    /// The events of the last wait.
    fn ready(&self) -> impl Iterator<Item = (usize, epoll::EventFlags)> {
        // Every number was a `usize` when it was registered.
        self.events.iter().map(|event| {
            let number = event.data.u64();
            (usize::try_from(number).unwrap_or(usize::MAX), event.flags)
        })
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
    use crate::peers::std_threads::{self, Work};
    use std::net::{TcpListener, UdpSocket};
    use std::thread;

    /// Serves `connections` connections with the bare loop while `load` runs.
    fn beside_the_bare_loop<T>(
        connections: usize,
        work: Work,
        load: impl FnOnce(std::net::SocketAddr) -> T,
    ) -> T {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            std_threads::serve(listener.incoming().take(connections), work);
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
        let outcome = beside_the_bare_loop(4, Work::Echo, |address| {
            let mut load = PingPong::connect(address, (4, 4), ONE_SMALL, Reply::Same).unwrap();
            load.drive(BRIEF).unwrap()
        });
        assert_eq!(outcome.messages, 200);
        assert!(outcome.rate() > 0.0);
        assert!(outcome.latency.quantile(500).is_some());
    }

    #[test]
    fn pipelined_messages_are_counted_one_by_one() {
        let shape = Shape {
            message_bytes: 100,
            pipeline: 8,
        };
        for work in [Work::Echo, Work::Lines] {
            let outcome = beside_the_bare_loop(2, work, |address| {
                let mut load = PingPong::connect(address, (2, 2), shape, Reply::Same).unwrap();
                load.drive(BRIEF).unwrap()
            });
            assert_eq!(outcome.messages, 200);
        }
    }

    #[test]
    fn large_messages_come_back_whole_while_others_are_idle() {
        let shape = Shape {
            message_bytes: 300_000,
            pipeline: 1,
        };
        let outcome = beside_the_bare_loop(6, Work::Echo, |address| {
            let mut load = PingPong::connect(address, (6, 2), shape, Reply::Same).unwrap();
            load.drive(BRIEF).unwrap()
        });
        assert_eq!(outcome.messages, 200);
    }

    #[test]
    fn churn_makes_a_connection_for_each_message() {
        let outcome = beside_the_bare_loop(200, Work::Echo, |address| {
            churn(address, 10, BRIEF, Reply::Same).unwrap()
        });
        assert_eq!(outcome.messages, 200);
    }

    #[test]
    fn every_member_of_a_fan_out_gets_every_message() {
        let span = Span {
            time: Duration::from_millis(50),
            messages: u64::MAX,
        };
        let outcome = beside_the_bare_loop(7, Work::Fanout, |address| {
            let mut load = FanOut::connect(address, Wire::Lines, 7, 3).unwrap();
            load.drive(16, span).unwrap()
        });
        assert!(outcome.messages > 0 && outcome.messages.is_multiple_of(7));
        assert!(outcome.latency.quantile(990).is_some());
    }

    #[test]
    fn a_server_that_tells_only_its_sender_is_no_fan_out() {
        let error = beside_the_bare_loop(2, Work::Lines, |address| {
            FanOut::connect(address, Wire::Lines, 2, 2).err().unwrap()
        });
        assert!(error.to_string().contains("did not reach"), "{error}");
    }

    #[test]
    fn datagrams_that_are_not_answered_are_lost_and_the_others_counted() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let bounded = Some(Duration::from_secs(5));
        server.set_read_timeout(bounded).unwrap();
        // Answers every datagram but the first.
        let answering = thread::spawn(move || {
            let mut buffer = [0; 100];
            for number in 0..20 {
                let (bytes, peer) = server.recv_from(&mut buffer).unwrap();
                if number > 0 {
                    server.send_to(&buffer[..bytes], peer).unwrap();
                }
            }
        });
        let mut load = Datagrams::connect(address, 2).unwrap();
        let span = Span {
            time: Duration::from_secs(5),
            messages: 20,
        };
        let outcome = load.drive(span).unwrap();
        answering.join().unwrap();
        assert_eq!((outcome.messages, outcome.lost), (19, 1));
    }

    #[test]
    fn a_reply_without_its_address_is_an_error() {
        let error = beside_the_bare_loop(1, Work::Echo, |address| {
            PingPong::connect(address, (1, 1), ONE_SMALL, Reply::Addressed)
                .err()
                .unwrap()
        });
        assert!(error.to_string().contains("reply"), "{error}");
    }
}
