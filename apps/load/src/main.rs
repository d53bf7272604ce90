//! `load`: a load generator, peers to compare with, and the benchmark's report.
//!
//! `load report` measures the `socketserver` command beside its peers and writes a Markdown report;
//! `load run` drives any echo server; `load peer` is one of the peers.

#![forbid(unsafe_code)]

mod failure;
mod generator;
mod histogram;
mod machine;
mod meter;
mod pairs;
mod peers;
mod report;
mod scenarios;
mod server_process;
mod servers;
mod statistics;
mod subject;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::{Parser, Subcommand};

use failure::{Doing, Failure, Result};
use generator::{Outcome, PingPong, Reply, Span};

/// Load for echo servers, and the benchmark of `socketserver`
#[derive(Parser)]
#[command(name = "load", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// Run the benchmark and write its report
    Report(report::Options),
    /// Drive one echo server and print one line of result
    Run(RunOptions),
    /// Be one of the servers to compare with, on a port of its own
    Peer {
        /// Which one
        name: peers::Peer,
        /// Set `TCP_NODELAY` (std-threads only)
        #[arg(long)]
        nodelay: bool,
    },
    /// Become another program, on one core, that ends when its parent ends
    #[command(hide = true)]
    Launch {
        #[arg(long)]
        core: Option<usize>,
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
}

#[derive(clap::Args)]
struct RunOptions {
    /// The server
    #[arg(long, value_name = "tcp://ADDRESS:PORT", value_parser = server_process::parse_endpoint)]
    connect: SocketAddr,
    /// Connections at once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=19_000))]
    connections: u32,
    /// How long to send
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Messages that each connection sends together
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pipeline: u32,
    /// Make a new connection for each message
    #[arg(long, conflicts_with = "pipeline")]
    churn: bool,
    /// Expect `ADDRESS:PORT ` before each message
    #[arg(long)]
    addressed: bool,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Mode::Report(options) => report::run(&options),
        Mode::Run(options) => run(&options),
        Mode::Peer { name, nodelay } => peers::run(name, nodelay),
        Mode::Launch { core, command } => launch(core, &command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("load: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Drives one server and prints what came of it.
fn run(options: &RunOptions) -> Result<()> {
    machine::raise_descriptor_limit()?;
    let span = Span {
        time: Duration::try_from_secs_f64(options.seconds)
            .doing(|| format!("run for {} seconds", options.seconds))?,
        messages: u64::MAX,
    };
    let reply = if options.addressed {
        Reply::Addressed
    } else {
        Reply::Same
    };
    let connections = options.connections as usize;
    let outcome = if options.churn {
        generator::churn(options.connect, connections, span, reply)?
    } else {
        let pipeline = options.pipeline as usize;
        PingPong::connect(options.connect, connections, pipeline, reply)?.drive(span)?
    };
    println!("{}", line_about(&outcome));
    Ok(())
}

fn line_about(outcome: &Outcome) -> String {
    let quantile = |per_mille| outcome.latency.quantile(per_mille).unwrap_or_default();
    format!(
        "{} messages in {:.3} s, {:.0}/s, latency p50 {:?} p99 {:?}",
        outcome.messages,
        outcome.elapsed.as_secs_f64(),
        outcome.rate(),
        quantile(500),
        quantile(990),
    )
}

/// Becomes `command`; the process id stays, and with it what was asked for here.
fn launch(core: Option<usize>, command: &[OsString]) -> Result<()> {
    machine::end_with_parent()?;
    if let Some(core) = core {
        machine::pin(core)?;
    }
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| Failure::new("there is no command to launch"))?;
    let error = Command::new(program).args(arguments).exec();
    Err(error).doing(|| format!("run {}", program.display()))
}
