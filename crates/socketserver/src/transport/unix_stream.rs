//! Unix stream sockets.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::net::{AddressFamily, SocketType, sockopt};

use super::socket_file::{self, SocketFile};
use super::tcp::{accept, is_listening};
use super::{BoxListener, IntoAddress, Listener, Stream, Transport, unix_addresses, wrong_socket};
use crate::address::Address;
use crate::endpoint::Scheme;

/// Unix stream sockets, with the options of the listening one.
///
/// At bind, a socket file on which nobody listens is replaced; one on which somebody does, and any
/// other file, is left alone and the address is in use.
/// At close the file is removed if it is still the server's own.
#[derive(Clone, Debug)]
pub struct UnixStream {
    backlog: i32,
    mode: Option<u32>,
}

impl Default for UnixStream {
    fn default() -> Self {
        Self {
            backlog: 1024,
            mode: None,
        }
    }
}

impl UnixStream {
    /// How many connections the kernel queues before they are accepted; default 1 024.
    ///
    /// The kernel lowers it to `net.core.somaxconn`. Beyond it a client waits in `connect(2)`, or
    /// gets `EAGAIN` if it would not wait.
    #[must_use]
    pub fn backlog(mut self, connections: u32) -> Self {
        self.backlog = i32::try_from(connections).unwrap_or(i32::MAX);
        self
    }

    /// The permission bits of the socket file, lessened by the umask; default `None`, all bits.
    ///
    /// Who may write to the file may connect.
    #[must_use]
    pub fn mode(mut self, mode: Option<u32>) -> Self {
        self.mode = mode;
        self
    }
}

impl Transport for UnixStream {
    type Accepted = Stream;

    fn scheme(&self, _address: &Address) -> Scheme {
        Scheme::Unix
    }

    fn bind(&self, address: &Address) -> io::Result<BoxListener<Stream>> {
        let listen = |fd: &OwnedFd| rustix::net::listen(fd, self.backlog);
        let (fd, file) = socket_file::bind(address, SocketType::STREAM, self.mode, listen)?;
        Ok(Box::new(UnixListener {
            fd,
            is_given: false,
            _file: file,
        }))
    }

    fn adopt(&self, socket: OwnedFd) -> io::Result<BoxListener<Stream>> {
        if sockopt::socket_domain(&socket)? != AddressFamily::UNIX || !is_listening(&socket)? {
            return Err(wrong_socket("a listening Unix stream socket"));
        }
        rustix::io::ioctl_fionbio(&socket, true)?;
        // Its file, if it has one, belongs to whoever made it.
        Ok(Box::new(UnixListener {
            fd: socket,
            is_given: true,
            _file: None,
        }))
    }
}

#[derive(Debug)]
struct UnixListener {
    /// Dropped before the socket: once that is closed its inode may be another's.
    _file: Option<SocketFile>,
    fd: OwnedFd,
    /// Whether others may hold the socket, too.
    is_given: bool,
}

impl Listener for UnixListener {
    type Accepted = Stream;

    fn accept(&mut self) -> io::Result<(Stream, Address)> {
        accept(&self.fd)
    }

    fn local_address(&self) -> io::Result<Address> {
        Ok(Address::from_kernel(&rustix::net::getsockname(&self.fd)?))
    }

    fn is_shared(&self) -> bool {
        self.is_given
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn retire(&mut self) {
        // Connecting is refused from now on, and who is in the queue can still be accepted.
        if !self.is_given {
            let _ = rustix::net::shutdown(&self.fd, rustix::net::Shutdown::Read);
        }
    }
}

impl<A: AsRef<Path>> IntoAddress<UnixStream> for A {
    fn into_addresses(self) -> io::Result<Vec<Address>> {
        unix_addresses(self.as_ref())
    }
}
