//! The command line.

use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use socketserver::{Endpoint, Limits};

/// Servers over sockets: an echo server, a chat room, and a client.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "\
Examples:
  socketserver chat
  socketserver join tcp://127.0.0.1:9999
  socketserver echo --listen tcp://[::1]:0 --listen udp://[::1]:0 --listen unix:///tmp/echo.sock"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs a chat room: every member gets every message
    Chat(ChatArguments),
    /// Runs an echo server: every message comes back
    Echo(EchoArguments),
    /// Joins a chat room, or talks to any server of lines
    Join(JoinArguments),
}

/// How a server's requests are run.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum EngineName {
    /// One request after another
    Sequential,
    /// A thread for each request
    Threading,
    /// A child process for each request
    Forking,
    /// A fixed number of threads, which idle connections do not hold
    Pool,
    /// Event loops, which serve as many connections as there are descriptors
    Reactor,
}

impl EngineName {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::Threading => "threading",
            Self::Forking => "forking",
            Self::Pool => "pool",
            Self::Reactor => "reactor",
        }
    }
}

/// How an event loop learns what its sockets have to tell.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum DriverName {
    /// The kernel tells which sockets are ready
    Epoll,
    /// The kernel does the reading and writing; where it does not allow that, epoll
    Uring,
}

/// The form of the log on standard error.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum LogFormat {
    /// A line for people
    Text,
    /// A JSON object a line
    Json,
}

/// A time with its unit, or `none`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Timeout(pub(crate) Option<Duration>);

impl FromStr for Timeout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self(None)),
            text => match duration(text)? {
                Duration::ZERO => Err("write none for no limit".to_owned()),
                time => Ok(Self(Some(time))),
            },
        }
    }
}

/// A number, or `none`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Bound(pub(crate) Option<usize>);

impl FromStr for Bound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self(None)),
            text => match text.parse() {
                Ok(0) | Err(_) => Err("write a number from 1 up, or none".to_owned()),
                Ok(number) => Ok(Self(Some(number))),
            },
        }
    }
}

/// Parses `500ms`, `60s`, `5m` or `1h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("write a number and its unit, ms, s, m or h, as in 60s".to_owned()),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| "the number is missing or too large".to_owned())?;
    number
        .checked_mul(millis)
        .map(Duration::from_millis)
        .ok_or_else(|| "that is too long".to_owned())
}

/// Parses a number of bytes: `65536`, `64k` or `1M`.
pub(crate) fn bytes(text: &str) -> Result<usize, String> {
    let (number, unit) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1 << 10),
        Some(b'M') => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    let number = number
        .parse::<usize>()
        .ok()
        .and_then(|number| number.checked_mul(unit));
    match number {
        Some(number) if number >= 16 => Ok(number),
        _ => Err("write a number of bytes from 16 up, as in 65536, 64k or 1M".to_owned()),
    }
}

/// What every server command takes.
#[derive(Args, Debug)]
pub(crate) struct ServeArguments {
    /// Where to listen: `tcp://HOST:PORT` or `unix://PATH`, `unix://@NAME` (echo: also `udp://HOST:PORT`,
    /// `unix-dgram://PATH`); may be repeated, and port 0 picks a free one
    #[arg(long, value_name = "ENDPOINT", default_value = "tcp://127.0.0.1:9999")]
    pub(crate) listen: Vec<Endpoint>,
    /// How requests are run; the chat runs on threading, pool and reactor
    #[arg(long, value_enum, default_value_t = EngineName::Reactor)]
    pub(crate) engine: EngineName,
    /// Event loops of the reactor [default: one for each processor], or threads of the pool [default:
    /// four for each processor, at least 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) threads: Option<u16>,
    /// How the event loops of the reactor learn what their sockets have to tell [default: epoll]
    #[arg(long, value_enum)]
    pub(crate) driver: Option<DriverName>,
    /// Children of the forking engine at once
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) max_children: u16,
    /// Connections that the kernel queues
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub(crate) backlog: u32,
    /// Reads commands from standard input, also where it is no terminal
    #[arg(long, conflicts_with = "no_console")]
    pub(crate) console: bool,
    /// Leaves standard input alone
    #[arg(long)]
    pub(crate) no_console: bool,
    #[command(flatten)]
    pub(crate) bounds: BoundArguments,
    #[command(flatten)]
    pub(crate) log: LogArguments,
}

/// The limits. Times are written 500ms, 60s, 5m or 1h, bytes 65536, 64k or 1M.
#[derive(Args, Debug)]
#[command(
    next_help_heading = "Limits (a TIME is 500ms, 60s, 5m or 1h; BYTES are 65536, 64k or 1M)"
)]
pub(crate) struct BoundArguments {
    /// Requests at once; more wait in the queue
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) connections: u32,
    /// Requests at once from one address, or none; this machine is exempt
    #[arg(long, value_name = "N", default_value = "32")]
    pub(crate) per_address: Bound,
    /// The longest line, its end included
    #[arg(long, value_name = "BYTES", default_value = "64k", value_parser = bytes)]
    pub(crate) line_bytes: usize,
    /// What waits for a slow reader before it is cut off
    #[arg(long, value_name = "BYTES", default_value = "1M", value_parser = bytes)]
    pub(crate) outbox_bytes: usize,
    /// The longest silence of a peer, or none [default: 5m for echo, none for chat]
    #[arg(long, value_name = "TIME")]
    pub(crate) idle_timeout: Option<Timeout>,
    /// The longest time for a line, from its first byte to its last, or none
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub(crate) read_timeout: Timeout,
    /// The longest time a write waits for the peer to read, or none
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub(crate) write_timeout: Timeout,
    /// The longest time for a whole request, or none
    #[arg(long, value_name = "TIME", default_value = "none")]
    pub(crate) request_timeout: Timeout,
    /// How long requests may go on after a stop
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(crate) drain_timeout: Duration,
}

/// What is logged, and how.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Log")]
pub(crate) struct LogArguments {
    /// The form of the log
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// Logs more: each connection, each refusal
    #[arg(short, long, conflicts_with = "quiet")]
    pub(crate) verbose: bool,
    /// Logs errors only
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

impl BoundArguments {
    /// The limits, where a silence may last `idle` unless the command line says otherwise.
    pub(crate) fn limits(&self, idle: Option<Duration>) -> Limits {
        Limits::default()
            .connections(self.connections as usize)
            .per_address(self.per_address.0)
            .exempt_local(true)
            .line_bytes(self.line_bytes)
            .outbox_bytes(self.outbox_bytes)
            .idle_timeout(self.idle_timeout.map_or(idle, |timeout| timeout.0))
            .read_timeout(self.read_timeout.0)
            .write_timeout(self.write_timeout.0)
            .request_timeout(self.request_timeout.0)
    }
}

#[derive(Args, Debug)]
pub(crate) struct EchoArguments {
    #[command(flatten)]
    pub(crate) serve: ServeArguments,
    /// Answers byte for byte (RFC 862): no lines, no address, no quit
    #[arg(long)]
    pub(crate) raw: bool,
}

/// How members are called until they choose a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum NamesArgument {
    /// By address and port
    Address,
    /// As guest-1, guest-2 and so on
    Guest,
}

#[derive(Args, Debug)]
pub(crate) struct ChatArguments {
    #[command(flatten)]
    pub(crate) serve: ServeArguments,
    /// The wire of Python's original: no greeting, no presence, no commands but quit
    #[arg(long)]
    pub(crate) plain: bool,
    /// How members are called until they choose a name [default: address if only this machine can
    /// connect, else guest]
    #[arg(long, value_enum)]
    pub(crate) names: Option<NamesArgument>,
}

#[derive(Args, Debug)]
pub(crate) struct JoinArguments {
    /// Where the server is: tcp://HOST:PORT, <unix://PATH> or <unix://@NAME>
    #[arg(default_value = "tcp://127.0.0.1:9999")]
    pub(crate) endpoint: Endpoint,
    /// Takes this name
    #[arg(long, value_name = "NAME")]
    pub(crate) nick: Option<chat::Name>,
    /// Ends when the server is gone, instead of connecting again
    #[arg(long)]
    pub(crate) no_reconnect: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!("none".parse(), Ok(Timeout(None)));
        assert_eq!("2h".parse(), Ok(Timeout(Some(Duration::from_secs(7200)))));
        for wrong in [
            "60",
            "s",
            "1 s",
            "-1s",
            "99999999999999999999s",
            "99999999999999999h",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert!("0s".parse::<Timeout>().is_err());
    }

    #[test]
    fn bytes_may_have_units_and_are_not_too_few() {
        assert_eq!(bytes("65536"), Ok(65_536));
        assert_eq!(bytes("64k"), Ok(65_536));
        assert_eq!(bytes("1M"), Ok(1 << 20));
        for wrong in ["0", "15", "k", "64kb", "-1", "1G", "99999999999999999999k"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_bound_is_a_positive_number_or_none() {
        assert_eq!("none".parse(), Ok(Bound(None)));
        assert_eq!("7".parse(), Ok(Bound(Some(7))));
        assert!("0".parse::<Bound>().is_err());
    }
}
