//! The `socketserver` command, run as its users run it.

mod console;
mod echo;
mod failures;
mod forking;
mod program;
mod room;
mod stopping;
