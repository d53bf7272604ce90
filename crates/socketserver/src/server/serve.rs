//! Serving one request that is handled in one go: the handler's three steps.

use std::sync::Arc;

use crate::address::Address;
use crate::error::Step;
use crate::handler::RequestHandler;
use crate::hooks::{GuardedHooks, Steps};
use crate::telemetry::EndReason;

/// Makes a handler for a request.
pub(super) type Factory<R> = Arc<dyn Fn() -> Box<dyn RequestHandler<R>> + Send + Sync>;

/// Runs a handler on `request`: `setup`, `handle`, `finish`; then what went wrong is told.
pub(super) fn serve<R>(
    factory: &Factory<R>,
    request: &mut R,
    peer: &Address,
    hooks: &GuardedHooks,
) -> EndReason {
    let mut steps = Steps::default();
    if let Some(mut handler) = steps.run(Step::Make, peer, hooks, || Ok(factory())) {
        let setup = steps.run(Step::Setup, peer, hooks, || handler.setup(request));
        if setup.is_some() {
            steps.run(Step::Handle, peer, hooks, || handler.handle(request));
            steps.run(Step::Finish, peer, hooks, || handler.finish(request));
        }
        steps.run(Step::Finish, peer, hooks, || {
            drop(handler);
            Ok(())
        });
    }
    steps.end(hooks)
}
