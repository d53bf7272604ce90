//! `load`: a load generator, peers to compare with, and the benchmark's report.
//!
//! `load report` measures this library beside its peers and writes a Markdown report with plots;
//! `load run` drives any server; `load peer` is one of the peers, `load serve` one of ours.

#![forbid(unsafe_code)]

mod facts;
mod failure;
mod generator;
mod histogram;
mod idle;
mod launcher;
mod machine;
mod marks;
mod meter;
mod peers;
mod report;
mod rounds;
mod scenarios;
mod serve;
mod server_process;
mod servers;
mod statistics;
mod subject;
mod system_calls;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::{Parser, Subcommand};

use failure::{Doing, Failure, Result};
use generator::{Datagrams, FanOut, Outcome, PingPong, Reply, Shape, Span, Wire};

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
        /// What it does (std-threads only)
        #[arg(default_value = "echo")]
        work: peers::std_threads::Work,
    },
    /// Serve lines or a fan-out with the library under test
    Serve(serve::Options),
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
    /// Messages that each connection sends together, or that a fan-out has under way
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=32))]
    pipeline: u32,
    /// The length of a message
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(64..=1 << 20))]
    bytes: u32,
    /// What to do
    #[arg(long, value_enum, default_value = "echo")]
    work: Work,
    /// Expect `ADDRESS:PORT ` before each message
    #[arg(long)]
    addressed: bool,
}

/// What to do with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Work {
    /// Make a new connection for each message
    Churn,
    /// Have datagrams sent back
    Datagrams,
    /// Have messages sent back on connections that stay
    Echo,
    /// Have one member's lines sent to all
    Fanout,
    /// The same in the protocol of NATS
    Nats,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Mode::Report(options) => report::run(&options),
        Mode::Run(options) => run(&options),
        Mode::Peer { name, work } => peers::run(name, work),
        Mode::Serve(options) => serve::run(&options),
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
    let server = options.connect;
    let fan_out = |wire| -> Result<Outcome> {
        FanOut::connect(server, wire, connections, connections.min(50))?
            .drive(options.pipeline.into(), span)
    };
    let outcome = match options.work {
        Work::Churn => generator::churn(server, connections, span, reply)?,
        Work::Datagrams => Datagrams::connect(server, connections)?.drive(span)?,
        Work::Echo => {
            let shape = Shape {
                message_bytes: options.bytes as usize,
                pipeline: options.pipeline as usize,
            };
            let all = (connections, connections);
            PingPong::connect(server, all, shape, reply)?.drive(span)?
        }
        Work::Fanout => fan_out(Wire::Lines)?,
        Work::Nats => fan_out(Wire::Nats)?,
    };
    println!("{}", line_about(&outcome));
    Ok(())
}

fn line_about(outcome: &Outcome) -> String {
    let quantile = |per_mille| outcome.latency.quantile(per_mille).unwrap_or_default();
    format!(
        "{} messages, {} lost, in {:.3} s, {:.0}/s, latency p50 {:?} p99 {:?}",
        outcome.messages,
        outcome.lost,
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
