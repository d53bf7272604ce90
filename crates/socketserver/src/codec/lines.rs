//! Lines: messages that end at a line feed.

use std::io;
use std::time::Duration;

use memchr::memchr;

use super::encode::{too_long, unencodable};
use super::{Codec, Decoded, Encode, Input};
use crate::limits::Limits;

/// Cuts input into [`Line`]s.
///
/// A line ends at a line feed; what stands before the end of input is a line too.
/// A line longer than the limit is [`Decoded::Invalid`] once, and discarded to its end.
///
/// A message handler that makes none gets lines of at most
/// [`Limits::line_bytes`](crate::Limits#structfield.line_bytes) bytes, their end included, and no
/// [pause](Self::or_pause).
///
/// ```
/// use socketserver::codec::{Codec, Decoded, Input, Lines};
///
/// let mut lines = Lines::new(1024);
/// match lines.decode(b"hello\r\nwor", Input::More) {
///     Decoded::Message { message, used } => {
///         assert_eq!((message.text(), message.raw(), used), (&b"hello"[..], &b"hello\r\n"[..], 7));
///     }
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Lines {
    limit: usize,
    pause: Option<Duration>,
    /// How many bytes of the input are known to hold no line feed.
    searched: usize,
    /// Whether the rest of an overlong line is being discarded.
    discarding: bool,
    /// Whether this peer has ever sent a line feed.
    has_ended_a_line: bool,
}

/// One line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Line<'a> {
    raw: &'a [u8],
}

impl<'a> Line<'a> {
    /// The line as it came in, with its end if it had one.
    #[inline]
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The line without its end, be it `\n` or `\r\n`.
    #[inline]
    pub fn text(&self) -> &'a [u8] {
        let text = self.raw.strip_suffix(b"\n").unwrap_or(self.raw);
        if self.is_ended() {
            text.strip_suffix(b"\r").unwrap_or(text)
        } else {
            text
        }
    }

    /// Whether it had an end; a line that was cut by a pause or by the end of input has none.
    #[inline]
    pub fn is_ended(&self) -> bool {
        self.raw.ends_with(b"\n")
    }
}

impl Lines {
    /// Lines of at most `limit` bytes, their end included.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            pause: None,
            searched: 0,
            discarding: false,
            has_ended_a_line: false,
        }
    }

    /// Hears a peer that has not yet sent a line feed after a pause, too.
    ///
    /// Clients of Python's `socketserver` often send none: what one `send` carried is then a message.
    /// The first line feed ends this for the connection, so that a slow typist is not cut.
    #[must_use]
    pub fn or_pause(mut self, pause: Duration) -> Self {
        self.pause = Some(pause);
        self
    }

    /// These lines, of which the first is the rest of an overlong one if `discarding`.
    pub(crate) fn discarding(mut self, discarding: bool) -> Self {
        self.discarding = discarding;
        self
    }

    /// Whether the rest of an overlong line is still to be discarded.
    pub(crate) fn is_discarding(&self) -> bool {
        self.discarding
    }

    #[cold]
    fn overlong(&self) -> io::Error {
        let text = format!("the line is longer than {} bytes", self.limit);
        io::Error::new(io::ErrorKind::InvalidData, text)
    }

    #[inline]
    fn found<'a>(&mut self, input: &'a [u8], used: usize) -> Decoded<Line<'a>> {
        self.searched = 0;
        let raw = &input[..used];
        if std::mem::take(&mut self.discarding) {
            return Decoded::Skipped { used };
        }
        if used > self.limit {
            return Decoded::Invalid {
                used,
                error: self.overlong(),
            };
        }
        Decoded::Message {
            message: Line { raw },
            used,
        }
    }
}

impl Codec for Lines {
    type Message<'a> = Line<'a>;

    fn for_limits(limits: &Limits) -> Self {
        Self::new(limits.line_bytes)
    }

    #[inline]
    fn decode<'a>(&mut self, input: &'a [u8], why: Input) -> Decoded<Line<'a>> {
        let from = self.searched.min(input.len());
        if let Some(end) = memchr(b'\n', &input[from..]) {
            self.has_ended_a_line = true;
            return self.found(input, from + end + 1);
        }
        if why != Input::More {
            return self.found(input, input.len());
        }
        if self.discarding {
            return Decoded::Skipped { used: input.len() };
        }
        if input.len() >= self.limit {
            self.discarding = true;
            self.searched = 0;
            return Decoded::Invalid {
                used: input.len(),
                error: self.overlong(),
            };
        }
        self.searched = input.len();
        Decoded::Incomplete
    }

    fn frame_bytes(&self) -> Option<usize> {
        Some(self.limit)
    }

    fn quiet_after(&self) -> Option<Duration> {
        if self.has_ended_a_line || self.discarding {
            None
        } else {
            self.pause
        }
    }
}

impl Encode<[u8]> for Lines {
    /// Appends the text and a line feed; `InvalidInput` also for a text with a line feed in it, or with
    /// a carriage return at its end, which would be taken for a part of the line's.
    #[inline]
    fn encode(&self, text: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
        if text.len() >= self.limit {
            return Err(too_long(text.len().saturating_add(1), self.limit));
        }
        if text.ends_with(b"\r") || memchr(b'\n', text).is_some() {
            return Err(unencodable(
                "the line has the end of a line in it".to_owned(),
            ));
        }
        output.extend_from_slice(text);
        output.push(b'\n');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `pieces` one after another and collects what comes out.
    fn lines(codec: &mut Lines, pieces: &[&[u8]]) -> Vec<Result<Vec<u8>, String>> {
        let mut input = Vec::new();
        let mut found = Vec::new();
        let last = pieces.len();
        for (at, piece) in pieces.iter().copied().chain([&b""[..]]).enumerate() {
            input.extend_from_slice(piece);
            let why = if at == last { Input::End } else { Input::More };
            while !input.is_empty() {
                let used = match codec.decode(&input, why) {
                    Decoded::Incomplete => break,
                    Decoded::Skipped { used } => used,
                    Decoded::Invalid { used, error } => {
                        found.push(Err(error.to_string()));
                        used
                    }
                    Decoded::Message { message, used } => {
                        found.push(Ok(message.text().to_vec()));
                        used
                    }
                };
                input.drain(..used);
            }
        }
        found
    }

    #[test]
    fn lines_come_out_the_same_however_they_are_split() {
        let text = b"one\r\n\ntwo\nthree";
        let whole = lines(&mut Lines::new(100), &[text]);
        assert_eq!(whole.len(), 4);
        for split in 0..text.len() {
            let (a, b) = text.split_at(split);
            assert_eq!(
                lines(&mut Lines::new(100), &[a, b]),
                whole,
                "split at {split}"
            );
        }
        let bytes: Vec<_> = text.chunks(1).collect();
        assert_eq!(lines(&mut Lines::new(100), &bytes), whole);
    }

    #[test]
    fn an_overlong_line_is_told_once_and_the_next_is_heard() {
        let long = [b'x'; 30];
        for pieces in [
            &[&long[..], b"yyy\nnext\n"][..],
            &[b"xxxxxxxxxxxxxxxxxx\nnext\n"],
            &[b"xxxxx", b"xxxxxxx", b"y\nnext\n"],
        ] {
            let found = lines(&mut Lines::new(10), pieces);
            assert_eq!(found.len(), 2, "{found:?}");
            assert!(found[0].as_ref().unwrap_err().contains("10 bytes"));
            assert_eq!(found[1].as_deref(), Ok(&b"next"[..]));
        }
    }

    #[test]
    fn a_pause_ends_a_message_until_the_peer_has_sent_a_line_feed() {
        let mut codec = Lines::new(100).or_pause(Duration::from_millis(100));
        assert_eq!(codec.quiet_after(), Some(Duration::from_millis(100)));
        assert!(matches!(
            codec.decode(b"hi", Input::More),
            Decoded::Incomplete
        ));
        assert!(matches!(
            codec.decode(b"hi", Input::Quiet),
            Decoded::Message { used: 2, .. }
        ));
        assert!(matches!(
            codec.decode(b"hi\n", Input::More),
            Decoded::Message { used: 3, .. }
        ));
        assert_eq!(codec.quiet_after(), None);
    }

    #[test]
    fn a_carriage_return_alone_is_text() {
        assert_eq!(
            lines(&mut Lines::new(100), &[b"a\rb\r"]),
            [Ok(b"a\rb\r".to_vec())]
        );
    }
}
