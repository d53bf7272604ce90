//! Servers over this library that the command does not have: lines, and a fan-out.

use clap::ValueEnum;

use crate::failure::{Failure, Result};

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Work {
    /// Sends each line to everybody.
    Fanout,
    /// Sends each line back.
    Lines,
}

/// How to serve.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What to do
    work: Work,
    /// The engine
    #[arg(long)]
    engine: String,
    /// Of the reactor
    #[arg(long)]
    driver: Option<String>,
    /// Of the reactor
    #[arg(long)]
    threads: Option<usize>,
}

/// Serves until it is ended.
pub(crate) fn run(options: &Options) -> Result<()> {
    Err(Failure::new(format!("not yet: {options:?}")))
}
