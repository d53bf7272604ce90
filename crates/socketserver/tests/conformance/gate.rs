//! A gate in which a handler waits until the test lets it go on, in whatever process it runs.

use std::io::{self, Read};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use socket2::SockRef;

use crate::client::PATIENCE;

/// The test's side of the gate.
pub(crate) struct Gate(UnixListener);

/// A handler that stands in the gate; dropped, it goes on.
#[must_use = "dropped, the handler goes on"]
pub(crate) struct Waiting {
    _line: UnixStream,
}

impl Gate {
    /// Makes the gate at `path`.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        // On Linux it bounds `accept` too.
        SockRef::from(&listener).set_read_timeout(Some(PATIENCE))?;
        Ok(Self(listener))
    }

    /// Waits until a handler stands in the gate.
    pub(crate) fn next(&self) -> io::Result<Waiting> {
        let (line, _) = self.0.accept()?;
        Ok(Waiting { _line: line })
    }
}

/// The handler's side: stands in the gate at `path`, which is shut until the test opens it or is gone.
pub(crate) fn pass(path: &Path) -> io::Result<()> {
    let mut line = UnixStream::connect(path)?;
    line.read_to_end(&mut Vec::new()).map(drop)
}
