//! The names of Python's server classes, and those of their kind.

use super::Server;
use crate::engine::{Forking, Pool, Reactor, Sequential, Threading};
use crate::transport::{Tcp, Udp, UnixDatagram, UnixStream};

/// Makes the four servers of an engine.
macro_rules! aliases {
    ($($engine:ident, $does:literal: $tcp:ident $udp:ident $stream:ident $datagram:ident;)*) => {$(
        #[doc = concat!("TCP, ", $does, ".")]
        pub type $tcp = Server<Tcp, $engine>;
        #[doc = concat!("UDP, ", $does, ".")]
        pub type $udp = Server<Udp, $engine>;
        #[doc = concat!("Unix stream sockets, ", $does, ".")]
        pub type $stream = Server<UnixStream, $engine>;
        #[doc = concat!("Unix datagram sockets, ", $does, ".")]
        pub type $datagram = Server<UnixDatagram, $engine>;
    )*};
}

aliases! {
    Sequential, "one request after another":
        TcpServer UdpServer UnixStreamServer UnixDatagramServer;
    Threading, "a thread for each request":
        ThreadingTcpServer ThreadingUdpServer ThreadingUnixStreamServer ThreadingUnixDatagramServer;
    Forking, "a child process for each request":
        ForkingTcpServer ForkingUdpServer ForkingUnixStreamServer ForkingUnixDatagramServer;
    Pool, "on a fixed number of threads":
        PoolTcpServer PoolUdpServer PoolUnixStreamServer PoolUnixDatagramServer;
    Reactor, "on event loops":
        ReactorTcpServer ReactorUdpServer ReactorUnixStreamServer ReactorUnixDatagramServer;
}
