//! Rooms of message handlers: one order, joined turns, nobody held up.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use socketserver::{Broadcast, Builder, EndReason, Membership, Next, Peer, Tcp};

use super::{Call, Play, Stage, Talk, ask, patient, sentences, talk};
use crate::support::{connect, read_line, until, within};

/// A chat room: `+` joins, `-` leaves, everything else is told to all; what it is told is answered by
/// `.` to who asked.
fn chat(stage: Stage, room: &Broadcast) -> Play {
    let room = room.clone();
    stage.serve(move || {
        let room = room.clone();
        let mut seat: Option<Membership> = None;
        Talk(move |call: Call<'_>, peer: &mut Peer<'_>| {
            if let Call::Line(line) = call {
                match line[0] {
                    b'+' => drop(seat.replace(room.join(peer.outbox()?)?)),
                    b'-' => drop(seat.take()),
                    b'.' => peer.write(b".\n")?,
                    b'!' => panic!("as it was told"),
                    _ => drop(room.send(line)),
                }
            }
            Ok(Next::Continue)
        })
    })
}

fn member(play: &Play) -> UnixStream {
    let mut client = play.connect();
    assert_eq!(ask(&mut client, "+\n.\n"), ".\n");
    client
}

sentences! {
    fn who_joins_and_leaves_in_one_turn_hears_what_was_said_between(kind) {
        let room = Broadcast::new();
        let play = chat(Stage::new(kind), &room);
        let mut client = play.connect();
        client.write_all(b"before\n+\none\ntwo\n-\nafter\n+\nthree\n-\n.\n").unwrap();
        for line in ["one\n", "two\n", "three\n", ".\n"] {
            assert_eq!(read_line(&mut client), line, "{kind:?}");
        }
        assert!(room.is_empty());
        drop(client);
        play.stop();
    }

    fn a_member_leaves_however_its_connection_ends(kind) {
        let room = Broadcast::new();
        let play = chat(Stage::new(kind), &room);
        for how in ["+\n", "+\n!\n", "+\nhalf a line"] {
            let mut client = play.connect();
            client.write_all(how.as_bytes()).unwrap();
            until("it was heard", || play.handle().counters().started > 0);
            drop(client);
            until("it has left", || room.is_empty() && play.handle().connection_count() == 0);
        }
        play.stop();
    }
}

sentences! { parallel:
    fn all_members_hear_all_speakers_in_one_order(kind) {
        const MEMBERS: usize = 40;
        const EACH: usize = 50;
        let room = Broadcast::new();
        let play = chat(Stage::new(kind), &room);
        let members: Vec<_> = (0..MEMBERS).map(|_| member(&play)).collect();
        let speakers: Vec<_> = (0..4).map(|number| {
            let mut speaker = play.connect();
            thread::spawn(move || {
                for count in 0..EACH {
                    let line = format!("{number} {count}\n");
                    speaker.write_all(line.as_bytes()).unwrap();
                }
                speaker
            })
        }).collect();
        // And a thread that is no loop's.
        for count in 0..EACH {
            let delivery = room.send(format!("4 {count}\n").into_bytes());
            assert_eq!((delivery.members, delivery.full), (MEMBERS, 0), "{kind:?}");
        }
        let heard: Vec<Vec<String>> = members.iter().map(|member| {
            BufReader::new(member).lines().take(5 * EACH).map(Result::unwrap).collect()
        }).collect();
        assert!(heard.iter().all(|lines| *lines == heard[0]), "{kind:?}: one order for all");
        let mut next = [0; 5];
        for line in &heard[0] {
            let (number, count) = line.split_once(' ').unwrap();
            let number: usize = number.parse().unwrap();
            assert_eq!(count, next[number].to_string(), "{kind:?}");
            next[number] += 1;
        }
        for speaker in speakers {
            drop(speaker.join().unwrap());
        }
        drop(members);
        until("all have left", || room.is_empty());
        play.stop();
    }

    fn a_member_that_never_reads_holds_nobody_up_and_is_cut_off(kind) {
        const LINES: usize = 2000;
        let room = Broadcast::new();
        let play = chat(Stage::new(kind).limits(patient()), &room);
        let sleeper = member(&play);
        let mut reader = member(&play);
        let mut speaker = play.connect();
        let line = [&[b'l'; 999][..], b"\n"].concat();
        let mut heard = vec![0; 10 * line.len()];
        for _ in 0..LINES / 10 {
            speaker.write_all(&line.repeat(10)).unwrap();
            reader.read_exact(&mut heard).unwrap();
            assert!(heard == line.repeat(10), "{kind:?}");
        }
        until("it is told", || play.record.ends() == [EndReason::SlowConsumer]);
        until("it has left", || room.len() == 1);
        drop((sleeper, reader, speaker));
        play.stop();
    }
}

sentences! { reactor:
    /// Counted in a turn as in no turn: all members.
    fn a_thousand_members_over_the_loops_hear_the_same(kind) {
        const MEMBERS: usize = 1000;
        let room = Broadcast::new();
        let play = chat(Stage::new(kind), &room);
        let mut members: Vec<_> = (0..MEMBERS).map(|_| {
            let mut client = play.connect();
            client.write_all(b"+\n").unwrap();
            client
        }).collect();
        until("all have joined", || room.len() == MEMBERS);
        members[7].write_all(b"hello\nall\nof you\n").unwrap();
        for member in &mut members {
            let mut text = [0; 17];
            member.read_exact(&mut text).unwrap();
            assert_eq!(&text, b"hello\nall\nof you\n", "{kind:?}");
        }
        let delivery = room.send(*b"bye\n");
        assert_eq!((delivery.members, delivery.full), (MEMBERS, 0));
        for member in &mut members {
            assert_eq!(read_line(member), "bye\n");
        }
        drop(members);
        until("all have left", || room.is_empty());
        play.stop();
    }

    /// Their lines fill a turn's share of input each time, and are answered by nothing.
    fn a_flood_does_not_starve_the_others_of_its_loop(kind) {
        let server = Builder::new(Tcp::default(), kind.engine())
            .bind("127.0.0.1:0", talk(|call, peer: &mut Peer<'_>| {
                if let Call::Line(b"me\n") = call {
                    peer.write(b"you\n")?;
                }
                Ok(Next::Continue)
            }))
            .unwrap()
            .start()
            .unwrap();
        let flooders: Vec<_> = (0..2).map(|_| {
            let client = connect(&server);
            let mut sender = client.try_clone().unwrap();
            let lines = b"flood\n".repeat(100_000);
            (client, thread::spawn(move || while sender.write_all(&lines).is_ok() {}))
        }).collect();
        until("they flood", || {
            let infos = server.handle().connections();
            infos.len() == 2 && infos.iter().all(|info| info.bytes_in > 1 << 20)
        });
        let mut slowest = Duration::ZERO;
        for _ in 0..3 {
            let mut client = connect(&server);
            for _ in 0..2 {
                let began = Instant::now();
                client.write_all(b"me\n").unwrap();
                assert_eq!(read_line(&mut client), "you\n");
                slowest = slowest.max(began.elapsed());
            }
        }
        // Twice a share of 256 KiB, and what a busy machine adds.
        assert!(slowest < Duration::from_secs(2), "{kind:?}: {slowest:?}");
        for (client, sending) in flooders {
            client.shutdown(std::net::Shutdown::Both).unwrap();
            sending.join().unwrap();
        }
        within(move || server.stop()).unwrap();
    }
}
