//! Broadcast: a message to every member of a set, at nobody's expense.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};

use crate::live::lock;
use crate::outbox::{Outbox, PushError};

/// A set of [`Outbox`]es that all receive what is sent.
///
/// A message is made once and shared; every member receives the messages in the same order, whoever
/// sends them; and sending waits for no member: one that does not read meets its own
/// [`Overflow`](crate::Overflow) policy.
/// A member leaves when its [`Membership`] is dropped, on every path: return, error, panic, timeout.
///
/// ```
/// use socketserver::{Broadcast, Connection, ThreadingTcpServer, handler_fn};
///
/// let room = Broadcast::new();
/// let chat = move |connection: &mut Connection| {
///     let _membership = room.join(connection.outbox()?)?;
///     for line in connection.reader().lines() {
///         room.send([&line?[..], b"\n"].concat());
///     }
///     Ok(())
/// };
/// let server = ThreadingTcpServer::bind("127.0.0.1:0", handler_fn(chat))?;
/// # drop(server);
/// # Ok::<(), socketserver::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Broadcast(Arc<Mutex<Members>>);

#[derive(Default)]
struct Members {
    next: u64,
    outboxes: BTreeMap<u64, Outbox>,
}

impl fmt::Debug for Broadcast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broadcast")
            .field("members", &self.len())
            .finish()
    }
}

/// What became of a message that was sent to all.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Delivery {
    /// Members whose outbox took it.
    pub members: usize,
    /// Members that had no room for it.
    pub full: usize,
}

impl Broadcast {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the connection behind `outbox`, until the membership is dropped.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`] in a forked child, where the set is a copy that nobody else
    /// sees.
    pub fn join(&self, outbox: Outbox) -> io::Result<Membership> {
        self.join_with(outbox, || ())
    }

    /// Adds a connection as [`join`](Self::join) does, after `first` has run; no message is sent in
    /// between, so what `first` pushes comes before everything else, and nothing is missed.
    ///
    /// `first` must not use the set, which waits for it to return.
    ///
    /// # Errors
    ///
    /// As `join`.
    pub fn join_with(&self, outbox: Outbox, first: impl FnOnce()) -> io::Result<Membership> {
        if socketserver_sys::fork::in_child() {
            let text = "a forked child shares no memory: nobody would hear it";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        let mut members = lock(&self.0);
        first();
        let seat = members.next;
        members.next += 1;
        members.outboxes.insert(seat, outbox);
        Ok(Membership {
            broadcast: self.clone(),
            seat,
        })
    }

    /// Sends `message` to every member; never waits for one.
    pub fn send(&self, message: impl Into<Arc<[u8]>>) -> Delivery {
        let message = message.into();
        let mut delivery = Delivery::default();
        // The lock is held while pushing: that is what gives all members one order.
        lock(&self.0)
            .outboxes
            .retain(|_, outbox| match outbox.push(Arc::clone(&message)) {
                Ok(()) => {
                    delivery.members += 1;
                    true
                }
                Err(PushError::Full) => {
                    delivery.full += 1;
                    !outbox.is_closed()
                }
                Err(PushError::Closed) => false,
            });
        delivery
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        lock(&self.0).outboxes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A seat in a [`Broadcast`]; dropped, the member has left.
#[derive(Debug)]
pub struct Membership {
    broadcast: Broadcast,
    seat: u64,
}

impl Drop for Membership {
    fn drop(&mut self) {
        lock(&self.broadcast.0).outboxes.remove(&self.seat);
    }
}
