//! The builder: everything that can be set before a server listens.

use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use super::Server;
use super::core::{Core, Settings};
use super::watch::Watch;
use crate::clock::Clock;
use crate::control::{ServerHandle, Shared};
use crate::engine::Engine;
use crate::error::Error;
use crate::handler::{Handler, RunsOn};
use crate::hooks::Hooks;
use crate::limits::Limits;
use crate::telemetry::{Observer, Telemetry};
use crate::transport::{IntoAddress, Listener, Transport};

use super::listen::{RequestOf, Served};

/// Sets up a [`Server`].
///
/// ```
/// use socketserver::{Builder, Connection, Engine, BlockingEngine, Limits, Pool, Tcp, Threading, handler_fn};
/// use std::time::Duration;
///
/// // The engine can be chosen at run time, by one value.
/// let engine: Box<dyn BlockingEngine> = match std::env::args().nth(1).as_deref() {
///     Some("pool") => Box::new(Pool::new(8)),
///     _ => Box::new(Threading::default()),
/// };
/// let server = Builder::new(Tcp::default(), engine)
///     .limits(Limits::default().idle_timeout(Some(Duration::from_secs(60))))
///     .drain_timeout(Duration::from_secs(15))
///     .bind("127.0.0.1:0", handler_fn(|_: &mut Connection| Ok(())))?;
/// # drop(server);
/// # Ok::<(), socketserver::Error>(())
/// ```
pub struct Builder<T, E> {
    transport: T,
    engine: E,
    limits: Limits,
    hooks: Option<Arc<dyn Hooks>>,
    observer: Option<Arc<dyn Observer>>,
    watches: Vec<Watch>,
    clock: Clock,
    drain_timeout: Duration,
    service_interval: Duration,
}

impl<T, E> std::fmt::Debug for Builder<T, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl<T: Transport, E: Engine> Builder<T, E>
where
    T::Accepted: Served,
{
    /// A builder with the defaults of everything else.
    pub fn new(transport: T, engine: E) -> Self {
        Self {
            transport,
            engine,
            limits: Limits::default(),
            hooks: None,
            observer: None,
            watches: Vec::new(),
            clock: Clock::default(),
            drain_timeout: Duration::from_secs(10),
            service_interval: Duration::from_millis(500),
        }
    }

    /// Sets the bounds; default [`Limits::default`].
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Overrides hooks; default [`DefaultHooks`](crate::DefaultHooks).
    #[must_use]
    pub fn hooks(mut self, hooks: impl Hooks) -> Self {
        self.hooks = Some(Arc::new(hooks));
        self
    }

    /// Has the server's events told to `observer`; default none.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// How long a drain lets running requests go on; default 10 seconds. Then they are cut off.
    #[must_use]
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    /// How often [`service_actions`](Hooks::service_actions) is called at the least; default half a
    /// second, and never if there are no hooks: nothing else needs it.
    #[must_use]
    pub fn service_interval(mut self, interval: Duration) -> Self {
        self.service_interval = interval;
        self
    }

    /// Sets the clock by which deadlines are measured; default the machine's.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Calls `callback` in the serving loop whenever `fd` is readable, until it returns
    /// [`ControlFlow::Break`] or panics.
    ///
    /// This is how a program listens to its console or to signals without a thread.
    /// The callback must not wait: nothing is served meanwhile.
    #[must_use]
    pub fn watch(
        mut self,
        fd: impl AsFd + Send + 'static,
        callback: impl FnMut(&ServerHandle) -> ControlFlow<()> + Send + 'static,
    ) -> Self {
        self.watches
            .push(Watch::new(Box::new(fd), Box::new(callback)));
        self
    }

    /// Listens at `address`; each request is served by a handler that `factory` makes.
    ///
    /// # Errors
    ///
    /// [`Error::Bind`] if the address is taken, not of this machine, or not allowed.
    pub fn bind<A, F, H, K>(self, address: A, factory: F) -> Result<Server<T, E>, Error>
    where
        A: IntoAddress<T>,
        F: Fn() -> H + Send + Sync + 'static,
        H: Handler<RequestOf<T>, K>,
        K: RunsOn<E>,
    {
        let transport = self.transport.clone();
        let mut server = self.build()?;
        server.listen(transport, address, factory)?;
        Ok(server)
    }

    /// Serves on a socket that is bound already (and, for streams, listening): one that was inherited,
    /// or made in a way of its own.
    ///
    /// # Errors
    ///
    /// [`Error::Bind`] if it is not a socket of this transport.
    pub fn adopt<F, H, K>(
        self,
        socket: impl Into<OwnedFd>,
        factory: F,
    ) -> Result<Server<T, E>, Error>
    where
        F: Fn() -> H + Send + Sync + 'static,
        H: Handler<RequestOf<T>, K>,
        K: RunsOn<E>,
    {
        let listener = self
            .transport
            .adopt(socket.into())
            .map_err(|source| Error::Bind {
                endpoint: "the given socket".to_owned(),
                source,
            })?;
        let transport = self.transport.clone();
        let mut server = self.build()?;
        server.add(&transport, listener, factory)?;
        Ok(server)
    }

    /// Serves what `listener` yields: one of this transport's, wrapped.
    ///
    /// # Errors
    ///
    /// [`Error::Bind`] if it does not know where it listens.
    pub fn listener<F, H, K>(
        self,
        listener: impl Listener<Accepted = T::Accepted>,
        factory: F,
    ) -> Result<Server<T, E>, Error>
    where
        F: Fn() -> H + Send + Sync + 'static,
        H: Handler<RequestOf<T>, K>,
        K: RunsOn<E>,
    {
        let transport = self.transport.clone();
        let mut server = self.build()?;
        server.add(&transport, Box::new(listener), factory)?;
        Ok(server)
    }

    /// The engine.
    pub fn engine(&self) -> &E {
        &self.engine
    }

    /// Makes a server that listens nowhere yet: [`Server::listen`] adds what it is to serve.
    ///
    /// # Errors
    ///
    /// [`Error::Loop`] without descriptors for the loop, or if a watched descriptor cannot be watched.
    pub fn build(self) -> Result<Server<T, E>, Error> {
        let telemetry = Telemetry::new(self.observer);
        let shared = Shared::new(self.limits, self.clock, telemetry)?;
        let core = Core::new(Settings {
            shared,
            hooks: self.hooks,
            watches: self.watches,
            drain_timeout: self.drain_timeout,
            service_interval: self.service_interval,
        })?;
        Ok(Server::new(core, self.engine))
    }
}
