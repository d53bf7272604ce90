//! The time by which deadlines are measured: the machine's, or a test's.
//!
//! It is monotonic: a step of the wall clock moves no deadline.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
