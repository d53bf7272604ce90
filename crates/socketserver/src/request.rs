//! Requests: what a handler is given.
//!
//! A stream's request is a [`Connection`], a datagram's a [`Datagram`].
//! Neither knows which engine runs it.

use crate::transport::{Packet, Stream};

mod close;
mod connection;
mod datagram;
mod link;
mod messages;
mod peer;
mod reader;
mod replies;
mod writer;

pub(crate) use close::Closing;
pub use connection::Connection;
pub(crate) use connection::Parts;
pub(crate) use connection::cut_error;
pub use datagram::Datagram;
pub(crate) use link::{Closer, Extra, Link, Site};
pub use messages::{ReaderLines, ReaderMessages};
pub use peer::{Peer, Resumer};
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
