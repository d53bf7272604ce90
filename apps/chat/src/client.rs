//! The chat's client: a line typed is a line sent, a line received is a line shown.
//!
//! The entry is [`run`].
//! It is one loop over the input and the socket, with no thread; it works with a terminal and with
//! pipes.

mod conversation;
mod incoming;
mod input;
mod link;
mod outgoing;

use std::fmt;
use std::io::{self, IsTerminal as _, Write};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use socketserver::Endpoint;

use crate::names::Name;

/// How the client behaves.
///
/// ```
/// use chat::client::Options;
/// let options = Options::default().nick(Some("ada".parse()?)).reconnect(false);
/// assert_eq!(options.nick.unwrap().as_str(), "ada");
/// # Ok::<(), chat::NameError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Whether to connect again when the connection is lost; default `true`.
    /// The first attempt is not repeated: it fails.
    pub reconnect: bool,
    /// The nickname to ask for, after each connecting; default `None`.
    /// The last `/nick NAME` that was typed takes its place.
    pub nick: Option<Name>,
    /// How long one attempt to connect may take; default 5 seconds.
    pub connect_timeout: Duration,
    /// The wait before the first attempt to reconnect; default 1 second.
    /// It doubles with each attempt that fails.
    pub first_wait: Duration,
    /// The longest such wait; default 30 seconds.
    pub longest_wait: Duration,
    /// How long to wait, once the input has ended, for the server to take what was typed, and then
    /// for what it still says; default 2 seconds each.
    pub farewell: Duration,
    /// After what pause a line that has no end yet is shown; default half a second.
    /// A server may relay what has no line end.
    pub pause: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            reconnect: true,
            nick: None,
            connect_timeout: Duration::from_secs(5),
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(30),
            farewell: Duration::from_secs(2),
            pause: Duration::from_millis(500),
        }
    }
}

/// Makes a setter of the same name for each field.
macro_rules! setters {
    ($($name:ident: $type:ty),* $(,)?) => {
        impl Options {
            $(
                #[doc = concat!("Sets [`", stringify!($name), "`](Self#structfield.", stringify!($name), ").")]
                #[must_use]
                pub fn $name(mut self, $name: $type) -> Self {
                    self.$name = $name;
                    self
                }
            )*
        }
    };
}

setters! {
    reconnect: bool,
    nick: Option<Name>,
    connect_timeout: Duration,
    first_wait: Duration,
    longest_wait: Duration,
    farewell: Duration,
    pause: Duration,
}

/// Where the client's lines come from and go to.
pub struct Terminal<'a> {
    /// What is typed; it is polled, and read only when that cannot wait.
    pub input: BorrowedFd<'a>,
    /// Takes what is received, one line each.
    pub output: &'a mut dyn Write,
    /// Takes what the client itself has to say.
    pub notices: &'a mut dyn Write,
}

impl fmt::Debug for Terminal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terminal")
            .field("input", &self.input)
            .finish_non_exhaustive()
    }
}

/// Talks to the room at `endpoint` by standard input, output and error.
///
/// It returns when `quit` was typed or the input has ended, once the server has closed or the
/// farewell is over.
///
/// # Errors
///
/// As [`run_on`].
pub fn run(endpoint: &Endpoint, options: &Options) -> Result<(), Error> {
    let input = io::stdin();
    let mut output = io::stdout().lock();
    let mut notices = io::stderr();
    if input.is_terminal() {
        // What does not reach standard error is nobody's loss.
        let _ = writeln!(notices, "* joining {endpoint}; quit leaves");
    }
    let terminal = Terminal {
        input: input.as_fd(),
        output: &mut output,
        notices: &mut notices,
    };
    run_on(endpoint, options, terminal)
}

/// As [`run`], by a terminal of the caller's.
///
/// # Errors
///
/// Nobody listens at `endpoint`; the connection was lost and is not to be made again, or before all
/// that was typed had been taken; the endpoint is one of datagrams; or the terminal itself fails.
/// An output whose reader is gone ends the client without an error.
pub fn run_on(endpoint: &Endpoint, options: &Options, terminal: Terminal<'_>) -> Result<(), Error> {
    conversation::Conversation::new(endpoint, options, terminal).run()
}

/// Why the client failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// There is no connecting to the endpoint.
    Connect {
        /// Where to.
        endpoint: Endpoint,
        /// Why not.
        source: io::Error,
    },
    /// The endpoint takes datagrams, and the room speaks by connections.
    Datagrams {
        /// Which one.
        endpoint: Endpoint,
    },
    /// The connection was lost.
    Lost {
        /// To whom it was.
        endpoint: Endpoint,
        /// How it was lost.
        source: io::Error,
    },
    /// The input or the output failed.
    Terminal {
        /// How.
        source: io::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { endpoint, source } => {
                write!(f, "cannot connect to {endpoint}: {}", cause(source))
            }
            Self::Datagrams { endpoint } => {
                write!(
                    f,
                    "cannot join {endpoint}: a room is joined by tcp:// or unix://"
                )
            }
            Self::Lost { endpoint, source } => {
                write!(f, "connection lost: {endpoint}: {}", cause(source))
            }
            Self::Terminal { source } => write!(f, "the terminal failed: {}", cause(source)),
        }
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

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Datagrams { .. } => None,
            // The texts above have the cause itself.
            Self::Connect { source, .. }
            | Self::Lost { source, .. }
            | Self::Terminal { source } => source.get_ref().and_then(|inner| inner.source()),
        }
    }
}
