//! A thread for each request.

use std::io;
use std::thread;

use super::{BlockingEngine, Engine, Place, SharedMemory, Task};

/// Runs each request on a thread of its own: Python's `ThreadingMixIn`.
///
/// How many run at once is bounded by [`Limits::connections`](crate::Limits#structfield.connections).
/// A thread ends with its request; the server waits for all of them when it drains.
#[derive(Clone, Copy, Debug, Default)]
pub struct Threading {
    stack_bytes: Option<usize>,
}

impl Threading {
    /// Bytes of stack for each thread; default `None`, that of `std` (2 MiB, of which only what is
    /// used takes memory).
    #[must_use]
    pub fn stack_bytes(mut self, bytes: Option<usize>) -> Self {
        self.stack_bytes = bytes;
        self
    }
}

impl Engine for Threading {
    fn name(&self) -> &'static str {
        "threading"
    }

    fn place(&self) -> Place {
        Place::Thread
    }

    fn process_request(&self, task: Task) -> io::Result<()> {
        // It has no name: to set one is a system call, a thirtieth of what a short connection costs.
        let mut builder = thread::Builder::new();
        if let Some(bytes) = self.stack_bytes {
            builder = builder.stack_size(bytes);
        }
        // The thread is not joined but counted: its request's seat is given back when it ends.
        builder.spawn(move || task.run()).map(drop)
    }
}

impl BlockingEngine for Threading {}
impl SharedMemory for Threading {}
