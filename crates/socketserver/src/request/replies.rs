//! Replies to datagrams that wait for the end of a batch, so that one system call sends them all.
//!
//! While a batch is served its [`Replies`] belong to the serving thread, where a reply finds them
//! without a lock.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use socketserver_sys::datagrams::{Destination, Outbound};

use crate::address::Address;
use crate::transport::ReplySocket;

/// Bytes of the longest reply that waits: to copy a longer one costs more than to send it.
pub(super) const SHORT_BYTES: usize = 16 << 10;

thread_local! {
    /// Those of the batch that is served on this thread.
    static HERE: RefCell<Replies> = const { RefCell::new(Replies::nobodys()) };
}

/// Replies that wait, and what became of those that did.
#[derive(Debug)]
pub(crate) struct Replies {
    /// Whose they are: the number of the datagram that is being served.
    id: u64,
    /// Its place in the batch.
    nth: usize,
    outbound: Outbound,
    /// By what the replies are to be sent; it stays open until they are.
    fd: Option<Arc<OwnedFd>>,
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
    /// Replies to no datagram.
    pub(crate) const fn nobodys() -> Self {
        Self {
            id: 0,
            nth: 0,
            outbound: Outbound::new(),
            fd: None,
            dropped: Vec::new(),
        }
    }

    /// Exchanges them with those that the thread has: a batch begins, or has ended.
    pub(crate) fn exchange(&mut self) {
        HERE.with_borrow_mut(|here| std::mem::swap(here, self));
    }

    /// Those that wait on this thread are from now on followed by those to datagram `id`, whose place
    /// in the batch is `nth`.
    pub(super) fn begin(id: u64, nth: usize) {
        HERE.with_borrow_mut(|here| (here.id, here.nth) = (id, nth));
    }

    /// Calls `call` with the replies that wait on this thread, if those to datagram `id` do.
    pub(super) fn with<T>(id: u64, call: impl FnOnce(&mut Self) -> T) -> Option<T> {
        HERE.with(|here| {
            let mut here = here.try_borrow_mut().ok()?;
            (here.id == id).then(|| call(&mut here))
        })
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
    pub(crate) fn send(&mut self) {
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
    pub(crate) fn take_dropped(&mut self) -> Vec<DroppedReplies> {
        std::mem::take(&mut self.dropped)
    }
}
