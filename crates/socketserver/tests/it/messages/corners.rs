//! Where several things meet: two rooms and two loops, a timer in a pause at the end of the input, a
//! resumer that ends its own pause.

use std::io::Write;
use std::sync::{Arc, Barrier, Mutex};

use socketserver::{Broadcast, Next};

use super::{Call, Kind, Stage, sentences};
use crate::support::read_line;

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
