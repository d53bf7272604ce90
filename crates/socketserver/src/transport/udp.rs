//! UDP over IPv4 and IPv6.

use std::io;
use std::net::ToSocketAddrs;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketType, sockopt};

use super::packet::PacketListener;
use super::tcp::inet_socket;
use super::{BoxListener, IntoAddress, Packet, Transport, inet_addresses, wrong_socket};
use crate::address::Address;
use crate::endpoint::Scheme;

/// UDP, with the options of its socket.
#[derive(Clone, Debug)]
pub struct Udp {
    reuse_address: bool,
    reuse_port: bool,
    dual_stack: bool,
    datagram_bytes: usize,
}

impl Default for Udp {
    fn default() -> Self {
        Self {
            reuse_address: false,
            reuse_port: false,
            dual_stack: false,
            datagram_bytes: 65_507,
        }
    }
}

impl Udp {
    /// Whether to set `SO_REUSEADDR`; default `false`, as for UDP it lets a second server take the
    /// port from the first (`socket(7)`).
    #[must_use]
    pub fn reuse_address(mut self, reuse: bool) -> Self {
        self.reuse_address = reuse;
        self
    }

    /// Whether several servers may listen on the port (`SO_REUSEPORT`); default `false`.
    #[must_use]
    pub fn reuse_port(mut self, reuse: bool) -> Self {
        self.reuse_port = reuse;
        self
    }

    /// Whether an IPv6 address serves IPv4 peers too; default `false`.
    #[must_use]
    pub fn dual_stack(mut self, dual_stack: bool) -> Self {
        self.dual_stack = dual_stack;
        self
    }

    /// Bytes of the largest datagram that is served; default 65 507, the largest that UDP has.
    ///
    /// A larger one is refused as [`Oversize`](crate::Refusal::Oversize) and never cut.
    #[must_use]
    pub fn datagram_bytes(mut self, bytes: usize) -> Self {
        self.datagram_bytes = bytes;
        self
    }
}

impl Transport for Udp {
    type Accepted = Packet;

    fn scheme(&self, _address: &Address) -> Scheme {
        Scheme::Udp
    }

    fn bind(&self, address: &Address) -> io::Result<BoxListener<Packet>> {
        let fd = inet_socket(address, SocketType::DGRAM, self.dual_stack)?;
        sockopt::set_socket_reuseaddr(&fd, self.reuse_address)?;
        if self.reuse_port {
            sockopt::set_socket_reuseport(&fd, true)?;
        }
        rustix::net::bind(&fd, &address.to_kernel()?)?;
        Ok(Box::new(PacketListener::new(
            fd,
            self.datagram_bytes,
            None,
        )?))
    }

    fn adopt(&self, socket: OwnedFd) -> io::Result<BoxListener<Packet>> {
        let inet = [AddressFamily::INET, AddressFamily::INET6];
        if !inet.contains(&sockopt::socket_domain(&socket)?)
            || sockopt::socket_type(&socket)? != SocketType::DGRAM
        {
            return Err(wrong_socket("a UDP socket"));
        }
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Box::new(PacketListener::new(
            socket,
            self.datagram_bytes,
            None,
        )?))
    }
}

impl<A: ToSocketAddrs> IntoAddress<Udp> for A {
    fn into_addresses(self) -> io::Result<Vec<Address>> {
        inet_addresses(self)
    }
}
