//! Conformance: what every server must do, as sentences.
//!
//! Each sentence of [`sentences`] is checked for every transport, kind of handler and engine that it
//! is about, as a trial of its own: `tcp::messages::forking::a_panic_costs_one_request`.
//! [`cpython`] has the counterparts of the tests of Python's `socketserver`, under their names.
//!
//! Forking needs a process with one thread, so a server under test runs in a process of its own, made
//! of this same binary (`--serve`, see [`serve`]); its clients are in the process of the tests.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

mod alone;
mod case;
mod client;
mod cpython;
mod facts;
mod gate;
mod sentences;
mod serve;
mod server_process;

/// What a check comes to.
type Outcome<T = ()> = Result<T, Failed>;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    match words.next().as_deref() {
        Some(serve::FLAG) => end(serve::main(words)),
        Some(alone::FLAG) => end(alone::main(words)),
        _ => {
            let mut arguments = Arguments::from_args();
            // Trials wait more than they work.
            arguments.test_threads.get_or_insert(8);
            libtest_mimic::run(&arguments, trials()).exit_code()
        }
    }
}

fn trials() -> Vec<Trial> {
    let mut trials = cpython::trials();
    for sentence in sentences::all() {
        for case in case::all() {
            if (sentence.holds_for)(case) {
                let name = format!("{case}::{}", sentence.name);
                trials.push(Trial::test(name, move || (sentence.check)(case)));
            }
        }
    }
    trials
}

/// Ends a process of the tests' own.
fn end(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            println!("failed {}", failed.message().unwrap_or("without a message"));
            ExitCode::FAILURE
        }
    }
}
