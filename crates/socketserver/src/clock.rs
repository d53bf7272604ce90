//! The time by which deadlines are measured: the machine's, or a test's.
//!
//! It is monotonic: a step of the wall clock moves no deadline.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// How often something that waits by a manual clock looks at it.
const TICK: Duration = Duration::from_millis(1);

/// Where a server reads the time from.
///
/// The default is the machine's monotonic clock.
/// A test takes a `testing::ManualClock` and lets an hour pass in a call.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<Manual>>);

#[derive(Debug)]
struct Manual {
    start: Instant,
    passed: AtomicU64,
}

impl Clock {
    /// A clock that stands still until it is advanced.
    pub(crate) fn manual() -> Self {
        Self(Some(Arc::new(Manual {
            start: Instant::now(),
            passed: AtomicU64::new(0),
        })))
    }

    /// Moves a manual clock on; the machine's is not ours to move.
    pub(crate) fn advance(&self, by: Duration) {
        if let Some(manual) = &self.0 {
            let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
            manual.passed.fetch_add(by, Ordering::SeqCst);
        }
    }

    /// The present.
    pub fn now(&self) -> Instant {
        match &self.0 {
            None => Instant::now(),
            Some(manual) => {
                manual.start + Duration::from_nanos(manual.passed.load(Ordering::SeqCst))
            }
        }
    }

    /// The present, as a moment.
    pub(crate) fn moment(&self) -> Moment {
        match &self.0 {
            None => Moment(nanos(BEGINNING.get_or_init(Instant::now).elapsed())),
            Some(manual) => Moment(manual.passed.load(Ordering::SeqCst)),
        }
    }

    /// A moment of this clock, as an instant; `None` if it cannot be told.
    pub(crate) fn instant(&self, moment: Moment) -> Option<Instant> {
        let start = match &self.0 {
            None => *BEGINNING.get_or_init(Instant::now),
            Some(manual) => manual.start,
        };
        start.checked_add(Duration::from_nanos(moment.0))
    }

    /// Whether the machine's clock does not count.
    pub(crate) fn is_manual(&self) -> bool {
        self.0.is_some()
    }

    /// How long a wait for `deadline` may take in real time before the clock is looked at again;
    /// `None` is for ever.
    pub(crate) fn until(&self, deadline: Option<Instant>) -> Option<Duration> {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(self.now()));
        match (left, self.is_manual()) {
            (Some(left), false) => Some(left),
            (Some(left), true) => Some(left.min(TICK)),
            (None, true) => Some(TICK),
            (None, false) => None,
        }
    }

    /// Whether `deadline` has passed.
    pub(crate) fn is_past(&self, deadline: Option<Instant>) -> bool {
        deadline.is_some_and(|deadline| deadline <= self.now())
    }
}

/// A moment by some clock, in half the memory of an [`Instant`]: a connection has several.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Moment(u64);

/// When this process began to count moments.
static BEGINNING: OnceLock<Instant> = OnceLock::new();

impl Moment {
    /// So much later; never, beyond what can be counted.
    pub(crate) fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(nanos(time)))
    }

    /// How long it is since `earlier`, or zero.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The earlier of two deadlines, where `None` is never.
pub(crate) fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_it_is_advanced() {
        let clock = Clock::manual();
        let before = clock.now();
        assert_eq!(clock.now(), before);
        clock.advance(Duration::from_secs(3600));
        assert_eq!(clock.now() - before, Duration::from_secs(3600));
    }

    #[test]
    fn the_earlier_deadline_counts_and_none_is_never() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        assert_eq!(earlier(Some(later), Some(now)), Some(now));
        assert_eq!(earlier(None, Some(now)), Some(now));
        assert_eq!(earlier(None, None), None);
    }
}
