//! Servers over sockets: write a handler, choose a transport and an engine, serve.
//!
//! ```
//! use socketserver::{Connection, Error, RequestHandler, ThreadingTcpServer};
//! use std::io;
//!
//! struct Echo;
//!
//! impl RequestHandler for Echo {
//!     fn handle(&mut self, connection: &mut Connection) -> io::Result<()> {
//!         let (mut reader, mut writer) = connection.split();
//!         io::copy(&mut reader, &mut writer).map(drop)
//!     }
//! }
//!
//! fn main() -> Result<(), Error> {
//!     let mut server = ThreadingTcpServer::bind("127.0.0.1:0", || Echo)?;
//!     println!("listening on {}", server.local_address());
//! #   server.handle().shutdown();
//!     server.serve_forever().map(drop)
//! }
//! ```
//!
//! This is what Python's `socketserver` module is to Python.
//! It is synchronous: there is no `async` in it or underneath.
//!
//! # Two kinds of handler
//!
//! A [`RequestHandler`], as above, reads and writes, and waits where it must; it runs on every engine
//! but event loops.
//! A [`MessageHandler`] is given one whole message after another, as its [codec] cuts them out,
//! and never waits; it runs on every engine, and an idle connection of its costs neither a thread nor
//! a buffer on [`Reactor`] and [`Pool`].
//!
//! ```
//! use socketserver::codec::{Line, Lines};
//! use socketserver::{Error, MessageHandler, Next, Peer, ReactorTcpServer};
//! use std::io;
//!
//! struct Shout;
//!
//! impl MessageHandler for Shout {
//!     type Codec = Lines;
//!     fn handle(&mut self, line: Line<'_>, peer: &mut Peer<'_>) -> io::Result<Next> {
//!         peer.write(&line.raw().to_ascii_uppercase())?;
//!         Ok(Next::Continue)
//!     }
//! }
//!
//! fn main() -> Result<(), Error> {
//!     let mut server = ReactorTcpServer::bind("127.0.0.1:0", || Shout)?;
//! #   server.handle().shutdown();
//!     server.serve_forever().map(drop)
//! }
//! ```
//!
//! # Three things that never mix
//!
//! | transport: what is listened on | engine: who runs a request | handler: what is done with it |
//! |---|---|---|
//! | [`Tcp`] | [`Sequential`]: the thread that serves | [`RequestHandler`]: `setup`, `handle`, `finish` |
//! | [`Udp`] | [`Threading`]: a thread each | [`MessageHandler`]: the same, one message at a time |
//! | [`UnixStream`] | [`Forking`]: a child process each | |
//! | [`UnixDatagram`] | [`Pool`]: one of *n* threads | |
//! | | [`Reactor`]: one of *n* event loops | |
//!
//! [`Server<Transport, Engine>`](Server) joins them, and aliases name the pairs as Python does:
//! [`TcpServer`], [`ThreadingUnixStreamServer`], [`ReactorUdpServer`] and so on.
//! A [`Builder`] sets limits, hooks and whatever else there is to set; an engine can also be chosen at
//! run time, by one value.
//!
//! Beside them: a [`ServerHandle`] stops a server and looks into it from anywhere; an [`Outbox`] is
//! how others send to a connection, and a [`Broadcast`] a set of them; [`Limits`] has every bound;
//! [`Hooks`] are the steps that may be overridden; [`testing`] tests a handler without a network and a
//! timeout without waiting.
//!
//! # What holds
//!
//! A peer that misbehaves, and a handler that panics, cost one connection.
//! No queue, buffer or wait is without a bound.
//! Nothing that was written is lost by closing, and nobody in the queue is lost by a shutdown, which
//! takes effect at once, without polling.
//! The library prints nothing, reads no environment, and starts no thread and handles no signal unless
//! asked; it tells what happens as [`Event`]s and through `tracing`.
//! Handlers are isolated by catching panics, so a program built with `panic = "abort"` gives that up.
//!
//! Linux only, for now: it stands on epoll, eventfd and pidfd.
//!
//! # Features
//!
//! `uring`: event loops can be driven by `io_uring` ([`Driver::Uring`]); without it, and where the kernel
//! does not allow it, they are driven by epoll.

#![forbid(unsafe_code)]
// What only the ring uses is compiled without it, too, so that it cannot rot.
#![cfg_attr(not(feature = "uring"), allow(dead_code))]

mod address;
mod clock;
mod endpoint;
mod error;
mod limits;

mod socket;
mod wait;
mod wake;

mod telemetry;

mod live;

mod control;

pub mod transport;

pub mod codec;
mod outbox;
mod turn;

mod request;

pub mod engine;

mod broadcast;
mod handler;
mod hooks;

mod server;

pub mod testing;

#[cfg(doctest)]
mod guide;

pub use address::Address;
pub use broadcast::{Broadcast, Delivery, Membership};
pub use clock::Clock;
pub use control::ServerHandle;
pub use endpoint::{Endpoint, ParseEndpointError, Scheme};
pub use engine::{
    BlockingEngine, Driver, Engine, Forking, Place, Pool, Reactor, Sequential, SharedMemory, Task,
    Threading,
};
pub use error::{Error, Step, Stop};
pub use handler::{
    Factory, Handler, MessageHandler, Messages, Next, RequestHandler, Requests, RunsOn, handler_fn,
};
pub use hooks::{DefaultHooks, Hooks, Verdict};
pub use limits::Limits;
pub use live::{Activity, ConnectionInfo, DrainReport};
pub use outbox::{Outbox, Overflow, PushError};
pub use request::{
    Accepted, Connection, Datagram, Peer, Reader, ReaderLines, ReaderMessages, Resumer, Writer,
};
pub use server::*;
pub use telemetry::{Counters, EndReason, Event, Observer, Refusal};
pub use transport::{
    AnyDatagram, AnyStream, IntoAddress, Listener, Tcp, Transport, Udp, UnixDatagram, UnixStream,
};

/// Signals as a descriptor to [watch](Builder::watch).
pub mod signal {
    pub use socketserver_sys::signal::{HANG_UP, INTERRUPT, Signals, TERMINATE};
}
