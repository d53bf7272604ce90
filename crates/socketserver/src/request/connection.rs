//! A connection, as a handler sees it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use super::close::Closing;
use super::reader::{Buffer, Reader};
use super::writer::Writer;
use crate::address::Address;
use crate::control::ServerHandle;
use crate::endpoint::Endpoint;
use crate::live::{Activity, Live, Ticket};
use crate::outbox::{Flusher, Outbox, Way};
use crate::socket::Socket;
use crate::telemetry::EndReason;
use crate::wait::Waiter;

/// An accepted connection: the request of a stream server.
///
/// Read and write through [`split`](Self::split), which lends both halves at once.
/// Every wait is bounded by the timeouts and ends at a shutdown: while the server drains, a read that
/// would wait sees the end of input instead.
///
/// After the handler is done, what was written reaches the peer before the connection closes.
#[derive(Debug)]
pub struct Connection {
    pub(super) socket: Arc<Socket>,
    pub(super) live: Arc<Live>,
    pub(super) waiter: Waiter,
    pub(super) buffer: Buffer,
    pub(super) timeouts: Timeouts,
    /// Whether the peer has ended its side.
    pub(super) peer_has_ended: bool,
    pub(super) outbox: Option<Outbox>,
    server: ServerHandle,
    flusher: FlusherSlot,
}

/// The timeouts of a connection, and what the kernel was told of them.
#[derive(Debug)]
pub(super) struct Timeouts {
    pub(super) idle: Option<Duration>,
    pub(super) read: Option<Duration>,
    pub(super) write: Option<Duration>,
    /// `SO_RCVTIMEO` and `SO_SNDTIMEO` as they are, for a blocking wait.
    pub(super) told_read: Option<Duration>,
    pub(super) told_write: Option<Duration>,
}

/// What a connection is made of.
pub(crate) struct Parts {
    pub(crate) socket: Arc<Socket>,
    pub(crate) live: Arc<Live>,
    pub(crate) waiter: Waiter,
    pub(crate) server: ServerHandle,
    pub(crate) flusher: Arc<dyn Flusher>,
    /// Whether the socket has the server's timeouts from its listener.
    pub(crate) has_timeouts: bool,
}

struct FlusherSlot(Arc<dyn Flusher>);

impl std::fmt::Debug for FlusherSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Flusher")
    }
}

impl Connection {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts {
            socket,
            live,
            waiter,
            server,
            flusher,
            has_timeouts,
        } = parts;
        let limits = server.limits();
        let (idle, read, write) = (
            limits.idle_timeout,
            limits.read_timeout,
            limits.write_timeout,
        );
        let (told_read, told_write) = if has_timeouts {
            (idle, write)
        } else {
            (None, None)
        };
        live.now(Activity::Busy);
        Self {
            socket,
            live,
            waiter,
            buffer: Buffer::default(),
            timeouts: Timeouts {
                idle,
                read,
                write,
                told_read,
                told_write,
            },
            peer_has_ended: false,
            outbox: None,
            server,
            flusher: FlusherSlot(flusher),
        }
    }

    /// Lends the two halves: Python's `rfile` and `wfile`.
    pub fn split(&mut self) -> (Reader<'_>, Writer<'_>) {
        let Self {
            socket,
            live,
            waiter,
            buffer,
            timeouts,
            peer_has_ended,
            outbox,
            server,
            ..
        } = self;
        let (socket, live, waiter) = (&**socket, &**live, &*waiter);
        let Timeouts {
            idle,
            read,
            write,
            told_read,
            told_write,
        } = timeouts;
        let reader = Reader {
            socket,
            live,
            waiter,
            buffer,
            idle: *idle,
            read: *read,
            told: told_read,
            peer_has_ended,
            server,
        };
        let writer = Writer {
            socket,
            live,
            waiter,
            timeout: *write,
            told: told_write,
            outbox: outbox.as_ref(),
            server,
        };
        (reader, writer)
    }

    /// Lends the reading half.
    pub fn reader(&mut self) -> Reader<'_> {
        self.split().0
    }

    /// Lends the writing half.
    pub fn writer(&mut self) -> Writer<'_> {
        self.split().1
    }

    /// A queue by which others send to this connection.
    ///
    /// From the first call on, what the handler writes goes in order with what others push, each
    /// message in one piece, and each write of up to 64 KiB.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`] in a forked child: nobody else could push to it.
    pub fn outbox(&mut self) -> io::Result<Outbox> {
        if socketserver_sys::fork::in_child() {
            let text = "a forked child shares no memory: nobody could push to its outbox";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        let outbox = self.outbox.get_or_insert_with(|| {
            let (socket, live) = (Arc::clone(&self.socket), Arc::clone(&self.live));
            Outbox::new(
                socket,
                live,
                Arc::clone(self.server.shared()),
                &self.flusher.0,
                Way::AtOnce,
            )
        });
        Ok(outbox.clone())
    }

    /// Who is at the other end (Python: `client_address`).
    pub fn peer(&self) -> &Address {
        &self.live.peer
    }

    /// Its number, unique in this server.
    pub fn id(&self) -> u64 {
        self.live.id
    }

    /// The endpoint that it came in by.
    pub fn endpoint(&self) -> &Endpoint {
        &self.live.endpoint
    }

    /// The server that accepted it.
    pub fn server(&self) -> &ServerHandle {
        &self.server
    }

    /// Whether the server is shutting down, so that this should come to an end.
    pub fn is_draining(&self) -> bool {
        self.live.is_drained()
    }

    /// Sets how long one read of this connection may wait; as
    /// [`Limits::idle_timeout`](crate::Limits#structfield.idle_timeout).
    pub fn set_idle_timeout(&mut self, timeout: Option<Duration>) {
        self.timeouts.idle = timeout;
    }

    /// Sets how long one line or message of this connection may take; as
    /// [`Limits::read_timeout`](crate::Limits#structfield.read_timeout).
    pub fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.timeouts.read = timeout;
    }

    /// Sets how long one write of this connection may wait; as
    /// [`Limits::write_timeout`](crate::Limits#structfield.write_timeout).
    pub fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.timeouts.write = timeout;
    }

    /// Ends the connection in good order once the handler, which said `outcome`, is done.
    pub(crate) fn close(self, ticket: Ticket) -> Closing {
        let Self {
            socket,
            outbox,
            peer_has_ended,
            ..
        } = self;
        Closing::new(socket, outbox, ticket, peer_has_ended)
    }
}

impl AsFd for Connection {
    /// The raw socket, in blocking mode; what is read or written here is not counted.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The error of a read or write that a cut has ended.
pub(crate) fn cut_error(reason: EndReason) -> io::Error {
    let kind = match reason {
        EndReason::IdleTimeout
        | EndReason::ReadTimeout
        | EndReason::RequestTimeout
        | EndReason::WriteTimeout => io::ErrorKind::TimedOut,
        _ => io::ErrorKind::ConnectionAborted,
    };
    io::Error::new(kind, reason.to_string())
}
