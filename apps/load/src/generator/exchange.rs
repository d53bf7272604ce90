//! One exchange: the messages that are sent together, and the bytes that must come back.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::failure::{Doing, Failure, Result};

/// The length of each message, its line feed included.
const MESSAGE_BYTES: usize = 64;
/// Where in a message its sequence number begins.
const SEQUENCE_AT: usize = 8;
/// The length of a sequence number in hexadecimal digits.
const SEQUENCE_DIGITS: usize = 16;

/// What a server answers a message with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// `ADDRESS:PORT `, the client's, and the message.
    Addressed,
    /// The message.
    Same,
}

/// Messages on their way out and the replies on their way back.
///
/// Each message carries a number that no other message of its connection has, so that a reply that
/// is stale, doubled or out of order is found out.
pub(crate) struct Exchange {
    outgoing: Vec<u8>,
    expected: Vec<u8>,
    prefix_bytes: usize,
    sent: usize,
    received: usize,
    sequence: u64,
}

impl Exchange {
    /// Makes exchanges of `pipeline` messages for a client with the address `local`.
    pub(crate) fn new(pipeline: usize, reply: Reply, local: SocketAddr) -> Self {
        let prefix = match reply {
            Reply::Addressed => format!("{local} "),
            Reply::Same => String::new(),
        };
        let mut message = [b'.'; MESSAGE_BYTES];
        message[..SEQUENCE_AT].copy_from_slice(b"message ");
        message[MESSAGE_BYTES - 1] = b'\n';
        let answer = [prefix.as_bytes(), &message].concat();
        Self {
            outgoing: message.repeat(pipeline),
            expected: answer.repeat(pipeline),
            prefix_bytes: prefix.len(),
            sent: 0,
            received: 0,
            sequence: 0,
        }
    }

    /// Makes the next messages ready to be sent.
    pub(crate) fn begin(&mut self) {
        self.sent = 0;
        self.received = 0;
        let answers = self
            .expected
            .chunks_exact_mut(self.prefix_bytes + MESSAGE_BYTES);
        for (message, answer) in self.outgoing.chunks_exact_mut(MESSAGE_BYTES).zip(answers) {
            let number = &mut message[SEQUENCE_AT..SEQUENCE_AT + SEQUENCE_DIGITS];
            for (place, digit) in number.iter_mut().enumerate() {
                let nibble = (self.sequence >> (4 * (SEQUENCE_DIGITS - 1 - place))) & 0xf;
                *digit = b"0123456789abcdef"[usize::from(nibble.to_le_bytes()[0])];
            }
            answer[self.prefix_bytes..].copy_from_slice(message);
            self.sequence += 1;
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
                    self.expected.len()
                )));
            }
            Ok(bytes) => bytes,
            Err(error) if is_transient(&error) => return Ok(false),
            Err(error) => return Err(error).doing(|| "read a reply".into()),
        };
        let end = self.received + bytes;
        if self.expected.get(self.received..end) != Some(&buffer[..bytes]) {
            return Err(Failure::new(format!(
                "the reply is wrong: after {} right bytes of {} came {:?}",
                self.received,
                self.expected.len(),
                String::from_utf8_lossy(&buffer[..bytes.min(2 * MESSAGE_BYTES)])
            )));
        }
        self.received = end;
        Ok(end == self.expected.len())
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
