//! Serving one request: the handler's three steps, and what becomes of their errors.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::{io, sync::atomic::AtomicBool, sync::atomic::Ordering};

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
            hooks.service_actions(&self.server)
        });
    }

    pub(super) fn handle_timeout(&self) {
        self.call("handle_timeout", |hooks| hooks.handle_timeout(&self.server));
    }

    pub(super) fn handle_error(&self, error: &Error) {
        if self
            .call("handle_error", |hooks| {
                hooks.handle_error(error, &self.server)
            })
            .is_none()
        {
            self.server.report(error);
        }
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

/// Runs a handler on `request`: `setup`, `handle`, `finish`.
pub(super) fn serve<R>(
    factory: &Factory<R>,
    request: &mut R,
    peer: &Address,
    hooks: &GuardedHooks,
) -> EndReason {
    let run = Run {
        peer,
        hooks,
        has_failed: AtomicBool::new(false),
        has_panicked: AtomicBool::new(false),
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
    run.outcome()
}

struct Run<'a> {
    peer: &'a Address,
    hooks: &'a GuardedHooks,
    has_failed: AtomicBool,
    has_panicked: AtomicBool,
}

impl Run<'_> {
    /// Runs one step; an error or a panic is reported, and gives `None`.
    fn step<T>(&self, step: Step, call: impl FnOnce() -> io::Result<T>) -> Option<T> {
        let peer = || self.peer.clone();
        let error = match panic::catch_unwind(AssertUnwindSafe(call)) {
            Ok(Ok(value)) => return Some(value),
            Ok(Err(error)) if is_stop(&error) => {
                self.hooks.server.shutdown();
                return None;
            }
            Ok(Err(source)) => {
                self.has_failed.store(true, Ordering::Relaxed);
                Error::Handler {
                    peer: peer(),
                    step,
                    source,
                }
            }
            Err(payload) => {
                self.has_panicked.store(true, Ordering::Relaxed);
                Error::Panic {
                    peer: peer(),
                    step,
                    message: panic_message(&*payload),
                }
            }
        };
        self.hooks.handle_error(&error);
        None
    }

    fn outcome(&self) -> EndReason {
        if self.has_panicked.load(Ordering::Relaxed) {
            EndReason::Panicked
        } else if self.has_failed.load(Ordering::Relaxed) {
            EndReason::Failed
        } else {
            EndReason::Done
        }
    }
}
