//! Driving a session on a thread that may wait: the loop of a message handler on Sequential,
//! Threading and Forking.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::Session;
use crate::clock::Moment;
use crate::engine::{Driven, Wants};
use crate::handler::MessageHandler;
use crate::live::{Activity, Alarm};
use crate::outbox::{Flusher, Outbox, Way};
use crate::request::{Closer, cut_error};
use crate::socket::Received;
use crate::telemetry::EndReason;
use crate::turn::{Conductor, Turn, is_newer};
use crate::wait::{Interest, Polled, Waiter};
use crate::wake::Waker;

/// Bytes that are read at once.
const CHUNK: usize = 16 << 10;

/// What a thread that drives one connection can be reached by.
struct Alone {
    closer: Arc<dyn Closer>,
    /// The newest pause that is over.
    resumed: AtomicU32,
    /// Made when somebody waits; `None` without a descriptor for it.
    waker: OnceLock<Option<Waker>>,
}

impl Flusher for Alone {
    fn look_after(&self, outbox: Outbox) {
        self.closer.look_after(outbox);
    }
}

impl Alone {
    fn wake(&self) {
        if let Some(Some(waker)) = self.waker.get() {
            waker.wake();
        }
    }
}

impl Alarm for Alone {
    fn alarm(&self, _seat: u64) {
        self.wake();
    }
}

impl Conductor for Alone {
    fn resume(&self, _seat: u64, pause: u32) {
        // A resumer that is void takes nothing back.
        let newest = |known| is_newer(pause, known).then_some(pause);
        let _ = self
            .resumed
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, newest);
        self.wake();
    }
}

impl<H: MessageHandler> Session<H> {
    /// Serves the connection to its end, and closes it or has it closed.
    pub(super) fn serve_here(mut self, waiter: &Waiter, has_timeouts: bool) -> EndReason {
        let alone = Arc::new(Alone {
            closer: Arc::clone(&self.link.site.closer),
            resumed: AtomicU32::new(0),
            waker: OnceLock::new(),
        });
        let mut turn = Turn::new(alone.clone(), |_| Way::AtOnce);
        turn.waiter = Some(waiter.clone());
        if let Err(error) = self.converse(waiter, has_timeouts, &alone, &mut turn) {
            self.end_by(error, &mut turn);
        }
        let _ = self.link.flush_waiting(&mut turn);
        let (link, outcome) = self.tell();
        if socketserver_sys::fork::in_child() {
            link.close_here(outcome, waiter)
        } else {
            link.close(outcome);
            outcome
        }
    }

    fn converse(
        &mut self,
        waiter: &Waiter,
        has_timeouts: bool,
        alone: &Alone,
        turn: &mut Turn,
    ) -> io::Result<()> {
        let limits = self.link.site.server.limits().clone();
        let mut told = has_timeouts.then_some(limits.idle_timeout).flatten();
        if matches!(waiter, Waiter::Blocking) && !has_timeouts {
            self.link.socket.set_write_timeout(limits.write_timeout)?;
        }
        let mut buffer = vec![0; CHUNK];
        turn.now = self.now();
        let mut wants = self.open(turn);
        let mut is_silent = false;
        loop {
            self.link.flush_waiting(turn)?;
            if wants.is_over {
                return Ok(());
            }
            if self.link.is_paused {
                wants = self.wait_for_resume(waiter, alone, turn)?;
                is_silent = false;
                continue;
            }
            if !wants.input {
                // What held it up was waited for.
                turn.now = self.now();
                wants = self.attend(turn);
                continue;
            }
            let received = self.link.live().bytes_in();
            let first = self.patience(waiter, is_silent, turn);
            wants = self.wait_for_input(waiter, first, &mut told, &mut buffer, turn)?;
            is_silent = self.link.live().bytes_in() == received;
        }
    }

    fn now(&self) -> Moment {
        self.link.site.server.shared().clock.moment()
    }

    /// Until when to wait for input, by the deadlines that there are; `is_silent` if nothing has come
    /// since it was last asked.
    fn patience(&mut self, waiter: &Waiter, is_silent: bool, turn: &mut Turn) -> Option<Moment> {
        let other = self.deadline();
        // Where the kernel counts, and only silence, its whole time is waited and no clock is read.
        let is_plain = matches!(waiter, Waiter::Blocking) && other.is_none();
        if !is_plain {
            turn.now = self.now();
        }
        if !is_silent {
            // Neither what the handler took nor what the peer took to read is the peer's silence.
            self.link.active = turn.now;
        }
        [self.link.idle_deadline(), other]
            .into_iter()
            .flatten()
            .min()
    }

    fn wait_for_input(
        &mut self,
        waiter: &Waiter,
        first: Option<Moment>,
        told: &mut Option<Duration>,
        buffer: &mut [u8],
        turn: &mut Turn,
    ) -> io::Result<Wants> {
        let timeout = first.map(|first| first.since(turn.now));
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Ok(self.attend(turn));
        }
        if matches!(waiter, Waiter::Blocking) && *told != timeout {
            self.link.socket.set_read_timeout(timeout)?;
            *told = timeout;
        }
        // Who sees it reading may count on the deadline to stand.
        let deadline = match waiter {
            Waiter::Blocking => None,
            Waiter::Polled(polled) => first.and_then(|first| polled.clock.instant(first)),
        };
        self.link.live().now(Activity::Reading);
        let received = self.link.socket.receive(buffer, waiter, deadline);
        turn.now = self.now();
        match received {
            Ok(Received::Bytes(0) | Received::Draining) => Ok(self.end_input(None, turn)),
            Ok(Received::Bytes(count)) => Ok(self.receive(&buffer[..count], turn)),
            Ok(Received::TimedOut) => {
                // The kernel's clock and ours may differ by a little.
                if let (Waiter::Blocking, Some(first)) = (waiter, first) {
                    turn.now = turn.now.max(first);
                }
                Ok(self.attend(turn))
            }
            Err(error) => Ok(self.end_input(Some(error), turn)),
        }
    }

    /// Waits until the pause is over, or the connection is cut off.
    fn wait_for_resume(
        &mut self,
        waiter: &Waiter,
        alone: &Alone,
        turn: &mut Turn,
    ) -> io::Result<Wants> {
        let waker = alone.waker.get_or_init(|| Waker::new().ok());
        let polled = match waiter {
            Waiter::Polled(polled) => polled.clone(),
            Waiter::Blocking => Polled {
                clock: self.link.site.server.shared().clock.clone(),
                interrupt: None,
            },
        };
        self.link.live().now(Activity::Busy);
        let Some(waker) = waker else {
            let text = "no descriptor is left to pause with";
            return Err(io::Error::other(text));
        };
        loop {
            let pause = alone.resumed.load(Ordering::SeqCst);
            turn.now = self.now();
            let mut wants = self.resume(pause, turn);
            if self.deadline().is_some_and(|at| at <= turn.now) {
                wants = self.attend(turn);
            }
            // What was written between two pauses is sent before the second.
            if !self.link.is_paused || !turn.output.is_empty() {
                return Ok(wants);
            }
            if let Some(reason) = self.link.live().cut_reason() {
                return Err(cut_error(reason));
            }
            let wake_at = self.deadline().and_then(|at| polled.clock.instant(at));
            // A drain does not end the pause, so it is not waited for as input is.
            polled.wait(waker.as_fd(), Interest::Changes, wake_at)?;
            waker.take();
        }
    }
}
