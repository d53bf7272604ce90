//! What comes to an event loop from elsewhere: new connections, outboxes, ends of pauses.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::engine::Task;
use crate::live::{Alarm, lock};
use crate::outbox::{Flusher, Outbox};
use crate::turn::Conductor;
use crate::wake::Waker;

/// Something for a loop to do.
pub(super) enum Post {
    /// Serve a connection.
    Admit(Task),
    /// Send what waits for the connection at a seat.
    Flush(u64),
    /// Look after the connection at a seat, which has been cut off.
    Attend(u64),
    /// End a pause of the connection at a seat.
    Resume(u64, u32),
    /// End.
    Stop,
}

/// The inbox of a loop.
pub(super) struct Inbox {
    posts: Mutex<Vec<Post>>,
    /// Whether nobody reads it any more.
    is_shut: AtomicBool,
    /// Whether there are any.
    is_full: AtomicBool,
    waker: Waker,
    /// Connections that the loop has, or is about to have.
    load: AtomicUsize,
}

thread_local! {
    /// The inbox of the loop whose turn is on, on this thread.
    static OWN: Cell<usize> = const { Cell::new(0) };
}

impl Inbox {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            posts: Mutex::default(),
            is_shut: AtomicBool::new(false),
            is_full: AtomicBool::new(false),
            waker: Waker::new()?,
            load: AtomicUsize::new(0),
        })
    }

    /// The loop's turn begins, or ends: what it posts to itself needs no waking.
    pub(super) fn enter(&self, is_on: bool) {
        OWN.set(if is_on { self.number() } else { 0 });
    }

    /// A number of its own.
    pub(super) fn number(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Counts a connection that is to come.
    pub(super) fn expect(&self) {
        self.load.fetch_add(1, Ordering::Relaxed);
    }

    /// Hands `post` over; the loop is woken once for as many as come before it looks.
    pub(super) fn post(&self, post: Post) {
        let mut posts = lock(&self.posts);
        if self.is_shut() {
            // A connection is closed by this, which must not happen under the lock.
            drop(posts);
            return drop(post);
        }
        posts.push(post);
        let was_full = self.is_full.swap(true, Ordering::SeqCst);
        drop(posts);
        if !was_full && OWN.get() != self.number() {
            self.waker.wake();
        }
    }

    /// Nobody reads it any more: what is in it is dropped, and what comes.
    pub(super) fn shut(&self) {
        let mut posts = lock(&self.posts);
        self.is_shut.store(true, Ordering::SeqCst);
        let left = std::mem::take(&mut *posts);
        drop(posts);
        drop(left);
    }

    /// Whether its loop has ended.
    pub(super) fn is_shut(&self) -> bool {
        self.is_shut.load(Ordering::SeqCst)
    }

    /// Whether something has been posted.
    pub(super) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::SeqCst)
    }

    /// Takes what has been posted.
    pub(super) fn take(&self, into: &mut Vec<Post>) {
        let mut posts = lock(&self.posts);
        self.is_full.store(false, Ordering::SeqCst);
        std::mem::swap(&mut *posts, into);
    }

    /// Takes the wake-ups.
    pub(super) fn awake(&self) {
        self.waker.take();
    }

    pub(super) fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    /// A connection that was expected has gone, or has not come.
    pub(super) fn forget(&self) {
        self.load.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.waker.as_fd()
    }
}

impl Flusher for Inbox {
    fn look_after(&self, outbox: Outbox) {
        if let Some(seat) = outbox.seat() {
            self.post(Post::Flush(seat));
        }
    }
}

impl Alarm for Inbox {
    fn alarm(&self, seat: u64) {
        self.post(Post::Attend(seat));
    }
}

impl Conductor for Inbox {
    fn resume(&self, seat: u64, pause: u32) {
        self.post(Post::Resume(seat, pause));
    }
}
