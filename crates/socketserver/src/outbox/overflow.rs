//! What happens when an outbox is full.

use std::fmt;

/// What becomes of a message for which an outbox has no room: its peer reads too slowly.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Overflow {
    /// The connection is cut off, as a [`SlowConsumer`](crate::EndReason::SlowConsumer).
    #[default]
    Disconnect,
    /// The new message is dropped, and counted.
    DropNewest,
    /// The oldest messages that wait are dropped, and counted, until the new one fits.
    DropOldest,
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum PushError {
    /// The connection has ended.
    Closed,
    /// There was no room; the message was dropped or the connection cut off, as its [`Overflow`]
    /// says.
    Full,
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the connection has ended",
            Self::Full => "the outbox is full: the peer reads too slowly",
        })
    }
}

impl std::error::Error for PushError {}
