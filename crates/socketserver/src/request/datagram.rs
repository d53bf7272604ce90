//! A datagram, as a handler sees it.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::replies::{Replies, SHORT_BYTES};
use crate::address::Address;
use crate::control::ServerHandle;
use crate::live::{Activity, Live};
use crate::telemetry::Event;
use crate::transport::Packet;

/// One datagram: its payload, its peer, and the way back.
///
/// On an [event loop](crate::Place::Loop) datagrams are received, and replies sent, in batches; a
/// datagram is not among the [`connections`](ServerHandle::connections) there.
///
/// ```
/// use socketserver::{Datagram, UdpServer, handler_fn};
///
/// let shout = |datagram: &mut Datagram| datagram.reply(&datagram.payload().to_ascii_uppercase());
/// let server = UdpServer::bind("127.0.0.1:0", handler_fn(shout))?;
/// # drop(server);
/// # Ok::<(), socketserver::Error>(())
/// ```
#[derive(Debug)]
pub struct Datagram {
    packet: Packet,
    seat: Seat,
    server: ServerHandle,
}

/// Where a datagram is known.
#[derive(Debug)]
enum Seat {
    /// To nobody but the thread that serves the batch which it is of.
    Batch {
        id: u64,
        peer: Address,
        bytes_out: AtomicU64,
    },
    /// Among all live requests.
    Own(Arc<Live>),
}

impl Datagram {
    pub(crate) fn new(packet: Packet, live: Arc<Live>, server: ServerHandle) -> Self {
        live.now(Activity::Busy);
        live.received(packet.payload.len());
        Self {
            packet,
            seat: Seat::Own(live),
            server,
        }
    }

    /// The first of a batch, to be served one after another; it has [yet to begin](Self::begin).
    pub(crate) fn in_batch(packet: Packet, server: ServerHandle) -> Self {
        let seat = Seat::Batch {
            id: 0,
            peer: Address::Unnamed,
            bytes_out: AtomicU64::new(0),
        };
        Self {
            packet,
            seat,
            server,
        }
    }

    /// Makes it the next one of a batch; the last one's packet is given back.
    pub(crate) fn follow(&mut self, packet: Packet) -> Packet {
        if !Arc::ptr_eq(&packet.socket, &self.packet.socket) {
            self.replies(Replies::send);
        }
        std::mem::replace(&mut self.packet, packet)
    }

    /// It is served from now on: number `number`, at place `nth` in its batch, from `whom`.
    pub(crate) fn begin(&mut self, (number, nth): (u64, usize), whom: &Address) {
        if let Seat::Batch {
            id,
            peer,
            bytes_out,
        } = &mut self.seat
        {
            *id = number;
            copy(whom, peer);
            *bytes_out.get_mut() = 0;
            Replies::begin(number, nth);
        }
    }

    /// The bytes that it has, and those that were sent back.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        let sent = match &self.seat {
            Seat::Batch { bytes_out, .. } => bytes_out.load(Ordering::Relaxed),
            // It is counted where it is known.
            Seat::Own(_) => 0,
        };
        (self.packet.payload.len() as u64, sent)
    }

    pub(crate) fn set_server(&mut self, server: ServerHandle) {
        self.server = server;
    }

    /// Calls `call` with where replies wait, if they do.
    #[inline]
    fn replies<T>(&self, call: impl FnOnce(&mut Replies) -> T) -> Option<T> {
        match self.seat {
            // From another thread, which the handler may have started, they are sent at once.
            Seat::Batch { id, .. } => Replies::with(id, call),
            Seat::Own(_) => None,
        }
    }

    /// What was sent; it may be empty.
    pub fn payload(&self) -> &[u8] {
        &self.packet.payload
    }

    /// Who sent it (Python: `client_address`); a Unix peer may be
    /// [`Unnamed`](Address::Unnamed).
    pub fn peer(&self) -> &Address {
        match &self.seat {
            Seat::Batch { peer, .. } => peer,
            Seat::Own(live) => &live.peer,
        }
    }

    /// Its number, unique in this server.
    pub fn id(&self) -> u64 {
        match &self.seat {
            Seat::Batch { id, .. } => *id,
            Seat::Own(live) => live.id,
        }
    }

    /// The server that received it.
    pub fn server(&self) -> &ServerHandle {
        &self.server
    }

    /// Calls `look` with the raw socket, which all datagrams of the server share; `None` if the server
    /// is closed.
    pub fn with_socket<T>(&self, look: impl FnOnce(BorrowedFd<'_>) -> T) -> Option<T> {
        // What is sent by it comes behind what was sent before.
        self.replies(Replies::send);
        self.packet.socket.with(look)
    }

    fn note_sent(&self, bytes: usize) {
        match &self.seat {
            Seat::Batch { bytes_out, .. } => {
                // As in a `Live`: a thread of the handler's that replies meanwhile may go uncounted.
                let sum = bytes_out.load(Ordering::Relaxed) + bytes as u64;
                bytes_out.store(sum, Ordering::Relaxed);
            }
            Seat::Own(live) => live.sent(bytes),
        }
    }

    /// Sends a datagram back to the peer, from the address that it was sent to.
    ///
    /// It never waits: where the peer's queue or the network's is full the reply is dropped, and
    /// counted in [`replies_dropped`](crate::Counters::replies_dropped).
    ///
    /// On an [event loop](crate::Place::Loop) replies are sent in order when the handlers of a batch
    /// are done, so that one system call sends many.
    /// A reply of up to 16 384 bytes that cannot be sent then is dropped, for whatever reason, and
    /// counted so; a longer one is sent at once, as is one from another thread.
    ///
    /// # Errors
    ///
    /// `AddrNotAvailable` if the peer has no address, `EMSGSIZE` for more than 65 507 bytes over
    /// UDP; if a reply is sent at once also `ConnectionRefused` if a Unix peer is gone.
    pub fn reply(&self, payload: &[u8]) -> io::Result<()> {
        let (socket, peer) = (&self.packet.socket, self.peer());
        let waits = self.replies(|replies| {
            if payload.len() <= SHORT_BYTES {
                return Some(replies.put(socket, payload, peer));
            }
            replies.send();
            None
        });
        let sent = match waits {
            Some(Some(put)) => put,
            _ => socket.send(payload, peer),
        };
        match sent {
            Ok(()) => {
                self.note_sent(payload.len());
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let telemetry = &self.server.shared().telemetry;
                telemetry.emit(&Event::ReplyDropped { peer });
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

/// Makes `to` a copy of `from`, without an allocation if `to` has one that can be used again.
fn copy(from: &Address, to: &mut Address) {
    match (from, to) {
        (Address::Abstract(from), Address::Abstract(to)) => to.clone_from(from),
        (Address::Path(from), Address::Path(to)) => to.clone_from(from),
        (from, to) => *to = from.clone(),
    }
}
