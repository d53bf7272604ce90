//! A datagram, as a handler sees it.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use crate::address::Address;
use crate::control::ServerHandle;
use crate::live::{Activity, Live};
use crate::telemetry::Event;
use crate::transport::{Packet, ReplySocket};

/// One datagram: its payload, its peer, and the way back.
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
    payload: Vec<u8>,
    socket: Arc<ReplySocket>,
    live: Arc<Live>,
    server: ServerHandle,
}

impl Datagram {
    pub(crate) fn new(packet: Packet, live: Arc<Live>, server: ServerHandle) -> Self {
        live.now(Activity::Busy);
        live.received(packet.payload.len());
        Self {
            payload: packet.payload,
            socket: packet.socket,
            live,
            server,
        }
    }

    /// What was sent; it may be empty.
    pub fn payload(&self) -> &[u8] {
        &self.payload
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
        self.socket.with(look)
    }

    /// Sends a datagram back to the peer, from the address that it was sent to.
    ///
    /// It never waits: where the peer's queue or the network's is full the reply is dropped, and
    /// counted in [`replies_dropped`](crate::Counters::replies_dropped).
    ///
    /// # Errors
    ///
    /// `AddrNotAvailable` if the peer has no address, `EMSGSIZE` for more than 65 507 bytes over
    /// UDP, `ConnectionRefused` if a Unix peer is gone.
    pub fn reply(&self, payload: &[u8]) -> io::Result<()> {
        match self.socket.send(payload, &self.live.peer) {
            Ok(()) => {
                self.live.sent(payload.len());
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let telemetry = &self.server.shared().telemetry;
                telemetry.emit(&Event::ReplyDropped {
                    peer: &self.live.peer,
                });
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}
