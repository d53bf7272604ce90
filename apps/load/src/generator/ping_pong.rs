//! Ping-pong: connections that stay, each sending anew when its reply is complete.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::ops::Range;
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

use super::exchange::{Exchange, Reply, Shape};
use super::{Budget, Outcome, PATIENCE, Poller, Span};
use crate::failure::{Doing, Failure, Result};
use crate::histogram::Histogram;

/// Large, so that a bulk message is not read in many pieces.
const BUFFER_BYTES: usize = 256 * 1024;
/// How many connections are opened before the server is waited for: fewer than the backlog of any
/// server here, 128 for the standard library's, since a SYN that finds it full is lost for a second.
const OPENED_TOGETHER: usize = 64;
/// How long a connection may take to be made.
const CONNECT_BOUND: Duration = Duration::from_secs(5);
/// Connections whose port the kernel chooses.
const CHOSEN_BY_THE_KERNEL: usize = 12_000;
/// Where the others come from; below the ports that the kernel chooses.
const SECOND_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const FIRST_OWN_PORT: u16 = 20_000;

/// Connections to one server, idle between two calls of [`PingPong::drive`].
pub(crate) struct PingPong {
    poller: Poller,
    clients: Vec<Client>,
    /// Of so many neighbours one is driven.
    stride: usize,
    pipeline: u64,
    buffer: Vec<u8>,
}

struct Client {
    stream: TcpStream,
    exchange: Exchange,
    began: Instant,
    waits_to_write: bool,
}

impl PingPong {
    /// Opens `connections` connections, of which `active` will be driven, and has each answered once.
    pub(crate) fn connect(
        server: SocketAddr,
        (connections, active): (usize, usize),
        shape: Shape,
        reply: Reply,
    ) -> Result<Self> {
        let mut load = Self {
            poller: Poller::new()?,
            clients: Vec::with_capacity(connections),
            stride: 1,
            pipeline: shape.pipeline as u64,
            buffer: vec![0; BUFFER_BYTES],
        };
        for number in 0..connections {
            let client = Client::connect(server, number, shape, reply)
                .doing(|| format!("open connection {} of {connections}", number + 1))?;
            load.poller.add(&client.stream, number, EventFlags::IN)?;
            load.clients.push(client);
            let opened = number + 1;
            if opened.is_multiple_of(OPENED_TOGETHER) || opened == connections {
                // Connections are accepted in order: once the last is answered, all before it are out
                // of the backlog.
                load.answer_once(opened - 1 - (opened - 1) % OPENED_TOGETHER..opened)?;
            }
        }
        load.stride = (connections / active.max(1)).max(1);
        Ok(load)
    }

    fn answer_once(&mut self, chosen: Range<usize>) -> Result<()> {
        let span = Span {
            time: PATIENCE,
            messages: self.pipeline * chosen.len() as u64,
        };
        self.drive_some(chosen, span).map(drop)
    }

    /// Sends and receives on the active connections until `span` is used up and every reply has come.
    pub(crate) fn drive(&mut self, span: Span) -> Result<Outcome> {
        self.drive_some((0..self.clients.len()).step_by(self.stride), span)
    }

    fn drive_some(&mut self, chosen: impl Iterator<Item = usize>, span: Span) -> Result<Outcome> {
        let start = Instant::now();
        let mut budget = Budget::of(span, start);
        let give_up = start + span.time + PATIENCE;
        let mut turn = Turn {
            messages: 0,
            in_flight: 0,
            latency: Histogram::new(),
        };
        for number in chosen {
            let client = &mut self.clients[number];
            if budget.take(self.pipeline, Instant::now()) {
                client.begin(number, &self.poller)?;
                turn.in_flight += 1;
            }
        }
        let mut ready = Vec::new();
        while turn.in_flight > 0 {
            ready.clear();
            ready.extend(self.poller.wait()?);
            for &(number, flags) in &ready {
                self.advance(number, flags, &mut turn, &mut budget)?;
            }
            if Instant::now() > give_up {
                return Err(Failure::new(format!(
                    "{} of {} connections still waited for a reply {} s after the end",
                    turn.in_flight,
                    self.clients.len(),
                    PATIENCE.as_secs()
                )));
            }
        }
        Ok(Outcome {
            messages: turn.messages,
            lost: 0,
            elapsed: start.elapsed(),
            latency: turn.latency,
        })
    }

    /// Lets one client go on with what its socket is ready for.
    fn advance(
        &mut self,
        number: usize,
        flags: EventFlags,
        turn: &mut Turn,
        budget: &mut Budget,
    ) -> Result<()> {
        let client = &mut self.clients[number];
        if client.waits_to_write && flags.contains(EventFlags::OUT) {
            client.send(number, &self.poller)?;
        }
        let asks_to_read = EventFlags::IN | EventFlags::HUP | EventFlags::ERR;
        if !flags.intersects(asks_to_read)
            || !client.exchange.receive(&client.stream, &mut self.buffer)?
        {
            return Ok(());
        }
        let now = Instant::now();
        turn.latency.record(now - client.began);
        turn.messages += self.pipeline;
        if budget.take(self.pipeline, now) {
            client.begin(number, &self.poller)
        } else {
            turn.in_flight -= 1;
            Ok(())
        }
    }
}

/// What a drive has seen so far.
struct Turn {
    messages: u64,
    in_flight: usize,
    latency: Histogram,
}

impl Client {
    fn connect(
        server: SocketAddr,
        number: usize,
        shape: Shape,
        reply: Reply,
    ) -> std::io::Result<Self> {
        let stream = match own_port(server, number) {
            Some(address) => connect_from(address, server)?,
            None => TcpStream::connect_timeout(&server, CONNECT_BOUND)?,
        };
        // Without this a pipeline would be measured with Nagle's delay in it.
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let exchange = Exchange::new(shape, reply, stream.local_addr()?);
        Ok(Self {
            stream,
            exchange,
            began: Instant::now(),
            waits_to_write: false,
        })
    }

    fn begin(&mut self, number: usize, poller: &Poller) -> Result<()> {
        self.exchange.begin();
        self.began = Instant::now();
        self.send(number, poller)
    }

    fn send(&mut self, number: usize, poller: &Poller) -> Result<()> {
        let waits = !self.exchange.send(&self.stream)?;
        if waits != self.waits_to_write {
            self.waits_to_write = waits;
            let flags = if waits {
                EventFlags::IN | EventFlags::OUT
            } else {
                EventFlags::IN
            };
            poller.modify(&self.stream, number, flags)?;
        }
        Ok(())
    }
}

/// The address that connection `number` comes from, if it is not the kernel that chooses a port.
///
/// The kernel looks for a port that is free, and after the first 14,000 it looks for long: the later
/// connections come from a second address of this machine, each from a port that is known to be free.
fn own_port(server: SocketAddr, number: usize) -> Option<SocketAddr> {
    let port = u16::try_from(number.checked_sub(CHOSEN_BY_THE_KERNEL)?).ok()?;
    let port = FIRST_OWN_PORT.checked_add(port)?;
    let is_local = server.ip() == Ipv4Addr::LOCALHOST;
    is_local.then_some(SocketAddr::from((SECOND_ADDRESS, port)))
}

fn connect_from(address: SocketAddr, server: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // The same port may be in TIME-WAIT to another server.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_timeout(&socket, Timeout::Send, Some(CONNECT_BOUND))?;
    bind(&socket, &address)?;
    connect(&socket, &server)?;
    Ok(TcpStream::from(socket))
}
