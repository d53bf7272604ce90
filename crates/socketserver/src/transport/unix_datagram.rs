//! Unix datagram sockets.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::net::{AddressFamily, SocketType, sockopt};

use super::packet::PacketListener;
use super::{
    BoxListener, IntoAddress, Packet, Transport, socket_file, unix_addresses, wrong_socket,
};
use crate::address::Address;
use crate::endpoint::Scheme;

/// Unix datagram sockets, with the options of the server's.
///
/// Its socket file is treated as that of [`UnixStream`](super::UnixStream).
/// A peer that has not bound its socket has no address and cannot be answered.
#[derive(Clone, Debug)]
pub struct UnixDatagram {
    mode: Option<u32>,
    datagram_bytes: usize,
}

impl Default for UnixDatagram {
    fn default() -> Self {
        Self {
            mode: None,
            datagram_bytes: 65_536,
        }
    }
}

impl UnixDatagram {
    /// The permission bits of the socket file, lessened by the umask; default `None`, all bits.
    #[must_use]
    pub fn mode(mut self, mode: Option<u32>) -> Self {
        self.mode = mode;
        self
    }

    /// Bytes of the largest datagram that is served; default 65 536.
    ///
    /// A larger one is refused as [`Oversize`](crate::Refusal::Oversize) and never cut.
    #[must_use]
    pub fn datagram_bytes(mut self, bytes: usize) -> Self {
        self.datagram_bytes = bytes;
        self
    }
}

impl Transport for UnixDatagram {
    type Accepted = Packet;

    fn scheme(&self, _address: &Address) -> Scheme {
        Scheme::UnixDatagram
    }

    fn bind(&self, address: &Address) -> io::Result<BoxListener<Packet>> {
        let (fd, file) = socket_file::bind(address, SocketType::DGRAM, self.mode, |_| Ok(()))?;
        Ok(Box::new(PacketListener::new(
            fd,
            self.datagram_bytes,
            file,
        )?))
    }

    fn adopt(&self, socket: OwnedFd) -> io::Result<BoxListener<Packet>> {
        if sockopt::socket_domain(&socket)? != AddressFamily::UNIX
            || sockopt::socket_type(&socket)? != SocketType::DGRAM
        {
            return Err(wrong_socket("a Unix datagram socket"));
        }
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Box::new(PacketListener::new(
            socket,
            self.datagram_bytes,
            None,
        )?))
    }
}

impl<A: AsRef<Path>> IntoAddress<UnixDatagram> for A {
    fn into_addresses(self) -> io::Result<Vec<Address>> {
        unix_addresses(self.as_ref())
    }
}
