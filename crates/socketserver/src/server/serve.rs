//! Serving one request: the handler's three steps, and what becomes of their errors.

use std::io;
use std::sync::Arc;

use crate::address::Address;
use crate::control::ServerHandle;
use crate::error::{Error, Step, catch, is_stop};
use crate::handler::RequestHandler;
use crate::hooks::{Hooks, Verdict};
use crate::telemetry::EndReason;

/// Makes a handler for a request.
pub(super) type Factory<R> = Arc<dyn Fn() -> Box<dyn RequestHandler<R>> + Send + Sync>;

/// The program's hooks, called so that a panic in one is an error like others.
#[derive(Clone)]
pub(super) struct GuardedHooks {
    hooks: Arc<dyn Hooks>,
    server: ServerHandle,
}

impl GuardedHooks {
    pub(super) fn new(hooks: Arc<dyn Hooks>, server: ServerHandle) -> Self {
        Self { hooks, server }
    }

    pub(super) fn verify_request(&self, peer: &Address) -> Verdict {
        self.verify_request_of(peer, &self.server.shared().handle())
    }

    /// As [`verify_request`](Self::verify_request), with a handle on the present run.
    pub(super) fn verify_request_of(&self, peer: &Address, server: &ServerHandle) -> Verdict {
        self.call_with(server, "verify_request", |hooks, server| {
            hooks.verify_request(peer, server)
        })
        .unwrap_or(Verdict::Refuse)
    }

    pub(super) fn service_actions(&self) {
        self.call("service_actions", |hooks, server| {
            hooks.service_actions(server);
        });
    }

    pub(super) fn handle_timeout(&self) {
        self.call("handle_timeout", |hooks, server| {
            hooks.handle_timeout(server);
        });
    }

    pub(super) fn handle_error(&self, error: &Error) {
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
    fn stop(&self) {
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

/// Runs a handler on `request`: `setup`, `handle`, `finish`; then what went wrong is told.
pub(super) fn serve<R>(
    factory: &Factory<R>,
    request: &mut R,
    peer: &Address,
    hooks: &GuardedHooks,
) -> EndReason {
    let mut run = Run {
        peer,
        hooks,
        errors: Vec::new(),
    };
    // What a handler leaves half-changed by a panic dies with it; `finish` is told in its
    // documentation that it runs after one.
    if let Some(mut handler) = run.step(Step::Make, || Ok(factory())) {
        if run.step(Step::Setup, || handler.setup(request)).is_some() {
            run.step(Step::Handle, || handler.handle(request));
            run.step(Step::Finish, || handler.finish(request));
        }
        run.step(Step::Finish, || {
            drop(handler);
            Ok(())
        });
    }
    run.end()
}

struct Run<'a> {
    peer: &'a Address,
    hooks: &'a GuardedHooks,
    errors: Vec<Error>,
}

impl Run<'_> {
    /// Runs one step; an error or a panic is kept, and gives `None`.
    fn step<T>(&mut self, step: Step, call: impl FnOnce() -> io::Result<T>) -> Option<T> {
        let peer = || self.peer.clone();
        let error = match catch(call) {
            Ok(Ok(value)) => return Some(value),
            Ok(Err(error)) if is_stop(&error) => {
                self.hooks.stop();
                return None;
            }
            Ok(Err(source)) => Error::Handler {
                peer: peer(),
                step,
                source,
            },
            Err(message) => Error::Panic {
                peer: peer(),
                step,
                message,
            },
        };
        self.errors.push(error);
        None
    }

    /// Tells the errors, once `finish` has run, and how the request has ended.
    fn end(self) -> EndReason {
        let mut reason = EndReason::Done;
        for error in &self.errors {
            self.hooks.handle_error(error);
            if reason != EndReason::Panicked {
                reason = match error {
                    Error::Panic { .. } => EndReason::Panicked,
                    error if error.is_disconnect() && reason != EndReason::Failed => {
                        EndReason::PeerGone
                    }
                    _ => EndReason::Failed,
                };
            }
        }
        // They are the program's values, whose drop may panic.
        let errors = self.errors;
        if catch(|| drop(errors)).is_err() {
            reason = EndReason::Panicked;
        }
        reason
    }
}
