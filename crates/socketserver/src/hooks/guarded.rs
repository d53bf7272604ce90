//! The program's hooks as the library calls them: a panic in one is an error like others.

use std::sync::Arc;

use super::{Hooks, Verdict};
use crate::address::Address;
use crate::control::ServerHandle;
use crate::error::{Error, catch};

/// The program's hooks, called so that a panic in one is an error like others.
#[derive(Clone)]
pub(crate) struct GuardedHooks {
    hooks: Arc<dyn Hooks>,
    server: ServerHandle,
}

impl GuardedHooks {
    pub(crate) fn new(hooks: Arc<dyn Hooks>, server: ServerHandle) -> Self {
        Self { hooks, server }
    }

    pub(crate) fn verify_request(&self, peer: &Address) -> Verdict {
        self.verify_request_of(peer, &self.server.shared().handle())
    }

    /// As [`verify_request`](Self::verify_request), with a handle on the present run.
    pub(crate) fn verify_request_of(&self, peer: &Address, server: &ServerHandle) -> Verdict {
        self.call_with(server, "verify_request", |hooks, server| {
            hooks.verify_request(peer, server)
        })
        .unwrap_or(Verdict::Refuse)
    }

    pub(crate) fn service_actions(&self) {
        self.call("service_actions", |hooks, server| {
            hooks.service_actions(server);
        });
    }

    pub(crate) fn handle_timeout(&self) {
        self.call("handle_timeout", |hooks, server| {
            hooks.handle_timeout(server);
        });
    }

    pub(crate) fn handle_error(&self, error: &Error) {
        if self
            .call("handle_error", |hooks, server| {
                hooks.handle_error(error, server);
            })
            .is_none()
        {
            self.report(error);
        }
    }

    /// Stops the run that is under way, or else the next.
    pub(crate) fn stop(&self) {
        // The handle that the hooks are given names the run in which the server was made.
        self.server.shared().handle().shutdown();
    }

    fn call<T>(
        &self,
        name: &'static str,
        call: impl FnOnce(&dyn Hooks, &ServerHandle) -> T,
    ) -> Option<T> {
        // A handle that names the present run, and not the one in which the server was made.
        self.call_with(&self.server.shared().handle(), name, call)
    }

    fn call_with<T>(
        &self,
        server: &ServerHandle,
        name: &'static str,
        call: impl FnOnce(&dyn Hooks, &ServerHandle) -> T,
    ) -> Option<T> {
        match catch(|| call(&*self.hooks, server)) {
            Ok(value) => Some(value),
            Err(message) => {
                self.report(&Error::Hook {
                    hook: name,
                    message,
                });
                None
            }
        }
    }

    /// Tells of `error`, whose text may be the program's, and may panic.
    fn report(&self, error: &Error) {
        if catch(|| self.server.report(error)).is_err() {
            tracing::error!("an error could not be told: its text panicked");
        }
    }
}
