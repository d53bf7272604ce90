//! What a ring tells.

use std::io;
use std::os::fd::OwnedFd;

use super::buffers::Buffer;
use super::payload::Payload;

/// Something that has happened.
///
/// What is asked for once and told many times (a receive, a watch, an accept) says with `armed`
/// whether it goes on.
/// Its last completion is `armed: false` or [`Cancelled`](Self::Cancelled), and nothing comes after
/// it.
#[derive(Debug)]
pub enum Completion {
    /// A listener has a new connection.
    Accepted {
        /// Of the accept.
        token: u64,
        /// The new socket; it is closed on `exec` and does not block.
        socket: OwnedFd,
        /// Whether more are accepted.
        armed: bool,
    },
    /// A listener could not accept.
    AcceptFailed {
        /// Of the accept.
        token: u64,
        /// Why, as `accept(2)` tells it.
        error: io::Error,
        /// Whether more are accepted.
        armed: bool,
    },
    /// What was to be cancelled is over.
    ///
    /// It is told as well if there was nothing to cancel, and not if the operation ended in another
    /// way at the same time, which is told instead.
    Cancelled {
        /// Of the operation that was cancelled.
        token: u64,
        /// What was cancelled.
        operation: Operation,
    },
    /// The input has ended.
    Ended {
        /// Of the receive.
        token: u64,
        /// Whether the receive goes on; it does not on a stream.
        armed: bool,
    },
    /// Nothing can be received.
    ReceiveFailed {
        /// Of the receive.
        token: u64,
        /// Why, as `recv(2)` tells it.
        error: io::Error,
        /// All buffers are in use: give some back, then receive again.
        starved: bool,
        /// Whether the receive goes on.
        armed: bool,
    },
    /// Bytes have been received.
    Received {
        /// Of the receive.
        token: u64,
        /// Where they are, to be given back.
        buffer: Buffer,
        /// Whether the receive goes on.
        armed: bool,
    },
    /// A watched descriptor is readable.
    Readable {
        /// Of the watch.
        token: u64,
        /// Whether the watch goes on.
        armed: bool,
    },
    /// A send is over.
    Sent {
        /// Of the send.
        token: u64,
        /// How many bytes were sent; fewer than all if there was no room for more.
        result: io::Result<usize>,
        /// What was sent, to be used again.
        payload: Payload,
    },
    /// A descriptor cannot be watched.
    WatchFailed {
        /// Of the watch.
        token: u64,
        /// Why.
        error: io::Error,
        /// Whether the watch goes on.
        armed: bool,
    },
}

/// What can be cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// An accept.
    Accept,
    /// A receive.
    Receive,
    /// A watch.
    Watch,
}
