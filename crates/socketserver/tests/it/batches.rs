//! Datagrams on an event loop: received, served and answered in batches, and none lost.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram as UnixClient};
use std::sync::{Arc, Mutex};
use std::thread;

use socketserver::testing::{Faults, FlakyListener};
use socketserver::transport::{BoxListener, Packet};
use socketserver::{
    Address, Builder, Datagram, DrainReport, EndReason, Endpoint, Engine, Handled, Hooks, Limits,
    Place, Refusal, Running, Scheme, Server, ServerHandle, Stop, Task, Transport, Udp,
    UnixDatagram, Verdict, handler_fn,
};

use crate::support::{Directory, Latch, PATIENCE, Record, Told, address_of, until, within};

/// An event loop, as far as datagrams go.
#[derive(Debug)]
struct Loop;

/// It has `handle_request` for this.
impl socketserver::BlockingEngine for Loop {}

impl Engine for Loop {
    fn name(&self) -> &'static str {
        "loop"
    }

    fn place(&self) -> Place {
        Place::Loop
    }

    fn process_request(&self, task: Task) -> io::Result<()> {
        task.run();
        Ok(())
    }
}

/// Holds up the handler of a datagram that says `hold`, so that those behind it become a batch.
#[derive(Clone, Debug, Default)]
struct Holdup {
    begun: Latch,
    end: Latch,
}

impl Holdup {
    /// Serves by `serve`, but for what is to be held up.
    fn around(
        &self,
        serve: impl Fn(&mut Datagram) -> io::Result<()> + Clone + Send + Sync + 'static,
    ) -> impl Fn(&mut Datagram) -> io::Result<()> + Clone + Send + Sync + 'static {
        let held = self.clone();
        move |datagram: &mut Datagram| {
            if datagram.payload() == b"hold" {
                held.begun.open();
                held.end.wait();
                return Ok(());
            }
            serve(datagram)
        }
    }

    /// Lets the server receive what `send` sends as one batch.
    fn batch(&self, client: &UdpSocket, send: impl FnOnce()) {
        client.send(b"hold").unwrap();
        self.begun.wait();
        send();
        self.end.open();
    }
}

fn echo(datagram: &mut Datagram) -> io::Result<()> {
    echo_shared(datagram)
}

fn echo_shared(datagram: &Datagram) -> io::Result<()> {
    datagram.reply(datagram.payload())
}

fn udp(server: &Running) -> UdpSocket {
    udp_to(address_of(server))
}

fn udp_to(address: SocketAddr) -> UdpSocket {
    let host = if address.is_ipv4() {
        "127.0.0.1:0"
    } else {
        "[::1]:0"
    };
    let client = UdpSocket::bind(host).unwrap();
    client.connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

fn receive(client: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 70_000];
    let bytes = client.recv(&mut buffer).unwrap();
    buffer.truncate(bytes);
    buffer
}

fn texts(client: &UdpSocket, count: usize) -> Vec<String> {
    let text = |_| String::from_utf8(receive(client)).unwrap();
    (0..count).map(text).collect()
}

fn serve_udp(
    builder: Builder<Udp, Loop>,
    serve: impl Fn(&mut Datagram) -> io::Result<()> + Clone + Send + Sync + 'static,
) -> Running {
    let server = builder.bind("127.0.0.1:0", handler_fn(serve));
    server.unwrap().start().unwrap()
}

fn stop(server: Running) -> DrainReport {
    within(move || server.stop()).unwrap()
}

#[test]
fn replies_come_in_the_order_of_the_datagrams() {
    let holdup = Holdup::default();
    let serve = holdup.around(|datagram: &mut Datagram| {
        let text = String::from_utf8_lossy(datagram.payload()).into_owned();
        datagram.reply(format!("{text}a").as_bytes())?;
        if text == "2" {
            // One that is sent at once does not overtake those that wait.
            datagram.reply(&vec![b'L'; 40_000])?;
        }
        if text == "4" {
            let peer = datagram.peer().inet().unwrap();
            let raw = datagram.with_socket(|socket| {
                let socket = socket.try_clone_to_owned()?;
                UdpSocket::from(socket).send_to(b"raw", peer)
            });
            raw.unwrap()?;
        }
        datagram.reply(format!("{text}b").as_bytes())
    });
    let server = serve_udp(Builder::new(Udp::default(), Loop), serve);
    let client = udp(&server);
    holdup.batch(&client, || {
        for number in 1..=5 {
            client.send(number.to_string().as_bytes()).unwrap();
        }
    });
    let mut wanted: Vec<String> = ["1a", "1b", "2a", "L", "2b", "3a", "3b", "4a", "raw", "4b"]
        .map(str::to_owned)
        .to_vec();
    wanted.extend(["5a".to_owned(), "5b".to_owned()]);
    wanted[3] = "L".repeat(40_000);
    assert_eq!(texts(&client, 12), wanted);
    stop(server);
}

#[test]
fn the_replies_of_a_batch_are_sent_when_its_handlers_are_done() {
    let holdup = Holdup::default();
    let client = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
    let (ours, too_early) = (Arc::clone(&client), Arc::new(Mutex::new(Vec::new())));
    let seen = Arc::clone(&too_early);
    let serve = holdup.around(move |datagram: &mut Datagram| {
        ours.set_nonblocking(true)?;
        seen.lock().unwrap().push(ours.recv(&mut [0; 8]).is_ok());
        ours.set_nonblocking(false)?;
        echo(datagram)
    });
    let server = serve_udp(Builder::new(Udp::default(), Loop), serve);
    client.connect(address_of(&server)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    holdup.batch(&client, || {
        for number in 1..=3 {
            client.send(&[number]).unwrap();
        }
    });
    for number in 1..=3 {
        assert_eq!(receive(&client), [number]);
    }
    assert_eq!(*too_early.lock().unwrap(), [false; 3]);
    stop(server);
}

#[test]
fn a_thousand_datagrams_are_all_answered() {
    let server = serve_udp(Builder::new(Udp::default(), Loop), echo);
    let client = udp(&server);
    for window in 0..20_u32 {
        // As many as the buffers of the sockets hold.
        let numbers: Vec<u32> = (0..50).map(|nth| window * 50 + nth).collect();
        for number in &numbers {
            client.send(&number.to_ne_bytes()).unwrap();
        }
        for number in &numbers {
            assert_eq!(receive(&client), number.to_ne_bytes());
        }
    }
    let handle = server.handle().clone();
    stop(server);
    let counters = handle.counters();
    assert_eq!((counters.started, counters.ended), (1000, 1000));
    assert_eq!((counters.bytes_in, counters.bytes_out), (4000, 4000));
}

#[test]
fn an_oversize_datagram_is_refused_and_its_neighbours_are_served() {
    let (holdup, record) = (Holdup::default(), Record::default());
    let builder = Builder::new(Udp::default().datagram_bytes(5), Loop).observer(record.clone());
    let server = serve_udp(builder, holdup.around(echo));
    let client = udp(&server);
    holdup.batch(&client, || {
        for text in ["one", "123456", "two", "seventeen", "", "12345"] {
            client.send(text.as_bytes()).unwrap();
        }
    });
    assert_eq!(texts(&client, 4), ["one", "two", "", "12345"]);
    stop(server);
    assert_eq!(record.times(&Told::Refused(Refusal::Oversize)), 2);
    assert_eq!(record.ends(), [EndReason::Done; 5]);
}

#[test]
fn a_reply_to_a_full_peer_is_dropped_and_counted_and_the_others_go_out() {
    let (directory, record) = (Directory::new(), Record::default());
    let holdup = Holdup::default();
    let server = Builder::new(UnixDatagram::default(), Loop)
        .observer(record.clone())
        .bind(directory.path("server"), handler_fn(holdup.around(echo)))
        .unwrap()
        .start()
        .unwrap();
    let client = |name| {
        let client = UnixClient::bind(directory.path(name)).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
    };
    let send = |from: &UnixClient, text: &[u8]| {
        from.send_to(text, directory.path("server")).unwrap();
    };
    let (full, well, gone) = (client("full"), client("well"), client("gone"));
    let filler = UnixClient::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send_to(b"x", directory.path("full")).is_ok() {}
    send(&well, b"hold");
    holdup.begun.wait();
    send(&full, b"drop");
    send(&well, b"1");
    send(&gone, b"lost");
    drop(gone);
    send(&full, b"dropped");
    send(&well, b"2");
    holdup.end.open();
    let mut byte = [0; 2];
    for wanted in *b"12" {
        assert_eq!(well.recv(&mut byte).unwrap(), 1);
        assert_eq!(byte[0], wanted);
    }
    let handle = server.handle().clone();
    stop(server);
    assert_eq!(record.times(&Told::ReplyDropped), 3);
    let counters = handle.counters();
    assert_eq!((counters.replies_dropped, counters.bytes_out), (3, 2));
    assert_eq!((counters.ended, counters.failed), (6, 0));
    let silent = |told: &Told| {
        matches!(
            told,
            Told::Ended {
                bytes_in: 4 | 7,
                bytes_out: 0,
                ..
            }
        )
    };
    assert_eq!(record.count(silent), 4);
}

#[test]
fn a_handler_that_panics_costs_one_datagram() {
    let (holdup, record) = (Holdup::default(), Record::default());
    let serve = holdup.around(|datagram: &mut Datagram| {
        datagram.reply(b"seen")?;
        assert_ne!(datagram.payload(), b"bad");
        if datagram.payload() == b"wrong" {
            return Err(io::Error::other("it is wrong"));
        }
        echo(datagram)
    });
    let builder = Builder::new(Udp::default(), Loop).observer(record.clone());
    let server = serve_udp(builder, serve);
    let client = udp(&server);
    holdup.batch(&client, || {
        for text in ["a", "bad", "wrong", "b"] {
            client.send(text.as_bytes()).unwrap();
        }
    });
    let wanted = ["seen", "a", "seen", "seen", "seen", "b"];
    assert_eq!(texts(&client, 6), wanted);
    let handle = server.handle().clone();
    stop(server);
    let (done, panicked) = (EndReason::Done, EndReason::Panicked);
    let wanted = [done, done, panicked, EndReason::Failed, done];
    assert_eq!(record.ends(), wanted);
    let counters = handle.counters();
    assert_eq!((counters.panicked, counters.failed), (1, 1));
}

#[test]
fn the_counters_are_the_same_when_nobody_observes() {
    let holdup = Holdup::default();
    let serve = holdup.around(|datagram: &mut Datagram| {
        assert_ne!(datagram.payload(), b"bad");
        echo(datagram)?;
        if datagram.payload() == b"last" {
            return Err(io::Error::other("it is the last"));
        }
        Ok(())
    });
    let server = serve_udp(Builder::new(Udp::default().datagram_bytes(5), Loop), serve);
    let client = udp(&server);
    holdup.batch(&client, || {
        for text in ["a", "bad", "too long", "last"] {
            client.send(text.as_bytes()).unwrap();
        }
    });
    assert_eq!(texts(&client, 2), ["a", "last"]);
    let handle = server.handle().clone();
    stop(server);
    let counters = handle.counters();
    assert_eq!((counters.started, counters.ended), (4, 4));
    assert_eq!((counters.panicked, counters.failed), (1, 1));
    assert_eq!((counters.refused, counters.cut), (1, 0));
    assert_eq!((counters.bytes_in, counters.bytes_out), (12, 5));
}

#[test]
fn a_stop_in_the_middle_of_a_batch_leaves_the_rest_to_the_drain() {
    let holdup = Holdup::default();
    let serve = holdup.around(|datagram: &mut Datagram| {
        echo(datagram)?;
        if datagram.payload() == b"2" {
            return Err(Stop.into());
        }
        Ok(())
    });
    let server = serve_udp(Builder::new(Udp::default(), Loop), serve);
    let client = udp(&server);
    holdup.batch(&client, || {
        for number in 1..=6 {
            client.send(number.to_string().as_bytes()).unwrap();
        }
    });
    let report = within(move || server.wait()).unwrap();
    assert_eq!((report.finished, report.forced), (4, 0));
    assert_eq!(texts(&client, 6), ["1", "2", "3", "4", "5", "6"]);
}

/// Binds a server that is to be run more than once.
fn again(
    holdup: &Holdup,
    serve: impl Fn(&mut Datagram) -> io::Result<()> + Clone + Send + Sync + 'static,
) -> (Server<Udp, Loop>, UdpSocket) {
    let server = Builder::new(Udp::default(), Loop)
        .bind("127.0.0.1:0", handler_fn(holdup.around(serve)))
        .unwrap();
    let address = server.endpoints()[0].address().inet().unwrap();
    (server, udp_to(address))
}

#[test]
fn what_an_abort_leaves_of_a_batch_is_served_by_the_next_run() {
    let holdup = Holdup::default();
    let (mut server, client) = again(&holdup, |datagram| {
        echo(datagram)?;
        if datagram.payload() == b"2" {
            datagram.server().abort();
        }
        Ok(())
    });
    let mut server = thread::scope(|scope| {
        let run = scope.spawn(move || {
            let report = server.serve_forever().unwrap();
            (server, report)
        });
        holdup.batch(&client, || {
            for number in 1..=4 {
                client.send(number.to_string().as_bytes()).unwrap();
            }
        });
        let (server, report) = run.join().unwrap();
        assert_eq!(report.finished, 0);
        server
    });
    assert_eq!(texts(&client, 2), ["1", "2"]);
    let handle = server.handle();
    let ended = thread::spawn(move || server.serve_forever().unwrap());
    assert_eq!(texts(&client, 2), ["3", "4"]);
    handle.shutdown();
    within(move || ended.join().unwrap());
}

#[test]
fn handle_request_takes_one() {
    let (mut server, client) = again(&Holdup::default(), echo);
    for text in ["1", "2", "3"] {
        client.send(text.as_bytes()).unwrap();
    }
    for wanted in ["1", "2"] {
        assert_eq!(
            server.handle_request(Some(PATIENCE)).unwrap(),
            Handled::Served
        );
        assert_eq!(texts(&client, 1), [wanted]);
    }
    client.set_nonblocking(true).unwrap();
    assert!(client.recv(&mut [0; 4]).is_err());
}

/// Refuses every second one.
struct Fussy(Mutex<bool>);

impl Hooks for Fussy {
    fn verify_request(&self, _: &Address, _: &ServerHandle) -> Verdict {
        let mut refuses = self.0.lock().unwrap();
        *refuses = !*refuses;
        if *refuses {
            Verdict::Serve
        } else {
            Verdict::Refuse
        }
    }
}

#[test]
fn verify_request_is_asked_about_each_of_a_batch() {
    let (holdup, record) = (Holdup::default(), Record::default());
    let builder = Builder::new(Udp::default(), Loop)
        .hooks(Fussy(Mutex::new(false)))
        .observer(record.clone());
    let server = serve_udp(builder, holdup.around(echo));
    let client = udp(&server);
    holdup.batch(&client, || {
        for number in 1..=5 {
            client.send(number.to_string().as_bytes()).unwrap();
        }
    });
    assert_eq!(texts(&client, 2), ["2", "4"]);
    until("the last one is refused", || {
        record.times(&Told::Refused(Refusal::Verify)) == 3
    });
    stop(server);
}

#[test]
fn the_limit_per_address_refuses_those_of_a_batch() {
    for (limit, served) in [(0, 0), (1, 3)] {
        let record = Record::default();
        let server = serve_udp(
            Builder::new(Udp::default(), Loop)
                .limits(Limits::default().per_address(Some(limit)))
                .observer(record.clone()),
            echo,
        );
        let client = udp(&server);
        for number in 1..=3 {
            client.send(&[number]).unwrap();
        }
        until("all have been looked at", || {
            let refused = record.times(&Told::Refused(Refusal::PerAddress));
            refused + record.ends().len() == 3
        });
        assert_eq!(record.ends().len(), served);
        stop(server);
    }
}

#[test]
fn nothing_is_received_while_the_connection_limit_has_no_room() {
    let (mut server, client) = {
        let server = Builder::new(Udp::default(), Loop)
            .limits(Limits::default().connections(0))
            .bind("127.0.0.1:0", handler_fn(echo))
            .unwrap();
        let address = server.endpoints()[0].address().inet().unwrap();
        (server, udp_to(address))
    };
    client.send(b"?").unwrap();
    let handled = server.handle_request(Some(std::time::Duration::from_millis(20)));
    assert_eq!(handled.unwrap(), Handled::TimedOut);
    assert_eq!(server.handle().counters().started, 0);
}

#[test]
fn a_peer_without_an_address_cannot_be_answered_and_keeps_nobody_back() {
    let (directory, record) = (Directory::new(), Record::default());
    let holdup = Holdup::default();
    let kinds = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&kinds);
    let serve = holdup.around(move |datagram: &mut Datagram| {
        let answered = echo(datagram);
        let kind = answered.as_ref().err().map(io::Error::kind);
        seen.lock().unwrap().push((datagram.peer().clone(), kind));
        answered
    });
    let name = format!("@socketserver-it-batches-{}", std::process::id());
    let server = Builder::new(UnixDatagram::default(), Loop)
        .observer(record.clone())
        .bind(&name, handler_fn(serve));
    let server = server.unwrap().start().unwrap();
    let address = UnixAddress::from_abstract_name(&name[1..]).unwrap();
    let named = UnixClient::bind(directory.path("named")).unwrap();
    named.set_read_timeout(Some(PATIENCE)).unwrap();
    named.connect_addr(&address).unwrap();
    let unnamed = UnixClient::unbound().unwrap();
    unnamed.connect_addr(&address).unwrap();
    named.send(b"hold").unwrap();
    holdup.begun.wait();
    unnamed.send(b"1").unwrap();
    named.send(b"2").unwrap();
    unnamed.send(b"3").unwrap();
    holdup.end.open();
    let mut byte = [0; 2];
    assert_eq!(named.recv(&mut byte).unwrap(), 1);
    assert_eq!(byte[0], b'2');
    stop(server);
    let unnamed = (Address::Unnamed, Some(io::ErrorKind::AddrNotAvailable));
    let named = (Address::Path(directory.path("named")), None);
    assert_eq!(*kinds.lock().unwrap(), [unnamed.clone(), named, unnamed]);
    assert_eq!(record.failures().len(), 2);
}

#[test]
fn peers_of_ipv6_and_of_both_kinds_are_answered() {
    for (transport, host, clients) in [
        (Udp::default(), "[::1]:0", &["[::1]:0"][..]),
        (
            Udp::default().dual_stack(true),
            "[::]:0",
            &["[::1]:0", "127.0.0.1:0"],
        ),
    ] {
        let whose =
            |datagram: &mut Datagram| datagram.reply(datagram.peer().to_string().as_bytes());
        let server = Builder::new(transport, Loop).bind(host, handler_fn(whose));
        let server = server.unwrap().start().unwrap();
        for client in clients {
            let client = UdpSocket::bind(client).unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            let ours = client.local_addr().unwrap();
            let port = address_of(&server).port();
            client.send_to(b"?", (ours.ip(), port)).unwrap();
            assert_eq!(texts(&client, 1), [ours.to_string()]);
        }
        stop(server);
    }
}

#[test]
fn a_reply_that_is_too_long_is_an_error_of_its_own() {
    let (holdup, record) = (Holdup::default(), Record::default());
    let serve = holdup.around(|datagram: &mut Datagram| {
        if datagram.payload() == b"2" {
            return datagram.reply(&vec![0; 65_508]);
        }
        echo(datagram)
    });
    let builder = Builder::new(Udp::default(), Loop).observer(record.clone());
    let server = serve_udp(builder, serve);
    let client = udp(&server);
    holdup.batch(&client, || {
        for number in 1..=3 {
            client.send(number.to_string().as_bytes()).unwrap();
        }
    });
    assert_eq!(texts(&client, 2), ["1", "3"]);
    stop(server);
    let failures = record.failures();
    assert!(
        failures.len() == 1 && failures[0].contains("too long"),
        "{failures:?}"
    );
}

/// UDP, by a listener that wraps another.
#[derive(Clone)]
struct Wrapped(Faults);

impl Transport for Wrapped {
    type Accepted = Packet;

    fn scheme(&self, _: &Address) -> Scheme {
        Scheme::Udp
    }

    fn bind(&self, address: &Address) -> io::Result<BoxListener<Packet>> {
        let inner = Udp::default().bind(address)?;
        Ok(Box::new(FlakyListener::new(inner, self.0.clone())))
    }

    fn adopt(&self, socket: std::os::fd::OwnedFd) -> io::Result<BoxListener<Packet>> {
        Udp::default().adopt(socket)
    }
}

impl socketserver::transport::IntoAddress<Wrapped> for &Endpoint {
    fn into_addresses(self) -> io::Result<Vec<Address>> {
        Ok(vec![self.address().clone()])
    }
}

#[test]
fn a_listener_that_wraps_another_sees_each_of_them() {
    let faults = Faults::new();
    let endpoint: Endpoint = "udp://127.0.0.1:0".parse().unwrap();
    let server = Builder::new(Wrapped(faults.clone()), Loop)
        .bind(&endpoint, handler_fn(echo))
        .unwrap()
        .start()
        .unwrap();
    let client = udp(&server);
    for number in 1..=5 {
        client.send(number.to_string().as_bytes()).unwrap();
    }
    assert_eq!(texts(&client, 5), ["1", "2", "3", "4", "5"]);
    assert!(faults.accepts() >= 5);
    stop(server);
}

#[test]
fn a_reply_from_another_thread_is_sent_too() {
    let (holdup, ids) = (Holdup::default(), Arc::new(Mutex::new(Vec::new())));
    let seen = Arc::clone(&ids);
    let serve = holdup.around(move |datagram: &mut Datagram| {
        seen.lock().unwrap().push(datagram.id());
        let datagram = &*datagram;
        thread::scope(|scope| scope.spawn(|| echo_shared(datagram)).join().unwrap())
    });
    let server = serve_udp(Builder::new(Udp::default(), Loop), serve);
    let client = udp(&server);
    holdup.batch(&client, || {
        for number in 1..=3 {
            client.send(number.to_string().as_bytes()).unwrap();
        }
    });
    assert_eq!(texts(&client, 3), ["1", "2", "3"]);
    stop(server);
    let ids = ids.lock().unwrap();
    let is_rising = ids.windows(2).all(|pair| pair[0] < pair[1]);
    assert!(is_rising, "each has a number of its own: {ids:?}");
}
