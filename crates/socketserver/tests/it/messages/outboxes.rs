//! Outboxes of message handlers: order, overflow, and nobody held up.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use socketserver::{Broadcast, EndReason, Next, Outbox, Overflow, PushError};

use super::{Call, Kind, Play, Stage, ask, patient, sentences};
use crate::support::{read_line, rest, until};

/// Hands its outbox out at the line `box`, and echoes all other lines.
fn with_outboxes(stage: Stage) -> (Play, mpsc::Receiver<Outbox>) {
    let (send, receive) = mpsc::channel();
    let play = stage.talk(move |call, peer| {
        match call {
            Call::Line(b"box\n") => {
                send.send(peer.outbox()?).unwrap();
                peer.write(b"ok\n")?;
            }
            Call::Line(line) => peer.write(line)?,
            _ => {}
        }
        Ok(Next::Continue)
    });
    (play, receive)
}

fn joined(play: &Play, outboxes: &mpsc::Receiver<Outbox>) -> (UnixStream, Outbox) {
    let mut client = play.connect();
    assert_eq!(ask(&mut client, "box\n"), "ok\n");
    (client, outboxes.recv().unwrap())
}

/// Fills the outbox until something waits in it that the kernel does not take.
fn fill(outbox: &Outbox, letter: u8) -> usize {
    let mut count = 0;
    let mut full_since = None;
    until("the kernel takes no more", || {
        if outbox.queued_bytes() == 0 {
            outbox.push(vec![letter; 1000]).unwrap();
            count += 1;
            full_since = None;
            return false;
        }
        full_since.get_or_insert_with(Instant::now).elapsed() > Duration::from_millis(30)
    });
    count
}

/// How many of each letter there are, in runs.
fn runs(bytes: &[u8]) -> Vec<(u8, usize)> {
    let mut runs: Vec<(u8, usize)> = Vec::new();
    for &byte in bytes {
        match runs.last_mut() {
            Some((last, count)) if *last == byte => *count += 1,
            _ => runs.push((byte, 1)),
        }
    }
    runs
}

sentences! {
    fn what_a_handler_writes_pushes_and_broadcasts_comes_in_that_order(kind) {
        let room = Broadcast::new();
        let joined = room.clone();
        let play = Stage::new(kind).serve(move || {
            let room = joined.clone();
            let mut membership = None;
            crate::messages::Talk(move |call: Call<'_>, peer: &mut socketserver::Peer<'_>| {
                match call {
                    Call::Setup => membership = Some(room.join(peer.outbox()?)?),
                    Call::Line(_) => {
                        let outbox = peer.outbox()?;
                        for round in 0..3 {
                            peer.write(format!("write {round}\n").as_bytes())?;
                            room.send(format!("send {round}\n").into_bytes());
                            outbox.push(format!("push {round}\n").into_bytes()).unwrap();
                            room.send(format!("send again {round}\n").into_bytes());
                            peer.write(format!("write again {round}\n").as_bytes())?;
                        }
                    }
                    Call::Finish => drop(membership.take()),
                    _ => {}
                }
                Ok(Next::Continue)
            })
        });
        let mut client = play.connect();
        // Several messages in one turn, too.
        client.write_all(b"go\ngo\ngo\n").unwrap();
        for _ in 0..3 {
            for round in 0..3 {
                for what in ["write", "send", "push", "send again", "write again"] {
                    assert_eq!(read_line(&mut client), format!("{what} {round}\n"), "{kind:?}");
                }
            }
        }
        drop(client);
        until("it has left", || room.is_empty());
        play.stop();
    }

    fn what_four_threads_push_arrives_whole_and_in_the_order_of_each(kind) {
        const EACH: usize = 300;
        let (play, outboxes) = with_outboxes(Stage::new(kind).limits(patient().outbox_bytes(64 << 20).outbox_messages(100_000)));
        let (client, outbox) = joined(&play, &outboxes);
        let pushers: Vec<_> = (0..4_u8).map(|number| {
            let outbox = outbox.clone();
            thread::spawn(move || {
                for count in 0..EACH {
                    let line = format!("{number} {count} {}\n", "x".repeat(count * 7 % 3000));
                    outbox.push(line.into_bytes()).unwrap();
                }
            })
        }).collect();
        let mut next = [0; 4];
        for line in BufReader::new(&client).lines().take(4 * EACH) {
            let line = line.unwrap();
            let mut words = line.split(' ');
            let number: usize = words.next().unwrap().parse().unwrap();
            let count: usize = words.next().unwrap().parse().unwrap();
            assert_eq!(count, next[number], "{kind:?}");
            assert_eq!(words.next().unwrap().len(), count * 7 % 3000);
            next[number] += 1;
        }
        for pusher in pushers {
            pusher.join().unwrap();
        }
        until("nothing waits", || outbox.queued_bytes() == 0);
        drop(client);
        until("it is closed", || outbox.is_closed());
        assert_eq!(outbox.push(*b"late"), Err(PushError::Closed));
        play.stop();
    }

    fn the_newest_are_dropped_where_that_is_the_policy(kind) {
        let limits = patient().outbox_messages(10);
        let (play, outboxes) = with_outboxes(Stage::new(kind).limits(limits));
        let (mut client, outbox) = joined(&play, &outboxes);
        outbox.set_overflow(Overflow::DropNewest);
        let filled = fill(&outbox, b'f');
        let mut taken = 0;
        for letter in b'a'..=b'z' {
            match outbox.push([letter; 100]) {
                Ok(()) => taken += 1,
                Err(error) => assert_eq!(error, PushError::Full),
            }
        }
        assert_eq!((taken, outbox.dropped()), (9, 17), "{kind:?}");
        let mut bytes = vec![0; filled * 1000 + 900];
        client.read_exact(&mut bytes).unwrap();
        let wanted: Vec<_> = (b'a'..=b'i').map(|letter| (letter, 100)).collect();
        assert_eq!(runs(&bytes)[1..], wanted, "{kind:?}");
        assert_eq!(ask(&mut client, "on\n"), "on\n");
        drop(client);
        play.stop();
    }

    fn the_oldest_are_dropped_where_that_is_the_policy(kind) {
        let limits = patient().outbox_messages(10);
        let (play, outboxes) = with_outboxes(Stage::new(kind).limits(limits));
        let (mut client, outbox) = joined(&play, &outboxes);
        outbox.set_overflow(Overflow::DropOldest);
        let filled = fill(&outbox, b'f');
        for letter in b'a'..=b'z' {
            outbox.push([letter; 100]).unwrap();
        }
        // The last that filled it waits whole, or has gone out in part.
        let dropped = outbox.dropped();
        assert!(dropped == 17 || dropped == 16, "{kind:?}: {dropped}");
        let last = *b"z";
        let mut bytes = Vec::new();
        let mut block = [0; 1000];
        while bytes.last() != last.first() || bytes.iter().filter(|&&byte| byte == b'z').count() < 100 {
            let count = client.read(&mut block).unwrap();
            bytes.extend_from_slice(&block[..count]);
        }
        let runs = runs(&bytes);
        assert!(runs[0].1 == filled * 1000 || runs[0].1 == (filled - 1) * 1000);
        assert!(runs.len() == 10 || runs.len() == 11, "{kind:?}: {runs:?}");
        assert!(runs[1..].iter().all(|&(_, count)| count == 100));
        assert_eq!(ask(&mut client, "on\n"), "on\n");
        drop(client);
        play.stop();
    }

    fn who_does_not_read_what_others_push_is_cut_off_where_that_is_the_policy(kind) {
        let (play, outboxes) = with_outboxes(Stage::new(kind).limits(patient().outbox_bytes(100_000)));
        let (client, outbox) = joined(&play, &outboxes);
        let mut result = Ok(());
        until("it is full", || {
            result = outbox.push(vec![b'x'; 10_000]);
            result.is_err()
        });
        assert_eq!(result, Err(PushError::Full));
        assert!(outbox.is_closed());
        drop(client);
        until("it is told", || play.record.ends() == [EndReason::SlowConsumer]);
        play.stop();
    }

    fn what_waits_in_an_outbox_at_the_end_is_sent_before_it(kind) {
        let play = Stage::new(kind).limits(patient().outbox_bytes(8 << 20)).talk(|call, peer| {
            if let Call::Line(_) = call {
                let outbox = peer.outbox()?;
                for letter in b'a'..=b'j' {
                    outbox.push(vec![letter; 200_000]).unwrap();
                }
                return Ok(Next::Close);
            }
            Ok(Next::Continue)
        });
        let mut client = play.connect();
        client.write_all(b"go\n").unwrap();
        let wanted: Vec<_> = (b'a'..=b'j').map(|letter| (letter, 200_000)).collect();
        assert_eq!(runs(&rest(&mut client).unwrap()), wanted, "{kind:?}");
        play.stop();
    }
}

sentences! { reactor:
    /// A turn's messages go out joined, but each is dropped and counted alone.
    fn messages_of_one_turn_are_dropped_one_by_one(kind) {
        let room = Broadcast::new();
        let speaks = room.clone();
        let (send, outboxes) = mpsc::channel();
        let limits = patient().outbox_messages(10).outbox_bytes(1 << 20);
        let play = Stage::new(kind).limits(limits).talk(move |call, peer| {
            match call {
                Call::Line(b"box\n") => {
                    send.send(peer.outbox()?).unwrap();
                    peer.write(b"ok\n")?;
                }
                Call::Line(_) => {
                    for letter in b'a'..=b'z' {
                        speaks.send([letter; 100]);
                    }
                    peer.write(b"said\n")?;
                }
                _ => {}
            }
            Ok(Next::Continue)
        });
        for policy in [Overflow::DropNewest, Overflow::DropOldest] {
            let (mut client, outbox) = joined(&play, &outboxes);
            let _membership = room.join(outbox.clone()).unwrap();
            outbox.set_overflow(policy);
            let filled = fill(&outbox, b'f');
            assert_eq!(ask(&mut play.connect(), "speak\n"), "said\n");
            until("it is dropped", || outbox.dropped() > 0);
            thread::sleep(Duration::from_millis(5));
            let dropped = outbox.dropped();
            if policy == Overflow::DropNewest {
                assert_eq!(dropped, 17, "{kind:?}");
            } else {
                assert!(dropped == 17 || dropped == 16, "{kind:?}: {dropped}");
            }
            let (first, last) = if policy == Overflow::DropNewest { (b'a', b'i') } else { (b'q', b'z') };
            let mut bytes = Vec::new();
            let mut block = [0; 1000];
            while bytes.iter().filter(|&&byte| byte == last).count() < 100 {
                let count = client.read(&mut block).unwrap();
                bytes.extend_from_slice(&block[..count]);
            }
            let runs = runs(&bytes);
            assert!(runs[0].1 + 1000 >= filled * 1000);
            assert!(runs[1].0 >= first && runs[1].0 <= first + 1, "{kind:?}: {runs:?}");
            assert!(runs[1..].iter().all(|&(_, count)| count == 100));
            assert_eq!(runs.last().unwrap().0, last);
        }
        play.stop();
    }
}

sentences! { parallel:
    /// Two rooms and three threads of its own push to one member that reads in fits and starts.
    fn nothing_tears_where_rooms_and_threads_push_to_the_same_member(kind) {
        const EACH: usize = 400;
        let rooms = [Broadcast::new(), Broadcast::new()];
        let speaks = rooms.clone();
        let (send, outboxes) = mpsc::channel();
        let limits = patient().outbox_messages(1 << 20).outbox_bytes(1 << 30);
        let play = Stage::new(kind).limits(limits).talk(move |call, peer| {
            match call {
                Call::Line(b"box\n") => {
                    send.send(peer.outbox()?).unwrap();
                    peer.write(b"ok\n")?;
                }
                Call::Line(line) => {
                    let room = usize::from(line[0] - b'0');
                    for _ in 0..2 {
                        let text = format!("{}{}\n", room, "r".repeat(line.len() * 97 % 5000));
                        speaks[room].send(text.into_bytes());
                    }
                }
                _ => {}
            }
            Ok(Next::Continue)
        });
        let (client, outbox) = joined(&play, &outboxes);
        let _memberships = rooms.clone().map(|room| room.join(outbox.clone()).unwrap());
        let speakers: Vec<_> = (0..2).map(|room| {
            let mut speaker = play.connect();
            thread::spawn(move || {
                for number in 0..EACH {
                    let line = format!("{room}{}\n", "x".repeat(number % 60));
                    speaker.write_all(line.as_bytes()).unwrap();
                }
                speaker
            })
        }).collect();
        let pushers: Vec<_> = (0..2).map(|number| {
            let outbox = outbox.clone();
            thread::spawn(move || {
                for count in 0..2 * EACH {
                    let text = format!("{}{}\n", number + 5, "p".repeat(count * 31 % 4000));
                    outbox.push(text.into_bytes()).unwrap();
                }
            })
        }).collect();
        let mut counts = [0; 10];
        for (at, line) in BufReader::new(&client).lines().take(8 * EACH).enumerate() {
            if at % 100 == 0 {
                thread::sleep(Duration::from_millis(1));
            }
            let line = line.unwrap();
            let first = line.as_bytes()[0];
            let letter = if first < b'5' { b'r' } else { b'p' };
            assert!(line.bytes().skip(1).all(|byte| byte == letter), "{kind:?}: a torn line");
            counts[usize::from(first - b'0')] += 1;
        }
        assert_eq!([counts[0], counts[1], counts[5], counts[6]], [2 * EACH; 4]);
        for pusher in pushers {
            pusher.join().unwrap();
        }
        for speaker in speakers {
            drop(speaker.join().unwrap());
        }
        assert_eq!(outbox.queued_bytes(), 0);
        drop(client);
        play.stop();
    }
}
