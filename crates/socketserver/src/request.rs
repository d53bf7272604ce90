//! Requests: what a handler is given.
//!
//! A stream's request is a [`Connection`], a datagram's a [`Datagram`].
//! Neither knows which engine runs it.

use crate::transport::{Packet, Stream};

mod close;
mod connection;
mod datagram;
mod messages;
mod reader;
mod replies;
mod writer;

pub(crate) use close::Closing;
pub use connection::Connection;
pub(crate) use connection::Parts;
pub use datagram::Datagram;
pub use messages::{Messages, ReaderLines};
pub use reader::Reader;
pub(crate) use replies::{DroppedReplies, Replies};
pub use writer::Writer;

/// What a listener yields, and the request that is made of it.
pub trait Accepted: Send + Sized + 'static {
    /// The request that a handler sees.
    type Request: Send + 'static;
}

impl Accepted for Stream {
    type Request = Connection;
}

impl Accepted for Packet {
    type Request = Datagram;
}
