//! Length-prefixed messages: a number says how long each is.

use std::io;

use super::delimited::{overlong, truncated};
use super::encode::{too_long, unencodable};
use super::{Codec, Decoded, Encode, Input};
use crate::limits::Limits;

/// The order of the bytes of a number.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ByteOrder {
    /// The most significant byte first, as networks have it.
    #[default]
    Big,
    /// The least significant byte first.
    Little,
}

/// Cuts input into messages, each behind its length in 1 to 8 bytes.
///
/// The prefix counts the bytes behind it, and is not part of the message.
/// A message longer than the limit is [`Decoded::Invalid`]; nothing behind it can be found, so the rest
/// of the input is discarded as it comes. Input that ends in the middle of a message is an error of the
/// kind `UnexpectedEof`.
///
/// A message handler that makes none gets lengths of 4 bytes, the most significant first, and messages
/// of at most [`Limits::line_bytes`](crate::Limits#structfield.line_bytes) bytes without them.
///
/// ```
/// use socketserver::codec::{ByteOrder, Codec, Decoded, Input, LengthPrefixed};
///
/// let mut messages = LengthPrefixed::new(2, ByteOrder::Big, 1024);
/// let found = messages.decode(b"\x00\x05hello\x00", Input::More);
/// assert!(matches!(found, Decoded::Message { message: b"hello", used: 7 }));
/// assert_eq!(messages.prefix(5), [0, 5]);
/// ```
#[derive(Clone, Debug)]
pub struct LengthPrefixed {
    size: usize,
    order: ByteOrder,
    limit: usize,
    is_lost: bool,
}

impl LengthPrefixed {
    /// Messages of at most `limit` bytes behind a length of `size` bytes.
    ///
    /// # Panics
    ///
    /// If `size` is not from 1 to 8.
    pub fn new(size: usize, order: ByteOrder, limit: usize) -> Self {
        assert!(
            (1..=8).contains(&size),
            "a length has 1 to 8 bytes, not {size}"
        );
        Self {
            size,
            order,
            limit,
            is_lost: false,
        }
    }

    /// The prefix of a message of `length` bytes; what does not fit into it is cut off.
    pub fn prefix(&self, length: u64) -> Vec<u8> {
        let mut prefix = Vec::with_capacity(self.size);
        self.push_prefix(length, &mut prefix);
        prefix
    }

    fn push_prefix(&self, length: u64, output: &mut Vec<u8>) {
        match self.order {
            ByteOrder::Big => output.extend_from_slice(&length.to_be_bytes()[8 - self.size..]),
            ByteOrder::Little => output.extend_from_slice(&length.to_le_bytes()[..self.size]),
        }
    }

    /// Whether the prefix can say `length`.
    fn can_say(&self, length: u64) -> bool {
        self.size == 8 || length >> (8 * self.size) == 0
    }

    fn length(&self, prefix: &[u8]) -> u64 {
        let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        match self.order {
            ByteOrder::Big => prefix.iter().fold(0, add),
            ByteOrder::Little => prefix.iter().rev().fold(0, add),
        }
    }
}

impl Codec for LengthPrefixed {
    type Message<'a> = &'a [u8];

    fn for_limits(limits: &Limits) -> Self {
        Self::new(4, ByteOrder::Big, limits.line_bytes)
    }

    #[inline]
    fn frame_bytes(&self) -> Option<usize> {
        Some(self.limit.saturating_add(self.size))
    }

    fn decode<'a>(&mut self, input: &'a [u8], why: Input) -> Decoded<&'a [u8]> {
        if self.is_lost {
            return Decoded::Skipped { used: input.len() };
        }
        if let Some(prefix) = input.get(..self.size) {
            let length = usize::try_from(self.length(prefix)).ok();
            let length = length.filter(|&length| length <= self.limit);
            let Some(end) = length.and_then(|length| length.checked_add(self.size)) else {
                self.is_lost = true;
                return Decoded::Invalid {
                    used: input.len(),
                    error: overlong(self.limit),
                };
            };
            if let Some(message) = input.get(self.size..end) {
                return Decoded::Message { message, used: end };
            }
        }
        if why == Input::End {
            return Decoded::Invalid {
                used: input.len(),
                error: truncated(),
            };
        }
        Decoded::Incomplete
    }
}

impl Encode<[u8]> for LengthPrefixed {
    /// Appends the length and the message; `InvalidInput` also for a length that does not fit into the
    /// prefix.
    #[inline]
    fn encode(&self, message: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
        if message.len() > self.limit {
            return Err(too_long(message.len(), self.limit));
        }
        let length = message.len() as u64;
        if !self.can_say(length) {
            let size = self.size;
            return Err(unencodable(format!(
                "the length of a message of {length} bytes does not fit into {size}"
            )));
        }
        self.push_prefix(length, output);
        output.extend_from_slice(message);
        Ok(())
    }
}
