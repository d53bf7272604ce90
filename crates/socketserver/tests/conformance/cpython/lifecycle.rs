//! The rest of `SocketServerTest`, and `MiscTestCase`.

use std::path::Path;

use socketserver::{Connection, Scheme, TcpServer, ThreadingTcpServer, handler_fn};

use super::Test;
use crate::Outcome;
use crate::alone;
use crate::case::{Case, Engine, Kind};
use crate::client::PATIENCE;
use crate::facts::Facts;
use crate::server_process::Process;

pub(super) const TESTS: &[Test] = &[
    ("test_shutdown", shutdown),
    ("test_close_immediately", close_immediately),
    ("test_tcpserver_bind_leak", bind_leak),
    ("test_context_manager", context_manager),
    ("test_all", all),
    (
        "test_shutdown_request_called_if_verify_request_false",
        shutdown_request_called_if_verify_request_false,
    ),
    ("test_threads_reaped", threads_reaped),
];

const THREADING_TCP: Case = Case {
    scheme: Scheme::Tcp,
    kind: Kind::Requests,
    engine: Engine::Threading,
};

/// Twenty servers, each told to shut down the moment that its thread is started, whether its loop has
/// begun or not: all return (bpo-2302).
fn shutdown() -> Outcome {
    for _ in 0..20 {
        let server =
            TcpServer::bind("127.0.0.1:0", handler_fn(|_: &mut Connection| Ok(())))?.start()?;
        server.handle().shutdown();
        assert!(server.handle().wait(PATIENCE), "the server still serves");
        server.wait()?;
    }
    Ok(())
}

/// A threading server that has served nothing can be closed.
fn close_immediately() -> Outcome {
    let server = ThreadingTcpServer::bind("127.0.0.1:0", handler_fn(|_: &mut Connection| Ok(())))?;
    let report = server.close()?;
    assert_eq!((report.finished, report.forced), (0, 0));
    Ok(())
}

/// A bind that fails leaks no descriptor: 1 024 times with a port that is none (Python's -1), with an
/// address of another machine, and with a port that is taken (bpo-22435).
fn bind_leak() -> Outcome {
    let facts = alone_facts("bind-leak")?;
    assert_eq!(facts.of("failed"), 3 * 1024);
    assert_eq!(facts.of("after"), facts.of("before"));
    Ok(())
}

/// A server closes its socket at the end of its scope, as Python's does at the end of its `with`.
fn context_manager() -> Outcome {
    let facts = alone_facts("scope")?;
    assert!(facts.of("within") > facts.of("before"));
    assert_eq!(facts.of("after"), facts.of("before"));
    assert_eq!(facts.of("connects"), 0);
    Ok(())
}

/// What check `name` of [`alone`] has found.
fn alone_facts(name: &str) -> Outcome<Facts> {
    let process = Process::start(&[alone::FLAG.to_owned(), name.to_owned()])?;
    Ok(Facts::parse(&process.hear("found")?))
}

/// Every name in the Python module's `__all__` has its row in the guide's table of names.
fn all() -> Outcome {
    const NAMES: [&str; 18] = [
        "BaseServer",
        "TCPServer",
        "UDPServer",
        "UnixStreamServer",
        "UnixDatagramServer",
        "ForkingMixIn",
        "ThreadingMixIn",
        "ForkingTCPServer",
        "ForkingUDPServer",
        "ForkingUnixStreamServer",
        "ForkingUnixDatagramServer",
        "ThreadingTCPServer",
        "ThreadingUDPServer",
        "ThreadingUnixStreamServer",
        "ThreadingUnixDatagramServer",
        "BaseRequestHandler",
        "StreamRequestHandler",
        "DatagramRequestHandler",
    ];
    let page = "docs/guide/11-coming-from-python.md";
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(page);
    let text = std::fs::read_to_string(path).map_err(|error| format!("{page}: {error}"))?;
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
    let has_row = |name: &str| rows.iter().any(|row| first_cell_names(row, name));
    let missing: Vec<_> = NAMES.into_iter().filter(|name| !has_row(name)).collect();
    assert!(missing.is_empty(), "{page} has no row for {missing:?}");
    Ok(())
}

/// Whether the first cell of a table's row has `name` as a word.
fn first_cell_names(row: &str, name: &str) -> bool {
    let cell = row.split('|').nth(1).unwrap_or_default();
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    cell.split(|letter| !is_part(letter))
        .any(|word| word == name)
}

/// A request that `verify_request` refuses is closed, and exactly once (bpo-26309).
fn shutdown_request_called_if_verify_request_false() -> Outcome {
    let case = Case {
        engine: Engine::Sequential,
        ..THREADING_TCP
    };
    let mut server = case.server().with("verify", "no").bind()?;
    let mut client = server.client()?;
    assert_eq!(server.handle_request(10_000)?, "Refused(Verify)");
    client.hear_end()?;
    let status = server.status()?;
    assert_eq!((status.of("refused"), status.of("started")), (1, 0));
    let left = server.close()?;
    assert_eq!(left.of("descriptors"), left.of("descriptors_before"));
    Ok(())
}

/// Ten requests leave fewer than ten threads behind (bpo-37193): none, in fact.
fn threads_reaped() -> Outcome {
    let mut server = THREADING_TCP.server().start()?;
    for _ in 0..10 {
        assert_eq!(server.ask("echo hello")?, "hello");
        server.wait_until("threads", 1)?;
    }
    assert_eq!(server.stop()?.of("started"), 10);
    Ok(())
}
