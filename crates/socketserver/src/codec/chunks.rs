//! Chunks: whatever has come in is a message.

use std::io;

use super::{Codec, Decoded, Encode, Input};
use crate::limits::Limits;

/// Takes input as it comes: no message ends where the network happens to cut it, so this suits
/// handlers that look at bytes, such as a raw echo or a relay.
///
/// It has nothing to set, so a message handler that makes none gets the same.
///
/// ```
/// use socketserver::codec::{Chunks, Codec, Decoded, Input};
///
/// let found = Chunks.decode(b"any bytes", Input::More);
/// assert!(matches!(found, Decoded::Message { message: b"any bytes", used: 9 }));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Chunks;

impl Codec for Chunks {
    type Message<'a> = &'a [u8];

    fn for_limits(_: &Limits) -> Self {
        Self
    }

    #[inline]
    fn decode<'a>(&mut self, input: &'a [u8], _why: Input) -> Decoded<&'a [u8]> {
        Decoded::Message {
            message: input,
            used: input.len(),
        }
    }
}

impl Encode<[u8]> for Chunks {
    /// Appends the bytes as they are; it never fails.
    #[inline]
    fn encode(&self, message: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
        output.extend_from_slice(message);
        Ok(())
    }
}
