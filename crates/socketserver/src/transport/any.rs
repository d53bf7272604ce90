//! The transport as a run-time value: an [`Endpoint`] says which.

use std::io;
use std::os::fd::OwnedFd;

use super::{
    BoxListener, IntoAddress, Packet, Stream, Tcp, Transport, Udp, UnixDatagram, UnixStream,
    wrong_endpoint,
};
use crate::address::Address;
use crate::endpoint::{Endpoint, Scheme};

/// TCP or Unix streams, as the endpoint says.
#[derive(Clone, Debug, Default)]
pub struct AnyStream {
    /// The options if it is TCP.
    pub tcp: Tcp,
    /// The options if it is a Unix socket.
    pub unix: UnixStream,
}

impl Transport for AnyStream {
    type Accepted = Stream;

    fn scheme(&self, address: &Address) -> Scheme {
        if address.inet().is_some() {
            Scheme::Tcp
        } else {
            Scheme::Unix
        }
    }

    fn bind(&self, address: &Address) -> io::Result<BoxListener<Stream>> {
        match self.scheme(address) {
            Scheme::Tcp => self.tcp.bind(address),
            _ => self.unix.bind(address),
        }
    }

    fn adopt(&self, socket: OwnedFd) -> io::Result<BoxListener<Stream>> {
        let copy = socket.try_clone()?;
        self.tcp.adopt(socket).or_else(|_| self.unix.adopt(copy))
    }
}

/// UDP or Unix datagrams, as the endpoint says.
#[derive(Clone, Debug, Default)]
pub struct AnyDatagram {
    /// The options if it is UDP.
    pub udp: Udp,
    /// The options if it is a Unix socket.
    pub unix: UnixDatagram,
}

impl Transport for AnyDatagram {
    type Accepted = Packet;

    fn scheme(&self, address: &Address) -> Scheme {
        if address.inet().is_some() {
            Scheme::Udp
        } else {
            Scheme::UnixDatagram
        }
    }

    fn bind(&self, address: &Address) -> io::Result<BoxListener<Packet>> {
        match self.scheme(address) {
            Scheme::Udp => self.udp.bind(address),
            _ => self.unix.bind(address),
        }
    }

    fn adopt(&self, socket: OwnedFd) -> io::Result<BoxListener<Packet>> {
        let copy = socket.try_clone()?;
        self.udp.adopt(socket).or_else(|_| self.unix.adopt(copy))
    }
}

impl IntoAddress<AnyStream> for &Endpoint {
    fn into_addresses(self) -> io::Result<Vec<Address>> {
        if self.scheme().is_datagram() {
            return Err(wrong_endpoint(self, "streams"));
        }
        Ok(vec![self.address().clone()])
    }
}

impl IntoAddress<AnyDatagram> for &Endpoint {
    fn into_addresses(self) -> io::Result<Vec<Address>> {
        if !self.scheme().is_datagram() {
            return Err(wrong_endpoint(self, "datagrams"));
        }
        Ok(vec![self.address().clone()])
    }
}
