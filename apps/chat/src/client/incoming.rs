//! What has been received: bytes in, whole lines out.

use std::time::{Duration, Instant};

use crate::text::escape_for_terminal;

/// The longest line that is kept; more is shown in pieces of this size.
const LONGEST_LINE: usize = 256 << 10;

/// The line that is being received.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    partial: Vec<u8>,
    /// When its last bytes came.
    last: Option<Instant>,
}

impl Incoming {
    /// Takes bytes that came at `now`, and gives the lines that they complete to `show`, without
    /// their ends.
    ///
    /// A line is decoded as a whole, so a character may come in pieces.
    pub(super) fn push(&mut self, bytes: &[u8], now: Instant, mut show: impl FnMut(String)) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.partial.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.partial.len() >= LONGEST_LINE {
                show(self.take());
            }
        }
        self.last = (!self.partial.is_empty()).then_some(now);
    }

    /// When a line without an end is to be shown, if no more comes for `pause`.
    pub(super) fn due(&self, pause: Duration) -> Option<Instant> {
        self.last.map(|last| last + pause)
    }

    /// Ends the line that has no end, if there is one.
    pub(super) fn end(&mut self) -> Option<String> {
        self.last = None;
        (!self.partial.is_empty()).then(|| self.take())
    }

    fn take(&mut self) -> String {
        let line = self.partial.strip_suffix(b"\n").unwrap_or(&self.partial);
        let line = escape_for_terminal(line.strip_suffix(b"\r").unwrap_or(line));
        self.partial.clear();
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> (Vec<String>, Option<String>) {
        let mut incoming = Incoming::default();
        let mut lines = Vec::new();
        for piece in pieces {
            incoming.push(piece, Instant::now(), |line| lines.push(line));
        }
        (lines, incoming.end())
    }

    /// D-34: the original's client died of a character in two pieces, and showed a long message as
    /// two.
    #[test]
    fn a_line_is_shown_whole_however_it_came() {
        let text = format!("{}中 end", "a".repeat(1023));
        let bytes = format!("{text}\r\n");
        let bytes = bytes.as_bytes();
        for cut in [1, 1024, 1025, bytes.len() - 1] {
            let (lines, rest) = lines(&[&bytes[..cut], &bytes[cut..]]);
            assert_eq!((lines, rest), (vec![text.clone()], None), "cut at {cut}");
        }
    }

    #[test]
    fn lines_that_came_together_are_shown_apart() {
        let (lines, rest) = lines(&[b"one\ntwo\n\nthr"]);
        assert_eq!(lines, ["one", "two", ""]);
        assert_eq!(rest.as_deref(), Some("thr"));
    }

    #[test]
    fn nothing_that_is_received_acts_on_the_terminal() {
        let (lines, _) = lines(&[b"x \x1b[2J\xff\rhi\n"]);
        assert_eq!(lines, ["x \\x1b[2J\u{fffd}\\rhi"]);
    }

    #[test]
    fn a_line_without_an_end_is_due_after_a_pause() {
        let (mut incoming, now, pause) =
            (Incoming::default(), Instant::now(), Duration::from_secs(1));
        incoming.push(b"x\n", now, drop);
        assert_eq!(incoming.due(pause), None);
        incoming.push(b"y", now, drop);
        assert_eq!(incoming.due(pause), Some(now + pause));
    }

    #[test]
    fn a_line_without_bound_is_shown_in_pieces() {
        let (lines, _) = lines(&[&vec![b'x'; LONGEST_LINE], b"y\n"]);
        assert_eq!(
            lines.iter().map(String::len).collect::<Vec<_>>(),
            [LONGEST_LINE, 1]
        );
    }
}
