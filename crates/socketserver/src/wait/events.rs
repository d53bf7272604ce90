//! Many events at once, with what each says.

use std::fmt;
use std::io;
use std::time::Duration;

use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;

use super::{Poller, timespec};

/// Events that are taken at once.
const BATCH: usize = 512;

/// Room for the events of one wait, used again for the next.
pub(crate) struct Events(Vec<epoll::Event>);

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Events").field(&self.0.len()).finish()
    }
}

/// What a descriptor is ready for.
#[expect(clippy::struct_excessive_bools, reason = "they are the kernel's flags")]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Ready {
    pub(crate) token: u64,
    /// There is something to read, or the end of input.
    pub(crate) input: bool,
    /// The peer has ended its side, or the reading side was shut down.
    pub(crate) end: bool,
    /// There is room to write.
    pub(crate) room: bool,
    /// Both sides have ended, or there is an error.
    pub(crate) hang_up: bool,
}

impl Events {
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(BATCH))
    }

    /// No room, in place of what is lent out.
    pub(crate) fn none() -> Self {
        Self(Vec::new())
    }

    /// The events of the last wait.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Ready> + '_ {
        self.0.iter().map(|event| {
            let flags = event.flags;
            let hang_up = flags.intersects(EventFlags::HUP | EventFlags::ERR);
            Ready {
                token: event.data.u64(),
                input: flags.intersects(EventFlags::IN | EventFlags::RDHUP) || hang_up,
                end: flags.contains(EventFlags::RDHUP) || hang_up,
                room: flags.contains(EventFlags::OUT) || hang_up,
                hang_up,
            }
        })
    }
}

impl Poller {
    /// Waits at most `timeout`, for ever if `None`, and puts what is ready in `events`.
    pub(crate) fn wait_for(
        &self,
        events: &mut Events,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        events.0.clear();
        let timeout = timeout.map(timespec);
        let room = rustix::buffer::spare_capacity(&mut events.0);
        match epoll::wait(&self.0, room, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
