//! What must hold at the edges: between runs, at a close, among servers, and under pressure.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream as ClientStream};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use socketserver::{
    Activity, Address, Broadcast, Builder, Connection, Datagram, EndReason, Handled, Hooks, Limits,
    Sequential, ServerHandle, Tcp, Threading, ThreadingTcpServer, ThreadingUdpServer, Transport,
    UnixStream, Verdict, handler_fn,
};

use crate::support::{
    Directory, HOUR, Latch, PATIENCE, Record, ask, connect, connect_to, connect_unix, echo_lines,
    read_line, rest, until, until_empty, within,
};

/// Connects to the owner's `listener` and has the owner answer.
fn owner_serves(listener: &TcpListener, client: &mut TcpStream) {
    let mut accepted = None;
    until("the owner accepts", || {
        accepted = listener.accept().ok();
        accepted.is_some()
    });
    let (mut accepted, _) = accepted.unwrap();
    accepted.write_all(b"the owner\n").unwrap();
    assert_eq!(read_line(client), "the owner\n");
}

#[test]
fn the_owner_of_a_shared_listener_accepts_again_when_the_server_is_gone() {
    let owner = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = owner.local_addr().unwrap();
    let server = Builder::new(Tcp::default(), Threading::default())
        .adopt(owner.try_clone().unwrap(), handler_fn(echo_lines))
        .unwrap()
        .start()
        .unwrap();
    assert_eq!(ask(&mut connect(&server), "ours\n"), "ours\n");
    within(move || server.stop()).unwrap();
    for _ in 0..3 {
        owner_serves(&owner, &mut connect_to(address));
    }
}

#[test]
fn closing_takes_nobody_from_the_queue_of_a_shared_listener() {
    let owner = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = owner.local_addr().unwrap();
    let server = Builder::new(Tcp::default(), Threading::default())
        .adopt(owner.try_clone().unwrap(), handler_fn(echo_lines))
        .unwrap();
    let mut clients: Vec<_> = (0..3).map(|_| connect_to(address)).collect();
    within(move || server.close()).unwrap();
    for client in &mut clients {
        owner_serves(&owner, client);
    }
}

#[test]
fn the_owner_of_a_shared_unix_listener_accepts_again_when_the_server_is_gone() {
    let directory = Directory::new();
    let path = directory.path("shared");
    let owner = UnixListener::bind(&path).unwrap();
    let server = Builder::new(UnixStream::default(), Threading::default())
        .adopt(owner.try_clone().unwrap(), handler_fn(echo_lines))
        .unwrap()
        .start()
        .unwrap();
    assert_eq!(ask(&mut connect_unix(&path), "ours\n"), "ours\n");
    within(move || server.stop()).unwrap();
    let mut client = connect_unix(&path);
    until("the owner accepts", || match owner.accept() {
        Ok((mut accepted, _)) => accepted.write_all(b"the owner\n").is_ok(),
        Err(_) => false,
    });
    assert_eq!(read_line(&mut client), "the owner\n");
}

#[test]
fn a_connection_whose_handler_ended_between_runs_is_looked_after_in_the_next() {
    let goodbye = |connection: &mut Connection| connection.writer().write_all(b"bye\n");
    let mut server = Builder::new(Tcp::default(), Threading::default())
        .limits(Limits::default().linger_timeout(HOUR))
        .bind("127.0.0.1:0", handler_fn(goodbye))
        .unwrap();
    let (handle, address) = (server.handle(), server.local_address().inet().unwrap());
    let mut early = connect_to(address);
    let handled = server.handle_request(Some(PATIENCE)).unwrap();
    assert_eq!(handled, Handled::Started);
    // Its end has come, though nobody serves at the moment.
    assert_eq!(rest(&mut early).unwrap(), b"bye\n");
    let run = thread::spawn(move || server.serve_forever());
    let mut clients: Vec<_> = (0..5).map(|_| connect_to(address)).collect();
    for client in &mut clients {
        assert_eq!(rest(client).unwrap(), b"bye\n");
    }
    assert_eq!(handle.connection_count(), 6, "each may still close");
    drop((early, clients));
    until_empty(&handle);
    handle.shutdown();
    within(move || run.join().unwrap()).unwrap();
}

/// Shuts the server down whenever somebody comes.
struct Touchy;

impl Hooks for Touchy {
    fn verify_request(&self, _: &Address, server: &ServerHandle) -> Verdict {
        server.shutdown();
        Verdict::Refuse
    }
}

#[test]
fn a_hook_stops_the_run_in_which_it_is_called_and_not_an_earlier_one() {
    let mut server = Builder::new(Tcp::default(), Sequential)
        .hooks(Touchy)
        .bind("127.0.0.1:0", handler_fn(echo_lines))
        .unwrap();
    let address = server.local_address().inet().unwrap();
    for run in 0..3 {
        let _client = connect_to(address);
        let first = server.handle_request(Some(PATIENCE)).unwrap();
        assert!(matches!(first, Handled::Refused(_)), "{run}: {first:?}");
        let then = server.handle_request(Some(Duration::ZERO)).unwrap();
        assert_eq!(then, Handled::Stopped, "{run}");
    }
}

#[test]
fn waiting_for_ever_is_a_wait_like_others() {
    let server = ThreadingTcpServer::bind("127.0.0.1:0", handler_fn(echo_lines))
        .unwrap()
        .start()
        .unwrap();
    let handle = server.handle().clone();
    let waiting = thread::spawn(move || handle.wait(Duration::MAX));
    within(move || server.stop()).unwrap();
    assert!(within(move || waiting.join().unwrap()));
}

/// Waits until `count` is more than nothing and does not change any more.
fn until_still(what: &str, count: impl Fn() -> u64) {
    let (mut before, mut still) = (0, 0);
    until(what, || {
        let now = count();
        still = if now > 0 && now == before {
            still + 1
        } else {
            0
        };
        before = now;
        still > 20
    });
}

/// More input is queued than one look at it takes, and the peer is slow to read.
#[test]
fn a_large_reply_to_a_slow_reader_survives_much_unread_input() {
    const READ: usize = 24 << 20;
    const UNREAD: usize = 900 << 10;
    const REPLY: usize = 3 << 20;
    let sent = Latch::default();
    let waits = sent.clone();
    let reply = move |connection: &mut Connection| {
        let (mut reader, mut writer) = connection.split();
        // The more is read, the more the kernel lets wait.
        let mut block = vec![0; 256 << 10];
        let mut left = READ;
        while left > 0 {
            let most = left.min(block.len());
            left -= reader.read(&mut block[..most])?;
        }
        waits.wait();
        until_still("what it lets wait is there", || {
            rustix::io::ioctl_fionread(&reader).unwrap()
        });
        writer.write_all(&vec![b'r'; REPLY])
    };
    let server = Builder::new(Tcp::default(), Threading::default())
        .limits(Limits::default().linger_timeout(HOUR).linger_bytes(1 << 20))
        .bind("127.0.0.1:0", handler_fn(reply))
        .unwrap()
        .start()
        .unwrap();
    let mut client = connect(&server);
    let mut sender = client.try_clone().unwrap();
    let sending = thread::spawn(move || {
        sender.write_all(&vec![b'u'; READ + UNREAD]).unwrap();
        sender.shutdown(Shutdown::Write).unwrap();
        sent.open();
    });
    sending.join().unwrap();
    let handle = server.handle();
    let mut received = 0;
    // It reads no more than the handler needs to be done; the rest is with the kernel.
    while handle
        .connections()
        .iter()
        .any(|info| info.activity != Activity::Closing)
    {
        received += client.read(&mut [0; 4096]).unwrap();
    }
    // The linger timeout, an hour, has nothing to do with it, nor has what the peer reads.
    until_empty(handle);
    received += rest(&mut client).unwrap().len();
    assert_eq!(received, REPLY);
    drop(client);
    within(move || server.stop()).unwrap();
}

#[test]
fn a_handler_s_long_write_leaves_room_in_the_outbox_for_others() {
    const REPLY: usize = 8 << 20;
    let (room, record) = (Broadcast::new(), Record::default());
    let shared = room.clone();
    let write = move |connection: &mut Connection| {
        let _membership = shared.join(connection.outbox()?)?;
        connection.writer().write_all(&vec![b'r'; REPLY])
    };
    let server = Builder::new(Tcp::default(), Threading::default())
        .observer(record.clone())
        .bind("127.0.0.1:0", handler_fn(write))
        .unwrap()
        .start()
        .unwrap();
    let mut client = connect(&server);
    // The kernel takes what it can, and then the handler waits for the peer to read.
    until_still("the write waits", || {
        let infos = server.handle().connections();
        infos.first().map_or(0, |info| info.bytes_out)
    });
    for _ in 0..10 {
        let delivery = room.send(&b"hi\n"[..]);
        assert_eq!((delivery.members, delivery.full), (1, 0));
    }
    let mut received = rest(&mut client).unwrap();
    received.retain(|&byte| byte != b'r');
    assert_eq!(received, b"hi\n".repeat(10));
    drop(client);
    until("it is told", || !record.ends().is_empty());
    assert_eq!(record.ends(), [EndReason::Done]);
    within(move || server.stop()).unwrap();
}

/// How a peer whose outbox is being looked after may go.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    ByCut,
    ByReset,
    InGoodOrder,
}

#[test]
fn an_outbox_that_is_looked_after_is_let_go_of_with_its_connection() {
    for leaves in [Leaves::ByCut, Leaves::ByReset, Leaves::InGoodOrder] {
        let record = Record::default();
        let push = |connection: &mut Connection| {
            let outbox = connection.outbox()?;
            while outbox.queued_bytes() == 0 {
                outbox
                    .push(vec![b'm'; 64 << 10])
                    .map_err(io::Error::other)?;
            }
            io::copy(&mut connection.reader(), &mut io::sink()).map(drop)
        };
        let server = Builder::new(Tcp::default(), Threading::default())
            .observer(record.clone())
            .bind("127.0.0.1:0", handler_fn(push))
            .unwrap()
            .start()
            .unwrap();
        let mut client = connect(&server);
        until("something waits", || {
            let infos = server.handle().connections();
            infos.iter().any(|info| info.activity.is_idle())
        });
        match leaves {
            Leaves::ByCut => {
                assert!(server.handle().disconnect(1));
                rest(&mut client).unwrap();
            }
            Leaves::ByReset => crate::support::reset(client),
            Leaves::InGoodOrder => {
                client.shutdown(Shutdown::Write).unwrap();
                assert!(!rest(&mut client).unwrap().is_empty());
            }
        }
        until_empty(server.handle());
        until("its end is told", || record.ends().len() == 1);
        within(move || server.stop()).unwrap();
    }
}

/// Between the look at a dead server's file and its removal another may have come.
#[test]
fn of_servers_that_race_for_a_path_one_has_it_and_can_be_reached() {
    const ROUNDS: usize = 200;
    const RACERS: usize = 4;
    let directory = Directory::new();
    let path = directory.path("raced");
    let barrier = Arc::new(Barrier::new(RACERS));
    let race = |number: usize| {
        let (path, barrier) = (path.clone(), Arc::clone(&barrier));
        move || {
            let round = |_| {
                if number == 0 {
                    // A server that has died leaves its file.
                    drop(UnixListener::bind(&path).unwrap());
                }
                barrier.wait();
                let listener = UnixStream::default().bind(&Address::Path(path.clone()));
                barrier.wait();
                let is_reached = ClientStream::connect(&path).is_ok();
                barrier.wait();
                let has_it = listener.is_ok();
                drop(listener);
                barrier.wait();
                (has_it, is_reached)
            };
            (0..ROUNDS).map(round).collect::<Vec<_>>()
        }
    };
    let racers: Vec<_> = (0..RACERS)
        .map(|number| thread::spawn(race(number)))
        .collect();
    let raced: Vec<_> = racers
        .into_iter()
        .map(|racer| within(move || racer.join().unwrap()))
        .collect();
    for round in 0..ROUNDS {
        let owners = raced.iter().filter(|racer| racer[round].0).count();
        let reached = raced.iter().filter(|racer| racer[round].1).count();
        assert_eq!((owners, reached), (1, RACERS), "in round {round}");
    }
}

#[test]
fn a_reply_from_within_a_look_at_the_socket_does_not_hold_up_a_server_that_is_dropped() {
    let (inside, goes_on, replied) = (Latch::default(), Latch::default(), Latch::default());
    let latches = (inside.clone(), goes_on.clone(), replied.clone());
    let handler = move |datagram: &mut Datagram| {
        datagram.with_socket(|_| {
            latches.0.open();
            latches.1.wait();
            let _ = datagram.reply(b"late");
        });
        latches.2.open();
        Ok(())
    };
    let mut server = ThreadingUdpServer::bind("127.0.0.1:0", handler_fn(handler)).unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = server.local_address().inet().unwrap();
    client.send_to(b"hello", address).unwrap();
    let outcome = server.handle_request(Some(PATIENCE)).unwrap();
    assert_eq!(outcome, Handled::Started);
    inside.wait();
    within(move || drop(server));
    goes_on.open();
    replied.wait();
}

#[test]
fn replies_from_within_a_look_at_the_socket_race_with_a_drop() {
    for _ in 0..50 {
        let inside = Latch::default();
        let told = inside.clone();
        let handler = move |datagram: &mut Datagram| {
            datagram.with_socket(|_| {
                told.open();
                while datagram.reply(b"again").is_ok() {}
            });
            Ok(())
        };
        let mut server = ThreadingUdpServer::bind("127.0.0.1:0", handler_fn(handler)).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_address().inet().unwrap();
        client.send_to(b"hello", address).unwrap();
        server.handle_request(Some(PATIENCE)).unwrap();
        let handle = server.handle();
        inside.wait();
        within(move || drop(server));
        until_empty(&handle);
    }
}
