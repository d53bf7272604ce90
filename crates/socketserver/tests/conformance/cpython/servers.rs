//! `SocketServerTest.test_TCPServer` and the eleven others: every server class serves three clients.
//!
//! They assert what Python's `run_server` does: the server's address is that of its socket; each of
//! three clients, one after another, gets its line back; a shutdown returns; after the close no
//! descriptor, thread or child is left; and no error was handled.

use socketserver::{
    Address, ForkingTcpServer, ForkingUdpServer, ForkingUnixDatagramServer,
    ForkingUnixStreamServer, Scheme, Server, TcpServer, ThreadingTcpServer, ThreadingUdpServer,
    ThreadingUnixDatagramServer, ThreadingUnixStreamServer, UdpServer, UnixDatagramServer,
    UnixStreamServer,
};
use socketserver::{Forking, Sequential, Tcp, Threading, Udp, UnixDatagram, UnixStream};

use super::Test;
use crate::Outcome;
use crate::case::{Case, Engine, Kind};

/// Makes the tests, and has the compiler check that the server of each is the one of that name.
macro_rules! servers {
    ($($name:literal: $server:ty = $scheme:ident $transport:ty, $engine:ident, $foreign:literal;)*) => {
        pub(super) const TESTS: &[Test] = &[$((
            $name,
            || {
                let _: fn($server) -> Server<$transport, $engine> = std::convert::identity;
                let case = Case { scheme: Scheme::$scheme, kind: Kind::Requests, engine: Engine::$engine };
                run_server(case, $foreign)
            },
        )),*];
    };
}

servers! {
    "test_TCPServer": TcpServer = Tcp Tcp, Sequential, false;
    "test_ThreadingTCPServer": ThreadingTcpServer = Tcp Tcp, Threading, false;
    "test_ForkingTCPServer": ForkingTcpServer = Tcp Tcp, Forking, true;
    "test_UnixStreamServer": UnixStreamServer = Unix UnixStream, Sequential, false;
    "test_ThreadingUnixStreamServer": ThreadingUnixStreamServer = Unix UnixStream, Threading, false;
    "test_ForkingUnixStreamServer": ForkingUnixStreamServer = Unix UnixStream, Forking, true;
    "test_UDPServer": UdpServer = Udp Udp, Sequential, false;
    "test_ThreadingUDPServer": ThreadingUdpServer = Udp Udp, Threading, false;
    "test_ForkingUDPServer": ForkingUdpServer = Udp Udp, Forking, true;
    "test_UnixDatagramServer": UnixDatagramServer = UnixDatagram UnixDatagram, Sequential, false;
    "test_ThreadingUnixDatagramServer":
        ThreadingUnixDatagramServer = UnixDatagram UnixDatagram, Threading, false;
    "test_ForkingUnixDatagramServer":
        ForkingUnixDatagramServer = UnixDatagram UnixDatagram, Forking, true;
}

/// Python's `run_server`; with `foreign`, a child that the server did not start has ended with the
/// code 72 before, and is still there to be waited for afterwards (bpo-1540386).
fn run_server(case: Case, foreign: bool) -> Outcome {
    let mut server = case.server().bind()?;
    if foreign {
        server.tell("foreign")?;
    }
    server.serve()?;
    for _ in 0..3 {
        let mut client = server.client()?;
        let peer = client.socket().peer_addr()?;
        if let Address::Inet(address) = server.endpoint.address() {
            assert_eq!(peer.as_socket(), Some(*address));
        } else {
            assert_eq!(peer.as_pathname(), server.endpoint.address().path());
        }
        assert_eq!(client.ask("echo hello world")?, "hello world");
    }
    let report = server.stop()?;
    assert_eq!((report.of("started"), report.of("ended")), (3, 3));
    assert!(
        !server
            .journal()?
            .iter()
            .any(|step| step.starts_with("handle_error"))
    );
    if foreign {
        server.tell("await-foreign")?;
        assert_eq!(server.process.hear("foreign")?, "72");
    }
    let left = server.close()?;
    assert_eq!((left.of("threads"), left.of("children")), (1, 0));
    assert_eq!(left.of("descriptors"), left.of("descriptors_before"));
    Ok(())
}
