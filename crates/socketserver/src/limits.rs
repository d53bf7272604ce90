//! Every bound of a server in one place: its unit, its default, and what happens at it.

use std::time::Duration;

/// The bounds of a server.
///
/// Nothing that a peer can make grow is without one.
/// A timeout that is `None` never ends a wait; the wait still ends at a shutdown.
///
/// ```
/// use socketserver::Limits;
/// use std::time::Duration;
/// let limits = Limits::default()
///     .connections(500)
///     .per_address(Some(16))
///     .idle_timeout(Some(Duration::from_secs(60)));
/// assert_eq!(limits.line_bytes, 65_536);
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Limits {
    /// Requests at once, connections and datagrams together, over all listeners and engines of the
    /// server; default 10 000.
    /// At the limit nothing more is accepted: who comes waits in the kernel's queue (the backlog).
    /// It is lowered, with a warning, to what the descriptor limit of the process can hold.
    pub connections: usize,
    /// Requests at once from one IPv4 address, one IPv6 /64, or one Unix user; default `None`.
    /// At the limit a connection is closed and a datagram dropped, and counted.
    pub per_address: Option<usize>,
    /// Whether loopback addresses and Unix users are free of `per_address`; default `false`.
    pub exempt_local: bool,
    /// Bytes of one line or message that a handler reads; default 65 536.
    /// A longer one is an error of the kind [`InvalidData`](std::io::ErrorKind::InvalidData).
    pub line_bytes: usize,
    /// Bytes that wait in one [`Outbox`](crate::Outbox); default 1 MiB.
    /// What happens at it is the outbox's [`Overflow`](crate::Overflow).
    pub outbox_bytes: usize,
    /// Messages that wait in one outbox; default 1 024; as `outbox_bytes`.
    pub outbox_messages: usize,
    /// Bytes that wait in all outboxes of the server together, each counted in full though a
    /// broadcast shares them; default 256 MiB; as `outbox_bytes`.
    pub outbox_total_bytes: usize,
    /// The longest silence: how long one read may wait; default 5 minutes.
    /// At the limit the read fails with [`TimedOut`](std::io::ErrorKind::TimedOut), as does every
    /// later one.
    pub idle_timeout: Option<Duration>,
    /// How long one line or message may take from its first byte to its last; default 30 seconds.
    /// It stops a peer that drips; as `idle_timeout`.
    pub read_timeout: Option<Duration>,
    /// How long one write may wait without any progress; default 30 seconds.
    /// At the limit the write fails with `TimedOut`; how much was sent is then unknown, so the
    /// connection is of no more use.
    pub write_timeout: Option<Duration>,
    /// How long a whole request may take; default `None`.
    /// At the limit its connection is shut down, and its reads and writes fail with `TimedOut`;
    /// under forking the child is killed.
    pub request_timeout: Option<Duration>,
    /// How long a closing connection waits for its peer to read the last of what was sent and to
    /// close; default 1 second.
    /// At the limit it is closed, and data that the peer still sends is answered with a reset.
    pub linger_timeout: Duration,
    /// Bytes that a closing connection reads and discards meanwhile; default 1 MiB; as
    /// `linger_timeout`.
    pub linger_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            per_address: None,
            exempt_local: false,
            line_bytes: 64 << 10,
            outbox_bytes: 1 << 20,
            outbox_messages: 1024,
            outbox_total_bytes: 256 << 20,
            idle_timeout: Some(Duration::from_secs(300)),
            read_timeout: Some(Duration::from_secs(30)),
            write_timeout: Some(Duration::from_secs(30)),
            request_timeout: None,
            linger_timeout: Duration::from_secs(1),
            linger_bytes: 1 << 20,
        }
    }
}

/// Makes a setter of the same name for each field.
macro_rules! setters {
    ($($name:ident: $type:ty),* $(,)?) => {
        impl Limits {
            $(
                #[doc = concat!("Sets [`", stringify!($name), "`](Self#structfield.", stringify!($name), ").")]
                #[must_use]
                pub fn $name(mut self, $name: $type) -> Self {
                    self.$name = $name;
                    self
                }
            )*
        }
    };
}

setters! {
    connections: usize,
    per_address: Option<usize>,
    exempt_local: bool,
    line_bytes: usize,
    outbox_bytes: usize,
    outbox_messages: usize,
    outbox_total_bytes: usize,
    idle_timeout: Option<Duration>,
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    request_timeout: Option<Duration>,
    linger_timeout: Duration,
    linger_bytes: usize,
}
