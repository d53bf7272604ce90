//! Datagrams as they come in, and the socket by which they are answered.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, PoisonError, RwLock};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketAddrAny};
use socketserver_sys::datagrams::{Inbound, RECEIVED_AT_ONCE, Received};

use super::Listener;
use super::socket_file::SocketFile;
use crate::address::Address;

/// A datagram, before a request is made of it.
pub struct Packet {
    pub(crate) payload: Vec<u8>,
    /// How long it was when it was sent; more than the payload if it did not fit.
    pub(crate) length: usize,
    pub(crate) socket: Arc<ReplySocket>,
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packet")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// The socket by which datagrams are answered; it closes with its listener, whoever holds it.
#[derive(Debug)]
pub(crate) struct ReplySocket(RwLock<Option<Arc<OwnedFd>>>);

impl ReplySocket {
    /// Sends without waiting.
    pub(crate) fn send(&self, payload: &[u8], peer: &Address) -> io::Result<()> {
        let peer = Self::destination(peer)?;
        let fd = self.open()?;
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        loop {
            match rustix::net::sendto(&fd, payload, flags, &peer) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The address by which `peer` can be answered.
    pub(crate) fn destination(peer: &Address) -> io::Result<SocketAddrAny> {
        if *peer == Address::Unnamed {
            let text = "the peer has no address to answer: its socket is not bound";
            return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, text));
        }
        Ok(peer.to_kernel()?)
    }

    /// The socket, which stays open as long as it is held.
    pub(crate) fn open(&self) -> io::Result<Arc<OwnedFd>> {
        self.get()
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "the server is closed"))
    }

    /// Calls `look` with the socket; `None` once it is closed.
    pub(crate) fn with<T>(&self, look: impl FnOnce(BorrowedFd<'_>) -> T) -> Option<T> {
        self.get().map(|fd| look(fd.as_fd()))
    }

    /// The socket, for the length of a call; the lock is not held, so that closing waits for nobody.
    fn get(&self) -> Option<Arc<OwnedFd>> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn close(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// A bound datagram socket.
pub(super) struct PacketListener {
    /// Dropped before the socket: once that is closed its inode may be another's.
    _file: Option<SocketFile>,
    fd: OwnedFd,
    reply: Arc<ReplySocket>,
    /// One byte larger than the largest datagram, so that a larger one shows.
    buffer: Vec<u8>,
    /// What receives many at once.
    inbound: Inbound,
    /// Shares in `reply` that were given back: to take one of them costs less than to make one.
    replies: Vec<Arc<ReplySocket>>,
}

impl PacketListener {
    pub(super) fn new(
        fd: OwnedFd,
        datagram_bytes: usize,
        file: Option<SocketFile>,
    ) -> io::Result<Self> {
        let reply = Arc::new(ReplySocket(RwLock::new(Some(Arc::new(fd.try_clone()?)))));
        Ok(Self {
            fd,
            reply,
            buffer: vec![0; datagram_bytes.saturating_add(1)],
            inbound: Inbound::new(datagram_bytes),
            replies: Vec::new(),
            _file: file,
        })
    }
}

impl Listener for PacketListener {
    type Accepted = Packet;

    fn accept(&mut self) -> io::Result<(Packet, Address)> {
        let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
        let (count, length, peer) = rustix::net::recvfrom(&self.fd, &mut self.buffer[..], flags)?;
        let peer = peer.map_or(Address::Unnamed, |peer| Address::from_kernel(&peer));
        let kept = count.min(self.buffer.len() - 1);
        let payload = self.buffer[..kept].to_vec();
        Ok((
            Packet {
                payload,
                length,
                socket: Arc::clone(&self.reply),
            },
            peer,
        ))
    }

    fn accept_many(
        &mut self,
        at_most: usize,
        into: &mut VecDeque<(Packet, Address)>,
    ) -> io::Result<bool> {
        let at_most = at_most.min(RECEIVED_AT_ONCE);
        let (reply, replies) = (&self.reply, &mut self.replies);
        let count = self.inbound.receive(&self.fd, at_most, |received| {
            let Received {
                payload,
                length,
                peer,
            } = received;
            let peer = match peer.inet() {
                Some(peer) => Address::from(peer),
                None => peer
                    .any()
                    .map_or(Address::Unnamed, |peer| Address::from_kernel(&peer)),
            };
            let socket = replies.pop().unwrap_or_else(|| Arc::clone(reply));
            into.push_back((
                Packet {
                    payload,
                    length,
                    socket,
                },
                peer,
            ));
        })?;
        // The call goes on until it is full or there is no more.
        Ok(count == at_most)
    }

    fn take_back(&mut self, packet: Packet) {
        self.inbound.give_back(packet.payload);
        if self.replies.len() < RECEIVED_AT_ONCE && Arc::ptr_eq(&packet.socket, &self.reply) {
            self.replies.push(packet.socket);
        }
    }

    fn local_address(&self) -> io::Result<Address> {
        Ok(Address::from_kernel(&rustix::net::getsockname(&self.fd)?))
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for PacketListener {
    fn drop(&mut self) {
        self.reply.close();
    }
}
