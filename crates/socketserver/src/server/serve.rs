//! Serving one request: the handler's three steps, and what becomes of their errors.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use crate::address::Address;
use crate::control::ServerHandle;
use crate::error::{Error, Step, is_stop, panic_message};
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
        self.call("verify_request", |hooks| {
            hooks.verify_request(peer, &self.server)
        })
        .unwrap_or(Verdict::Refuse)
    }

    pub(super) fn service_actions(&self) {
        self.call("service_actions", |hooks| {
            hooks.service_actions(&self.server);
        });
    }

    pub(super) fn handle_timeout(&self) {
        self.call("handle_timeout", |hooks| hooks.handle_timeout(&self.server));
    }

    pub(super) fn handle_error(&self, error: &Error) {
        if self
            .call("handle_error", |hooks| {
                hooks.handle_error(error, &self.server);
            })
            .is_none()
        {
            self.server.report(error);
        }
    }

    /// Stops the run that is under way, or else the next.
    fn stop(&self) {
        // The handle that the hooks are given names the run in which the server was made.
        self.server.shared().handle().shutdown();
    }

    fn call<T>(&self, name: &'static str, call: impl FnOnce(&dyn Hooks) -> T) -> Option<T> {
        match panic::catch_unwind(AssertUnwindSafe(|| call(&*self.hooks))) {
            Ok(value) => Some(value),
            Err(payload) => {
                let message = panic_message(&*payload);
                self.server.report(&Error::Hook {
                    hook: name,
                    message,
                });
                None
            }
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
    if let Some(mut handler) = run.step(Step::Make, || Ok(factory()))
        && run.step(Step::Setup, || handler.setup(request)).is_some()
    {
        run.step(Step::Handle, || handler.handle(request));
        run.step(Step::Finish, || handler.finish(request));
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
        let error = match panic::catch_unwind(AssertUnwindSafe(call)) {
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
            Err(payload) => Error::Panic {
                peer: peer(),
                step,
                message: panic_message(&*payload),
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
        reason
    }
}
