//! The connection to the server: a socket that never makes anybody wait.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType, connect, send,
    shutdown, socket_with, sockopt,
};
use socketserver::{Address, Endpoint};

/// After how much silence, and how often, a TCP peer is asked whether it is still there.
const KEEPALIVE_SECONDS: (u32, u32, u32) = (15, 5, 3);

/// A connection, or one in the making.
#[derive(Debug)]
pub(super) struct Link(OwnedFd);

impl Link {
    /// Begins to connect to `endpoint`, which is not one of datagrams.
    ///
    /// The socket is writable once that has succeeded or failed; [`outcome`](Self::outcome) tells.
    pub(super) fn open(endpoint: &Endpoint) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let open = |family| socket_with(family, SocketType::STREAM, flags, None);
        let (socket, begun) = match endpoint.address() {
            Address::Inet(address) => {
                let family = if address.is_ipv4() {
                    AddressFamily::INET
                } else {
                    AddressFamily::INET6
                };
                let socket = open(family)?;
                watch_over(&socket)?;
                let begun = connect(&socket, address);
                (socket, begun)
            }
            Address::Path(path) => {
                let socket = open(AddressFamily::UNIX)?;
                let begun = connect(&socket, &SocketAddrUnix::new(path)?);
                (socket, begun)
            }
            Address::Abstract(name) => {
                let socket = open(AddressFamily::UNIX)?;
                let begun = connect(&socket, &SocketAddrUnix::new_abstract_name(name)?);
                (socket, begun)
            }
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        match begun {
            Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(Self(socket)),
            Err(error) => Err(error.into()),
        }
    }

    /// What became of the connecting.
    pub(super) fn outcome(&self) -> io::Result<()> {
        Ok(sockopt::socket_error(&self.0)??)
    }

    /// Receives what is there; 0 is the end.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(&self.0, buffer)?)
    }

    /// Sends as much as the kernel takes.
    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(&self.0, bytes, SendFlags::NOSIGNAL)?)
    }

    /// Tells the server that no more comes.
    pub(super) fn end_sending(&self) {
        // If the connection is gone, the next receive tells.
        let _ = shutdown(&self.0, Shutdown::Write);
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Lets the kernel find out when the server's machine is gone, which sends no farewell.
fn watch_over(socket: &OwnedFd) -> rustix::io::Result<()> {
    let (idle, interval, count) = KEEPALIVE_SECONDS;
    let seconds = |seconds| std::time::Duration::from_secs(u64::from(seconds));
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, seconds(idle))?;
    sockopt::set_tcp_keepintvl(socket, seconds(interval))?;
    sockopt::set_tcp_keepcnt(socket, count)?;
    sockopt::set_tcp_user_timeout(socket, (idle + interval * count) * 1000)?;
    sockopt::set_tcp_nodelay(socket, true)
}
