//! A transport without a network.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use crate::address::Address;
use crate::endpoint::Scheme;
use crate::live::lock;
use crate::transport::{BoxListener, IntoAddress, Listener, Stream, Transport};
use crate::wake::Waker;

/// A transport that listens nowhere: a test connects by [`connect`](Self::connect).
///
/// ```
/// use socketserver::testing::Memory;
/// use socketserver::{Builder, Connection, Threading, handler_fn};
/// use std::io::{Read, Write};
///
/// let memory = Memory::new()?;
/// let echo = |connection: &mut Connection| {
///     let (mut reader, mut writer) = connection.split();
///     std::io::copy(&mut reader, &mut writer).map(drop)
/// };
/// let server = Builder::new(memory.clone(), Threading::default())
///     .bind((), handler_fn(echo))?
///     .start()?;
/// let mut client = memory.connect()?;
/// client.write_all(b"hello")?;
/// client.shutdown(std::net::Shutdown::Write)?;
/// let mut answer = String::new();
/// client.read_to_string(&mut answer)?;
/// assert_eq!(answer, "hello");
/// server.stop()?;
/// # Ok::<(), socketserver::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Memory(Arc<Queue>);

#[derive(Debug)]
struct Queue {
    waiting: Mutex<VecDeque<OwnedFd>>,
    waker: Waker,
}

impl Memory {
    /// A transport to which nobody has connected.
    ///
    /// # Errors
    ///
    /// `EMFILE` without a free descriptor.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(Queue {
            waiting: Mutex::default(),
            waker: Waker::new()?,
        })))
    }

    /// Connects; the server accepts the other end.
    ///
    /// # Errors
    ///
    /// `EMFILE` without a free descriptor.
    pub fn connect(&self) -> io::Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        lock(&self.0.waiting).push_back(theirs.into());
        self.0.waker.wake();
        Ok(ours)
    }
}

impl Transport for Memory {
    type Accepted = Stream;

    fn scheme(&self, _address: &Address) -> Scheme {
        Scheme::Unix
    }

    fn bind(&self, _address: &Address) -> io::Result<BoxListener<Stream>> {
        Ok(Box::new(MemoryListener(Arc::clone(&self.0))))
    }

    fn adopt(&self, _socket: OwnedFd) -> io::Result<BoxListener<Stream>> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "there is no socket to adopt",
        ))
    }
}

#[derive(Debug)]
struct MemoryListener(Arc<Queue>);

impl Listener for MemoryListener {
    type Accepted = Stream;

    fn accept(&mut self) -> io::Result<(Stream, Address)> {
        let mut waiting = lock(&self.0.waiting);
        if let Some(fd) = waiting.pop_front() {
            Ok((fd.into(), Address::Unnamed))
        } else {
            self.0.waker.take();
            Err(io::ErrorKind::WouldBlock.into())
        }
    }

    fn local_address(&self) -> io::Result<Address> {
        Ok(Address::Unnamed)
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.waker.as_fd()
    }
}

impl IntoAddress<Memory> for () {
    fn into_addresses(self) -> io::Result<Vec<Address>> {
        Ok(vec![Address::Unnamed])
    }
}
