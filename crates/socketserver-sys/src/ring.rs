//! Input and output by `io_uring(7)`, for the loop of one thread.
//!
//! A [`Ring`] takes operations and tells their completions.
//! [`receive`](Ring::receive), [`send`](Ring::send), [`watch`](Ring::watch) and
//! [`accept`](Ring::accept) only write into a queue that the kernel shares; one
//! [`wait`](Ring::wait) hands all of them over and waits, and [`next`](Ring::next) reads what has
//! happened out of a second queue: one system call for a turn of the loop, however many messages.
//! Receives, watches and accepts are asked for once and told many times, until they say that they
//! are no longer `armed`.
//! A receive brings its memory from a set of buffers that the ring lends to the kernel: an idle
//! connection holds none, and each [`Buffer`] is to be given back soon.
//! A send takes its [`Payload`] away and brings it back when the kernel is done with it.
//! The caller's tokens have 56 bits; the other eight tell the ring which operation it was.
//!
//! # Descriptors
//!
//! An operation names its descriptor by number until it is submitted, so a descriptor must not be
//! closed between an operation and the next `wait` or `submit`: [`Ring::close`] sees to that.
//! From then on the operation holds the open file, and closing the descriptor neither ends it nor
//! closes the connection: cancel, or call `shutdown(2)`, first.
//! `shutdown(2)` is also what ends a send to a peer that does not read.
//!
//! # Sends
//!
//! Two sends on one socket under way at the same time may mix their bytes: wait for the first.
//!
//! # What must hold
//!
//! The kernel reads payloads and writes to buffers while the program goes on.
//! Both are owned by the ring until the last completion; a ring that is dropped cancels what is
//! under way and waits for it, and should the kernel not be done after [`GRACE`] the memory is left
//! to it for ever, because nothing else would be sound.
//! A ring that is forgotten leaves its memory as well.

mod buffers;
mod completion;
mod meaning;
mod payload;
mod queue;
mod trial;

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use io_uring::{opcode, squeue, types};

pub use buffers::Buffer;
pub use completion::{Completion, Operation};
pub use payload::Payload;

use buffers::{Buffers, GROUP};
use payload::Sends;
use queue::Queue;

/// How long a ring that is dropped waits for the kernel.
pub const GRACE: Duration = Duration::from_secs(1);

/// The greatest token.
pub const GREATEST_TOKEN: u64 = (1 << TOKEN_BITS) - 1;

/// How many bits of the user data are the token; the others are one of the kinds below.
const TOKEN_BITS: u32 = 56;

const ACCEPT: u64 = 1;
const RECEIVE: u64 = 2;
/// The token is the number under which [`Sends`] keeps the payload.
const SEND: u64 = 3;
const WATCH: u64 = 4;
/// Added to another kind: the operation that cancels it.
const CANCEL: u64 = 16;

/// How large a ring is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many operations are queued before they must be submitted; the kernel rounds it up to a
    /// power of two and down to its limit, 32 768.
    pub entries: u32,
    /// How many buffers there are to receive into: 1 to 32 768, rounded up to a power of two.
    pub buffers: u16,
    /// Bytes of a buffer, and thus of the largest piece that is received at once.
    pub buffer_bytes: u32,
    /// Whether the kernel fills a buffer piece by piece (Linux 6.12), so that few large ones serve
    /// many small messages; without it each message takes a buffer.
    ///
    /// For streams only: the rest of a buffer would cut a datagram.
    /// A kernel that does not know it uses whole buffers; [`Ring::is_incremental`] tells.
    pub incremental: bool,
}

/// An `io_uring` with its buffers, for one thread.
///
/// ```compile_fail
/// fn to_another_thread(_: impl Send) {}
/// fn is_refused(ring: socketserver_sys::ring::Ring) {
///     to_another_thread(ring);
/// }
/// ```
#[derive(Debug)]
pub struct Ring {
    /// First, because fields are dropped in order: the `io_uring` before the memory that it uses.
    queue: Queue,
    sends: Sends,
    buffers: Buffers,
    /// Descriptors to close once what is queued has been submitted.
    closing: Vec<OwnedFd>,
    /// The kernel serves the thread that made the ring, and no other.
    thread: PhantomData<*const ()>,
}

impl Ring {
    /// Makes a ring for the calling thread, and tries it out.
    ///
    /// # Errors
    ///
    /// What the kernel said: `ENOSYS` or `EPERM` where `io_uring` is missing or forbidden, `EINVAL`
    /// where the kernel is too old (before Linux 6.1) or a setting is out of its range, `ENOMEM`
    /// and `EMFILE`; [`io::ErrorKind::Unsupported`] if it knows the operations but does not do what
    /// is needed.
    /// The caller does without.
    pub fn new(settings: &Settings) -> io::Result<Self> {
        if settings.incremental
            && let Ok(ring) = Self::tried_out(settings, true)
        {
            return Ok(ring);
        }
        Self::tried_out(settings, false)
    }

    fn tried_out(settings: &Settings, incremental: bool) -> io::Result<Self> {
        let mut ring = Self {
            queue: Queue::new(settings.entries)?,
            sends: Sends::default(),
            buffers: Buffers::new(settings.buffers, settings.buffer_bytes)?,
            closing: Vec::new(),
            thread: PhantomData,
        };
        // SAFETY: the fields are dropped in order, the queue with its io_uring before the buffers,
        // and `drop` leaks the buffers if the kernel is not done.
        unsafe { ring.buffers.register(ring.queue.uring(), incremental)? };
        trial::try_out(&mut ring)?;
        Ok(ring)
    }

    /// Whether the kernel fills buffers piece by piece.
    pub fn is_incremental(&self) -> bool {
        self.buffers.is_incremental()
    }

    /// Receives from a connected socket, again and again.
    #[inline]
    pub fn receive(&mut self, socket: BorrowedFd<'_>, token: u64) {
        let entry = opcode::RecvMulti::new(types::Fd(socket.as_raw_fd()), GROUP);
        self.push_without_memory(entry.build(), RECEIVE, token);
    }

    /// Sends `payload` to a connected socket, or as much of it as there is room for once there is any:
    /// the completion tells how much, so that who waits can tell a slow peer from one that is stuck.
    ///
    /// There is no signal if the peer is gone, only an error.
    #[inline]
    pub fn send(&mut self, socket: BorrowedFd<'_>, payload: Payload, token: u64) {
        let (number, address, length) = self.sends.keep(payload, token);
        let entry = opcode::Send::new(types::Fd(socket.as_raw_fd()), address, length)
            .flags(libc::MSG_NOSIGNAL)
            .build()
            .user_data(user_data(SEND, u64::from(number)));
        // SAFETY: the bytes are kept in `sends`, unchanged and in their place, until the send's only
        // completion releases them, or are leaked.
        unsafe { self.queue.push(&entry) };
    }

    /// Tells whenever `fd` becomes readable.
    ///
    /// It is told when that changes: read until there is no more.
    #[inline]
    pub fn watch(&mut self, fd: BorrowedFd<'_>, token: u64) {
        const READABLE: u32 = libc::POLLIN as u32;
        let entry = opcode::PollAdd::new(types::Fd(fd.as_raw_fd()), READABLE).multi(true);
        self.push_without_memory(entry.build(), WATCH, token);
    }

    /// Tells once that `fd` is readable, at once if it is already.
    #[inline]
    pub fn watch_once(&mut self, fd: BorrowedFd<'_>, token: u64) {
        const READABLE: u32 = libc::POLLIN as u32;
        let entry = opcode::PollAdd::new(types::Fd(fd.as_raw_fd()), READABLE);
        self.push_without_memory(entry.build(), WATCH, token);
    }

    /// Accepts the connections of a listening socket, again and again.
    #[inline]
    pub fn accept(&mut self, listener: BorrowedFd<'_>, token: u64) {
        let entry = opcode::AcceptMulti::new(types::Fd(listener.as_raw_fd()))
            .flags(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK);
        self.push_without_memory(entry.build(), ACCEPT, token);
    }

    /// Ends the receive with this token.
    #[inline]
    pub fn cancel_receive(&mut self, token: u64) {
        self.cancel(RECEIVE, token);
    }

    /// Ends the watch with this token.
    #[inline]
    pub fn cancel_watch(&mut self, token: u64) {
        self.cancel(WATCH, token);
    }

    /// Ends the accept with this token.
    #[inline]
    pub fn cancel_accept(&mut self, token: u64) {
        self.cancel(ACCEPT, token);
    }

    fn cancel(&mut self, kind: u64, token: u64) {
        let entry = opcode::AsyncCancel::new(user_data(kind, token));
        self.push_without_memory(entry.build(), kind + CANCEL, token);
    }

    /// Closes a descriptor as soon as the operations that were queued with it are submitted.
    pub fn close(&mut self, fd: OwnedFd) {
        self.closing.push(fd);
        self.close_submitted();
    }

    /// Queues an operation that names no memory of the program.
    #[inline]
    fn push_without_memory(&mut self, entry: squeue::Entry, kind: u64, token: u64) {
        let entry = entry.user_data(user_data(kind, token));
        // SAFETY: the entry names no memory; what a receive writes to is the registered buffers,
        // which are dropped after the queue or leaked.
        unsafe { self.queue.push(&entry) };
    }

    /// Submits what is queued, without waiting.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub fn submit(&mut self) -> io::Result<()> {
        let submitted = self.queue.submit();
        self.close_submitted();
        submitted
    }

    /// Whether the kernel has been told of everything that was queued.
    #[inline]
    pub fn is_submitted(&mut self) -> bool {
        self.queue.unsubmitted() == 0
    }

    /// Submits what is queued, and waits until a completion is there or `timeout` is over.
    ///
    /// It may return early, and does so for a signal.
    /// With a timeout of zero it takes what is there; with `None` it waits as long as it takes.
    ///
    /// # Errors
    ///
    /// `EAGAIN` and `EBUSY` if the kernel has no memory for more operations: they stay queued.
    /// `EBADR` if it had none for a completion, which is lost: the ring is of no use any more.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let waited = self.queue.wait(timeout);
        self.close_submitted();
        waited
    }

    /// Closes what waits to be closed, if everything is submitted.
    #[inline]
    fn close_submitted(&mut self) {
        if !self.closing.is_empty() && self.is_submitted() {
            self.closing.clear();
        }
    }

    /// The next completion that has arrived; never waits.
    #[inline]
    #[expect(
        clippy::should_implement_trait,
        reason = "a ring is no sequence: after `None` more may come"
    )]
    pub fn next(&mut self) -> Option<Completion> {
        loop {
            let arrived = self.queue.take()?;
            let completion = self.meaning(arrived);
            if completion.is_some() {
                return completion;
            }
        }
    }

    /// The bytes in a buffer.
    ///
    /// # Panics
    ///
    /// If the buffer is another ring's.
    #[inline]
    pub fn bytes(&self, buffer: &Buffer) -> &[u8] {
        self.buffers.bytes(buffer)
    }

    /// Returns a buffer, so that the kernel can receive into it again.
    ///
    /// # Panics
    ///
    /// If the buffer is another ring's.
    #[inline]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a buffer is given back once: whoever gives it back has it no more"
    )]
    pub fn give_back(&mut self, buffer: Buffer) {
        self.buffers.give_back(&buffer);
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let deadline = Instant::now() + GRACE;
        loop {
            // Told to nobody, but an accepted socket is closed by this.
            while self.next().is_some() {}
            if self.queue.is_quiet() {
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            // Again in each turn: an operation that was just being worked on is not found.
            self.queue.cancel_all(left);
            let left = deadline.saturating_duration_since(Instant::now());
            if self.queue.attend(left).is_err() {
                break;
            }
        }
        self.sends.leak();
        self.buffers.leak();
    }
}

/// The user data of an operation.
#[inline]
fn user_data(kind: u64, token: u64) -> u64 {
    debug_assert!(
        token <= GREATEST_TOKEN,
        "a token has {TOKEN_BITS} bits: {token:#x}"
    );
    kind << TOKEN_BITS | token & GREATEST_TOKEN
}
