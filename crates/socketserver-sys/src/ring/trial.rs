//! Whether a kernel does what it says.
//!
//! A kernel may know every operation and refuse what is new in one, and only trying tells.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::queue::unsupported;
use super::{Completion, Payload, Ring};

/// How long a kernel may take; the bytes are there before it is asked.
const PATIENCE: Duration = Duration::from_secs(2);

/// Sends two messages through `ring` to one receive, and then the end.
pub(super) fn try_out(ring: &mut Ring) -> io::Result<()> {
    let (ours, theirs) = UnixStream::pair()?;
    ring.receive(ours.as_fd(), 0);
    for message in [b"one", b"two"] {
        ring.send(theirs.as_fd(), Payload::Owned(message.to_vec()), 1);
        let mut is_sent = false;
        let mut is_received = false;
        while !is_sent || !is_received {
            match next(ring)? {
                Completion::Sent {
                    token: 1, result, ..
                } => is_sent = result? == message.len(),
                Completion::Received {
                    token: 0,
                    buffer,
                    armed: true,
                } => {
                    is_received = ring.bytes(&buffer) == message;
                    ring.give_back(buffer);
                    if !is_received {
                        return Err(unsupported("receiving what was sent"));
                    }
                }
                Completion::ReceiveFailed { error, .. } => return Err(error),
                _ => return Err(unsupported("a receive that goes on")),
            }
        }
    }
    drop(theirs);
    match next(ring)? {
        Completion::Ended { armed: false, .. } => Ok(()),
        _ => Err(unsupported("the end of a stream")),
    }
}

/// The next completion, which must come soon.
fn next(ring: &mut Ring) -> io::Result<Completion> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(completion) = ring.next() {
            return Ok(completion);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(unsupported("completions in time"));
        }
        ring.wait(Some(left))?;
    }
}
