//! What a handler writes: in one piece where it can be, whole, and bounded.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::{Arc, OnceLock};
use std::thread;

use socketserver::codec::Chunks;
use socketserver::{MessageHandler, Next, Peer};

use super::{Call, Stage, sentences};
use crate::support::until;

struct Mirror;

impl MessageHandler for Mirror {
    type Codec = Chunks;

    fn handle(&mut self, bytes: &[u8], peer: &mut Peer<'_>) -> io::Result<Next> {
        peer.write(bytes)?;
        Ok(Next::Continue)
    }
}

/// So many bytes, of which no two near places look alike.
pub(super) fn pattern(count: usize) -> Vec<u8> {
    static PIECE: OnceLock<Vec<u8>> = OnceLock::new();
    let piece = PIECE.get_or_init(|| {
        let byte = |at: usize| (at * 31 + (at >> 8) * 7) % 251;
        (0..99_991)
            .map(|at| u8::try_from(byte(at)).unwrap())
            .collect()
    });
    let mut bytes = piece.repeat(count / piece.len() + 1);
    bytes.truncate(count);
    bytes
}

sentences! {
    fn ten_megabytes_come_back_whole_while_both_sides_send(kind) {
        const COUNT: usize = 10 << 20;
        let play = Stage::new(kind).serve(|| Mirror);
        let client = play.connect();
        let mut sender = client.try_clone().unwrap();
        let sending = thread::spawn(move || {
            sender.write_all(&pattern(COUNT)).unwrap();
            sender.shutdown(Shutdown::Write).unwrap();
        });
        let mut echoed = Vec::new();
        (&client).read_to_end(&mut echoed).unwrap();
        sending.join().unwrap();
        assert!(echoed == pattern(COUNT), "{kind:?}: {} bytes", echoed.len());
        play.stop();
    }

    fn who_reads_late_gets_all_of_a_large_answer(kind) {
        const COUNT: usize = 10 << 20;
        let answer: Arc<[u8]> = pattern(COUNT).into();
        let play = Stage::new(kind).talk(move |call, peer| {
            if let Call::Line(_) = call {
                peer.write(&answer)?;
            }
            Ok(Next::Continue)
        });
        let mut client = play.connect();
        client.write_all(b"go\n").unwrap();
        until("it has begun", || play.only().bytes_in == 3);
        let mut bytes = vec![0; COUNT];
        client.read_exact(&mut bytes).unwrap();
        assert!(bytes == pattern(COUNT), "{kind:?}");
        client.write_all(b"again\n").unwrap();
        client.read_exact(&mut bytes).unwrap();
        assert!(bytes == pattern(COUNT), "{kind:?}");
        drop(client);
        play.stop();
    }

    /// Each answer is small, and the peer reads all the time: it is no slow consumer.
    fn many_small_requests_at_once_may_have_answers_of_more_than_the_outbox_holds(kind) {
        const REQUESTS: usize = 60_000;
        let answer = [b'a'; 64];
        let play = Stage::new(kind).talk(move |call, peer| {
            if let Call::Line(_) = call {
                peer.write(&answer)?;
            }
            Ok(Next::Continue)
        });
        let client = play.connect();
        let mut sender = client.try_clone().unwrap();
        let sending = thread::spawn(move || {
            let _ = sender.write_all(&b"x\n".repeat(REQUESTS));
            let _ = sender.shutdown(Shutdown::Write);
        });
        let mut answers = Vec::new();
        (&client).read_to_end(&mut answers).unwrap();
        sending.join().unwrap();
        assert_eq!(answers.len(), REQUESTS * 64, "{kind:?}: {:?}", play.record.ends());
        play.stop();
    }
}
