//! The messages and lines of a connection, one after another.

use std::io::{self, BufRead};
use std::time::Instant;

use super::reader::{Filled, Reader};
use crate::codec::{Codec, Decoded, Input, Lines};

/// What asking a codec came to.
enum Step<T> {
    Failed(usize, io::Error),
    Found(usize, Option<T>),
    Skipped(usize),
    Waits,
}

/// The messages of a connection, made by [`Reader::messages`].
#[derive(Debug)]
pub struct ReaderMessages<'a, C> {
    reader: Reader<'a>,
    codec: C,
    /// When the message at the beginning of the buffer began.
    started: Option<Instant>,
    /// Whether the codec has been told of the pause that there is.
    was_quiet: bool,
    has_ended: bool,
}

impl<'a, C: Codec> ReaderMessages<'a, C> {
    pub(super) fn new(reader: Reader<'a>, codec: C) -> Self {
        Self {
            reader,
            codec,
            started: None,
            was_quiet: false,
            has_ended: false,
        }
    }

    /// Calls `receive` with the next message; `None` is the end of input.
    ///
    /// What a peer has sent before it ended its side is told as the codec sees fit.
    /// What it had not finished when a drain ended it is dropped: nobody knows what it would have been.
    ///
    /// A message must be whole within
    /// [`Limits::read_timeout`](crate::Limits#structfield.read_timeout) of its first byte.
    ///
    /// # Errors
    ///
    /// What the codec says of bytes that are no message, after which it can be called again; else as
    /// [`read`](std::io::Read::read).
    pub fn next_with<T>(
        &mut self,
        receive: impl FnOnce(C::Message<'_>) -> T,
    ) -> io::Result<Option<T>> {
        let mut receive = Some(receive);
        let mut why = if self.has_ended {
            Input::End
        } else {
            Input::More
        };
        loop {
            match self.decode(why, &mut receive) {
                Step::Found(used, found) => {
                    self.consume(used);
                    return Ok(found);
                }
                Step::Failed(used, error) => {
                    self.consume(used);
                    return Err(error);
                }
                Step::Skipped(used) => self.consume(used),
                Step::Waits if self.has_ended => return Ok(None),
                Step::Waits => why = self.fill()?,
            }
        }
    }

    /// Asks the codec once.
    fn decode<T, F>(&mut self, why: Input, receive: &mut Option<F>) -> Step<T>
    where
        F: FnOnce(C::Message<'_>) -> T,
    {
        let input = self.reader.buffer.filled();
        if input.is_empty() {
            return Step::Waits;
        }
        match self.codec.decode(input, why) {
            Decoded::Incomplete => Step::Waits,
            Decoded::Skipped { used } => Step::Skipped(used),
            Decoded::Invalid { used, error } => Step::Failed(used, error),
            Decoded::Message { message, used } => {
                Step::Found(used, receive.take().map(|receive| receive(message)))
            }
        }
    }

    /// Waits for more input and tells why the codec is to be asked again.
    fn fill(&mut self) -> io::Result<Input> {
        let partial = self.reader.buffer.filled().len();
        if partial == 0 {
            self.reader.buffer.shrink();
        } else if self.started.is_none() && self.reader.read.is_some() {
            self.started = Some(self.reader.server.shared().clock.now());
        }
        let limit = self.codec.frame_bytes();
        let limit = limit.unwrap_or(self.reader.server.limits().line_bytes);
        if partial >= limit.max(1) {
            self.consume(partial);
            let text = format!("the message is longer than {limit} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let pause = if partial == 0 {
            None
        } else {
            self.codec.quiet_after()
        };
        let quiet = pause.filter(|_| !self.was_quiet);
        let filled = self.reader.fill(self.started, quiet)?;
        self.was_quiet = matches!(filled, Filled::Quiet);
        Ok(match filled {
            Filled::Bytes => Input::More,
            Filled::Quiet => Input::Quiet,
            Filled::End => {
                self.has_ended = true;
                Input::End
            }
            Filled::Drained => {
                self.has_ended = true;
                if pause.is_some() {
                    // A message that a pause may end is whole as it stands.
                    return Ok(Input::Quiet);
                }
                self.consume(partial);
                Input::End
            }
        })
    }

    fn consume(&mut self, used: usize) {
        self.reader.consume(used);
        self.started = None;
    }
}

/// The lines of a connection, made by [`Reader::lines`].
#[derive(Debug)]
pub struct ReaderLines<'a> {
    messages: ReaderMessages<'a, Lines>,
}

impl<'a> ReaderLines<'a> {
    pub(super) fn new(messages: ReaderMessages<'a, Lines>) -> Self {
        Self { messages }
    }
}

impl ReaderMessages<'_, Lines> {
    /// Has whoever reads on read on behind the line that was too long.
    pub(super) fn keep_discarding(&mut self) {
        self.reader.buffer.discards_line = self.codec.is_discarding();
    }
}

impl Drop for ReaderLines<'_> {
    fn drop(&mut self) {
        self.messages.keep_discarding();
    }
}

impl Iterator for ReaderLines<'_> {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.messages
            .next_with(|line| line.text().to_vec())
            .transpose()
    }
}
