//! What a connection needs at times.

use std::time::Duration;

use crate::clock::Moment;
use crate::error::Error;

/// What only some connections need, and most only at times.
#[derive(Default)]
pub(crate) struct Extra {
    /// The beginning of a message.
    pub(super) pending: Vec<u8>,
    /// When it began.
    pub(super) started: Option<Moment>,
    /// Whether the codec has been told of the pause that there is.
    pub(crate) was_quiet: bool,
    /// When the handler wants to be woken.
    pub(crate) wake_at: Option<Moment>,
    /// Since when nothing has gone out of what waits, and how much had by then.
    pub(super) stuck: Option<(Moment, u64)>,
    /// How many resumers were made, and whether the last of them has ended its pause.
    pub(super) pauses: u32,
    pub(super) is_resumed: bool,
    /// What has gone wrong, to be told when `finish` has run.
    pub(crate) errors: Vec<Error>,
    #[expect(
        clippy::option_option,
        reason = "none of its own is another thing than never"
    )]
    pub(super) idle_timeout: Option<Option<Duration>>,
}

impl Extra {
    /// The number of a new pause.
    pub(crate) fn begin_pause(&mut self) -> u32 {
        self.pauses = self.pauses.wrapping_add(1).max(1);
        self.is_resumed = false;
        self.pauses
    }

    /// Notes that a pause has been ended, if it is the present one.
    pub(crate) fn end_pause(&mut self, pause: u32) {
        self.is_resumed |= pause == self.pauses;
    }

    /// Whether nothing is left that could end the pause.
    pub(crate) fn is_pause_over(&self) -> bool {
        self.pauses == 0 || self.is_resumed
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
            && self.wake_at.is_none()
            && self.stuck.is_none()
            && self.pauses == 0
            && self.errors.is_empty()
            && self.idle_timeout.is_none()
    }
}
