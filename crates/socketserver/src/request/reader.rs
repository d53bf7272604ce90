//! The reading half of a connection: Python's `rfile`.

use std::io::{self, BufRead, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::connection::cut_error;
use super::messages::{ReaderLines, ReaderMessages};
use crate::codec::{Codec, Lines};
use crate::control::ServerHandle;
use crate::live::{Activity, Live};
use crate::socket::{Received, Socket};
use crate::telemetry::EndReason;
use crate::wait::Waiter;

/// Bytes that are read at once into the buffer.
const CHUNK: usize = 8 << 10;

/// The reading half of a connection.
///
/// It buffers what lines and messages need; a plain [`read`](Read::read) goes past the buffer.
#[derive(Debug)]
pub struct Reader<'a> {
    pub(super) socket: &'a Socket,
    pub(super) live: &'a Live,
    pub(super) waiter: &'a Waiter,
    pub(super) buffer: &'a mut Buffer,
    pub(super) idle: Option<Duration>,
    pub(super) read: Option<Duration>,
    pub(super) told: &'a mut Option<Duration>,
    pub(super) peer_has_ended: &'a mut bool,
    pub(super) server: &'a ServerHandle,
}

/// What has been received and not been read.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// Whether the rest of an overlong line is still to come, which nobody is to see.
    pub(super) discards_line: bool,
}

impl Buffer {
    pub(super) fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Room for more, behind what is filled.
    fn room(&mut self) -> &mut [u8] {
        if self.start > 0 && self.bytes.len() - self.end < CHUNK {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.bytes.len() - self.end < CHUNK {
            self.bytes.resize(self.end + CHUNK, 0);
        }
        &mut self.bytes[self.end..]
    }

    /// Gives the memory of a large message back once it has been read.
    pub(super) fn shrink(&mut self) {
        if self.start == self.end && self.bytes.len() > 2 * CHUNK {
            *self = Self::default();
        }
    }
}

/// How filling the buffer went.
pub(super) enum Filled {
    Bytes,
    /// A drain has ended the input, and not the peer.
    Drained,
    End,
    Quiet,
}

impl<'a> Reader<'a> {
    /// The lines that the peer sends, without their ends; each at most
    /// [`Limits::line_bytes`](crate::Limits#structfield.line_bytes) long, its end included.
    ///
    /// What stands before the end of input is a line too.
    /// A longer line is an error of the kind `InvalidData`, and the next item the line after it.
    pub fn lines(self) -> ReaderLines<'a> {
        let limit = self.server.limits().line_bytes;
        let lines = Lines::new(limit).discarding(self.buffer.discards_line);
        ReaderLines::new(self.messages(lines))
    }

    /// The messages that the peer sends, as `codec` cuts them.
    pub fn messages<C: Codec>(self, codec: C) -> ReaderMessages<'a, C> {
        ReaderMessages::new(self, codec)
    }

    /// Reads one line with its end into `line`, which is emptied first; 0 is the end of input.
    ///
    /// # Errors
    ///
    /// `InvalidData` for a line longer than
    /// [`Limits::line_bytes`](crate::Limits#structfield.line_bytes), of which the rest is then discarded;
    /// else as [`read`](Read::read).
    pub fn read_line(&mut self, line: &mut Vec<u8>) -> io::Result<usize> {
        line.clear();
        let limit = self.server.limits().line_bytes;
        let reader = Reader {
            socket: self.socket,
            live: self.live,
            waiter: self.waiter,
            buffer: self.buffer,
            idle: self.idle,
            read: self.read,
            told: self.told,
            peer_has_ended: self.peer_has_ended,
            server: self.server,
        };
        let lines = Lines::new(limit).discarding(reader.buffer.discards_line);
        let mut messages = reader.messages(lines);
        let found = messages.next_with(|found| line.extend_from_slice(found.raw()));
        messages.keep_discarding();
        Ok(found?.map_or(0, |()| line.len()))
    }

    /// Receives into `into`, or, if `None`, into the buffer; waits at most `timeout`.
    #[inline]
    fn receive(
        &mut self,
        into: Option<&mut [u8]>,
        timeout: Option<Duration>,
    ) -> io::Result<Received> {
        if matches!(self.waiter, Waiter::Blocking) && *self.told != timeout {
            self.socket.set_read_timeout(timeout)?;
            *self.told = timeout;
        }
        let to_buffer = into.is_none();
        let space = match into {
            Some(into) => into,
            None => self.buffer.room(),
        };
        // Who sees it reading may count on the deadline to stand.
        let deadline = self.waiter.deadline(timeout);
        self.live.now(Activity::Reading);
        let received = self.socket.receive(space, self.waiter, deadline);
        self.live.now(Activity::Busy);
        let received = received.map_err(|error| self.live.cut_reason().map_or(error, cut_error))?;
        match received {
            Received::Bytes(0) => self.ended()?,
            Received::Bytes(count) => {
                self.live.received(count);
                if to_buffer {
                    self.buffer.end += count;
                }
            }
            Received::Draining | Received::TimedOut => {}
        }
        Ok(received)
    }

    /// The input has ended: by the peer, by a drain, or by a cut.
    #[cold]
    fn ended(&mut self) -> io::Result<()> {
        if let Some(reason) = self.live.cut_reason() {
            return Err(cut_error(reason));
        }
        if !self.live.is_drained() {
            *self.peer_has_ended = true;
        }
        Ok(())
    }

    #[cold]
    fn timed_out(&mut self, reason: EndReason) -> io::Error {
        self.live.note_cut(reason);
        cut_error(reason)
    }

    /// Fails if an earlier read has timed out, or somebody has cut the connection off.
    #[inline]
    fn check(&self) -> io::Result<()> {
        match self.live.cut_reason() {
            Some(reason) => Err(cut_error(reason)),
            None => Ok(()),
        }
    }

    /// Fills the buffer: waits for the rest of a message that began at `started`, if one has, and at
    /// most `quiet`.
    pub(super) fn fill(
        &mut self,
        started: Option<Instant>,
        quiet: Option<Duration>,
    ) -> io::Result<Filled> {
        self.check()?;
        let left = match (started, self.read) {
            (Some(started), Some(read)) => {
                let passed = self
                    .server
                    .shared()
                    .clock
                    .now()
                    .saturating_duration_since(started);
                let left = read.saturating_sub(passed);
                if left.is_zero() {
                    return Err(self.timed_out(EndReason::ReadTimeout));
                }
                Some(left)
            }
            _ => None,
        };
        let limits = [self.idle, left, quiet];
        let timeout = limits.into_iter().flatten().min();
        match self.receive(None, timeout)? {
            Received::Draining => Ok(Filled::Drained),
            Received::Bytes(0) if !*self.peer_has_ended => Ok(Filled::Drained),
            Received::Bytes(0) => Ok(Filled::End),
            Received::Bytes(_) => Ok(Filled::Bytes),
            Received::TimedOut if quiet.is_some() && timeout == quiet => Ok(Filled::Quiet),
            Received::TimedOut if left.is_some() && timeout == left => {
                Err(self.timed_out(EndReason::ReadTimeout))
            }
            Received::TimedOut => Err(self.timed_out(EndReason::IdleTimeout)),
        }
    }
}

impl Read for Reader<'_> {
    /// Reads what there is, or waits for it, at most the idle timeout; 0 is the end of input.
    ///
    /// # Errors
    ///
    /// `TimedOut` at the timeout, and from then on; `ConnectionReset` if the peer is gone.
    #[inline]
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let filled = self.buffer.filled();
        if !filled.is_empty() {
            let count = filled.len().min(into.len());
            into[..count].copy_from_slice(&filled[..count]);
            self.consume(count);
            return Ok(count);
        }
        if into.is_empty() {
            return Ok(0);
        }
        self.check()?;
        match self.receive(Some(into), self.idle)? {
            Received::Bytes(count) => Ok(count),
            Received::Draining => Ok(0),
            Received::TimedOut => Err(self.timed_out(EndReason::IdleTimeout)),
        }
    }
}

impl BufRead for Reader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.buffer.filled().is_empty() {
            self.fill(None, None)?;
        }
        Ok(self.buffer.filled())
    }

    fn consume(&mut self, count: usize) {
        self.buffer.consume(count);
    }
}

impl AsFd for Reader<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
