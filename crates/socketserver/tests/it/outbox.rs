//! Outboxes and broadcasts: whole messages, one order, nobody waited for, nothing left behind.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::mpsc;
use std::thread;

use socketserver::testing::Memory;
use socketserver::{
    BlockingEngine, Broadcast, Builder, Connection, EndReason, Outbox, Pool, PushError, Sequential,
    Stop, Tcp, Threading, handler_fn,
};

use crate::support::{
    Latch, Record, ask, bounded, connect, engines, parallel_engines, read_line, rest, until,
    until_empty, within,
};

/// Joins the room, and stays until the peer ends.
fn member(
    room: &Broadcast,
) -> impl Fn(&mut Connection) -> io::Result<()> + Clone + Send + Sync + 'static {
    let room = room.clone();
    move |connection: &mut Connection| {
        let _membership = room.join(connection.outbox()?)?;
        io::copy(&mut connection.reader(), &mut io::sink()).map(drop)
    }
}

/// Has 8 senders send 40 messages each to `members` members; all see one and the same order.
fn everyone_hears_everything(engine: Box<dyn BlockingEngine>, members: usize) {
    const SENDERS: usize = 8;
    const EACH: usize = 40;
    let room = Broadcast::new();
    let server = Builder::new(Tcp::default(), engine)
        .bind("127.0.0.1:0", handler_fn(member(&room)))
        .unwrap()
        .start()
        .unwrap();
    let clients: Vec<_> = (0..members).map(|_| connect(&server)).collect();
    until("everybody has joined", || room.len() == members);
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let room = room.clone();
            thread::spawn(move || {
                for number in 0..EACH {
                    let text = format!("{sender} {number} {}\n", "x".repeat(number * 50));
                    let delivery = room.send(text.into_bytes());
                    assert_eq!((delivery.members, delivery.full), (members, 0));
                }
            })
        })
        .collect();
    let mut heard = Vec::new();
    for client in &clients {
        let lines = BufReader::new(client).lines().take(SENDERS * EACH);
        heard.push(lines.collect::<Result<Vec<_>, _>>().unwrap());
    }
    for sender in senders {
        sender.join().unwrap();
    }
    assert!(
        heard.iter().all(|lines| *lines == heard[0]),
        "one order for all"
    );
    let mut next: HashMap<&str, usize> = HashMap::new();
    for line in &heard[0] {
        let mut words = line.split(' ');
        let expected = next.entry(words.next().unwrap()).or_default();
        assert_eq!(words.next().unwrap(), expected.to_string());
        assert_eq!(words.next().unwrap(), "x".repeat(*expected * 50));
        *expected += 1;
    }
    drop(clients);
    until("everybody has left", || room.is_empty());
    within(move || server.stop()).unwrap();
}

#[test]
fn fifty_members_on_threads_hear_eight_senders_in_one_order() {
    everyone_hears_everything(Box::new(Threading::default()), 50);
}

#[test]
fn fifty_members_on_a_pool_hear_eight_senders_in_one_order() {
    everyone_hears_everything(Box::new(Pool::new(50).greeting(true)), 50);
}

#[test]
fn the_one_member_of_a_sequential_server_hears_eight_senders() {
    everyone_hears_everything(Box::new(Sequential), 1);
}

#[test]
fn what_the_handler_writes_and_what_others_push_do_not_tear() {
    const LINE: usize = 20_000;
    const EACH: usize = 100;
    for engine in engines() {
        let (send, receive) = mpsc::channel::<Outbox>();
        let handler = move |connection: &mut Connection| {
            send.send(connection.outbox()?).unwrap();
            let line = [&vec![b'h'; LINE][..], b"\n"].concat();
            for _ in 0..EACH {
                connection.writer().write_all(&line)?;
            }
            io::copy(&mut connection.reader(), &mut io::sink()).map(drop)
        };
        let server = Builder::new(Tcp::default(), engine)
            .limits(socketserver::Limits::default().outbox_bytes(1 << 30))
            .bind("127.0.0.1:0", handler_fn(handler))
            .unwrap()
            .start()
            .unwrap();
        let client = connect(&server);
        let outbox = receive.recv().unwrap();
        let pushers: Vec<_> = (0..3_u8)
            .map(|number| (outbox.clone(), number + b'p'))
            .map(|(outbox, letter)| {
                thread::spawn(move || {
                    let line = [&vec![letter; LINE][..], b"\n"].concat();
                    for _ in 0..EACH {
                        outbox.push(line.clone()).unwrap();
                    }
                })
            })
            .collect();
        for line in BufReader::new(&client).lines().take(4 * EACH) {
            let line = line.unwrap();
            assert_eq!(line.len(), LINE);
            let first = line.as_bytes()[0];
            assert!(line.bytes().all(|byte| byte == first), "a torn line");
        }
        for pusher in pushers {
            pusher.join().unwrap();
        }
        assert_eq!(outbox.queued_bytes(), 0);
        drop(client);
        within(move || server.stop()).unwrap();
    }
}

#[test]
fn what_is_queued_when_the_handler_is_done_goes_out_before_the_end() {
    const MESSAGE: usize = 10_000;
    for engine in engines() {
        let memory = Memory::new().unwrap();
        let handler = |connection: &mut Connection| {
            let outbox = connection.outbox()?;
            for letter in b'a'..=b'z' {
                outbox.push(vec![letter; MESSAGE]).unwrap();
            }
            assert!(
                outbox.queued_bytes() > 0,
                "the kernel has no room for all of it"
            );
            Ok(())
        };
        let server = Builder::new(memory.clone(), engine)
            .bind((), handler_fn(handler))
            .unwrap()
            .start()
            .unwrap();
        let mut client = bounded(memory.connect().unwrap());
        let wanted: Vec<u8> = (b'a'..=b'z').flat_map(|letter| [letter; MESSAGE]).collect();
        assert_eq!(rest(&mut client).unwrap(), wanted);
        drop(client);
        within(move || server.stop()).unwrap();
    }
}

#[test]
fn a_membership_ends_with_its_handler_however_that_ends() {
    for engine in engines() {
        let room = Broadcast::new();
        let joined = room.clone();
        let handler = move |connection: &mut Connection| {
            let _membership = joined.join(connection.outbox()?)?;
            let mut line = Vec::new();
            connection.writer().write_all(b"in\n")?;
            connection.reader().read_line(&mut line)?;
            match &line[..] {
                b"error\n" => Err(io::Error::other("as it was told")),
                b"panic\n" => panic!("as it was told"),
                b"stop\n" => Err(Stop.into()),
                _ => Ok(()),
            }
        };
        let server = Builder::new(Tcp::default(), engine)
            .bind("127.0.0.1:0", handler_fn(handler))
            .unwrap()
            .start()
            .unwrap();
        for how in ["return\n", "error\n", "panic\n", "stop\n"] {
            let mut client = connect(&server);
            assert_eq!(read_line(&mut client), "in\n");
            assert_eq!(room.len(), 1);
            client.write_all(how.as_bytes()).unwrap();
            assert_eq!(rest(&mut client).unwrap(), b"");
            drop(client);
            until("it has left", || room.is_empty());
        }
        within(move || server.wait()).unwrap();
    }
}

#[test]
fn a_member_that_never_reads_delays_nobody_and_is_cut_off() {
    const MESSAGES: usize = 3000;
    for engine in parallel_engines() {
        let (memory, record) = (Memory::new().unwrap(), Record::default());
        let room = Broadcast::new();
        let server = Builder::new(memory.clone(), engine)
            .observer(record.clone())
            .bind((), handler_fn(member(&room)))
            .unwrap()
            .start()
            .unwrap();
        let sleeper = bounded(memory.connect().unwrap());
        until("the sleeper has joined", || room.len() == 1);
        let reader = bounded(memory.connect().unwrap());
        until("the reader has joined", || room.len() == 2);
        let reading = thread::spawn(move || {
            let mut bytes = vec![0; MESSAGES * 1000];
            (&reader).read_exact(&mut bytes).unwrap();
            reader
        });
        let mut full = 0;
        for number in 0..MESSAGES {
            full += room.send(vec![b'm'; 1000]).full;
            // The reader keeps up: its own outbox must not run over.
            if number % 100 == 0 {
                until("the reader has caught up", || {
                    let infos = server.handle().connections();
                    infos.last().unwrap().bytes_out >= 1000 * number as u64
                });
            }
        }
        let reader = within(move || reading.join().unwrap());
        assert_eq!((full, room.len()), (1, 1));
        until("it is told", || record.ends() == [EndReason::SlowConsumer]);
        drop((reader, sleeper));
        within(move || server.stop()).unwrap();
    }
}

#[test]
fn an_outbox_is_closed_when_its_connection_has_ended() {
    for engine in engines() {
        let (send, receive) = mpsc::channel::<Outbox>();
        let handler = move |connection: &mut Connection| {
            send.send(connection.outbox()?).unwrap();
            io::copy(&mut connection.reader(), &mut io::sink()).map(drop)
        };
        let server = Builder::new(Tcp::default(), engine)
            .bind("127.0.0.1:0", handler_fn(handler))
            .unwrap()
            .start()
            .unwrap();
        let mut client = connect(&server);
        let outbox = receive.recv().unwrap();
        outbox.push(*b"one\n").unwrap();
        assert_eq!(read_line(&mut client), "one\n");
        assert!(!outbox.is_closed());
        drop(client);
        until_empty(server.handle());
        assert!(outbox.is_closed());
        assert_eq!(outbox.push(*b"two\n"), Err(PushError::Closed));
        within(move || server.stop()).unwrap();
    }
}

#[test]
fn a_message_reaches_a_member_whose_handler_is_busy() {
    let (room, latch) = (Broadcast::new(), Latch::default());
    let (joined, waits) = (room.clone(), latch.clone());
    let handler = move |connection: &mut Connection| {
        let _membership = joined.join(connection.outbox()?)?;
        waits.wait();
        Ok(())
    };
    let server = Builder::new(Tcp::default(), Threading::default())
        .bind("127.0.0.1:0", handler_fn(handler))
        .unwrap()
        .start()
        .unwrap();
    let mut client = connect(&server);
    until("it has joined", || room.len() == 1);
    room.send(*b"news\n");
    assert_eq!(read_line(&mut client), "news\n");
    assert_eq!(room.len(), 1);
    latch.open();
    drop(client);
    until("it has left", || room.is_empty());
    within(move || server.stop()).unwrap();
}

#[test]
fn what_is_pushed_while_joining_comes_first_and_nothing_is_missed() {
    let room = Broadcast::new();
    let joined = room.clone();
    let handler = move |connection: &mut Connection| {
        let outbox = connection.outbox()?;
        let welcome = outbox.clone();
        let _membership = joined.join_with(outbox, || {
            welcome.push(*b"welcome\n").unwrap();
        })?;
        joined.send(*b"you are in\n");
        io::copy(&mut connection.reader(), &mut io::sink()).map(drop)
    };
    let server = Builder::new(Tcp::default(), Threading::default())
        .bind("127.0.0.1:0", handler_fn(handler))
        .unwrap()
        .start()
        .unwrap();
    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut client = connect(&server);
        assert_eq!(ask(&mut client, ""), "welcome\n");
        assert_eq!(read_line(&mut client), "you are in\n");
        clients.push(client);
    }
    drop(clients);
    within(move || server.stop()).unwrap();
}
