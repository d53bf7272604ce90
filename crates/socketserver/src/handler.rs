//! Handlers: what is done with a request.

use std::io;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::engine::{BlockingEngine, Engine};
use crate::request::{Connection, Datagram};

mod message;
mod session;

pub(crate) use message::MakeSession;
pub use message::{MessageHandler, Next};

/// Serves one request, and may wait for its peer while it does.
///
/// A handler is made for each request by the factory that the server was given; its fields are the
/// request's own, and what the factory's closure captured is shared.
///
/// [`handle`](Self::handle) and [`finish`](Self::finish) may return [`Stop`](crate::Stop) as an error,
/// which ends the server. Any other error, and a panic, ends this request only, and goes to
/// [`handle_error`](crate::Hooks::handle_error).
///
/// ```
/// use socketserver::{Connection, RequestHandler};
/// use std::io::{self, Write};
///
/// /// Greets, and counts the lines until the peer is done.
/// #[derive(Default)]
/// struct Count {
///     lines: usize,
/// }
///
/// impl RequestHandler for Count {
///     fn setup(&mut self, connection: &mut Connection) -> io::Result<()> {
///         connection.writer().write_all(b"go on\n")
///     }
///     fn handle(&mut self, connection: &mut Connection) -> io::Result<()> {
///         for line in connection.reader().lines() {
///             line?;
///             self.lines += 1;
///         }
///         Ok(())
///     }
///     fn finish(&mut self, connection: &mut Connection) -> io::Result<()> {
///         writeln!(connection.writer(), "{}", self.lines)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler of `{R}`",
    note = "implement `RequestHandler<{R}>`, or give a function that takes `&mut {R}` and returns `io::Result<()>`"
)]
pub trait RequestHandler<R = Connection> {
    /// Prepares; if it fails, neither of the others is called.
    ///
    /// # Errors
    ///
    /// Whatever makes it impossible to serve the request.
    fn setup(&mut self, request: &mut R) -> io::Result<()> {
        let _ = request;
        Ok(())
    }

    /// Does all the work.
    ///
    /// # Errors
    ///
    /// Whatever makes it impossible to go on.
    fn handle(&mut self, request: &mut R) -> io::Result<()>;

    /// Cleans up; called if and only if `setup` succeeded, also after `handle` failed or panicked.
    ///
    /// # Errors
    ///
    /// Whatever went wrong; it is reported beside the error of `handle`.
    fn finish(&mut self, request: &mut R) -> io::Result<()> {
        let _ = request;
        Ok(())
    }
}

/// A function that takes the request is a handler.
impl<R, F: FnMut(&mut R) -> io::Result<()>> RequestHandler<R> for F {
    fn handle(&mut self, request: &mut R) -> io::Result<()> {
        self(request)
    }
}

/// Makes a factory of a function that serves a request.
///
/// ```
/// use socketserver::{Connection, ThreadingTcpServer, handler_fn};
/// use std::io;
///
/// fn echo(connection: &mut Connection) -> io::Result<()> {
///     let (mut reader, mut writer) = connection.split();
///     io::copy(&mut reader, &mut writer).map(drop)
/// }
///
/// let server = ThreadingTcpServer::bind("127.0.0.1:0", handler_fn(echo))?;
/// # drop(server);
/// # Ok::<(), socketserver::Error>(())
/// ```
pub fn handler_fn<R, F>(function: F) -> impl Fn() -> F + Send + Sync + 'static
where
    F: Fn(&mut R) -> io::Result<()> + Clone + Send + Sync + 'static,
{
    move || function.clone()
}

/// The kind of handler that serves a request `R` and may wait: [`RequestHandler`].
#[derive(Debug)]
pub struct Requests<R>(PhantomData<R>);

/// The kind of handler that is given one message of a connection after another: [`MessageHandler`].
#[derive(Debug)]
pub struct Messages;

/// What makes handlers of requests `R`, their type erased.
#[doc(hidden)]
pub struct Factory<R>(pub(crate) Make<R>);

/// The two ways of serving a request.
pub(crate) enum Make<R> {
    Request(Arc<dyn Fn() -> Box<dyn RequestHandler<R>> + Send + Sync>),
    Session(MakeSession),
}

impl<R> std::fmt::Debug for Factory<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Factory")
    }
}

/// A handler of requests `R` of any kind `K`; the kind is inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler of `{R}`",
    note = "implement `RequestHandler<{R}>` or `MessageHandler`, or give a function that takes `&mut {R}` and returns `io::Result<()>`"
)]
pub trait Handler<R, K>: 'static {
    /// Erases the handler's type.
    #[doc(hidden)]
    fn factory(make: impl Fn() -> Self + Send + Sync + 'static) -> Factory<R>;
}

impl<R: 'static, H: RequestHandler<R> + 'static> Handler<R, Requests<R>> for H {
    fn factory(make: impl Fn() -> Self + Send + Sync + 'static) -> Factory<R> {
        Factory(Make::Request(Arc::new(move || Box::new(make()))))
    }
}

impl<H: MessageHandler> Handler<Connection, Messages> for H {
    fn factory(make: impl Fn() -> Self + Send + Sync + 'static) -> Factory<Connection> {
        Factory(Make::Session(session::sessions(make)))
    }
}

/// Says on which engines a kind of handler runs.
pub trait RunsOn<E: ?Sized> {}

/// It is never waited for.
impl<E: Engine + ?Sized> RunsOn<E> for Messages {}
/// A datagram is complete when it is handled, so nothing is waited for.
impl<E: Engine + ?Sized> RunsOn<E> for Requests<Datagram> {}
impl<E: BlockingEngine + ?Sized> RunsOn<E> for Requests<Connection> {}
