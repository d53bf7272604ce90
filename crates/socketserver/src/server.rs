//! Servers: a transport, an engine and a handler factory joined, and the loop that runs them.

use std::fmt;
use std::marker::PhantomData;
use std::thread;
use std::time::Duration;

use crate::address::Address;
use crate::control::ServerHandle;
use crate::endpoint::Endpoint;
use crate::engine::{BlockingEngine, Engine};
use crate::error::Error;
use crate::handler::{Handler, RunsOn};
use crate::live::DrainReport;
use crate::telemetry::Refusal;
use crate::transport::{BoxListener, IntoAddress, Transport};

mod accept;
mod aliases;
mod builder;
mod child;
mod core;
mod descriptors;
mod keeper;
mod listen;
mod running;
mod serve;
mod source;
mod watch;

pub use aliases::*;
pub use builder::Builder;
use core::Core;
pub use listen::{RequestOf, Served};
pub use running::Running;

/// A server: a transport `T`, an engine `E`, and a factory of handlers.
///
/// Its life: [`bind`](Self::bind), [`serve_forever`](Self::serve_forever) until somebody calls
/// [`shutdown`](ServerHandle::shutdown) on a [`handle`](Self::handle), then [`close`](Self::close), or
/// just a drop. It may be served again after it has stopped.
///
/// The aliases name the pairs as Python does: [`ThreadingTcpServer`], [`ForkingUdpServer`], ….
///
/// ```
/// use socketserver::{Connection, RequestHandler, ThreadingTcpServer};
/// use std::io;
///
/// struct Echo;
///
/// impl RequestHandler for Echo {
///     fn handle(&mut self, connection: &mut Connection) -> io::Result<()> {
///         let (mut reader, mut writer) = connection.split();
///         io::copy(&mut reader, &mut writer).map(drop)
///     }
/// }
///
/// let server = ThreadingTcpServer::bind("127.0.0.1:0", || Echo)?.start()?;
/// println!("listening on {}", server.endpoint());
/// let report = server.stop()?;
/// assert_eq!(report.forced, 0);
/// # Ok::<(), socketserver::Error>(())
/// ```
pub struct Server<T, E> {
    core: Core,
    engine: E,
    transport: PhantomData<fn() -> T>,
}

impl<T, E> fmt::Debug for Server<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("endpoints", &self.core.shared.handle().endpoints())
            .finish_non_exhaustive()
    }
}

/// What a [`handle_request`](Server::handle_request) came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Handled {
    /// A request was refused.
    Refused(Refusal),
    /// A request was served, to its end.
    Served,
    /// A request was started, on a thread or in a process, which may go on.
    Started,
    /// A shutdown came instead.
    Stopped,
    /// No request came in time; `handle_timeout` was called.
    TimedOut,
}

impl<T: Transport, E: Engine + Default> Server<T, E>
where
    T: Default,
    T::Accepted: Served,
{
    /// Listens at `address`, with the defaults of everything; each request is served by a handler that
    /// `factory` makes.
    ///
    /// # Errors
    ///
    /// [`Error::Bind`] if the address is taken, not of this machine, or not allowed.
    pub fn bind<A, F, H, K>(address: A, factory: F) -> Result<Self, Error>
    where
        A: IntoAddress<T>,
        F: Fn() -> H + Send + Sync + 'static,
        H: Handler<RequestOf<T>, K>,
        K: RunsOn<E>,
    {
        Builder::new(T::default(), E::default()).bind(address, factory)
    }
}

impl<T, E: Engine> Server<T, E> {
    fn new(core: Core, engine: E) -> Self {
        Self {
            core,
            engine,
            transport: PhantomData,
        }
    }

    /// Listens at one more address, of this transport or another, with handlers of its own.
    ///
    /// All listeners share the limits, the engine and the drain.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    #[expect(clippy::needless_pass_by_value, reason = "as `Builder::new` takes it")]
    pub fn listen<U, A, F, H, K>(
        &mut self,
        transport: U,
        address: A,
        factory: F,
    ) -> Result<(), Error>
    where
        U: Transport,
        U::Accepted: Served,
        A: IntoAddress<U>,
        F: Fn() -> H + Send + Sync + 'static,
        H: Handler<RequestOf<U>, K>,
        K: RunsOn<E>,
    {
        let addresses = address.into_addresses().map_err(|source| Error::Bind {
            endpoint: "the given address".to_owned(),
            source,
        })?;
        let listener = listen::bind_first(&transport, &addresses)
            .map_err(|(endpoint, source)| Error::Bind { endpoint, source })?;
        self.add(&transport, listener, factory)
    }

    fn add<U, F, H, K>(
        &mut self,
        transport: &U,
        listener: BoxListener<U::Accepted>,
        factory: F,
    ) -> Result<(), Error>
    where
        U: Transport,
        U::Accepted: Served,
        F: Fn() -> H + Send + Sync + 'static,
        H: Handler<RequestOf<U>, K>,
    {
        use listen::sealed::Sealed;
        let address = listener.local_address().map_err(|source| Error::Bind {
            endpoint: "the listener".to_owned(),
            source,
        })?;
        let endpoint = Endpoint::new(transport.scheme(&address), address);
        let factory = H::factory(factory);
        self.core
            .add(<U::Accepted as Sealed>::source(endpoint, listener, factory));
        Ok(())
    }

    /// Serves until a shutdown, drains, and tells how that went.
    ///
    /// It runs on the calling thread, and can be called again afterwards.
    /// The listening sockets stay open until the server is closed or dropped: who connects meanwhile
    /// waits, and is served by the next run.
    ///
    /// # Errors
    ///
    /// [`Error::Engine`] if the engine cannot serve in this process, [`Error::Listener`] if a listening
    /// socket is gone, [`Error::Loop`] if the loop itself fails.
    pub fn serve_forever(&mut self) -> Result<DrainReport, Error> {
        self.core.serve_forever(&self.engine)
    }

    /// A handle by which the server can be stopped and looked into from anywhere.
    pub fn handle(&self) -> ServerHandle {
        self.core.shared.handle()
    }

    /// Where the server listens, with the real ports.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.handle().endpoints()
    }

    /// Where the first listener is (Python: `server_address`), with the real port.
    pub fn local_address(&self) -> Address {
        self.endpoints()
            .first()
            .map_or(Address::Unnamed, |endpoint| endpoint.address().clone())
    }

    /// The engine.
    pub fn engine(&self) -> &E {
        &self.engine
    }

    /// Drains what requests are still running, without serving anybody new, and closes the listening
    /// sockets.
    ///
    /// After `serve_forever` there is nothing left to drain; after `handle_request` there may be.
    ///
    /// # Errors
    ///
    /// As [`serve_forever`](Self::serve_forever).
    pub fn close(mut self) -> Result<DrainReport, Error> {
        self.core.close(&self.engine)
    }

    /// Serves on a thread of its own, until the returned guard is stopped or dropped; the server is
    /// then closed.
    ///
    /// # Errors
    ///
    /// [`Error::Loop`] if the thread cannot be started.
    pub fn start(self) -> Result<Running, Error>
    where
        T: 'static,
    {
        let handle = self.handle();
        let mut server = self;
        let serve = move || server.serve_forever();
        let thread = thread::Builder::new()
            .name("server".to_owned())
            .spawn(serve)?;
        Ok(Running::new(handle, thread))
    }
}

impl<T, E: BlockingEngine> Server<T, E> {
    /// Serves one request, if one comes within `timeout`, or else calls `handle_timeout`.
    ///
    /// `None` waits for ever, zero looks once. The timeout bounds the wait for a request, not the
    /// request. A request runs to its end under Sequential; under the other engines it is only
    /// started, and what it leaves to the loop is done in later calls and by [`close`](Self::close).
    ///
    /// # Errors
    ///
    /// As [`serve_forever`](Self::serve_forever).
    pub fn handle_request(&mut self, timeout: Option<Duration>) -> Result<Handled, Error> {
        self.core.handle_request(&self.engine, timeout)
    }
}

impl<T, E> Drop for Server<T, E> {
    fn drop(&mut self) {
        // Closing sends a reset to whoever is still in a queue; better an orderly end.
        self.core.refuse_queued();
    }
}
