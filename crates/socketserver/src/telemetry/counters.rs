//! How often things happened.

use std::sync::atomic::{AtomicU64, Ordering};

use super::EndReason;

/// Makes the counters and their snapshot from one list.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// How often things happened since the server was made.
        #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
        #[non_exhaustive]
        pub struct Counters { $($(#[$doc])* pub $name: u64,)* }

        #[derive(Debug, Default)]
        pub(super) struct Cells { $(pub(super) $name: AtomicU64,)* }

        impl Cells {
            pub(super) fn snapshot(&self) -> Counters {
                Counters { $($name: self.$name.load(Ordering::Relaxed),)* }
            }

            #[inline]
            pub(super) fn add(&self, more: &Counters) {
                $(if more.$name > 0 {
                    self.$name.fetch_add(more.$name, Ordering::Relaxed);
                })*
            }
        }
    };
}

counters! {
    /// Requests accepted and handed to the engine.
    started,
    /// Requests ended, for whatever reason.
    ended,
    /// Of these, with an error that was no mere disconnect.
    failed,
    /// Of these, with a panic.
    panicked,
    /// Of these, cut off by a limit, an operator, or the end of a drain.
    cut,
    /// Requests refused before a handler saw them.
    refused,
    /// Times that accepting paused for want of a resource.
    accept_pauses,
    /// Connections that could not be accepted for a reason of their own.
    accept_failures,
    /// Handlers that held up their event loop.
    loops_held,
    /// Datagrams that could not be sent.
    replies_dropped,
    /// Bytes received by requests that have ended.
    bytes_in,
    /// Bytes sent by requests that have ended.
    bytes_out,
}

impl Counters {
    /// Counts a request that has ended.
    pub(crate) fn count_ended(&mut self, reason: EndReason, bytes_in: u64, bytes_out: u64) {
        self.ended += 1;
        self.bytes_in += bytes_in;
        self.bytes_out += bytes_out;
        match reason {
            EndReason::Failed => self.failed += 1,
            EndReason::Panicked => self.panicked += 1,
            reason if reason.is_cut() => self.cut += 1,
            _ => {}
        }
    }
}
