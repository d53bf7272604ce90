//! What is to be sent: lines that wait for the socket.

use std::io;

/// How much may wait; the input is not read when there is more.
const ENOUGH: usize = 64 << 10;

/// The bytes that wait to be sent.
///
/// A line that was sent in part when the connection was lost is sent again as a whole.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    bytes: Vec<u8>,
    /// How many of them have been sent; they belong to a line that has not been sent whole.
    sent: usize,
}

impl Outgoing {
    /// Adds bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Puts a line before all others; nothing may have been sent since [`rewind`](Self::rewind).
    pub(super) fn push_first(&mut self, line: &str) {
        debug_assert_eq!(self.sent, 0, "a line is under way");
        self.bytes.splice(..0, line.bytes());
    }

    /// Whether `line` is among what waits.
    pub(super) fn holds(&self, line: &str) -> bool {
        let mut lines = self.bytes.split_inclusive(|&byte| byte == b'\n');
        lines.any(|waiting| waiting == line.as_bytes())
    }

    /// Whether everything has been sent.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.len() == self.sent
    }

    /// Whether so much waits that the input is to wait too.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= ENOUGH
    }

    /// Sends what `write` takes, until it would wait; tells whether it took any.
    pub(super) fn send(
        &mut self,
        mut write: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<bool> {
        let mut any = false;
        while !self.is_empty() {
            match write(&self.bytes[self.sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    any = true;
                    self.sent += count;
                    self.forget_whole_lines();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(any)
    }

    fn forget_whole_lines(&mut self) {
        if let Some(end) = self.bytes[..self.sent]
            .iter()
            .rposition(|&byte| byte == b'\n')
        {
            self.bytes.drain(..=end);
            self.sent -= end + 1;
        }
    }

    /// Begins again with the line that was sent in part.
    pub(super) fn rewind(&mut self) {
        self.sent = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends at most `most` bytes, and tells which.
    fn sent(outgoing: &mut Outgoing, mut most: usize) -> Vec<u8> {
        let mut taken = Vec::new();
        outgoing
            .send(|bytes| {
                let count = bytes.len().min(most);
                most -= count;
                taken.extend_from_slice(&bytes[..count]);
                if count == 0 {
                    Err(io::ErrorKind::WouldBlock.into())
                } else {
                    Ok(count)
                }
            })
            .unwrap();
        taken
    }

    #[test]
    fn a_line_sent_in_part_is_sent_again_whole_and_the_others_once() {
        let mut outgoing = Outgoing::default();
        outgoing.push(b"one\ntwo\nthree\n");
        assert_eq!(sent(&mut outgoing, 6), b"one\ntw");
        outgoing.rewind();
        outgoing.push_first("/nick ada\n");
        assert_eq!(sent(&mut outgoing, 100), b"/nick ada\ntwo\nthree\n");
        assert!(outgoing.is_empty());
    }

    #[test]
    fn a_line_that_waits_is_found_whole_only() {
        let mut outgoing = Outgoing::default();
        outgoing.push(b"one\n/nick adam\n/nick ada");
        assert!(!outgoing.holds("/nick ada\n"));
        assert!(outgoing.holds("/nick adam\n"));
    }

    #[test]
    fn it_is_full_before_it_grows_without_bound() {
        let mut outgoing = Outgoing::default();
        assert!(!outgoing.is_full());
        outgoing.push(&vec![b'x'; ENOUGH]);
        assert!(outgoing.is_full());
    }

    #[test]
    fn a_write_that_fails_is_told() {
        let mut outgoing = Outgoing::default();
        outgoing.push(b"x\n");
        assert!(
            outgoing
                .send(|_| Err(io::ErrorKind::BrokenPipe.into()))
                .is_err()
        );
        assert!(outgoing.send(|_| Ok(0)).is_err());
    }
}
