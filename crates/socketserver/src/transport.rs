//! Transports: what is listened on.
//!
//! A [`Transport`] makes a [`Listener`]; a listener yields [`Stream`]s or [`Packet`]s.
//! No transport knows of engines or handlers.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use crate::address::Address;
use crate::endpoint::{Endpoint, Scheme};
use crate::socket::Socket;

mod any;
mod packet;
mod socket_file;
mod tcp;
mod udp;
mod unix_datagram;
mod unix_stream;

pub use any::{AnyDatagram, AnyStream};
pub use packet::Packet;
pub(crate) use packet::ReplySocket;
pub use tcp::Tcp;
pub use udp::Udp;
pub use unix_datagram::UnixDatagram;
pub use unix_stream::UnixStream;

/// A kind of socket that a server can listen on.
///
/// [`Tcp`], [`Udp`], [`UnixStream`] and [`UnixDatagram`] are here; `testing::Memory` shows that one
/// can be written outside.
pub trait Transport: Clone + Send + Sync + 'static {
    /// What a listener yields: [`Stream`] or [`Packet`].
    type Accepted: 'static;

    /// The kind of endpoint at `address`.
    fn scheme(&self, address: &Address) -> Scheme;

    /// Makes a listener at `address`.
    ///
    /// # Errors
    ///
    /// The error of `socket(2)`, `bind(2)` or `listen(2)`.
    fn bind(&self, address: &Address) -> io::Result<BoxListener<Self::Accepted>>;

    /// Makes a listener of a socket that is bound (and, for streams, listening) already.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] if it is not a socket of this kind.
    fn adopt(&self, socket: OwnedFd) -> io::Result<BoxListener<Self::Accepted>>;
}

/// A listener of any type.
pub type BoxListener<A> = Box<dyn Listener<Accepted = A>>;

/// A bound socket that yields requests.
///
/// It can be wrapped, to look at what is accepted, to change it, or to fail on purpose.
pub trait Listener: Send + 'static {
    /// What it yields: [`Stream`] or [`Packet`].
    type Accepted;

    /// Takes the next request and its peer's address; never waits.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] if there is none; else the error of `accept(2)` or `recvmsg(2)`.
    fn accept(&mut self) -> io::Result<(Self::Accepted, Address)>;

    /// Takes requests, at least one and at most `at_most`, and appends them to `into`; never waits.
    /// Tells whether there may be another at once.
    ///
    /// The default takes one by [`accept`](Self::accept), so that a listener that wraps another sees
    /// each request there; one that knows better takes many by one system call.
    ///
    /// # Errors
    ///
    /// As [`accept`](Self::accept), if there is not even one.
    fn accept_many(
        &mut self,
        at_most: usize,
        into: &mut VecDeque<(Self::Accepted, Address)>,
    ) -> io::Result<bool> {
        let _ = at_most;
        into.push_back(self.accept()?);
        Ok(true)
    }

    /// Takes back what it has yielded, when it is of no more use, to use its memory again; the
    /// default drops it.
    fn take_back(&mut self, accepted: Self::Accepted) {
        drop(accepted);
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// The error of `getsockname(2)`.
    fn local_address(&self) -> io::Result<Address>;

    /// The descriptor that is readable when there may be a request.
    fn as_fd(&self) -> BorrowedFd<'_>;

    /// Lets nobody new into the queue, so that it can be emptied; nobody is reset.
    fn pause(&mut self) {}

    /// Undoes [`pause`](Self::pause).
    fn resume(&mut self) {}

    /// Lets nobody into the queue any more, for good: the listener is about to be closed.
    /// The default [pauses](Self::pause).
    fn retire(&mut self) {
        self.pause();
    }

    /// Whether others may hold the listening socket, too, so that its queue is not ours to turn away;
    /// default `false`.
    fn is_shared(&self) -> bool {
        false
    }

    /// Gives accepted connections their read and write timeouts, if it can do so without a system
    /// call for each; tells whether it did.
    fn set_timeouts(&mut self, read: Option<Duration>, write: Option<Duration>) -> bool {
        let _ = (read, write);
        false
    }
}

/// An accepted connection, before a request is made of it.
pub struct Stream {
    pub(crate) socket: Socket,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

impl From<OwnedFd> for Stream {
    /// Makes a stream of a connected stream socket in blocking mode.
    fn from(fd: OwnedFd) -> Self {
        Self {
            socket: Socket::new(fd),
        }
    }
}

impl From<std::net::TcpStream> for Stream {
    fn from(stream: std::net::TcpStream) -> Self {
        OwnedFd::from(stream).into()
    }
}

impl From<std::os::unix::net::UnixStream> for Stream {
    fn from(stream: std::os::unix::net::UnixStream) -> Self {
        OwnedFd::from(stream).into()
    }
}

/// What can name the place where a transport `T` listens.
///
/// For [`Tcp`] and [`Udp`] that is whatever [`ToSocketAddrs`](std::net::ToSocketAddrs) takes; of several
/// addresses the first that can be bound counts.
/// For the Unix transports it is a path, or a text beginning with `@` for Linux's abstract namespace.
/// For [`AnyStream`] and [`AnyDatagram`] it is an [`Endpoint`].
pub trait IntoAddress<T> {
    /// The addresses, in the order in which to try them.
    ///
    /// # Errors
    ///
    /// The error of the name lookup, or `InvalidInput` for what cannot be an address.
    fn into_addresses(self) -> io::Result<Vec<Address>>;
}

/// Looks an internet address up.
fn inet_addresses(address: impl std::net::ToSocketAddrs) -> io::Result<Vec<Address>> {
    let addresses: Vec<_> = address.to_socket_addrs()?.map(Address::Inet).collect();
    if addresses.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the name has no address",
        ));
    }
    Ok(addresses)
}

/// Makes a Unix address of a path, or of `@name`.
fn unix_addresses(path: &Path) -> io::Result<Vec<Address>> {
    use std::os::unix::ffi::OsStrExt;
    let bytes = path.as_os_str().as_bytes();
    if bytes.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a Unix socket needs a path or @name",
        ));
    }
    Ok(vec![match bytes.strip_prefix(b"@") {
        Some(name) => Address::Abstract(name.to_vec()),
        None => Address::Path(path.to_owned()),
    }])
}

/// Refuses an endpoint of the wrong kind.
fn wrong_endpoint(endpoint: &Endpoint, wanted: &str) -> io::Error {
    let text = format!("{endpoint} is not for {wanted}");
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// Refuses to adopt a socket of the wrong kind.
fn wrong_socket(wanted: &str) -> io::Error {
    let text = format!("the descriptor is not {wanted}");
    io::Error::new(io::ErrorKind::InvalidInput, text)
}
