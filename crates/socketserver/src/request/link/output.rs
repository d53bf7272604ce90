//! What the handler writes, until it has gone out.

use std::io;
use std::sync::Arc;

use super::Link;
use crate::clock::Moment;
use crate::live::Activity;
use crate::outbox::{Flusher, Outbox};
use crate::request::cut_error;
use crate::telemetry::EndReason;
use crate::turn::Turn;

/// Bytes of output at which a thread that may wait sends them.
const PIECE: usize = 64 << 10;

/// A write of so many bytes goes to the socket itself, rather than being copied first.
const LARGE: usize = 16 << 10;

impl Link {
    /// Writes for the handler.
    pub(crate) fn write(&mut self, bytes: &[u8], turn: &mut Turn) -> io::Result<()> {
        if let Some(reason) = self.live().cut_reason() {
            return Err(cut_error(reason));
        }
        if turn.waiter.is_some() {
            turn.output.extend_from_slice(bytes);
            return if turn.output.len() > PIECE || self.is_shared {
                self.flush_waiting(turn)
            } else {
                Ok(())
            };
        }
        if turn.output.len() > PIECE {
            self.flush(turn)?;
        }
        if self.waiting_bytes() > self.limits().outbox_bytes {
            // On an event loop nobody can wait for the peer in the middle of a message.
            self.live().note_cut(EndReason::SlowConsumer);
            return Err(cut_error(EndReason::SlowConsumer));
        }
        if self.is_shared {
            return self.write_behind(bytes);
        }
        if bytes.len() >= LARGE && self.outbox.is_none() && !self.is_in_flight {
            return self.write_large(bytes, turn);
        }
        turn.output.extend_from_slice(bytes);
        Ok(())
    }

    /// Writes behind what is in the outbox.
    fn write_behind(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(outbox) = &self.outbox else {
            return Ok(());
        };
        self.owes = true;
        outbox.write_own(bytes).map_err(|_| {
            let gone = io::Error::from(io::ErrorKind::BrokenPipe);
            self.live().cut_reason().map_or(gone, cut_error)
        })
    }

    /// Sends what was written and `bytes` without copying them, as far as the socket has room.
    fn write_large(&mut self, bytes: &[u8], turn: &mut Turn) -> io::Result<()> {
        let slices = [io::IoSlice::new(&turn.output), io::IoSlice::new(bytes)];
        let from = usize::from(turn.output.is_empty());
        let sent = self.socket.send_all_now(&slices[from..])?.unwrap_or(0);
        self.live().sent(sent);
        let before = turn.output.len();
        if sent >= before {
            turn.output.clear();
            turn.output.extend_from_slice(&bytes[sent - before..]);
        } else {
            turn.output.drain(..sent);
            turn.output.extend_from_slice(bytes);
        }
        // What is left waits where it is counted, so that no further message is heard.
        self.flush(turn)
    }

    /// Sends what the handler has written, or lets it wait in the outbox.
    pub(crate) fn flush(&mut self, turn: &mut Turn) -> io::Result<()> {
        if turn.output.is_empty() {
            return Ok(());
        }
        let mut sent = 0;
        if self.outbox.is_none() && !self.is_in_flight {
            sent = self.socket.send_now(&turn.output)?.unwrap_or(0);
            self.live().sent(sent);
        }
        if sent < turn.output.len() {
            self.outbox(turn);
            let rest = turn.output.split_off(sent);
            let kept = self.write_behind(&rest);
            turn.clear_output();
            return kept;
        }
        turn.clear_output();
        Ok(())
    }

    /// Sends what the handler has written, and waits for room, on a thread that may.
    pub(crate) fn flush_waiting(&mut self, turn: &mut Turn) -> io::Result<()> {
        let Some(waiter) = &turn.waiter else {
            return Ok(());
        };
        let timeout = self.limits().write_timeout;
        let clock = &self.site.server.shared().clock;
        let mut at = 0;
        let result = loop {
            let rest = &turn.output[at..];
            // An outbox in which others wait too long for room is waited for, with nothing to add.
            if rest.is_empty() && !self.is_full() {
                break Ok(());
            }
            let deadline = waiter.deadline(timeout);
            self.live().now(Activity::Writing);
            let sent = match &self.outbox {
                Some(outbox) => outbox.write(rest, waiter, timeout, clock),
                None => self.socket.send(rest, waiter, deadline),
            };
            match sent {
                Ok(Some(_)) if rest.is_empty() => break Ok(()),
                Ok(Some(count)) => {
                    if self.outbox.is_none() {
                        self.live().sent(count);
                    }
                    at += count;
                }
                Ok(None) => {
                    self.live().note_cut(EndReason::WriteTimeout);
                    break Err(cut_error(EndReason::WriteTimeout));
                }
                Err(error) => break Err(self.live().cut_reason().map_or(error, cut_error)),
            }
        };
        self.live().now(Activity::Busy);
        turn.clear_output();
        result
    }

    /// Takes what was written for the kernel to send, unless something is under way.
    pub(crate) fn take_output(&mut self, turn: &mut Turn) -> io::Result<Option<Vec<u8>>> {
        if turn.output.is_empty() {
            return Ok(None);
        }
        if self.outbox.is_none() && !self.is_in_flight {
            self.is_in_flight = true;
            self.live().sent(turn.output.len());
            if turn.output.len() > LARGE {
                self.owes = true;
                self.watch_output(turn.now);
            }
            return Ok(Some(std::mem::take(&mut turn.output)));
        }
        self.outbox(turn);
        let kept = self.write_behind(&turn.output);
        turn.clear_output();
        kept.map(|()| None)
    }

    /// Makes the outbox, if there is none.
    fn outbox(&mut self, turn: &Turn) -> &Outbox {
        let (socket, live) = (Arc::clone(&self.socket), Arc::clone(self.live()));
        let shared = Arc::clone(self.site.server.shared());
        let flusher: Arc<dyn Flusher> = turn.conductor.clone();
        let (way, is_in_flight) = ((turn.way)(self.seat), self.is_in_flight);
        self.outbox.get_or_insert_with(|| {
            let outbox = Outbox::new(socket, live, shared, &flusher, way);
            outbox.hold(is_in_flight);
            outbox
        })
    }

    /// Whether the kernel is sending.
    pub(crate) fn is_sending(&self) -> bool {
        self.is_in_flight || self.outbox.as_ref().is_some_and(Outbox::is_sending)
    }

    /// What was taken for the kernel to send has been sent.
    pub(crate) fn landed(&mut self) {
        self.is_in_flight = false;
        if let Some(outbox) = &self.outbox {
            outbox.hold(false);
        }
        if let Some(extra) = &mut self.extra {
            extra.stuck = None;
        }
    }

    /// Only a part of what was taken for the kernel to send has been sent: `rest` follows first.
    pub(crate) fn landed_short(&mut self, rest: &[u8], turn: &Turn) {
        self.is_in_flight = false;
        self.owes = true;
        self.live().unsent(rest.len());
        self.outbox(turn).follow(rest);
        if let Some(outbox) = &self.outbox {
            outbox.hold(false);
        }
        if let Some(extra) = &mut self.extra {
            extra.stuck = None;
        }
    }

    /// The outbox, for others to push to; what was written goes before it.
    pub(crate) fn share_outbox(&mut self, turn: &mut Turn) -> io::Result<Outbox> {
        if socketserver_sys::fork::in_child() {
            let text = "a forked child shares no memory: nobody could push to its outbox";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        let outbox = self.outbox(turn).clone();
        self.is_shared = true;
        if !turn.output.is_empty() {
            let written = std::mem::take(&mut turn.output);
            self.write_behind(&written)?;
        }
        Ok(outbox)
    }

    /// Whether an outbox is at its seat.
    pub(crate) fn own_outbox(&self) -> Option<&Outbox> {
        self.outbox.as_ref()
    }

    /// Bytes that wait for the peer to read.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.outbox.as_ref().map_or(0, Outbox::queued_bytes)
    }

    /// Whether its handler is to wait until the peer has read of what it wrote.
    pub(crate) fn is_full(&self) -> bool {
        self.owes && self.waiting_bytes() > self.limits().outbox_bytes / 2
    }

    /// As [`is_full`](Self::is_full), between two messages of a loop's turn: much that was written in
    /// it is sent before the next is heard.
    pub(crate) fn fills_up(&mut self, turn: &mut Turn) -> io::Result<bool> {
        let much = self.limits().outbox_bytes / 2;
        if turn.output.len() > much && turn.waiter.is_none() {
            self.flush(turn)?;
        }
        Ok(self.is_full())
    }

    /// Looks after what has become of the output; tells whether some waits.
    pub(crate) fn check_output(&mut self, now: Moment) -> bool {
        let Some(outbox) = &self.outbox else {
            if !self.is_in_flight {
                self.owes_nothing(now);
            }
            return self.owes;
        };
        let waits = outbox.queued_bytes() > 0;
        if !waits {
            if !self.is_shared && outbox.is_at_rest() {
                self.outbox = None;
            }
            if let Some(extra) = &mut self.extra {
                extra.stuck = None;
            }
            self.owes_nothing(now);
        }
        waits
    }

    /// What the handler wrote has gone out: its peer was not silent, but busy reading.
    fn owes_nothing(&mut self, now: Moment) {
        if std::mem::take(&mut self.owes) {
            self.active = self.active.max(now);
        }
    }

    /// Has the write timeout begin, unless it has, and anew where something has gone out since.
    pub(crate) fn watch_stuck(&mut self, now: Moment) {
        let noted = self.peek().and_then(|extra| extra.stuck);
        let is_noted = |(_, sent)| sent == self.live().bytes_out();
        if self.owes && !noted.is_some_and(is_noted) {
            self.watch_output(now);
        }
    }

    /// Notes whether what the handler wrote is stuck, for the write timeout; cuts it off if it has been
    /// for too long.
    pub(crate) fn watch_output(&mut self, now: Moment) {
        let Some(timeout) = self.limits().write_timeout.filter(|_| self.owes) else {
            return;
        };
        let sent = self.live().bytes_out();
        match self.extra().stuck {
            Some((since, before)) if before == sent => {
                if now >= since.after(timeout) {
                    // At once: its closing would wait as long again for the same peer.
                    self.live().cut(EndReason::WriteTimeout);
                }
            }
            _ => self.extra().stuck = Some((now, sent)),
        }
    }
}
