//! Where several things meet: two rooms and two loops, a timer in a pause at the end of the input, a
//! resumer that ends its own pause.

use std::io::Write;
use std::net::Shutdown;
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use socketserver::{Broadcast, Next};

use super::{Call, Kind, Stage, patient, sentences};
use crate::support::{read_line, rest};

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
