//! A member of a fan-out: a connection on which every message must come, once and in order.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::exchange::{blank_message, number, number_of};
use crate::failure::{Doing, Failure, Result};

/// The length of each message, its line feed included.
const MESSAGE_BYTES: usize = 64;
/// How long joining may take.
const JOIN_BOUND: Duration = Duration::from_secs(5);
/// What a NATS server says now and then, and must be answered.
const PING: &[u8] = b"PING\r\n";

/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// A line, which every member receives as it was sent.
    Lines,
    /// The protocol of NATS.
    Nats,
}

impl Wire {
    /// What the sender writes.
    pub(crate) fn published(self, sequence: u64) -> Vec<u8> {
        self.wrapped(b"PUB x 64\r\n", sequence)
    }

    /// What every member receives.
    pub(crate) fn delivered(self, sequence: u64) -> Vec<u8> {
        self.wrapped(b"MSG x 1 64\r\n", sequence)
    }

    fn wrapped(self, head: &[u8], sequence: u64) -> Vec<u8> {
        let mut message = blank_message(MESSAGE_BYTES);
        number(&mut message, sequence);
        match self {
            Self::Lines => message,
            Self::Nats => [head, &message, b"\r\n"].concat(),
        }
    }

    /// The number of a message that begins with `delivered`.
    fn number_of(self, delivered: &[u8]) -> Option<u64> {
        let head = match self {
            Self::Lines => 0,
            Self::Nats => b"MSG x 1 64\r\n".len(),
        };
        number_of(delivered.get(head..)?)
    }

    /// Makes a connection a member.
    fn join(self, stream: &mut TcpStream) -> io::Result<()> {
        if self == Self::Lines {
            return Ok(());
        }
        stream
            .write_all(b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\nSUB x 1\r\nPING\r\n")?;
        let mut said = Vec::new();
        let mut chunk = [0; 1024];
        // Nobody publishes while members join, so that nothing comes after this.
        while !said.ends_with(b"PONG\r\n") {
            let bytes = stream.read(&mut chunk)?;
            if bytes == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            said.extend_from_slice(&chunk[..bytes]);
        }
        Ok(())
    }
}

/// The messages that may be under way, as every member must receive them.
pub(crate) struct Expected {
    wire: Wire,
    slots: Vec<Vec<u8>>,
    message_bytes: usize,
}

impl Expected {
    /// Holds the last `slots` messages.
    pub(crate) fn new(wire: Wire, slots: usize) -> Self {
        Self {
            wire,
            slots: vec![wire.delivered(0); slots],
            message_bytes: wire.delivered(0).len(),
        }
    }

    /// Puts a message in the place of the one that is `slots` older.
    pub(crate) fn put(&mut self, sequence: u64) {
        let slot = self.slot(sequence);
        self.slots[slot] = self.wire.delivered(sequence);
    }

    /// Where a message stands.
    pub(crate) fn slot(&self, sequence: u64) -> usize {
        usize::try_from(sequence % self.slots.len() as u64).unwrap_or(0)
    }
}

/// A connection that receives what anybody says.
pub(crate) struct Member {
    pub(crate) stream: TcpStream,
    /// The number of the message that comes next; none until the first has come.
    pub(crate) next: Option<u64>,
    /// How much of it has come.
    partial: usize,
    /// How much of a [`PING`] has come.
    pinged: usize,
}

impl Member {
    /// Connects and joins.
    pub(crate) fn connect(server: SocketAddr, wire: Wire) -> io::Result<Self> {
        let mut stream = TcpStream::connect_timeout(&server, JOIN_BOUND)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(JOIN_BOUND))?;
        wire.join(&mut stream)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            next: None,
            partial: 0,
            pinged: 0,
        })
    }

    /// Sends what the socket takes of `bytes`.
    pub(crate) fn send(&mut self, bytes: &mut Vec<u8>) -> Result<()> {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(sent) => drop(bytes.drain(..sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).doing(|| "send a message".into()),
            }
        }
        Ok(())
    }

    /// Reads once, and calls `complete` with the slot of each message that is now whole.
    pub(crate) fn receive(
        &mut self,
        expected: &Expected,
        buffer: &mut [u8],
        complete: impl FnMut(usize),
    ) -> Result<()> {
        match self.stream.read(buffer) {
            Ok(0) => Err(Failure::new("the server closed a member's connection")),
            Ok(bytes) => self.take(expected, &buffer[..bytes], complete),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error).doing(|| "read a message".into()),
        }
    }

    fn take(
        &mut self,
        expected: &Expected,
        mut came: &[u8],
        mut complete: impl FnMut(usize),
    ) -> Result<()> {
        while !came.is_empty() {
            if self.partial == 0 && self.is_pinged(expected.wire, &mut came)? {
                continue;
            }
            let next = self.next.or_else(|| expected.wire.number_of(came));
            let Some(next) = next else {
                return Err(wrong(came));
            };
            let slot = expected.slot(next);
            let rest = &expected.slots[slot][self.partial..];
            let length = rest.len().min(came.len());
            if came[..length] != rest[..length] {
                return Err(wrong(came));
            }
            came = &came[length..];
            self.partial += length;
            self.next = Some(next);
            if self.partial == expected.message_bytes {
                self.partial = 0;
                self.next = Some(next + 1);
                complete(slot);
            }
        }
        Ok(())
    }

    /// Takes as much of a ping off `came` as is there, and answers it when it is whole.
    fn is_pinged(&mut self, wire: Wire, came: &mut &[u8]) -> Result<bool> {
        if wire == Wire::Lines || came[0] != PING[self.pinged] {
            return Ok(false);
        }
        *came = &came[1..];
        self.pinged += 1;
        if self.pinged == PING.len() {
            self.pinged = 0;
            self.stream
                .write_all(b"PONG\r\n")
                .doing(|| "answer a ping".into())?;
        }
        Ok(true)
    }
}

fn wrong(came: &[u8]) -> Failure {
    let text = String::from_utf8_lossy(&came[..came.len().min(128)]);
    Failure::new(format!("a member received what nobody sent next: {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A member that was connected as if lines were spoken, and its server's listener.
    fn member() -> (Member, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (Member::connect(address, Wire::Lines).unwrap(), listener)
    }

    fn expected(wire: Wire) -> Expected {
        let mut expected = Expected::new(wire, 8);
        (0..8).for_each(|sequence| expected.put(sequence));
        expected
    }

    #[test]
    fn a_member_joins_at_any_message_and_takes_them_in_order_in_any_pieces() {
        let ((mut member, _listener), expected) = (member(), expected(Wire::Lines));
        let lines = [3, 4, 5].map(|sequence| Wire::Lines.delivered(sequence));
        let bytes = lines.concat();
        let mut slots = Vec::new();
        member
            .take(&expected, &bytes[..100], |slot| slots.push(slot))
            .unwrap();
        member
            .take(&expected, &bytes[100..], |slot| slots.push(slot))
            .unwrap();
        assert_eq!(slots, [3, 4, 5]);
        assert_eq!(member.next, Some(6));
    }

    #[test]
    fn a_message_that_is_left_out_doubled_or_changed_is_found_out() {
        for second in [2, 4, 5] {
            let ((mut member, _listener), expected) = (member(), expected(Wire::Lines));
            let bytes = [Wire::Lines.delivered(2), Wire::Lines.delivered(second)].concat();
            assert!(member.take(&expected, &bytes, |_| ()).is_err());
        }
        let ((mut member, _listener), expected) = (member(), expected(Wire::Lines));
        let mut bytes = Wire::Lines.delivered(2);
        bytes[50] ^= 1;
        assert!(member.take(&expected, &bytes, |_| ()).is_err());
    }

    #[test]
    fn a_ping_between_messages_is_no_message() {
        let ((mut member, _listener), expected) = (member(), expected(Wire::Nats));
        let bytes = [&Wire::Nats.delivered(1)[..], PING, &Wire::Nats.delivered(2)].concat();
        let mut count = 0;
        member.take(&expected, &bytes, |_| count += 1).unwrap();
        assert_eq!(count, 2);
    }
}
