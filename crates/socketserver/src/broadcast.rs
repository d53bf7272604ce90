//! Broadcast: a message to every member of a set, at nobody's expense.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::live::lock;
use crate::outbox::turn::{self, Settle};
use crate::outbox::{Outbox, PushError};

/// Bytes that wait for the end of a turn at most.
const PUT_OFF_BYTES: usize = 64 << 10;

/// A set of [`Outbox`]es that all receive what is sent.
///
/// A message is made once and shared; every member receives the messages in the same order, whoever
/// sends them; and sending waits for no member: one that does not read meets its own
/// [`Overflow`](crate::Overflow) policy.
///
/// On an event loop, what one turn of it sends goes out at the turn's end, in one piece for each
/// member; nobody who joins or leaves meanwhile can tell.
///
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
pub struct Broadcast(Arc<Set>);

#[derive(Default)]
struct Set {
    members: Mutex<Members>,
    /// Whether messages wait for the end of a loop's turn.
    is_put_off: AtomicBool,
}

#[derive(Default)]
struct Members {
    next: u64,
    outboxes: BTreeMap<u64, Outbox>,
    /// What has been sent in the turn of an event loop, and goes out at its end.
    put_off: Vec<Arc<[u8]>>,
    put_off_bytes: usize,
}

impl fmt::Debug for Broadcast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broadcast")
            .field("members", &self.len())
            .finish()
    }
}

impl Set {
    /// Sends what was put off.
    fn flush(&self, members: &mut Members) {
        self.is_put_off.store(false, Ordering::Relaxed);
        if members.put_off.is_empty() {
            return;
        }
        members.put_off_bytes = 0;
        let mut messages = std::mem::take(&mut members.put_off);
        if let [message] = &messages[..] {
            members.send(|outbox| outbox.put_all(&messages, message));
        } else {
            let joined: Arc<[u8]> = messages.concat().into();
            members.send(|outbox| outbox.put_all(&messages, &joined));
        }
        messages.clear();
        members.put_off = messages;
    }
}

impl Settle for Set {
    fn settle(&self) {
        // Whoever holds the lock has sent it by then; a member's own code may run under it.
        if self.is_put_off.load(Ordering::Relaxed) {
            self.flush(&mut lock(&self.members));
        }
    }
}

impl Members {
    /// Has every member sent something; those that are gone leave.
    fn send(&mut self, mut put: impl FnMut(&Outbox) -> Result<(), PushError>) -> Delivery {
        let mut delivery = Delivery::default();
        self.outboxes.retain(|_, outbox| match put(outbox) {
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
    /// `first` must not use the set, which waits for it to return, nor wait for a lock that somebody holds
    /// who sends to it.
    ///
    /// # Errors
    ///
    /// As `join`.
    pub fn join_with(&self, outbox: Outbox, first: impl FnOnce()) -> io::Result<Membership> {
        if socketserver_sys::fork::in_child() {
            let text = "a forked child shares no memory: nobody would hear it";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        // Or else what `first` pushes would send it, and lock another set while this one is locked.
        turn::settle_broadcasts();
        let mut members = lock(&self.0.members);
        self.0.flush(&mut members);
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
    ///
    /// On an event loop it goes out at the end of the turn, and the delivery counts all members.
    pub fn send(&self, message: impl Into<Arc<[u8]>>) -> Delivery {
        let message = message.into();
        // The lock is held while pushing: that is what gives all members one order.
        let mut members = lock(&self.0.members);
        if turn::is_on() && members.put_off_bytes < PUT_OFF_BYTES {
            members.put_off_bytes += message.len();
            members.put_off.push(message);
            let everybody = Delivery {
                members: members.outboxes.len(),
                full: 0,
            };
            self.0.is_put_off.store(true, Ordering::Relaxed);
            drop(members);
            let set: Arc<dyn Settle> = self.0.clone();
            turn::defer_broadcast(&set);
            return everybody;
        }
        self.0.flush(&mut members);
        members.send(|outbox| outbox.put(Arc::clone(&message)))
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        lock(&self.0.members).outboxes.len()
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
        let set = &self.broadcast.0;
        let mut members = lock(&set.members);
        // What was sent while it was a member is for it, too.
        set.flush(&mut members);
        members.outboxes.remove(&self.seat);
    }
}
