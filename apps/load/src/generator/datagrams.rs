//! Datagrams: sockets that each have one under way, and tolerate that some are lost.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;

use super::exchange::{blank_message, number, number_of};
use super::{Budget, Outcome, PATIENCE, Poller, Span};
use crate::failure::{Doing, Failure, Result};
use crate::histogram::Histogram;

/// A datagram that is not answered by then is lost, and the next one is sent.
const LOST_AFTER: Duration = Duration::from_millis(200);
/// How often it is looked for lost ones while none comes.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const DATAGRAM_BYTES: usize = 64;

/// Sockets for one server, idle between two calls of [`Datagrams::drive`].
pub(crate) struct Datagrams {
    poller: Poller,
    clients: Vec<Client>,
}

struct Client {
    socket: UdpSocket,
    message: Vec<u8>,
    sequence: u64,
    began: Instant,
    is_waiting: bool,
}

/// What a drive has seen so far.
struct Seen {
    answered: u64,
    lost: u64,
    waiting: usize,
    latency: Histogram,
}

impl Datagrams {
    /// Makes `sockets` sockets; the server's queue must hold as many datagrams.
    pub(crate) fn connect(server: SocketAddr, sockets: usize) -> Result<Self> {
        let mut load = Self {
            poller: Poller::new()?,
            clients: Vec::with_capacity(sockets),
        };
        for place in 0..sockets {
            let client = Client::connect(server).doing(|| "make a datagram socket".into())?;
            load.poller.add(&client.socket, place, EventFlags::IN)?;
            load.clients.push(client);
        }
        Ok(load)
    }

    /// Sends and receives until `span` is used up and every datagram was answered or is lost.
    ///
    /// # Errors
    ///
    /// Fails at a wrong answer, and if more than one in a hundred is lost.
    pub(crate) fn drive(&mut self, span: Span) -> Result<Outcome> {
        let start = Instant::now();
        let give_up = start + span.time + PATIENCE;
        let mut budget = Budget::of(span, start);
        let mut seen = Seen {
            answered: 0,
            lost: 0,
            waiting: 0,
            latency: Histogram::new(),
        };
        for client in &mut self.clients {
            client.send_next(&mut budget, &mut seen, start)?;
        }
        let mut looked = start;
        while seen.waiting > 0 {
            self.poller.wait_for(LOOK_EVERY)?;
            for (place, _) in self.poller.ready() {
                self.clients[place].receive(&mut budget, &mut seen)?;
            }
            let now = Instant::now();
            if now > looked + LOOK_EVERY {
                looked = now;
                for client in &mut self.clients {
                    client.give_up_if_late(&mut budget, &mut seen, now)?;
                }
            }
            if now > give_up || seen.lost > 100 + seen.answered / 100 {
                return Err(Failure::new(format!(
                    "{} datagrams were lost, and {} answered",
                    seen.lost, seen.answered
                )));
            }
        }
        Ok(Outcome {
            messages: seen.answered,
            lost: seen.lost,
            elapsed: start.elapsed(),
            latency: seen.latency,
        })
    }
}

impl Client {
    fn connect(server: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(server)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            message: blank_message(DATAGRAM_BYTES),
            sequence: 0,
            began: Instant::now(),
            is_waiting: false,
        })
    }

    fn send_next(&mut self, budget: &mut Budget, seen: &mut Seen, now: Instant) -> Result<()> {
        if !budget.take(1, now) {
            return Ok(());
        }
        self.sequence += 1;
        number(&mut self.message, self.sequence);
        self.began = now;
        self.is_waiting = true;
        seen.waiting += 1;
        match self.socket.send(&self.message) {
            Ok(_) => Ok(()),
            // As good as lost.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error).doing(|| "send a datagram".into()),
        }
    }

    fn receive(&mut self, budget: &mut Budget, seen: &mut Seen) -> Result<()> {
        let mut buffer = [0; 2 * DATAGRAM_BYTES];
        let bytes = match self.socket.recv(&mut buffer) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).doing(|| "receive a datagram".into()),
        };
        let came = &buffer[..bytes];
        if !self.is_waiting || came != self.message {
            let is_late = number_of(came).is_some_and(|number| number < self.sequence);
            if is_late || !self.is_waiting {
                // The answer to one that had been given up.
                return Ok(());
            }
            let text = String::from_utf8_lossy(came);
            return Err(Failure::new(format!("the answer is wrong: {text:?}")));
        }
        let now = Instant::now();
        seen.latency.record(now - self.began);
        seen.answered += 1;
        self.end(seen);
        self.send_next(budget, seen, now)
    }

    fn give_up_if_late(
        &mut self,
        budget: &mut Budget,
        seen: &mut Seen,
        now: Instant,
    ) -> Result<()> {
        if !self.is_waiting || now < self.began + LOST_AFTER {
            return Ok(());
        }
        seen.lost += 1;
        self.end(seen);
        self.send_next(budget, seen, now)
    }

    fn end(&mut self, seen: &mut Seen) {
        self.is_waiting = false;
        seen.waiting -= 1;
    }
}
