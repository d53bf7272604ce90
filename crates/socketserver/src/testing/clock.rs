//! A clock that a test moves.

use std::time::Duration;

use crate::clock::Clock;

/// A clock that stands still until it is advanced: an hour's timeout is tested in a moment.
///
/// It does not reach into forked children.
///
/// ```
/// use socketserver::testing::ManualClock;
/// use std::time::Duration;
///
/// let time = ManualClock::new();
/// let clock = time.clock();                 // for `Builder::clock`
/// let before = clock.now();
/// time.advance(Duration::from_secs(3600));
/// assert_eq!(clock.now() - before, Duration::from_secs(3600));
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock(Clock);

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl ManualClock {
    /// A clock that stands still.
    pub fn new() -> Self {
        Self(Clock::manual())
    }

    /// The clock, to give to a server.
    pub fn clock(&self) -> Clock {
        self.0.clone()
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.0.advance(by);
    }
}
