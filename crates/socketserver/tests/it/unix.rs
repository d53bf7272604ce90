//! Unix sockets: whose file is whose, who may connect, and names that are no files.

use std::io::{self, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{
    SocketAddr, UnixDatagram as ClientDatagram, UnixListener, UnixStream as ClientStream,
};
use std::path::Path;

use socketserver::{
    Builder, Connection, Datagram, Error, Refusal, Sequential, Threading,
    ThreadingUnixStreamServer, Transport, UnixDatagram, UnixDatagramServer, UnixStream,
    UnixStreamServer, handler_fn,
};

use crate::support::{
    Directory, PATIENCE, Record, Told, ask, bounded, connect_unix, echo_lines, read_line, until,
    within,
};

fn reply(datagram: &mut Datagram) -> io::Result<()> {
    datagram.reply(datagram.payload())
}

fn serves(path: &Path) {
    let server = ThreadingUnixStreamServer::bind(path, handler_fn(echo_lines))
        .unwrap()
        .start()
        .unwrap();
    assert_eq!(ask(&mut connect_unix(path), "hi\n"), "hi\n");
    within(move || server.stop()).unwrap();
}

#[test]
fn a_stale_socket_file_is_replaced_and_ours_is_removed_at_the_end() {
    let directory = Directory::new();
    let path = directory.path("stale");
    // std leaves the file behind.
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    serves(&path);
    assert!(!path.exists());
    drop(ClientDatagram::bind(&path).unwrap());
    let server = UnixDatagramServer::bind(&path, handler_fn(reply)).unwrap();
    drop(server);
    assert!(!path.exists());
}

#[test]
fn the_path_of_a_live_server_is_refused() {
    let directory = Directory::new();
    let path = directory.path("live");
    let live = UnixStreamServer::bind(&path, handler_fn(echo_lines)).unwrap();
    let before = std::fs::metadata(&path).unwrap().ino();
    let error = UnixStreamServer::bind(&path, handler_fn(echo_lines)).unwrap_err();
    assert!(matches!(error, Error::Bind { .. }));
    let text = error.to_string();
    assert!(
        text.contains("already in use") && text.contains("live"),
        "{text}"
    );
    let error = UnixDatagramServer::bind(&path, handler_fn(reply)).unwrap_err();
    assert!(
        matches!(error, Error::Bind { .. }),
        "another kind of socket lives there"
    );
    assert_eq!(std::fs::metadata(&path).unwrap().ino(), before);
    drop(live);
    let live = UnixDatagramServer::bind(&path, handler_fn(reply)).unwrap();
    assert!(UnixDatagramServer::bind(&path, handler_fn(reply)).is_err());
    assert!(UnixStreamServer::bind(&path, handler_fn(echo_lines)).is_err());
    drop(live);
}

/// Its queue is full, so that a connect would wait; somebody is there all the same.
#[test]
fn a_live_server_with_a_full_queue_keeps_its_path() {
    let directory = Directory::new();
    let path = directory.path("full");
    let live = Builder::new(UnixStream::default().backlog(1), Sequential)
        .bind(&path, handler_fn(echo_lines))
        .unwrap();
    let waiting: Vec<_> = (0..2)
        .map(|_| ClientStream::connect(&path).unwrap())
        .collect();
    let again = path.clone();
    let refused = within(move || UnixStreamServer::bind(again, handler_fn(echo_lines)).is_err());
    assert!(refused && path.exists());
    drop((waiting, live));
}

#[test]
fn a_file_that_is_no_socket_is_never_touched() {
    let directory = Directory::new();
    let (file, folder) = (directory.path("file"), directory.path("folder"));
    std::fs::write(&file, "precious").unwrap();
    std::fs::create_dir(&folder).unwrap();
    let link = directory.path("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    for path in [&file, &folder, &link] {
        assert!(UnixStreamServer::bind(path, handler_fn(echo_lines)).is_err());
        assert!(UnixDatagramServer::bind(path, handler_fn(reply)).is_err());
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    assert!(folder.is_dir() && link.is_symlink());
}

#[test]
fn a_file_that_somebody_else_has_put_there_stays_at_the_end() {
    let directory = Directory::new();
    let path = directory.path("theirs");
    let ours = UnixStreamServer::bind(&path, handler_fn(echo_lines)).unwrap();
    std::fs::rename(&path, directory.path("aside")).unwrap();
    let theirs = UnixListener::bind(&path).unwrap();
    drop(ours);
    assert!(path.exists());
    assert!(ClientStream::connect(&path).is_ok());
    drop(theirs);
    let ours = UnixDatagramServer::bind(directory.path("next"), handler_fn(reply)).unwrap();
    std::fs::remove_file(directory.path("next")).unwrap();
    std::fs::write(directory.path("next"), "precious").unwrap();
    drop(ours);
    assert!(directory.path("next").exists());
}

#[test]
fn the_mode_of_the_file_is_as_asked_from_the_first_moment() {
    let directory = Directory::new();
    for mode in [0o600, 0o700] {
        let path = directory.path(&format!("mode-{mode:o}"));
        let server = Builder::new(UnixStream::default().mode(Some(mode)), Sequential)
            .bind(&path, handler_fn(echo_lines))
            .unwrap();
        let found = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(found & 0o777, mode);
        drop(server);
        let path = directory.path(&format!("datagram-{mode:o}"));
        let server = Builder::new(UnixDatagram::default().mode(Some(mode)), Sequential)
            .bind(&path, handler_fn(reply))
            .unwrap();
        let found = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(found & 0o777, mode);
        drop(server);
    }
}

#[test]
fn an_abstract_name_is_served_and_is_no_file() {
    let name = format!("socketserver-it-{}", std::process::id());
    let server = ThreadingUnixStreamServer::bind(format!("@{name}"), handler_fn(echo_lines))
        .unwrap()
        .start()
        .unwrap();
    assert_eq!(server.endpoint().to_string(), format!("unix://@{name}"));
    assert!(!Path::new(&format!("@{name}")).exists());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let mut client = bounded(ClientStream::connect_addr(&address).unwrap());
    assert_eq!(ask(&mut client, "hi\n"), "hi\n");
    drop(client);
    assert!(UnixStreamServer::bind(format!("@{name}"), handler_fn(echo_lines)).is_err());
    within(move || server.stop()).unwrap();
    assert!(UnixStreamServer::bind(format!("@{name}"), handler_fn(echo_lines)).is_ok());
}

#[test]
fn a_client_without_a_name_is_called_unnamed_and_one_with_a_name_by_it() {
    let directory = Directory::new();
    let path = directory.path("names");
    let whoami = |connection: &mut Connection| {
        let peer = connection.peer().to_string();
        writeln!(connection.writer(), "{peer}")
    };
    let server = ThreadingUnixStreamServer::bind(&path, handler_fn(whoami))
        .unwrap()
        .start()
        .unwrap();
    assert_eq!(read_line(&mut connect_unix(&path)), "unnamed\n");
    let own = directory.path("client");
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(&socket2::SockAddr::unix(&own).unwrap())
        .unwrap();
    socket
        .connect(&socket2::SockAddr::unix(&path).unwrap())
        .unwrap();
    let mut client = bounded(ClientStream::from(std::os::fd::OwnedFd::from(socket)));
    assert_eq!(read_line(&mut client), format!("{}\n", own.display()));
    drop(client);
    within(move || server.stop()).unwrap();
}

#[test]
fn a_datagram_without_a_sender_s_name_cannot_be_answered_and_costs_no_more() {
    let directory = Directory::new();
    let (path, record) = (directory.path("datagrams"), Record::default());
    let server = Builder::new(
        UnixDatagram::default().datagram_bytes(1000),
        Threading::default(),
    )
    .observer(record.clone())
    .bind(&path, handler_fn(reply))
    .unwrap()
    .start()
    .unwrap();
    ClientDatagram::unbound()
        .unwrap()
        .send_to(b"anonymous", &path)
        .unwrap();
    until("it has failed", || record.failures().len() == 1);
    assert!(
        record.failures()[0].contains("not bound"),
        "{:?}",
        record.failures()
    );
    let client = ClientDatagram::bind(directory.path("client")).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    for (bytes, is_served) in [(1000, true), (1001, false), (0, true)] {
        client.send_to(&vec![b'd'; bytes], &path).unwrap();
        if is_served {
            assert_eq!(client.recv(&mut [0; 2000]).unwrap(), bytes);
        }
    }
    assert_eq!(record.times(&Told::Refused(Refusal::Oversize)), 1);
    within(move || server.stop()).unwrap();
}

/// The reply queue of a Unix peer is short, and sending to a full one would wait for ever.
#[test]
fn a_datagram_peer_that_does_not_read_is_never_waited_for() {
    let directory = Directory::new();
    let path = directory.path("never");
    let record = Record::default();
    let server = Builder::new(UnixDatagram::default(), Sequential)
        .observer(record.clone())
        .bind(&path, handler_fn(reply))
        .unwrap()
        .start()
        .unwrap();
    let deaf = ClientDatagram::bind(directory.path("deaf")).unwrap();
    deaf.set_write_timeout(Some(PATIENCE)).unwrap();
    for _ in 0..1000 {
        deaf.send_to(b"x", &path).unwrap();
    }
    until("all are served", || {
        server.handle().counters().ended == 1000
    });
    assert!(server.handle().counters().replies_dropped > 0);
    assert_eq!(record.failures(), Vec::<String>::new());
    within(move || server.stop()).unwrap();
}

#[test]
fn a_given_unix_socket_is_served_and_its_file_is_left_to_its_owner() {
    let directory = Directory::new();
    let path = directory.path("given");
    let server = Builder::new(UnixStream::default(), Threading::default())
        .adopt(UnixListener::bind(&path).unwrap(), handler_fn(echo_lines))
        .unwrap()
        .start()
        .unwrap();
    assert_eq!(ask(&mut connect_unix(&path), "hi\n"), "hi\n");
    within(move || server.stop()).unwrap();
    assert!(path.exists());
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(UnixStream::default().adopt(tcp.into()).is_err());
    let (pair, _other) = ClientStream::pair().unwrap();
    assert!(
        UnixStream::default().adopt(pair.into()).is_err(),
        "it does not listen"
    );
    let stream = UnixListener::bind(directory.path("stream")).unwrap();
    assert!(UnixDatagram::default().adopt(stream.into()).is_err());
}

#[test]
fn a_path_that_is_too_long_or_empty_is_refused() {
    let directory = Directory::new();
    let long = directory.path(&"x".repeat(200));
    assert!(UnixStreamServer::bind(long, handler_fn(echo_lines)).is_err());
    assert!(UnixStreamServer::bind("", handler_fn(echo_lines)).is_err());
}

#[test]
fn restarting_on_a_path_right_after_a_stop_with_clients_works() {
    let directory = Directory::new();
    let path = directory.path("again");
    for _ in 0..5 {
        let server = ThreadingUnixStreamServer::bind(&path, handler_fn(echo_lines))
            .unwrap()
            .start()
            .unwrap();
        let mut client = connect_unix(&path);
        assert_eq!(ask(&mut client, "hi\n"), "hi\n");
        within(move || server.stop()).unwrap();
    }
}
