//! Hooks: the steps of a server that a program may override, each alone.

use crate::address::Address;
use crate::control::ServerHandle;
use crate::error::Error;

mod guarded;
mod steps;

pub(crate) use guarded::GuardedHooks;
pub(crate) use steps::Steps;

/// What [`verify_request`](Hooks::verify_request) decides.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Close the connection, or drop the datagram.
    Refuse,
    /// Serve it.
    Serve,
}

/// The methods of Python's server classes that are there to be overridden.
///
/// Each has a default, which an override can call as [`DefaultHooks`]`.method(…)`.
/// A hook that panics costs one request at most: the default's answer counts instead, a refusal for
/// `verify_request`.
///
/// ```
/// use socketserver::{Address, Builder, Connection, Hooks, ServerHandle, Tcp, Threading, Verdict, handler_fn};
///
/// struct LoopbackOnly;
///
/// impl Hooks for LoopbackOnly {
///     fn verify_request(&self, peer: &Address, _server: &ServerHandle) -> Verdict {
///         if peer.is_local() { Verdict::Serve } else { Verdict::Refuse }
///     }
/// }
///
/// let server = Builder::new(Tcp::default(), Threading::default())
///     .hooks(LoopbackOnly)
///     .bind("127.0.0.1:0", handler_fn(|_: &mut Connection| Ok(())))?;
/// # drop(server);
/// # Ok::<(), socketserver::Error>(())
/// ```
pub trait Hooks: Send + Sync + 'static {
    /// Whether to serve `peer`; called in the serving loop, before the engine sees the request.
    fn verify_request(&self, peer: &Address, server: &ServerHandle) -> Verdict {
        let _ = (peer, server);
        Verdict::Serve
    }

    /// Called in the serving loop after each wake-up, and at least once in every
    /// [`service_interval`](crate::Builder::service_interval).
    fn service_actions(&self, server: &ServerHandle) {
        let _ = server;
    }

    /// Called when `handle_request` found no request in time.
    fn handle_timeout(&self, server: &ServerHandle) {
        let _ = server;
    }

    /// Called where the request ran, when its handler failed or panicked, and in the serving loop
    /// when the engine would not take a request.
    ///
    /// The connection is still open at this moment.
    /// The default [reports](ServerHandle::report) the error as an event.
    fn handle_error(&self, error: &Error, server: &ServerHandle) {
        server.report(error);
    }
}

/// The defaults of all [`Hooks`].
#[derive(Clone, Copy, Debug, Default)]
pub struct DefaultHooks;

impl Hooks for DefaultHooks {}
