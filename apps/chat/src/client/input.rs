//! What is typed: bytes in, lines to be sent out.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::outgoing::Outgoing;
use crate::command::Command;
use crate::names::Name;

/// The longest line that is kept until its end is typed; more is sent as it comes.
const LONGEST_LINE: usize = 64 << 10;

/// What is known of the input.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// More may be typed.
    Open,
    /// It has ended.
    Ended,
    /// `quit` was typed: what comes behind it does not count.
    Quit,
}

/// What somebody types, or a pipe brings.
#[derive(Debug)]
pub(super) struct Input<'a> {
    fd: BorrowedFd<'a>,
    state: State,
    partial: Vec<u8>,
    nick: Option<Name>,
}

impl<'a> Input<'a> {
    /// What comes from `fd`; `nick` is the name to ask for until another one is typed.
    pub(super) fn new(fd: BorrowedFd<'a>, nick: Option<Name>) -> Self {
        Self {
            fd,
            state: State::Open,
            partial: Vec::new(),
            nick,
        }
    }

    /// What to poll.
    pub(super) fn fd(&self) -> BorrowedFd<'a> {
        self.fd
    }

    /// Whether more may be typed.
    pub(super) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Whether `quit` was typed.
    pub(super) fn has_quit(&self) -> bool {
        self.state == State::Quit
    }

    /// The name that was last asked for.
    pub(super) fn nick(&self) -> Option<&Name> {
        self.nick.as_ref()
    }

    /// Reads what is there; an input that fails has ended, as a terminal that hangs up does.
    pub(super) fn read(&mut self, outgoing: &mut Outgoing) {
        let mut buffer = [0; 16 << 10];
        match rustix::io::read(self.fd, &mut buffer) {
            Ok(count @ 1..) => self.partial.extend_from_slice(&buffer[..count]),
            Err(Errno::AGAIN | Errno::INTR) => return,
            Ok(0) | Err(_) => {
                self.state = State::Ended;
                if !self.partial.is_empty() {
                    self.partial.push(b'\n');
                }
            }
        }
        let typed = std::mem::take(&mut self.partial);
        for line in typed.split_inclusive(|&byte| byte == b'\n') {
            if line.ends_with(b"\n") {
                self.take_line(line, outgoing);
            } else if line.len() >= LONGEST_LINE {
                outgoing.push(line);
            } else {
                self.partial = line.to_vec();
            }
            if self.has_quit() {
                return;
            }
        }
    }

    fn take_line(&mut self, line: &[u8], outgoing: &mut Outgoing) {
        match Command::parse(String::from_utf8_lossy(line).trim_end()) {
            Command::Quit => {
                self.state = State::Quit;
                // Any server knows this form of it.
                outgoing.push(b"quit\n");
                return;
            }
            Command::Nick(name) => {
                if let Ok(name) = name.parse() {
                    self.nick = Some(name);
                }
            }
            _ => {}
        }
        outgoing.push(line);
    }
}
