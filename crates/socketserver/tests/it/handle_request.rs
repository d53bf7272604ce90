//! One request at a time, driven by the program: `handle_request` and `close`.

use std::io::Write;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use socketserver::{
    Address, Builder, Connection, Datagram, Handled, Hooks, Limits, PoolTcpServer, Refusal,
    Sequential, ServerHandle, Tcp, TcpServer, ThreadingTcpServer, UdpServer, Verdict, handler_fn,
};

use crate::support::{
    HOUR, PATIENCE, Record, Told, ask, connect_to, echo, echo_lines, read_line, rest, until, within,
};

/// Counts the calls of `handle_timeout`, and refuses if told to.
#[derive(Clone, Default)]
struct Counting {
    timeouts: Arc<AtomicUsize>,
    refuses: bool,
}

impl Hooks for Counting {
    fn verify_request(&self, _peer: &Address, _server: &ServerHandle) -> Verdict {
        if self.refuses {
            Verdict::Refuse
        } else {
            Verdict::Serve
        }
    }

    fn handle_timeout(&self, _server: &ServerHandle) {
        self.timeouts.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn no_request_in_time_calls_handle_timeout_once() {
    let hooks = Counting::default();
    let timeouts = Arc::clone(&hooks.timeouts);
    let mut server = Builder::new(Tcp::default(), Sequential)
        .hooks(hooks)
        .bind("127.0.0.1:0", handler_fn(echo))
        .unwrap();
    let timeout = Some(Duration::from_millis(5));
    let handled = within(move || server.handle_request(timeout)).unwrap();
    assert_eq!(handled, Handled::TimedOut);
    assert_eq!(timeouts.load(Ordering::SeqCst), 1);
}

#[test]
fn a_timeout_of_zero_looks_once_and_finds_who_waits() {
    let hooks = Counting::default();
    let timeouts = Arc::clone(&hooks.timeouts);
    let mut server = Builder::new(Tcp::default(), Sequential)
        .hooks(hooks)
        .bind("127.0.0.1:0", handler_fn(echo))
        .unwrap();
    let none = server.handle_request(Some(Duration::ZERO)).unwrap();
    assert_eq!(
        (none, timeouts.load(Ordering::SeqCst)),
        (Handled::TimedOut, 1)
    );
    let mut client = connect_to(server.local_address().inet().unwrap());
    client.write_all(b"hello").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let handled = within(move || server.handle_request(Some(Duration::ZERO))).unwrap();
    assert_eq!(
        (handled, timeouts.load(Ordering::SeqCst)),
        (Handled::Served, 1)
    );
    assert_eq!(rest(&mut client).unwrap(), b"hello");
}

#[test]
fn the_timeout_does_not_bound_the_request_itself() {
    let mut server = TcpServer::bind("127.0.0.1:0", handler_fn(echo_lines)).unwrap();
    let mut client = connect_to(server.local_address().inet().unwrap());
    let run = thread::spawn(move || server.handle_request(Some(Duration::from_millis(1))));
    for _ in 0..5 {
        thread::sleep(Duration::from_millis(2));
        assert_eq!(ask(&mut client, "slow\n"), "slow\n");
    }
    drop(client);
    assert_eq!(
        within(move || run.join().unwrap()).unwrap(),
        Handled::Served
    );
}

#[test]
fn one_call_serves_one_of_those_who_wait() {
    let mut server = TcpServer::bind("127.0.0.1:0", handler_fn(echo_lines)).unwrap();
    let address = server.local_address().inet().unwrap();
    let mut clients: Vec<_> = (0..3).map(|_| connect_to(address)).collect();
    for client in &mut clients {
        client.write_all(b"mine\n").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
    }
    for number in 1..=3 {
        assert_eq!(server.handle_request(Some(HOUR)).unwrap(), Handled::Served);
        assert_eq!(server.handle().counters().started, number);
    }
    for client in &mut clients {
        assert_eq!(rest(client).unwrap(), b"mine\n");
    }
}

#[test]
fn on_threads_a_request_is_only_started_and_close_drains_it() {
    let work = |connection: &mut Connection| {
        until("the drain begins", || connection.is_draining());
        connection.writer().write_all(b"done\n")
    };
    let mut threading = ThreadingTcpServer::bind("127.0.0.1:0", handler_fn(work)).unwrap();
    let mut pool = PoolTcpServer::bind("127.0.0.1:0", handler_fn(work)).unwrap();
    let mut first = connect_to(threading.local_address().inet().unwrap());
    let mut second = connect_to(pool.local_address().inet().unwrap());
    assert_eq!(
        threading.handle_request(Some(PATIENCE)).unwrap(),
        Handled::Started
    );
    assert_eq!(
        pool.handle_request(Some(PATIENCE)).unwrap(),
        Handled::Started
    );
    second
        .write_all(b"the byte that a parked connection waits for")
        .unwrap();
    assert_eq!(threading.handle().connection_count(), 1);
    let closing = [
        thread::spawn(move || threading.close()),
        thread::spawn(move || pool.close()),
    ];
    for client in [&mut first, &mut second] {
        assert_eq!(rest(client).unwrap(), b"done\n");
    }
    drop((first, second));
    for close in closing {
        let report = within(move || close.join().unwrap()).unwrap();
        assert_eq!((report.finished, report.forced, report.stuck), (1, 0, 0));
    }
}

#[test]
fn close_serves_nobody_new_and_ends_them_in_good_order() {
    let record = Record::default();
    let server = Builder::new(Tcp::default(), Sequential)
        .observer(record.clone())
        .bind("127.0.0.1:0", handler_fn(echo))
        .unwrap();
    let mut waiting = connect_to(server.local_address().inet().unwrap());
    waiting.write_all(b"unheard").unwrap();
    server.close().unwrap();
    assert_eq!(rest(&mut waiting).unwrap(), b"");
    assert_eq!(record.all(), [Told::Refused(Refusal::Shutdown)]);
}

#[test]
fn a_refused_request_is_told_as_refused() {
    let hooks = Counting {
        refuses: true,
        ..Counting::default()
    };
    let mut server = Builder::new(Tcp::default(), Sequential)
        .hooks(hooks)
        .bind("127.0.0.1:0", handler_fn(echo))
        .unwrap();
    let mut client = connect_to(server.local_address().inet().unwrap());
    let handled = server.handle_request(Some(PATIENCE)).unwrap();
    assert_eq!(handled, Handled::Refused(Refusal::Verify));
    assert_eq!(rest(&mut client).unwrap(), b"");
}

#[test]
fn a_shutdown_ends_the_wait_for_a_request_and_only_that_one() {
    let mut server = TcpServer::bind("127.0.0.1:0", handler_fn(echo)).unwrap();
    let handle = server.handle();
    let waiting =
        thread::spawn(move || server.handle_request(None).map(|handled| (handled, server)));
    handle.shutdown();
    let (handled, mut server) = within(move || waiting.join().unwrap()).unwrap();
    assert_eq!(handled, Handled::Stopped);
    handle.shutdown();
    let next = server.handle_request(Some(Duration::ZERO)).unwrap();
    assert_eq!(next, Handled::TimedOut);
}

#[test]
fn a_datagram_is_a_request_too() {
    let shout = |datagram: &mut Datagram| datagram.reply(&datagram.payload().to_ascii_uppercase());
    let mut server = UdpServer::bind("127.0.0.1:0", handler_fn(shout)).unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let address = server.local_address().inet().unwrap();
    for text in [&b"hello"[..], b""] {
        client.send_to(text, address).unwrap();
        assert_eq!(
            server.handle_request(Some(PATIENCE)).unwrap(),
            Handled::Served
        );
        let mut answer = [0; 16];
        let (count, from) = client.recv_from(&mut answer).unwrap();
        assert_eq!(
            (&answer[..count], from),
            (&text.to_ascii_uppercase()[..], address)
        );
    }
}

/// A loop around `handle_request` is a server, too: it tells once what it would tell once.
#[test]
fn a_loop_around_it_tells_of_a_lowered_limit_once() {
    let record = Record::default();
    let mut server = Builder::new(Tcp::default(), Sequential)
        .observer(record.clone())
        .limits(Limits::default().connections(usize::MAX))
        .bind("127.0.0.1:0", handler_fn(echo))
        .unwrap();
    for _ in 0..5 {
        server.handle_request(Some(Duration::ZERO)).unwrap();
    }
    assert_eq!(
        record.count(|told| matches!(told, Told::LimitLowered(..))),
        1
    );
}

#[test]
fn a_handler_that_shuts_the_server_down_was_served() {
    let stop = |connection: &mut Connection| {
        connection.server().shutdown();
        connection.writer().write_all(b"bye\n")
    };
    let mut server = TcpServer::bind("127.0.0.1:0", handler_fn(stop)).unwrap();
    let mut client = connect_to(server.local_address().inet().unwrap());
    let run = thread::spawn(move || {
        let first = server.handle_request(None).unwrap();
        (first, server.handle_request(Some(Duration::ZERO)).unwrap())
    });
    assert_eq!(read_line(&mut client), "bye\n");
    drop(client);
    let handled = within(move || run.join().unwrap());
    assert_eq!(handled, (Handled::Served, Handled::Stopped));
}

#[test]
fn what_was_started_lives_on_between_calls() {
    let mut server = ThreadingTcpServer::bind("127.0.0.1:0", handler_fn(echo_lines)).unwrap();
    let address = server.local_address().inet().unwrap();
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(connect_to(address));
        assert_eq!(
            server.handle_request(Some(PATIENCE)).unwrap(),
            Handled::Started
        );
        for client in &mut clients {
            assert_eq!(ask(client, "hi\n"), "hi\n");
        }
    }
    drop(clients);
    until("the handlers are done", || {
        let _ = server.handle_request(Some(Duration::ZERO));
        server.handle().connection_count() == 0
    });
}
