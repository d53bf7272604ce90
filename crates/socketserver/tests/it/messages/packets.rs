//! How many writes answer how many messages: a transport whose every write is a packet tells.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use socketserver::codec::{Encode, Lines, Netstrings};
use socketserver::transport::{BoxListener, Listener, Stream};
use socketserver::{
    Address, Broadcast, Builder, IntoAddress, MessageHandler, Next, Peer, Running, Scheme,
    Transport,
};

use super::{Call, Kind, sentences, talk};
use crate::support::{PATIENCE, until, within};

/// A transport of `SOCK_SEQPACKET` sockets: one `send(2)` is one packet.
#[derive(Clone, Debug)]
struct Packets(Arc<Queue>);

#[derive(Debug)]
struct Queue {
    waiting: Mutex<VecDeque<OwnedFd>>,
    /// Readable while somebody waits.
    bell: std::os::unix::net::UnixDatagram,
    ringer: std::os::unix::net::UnixDatagram,
}

impl Packets {
    fn new() -> Self {
        let (bell, ringer) = std::os::unix::net::UnixDatagram::pair().unwrap();
        bell.set_nonblocking(true).unwrap();
        Self(Arc::new(Queue {
            waiting: Mutex::default(),
            bell,
            ringer,
        }))
    }

    fn connect(&self) -> Client {
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let timeout = rustix::net::sockopt::Timeout::Recv;
        rustix::net::sockopt::set_socket_timeout(&ours, timeout, Some(PATIENCE)).unwrap();
        self.0.waiting.lock().unwrap().push_back(theirs);
        self.0.ringer.send(b"!").unwrap();
        Client(ours)
    }
}

impl Transport for Packets {
    type Accepted = Stream;

    fn scheme(&self, _: &Address) -> Scheme {
        Scheme::Unix
    }

    fn bind(&self, _: &Address) -> io::Result<BoxListener<Stream>> {
        Ok(Box::new(self.clone()))
    }

    fn adopt(&self, _: OwnedFd) -> io::Result<BoxListener<Stream>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Listener for Packets {
    type Accepted = Stream;

    fn accept(&mut self) -> io::Result<(Stream, Address)> {
        let waiting = self.0.waiting.lock().unwrap().pop_front();
        let Some(socket) = waiting else {
            while self.0.bell.recv(&mut [0; 8]).is_ok() {}
            // Somebody may have come between the two.
            let late = self.0.waiting.lock().unwrap().pop_front();
            let late = late.ok_or(io::ErrorKind::WouldBlock)?;
            return Ok((late.into(), Address::Unnamed));
        };
        Ok((socket.into(), Address::Unnamed))
    }

    fn local_address(&self) -> io::Result<Address> {
        Ok(Address::Unnamed)
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.bell.as_fd()
    }
}

impl IntoAddress<Packets> for () {
    fn into_addresses(self) -> io::Result<Vec<Address>> {
        Ok(vec![Address::Unnamed])
    }
}

struct Client(OwnedFd);

impl Client {
    fn send(&self, bytes: &[u8]) {
        let sent = rustix::net::send(&self.0, bytes, SendFlags::NOSIGNAL).unwrap();
        assert_eq!(sent, bytes.len());
    }

    /// One packet: what one system call of the server's sent.
    fn packet(&self) -> String {
        let mut bytes = vec![0; 1 << 17];
        let (count, _) = rustix::net::recv(&self.0, &mut bytes[..], RecvFlags::empty()).unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    }
}

fn serve<H: MessageHandler>(
    kind: Kind,
    make: impl Fn() -> H + Send + Sync + 'static,
) -> (Running, Packets) {
    let packets = Packets::new();
    let builder = Builder::new(packets.clone(), kind.engine());
    let server = builder.bind((), make).unwrap().start().unwrap();
    (server, packets)
}

fn stop(server: Running) {
    within(move || server.stop()).unwrap();
}

sentences! {
    fn sixteen_messages_that_come_together_are_answered_by_one_write(kind) {
        let (server, packets) = serve(kind, talk(crate::messages::echo));
        let client = packets.connect();
        let sixteen: String = (0..16).map(|number| format!("{number}\n")).collect();
        for _ in 0..5 {
            client.send(sixteen.as_bytes());
            assert_eq!(client.packet(), sixteen, "{kind:?}");
        }
        client.send(b"one\n");
        assert_eq!(client.packet(), "one\n");
        drop(client);
        stop(server);
    }

    fn what_setup_tick_and_finish_write_goes_out_in_one_piece_each(kind) {
        let (server, packets) = serve(kind, talk(|call, peer: &mut Peer<'_>| {
            match call {
                Call::Setup => {
                    let (id, endpoint) = (peer.id(), peer.endpoint().clone());
                    write!(peer, "hello, number {id}, ")?;
                    writeln!(peer, "at {endpoint}")?;
                }
                Call::Line(line) => {
                    Netstrings::new(80).encode("tried", &mut Vec::new())?;
                    peer.send(&Lines::new(80), "this is")?;
                    peer.send(&Netstrings::new(80), line)?;
                    return Ok(Next::Close);
                }
                Call::Finish => writeln!(peer, "bye")?,
                _ => {}
            }
            Ok(Next::Continue)
        }));
        let client = packets.connect();
        assert!(client.packet().starts_with("hello, number 1, at unix:"), "{kind:?}");
        client.send(b"it\n");
        assert_eq!(client.packet(), "this is\n3:it\n,bye\n", "{kind:?}");
        assert_eq!(client.packet(), "");
        drop(client);
        stop(server);
    }

    fn what_cannot_be_framed_is_an_error_and_nothing_of_it_is_sent(kind) {
        let (server, packets) = serve(kind, talk(|call, peer: &mut Peer<'_>| {
            if let Call::Line(_) = call {
                let error = peer.send(&Lines::new(80), "two\nlines").unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
                peer.send(&Lines::new(80), "one line")?;
            }
            Ok(Next::Continue)
        }));
        let client = packets.connect();
        client.send(b"go\n");
        assert_eq!(client.packet(), "one line\n");
        drop(client);
        stop(server);
    }
}

sentences! { reactor:
    /// The whole of what a turn says to a room is one write for each member.
    fn what_a_turn_broadcasts_is_one_write_for_each_member(kind) {
        let room = Broadcast::new();
        let joined = room.clone();
        let (server, packets) = serve(kind, move || {
            let room = joined.clone();
            let mut seat = None;
            crate::messages::Talk(move |call: Call<'_>, peer: &mut Peer<'_>| {
                match call {
                    Call::Setup => seat = Some(room.join(peer.outbox()?)?),
                    Call::Line(line) => drop(room.send(line)),
                    Call::Finish => drop(seat.take()),
                    _ => {}
                }
                Ok(Next::Continue)
            })
        });
        let members: Vec<_> = (0..10).map(|_| packets.connect()).collect();
        until("all have joined", || room.len() == 10);
        let sixteen: String = (0..16).map(|number| format!("{number}\n")).collect();
        members[3].send(sixteen.as_bytes());
        for member in &members {
            assert_eq!(member.packet(), sixteen, "{kind:?}");
        }
        drop(members);
        stop(server);
    }
}
