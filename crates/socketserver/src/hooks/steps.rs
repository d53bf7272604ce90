//! The steps of one handler: what fails in them is kept, and told when the last is done.

use std::io;

use super::GuardedHooks;
use crate::address::Address;
use crate::error::{Error, Step, catch, is_stop};
use crate::telemetry::EndReason;

/// What has gone wrong in the steps of one handler.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    errors: Vec<Error>,
}

impl From<Vec<Error>> for Steps {
    fn from(errors: Vec<Error>) -> Self {
        Self { errors }
    }
}

impl Steps {
    /// Runs one step; an error or a panic is kept, and gives `None`.
    ///
    /// What a handler leaves half-changed by a panic dies with it; `finish` is told in its
    /// documentation that it runs after one.
    pub(crate) fn run<T>(
        &mut self,
        step: Step,
        peer: &Address,
        hooks: &GuardedHooks,
        call: impl FnOnce() -> io::Result<T>,
    ) -> Option<T> {
        let error = match catch(call) {
            Ok(Ok(value)) => return Some(value),
            Ok(Err(error)) if is_stop(&error) => {
                hooks.stop();
                return None;
            }
            Ok(Err(source)) => Error::Handler {
                peer: peer.clone(),
                step,
                source,
            },
            Err(message) => Error::Panic {
                peer: peer.clone(),
                step,
                message,
            },
        };
        self.errors.push(error);
        None
    }

    /// Tells the errors, once `finish` has run, and how the request has ended.
    pub(crate) fn end(self, hooks: &GuardedHooks) -> EndReason {
        let mut reason = EndReason::Done;
        for error in &self.errors {
            hooks.handle_error(error);
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
