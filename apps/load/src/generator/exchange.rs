//! One exchange: the messages that are sent together, and the bytes that must come back.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::failure::{Doing, Failure, Result};

/// Where in a message its sequence number begins.
const SEQUENCE_AT: usize = 8;
/// The length of a sequence number in hexadecimal digits.
const SEQUENCE_DIGITS: usize = 16;
/// The shortest message: what stands before the number, the number, and a line feed.
pub(crate) const LEAST_BYTES: usize = SEQUENCE_AT + SEQUENCE_DIGITS + 1;

/// What a server answers a message with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// `ADDRESS:PORT `, the client's, and the message.
    Addressed,
    /// The message.
    Same,
}

/// What the messages of a connection are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// The length of each, its line feed included.
    pub(crate) message_bytes: usize,
    /// How many are sent together, before their replies are waited for.
    pub(crate) pipeline: usize,
}

/// Messages of 64 bytes, one at a time.
pub(crate) const ONE_SMALL: Shape = Shape {
    message_bytes: 64,
    pipeline: 1,
};

/// A message whose number is still to be written: text that differs from place to place, so that
/// bytes which are lost or moved are found out, and a line feed.
pub(crate) fn blank_message(bytes: usize) -> Vec<u8> {
    let mut message: Vec<u8> = (b'a'..=b'z')
        .flat_map(|letter| [letter; 37])
        .cycle()
        .take(bytes.max(LEAST_BYTES))
        .collect();
    message[..SEQUENCE_AT].copy_from_slice(b"message ");
    if let Some(last) = message.last_mut() {
        *last = b'\n';
    }
    message
}

/// Writes a message's number into its place.
pub(crate) fn number(message: &mut [u8], sequence: u64) {
    let digits = &mut message[SEQUENCE_AT..SEQUENCE_AT + SEQUENCE_DIGITS];
    for (place, digit) in digits.iter_mut().enumerate() {
        let nibble = (sequence >> (4 * (SEQUENCE_DIGITS - 1 - place))) & 0xf;
        *digit = b"0123456789abcdef"[usize::from(nibble.to_le_bytes()[0])];
    }
}

/// Reads a message's number; none if it has none.
pub(crate) fn number_of(message: &[u8]) -> Option<u64> {
    let digits = message.get(SEQUENCE_AT..SEQUENCE_AT + SEQUENCE_DIGITS)?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Messages on their way out and the replies on their way back.
///
/// Each message carries a number that no other message of its connection has, so that a reply that
/// is stale, doubled or out of order is found out.
pub(crate) struct Exchange {
    outgoing: Vec<u8>,
    message_bytes: usize,
    /// None if the reply is what was sent.
    addressed: Option<Addressed>,
    sent: usize,
    received: usize,
    sequence: u64,
}

/// A reply that begins with the client's address.
struct Addressed {
    expected: Vec<u8>,
    prefix_bytes: usize,
}

impl Exchange {
    /// Makes exchanges for a client with the address `local`.
    pub(crate) fn new(shape: Shape, reply: Reply, local: SocketAddr) -> Self {
        let message = blank_message(shape.message_bytes);
        let addressed = (reply == Reply::Addressed).then(|| {
            let prefix = format!("{local} ");
            Addressed {
                expected: [prefix.as_bytes(), &message]
                    .concat()
                    .repeat(shape.pipeline),
                prefix_bytes: prefix.len(),
            }
        });
        Self {
            outgoing: message.repeat(shape.pipeline),
            message_bytes: message.len(),
            addressed,
            sent: 0,
            received: 0,
            sequence: 0,
        }
    }

    /// Makes the next messages ready to be sent.
    pub(crate) fn begin(&mut self) {
        self.sent = 0;
        self.received = 0;
        for message in self.outgoing.chunks_exact_mut(self.message_bytes) {
            number(message, self.sequence);
            self.sequence += 1;
        }
        if let Some(Addressed {
            expected,
            prefix_bytes,
        }) = &mut self.addressed
        {
            let answers = expected.chunks_exact_mut(*prefix_bytes + self.message_bytes);
            let messages = self.outgoing.chunks_exact(self.message_bytes);
            for (answer, message) in answers.zip(messages) {
                answer[*prefix_bytes..].copy_from_slice(message);
            }
        }
    }

    /// Sends as much as the socket takes; tells whether that was all.
    pub(crate) fn send(&mut self, mut stream: &TcpStream) -> Result<bool> {
        while self.sent < self.outgoing.len() {
            match stream.write(&self.outgoing[self.sent..]) {
                Ok(bytes) => self.sent += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).doing(|| "send a message".into()),
            }
        }
        Ok(true)
    }

    /// Reads once and checks what came; tells whether the reply is now complete.
    pub(crate) fn receive(&mut self, mut stream: &TcpStream, buffer: &mut [u8]) -> Result<bool> {
        let bytes = match stream.read(buffer) {
            Ok(0) => {
                return Err(Failure::new(format!(
                    "the server closed a connection {} bytes into a reply of {}",
                    self.received,
                    self.expected().len()
                )));
            }
            Ok(bytes) => bytes,
            Err(error) if is_transient(&error) => return Ok(false),
            Err(error) => return Err(error).doing(|| "read a reply".into()),
        };
        self.check(&buffer[..bytes])
    }

    /// Compares what came with what must come; tells whether the reply is now complete.
    fn check(&mut self, came: &[u8]) -> Result<bool> {
        let end = self.received + came.len();
        let expected = self.expected();
        if expected.get(self.received..end) != Some(came) {
            return Err(Failure::new(format!(
                "the reply is wrong: after {} right bytes of {} came {:?}",
                self.received,
                expected.len(),
                String::from_utf8_lossy(&came[..came.len().min(128)])
            )));
        }
        let is_complete = end == expected.len();
        self.received = end;
        Ok(is_complete)
    }

    fn expected(&self) -> &[u8] {
        let addressed = self.addressed.as_ref();
        addressed.map_or(&self.outgoing, |addressed| &addressed.expected)
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(message_bytes: usize, pipeline: usize, reply: Reply) -> Exchange {
        let shape = Shape {
            message_bytes,
            pipeline,
        };
        Exchange::new(shape, reply, SocketAddr::from(([127, 0, 0, 1], 7)))
    }

    #[test]
    fn a_reply_may_come_in_pieces_and_must_be_whole() {
        let mut exchange = exchange(64, 2, Reply::Same);
        exchange.begin();
        let reply = exchange.outgoing.clone();
        assert!(!exchange.check(&reply[..70]).unwrap());
        assert!(exchange.check(&reply[70..]).unwrap());
        assert!(exchange.check(b"more").is_err());
    }

    #[test]
    fn a_stale_reply_and_one_changed_byte_are_found_out() {
        let mut exchange = exchange(65_536, 1, Reply::Same);
        exchange.begin();
        let mut reply = exchange.outgoing.clone();
        exchange.begin();
        assert!(exchange.check(&reply).is_err());
        reply.clone_from(&exchange.outgoing);
        reply[40_000] ^= 1;
        assert!(exchange.check(&reply).is_err());
    }

    #[test]
    fn an_addressed_reply_begins_each_message_with_the_address() {
        let mut exchange = exchange(64, 2, Reply::Addressed);
        exchange.begin();
        let (one, two) = exchange.outgoing.split_at(64);
        let reply = [b"127.0.0.1:7 ", one, b"127.0.0.1:7 ", two].concat();
        assert!(exchange.check(&reply).unwrap());
    }

    #[test]
    fn a_number_that_is_written_can_be_read() {
        let mut message = blank_message(64);
        number(&mut message, 0xfeed_5eed);
        assert_eq!(number_of(&message), Some(0xfeed_5eed));
        assert_eq!(number_of(&message[..20]), None);
    }
}
