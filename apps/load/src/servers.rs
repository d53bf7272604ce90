//! The servers that the report compares, and how each is started.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::ValueEnum;

use crate::failure::{Doing, Failure, Result};
use crate::generator::Reply;
use crate::machine;
use crate::peers::Peer;
use crate::server_process::ServerProcess;

/// An engine of the server under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Sequential,
    Threading,
    Forking,
    Pool,
}

/// A server of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    /// Ours, echoing byte for byte.
    Raw(Engine),
    /// Ours, echoing byte for byte, with no bound on a wait: as much as the bare loop does.
    Unbounded,
    /// Ours, doing the work of the article's program: a prefix and a log line for each message.
    Addressed,
    /// One that this program brings along.
    Peer(Peer),
}

/// The servers of the tables, in the order of their rows.
pub(crate) const ECHO_SERVERS: [Server; 6] = [
    Server::Raw(Engine::Sequential),
    Server::Raw(Engine::Threading),
    Server::Raw(Engine::Forking),
    Server::Raw(Engine::Pool),
    Server::Peer(Peer::StdThreads),
    Server::Peer(Peer::PythonThreading),
];

impl Server {
    /// The name in the report, which `--only` is matched against.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw(Engine::Sequential) => "engine sequential",
            Self::Raw(Engine::Threading) => "engine threading",
            Self::Raw(Engine::Forking) => "engine forking",
            Self::Raw(Engine::Pool) => "engine pool",
            Self::Unbounded => "engine threading, no timeouts",
            Self::Addressed => "engine threading, prefix and log",
            Self::Peer(Peer::StdThreads) => "peer std threads",
            Self::Peer(Peer::PythonThreading) => "peer Python ThreadingTCPServer",
            Self::Peer(Peer::PythonArticle) => "peer Python article echo",
        }
    }

    /// How many connections it can serve at once in the report.
    pub(crate) fn most_connections(self) -> usize {
        match self {
            Self::Raw(Engine::Sequential) => 1,
            // `max_children` is 40 unless told otherwise.
            Self::Raw(Engine::Forking) => 30,
            // A request handler on the pool holds one of its 8 threads from the first byte on.
            Self::Raw(Engine::Pool) => 8,
            Self::Raw(Engine::Threading) | Self::Unbounded | Self::Addressed | Self::Peer(_) => {
                1000
            }
        }
    }

    /// What it answers.
    pub(crate) fn reply(self) -> Reply {
        match self {
            Self::Addressed | Self::Peer(Peer::PythonArticle) => Reply::Addressed,
            Self::Raw(_)
            | Self::Unbounded
            | Self::Peer(Peer::PythonThreading | Peer::StdThreads) => Reply::Same,
        }
    }

    /// Whether its children do the work.
    pub(crate) fn works_in_children(self) -> bool {
        self == Self::Raw(Engine::Forking)
    }

    /// Whether it is the command under test and not a peer.
    pub(crate) fn is_ours(self) -> bool {
        !matches!(self, Self::Peer(_))
    }

    /// Whether it needs a Python interpreter.
    pub(crate) fn needs_python(self) -> bool {
        matches!(
            self,
            Self::Peer(Peer::PythonArticle | Peer::PythonThreading)
        )
    }
}

impl Engine {
    fn argument(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::Threading => "threading",
            Self::Forking => "forking",
            Self::Pool => "pool",
        }
    }
}

/// Where the programs are and how they are run.
#[derive(Debug)]
pub(crate) struct Launcher {
    this_program: PathBuf,
    command: PathBuf,
    pinned: bool,
    peer_nodelay: bool,
}

impl Launcher {
    /// Makes a launcher; `command` is the program under test, by default beside this one.
    pub(crate) fn new(command: Option<PathBuf>, pinned: bool, peer_nodelay: bool) -> Result<Self> {
        let this_program = std::env::current_exe().doing(|| "find this program".into())?;
        let command = command.unwrap_or_else(|| this_program.with_file_name("socketserver"));
        Ok(Self {
            this_program,
            command,
            pinned,
            peer_nodelay,
        })
    }

    /// Whether servers and generator have a core each.
    pub(crate) fn is_pinned(&self) -> bool {
        self.pinned
    }

    /// Makes sure that the command under test is there.
    pub(crate) fn require_command(&self) -> Result<()> {
        if self.command.is_file() {
            return Ok(());
        }
        Err(Failure::new(format!(
            "the server under test is not at {}: run `cargo build --release` first, or name it \
             with --server PATH",
            self.command.display()
        )))
    }

    /// Starts a server and waits until it listens.
    pub(crate) fn start(&self, server: Server) -> Result<ServerProcess> {
        let mut command = vec![OsString::from(&self.this_program), "launch".into()];
        if self.pinned {
            command.extend(["--core".into(), machine::SERVER_CORE.to_string().into()]);
        }
        command.push("--".into());
        match server {
            Server::Peer(peer) => command.extend(self.peer_arguments(peer)),
            Server::Raw(_) | Server::Unbounded | Server::Addressed => {
                command.push(OsString::from(&self.command));
                command.extend(our_arguments(server).into_iter().map(OsString::from));
            }
        }
        ServerProcess::start(&command).doing(|| format!("run {}", server.name()))
    }

    fn peer_arguments(&self, peer: Peer) -> Vec<OsString> {
        let mut arguments = vec![OsString::from(&self.this_program), "peer".into()];
        if let Some(value) = peer.to_possible_value() {
            arguments.push(value.get_name().into());
        }
        if self.peer_nodelay {
            arguments.push("--nodelay".into());
        }
        arguments
    }
}

/// The arguments that make the command under test this server.
pub(crate) fn our_arguments(server: Server) -> Vec<&'static str> {
    let engine = match server {
        Server::Raw(engine) => engine,
        Server::Unbounded | Server::Addressed | Server::Peer(_) => Engine::Threading,
    };
    let mut arguments = vec!["echo", "--engine", engine.argument()];
    arguments.extend(["--listen", "tcp://127.0.0.1:0", "--no-console"]);
    if matches!(server, Server::Raw(_) | Server::Unbounded) {
        arguments.extend(["--raw", "-q"]);
    }
    if server == Server::Unbounded {
        arguments.extend(["--idle-timeout", "none", "--write-timeout", "none"]);
    }
    arguments
}
