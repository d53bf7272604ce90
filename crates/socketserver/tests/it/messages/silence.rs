//! Timeouts of message handlers' connections; hours pass in milliseconds.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use socketserver::{Activity, EndReason, Limits, Next, Outbox};

use super::{Call, Kind, Play, Stage, ask, echo, patient, sentences};
use crate::support::{HOUR, rest, until};

/// Time for what must not happen.
fn a_moment() {
    thread::sleep(Duration::from_millis(5));
}

/// The only connection is cut for `reason` when the hour is over, and not before.
fn ends_after_an_hour(play: &Play, reason: EndReason) {
    play.time.advance(HOUR / 60 * 59);
    a_moment();
    assert_eq!(play.record.ends(), [], "a minute is left");
    play.time.advance(HOUR / 60);
    // Silence is told late by a sixty-fourth at most.
    play.time.advance(HOUR / 60);
    until("the hour is over", || {
        let infos = play.handle().connections();
        infos.iter().all(|info| info.activity == Activity::Closing)
    });
    until("it is told", || {
        play.time.advance(Duration::from_secs(1));
        !play.record.ends().is_empty()
    });
    assert_eq!(play.record.ends(), [reason]);
}

fn hears(play: &Play, bytes: u64) {
    until("it was heard and waits", || {
        let infos = play.handle().connections();
        infos
            .first()
            .is_some_and(|info| info.bytes_in == bytes && info.activity == Activity::Reading)
    });
}

/// Sends `block` for ever, as fast as it can, to a client that need not read.
fn floods(limits: Limits, kind: Kind) -> Play {
    let block = vec![b'x'; 100_000];
    Stage::new(kind)
        .by_hand()
        .limits(limits)
        .talk(move |call, peer| {
            if let Call::Line(_) = call {
                peer.write(&block)?;
            }
            Ok(Next::Continue)
        })
}

sentences! {
    fn silence_ends_a_connection(kind) {
        let play = Stage::new(kind).by_hand().limits(patient().idle_timeout(Some(HOUR))).talk(echo);
        let mut client = play.connect();
        hears(&play, 0);
        ends_after_an_hour(&play, EndReason::IdleTimeout);
        assert_eq!(rest(&mut client).unwrap(), b"");
        assert_eq!(play.record.failures().len(), 1);
        play.stop();
    }

    fn silence_counts_from_the_last_byte(kind) {
        let play = Stage::new(kind).by_hand().limits(patient().idle_timeout(Some(HOUR))).talk(echo);
        let mut client = play.connect();
        for _ in 0..3 {
            assert_eq!(ask(&mut client, "on\n"), "on\n");
            until("it waits", || play.only().activity == Activity::Reading);
            play.time.advance(HOUR * 3 / 4);
            a_moment();
        }
        assert_eq!(ask(&mut client, "on\n"), "on\n", "{kind:?}");
        hears(&play, 12);
        ends_after_an_hour(&play, EndReason::IdleTimeout);
        play.stop();
    }

    /// Each byte comes well within the idle timeout, and the message never ends.
    fn who_drips_is_cut_when_the_message_has_taken_too_long(kind) {
        let limits = patient().idle_timeout(Some(HOUR)).read_timeout(Some(HOUR));
        let play = Stage::new(kind).by_hand().limits(limits).talk(echo);
        let mut client = play.connect();
        for number in 1..=5 {
            client.write_all(b".").unwrap();
            hears(&play, number);
            assert_eq!(play.record.ends(), [], "{kind:?}");
            play.time.advance(HOUR / 5);
        }
        assert_eq!(rest(&mut client).unwrap(), b"", "{kind:?}");
        drop(client);
        until("it is told", || play.record.ends() == [EndReason::ReadTimeout]);
        play.stop();
    }

    /// Its messages are slow, but each ends in time.
    fn each_message_has_a_time_of_its_own(kind) {
        let limits = patient().read_timeout(Some(HOUR));
        let play = Stage::new(kind).by_hand().limits(limits).talk(echo);
        let mut client = play.connect();
        client.write_all(b"a").unwrap();
        hears(&play, 1);
        for number in 1..6 {
            play.time.advance(HOUR * 3 / 4);
            a_moment();
            assert_eq!(ask(&mut client, "b\na"), "ab\n", "{kind:?}");
            hears(&play, 1 + 3 * number);
        }
        assert_eq!(play.record.ends(), []);
        play.time.advance(HOUR);
        assert_eq!(rest(&mut client).unwrap(), b"", "{kind:?}");
        drop(client);
        until("it is told", || play.record.ends() == [EndReason::ReadTimeout]);
        play.stop();
    }

    fn who_never_reads_is_cut_at_the_write_timeout(kind) {
        let play = floods(patient().write_timeout(Some(HOUR)), kind);
        let mut client = play.connect();
        client.write_all(&b"x\n".repeat(100)).unwrap();
        let mut sent = 0;
        until("nothing goes out any more", || {
            let before = std::mem::replace(&mut sent, play.only().bytes_out);
            thread::sleep(Duration::from_millis(2));
            sent > 0 && before == sent
        });
        ends_after_an_hour(&play, EndReason::WriteTimeout);
        drop(client);
        play.stop();
    }

    fn who_reads_a_little_in_each_hour_is_not_cut(kind) {
        let limits = patient().write_timeout(Some(HOUR)).idle_timeout(Some(HOUR));
        let play = floods(limits, kind);
        let mut client = play.connect();
        client.write_all(&b"x\n".repeat(30)).unwrap();
        let mut left = vec![0; 30 * 100_000];
        for piece in left.chunks_mut(100_000) {
            client.read_exact(piece).unwrap();
            a_moment();
            assert_eq!(play.record.ends(), [], "{kind:?}");
            play.time.advance(HOUR / 5);
            a_moment();
        }
        // It has been silent for six hours, but it was busy reading.
        assert_eq!(play.record.ends(), [], "{kind:?}");
        client.write_all(b"x\n").unwrap();
        client.read_exact(&mut left[..100_000]).unwrap();
        drop(client);
        play.stop();
    }

    fn a_connection_may_live_so_long_and_no_longer(kind) {
        let play = Stage::new(kind).by_hand().limits(patient().request_timeout(Some(HOUR))).talk(echo);
        let mut client = play.connect();
        for _ in 0..3 {
            assert_eq!(ask(&mut client, "on\n"), "on\n");
            play.time.advance(HOUR / 4);
        }
        assert_eq!(play.record.ends(), []);
        play.time.advance(HOUR / 4);
        until("it is told", || play.record.ends() == [EndReason::RequestTimeout]);
        assert_eq!(rest(&mut client).unwrap(), b"");
        play.stop();
    }

    /// What others push waits already when the handler's own answer comes behind it.
    fn who_never_reads_is_cut_though_others_filled_its_outbox_first(kind) {
        let (send, receive) = mpsc::channel::<Outbox>();
        let limits = patient().write_timeout(Some(HOUR));
        let play = Stage::new(kind).by_hand().limits(limits).talk(move |call, peer| {
            match call {
                Call::Setup => send.send(peer.outbox()?).unwrap(),
                Call::Line(_) => peer.write(&vec![b'o'; 50_000])?,
                _ => {}
            }
            Ok(Next::Continue)
        });
        let mut client = play.connect();
        let outbox = receive.recv().unwrap();
        until("much waits", || {
            outbox.push(vec![b'p'; 100_000]).unwrap();
            outbox.queued_bytes() > 600_000
        });
        a_moment();
        client.write_all(b"x\n").unwrap();
        until("it was heard", || play.only().bytes_in == 2);
        a_moment();
        until("it is told", || {
            play.time.advance(HOUR / 2);
            play.record.ends() == [EndReason::WriteTimeout]
        });
        drop(client);
        play.stop();
    }

    /// No write timeout: nothing but the handler's own wish keeps track of what it owes.
    fn an_unended_last_message_with_a_large_answer_ends_the_connection(kind) {
        const ANSWER: usize = 3 << 20;
        let limits = patient().outbox_bytes(64 << 10);
        let play = Stage::new(kind).limits(limits).talk(|call, peer| {
            match call {
                Call::Setup => drop(peer.outbox()?),
                Call::Line(_) => peer.write(&vec![b'a'; ANSWER])?,
                _ => {}
            }
            Ok(Next::Continue)
        });
        let mut client = play.connect();
        client.write_all(b"no end").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        until("it was heard", || play.only().bytes_out > 0);
        assert_eq!(rest(&mut client).unwrap().len(), ANSWER, "{kind:?}");
        play.stop();
    }

}
