//! Netstrings: `5:hello,`.

use std::io::{self, Write};

use super::delimited::{overlong, truncated};
use super::encode::too_long;
use super::{Codec, Decoded, Encode, Input};
use crate::limits::Limits;

/// Cuts input into netstrings: a length in decimal digits, a colon, the message, a comma.
///
/// A message longer than the limit, and what is no netstring, is [`Decoded::Invalid`]; nothing behind it
/// can be found, so the rest of the input is discarded as it comes. Input that ends in the middle of a
/// message is an error of the kind `UnexpectedEof`.
///
/// A message handler that makes none gets messages of at most
/// [`Limits::line_bytes`](crate::Limits#structfield.line_bytes) bytes without what frames them.
///
/// ```
/// use socketserver::codec::{Codec, Decoded, Input, Netstrings};
///
/// let found = Netstrings::new(1024).decode(b"5:hello,3:you,", Input::More);
/// assert!(matches!(found, Decoded::Message { message: b"hello", used: 8 }));
/// ```
#[derive(Clone, Debug)]
pub struct Netstrings {
    limit: usize,
    is_lost: bool,
}

/// What stands at the beginning of the input.
enum Head {
    Incomplete,
    Length { length: usize, digits: usize },
    TooLong,
    Wrong,
}

impl Netstrings {
    /// Messages of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            is_lost: false,
        }
    }

    fn head(&self, input: &[u8]) -> Head {
        let digits = input
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let has_leading_zero = digits > 1 && input[0] == b'0';
        let add = |number: usize, digit: &u8| {
            number
                .saturating_mul(10)
                .saturating_add(usize::from(digit - b'0'))
        };
        let length = input[..digits].iter().fold(0, add);
        match input.get(digits) {
            _ if has_leading_zero => Head::Wrong,
            _ if length > self.limit => Head::TooLong,
            None => Head::Incomplete,
            Some(b':') if digits > 0 => Head::Length { length, digits },
            Some(_) => Head::Wrong,
        }
    }

    fn lose<'a>(&mut self, input: &[u8], error: io::Error) -> Decoded<&'a [u8]> {
        self.is_lost = true;
        Decoded::Invalid {
            used: input.len(),
            error,
        }
    }
}

impl Codec for Netstrings {
    type Message<'a> = &'a [u8];

    fn for_limits(limits: &Limits) -> Self {
        Self::new(limits.line_bytes)
    }

    #[inline]
    fn frame_bytes(&self) -> Option<usize> {
        // Twenty digits are the longest length, a colon and a comma stand around the message.
        Some(self.limit.saturating_add(22))
    }

    fn decode<'a>(&mut self, input: &'a [u8], why: Input) -> Decoded<&'a [u8]> {
        if self.is_lost {
            return Decoded::Skipped { used: input.len() };
        }
        match self.head(input) {
            Head::TooLong => return self.lose(input, overlong(self.limit)),
            Head::Wrong => return self.lose(input, wrong()),
            Head::Length { length, digits } => {
                let Some(end) = length.checked_add(digits + 1) else {
                    return self.lose(input, overlong(self.limit));
                };
                match input.get(end) {
                    Some(b',') => {
                        let message = &input[digits + 1..end];
                        return Decoded::Message {
                            message,
                            used: end + 1,
                        };
                    }
                    Some(_) => return self.lose(input, wrong()),
                    None => {}
                }
            }
            Head::Incomplete => {}
        }
        if why == Input::End {
            return self.lose(input, truncated());
        }
        Decoded::Incomplete
    }
}

impl Encode<[u8]> for Netstrings {
    /// Appends the length, a colon, the message and a comma.
    #[inline]
    fn encode(&self, message: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
        if message.len() > self.limit {
            return Err(too_long(message.len(), self.limit));
        }
        write!(output, "{}:", message.len())?;
        output.extend_from_slice(message);
        output.push(b',');
        Ok(())
    }
}

fn wrong() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "this is no netstring")
}
