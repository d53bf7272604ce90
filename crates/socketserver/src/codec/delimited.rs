//! Delimited messages: each ends at a sequence of bytes.

use std::io;
use std::sync::Arc;

use memchr::memmem::Finder;

use super::encode::{too_long, unencodable};
use super::{Codec, Decoded, Encode, Input};
use crate::limits::Limits;

/// Cuts input at a delimiter, which is not part of the message.
///
/// What stands before the end of input without a delimiter is an error of the kind `UnexpectedEof`.
/// A message longer than the limit is [`Decoded::Invalid`] once, and discarded to its delimiter.
///
/// A message handler that makes none gets messages that end at a zero byte, each of at most
/// [`Limits::line_bytes`](crate::Limits#structfield.line_bytes) bytes without it.
///
/// ```
/// use socketserver::codec::{Codec, Decoded, Delimited, Input};
///
/// let mut messages = Delimited::new(b"\r\n\r\n", 8192);
/// let found = messages.decode(b"head\r\n\r\nbody", Input::More);
/// assert!(matches!(found, Decoded::Message { message: b"head", used: 8 }));
/// ```
#[derive(Clone, Debug)]
pub struct Delimited {
    /// What looks for the delimiter; clones share it.
    delimiter: Arc<Finder<'static>>,
    limit: usize,
    /// How many bytes of the input are known not to begin a delimiter.
    searched: usize,
    is_discarding: bool,
}

impl Delimited {
    /// Messages of at most `limit` bytes, each followed by `delimiter`.
    ///
    /// # Panics
    ///
    /// If `delimiter` is empty.
    pub fn new(delimiter: impl AsRef<[u8]>, limit: usize) -> Self {
        let delimiter = delimiter.as_ref();
        assert!(!delimiter.is_empty(), "a delimiter has at least one byte");
        Self {
            delimiter: Arc::new(Finder::new(delimiter).into_owned()),
            limit,
            searched: 0,
            is_discarding: false,
        }
    }

    fn length(&self) -> usize {
        self.delimiter.needle().len()
    }

    fn find(&self, input: &[u8]) -> Option<usize> {
        let from = self.searched.min(input.len());
        self.delimiter.find(&input[from..]).map(|at| from + at)
    }

    /// Gives up a message that is too long, all but what may be the beginning of its delimiter.
    #[cold]
    fn discard<'a>(&mut self, input: &[u8]) -> Decoded<&'a [u8]> {
        self.searched = 0;
        let used = input.len() + 1 - self.length().min(input.len());
        if std::mem::replace(&mut self.is_discarding, true) {
            return Decoded::Skipped { used };
        }
        Decoded::Invalid {
            used,
            error: overlong(self.limit),
        }
    }
}

impl Codec for Delimited {
    type Message<'a> = &'a [u8];

    fn for_limits(limits: &Limits) -> Self {
        Self::new([0], limits.line_bytes)
    }

    #[inline]
    fn frame_bytes(&self) -> Option<usize> {
        Some(self.limit.saturating_add(self.length()))
    }

    fn decode<'a>(&mut self, input: &'a [u8], why: Input) -> Decoded<&'a [u8]> {
        let Some(end) = self.find(input) else {
            if why == Input::End && self.is_discarding {
                return Decoded::Skipped { used: input.len() };
            }
            if why == Input::End {
                return Decoded::Invalid {
                    used: input.len(),
                    error: truncated(),
                };
            }
            let may_end = self.length() - 1;
            if input.len() > self.limit.saturating_add(may_end)
                || (self.is_discarding && input.len() > may_end)
            {
                return self.discard(input);
            }
            self.searched = input.len().saturating_sub(may_end);
            return Decoded::Incomplete;
        };
        self.searched = 0;
        let used = end + self.length();
        if std::mem::take(&mut self.is_discarding) {
            return Decoded::Skipped { used };
        }
        if end > self.limit {
            return Decoded::Invalid {
                used,
                error: overlong(self.limit),
            };
        }
        Decoded::Message {
            message: &input[..end],
            used,
        }
    }
}

impl Encode<[u8]> for Delimited {
    /// Appends the message and its delimiter; `InvalidInput` also for a message that has the
    /// delimiter in it, or whose end and the delimiter make an earlier one.
    #[inline]
    fn encode(&self, message: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
        if message.len() > self.limit {
            return Err(too_long(message.len(), self.limit));
        }
        let start = output.len();
        output.extend_from_slice(message);
        output.extend_from_slice(self.delimiter.needle());
        if self.delimiter.find(&output[start..]) == Some(message.len()) {
            return Ok(());
        }
        output.truncate(start);
        Err(unencodable(
            "the message has its delimiter in it".to_owned(),
        ))
    }
}

/// A message is longer than its limit.
pub(super) fn overlong(limit: usize) -> io::Error {
    let text = format!("the message is longer than {limit} bytes");
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// The input ends in the middle of a message.
pub(super) fn truncated() -> io::Error {
    let text = "the input ends in the middle of a message";
    io::Error::new(io::ErrorKind::UnexpectedEof, text)
}
