//! The `socketserver` command, run as its users run it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod console;
mod descriptors;
mod echo;
mod failures;
mod forking;
mod program;
mod room;
mod stopping;
mod terminal;
