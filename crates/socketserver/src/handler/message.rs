//! Handlers of messages: they are called with a whole message, and never wait.

use std::io;
use std::sync::Arc;

use crate::codec::Codec;
use crate::engine::Driven;
use crate::limits::Limits;
use crate::request::{Link, Peer};

/// What a message handler wants next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Next {
    /// The next message.
    Continue,
    /// To end the connection: what was written is sent first.
    Close,
    /// No message until a [`Resumer`](crate::Resumer) ends the pause; nothing is read meanwhile.
    ///
    /// Without a resumer that could end it, it is over at once.
    Pause,
    /// To end the server, as [`Stop`](crate::Stop) does, and with it this connection.
    Stop,
}

/// Serves a connection, one whole message at a time.
///
/// It is given what its [`Codec`](Self::Codec) makes of the bytes that come in, and never reads, so it
/// never waits for its peer.
/// That is why it runs on every engine: on the Reactor as many connections as there are descriptors,
/// with no thread, buffer or timer for one that is idle.
///
/// A handler is made for each connection by the factory that the server was given; its fields are the
/// connection's own, and what the factory's closure captured is shared.
///
/// ```
/// use socketserver::codec::{Line, Lines};
/// use socketserver::{MessageHandler, Next, Peer, ThreadingTcpServer};
/// use std::io;
///
/// struct Shout;
///
/// impl MessageHandler for Shout {
///     type Codec = Lines;
///     fn handle(&mut self, line: Line<'_>, peer: &mut Peer<'_>) -> io::Result<Next> {
///         peer.write(&line.raw().to_ascii_uppercase())?;
///         Ok(if line.text() == b"quit" { Next::Close } else { Next::Continue })
///     }
/// }
///
/// let server = ThreadingTcpServer::bind("127.0.0.1:0", || Shout)?;
/// # drop(server);
/// # Ok::<(), socketserver::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler of messages",
    note = "implement `MessageHandler`"
)]
pub trait MessageHandler: Send + 'static {
    /// What cuts the bytes into messages.
    type Codec: Codec;

    /// Makes the codec of this connection; default [`Codec::for_limits`].
    fn codec(&mut self, limits: &Limits) -> Self::Codec {
        Self::Codec::for_limits(limits)
    }

    /// Prepares; if it fails, none of the others is called.
    ///
    /// # Errors
    ///
    /// Whatever makes it impossible to serve the connection.
    fn setup(&mut self, peer: &mut Peer<'_>) -> io::Result<()> {
        let _ = peer;
        Ok(())
    }

    /// Does what a message asks for.
    ///
    /// It must not wait, nor compute for long, on the Reactor: the other connections of its loop wait
    /// as long. Slow work is handed to another thread, while the connection
    /// [pauses](Next::Pause).
    ///
    /// # Errors
    ///
    /// Whatever makes it impossible to go on; the connection then ends.
    fn handle(
        &mut self,
        message: <Self::Codec as Codec>::Message<'_>,
        peer: &mut Peer<'_>,
    ) -> io::Result<Next>;

    /// Decides about bytes that are no message, such as a line that is too long; by default they end
    /// the connection.
    ///
    /// # Errors
    ///
    /// By default the codec's error.
    fn invalid(&mut self, error: io::Error, peer: &mut Peer<'_>) -> io::Result<Next> {
        let _ = peer;
        Err(error)
    }

    /// The time of [`wake_after`](Peer::wake_after) is over.
    ///
    /// # Errors
    ///
    /// As [`handle`](Self::handle).
    fn tick(&mut self, peer: &mut Peer<'_>) -> io::Result<Next> {
        let _ = peer;
        Ok(Next::Continue)
    }

    /// A [pause](Next::Pause) is over.
    ///
    /// # Errors
    ///
    /// As [`handle`](Self::handle).
    fn resumed(&mut self, peer: &mut Peer<'_>) -> io::Result<Next> {
        let _ = peer;
        Ok(Next::Continue)
    }

    /// Cleans up; called if and only if `setup` succeeded, also after `handle` failed or panicked.
    ///
    /// # Errors
    ///
    /// Whatever went wrong; it is reported beside the error of `handle`.
    fn finish(&mut self, peer: &mut Peer<'_>) -> io::Result<()> {
        let _ = peer;
        Ok(())
    }
}

/// Makes the session of a connection.
pub(crate) type MakeSession = Arc<dyn Fn(Link) -> Box<dyn Driven> + Send + Sync>;
