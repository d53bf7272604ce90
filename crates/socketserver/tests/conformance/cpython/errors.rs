//! `ErrorHandlerTest`: a handler that fails, and one that asks the server to stop.
//!
//! Python's handler notes "Handler called" and raises `ValueError` or `SystemExit`, and its
//! `handle_error` notes "Error handled"; the steps are noted here, too.

use socketserver::Scheme;

use super::Test;
use crate::Outcome;
use crate::case::{Case, Engine, Kind};
use crate::client::Client;
use crate::server_process::ServerProcess;

pub(super) const TESTS: &[Test] = &[
    ("test_sync_handled", || handled(Engine::Sequential)),
    ("test_sync_not_handled", || not_handled(Engine::Sequential)),
    ("test_threading_handled", || handled(Engine::Threading)),
    ("test_threading_not_handled", || {
        not_handled(Engine::Threading)
    }),
    ("test_forking_handled", || handled(Engine::Forking)),
    ("test_forking_not_handled", || not_handled(Engine::Forking)),
];

/// Has `handle_request` serve a request that goes wrong as `text` says.
fn one_request(engine: Engine, text: &str) -> Outcome<(ServerProcess, Client)> {
    let case = Case {
        scheme: Scheme::Tcp,
        kind: Kind::Requests,
        engine,
    };
    let mut server = case.server().bind()?;
    let mut client = server.client()?;
    client.say(text)?;
    let wanted = if engine == Engine::Sequential {
        "Served"
    } else {
        "Started"
    };
    assert_eq!(server.handle_request(10_000)?, wanted);
    Ok((server, client))
}

/// An error is handled, and before the connection is closed; a child's notes are complete when the
/// close returns.
fn handled(engine: Engine) -> Outcome {
    let wanted = [
        "verify_request",
        "setup",
        "handle",
        "finish",
        "handle_error handle",
    ];
    let (mut server, mut client) = one_request(engine, "error handle")?;
    client.hear_end()?;
    assert_eq!(server.journal()?, wanted);
    drop(client);
    assert_eq!(server.close()?.of("children"), 0);
    assert_eq!(server.journal()?, wanted);
    Ok(())
}

/// A wish to stop is no error: `handle_error` does not see it, and the connection is closed all the
/// same.
///
/// The difference: `SystemExit` is raised out of Python's `handle_request`, and ends no more than the
/// thread or the child that it is raised in; `Stop` stops the server from everywhere, and the next
/// `handle_request` says so.
fn not_handled(engine: Engine) -> Outcome {
    let wanted = ["verify_request", "setup", "handle", "finish"];
    let (mut server, mut client) = one_request(engine, "stop handle")?;
    assert_eq!(server.handle_request(10_000)?, "Stopped");
    client.hear_end()?;
    drop(client);
    server.close()?;
    assert_eq!(server.journal()?, wanted);
    Ok(())
}
