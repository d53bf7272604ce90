//! Codecs: how a stream of bytes is cut into messages, and messages are framed.
//!
//! A [`Codec`] sees the bytes that have come in so far and says whether they begin with a message.
//! [`Encode`] is the way back.
//! They never read or write, and never wait.

use std::io;
use std::time::Duration;

use crate::limits::Limits;

mod chunks;
mod delimited;
mod encode;
mod length_prefixed;
mod lines;
mod netstrings;
mod parsed;

pub use chunks::Chunks;
pub use delimited::Delimited;
pub use encode::Encode;
pub use length_prefixed::{ByteOrder, LengthPrefixed};
pub use lines::{Line, Lines};
pub use netstrings::Netstrings;
pub use parsed::{Parse, Parsed};

/// Cuts a stream of bytes into messages.
pub trait Codec: Send + 'static {
    /// A message: borrowed from the input, or made of it.
    type Message<'a>;

    /// The codec for a server with these limits, when the handler does not make one itself.
    fn for_limits(limits: &Limits) -> Self
    where
        Self: Sized;

    /// Looks for a message at the beginning of `input`, which is not empty.
    ///
    /// It is called again with the same bytes and more after [`Decoded::Incomplete`].
    fn decode<'a>(&mut self, input: &'a [u8], why: Input) -> Decoded<Self::Message<'a>>;

    /// Bytes of the longest message with all that frames it; `None`, the default, is
    /// [`Limits::line_bytes`](crate::Limits#structfield.line_bytes).
    ///
    /// When so much input is [`Decoded::Incomplete`], it is discarded, and an error of the kind
    /// `InvalidData`: a codec that never decides costs no memory.
    fn frame_bytes(&self) -> Option<usize> {
        None
    }

    /// After how long a pause in the middle of a message to ask once more, with [`Input::Quiet`];
    /// `None`, the default, is never.
    fn quiet_after(&self) -> Option<Duration> {
        None
    }
}

/// Why a codec is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Input {
    /// Bytes have come in.
    More,
    /// None have, for as long as [`Codec::quiet_after`] said.
    Quiet,
    /// None will: the peer has ended its side.
    End,
}

/// What a codec found at the beginning of the input.
#[derive(Debug)]
pub enum Decoded<M> {
    /// Part of a message, or nothing yet.
    Incomplete,
    /// Bytes that are no message.
    Invalid {
        /// How many bytes to discard before going on.
        used: usize,
        /// What is wrong with them.
        error: io::Error,
    },
    /// A message.
    Message {
        /// The message.
        message: M,
        /// How many bytes of input it took, its end included.
        used: usize,
    },
    /// Bytes that belong to no message and deserve no mention.
    Skipped {
        /// How many; not zero.
        used: usize,
    },
}
