//! Replies to datagrams that wait for the end of a batch, so that one system call sends them all.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use socketserver_sys::datagrams::{Destination, Outbound};

use crate::address::Address;
use crate::transport::ReplySocket;

/// Bytes of the longest reply that waits: to copy a longer one costs more than to send it.
pub(super) const SHORT_BYTES: usize = 16 << 10;

/// Replies that wait, and what became of those that did.
#[derive(Debug, Default)]
pub(super) struct Replies {
    outbound: Outbound,
    /// By what the replies are to be sent; it stays open until they are.
    fd: Option<Arc<OwnedFd>>,
    /// The place in the batch of the datagram that is being served.
    nth: usize,
    dropped: Vec<DroppedReplies>,
}

/// What could not be sent of the replies to one datagram.
#[derive(Debug)]
pub(crate) struct DroppedReplies {
    /// Its place in the batch.
    pub(crate) nth: usize,
    pub(crate) count: usize,
    pub(crate) bytes: u64,
}

impl Replies {
    /// From now on the replies are those to the datagram at this place in the batch.
    pub(super) fn to(&mut self, nth: usize) {
        self.nth = nth;
    }

    /// Lets a reply wait; if there is no more room for it the others are sent first.
    pub(super) fn put(
        &mut self,
        socket: &ReplySocket,
        payload: &[u8],
        peer: &Address,
    ) -> io::Result<()> {
        if !self.outbound.has_room(payload.len()) {
            self.send();
        }
        if self.fd.is_none() {
            self.fd = Some(socket.open()?);
        }
        if let Address::Inet(peer) = peer {
            let peer = Destination::Inet(*peer);
            self.outbound.push(payload, peer, self.nth);
        } else {
            let peer = ReplySocket::destination(peer)?;
            let peer = Destination::Other(&peer);
            self.outbound.push(payload, peer, self.nth);
        }
        Ok(())
    }

    /// Sends what waits.
    pub(super) fn send(&mut self) {
        let Some(fd) = self.fd.take() else { return };
        let dropped = &mut self.dropped;
        self.outbound.send(fd, |nth, length, error| {
            tracing::trace!(%error, "a reply that waited could not be sent");
            let bytes = length as u64;
            match dropped.last_mut() {
                Some(last) if last.nth == nth => {
                    last.count += 1;
                    last.bytes += bytes;
                }
                _ => dropped.push(DroppedReplies {
                    nth,
                    count: 1,
                    bytes,
                }),
            }
        });
    }

    /// What could not be sent since the last time.
    pub(super) fn take_dropped(&mut self) -> Vec<DroppedReplies> {
        std::mem::take(&mut self.dropped)
    }
}
