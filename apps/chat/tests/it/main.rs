//! The chat as people meet it: real sockets, real servers, the client.
//!
//! `D-n` in a test's comment is a defect of the chat of Python's `socketserver` that it would have.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;
mod commands;
mod engines;
mod framing;
mod integrity;
mod log;
mod people;
mod plain;
mod presence;
mod server;
