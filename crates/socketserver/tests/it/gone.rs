//! A listening socket that somebody has shut down: the loop ends instead of spinning on it.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use rustix::net::Shutdown;
use socketserver::{Builder, Datagram, Error, Tcp, Threading, Udp, UnixStream, handler_fn};

use crate::support::{
    Directory, ask, connect, connect_unix, echo, echo_lines, engines, parallel_engines, rest,
    until_empty, within,
};

#[test]
fn a_tcp_listener_that_is_shut_down_ends_the_loop_with_its_name() {
    for engine in engines() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = socket.try_clone().unwrap();
        let server = Builder::new(Tcp::default(), engine)
            .adopt(socket, handler_fn(echo))
            .unwrap()
            .start()
            .unwrap();
        let endpoint = server.endpoint().to_string();
        rustix::net::shutdown(&other, Shutdown::Both).unwrap();
        let error = within(move || server.wait()).unwrap_err();
        assert!(matches!(error, Error::Listener { .. }), "{error}");
        assert!(error.to_string().contains(&endpoint), "{error}");
    }
}

/// Such a socket is ready for ever, and has nothing.
#[test]
fn a_unix_listener_that_is_shut_down_ends_the_loop() {
    let directory = Directory::new();
    for (number, how) in [Shutdown::Both, Shutdown::Read].into_iter().enumerate() {
        let socket = UnixListener::bind(directory.path(&number.to_string())).unwrap();
        let other = socket.try_clone().unwrap();
        let server = Builder::new(UnixStream::default(), Threading::default())
            .adopt(socket, handler_fn(echo))
            .unwrap()
            .start()
            .unwrap();
        rustix::net::shutdown(&other, how).unwrap();
        let error = within(move || server.wait()).unwrap_err();
        assert!(matches!(error, Error::Listener { .. }), "{error}");
    }
}

#[test]
fn a_datagram_socket_that_is_shut_down_ends_the_loop() {
    let answer = |datagram: &mut Datagram| datagram.reply(datagram.payload());
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let other = socket.try_clone().unwrap();
    let server = Builder::new(Udp::default(), Threading::default())
        .adopt(socket, handler_fn(answer))
        .unwrap()
        .start()
        .unwrap();
    let _ = rustix::net::shutdown(&other, Shutdown::Both);
    let error = within(move || server.wait()).unwrap_err();
    assert!(matches!(error, Error::Listener { .. }), "{error}");
}

/// Nobody is abandoned because a listener is gone: what runs is drained as in a shutdown.
#[test]
fn who_is_connected_is_drained_when_a_listener_is_gone() {
    let directory = Directory::new();
    let path = directory.path("beside");
    for engine in parallel_engines() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = socket.try_clone().unwrap();
        let mut server = Builder::new(Tcp::default(), engine)
            .adopt(socket, handler_fn(echo_lines))
            .unwrap();
        server
            .listen(UnixStream::default(), &path, handler_fn(echo_lines))
            .unwrap();
        let server = server.start().unwrap();
        let handle = server.handle().clone();
        let mut idle = connect(&server);
        assert_eq!(ask(&mut idle, "hi\n"), "hi\n");
        let mut beside = connect_unix(&path);
        assert_eq!(ask(&mut beside, "hi\n"), "hi\n");
        rustix::net::shutdown(&other, Shutdown::Both).unwrap();
        assert_eq!(rest(&mut idle).unwrap(), b"");
        assert_eq!(rest(&mut beside).unwrap(), b"");
        drop((idle, beside));
        within(move || server.wait()).unwrap_err();
        until_empty(&handle);
    }
}
