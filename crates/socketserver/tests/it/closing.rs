//! Closing loses nothing that was sent, and waits for nobody without a bound.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream as ClientStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use socketserver::testing::{ManualClock, Memory};
use socketserver::{
    Activity, Builder, Connection, Engine, Limits, Pool, Running, ServerHandle, Tcp, Threading,
    UnixStream, handler_fn,
};

use crate::support::{
    Client, Directory, HOUR, PATIENCE, address_of, bounded, connect, echo_lines, engines, rest,
    until, until_empty, within,
};

/// A connection that says goodbye, by a clock that stands still.
fn goodbye(
    engine: Box<dyn socketserver::BlockingEngine>,
    time: &ManualClock,
    bytes: usize,
) -> Running {
    let leave =
        move |connection: &mut Connection| connection.writer().write_all(&vec![b'b'; bytes]);
    Builder::new(Tcp::default(), engine)
        .clock(time.clock())
        .limits(Limits::default().linger_timeout(Duration::from_secs(60)))
        .drain_timeout(HOUR)
        .bind("127.0.0.1:0", handler_fn(leave))
        .unwrap()
        .start()
        .unwrap()
}

fn until_closing(handle: &ServerHandle) {
    until("it is closing", || {
        let infos = handle.connections();
        infos.iter().any(|info| info.activity == Activity::Closing)
    });
}

#[test]
fn a_peer_that_never_closes_is_waited_for_no_longer_than_the_linger_timeout() {
    for engine in engines() {
        let time = ManualClock::new();
        let server = goodbye(engine, &time, 4);
        let mut lazy = connect(&server);
        assert_eq!(rest(&mut lazy).unwrap(), b"bbbb");
        until_closing(server.handle());
        thread::sleep(Duration::from_millis(5));
        assert_eq!(
            server.handle().connection_count(),
            1,
            "the peer may still close"
        );
        time.advance(Duration::from_secs(61));
        until_empty(server.handle());
        within(move || server.stop()).unwrap();
    }
}

#[test]
fn a_drain_does_not_wait_for_a_peer_that_has_everything() {
    for engine in engines() {
        let (name, time) = (engine.name(), ManualClock::new());
        let server = goodbye(engine, &time, 4);
        let mut lazy = connect(&server);
        assert_eq!(rest(&mut lazy).unwrap(), b"bbbb");
        until_closing(server.handle());
        let report = within(move || server.stop()).unwrap();
        assert_eq!((report.finished, report.forced), (1, 0), "{name}");
    }
}

#[test]
fn a_drain_waits_for_a_peer_that_does_not_read_no_longer_than_the_linger_timeout() {
    for engine in engines() {
        let (name, time) = (engine.name(), ManualClock::new());
        let server = goodbye(engine, &time, 1_000_000);
        let handle = server.handle().clone();
        let _deaf = connect(&server);
        until_closing(&handle);
        handle.shutdown();
        assert!(
            !handle.wait(Duration::from_millis(20)),
            "{name}: it may still read"
        );
        until("the linger timeout is over", || {
            time.advance(Duration::from_secs(61));
            handle.wait(Duration::ZERO)
        });
        let report = within(move || server.wait()).unwrap();
        assert_eq!((report.finished, report.forced), (1, 0), "{name}");
    }
}

/// A plain close with unread input would throw the reply away and send a reset.
#[test]
fn a_large_reply_survives_unread_input() {
    const REPLY: usize = 200_000;
    let reply = |connection: &mut Connection| connection.writer().write_all(&vec![b'r'; REPLY]);
    let server = Builder::new(Tcp::default(), Pool::new(8).greeting(true))
        .bind("127.0.0.1:0", handler_fn(reply))
        .unwrap()
        .start()
        .unwrap();
    let whole = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..100)
        .map(|_| {
            let (mut client, whole) = (connect(&server), Arc::clone(&whole));
            thread::spawn(move || {
                client.write_all(&vec![b'u'; 30_000]).unwrap();
                assert_eq!(rest(&mut client).unwrap().len(), REPLY);
                whole.fetch_add(1, Ordering::SeqCst);
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    assert_eq!(whole.load(Ordering::SeqCst), 100);
    within(move || server.stop()).unwrap();
}

#[test]
fn a_peer_that_has_ended_its_side_still_gets_the_reply() {
    for engine in engines() {
        let server = Builder::new(Tcp::default(), engine)
            .bind("127.0.0.1:0", handler_fn(echo_lines))
            .unwrap()
            .start()
            .unwrap();
        let mut client = connect(&server);
        client.write_all(b"half\nclosed").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(&mut client).unwrap(), b"half\nclosed\n");
        drop(client);
        within(move || server.stop()).unwrap();
    }
}

/// `write_timeout` is a bound on standing still: who reads slowly gets everything.
#[test]
fn a_slow_reader_of_the_last_messages_gets_them_all() {
    const MESSAGE: usize = 64 << 10;
    let (memory, time) = (Memory::new().unwrap(), ManualClock::new());
    let fill = |connection: &mut Connection| {
        let outbox = connection.outbox()?;
        for _ in 0..14 {
            outbox.push(vec![b'm'; MESSAGE]).map_err(io::Error::other)?;
        }
        Ok(())
    };
    let server = Builder::new(memory.clone(), Threading::default())
        .clock(time.clock())
        .limits(Limits::default().write_timeout(Some(Duration::from_secs(30))))
        .bind((), handler_fn(fill))
        .unwrap()
        .start()
        .unwrap();
    let handle = server.handle().clone();
    let mut client = bounded(memory.connect().unwrap());
    until("the handler is done", || {
        handle
            .connections()
            .iter()
            .any(|info| info.activity == Activity::Closing)
    });
    let all = 14 * MESSAGE as u64;
    let out = || {
        handle
            .connections()
            .first()
            .map_or(all, |info| info.bytes_out)
    };
    let mut got = 0;
    while got < all {
        let sent = out();
        let mut block = vec![0; usize::try_from(sent - got).unwrap()];
        client.read_exact(&mut block).unwrap();
        got = sent;
        until("the server has sent on", || sent == all || out() > sent);
        time.advance(Duration::from_secs(20));
        // Gives the loop the occasion to cut it off, were it to do so.
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(rest(&mut client).unwrap(), b"");
    drop(client);
    within(move || server.stop()).unwrap();
}

/// Connects, asks and reads until nobody answers; tells how often it was reset.
fn hammer<C: Client>(connect: impl Fn() -> io::Result<C>) -> usize {
    let mut resets = 0;
    while let Ok(mut client) = connect() {
        let asked = client.write_all(b"hi\n");
        let answered = client.read(&mut [0; 16]);
        for error in [asked.err(), answered.err()].into_iter().flatten() {
            resets += usize::from(error.kind() == io::ErrorKind::ConnectionReset);
        }
    }
    resets
}

/// Lets four clients hammer a server until it has stopped and closed; tells how often they were reset.
fn resets<C: Client>(
    server: Running,
    connect: impl Fn() -> io::Result<C> + Clone + Send + 'static,
) -> usize {
    let clients: Vec<_> = (0..4)
        .map(|_| connect.clone())
        .map(|connect| thread::spawn(move || hammer(connect)))
        .collect();
    until("they are at it", || server.handle().counters().ended > 20);
    within(move || server.stop()).unwrap();
    clients
        .into_iter()
        .map(|client| client.join().unwrap())
        .sum()
}

#[test]
fn a_tcp_server_that_stops_and_closes_under_load_resets_nobody() {
    for _ in 0..10 {
        let server = Builder::new(Tcp::default(), Threading::default())
            .bind("127.0.0.1:0", handler_fn(echo_lines))
            .unwrap()
            .start()
            .unwrap();
        let address = address_of(&server);
        let connect = move || {
            let client = TcpStream::connect_timeout(&address, Duration::from_millis(100))?;
            client.set_read_timeout(Some(PATIENCE)).map(|()| client)
        };
        assert_eq!(resets(server, connect), 0);
    }
}

#[test]
fn a_unix_server_that_stops_and_closes_under_load_resets_nobody() {
    let directory = Directory::new();
    for round in 0..20 {
        let path = directory.path(&round.to_string());
        let server = Builder::new(UnixStream::default(), Threading::default())
            .bind(&path, handler_fn(echo_lines))
            .unwrap()
            .start()
            .unwrap();
        let connect = move || ClientStream::connect(&path).map(bounded);
        assert_eq!(resets(server, connect), 0);
    }
}

/// Whoever gave a socket may hold it, too, and go on with it when the server has gone.
#[test]
fn a_given_socket_hears_again_when_its_server_has_closed() {
    let directory = Directory::new();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Builder::new(Tcp::default(), Threading::default())
        .adopt(tcp.try_clone().unwrap(), handler_fn(echo_lines))
        .unwrap()
        .start()
        .unwrap();
    drop(connect(&server));
    within(move || server.stop()).unwrap();
    let timeout = Duration::from_millis(900);
    assert!(TcpStream::connect_timeout(&tcp.local_addr().unwrap(), timeout).is_ok());
    let path = directory.path("given");
    let unix = UnixListener::bind(&path).unwrap();
    let server = Builder::new(UnixStream::default(), Threading::default())
        .adopt(unix.try_clone().unwrap(), handler_fn(echo_lines))
        .unwrap()
        .start()
        .unwrap();
    within(move || server.stop()).unwrap();
    assert!(ClientStream::connect(&path).is_ok());
}
