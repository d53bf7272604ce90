//! `SocketWriterTest`: Python's `wfile`.

use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};

use socketserver::{Connection, Scheme, ThreadingTcpServer, handler_fn};

use super::Test;
use crate::Outcome;
use crate::case::{Case, Engine, Kind};
use crate::client::Client;
use crate::server_process::interrupt;

pub(super) const TESTS: &[Test] = &[("test_basics", basics), ("test_write", write)];

/// The writer is a [`Write`], and its descriptor is the connection's.
fn basics() -> Outcome {
    fn compare(connection: &mut Connection) -> std::io::Result<()> {
        let wanted = connection.as_fd().as_raw_fd();
        let mut writer = connection.writer();
        let found = writer.as_fd().as_raw_fd();
        writeln!(writer, "{}", found == wanted)?;
        Write::flush(&mut writer)
    }
    let server = ThreadingTcpServer::bind("127.0.0.1:0", handler_fn(compare))?.start()?;
    let mut client = Client::connect(server.endpoint(), &std::env::temp_dir())?;
    assert_eq!(client.hear()?, "true");
    drop(client);
    server.stop()?;
    Ok(())
}

/// A write leaves at once, without a flush; and one of 16 777 217 bytes is complete though signals
/// interrupt it.
///
/// Python interrupts it by `SIGUSR1` with a handler, which no safe code can install.
/// Here the process is stopped and continued instead, which interrupts as well ([`interrupt`]).
/// Both ways in which a handler can wait are tried: in the call itself, and by polling.
fn write() -> Outcome {
    const SOCK_MAX_SIZE: usize = 16 * 1024 * 1024 + 1;
    for engine in [Engine::Threading, Engine::Sequential] {
        let case = Case {
            scheme: Scheme::Tcp,
            kind: Kind::Requests,
            engine,
        };
        let server = case.server().start()?;
        let mut client = server.client()?;
        assert_eq!(client.ask("echo hello")?, "hello");
        // The handler ends its reply with a line feed of the same write.
        client.say(&format!("write {}", SOCK_MAX_SIZE - 1))?;
        let mut received = client.receive()?.len();
        for _ in 0..5 {
            // A call that has sent something returns what it has; the next has nothing to return.
            for _ in 0..3 {
                interrupt(server.process.pid())?;
            }
            received += client.receive()?.len();
        }
        while received < SOCK_MAX_SIZE {
            received += client.receive()?.len();
        }
        assert_eq!(received, SOCK_MAX_SIZE);
        assert_eq!(client.ask("number")?, "3");
    }
    Ok(())
}
