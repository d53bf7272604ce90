//! The watchdog: tells of a handler that holds its loop.
//!
//! It looks once in a while whether a loop is still in the call that it was in before.
//! While all loops sleep it sleeps too, for as long as they do.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::live::lock;

/// What a loop tells of itself.
#[derive(Debug, Default)]
pub(super) struct Watched {
    /// The connection whose handler is called; 0 is none.
    connection: AtomicU64,
    /// How many calls there have been.
    calls: AtomicU64,
    is_asleep: AtomicBool,
    dog: Arc<Dog>,
}

/// What the loops and their watchdog share.
#[derive(Debug, Default)]
pub(super) struct Dog {
    /// Whether it sleeps until a loop wakes.
    dozes: AtomicBool,
    stops: Mutex<bool>,
    news: Condvar,
}

impl Watched {
    pub(super) fn new(dog: &Arc<Dog>) -> Self {
        Self {
            dog: Arc::clone(dog),
            is_asleep: AtomicBool::new(true),
            ..Self::default()
        }
    }

    /// A handler of `connection` is called.
    #[inline]
    pub(super) fn calls(&self, connection: u64) {
        // One thread writes; the dog reads.
        let calls = self.calls.load(Ordering::Relaxed);
        self.calls.store(calls.wrapping_add(1), Ordering::Relaxed);
        self.connection.store(connection, Ordering::Relaxed);
    }

    /// It has returned.
    #[inline]
    pub(super) fn is_back(&self) {
        self.connection.store(0, Ordering::Relaxed);
    }

    /// The loop is about to wait.
    pub(super) fn sleeps(&self) {
        self.is_asleep.store(true, Ordering::Relaxed);
    }

    /// The loop has something to do.
    pub(super) fn wakes(&self) {
        self.is_asleep.store(false, Ordering::SeqCst);
        if self.dog.dozes.load(Ordering::SeqCst) {
            self.dog.wake();
        }
    }
}

impl Dog {
    fn wake(&self) {
        let _stops = lock(&self.stops);
        self.dozes.store(false, Ordering::SeqCst);
        self.news.notify_all();
    }

    /// Ends the watch.
    pub(super) fn stop(&self) {
        *lock(&self.stops) = true;
        self.news.notify_all();
    }

    /// Looks at `loops` every `period`, and calls `tell` with the connection of a handler that has held
    /// its loop for as long, once for each call.
    pub(super) fn watch(
        &self,
        loops: &[Arc<Watched>],
        period: Duration,
        tell: impl Fn(u64, Duration),
    ) {
        // The call that each loop was in when last looked at, and whether it was told of.
        let mut seen = vec![(0_u64, false); loops.len()];
        loop {
            let stops = lock(&self.stops);
            if *stops {
                return;
            }
            self.dozes.store(true, Ordering::SeqCst);
            let all_sleep = loops.iter().all(|it| it.is_asleep.load(Ordering::SeqCst));
            let stops = if all_sleep {
                self.news
                    .wait(stops)
                    .unwrap_or_else(PoisonError::into_inner)
            } else {
                self.dozes.store(false, Ordering::SeqCst);
                let waited = self.news.wait_timeout(stops, period);
                waited.unwrap_or_else(PoisonError::into_inner).0
            };
            let has_stopped = *stops;
            drop(stops);
            self.dozes.store(false, Ordering::SeqCst);
            if has_stopped {
                return;
            }
            for (watched, (call, told)) in loops.iter().zip(&mut seen) {
                let present = watched.calls.load(Ordering::Relaxed);
                let connection = watched.connection.load(Ordering::Relaxed);
                if connection == 0 || present != *call {
                    (*call, *told) = (present, false);
                } else if !std::mem::replace(told, true) {
                    tell(connection, period);
                }
            }
        }
    }
}
