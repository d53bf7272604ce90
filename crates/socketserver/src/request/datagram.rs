//! A datagram, as a handler sees it.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex};

use super::replies::{DroppedReplies, Replies, SHORT_BYTES};
use crate::address::Address;
use crate::control::ServerHandle;
use crate::live::{Activity, Live, lock};
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
    live: Arc<Live>,
    server: ServerHandle,
    /// Where replies wait for the end of the batch; `None`: each is sent at once.
    replies: Option<Mutex<Replies>>,
}

impl Datagram {
    pub(crate) fn new(packet: Packet, live: Arc<Live>, server: ServerHandle) -> Self {
        let datagram = Self {
            packet,
            live,
            server,
            replies: None,
        };
        datagram.note_begun();
        datagram
    }

    /// The first of many, to be served one after another; it has [yet to begin](Self::begin).
    pub(crate) fn in_batches(packet: Packet, live: Arc<Live>, server: ServerHandle) -> Self {
        Self {
            packet,
            live,
            server,
            replies: Some(Mutex::default()),
        }
    }

    /// Makes it another one; the last one's packet is given back.
    pub(crate) fn follow(&mut self, packet: Packet) -> Packet {
        if !Arc::ptr_eq(&packet.socket, &self.packet.socket) {
            self.send_replies();
        }
        std::mem::replace(&mut self.packet, packet)
    }

    /// It is served from now on, at this place in the batch.
    pub(crate) fn begin(&mut self, nth: usize) {
        if let Some(replies) = &mut self.replies {
            lock_mut(replies).to(nth);
        }
        self.note_begun();
    }

    fn note_begun(&self) {
        self.live.now(Activity::Busy);
        self.live.received(self.packet.payload.len());
    }

    pub(crate) fn live(&mut self) -> &mut Arc<Live> {
        &mut self.live
    }

    pub(crate) fn set_server(&mut self, server: ServerHandle) {
        self.server = server;
    }

    /// Sends the replies that wait.
    fn send_replies(&self) {
        if let Some(replies) = &self.replies {
            lock(replies).send();
        }
    }

    /// Ends a batch: sends the replies that wait, and tells what could not be sent.
    pub(crate) fn end_batch(&mut self) -> Vec<DroppedReplies> {
        let Some(replies) = &mut self.replies else {
            return Vec::new();
        };
        let replies = lock_mut(replies);
        replies.send();
        replies.take_dropped()
    }

    /// What was sent; it may be empty.
    pub fn payload(&self) -> &[u8] {
        &self.packet.payload
    }

    /// Who sent it (Python: `client_address`); a Unix peer may be
    /// [`Unnamed`](Address::Unnamed).
    pub fn peer(&self) -> &Address {
        &self.live.peer
    }

    /// Its number, unique in this server.
    pub fn id(&self) -> u64 {
        self.live.id
    }

    /// The server that received it.
    pub fn server(&self) -> &ServerHandle {
        &self.server
    }

    /// Calls `look` with the raw socket, which all datagrams of the server share; `None` if the server
    /// is closed.
    pub fn with_socket<T>(&self, look: impl FnOnce(BorrowedFd<'_>) -> T) -> Option<T> {
        // What is sent by it comes behind what was sent before.
        self.send_replies();
        self.packet.socket.with(look)
    }

    /// Sends a datagram back to the peer, from the address that it was sent to.
    ///
    /// It never waits: where the peer's queue or the network's is full the reply is dropped, and
    /// counted in [`replies_dropped`](crate::Counters::replies_dropped).
    ///
    /// On an [event loop](crate::Place::Loop) replies are sent in order when the handlers of a batch
    /// are done, so that one system call sends many.
    /// A reply of up to 16 384 bytes that cannot be sent then is dropped, for whatever reason, and
    /// counted so; a longer one is sent at once.
    ///
    /// # Errors
    ///
    /// `AddrNotAvailable` if the peer has no address, `EMSGSIZE` for more than 65 507 bytes over
    /// UDP; if a reply is sent at once also `ConnectionRefused` if a Unix peer is gone.
    pub fn reply(&self, payload: &[u8]) -> io::Result<()> {
        let (socket, peer) = (&self.packet.socket, &self.live.peer);
        if let Some(replies) = &self.replies {
            let mut replies = lock(replies);
            if payload.len() <= SHORT_BYTES {
                replies.put(socket, payload, peer)?;
                self.live.sent(payload.len());
                return Ok(());
            }
            replies.send();
        }
        match socket.send(payload, peer) {
            Ok(()) => {
                self.live.sent(payload.len());
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

/// What the lock guards; who has it for himself need not lock.
fn lock_mut(replies: &mut Mutex<Replies>) -> &mut Replies {
    replies
        .get_mut()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
