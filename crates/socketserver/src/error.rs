//! The one error of the library, and how errors are classified.

use std::fmt;
use std::io;

use crate::address::Address;

/// What can go wrong in a server.
///
/// `Display` names the address or engine concerned; [`source`](std::error::Error::source) keeps the
/// cause.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The server could not listen: the address is taken, not of this machine, or not allowed.
    Bind {
        /// The endpoint or address asked for.
        endpoint: String,
        /// The error of `socket(2)`, `bind(2)` or `listen(2)`.
        source: io::Error,
    },
    /// The engine cannot serve here, or would not take one request.
    Engine {
        /// Its name.
        engine: &'static str,
        /// Why, and what to do.
        source: io::Error,
    },
    /// A handler returned an error, in `setup`, `handle` or `finish`.
    Handler {
        /// Whose request it was.
        peer: Address,
        /// In which of the three steps.
        step: Step,
        /// What it returned.
        source: io::Error,
    },
    /// A handler panicked.
    Panic {
        /// Whose request it was.
        peer: Address,
        /// In which of the three steps.
        step: Step,
        /// What it said.
        message: String,
    },
    /// A hook panicked; its default was taken instead.
    Hook {
        /// Its name.
        hook: &'static str,
        /// What it said.
        message: String,
    },
    /// A forked child ended by a signal, or not at all in time.
    Child {
        /// Whose request it was.
        peer: Address,
        /// What became of it.
        reason: String,
    },
    /// The listening socket is gone: somebody closed it.
    Listener {
        /// Where it listened.
        endpoint: String,
        /// The error of `accept(2)`.
        source: io::Error,
    },
    /// The serving loop itself failed, for want of descriptors or memory at its start.
    Loop {
        /// The error of the system call.
        source: io::Error,
    },
}

/// The three steps of a handler's life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// The factory made the handler.
    Make,
    /// [`setup`](crate::RequestHandler::setup)
    Setup,
    /// [`handle`](crate::RequestHandler::handle)
    Handle,
    /// [`finish`](crate::RequestHandler::finish)
    Finish,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Make => "factory",
            Self::Setup => "setup",
            Self::Handle => "handle",
            Self::Finish => "finish",
        })
    }
}

impl Error {
    /// Whether it says no more than that a peer went away or fell silent: routine, and no problem of
    /// the operator's.
    pub fn is_disconnect(&self) -> bool {
        match self {
            Self::Handler { source, .. } => is_disconnect(source),
            _ => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { endpoint, source } => {
                write!(f, "cannot listen on {endpoint}: {}", cause(source))
            }
            Self::Engine { engine, source } => write!(f, "the {engine} engine: {}", cause(source)),
            Self::Handler { peer, step, source } => {
                write!(f, "{step} of {peer}: {}", cause(source))
            }
            Self::Panic {
                peer,
                step,
                message,
            } => write!(f, "{step} of {peer} panicked: {message}"),
            Self::Hook { hook, message } => write!(f, "the hook {hook} panicked: {message}"),
            Self::Child { peer, reason } => write!(f, "the child serving {peer} {reason}"),
            Self::Listener { endpoint, source } => {
                write!(f, "{endpoint} is gone: {}", cause(source))
            }
            Self::Loop { source } => write!(f, "the serving loop: {}", cause(source)),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bind { source, .. }
            | Self::Engine { source, .. }
            | Self::Handler { source, .. }
            | Self::Listener { source, .. }
            | Self::Loop { source } => source.get_ref().and_then(|inner| inner.source()),
            _ => None,
        }
    }
}

impl From<io::Error> for Error {
    /// An error of the loop, so that `?` works where a server is driven.
    fn from(source: io::Error) -> Self {
        Self::Loop { source }
    }
}

/// The text of `error` without `(os error N)`, which tells a reader nothing more.
fn cause(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// Whether `error` says no more than that the peer is gone.
pub(crate) fn is_disconnect(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::BrokenPipe
            | Kind::ConnectionAborted
            | Kind::ConnectionRefused
            | Kind::ConnectionReset
            | Kind::NotConnected
            | Kind::TimedOut
            | Kind::UnexpectedEof
    )
}

/// The third outcome of a handler, beside done and failed: it ends the server.
///
/// Return it from `handle` as an error; the server then drains as if
/// [`shutdown`](crate::ServerHandle::shutdown) had been called.
/// It is not a failure: `handle_error` does not see it.
///
/// ```
/// use socketserver::{Connection, Stop};
/// use std::io;
///
/// fn last_one(_connection: &mut Connection) -> io::Result<()> {
///     Err(Stop.into())
/// }
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stop;

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the handler asked the server to stop")
    }
}

impl std::error::Error for Stop {}

impl From<Stop> for io::Error {
    fn from(stop: Stop) -> Self {
        Self::other(stop)
    }
}

/// Whether a handler's error is a [`Stop`].
pub(crate) fn is_stop(error: &io::Error) -> bool {
    error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Stop>())
        .is_some()
}

/// Calls `call`; a panic is an error, with what it said.
///
/// What is left half-changed by the panic must be dropped, or be used by nobody again.
pub(crate) fn catch<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).map_err(|payload| {
        let message = panic_message(&*payload);
        // The payload is a value of the program's, whose drop may panic, too, and so may what that
        // throws: the second one is leaked.
        let drop_it = std::panic::AssertUnwindSafe(|| drop(payload));
        if let Err(another) = std::panic::catch_unwind(drop_it) {
            std::mem::forget(another);
        }
        message
    })
}

/// What a panic said.
fn panic_message(payload: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        return (*text).to_owned();
    }
    payload
        .downcast_ref::<String>()
        .cloned()
        .unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    #[test]
    fn an_error_names_the_endpoint_and_the_cause_once() {
        let source = io::Error::from_raw_os_error(rustix::io::Errno::ADDRINUSE.raw_os_error());
        let error = Error::Bind {
            endpoint: "tcp://127.0.0.1:9999".into(),
            source,
        };
        assert_eq!(
            error.to_string(),
            "cannot listen on tcp://127.0.0.1:9999: Address already in use"
        );
        assert!(error.source().is_none());
    }

    #[test]
    fn stop_survives_the_way_through_an_io_error() {
        assert!(is_stop(&Stop.into()));
        assert!(!is_stop(&io::Error::other("stop")));
    }
}
