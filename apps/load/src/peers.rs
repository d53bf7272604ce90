//! The peers that need nothing but the standard library, or a Python interpreter.
//!
//! Each answers on a port of its own and says so on standard output.
//! Those on other frameworks are in `load-peers`, the raw loops in `apps/load/peers`.

pub(crate) mod std_threads;

use std::os::unix::process::CommandExt;
use std::process::Command;

use clap::ValueEnum;

use crate::failure::{Doing, Failure, Result};

const PYTHON_ARTICLE: &str = include_str!("peers/article_echo.py");
const PYTHON_THREADING: &str = include_str!("peers/threading_echo.py");

/// A server that this program brings along.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    /// The article's echo program on Python's socketserver, its logging included.
    PythonArticle,
    /// Python's `socketserver.ThreadingTCPServer`, echoing byte for byte.
    PythonThreading,
    /// A thread for each connection with nothing but the standard library.
    StdThreads,
}

/// Runs a peer until the process is ended from outside; only `StdThreads` does more than echo.
pub(crate) fn run(peer: Peer, work: std_threads::Work) -> Result<()> {
    match peer {
        Peer::PythonArticle => exec_python(PYTHON_ARTICLE),
        Peer::PythonThreading => exec_python(PYTHON_THREADING),
        Peer::StdThreads => std_threads::run(work),
    }
}

/// Becomes a Python interpreter, so that the process measured is the server itself.
fn exec_python(program: &str) -> Result<()> {
    let error = Command::new("python3").arg("-c").arg(program).exec();
    Err(Failure::new(error.to_string())).doing(|| "run python3".into())
}
