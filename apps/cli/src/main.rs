//! The `socketserver` command: an echo server, a chat room, and a client.
//!
//! This crate parses arguments and joins the parts; what they do is in the libraries.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;

mod arguments;
mod chat;
mod console;
mod echo;
mod join;
mod log;
mod serve;

use arguments::{Arguments, Command};

fn main() -> ExitCode {
    // Wrong usage ends here, with status 2.
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Chat(arguments) => chat::run(&arguments),
        Command::Echo(arguments) => echo::run(&arguments),
        Command::Join(arguments) => join::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("socketserver: {}", failure.text);
            ExitCode::from(failure.status)
        }
    }
}

/// Why the program ends, in one line, and with which status.
#[derive(Debug)]
struct Failure {
    text: String,
    status: u8,
}

impl Failure {
    /// The arguments do not fit together.
    fn usage(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            status: 2,
        }
    }

    /// Something went wrong at run time.
    fn runtime(error: impl std::fmt::Display) -> Self {
        Self {
            text: error.to_string(),
            status: 1,
        }
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::runtime(error)
    }
}
