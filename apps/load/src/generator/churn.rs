//! Churn: for each message connect, send it, check its reply, close.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

use super::exchange::{Exchange, ONE_SMALL, Reply};
use super::{Budget, Outcome, PATIENCE, Poller, Span};
use crate::failure::{Doing, Failure, Result};
use crate::histogram::Histogram;

/// How many connections are under way at a time in the report.
pub(crate) const CHURN_CONCURRENCY: usize = 50;

const BUFFER_BYTES: usize = 4 * 1024;

/// A connection under way, from its connect to its reply.
struct Visit {
    stream: TcpStream,
    began: Instant,
    /// Present once the connection is made and the message has been sent.
    exchange: Option<Exchange>,
}

/// Makes connections, `concurrency` at a time, until `span` is used up and all are closed.
///
/// The client closes first, as most do, so that the server ends in the ordinary way.
pub(crate) fn churn(
    server: SocketAddr,
    concurrency: usize,
    span: Span,
    reply: Reply,
) -> Result<Outcome> {
    let mut poller = Poller::new()?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut latency = Histogram::new();
    let start = Instant::now();
    let give_up = start + span.time + PATIENCE;
    let mut budget = Budget::of(span, start);
    let (mut connections, mut under_way) = (0, 0_usize);
    let mut visits: Vec<Option<Visit>> = Vec::with_capacity(concurrency);
    for place in 0..concurrency {
        visits.push(next_visit(&poller, place, server, &mut budget)?);
        under_way += usize::from(visits[place].is_some());
    }
    let mut ready = Vec::new();
    while under_way > 0 {
        ready.clear();
        ready.extend(poller.wait()?);
        for &(place, _) in &ready {
            let Some(visit) = &mut visits[place] else {
                continue;
            };
            if !visit.advance(&poller, place, reply, &mut buffer)? {
                continue;
            }
            latency.record(visit.began.elapsed());
            connections += 1;
            // Assigning closes the connection that was here.
            visits[place] = None;
            visits[place] = next_visit(&poller, place, server, &mut budget)?;
            under_way -= usize::from(visits[place].is_none());
        }
        if Instant::now() > give_up {
            return Err(Failure::new(format!(
                "{under_way} connections were still without a reply {} s after the end",
                PATIENCE.as_secs()
            )));
        }
    }
    Ok(Outcome {
        messages: connections,
        lost: 0,
        elapsed: start.elapsed(),
        latency,
    })
}

/// Begins a connection if the budget allows one more.
fn next_visit(
    poller: &Poller,
    place: usize,
    server: SocketAddr,
    budget: &mut Budget,
) -> Result<Option<Visit>> {
    let began = Instant::now();
    if !budget.take(1, began) {
        return Ok(None);
    }
    let stream =
        TcpStream::from(begin_connecting(server).doing(|| format!("connect to {server}"))?);
    poller.add(&stream, place, EventFlags::OUT)?;
    Ok(Some(Visit {
        stream,
        began,
        exchange: None,
    }))
}

/// Starts a connect that does not wait; the socket is writable when it is made.
fn begin_connecting(server: SocketAddr) -> io::Result<OwnedFd> {
    let family = if server.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    match connect(&socket, &server) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

impl Visit {
    /// Goes on with what the socket is ready for; tells whether the reply is complete.
    fn advance(
        &mut self,
        poller: &Poller,
        place: usize,
        reply: Reply,
        buffer: &mut [u8],
    ) -> Result<bool> {
        if let Some(exchange) = &mut self.exchange {
            return exchange.receive(&self.stream, buffer);
        }
        let refused = self
            .stream
            .take_error()
            .and_then(|error| error.map_or(Ok(()), Err));
        refused.doing(|| "make a connection".into())?;
        let local = self
            .stream
            .local_addr()
            .doing(|| "tell a local address".into())?;
        let mut exchange = Exchange::new(ONE_SMALL, reply, local);
        exchange.begin();
        // The send buffer of a new socket holds far more than one message.
        if !exchange.send(&self.stream)? {
            return Err(Failure::new("a new connection did not take one message"));
        }
        poller.modify(&self.stream, place, EventFlags::IN)?;
        self.exchange = Some(exchange);
        Ok(false)
    }
}
