//! `load-peers`: the servers to compare with that are written on other frameworks.
//!
//! `load-peers tokio-current|tokio-multi|may echo|lines|datagrams|fanout LOOPS` listens on a port of
//! its own, says `listening on tcp://ADDRESS:PORT`, and serves until it is ended.
//! Each is written as its users would who look after the cost: one write for each read, `TCP_NODELAY`,
//! buffers that grow for bulk.

#![forbid(unsafe_code)]

mod listening;
mod may_peer;
mod tokio_fan_out;
mod tokio_peer;

use std::io;
use std::process::ExitCode;

/// What a peer does with what it receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    /// Each datagram goes back.
    Datagrams,
    /// What is read goes back.
    Echo,
    /// Each line goes to everybody.
    FanOut,
    /// Each line goes back.
    Lines,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => {
            eprintln!("load-peers: {error}");
            ExitCode::FAILURE
        }
        None => {
            eprintln!(
                "usage: load-peers tokio-current|tokio-multi|may echo|lines|datagrams|fanout LOOPS"
            );
            ExitCode::from(2)
        }
    }
}

/// Serves until it is ended; none if the arguments are wrong.
fn run(arguments: &[&str]) -> Option<io::Result<()>> {
    let [peer, service, loops] = arguments else {
        return None;
    };
    let service = match *service {
        "datagrams" => Service::Datagrams,
        "echo" => Service::Echo,
        "fanout" => Service::FanOut,
        "lines" => Service::Lines,
        _ => return None,
    };
    let loops = loops
        .parse()
        .ok()
        .filter(|loops| (1..=64).contains(loops))?;
    match *peer {
        "may" => Some(may_peer::run(service, loops)),
        // The members of a fan-out are those of one loop.
        "tokio-current" if service != Service::FanOut || loops == 1 => {
            Some(tokio_peer::run_current(service, loops))
        }
        "tokio-multi" => Some(tokio_peer::run_multi(service, loops)),
        _ => None,
    }
}
