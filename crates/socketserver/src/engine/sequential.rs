//! One request at a time, on the thread that serves.

use std::io;

use super::{BlockingEngine, Engine, Place, SharedMemory, Task};

/// Runs each request where it stands: one at a time, on the thread in `serve_forever`.
///
/// Python's plain `TCPServer`. While a handler waits for its peer, the server attends to signals, the
/// console and shutdowns, but accepts nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sequential;

impl Engine for Sequential {
    fn name(&self) -> &'static str {
        "sequential"
    }

    fn place(&self) -> Place {
        Place::Caller
    }

    fn process_request(&self, task: Task) -> io::Result<()> {
        task.run();
        Ok(())
    }
}

impl BlockingEngine for Sequential {}
impl SharedMemory for Sequential {}
