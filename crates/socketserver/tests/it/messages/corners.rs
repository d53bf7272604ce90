//! Where several things meet: two rooms and two loops, a timer in a pause at the end of the input, a
//! resumer that ends its own pause.

use std::fs::File;
use std::io::Write;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, mpsc};
use std::time::Duration;

use socketserver::{Broadcast, Builder, Driver, Next, Reactor, Tcp};

use super::{Call, Kind, Stage, ask, echo, patient, sentences, talk};
use crate::support::{connect, read_line, rest, until, within};

/// Two clients who are served by two threads each leave the other's room for their own.
fn changes_rooms(kind: Kind) {
    let rooms = [Broadcast::new(), Broadcast::new()];
    let seats = Arc::new(Mutex::new(Vec::new()));
    let meet = Arc::new(Barrier::new(2));
    let play = Stage::new(kind).talk(move |call, peer| {
        if let Call::Line(line) = call {
            let (from, to) = if line == b"0\n" { (0, 1) } else { (1, 0) };
            rooms[from].send(*b"somebody leaves\n");
            meet.wait();
            let outbox = peer.outbox()?;
            let welcome = outbox.clone();
            let seat = rooms[to].join_with(outbox, || {
                meet.wait();
                let _ = welcome.push(*b"welcome\n");
            })?;
            seats.lock().unwrap().push(seat);
        }
        Ok(Next::Continue)
    });
    let mut clients = [play.connect(), play.connect()];
    clients[0].write_all(b"0\n").unwrap();
    clients[1].write_all(b"1\n").unwrap();
    for client in &mut clients {
        assert_eq!(read_line(client), "welcome\n", "{kind:?}");
    }
    drop(clients);
    play.stop();
}

sentences! { several:
    fn two_who_change_rooms_at_once_do_not_wait_for_each_other(kind) {
        changes_rooms(kind);
    }
}

sentences! {
    fn a_timer_ticks_in_a_pause_though_the_peer_has_ended_its_side(kind) {
        let mut calls = 0;
        let play = Stage::new(kind).limits(patient()).talk(move |call, peer| match call {
            Call::Line(_) => {
                // Nobody ends the pause.
                std::mem::forget(peer.resumer());
                peer.wake_after(Duration::from_millis(20));
                Ok(Next::Pause)
            }
            Call::Tick => {
                calls += 1;
                peer.write(b"tick\n")?;
                if calls == 2 {
                    return Ok(Next::Close);
                }
                peer.wake_after(Duration::from_millis(20));
                Ok(Next::Continue)
            }
            _ => Ok(Next::Continue),
        });
        let mut client = play.connect();
        // The end of its input ends the line, too.
        client.write_all(b"work").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(&mut client).unwrap(), b"tick\ntick\n", "{kind:?}");
        play.stop();
    }
}

#[test]
fn the_number_of_a_descriptor_that_closes_is_nobody_elses_while_the_kernel_may_be_asked_to_read_it()
{
    let (send, resumers) = mpsc::channel();
    let (gate, blocked) = (Latches::default(), Latches::default());
    let (opens, tells) = (gate.clone(), blocked.clone());
    let is_next_to_hold = Arc::new(AtomicBool::new(false));
    let holds = Arc::clone(&is_next_to_hold);
    let handler = talk(move |call, peer| match call {
        Call::Line(b"pause\n") => {
            send.send((peer.id(), peer.resumer())).unwrap();
            Ok(Next::Pause)
        }
        Call::Setup if holds.swap(false, Ordering::SeqCst) => {
            tells.open();
            opens.wait();
            Ok(Next::Continue)
        }
        call => echo(call, peer),
    });
    let engine = Reactor::new(1).driver(Driver::Uring);
    let server = Builder::new(Tcp::default(), engine);
    let server = server
        .bind("127.0.0.1:0", handler)
        .unwrap()
        .start()
        .unwrap();
    for round in 0..20 {
        let mut client = connect(&server);
        client.write_all(b"pause\n").unwrap();
        let (id, resumer) = resumers.recv().unwrap();
        // While the loop is held up by a newcomer, there comes what it will do before it accepts the
        // next one.
        is_next_to_hold.store(true, Ordering::SeqCst);
        let holder = connect(&server);
        blocked.wait();
        resumer.resume();
        server.handle().disconnect(id);
        let mut next = connect(&server);
        next.write_all(b"hello\n").unwrap();
        // The next number that is free is to be that of the one that closes.
        let files: Vec<_> = (0..64).map(|_| File::open("/dev/null").unwrap()).collect();
        gate.open();
        assert_eq!(read_line(&mut next), "hello\n", "round {round}");
        drop((files, holder));
    }
    within(move || server.stop()).unwrap();
}

/// A door that each opening opens once.
#[derive(Clone, Default)]
struct Latches(Arc<(Mutex<usize>, Condvar)>);

impl Latches {
    fn open(&self) {
        *self.0.0.lock().unwrap() += 1;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let (count, changed) = &*self.0;
        let mut count = changed
            .wait_while(count.lock().unwrap(), |it| *it == 0)
            .unwrap();
        *count -= 1;
    }
}

sentences! { parallel:
    fn who_pauses_for_ever_and_resumes_itself_holds_up_nobody(kind) {
        let play = Stage::new(kind).talk(|call, peer| match call {
            Call::Line(b"round and round\n") | Call::Resumed => {
                peer.resumer().resume();
                Ok(Next::Pause)
            }
            call => echo(call, peer),
        });
        let mut busy: Vec<_> = (0..6).map(|_| play.connect()).collect();
        let mut other: Vec<_> = (0..2).map(|_| play.connect()).collect();
        for client in &mut busy {
            client.write_all(b"round and round\n").unwrap();
        }
        for client in &mut other {
            for _ in 0..10 {
                assert_eq!(ask(client, "hello\n"), "hello\n", "{kind:?}");
            }
        }
        for info in play.handle().connections() {
            play.handle().disconnect(info.id);
        }
        play.until_count(0);
        play.stop();
    }
}

#[test]
fn several_floods_do_not_starve_who_says_little_on_a_ring() {
    let server = Builder::new(Tcp::default(), Reactor::new(1).driver(Driver::Uring))
        .bind(
            "127.0.0.1:0",
            talk(|call, peer| {
                if let Call::Line(b"me\n") = call {
                    peer.write(b"you\n")?;
                }
                Ok(Next::Continue)
            }),
        )
        .unwrap()
        .start()
        .unwrap();
    let flooders: Vec<_> = (0..8)
        .map(|_| {
            let client = connect(&server);
            let mut sender = client.try_clone().unwrap();
            let lines = b"flood\n".repeat(100_000);
            let sending = std::thread::spawn(move || while sender.write_all(&lines).is_ok() {});
            (client, sending)
        })
        .collect();
    until("all flood", || {
        let infos = server.handle().connections();
        infos.len() == 8 && infos.iter().all(|info| info.bytes_in > 1 << 20)
    });
    for _ in 0..3 {
        // It fails if no answer comes within the tests' patience.
        let mut client = connect(&server);
        for _ in 0..2 {
            client.write_all(b"me\n").unwrap();
            assert_eq!(read_line(&mut client), "you\n");
        }
    }
    for (client, sending) in flooders {
        client.shutdown(Shutdown::Both).unwrap();
        sending.join().unwrap();
    }
    within(move || server.stop()).unwrap();
}
