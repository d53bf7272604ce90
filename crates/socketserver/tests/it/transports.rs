//! TCP and UDP: addresses as they really are, options that are set, ports that are let go.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::sync::mpsc;
use std::time::Duration;

use rustix::net::sockopt;
use socketserver::{
    Address, Builder, Connection, Datagram, Error, Refusal, Sequential, Tcp, TcpServer, Threading,
    ThreadingTcpServer, Transport, Udp, UdpServer, handler_fn,
};

use crate::support::{
    Directory, Latch, PATIENCE, Record, Told, address_of, ask, connect, connect_to, echo_lines,
    read_line, until, until_empty, within,
};

/// Tells the peer its own address.
fn whoami(connection: &mut Connection) -> io::Result<()> {
    let peer = connection.peer().to_string();
    io::Write::write_all(&mut connection.writer(), format!("{peer}\n").as_bytes())
}

fn reply(datagram: &mut Datagram) -> io::Result<()> {
    datagram.reply(datagram.payload())
}

fn udp_client() -> UdpSocket {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

#[test]
fn port_0_is_answered_with_the_real_port() {
    let tcp = ThreadingTcpServer::bind("127.0.0.1:0", handler_fn(echo_lines)).unwrap();
    let udp = UdpServer::bind("127.0.0.1:0", handler_fn(reply)).unwrap();
    for (address, endpoint) in [
        (tcp.local_address(), tcp.endpoints()),
        (udp.local_address(), udp.endpoints()),
    ] {
        assert_ne!(address.port(), Some(0));
        assert_eq!(*endpoint[0].address(), address);
        assert!(endpoint[0].to_string().contains(&address.to_string()));
    }
}

#[test]
fn ipv6_peers_are_shown_with_brackets() {
    let server = ThreadingTcpServer::bind("[::1]:0", handler_fn(whoami))
        .unwrap()
        .start()
        .unwrap();
    let mut client = connect(&server);
    let name = format!("{}\n", client.local_addr().unwrap());
    assert!(name.starts_with("[::1]:"));
    assert_eq!(read_line(&mut client), name);
    assert!(server.endpoint().to_string().starts_with("tcp://[::1]:"));
    drop(client);
    within(move || server.stop()).unwrap();
}

#[test]
fn a_dual_stack_server_serves_ipv4_peers_and_shows_them_as_such() {
    let server = Builder::new(Tcp::default().dual_stack(true), Threading::default())
        .bind("[::]:0", handler_fn(whoami))
        .unwrap()
        .start()
        .unwrap();
    let port = address_of(&server).port();
    for ip in [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()] {
        let mut client = connect_to(SocketAddr::new(ip, port));
        let name = format!("{}\n", client.local_addr().unwrap());
        assert_eq!(read_line(&mut client), name);
    }
    within(move || server.stop()).unwrap();
}

#[test]
fn without_dual_stack_an_ipv6_server_leaves_ipv4_to_others() {
    // Somebody else may have the port over IPv4 by chance, and not ten times in a row.
    let tcp_is_free = (0..10).any(|_| {
        let six = ThreadingTcpServer::bind("[::]:0", handler_fn(whoami)).unwrap();
        let port = six.local_address().port().unwrap();
        ThreadingTcpServer::bind((Ipv4Addr::UNSPECIFIED, port), handler_fn(whoami)).is_ok()
    });
    assert!(tcp_is_free);
    let udp_is_free = (0..10).any(|_| {
        let six = UdpServer::bind("[::]:0", handler_fn(reply)).unwrap();
        let port = six.local_address().port().unwrap();
        UdpServer::bind((Ipv4Addr::UNSPECIFIED, port), handler_fn(reply)).is_ok()
    });
    assert!(udp_is_free);
}

#[test]
fn of_several_addresses_the_first_that_can_be_bound_counts() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addresses = [taken.local_addr().unwrap(), "127.0.0.1:0".parse().unwrap()];
    let server = TcpServer::bind(&addresses[..], handler_fn(echo_lines)).unwrap();
    assert_ne!(server.local_address().port(), Some(addresses[0].port()));
}

#[test]
fn a_bind_error_names_the_endpoint_and_the_cause() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = TcpServer::bind(address, handler_fn(echo_lines)).unwrap_err();
    assert!(matches!(error, Error::Bind { .. }));
    let text = format!("cannot listen on tcp://{address}: Address already in use");
    assert_eq!(error.to_string(), text);
    let error = UdpServer::bind("192.0.2.1:9", handler_fn(reply)).unwrap_err();
    let text = "cannot listen on udp://192.0.2.1:9: Cannot assign requested address";
    assert_eq!(error.to_string(), text);
}

#[test]
fn a_socket_that_is_given_is_served() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let server = Builder::new(Tcp::default(), Threading::default())
        .adopt(socket, handler_fn(echo_lines))
        .unwrap()
        .start()
        .unwrap();
    assert_eq!(address_of(&server), address);
    assert_eq!(ask(&mut connect(&server), "hi\n"), "hi\n");
    within(move || server.stop()).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = Builder::new(Udp::default(), Threading::default())
        .adopt(socket, handler_fn(reply))
        .unwrap()
        .start()
        .unwrap();
    let client = udp_client();
    client.send_to(b"hi", address_of(&server)).unwrap();
    assert_eq!(client.recv(&mut [0; 4]).unwrap(), 2);
    within(move || server.stop()).unwrap();
}

#[test]
fn a_socket_of_the_wrong_kind_is_refused_with_a_sentence() {
    let directory = Directory::new();
    let listening = || TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = TcpStream::connect(listening().local_addr().unwrap());
    let sockets: Vec<OwnedFd> = vec![
        UdpSocket::bind("127.0.0.1:0").unwrap().into(),
        UnixListener::bind(directory.path("stream")).unwrap().into(),
        UnixDatagram::bind(directory.path("datagram"))
            .unwrap()
            .into(),
        connected.map_or_else(|_| UnixDatagram::unbound().unwrap().into(), OwnedFd::from),
    ];
    for socket in sockets {
        let error = Tcp::default().adopt(socket).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
    for socket in [listening().into(), UnixDatagram::unbound().unwrap().into()] {
        let error = Udp::default().adopt(socket).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
    let server = Builder::new(Tcp::default(), Sequential).adopt(
        UdpSocket::bind("127.0.0.1:0").unwrap(),
        handler_fn(echo_lines),
    );
    let text = server.unwrap_err().to_string();
    assert!(text.contains("not a listening TCP socket"), "{text}");
    let file = std::fs::File::open("/dev/null").unwrap();
    assert!(Tcp::default().adopt(file.into()).is_err());
}

#[test]
fn a_port_is_shared_only_between_those_who_ask_for_it() {
    let shared = Tcp::default().reuse_port(true);
    let bind = |transport: &Tcp, address: SocketAddr| {
        Builder::new(transport.clone(), Sequential).bind(address, handler_fn(echo_lines))
    };
    let first = bind(&shared, "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = first.local_address().inet().unwrap();
    assert!(bind(&shared, address).is_ok());
    assert!(bind(&Tcp::default(), address).is_err());
    let udp = UdpServer::bind("127.0.0.1:0", handler_fn(reply)).unwrap();
    let address = udp.local_address().inet().unwrap();
    assert!(UdpServer::bind(address, handler_fn(reply)).is_err());
}

#[test]
fn an_accepted_socket_has_the_options_of_its_transport() {
    for (transport, nodelay, silence) in [
        (Tcp::default(), true, None),
        (Tcp::default().nodelay(false), false, None),
        (
            Tcp::default().keepalive(Some(Duration::from_secs(60))),
            true,
            Some(Duration::from_secs(60)),
        ),
    ] {
        let (send, receive) = mpsc::channel();
        let handler = move |connection: &mut Connection| {
            let options = (
                sockopt::tcp_nodelay(&*connection)?,
                sockopt::socket_keepalive(&*connection)?,
                sockopt::tcp_keepidle(&*connection)?,
                sockopt::tcp_keepintvl(&*connection)?,
            );
            send.send(options).unwrap();
            Ok(())
        };
        let server = Builder::new(transport, Threading::default())
            .bind("127.0.0.1:0", handler_fn(handler))
            .unwrap()
            .start()
            .unwrap();
        drop(connect(&server));
        let (is_nodelay, is_keepalive, idle, interval) = receive.recv_timeout(PATIENCE).unwrap();
        assert_eq!((is_nodelay, is_keepalive), (nodelay, silence.is_some()));
        if let Some(silence) = silence {
            assert_eq!((idle, interval), (silence, silence / 6));
        }
        within(move || server.stop()).unwrap();
    }
}

#[test]
fn an_oversize_datagram_is_refused_and_never_cut() {
    let record = Record::default();
    let server = Builder::new(Udp::default().datagram_bytes(100), Threading::default())
        .observer(record.clone())
        .bind("127.0.0.1:0", handler_fn(reply))
        .unwrap()
        .start()
        .unwrap();
    let client = udp_client();
    for (bytes, is_served) in [(100, true), (101, false), (60_000, false), (0, true)] {
        client
            .send_to(&vec![b'd'; bytes], address_of(&server))
            .unwrap();
        if is_served {
            assert_eq!(client.recv(&mut [0; 200]).unwrap(), bytes);
        }
    }
    assert_eq!(record.times(&Told::Refused(Refusal::Oversize)), 2);
    within(move || server.stop()).unwrap();
}

#[test]
fn the_largest_datagram_of_udp_is_served_by_default() {
    let server = UdpServer::bind("127.0.0.1:0", handler_fn(reply))
        .unwrap()
        .start()
        .unwrap();
    let client = udp_client();
    client
        .send_to(&vec![b'd'; 65_507], address_of(&server))
        .unwrap();
    assert_eq!(client.recv(&mut vec![0; 70_000]).unwrap(), 65_507);
    within(move || server.stop()).unwrap();
}

#[test]
fn a_reply_that_is_too_long_is_an_error_of_that_request() {
    let record = Record::default();
    let server = Builder::new(Udp::default(), Threading::default())
        .observer(record.clone())
        .bind(
            "127.0.0.1:0",
            handler_fn(|datagram: &mut Datagram| datagram.reply(&vec![0; 65_508])),
        )
        .unwrap()
        .start()
        .unwrap();
    udp_client().send_to(b"x", address_of(&server)).unwrap();
    until("it has failed", || record.failures().len() == 1);
    assert!(record.failures()[0].contains("Message too long"));
    within(move || server.stop()).unwrap();
}

/// A handler that still holds a datagram holds its payload, not the port.
#[test]
fn a_datagram_in_a_handler_does_not_keep_the_port() {
    let latch = Latch::default();
    let (send, receive) = mpsc::channel();
    let handler = {
        let latch = latch.clone();
        move |datagram: &mut Datagram| {
            latch.wait();
            send.send(datagram.reply(b"late").map_err(|error| error.kind()))
                .unwrap();
            Ok(())
        }
    };
    let server = Builder::new(Udp::default(), Threading::default())
        .drain_timeout(Duration::ZERO)
        .bind("127.0.0.1:0", handler_fn(handler))
        .unwrap()
        .start()
        .unwrap();
    let (address, handle) = (address_of(&server), server.handle().clone());
    udp_client().send_to(b"x", address).unwrap();
    until("it is served", || handle.connection_count() == 1);
    let report = within(move || server.stop()).unwrap();
    assert_eq!(report.stuck, 1);
    let again = UdpSocket::bind(address).unwrap();
    latch.open();
    let answer = receive.recv_timeout(PATIENCE).unwrap();
    assert_eq!(answer, Err(io::ErrorKind::NotConnected));
    until_empty(&handle);
    drop(again);
}

/// The same for streams, with a connection that outlives its server.
#[test]
fn a_stuck_handler_does_not_keep_the_port_of_its_server() {
    let latch = Latch::default();
    let handler = {
        let latch = latch.clone();
        move |_: &mut Connection| {
            latch.wait();
            Ok(())
        }
    };
    let server = Builder::new(Tcp::default(), Threading::default())
        .drain_timeout(Duration::ZERO)
        .bind("127.0.0.1:0", handler_fn(handler))
        .unwrap()
        .start()
        .unwrap();
    let (address, handle) = (address_of(&server), server.handle().clone());
    let _client = connect(&server);
    until("it is served", || handle.connection_count() == 1);
    assert_eq!(within(move || server.stop()).unwrap().stuck, 1);
    assert!(
        TcpStream::connect(address).is_err(),
        "nobody listens any more"
    );
    assert!(TcpServer::bind(address, handler_fn(echo_lines)).is_ok());
    latch.open();
    until_empty(&handle);
}

#[test]
fn a_udp_reply_comes_from_the_address_that_was_asked() {
    let server = UdpServer::bind("127.0.0.1:0", handler_fn(reply))
        .unwrap()
        .start()
        .unwrap();
    let client = udp_client();
    client.connect(address_of(&server)).unwrap();
    client.send(b"connected").unwrap();
    assert_eq!(client.recv(&mut [0; 16]).unwrap(), 9);
    within(move || server.stop()).unwrap();
    let address = Address::from(client.local_addr().unwrap());
    assert!(address.is_local());
}
