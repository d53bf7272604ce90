//! The room stays whole, whatever its members do.

use std::io::{Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::sync::{Arc, Mutex};
use std::thread;

use chat::{ChatServer, Names, Options, RunningChat};
use socketserver::{Builder, EndReason, Event, Reactor};

use crate::people::{Person, open, open_with, until};

fn guests() -> RunningChat {
    open(Options::default().names(Names::Guest))
}

/// D-18: one bad byte left a closed socket in the room, which then ended everyone who spoke.
#[test]
fn one_bad_member_does_not_end_the_room_for_the_others() {
    let room = guests();
    let mut good: Vec<_> = (0..4).map(|_| Person::join(&room)).collect();
    for _ in 0..20 {
        let mut bad = Person::join(&room);
        bad.sends(b"\xff\n");
        bad.resets();
    }
    until("the bad ones gone", || room.door().len() == 4);
    for (number, person) in good.iter_mut().enumerate() {
        person.sends(format!("{number} is well\n"));
    }
    for person in &mut good {
        let mut missing = 4;
        while missing > 0 {
            missing -= usize::from(person.hears().ends_with(" is well"));
        }
    }
    good.push(Person::join(&room));
    good[4].sends("so is the new one\n");
    for person in &mut good {
        person.hears_until(|line| line.ends_with(" so is the new one"));
    }
}

/// D-19: a receiver that failed ended the sender.
/// D-20: who spoke while another joined or left was ended by the race.
#[test]
fn speaking_is_safe_while_others_come_and_go() {
    let room = guests();
    let mut speaker = Person::join_as(&room, "ada");
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let mut guest = Person::join(&room);
                    guest.sends("hi\n");
                    guest.resets();
                }
            });
        }
        for number in 0..200 {
            let text = format!("ada {number}");
            speaker.sends(format!("{number}\n"));
            speaker.hears_until(|line| line == text);
        }
    });
    until("the guests gone", || room.door().members() == ["ada"]);
}

/// D-24: two members could see two messages in two orders.
#[test]
fn two_hundred_members_hear_one_order() {
    const MEMBERS: usize = 200;
    const SENDERS: usize = 8;
    const EACH: usize = 20;
    let room = guests();
    let mut people: Vec<_> = (0..MEMBERS).map(|_| Person::join(&room)).collect();
    let mut sockets: Vec<_> = people[..SENDERS].iter().map(Person::socket).collect();
    thread::scope(|scope| {
        for socket in &mut sockets {
            scope.spawn(move || {
                for number in 0..EACH {
                    writeln!(socket, "{number}").unwrap();
                }
                // A rename has its place in the order too.
                writeln!(socket, "/nick n{}", socket.local_addr().unwrap().port()).unwrap();
            });
        }
    });
    let mut orders = people.iter_mut().map(|person| {
        let mut renames = 0;
        let mut order = Vec::new();
        while renames < SENDERS || order.len() < SENDERS * (EACH + 1) {
            let line = person.hears();
            if !line.ends_with(" joined") {
                renames += usize::from(line.contains(" is now "));
                order.push(line);
            }
        }
        order
    });
    let first = orders.next().unwrap();
    for order in orders {
        assert!(order == first, "{order:?}\n{first:?}");
    }
}

/// D-22: one member that did not read froze the room for everybody.
#[test]
fn who_never_reads_is_cut_off_and_the_others_hear_everything() {
    const MESSAGES: usize = 2000;
    let limits = chat::limits().outbox_bytes(64 << 10);
    let room = open_with(Options::default().names(Names::Guest), limits);
    let sleeper = Person::join(&room);
    let mut ada = Person::join_as(&room, "ada");
    let mut bob = Person::join_as(&room, "bob");
    let text = "x".repeat(8000);
    for number in 0..MESSAGES {
        ada.sends(format!("{number} {text}\n"));
        let expected = format!("ada {number} {text}");
        ada.hears_until(|line| line == expected);
        bob.hears_until(|line| line == expected);
    }
    until("the sleeper gone", || {
        room.door().members() == ["ada", "bob"]
    });
    assert_eq!(room.handle().counters().cut, 1);
    // What it hears when it wakes ends, and is not the whole backlog.
    let mut rest = Vec::new();
    let _ = sleeper.socket().read_to_end(&mut rest);
    assert!(rest.len() < MESSAGES * text.len());
}

/// A thousand people, of whom one never reads; it comes by a Unix socket, whose buffers are small.
#[test]
fn a_thousand_members_hear_everything_in_one_order_beside_one_who_never_reads() {
    const MEMBERS: usize = 999;
    const ROUNDS: usize = 150;
    let name = format!("@chat-thousand-{}", std::process::id());
    let endpoints = [
        "tcp://127.0.0.1:0".parse().unwrap(),
        format!("unix://{name}").parse().unwrap(),
    ];
    let reasons = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&reasons);
    let observer = move |event: &Event<'_>| {
        if let Event::Ended { reason, .. } = event {
            seen.lock().unwrap().push(*reason);
        }
    };
    let limits = chat::limits().outbox_bytes(128 << 10);
    let set = |builder: Builder<_, _>| builder.limits(limits).observer(observer);
    let options = Options::default().names(Names::Guest);
    let (engine, transport) = (Reactor::new(2), chat::transport());
    let room = ChatServer::bind_on(engine, &transport, &endpoints, options, set);
    let room = room.unwrap().start().unwrap();

    let address = SocketAddr::from_abstract_name(&name.as_bytes()[1..]).unwrap();
    let _sleeper = UnixStream::connect_addr(&address).unwrap();
    until("the sleeper here", || room.door().len() == 1);
    let mut people: Vec<_> = (0..MEMBERS).map(|_| Person::join(&room)).collect();
    let text = "x".repeat(4000);
    for round in 0..ROUNDS {
        for sender in &mut people[..3] {
            sender.sends(format!("{round} {text}\n"));
        }
        let mut first = Vec::new();
        for (at, person) in people.iter_mut().enumerate() {
            let mut is_said = |line: &str| line.ends_with(&text);
            let order: Vec<_> = (0..3).map(|_| person.hears_until(&mut is_said)).collect();
            if at == 0 {
                first = order;
            } else {
                assert!(order == first, "another order in round {round}");
            }
        }
    }
    assert_eq!(room.door().len(), MEMBERS);
    assert_eq!(*reasons.lock().unwrap(), [EndReason::SlowConsumer]);
}

/// D-23: two senders tore each other's lines apart on a slow socket.
/// D-25: the rest of a message that was sent in part was lost.
#[test]
fn lines_reach_a_slow_reader_whole() {
    const EACH: usize = 300;
    let limits = chat::limits()
        .outbox_bytes(64 << 20)
        .outbox_messages(1 << 20);
    let room = open_with(Options::default().names(Names::Guest), limits);
    let mut slow = Person::join(&room);
    let mut senders: Vec<_> = (0..4).map(|_| Person::join(&room)).collect();
    thread::scope(|scope| {
        for (at, sender) in senders.iter_mut().enumerate() {
            scope.spawn(move || {
                let text = at.to_string().repeat(5000);
                for _ in 0..EACH {
                    sender.sends(format!("{text}\n"));
                    sender.hears_until(|line| line.ends_with(&text));
                }
            });
        }
    });
    let mut counts = [0; 4];
    while counts.iter().sum::<usize>() < 4 * EACH {
        let line = slow.hears();
        let Some((name, text)) = line.split_once(' ').filter(|(name, _)| *name != "*") else {
            continue;
        };
        let at = name
            .strip_prefix("guest-")
            .unwrap()
            .parse::<usize>()
            .unwrap()
            - 2;
        assert!(text == at.to_string().repeat(5000), "torn: {line}");
        counts[at] += 1;
    }
    assert_eq!(counts, [EACH; 4]);
}
