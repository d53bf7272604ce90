//! The connection of a message handler: what is known of it between two messages.
//!
//! It is small, for there may be many of it; what only some need at some time is in [`Extra`].

use std::sync::Arc;
use std::time::Duration;

use super::close::Closing;
use crate::clock::Moment;
use crate::control::ServerHandle;
use crate::hooks::GuardedHooks;
use crate::limits::Limits;
use crate::live::{Live, Ticket};
use crate::outbox::{Flusher, Outbox};
use crate::socket::Socket;
use crate::telemetry::EndReason;
use crate::wait::Waiter;

mod extra;
mod output;

pub(crate) use extra::Extra;

/// Sees to the closing of connections, and to the outboxes of those that are closing.
pub(crate) trait Closer: Flusher {
    /// Looks after `closing` until it has closed.
    fn close(&self, closing: Closing);
}

/// What all connections of a run share.
pub(crate) struct Site {
    pub(crate) server: ServerHandle,
    pub(crate) hooks: GuardedHooks,
    pub(crate) closer: Arc<dyn Closer>,
}

/// A connection, between the loop that drives it and the handler that serves it.
#[expect(
    clippy::struct_excessive_bools,
    reason = "a state of each would be larger, and there may be many"
)]
pub(crate) struct Link {
    ticket: Ticket,
    pub(crate) socket: Arc<Socket>,
    pub(crate) site: Arc<Site>,
    extra: Option<Box<Extra>>,
    outbox: Option<Outbox>,
    /// When input last came.
    pub(crate) active: Moment,
    /// Where its loop serves it.
    pub(crate) seat: u64,
    pub(crate) peer_has_ended: bool,
    /// Whether the handler has asked for the outbox, so that others may push.
    is_shared: bool,
    /// Whether the handler itself has written what waits.
    pub(crate) owes: bool,
    /// Whether handling waits for a [`Resumer`](super::Resumer).
    pub(crate) is_paused: bool,
    /// Whether the kernel is sending what the handler has written.
    pub(crate) is_in_flight: bool,
}

impl Link {
    pub(crate) fn new(ticket: Ticket, socket: Arc<Socket>, site: Arc<Site>, now: Moment) -> Self {
        Self {
            ticket,
            socket,
            site,
            extra: None,
            outbox: None,
            active: now,
            seat: 0,
            peer_has_ended: false,
            is_shared: false,
            owes: false,
            is_paused: false,
            is_in_flight: false,
        }
    }

    pub(crate) fn live(&self) -> &Arc<Live> {
        &self.ticket.live
    }

    pub(crate) fn limits(&self) -> &Limits {
        self.site.server.limits()
    }

    pub(crate) fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    pub(crate) fn peek(&self) -> Option<&Extra> {
        self.extra.as_deref()
    }

    /// Gives the memory of what is not needed back.
    pub(crate) fn tidy(&mut self) {
        if self.extra.as_ref().is_some_and(|extra| extra.is_empty()) {
            self.extra = None;
        }
    }

    /// Takes the beginning of a message out.
    pub(crate) fn take_pending(&mut self) -> Vec<u8> {
        match &mut self.extra {
            Some(extra) => std::mem::take(&mut extra.pending),
            None => Vec::new(),
        }
    }

    /// Keeps the beginning of a message; `is_new` if it is another than before.
    pub(crate) fn keep_pending(&mut self, mut pending: Vec<u8>, is_new: bool, now: Moment) {
        if pending.is_empty() {
            if let Some(extra) = &mut self.extra {
                extra.started = None;
                extra.was_quiet = false;
            }
            return;
        }
        if pending.capacity() > 4 * pending.len().max(1024) {
            pending.shrink_to(2 * pending.len());
        }
        let extra = self.extra();
        extra.pending = pending;
        if is_new || extra.started.is_none() {
            extra.started = Some(now);
        }
    }

    /// Has the message that was held up take its time from now on.
    pub(crate) fn begin_message_anew(&mut self, now: Moment) {
        if let Some(extra) = &mut self.extra
            && extra.started.is_some()
        {
            extra.started = Some(now);
        }
    }

    pub(crate) fn has_pending(&self) -> bool {
        self.peek().is_some_and(|extra| !extra.pending.is_empty())
    }

    /// When the silence of its peer ends it.
    pub(crate) fn idle_deadline(&self) -> Option<Moment> {
        if self.is_paused || self.owes {
            // Whoever has something to read is watched by the write timeout.
            return None;
        }
        let own = self.peek().and_then(|extra| extra.idle_timeout);
        let timeout = own.unwrap_or(self.limits().idle_timeout)?;
        Some(self.active.after(timeout))
    }

    /// Whether its idle timeout is another than that of the others.
    pub(crate) fn has_own_idle_timeout(&self) -> bool {
        self.peek()
            .is_some_and(|extra| extra.idle_timeout.is_some())
    }

    pub(crate) fn set_idle_timeout(&mut self, timeout: Option<Duration>) {
        self.extra().idle_timeout = Some(timeout);
    }

    /// When to look at it again for another reason than silence; `quiet` is the pause that ends a
    /// message.
    pub(crate) fn deadline(&self, quiet: Option<Duration>) -> Option<Moment> {
        let extra = self.peek()?;
        let mut first = extra.wake_at;
        let mut add = |moment: Option<Moment>| {
            first = match (first, moment) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        };
        if !extra.pending.is_empty() && !self.is_paused && !self.is_full() {
            let started = extra.started.zip(self.limits().read_timeout);
            add(started.map(|(started, timeout)| started.after(timeout)));
            let quiet = quiet.filter(|_| !extra.was_quiet);
            add(quiet.map(|quiet| self.active.after(quiet)));
        }
        if extra.idle_timeout.is_some() {
            add(self.idle_deadline());
        }
        add(self.stuck_deadline());
        first
    }

    /// When what the handler wrote will have been stuck for too long.
    pub(crate) fn stuck_deadline(&self) -> Option<Moment> {
        let stuck = self.peek()?.stuck.zip(self.limits().write_timeout);
        stuck.map(|((since, _), timeout)| since.after(timeout))
    }

    /// Whether the message that has begun has taken too long.
    pub(crate) fn is_overdue(&self, now: Moment) -> bool {
        let started = self.peek().and_then(|extra| extra.started);
        !self.is_paused
            && !self.is_full()
            && self.has_pending()
            && started
                .zip(self.limits().read_timeout)
                .is_some_and(|(started, timeout)| now >= started.after(timeout))
    }

    /// Has the connection closed, whose handler said `outcome`.
    pub(crate) fn close(self, outcome: EndReason) {
        let closer = Arc::clone(&self.site.closer);
        closer.close(self.closing(outcome));
    }

    /// Closes the connection here, in a forked child; tells how it ended.
    pub(crate) fn close_here(self, outcome: EndReason, waiter: &Waiter) -> EndReason {
        let limits = self.limits().clone();
        let closing = self.closing(outcome);
        let reason = closing.reason();
        if let Waiter::Polled(polled) = waiter {
            closing.finish_here(polled, &limits);
        }
        reason
    }

    fn closing(self, outcome: EndReason) -> Closing {
        let Self {
            mut ticket,
            socket,
            outbox,
            peer_has_ended,
            ..
        } = self;
        ticket.outcome = outcome;
        Closing::new(socket, outbox, ticket, peer_has_ended)
    }
}
