//! Pauses: nothing is heard meanwhile, nothing is lost, and each ends once.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use socketserver::{Activity, EndReason, Next, Outbox, Resumer};

use super::{Call, Play, Stage, ask, patient, sentences};
use crate::support::{HOUR, read_line, rest, until};

/// Pauses at the line `pause`, and hands the resumer out; echoes all other lines, and says `resumed`.
fn paused_by_line(stage: Stage) -> (Play, mpsc::Receiver<Resumer>) {
    let (send, receive) = mpsc::channel();
    let play = stage.talk(move |call, peer| {
        match call {
            Call::Line(b"pause\n") => {
                send.send(peer.resumer()).unwrap();
                return Ok(Next::Pause);
            }
            Call::Line(line) => peer.write(line)?,
            Call::Resumed => peer.write(b"resumed\n")?,
            Call::Tick => peer.write(b"tick\n")?,
            Call::Finish => peer.write(b"finish\n")?,
            _ => {}
        }
        Ok(Next::Continue)
    });
    (play, receive)
}

/// Whether nothing comes for a while.
fn hears_nothing(client: &mut impl Read) -> bool {
    let mut byte = [0];
    matches!(client.read(&mut byte), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

sentences! {
    fn nothing_is_heard_in_a_pause_and_what_came_meanwhile_is_heard_in_order(kind) {
        let (play, resumers) = paused_by_line(Stage::new(kind));
        let mut client = play.connect();
        client.write_all(b"one\npause\ntwo\nth").unwrap();
        assert_eq!(read_line(&mut client), "one\n");
        let resumer = resumers.recv().unwrap();
        client.write_all(b"ree\nfour\n").unwrap();
        client.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        assert!(hears_nothing(&mut client), "{kind:?}");
        client.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
        resumer.resume();
        for line in ["resumed\n", "two\n", "three\n", "four\n"] {
            assert_eq!(read_line(&mut client), line);
        }
        assert_eq!(ask(&mut client, "five\n"), "five\n");
        drop(client);
        play.stop();
    }

    fn a_resumer_that_is_dropped_ends_the_pause(kind) {
        let (play, resumers) = paused_by_line(Stage::new(kind));
        let mut client = play.connect();
        client.write_all(b"pause\n").unwrap();
        drop(resumers.recv().unwrap());
        assert_eq!(read_line(&mut client), "resumed\n");
        assert_eq!(ask(&mut client, "on\n"), "on\n");
        drop(client);
        play.stop();
    }

    fn a_pause_may_be_over_before_it_has_begun(kind) {
        let play = Stage::new(kind).talk(|call, peer| match call {
            Call::Line(_) => {
                peer.resumer().resume();
                Ok(Next::Pause)
            }
            Call::Resumed => {
                peer.write(b"resumed\n")?;
                Ok(Next::Continue)
            }
            _ => Ok(Next::Continue),
        });
        let mut client = play.connect();
        for _ in 0..3 {
            assert_eq!(ask(&mut client, "go\n"), "resumed\n");
        }
        drop(client);
        play.stop();
    }

    fn a_pause_without_a_resumer_is_over_at_once(kind) {
        let play = Stage::new(kind).talk(|call, peer| match call {
            Call::Line(line) => {
                peer.write(line)?;
                Ok(Next::Pause)
            }
            Call::Resumed => {
                peer.write(b"resumed\n")?;
                Ok(Next::Continue)
            }
            _ => Ok(Next::Continue),
        });
        let mut client = play.connect();
        client.write_all(b"one\ntwo\n").unwrap();
        for line in ["one\n", "resumed\n", "two\n", "resumed\n"] {
            assert_eq!(read_line(&mut client), line);
        }
        drop(client);
        play.stop();
    }

    fn the_resumer_of_an_earlier_pause_ends_no_later_one(kind) {
        let (play, resumers) = paused_by_line(Stage::new(kind));
        let mut client = play.connect();
        client.write_all(b"pause\n").unwrap();
        resumers.recv().unwrap().resume();
        assert_eq!(read_line(&mut client), "resumed\n");

        // One whose pause never began: the next one makes it void.
        let stale = Arc::new(Mutex::new(None));
        let keeps = Arc::clone(&stale);
        drop(client);
        play.stop();
        let (send, later) = mpsc::channel();
        let play = Stage::new(kind).talk(move |call, peer| match call {
            Call::Line(b"stale\n") => {
                *keeps.lock().unwrap() = Some(peer.resumer());
                peer.write(b"made\n")?;
                Ok(Next::Continue)
            }
            Call::Line(_) => {
                send.send(peer.resumer()).unwrap();
                Ok(Next::Pause)
            }
            Call::Resumed => {
                peer.write(b"resumed\n")?;
                Ok(Next::Continue)
            }
            _ => Ok(Next::Continue),
        });
        let mut client = play.connect();
        assert_eq!(ask(&mut client, "stale\n"), "made\n");
        client.write_all(b"pause\n").unwrap();
        let resumer = later.recv().unwrap();
        until("it is paused", || play.only().activity == Activity::Busy);
        drop(stale.lock().unwrap().take());
        client.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        assert!(hears_nothing(&mut client), "{kind:?}: the stale one ended the pause");
        client.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
        resumer.resume();
        assert_eq!(read_line(&mut client), "resumed\n");
        drop(client);
        play.stop();
    }

    /// The void one is dropped after the good one has done its work, and before the loop has looked.
    fn a_void_resumer_does_not_take_the_end_of_a_pause_back(kind) {
        let play = Stage::new(kind).talk(|call, peer| match call {
            Call::Line(_) => {
                let void = peer.resumer();
                peer.resumer().resume();
                drop(void);
                Ok(Next::Pause)
            }
            Call::Resumed => {
                peer.write(b"resumed\n")?;
                Ok(Next::Continue)
            }
            _ => Ok(Next::Continue),
        });
        let mut client = play.connect();
        assert_eq!(ask(&mut client, "go\n"), "resumed\n");
        drop(client);
        play.stop();
    }

    fn a_drain_waits_for_a_pause_and_then_ends_in_good_order(kind) {
        let (play, resumers) = paused_by_line(Stage::new(kind));
        let mut client = play.connect();
        client.write_all(b"pause\nafter\n").unwrap();
        let resumer = resumers.recv().unwrap();
        until("it is paused", || play.only().activity == Activity::Busy);
        play.handle().shutdown();
        assert!(!play.handle().wait(Duration::from_millis(20)), "{kind:?}");
        resumer.resume();
        assert_eq!(rest(&mut client).unwrap(), b"resumed\nafter\nfinish\n");
        let report = play.stop();
        assert_eq!((report.finished, report.idle_closed, report.forced, report.stuck), (1, 0, 0, 0));
    }

    fn a_paused_connection_can_be_cut_off(kind) {
        let (play, resumers) = paused_by_line(Stage::new(kind));
        let mut client = play.connect();
        client.write_all(b"pause\n").unwrap();
        let resumer = resumers.recv().unwrap();
        until("it is paused", || play.only().activity == Activity::Busy);
        assert!(play.handle().disconnect(play.only().id));
        until("it has ended", || play.record.ends() == [EndReason::Disconnected]);
        assert_eq!(rest(&mut client).unwrap(), b"");
        // It is for nobody any more.
        resumer.resume();
        assert_eq!(ask(&mut play.connect(), "next\n"), "next\n");
        play.stop();
    }

    fn a_paused_connection_whose_peer_is_gone_can_be_cut_off(kind) {
        let (play, resumers) = paused_by_line(Stage::new(kind));
        let mut client = play.connect();
        client.write_all(b"pause\n").unwrap();
        let resumer = resumers.recv().unwrap();
        until("it is paused", || play.only().activity == Activity::Busy);
        drop(client);
        // The engine may hear of that, or not.
        thread::sleep(Duration::from_millis(20));
        if let Some(info) = play.handle().connections().first() {
            play.handle().disconnect(info.id);
        }
        until("it has ended", || play.record.ends().len() == 1);
        drop(resumer);
        play.stop();
    }

    fn an_abort_ends_a_pause(kind) {
        let (play, resumers) = paused_by_line(Stage::new(kind));
        let mut client = play.connect();
        client.write_all(b"pause\n").unwrap();
        let _resumer = resumers.recv().unwrap();
        until("it is paused", || play.only().activity == Activity::Busy);
        play.handle().abort();
        let report = play.stop();
        assert_eq!((report.forced, report.stuck), (1, 0));
    }

    fn who_was_given_the_resumer_can_write_before_the_pause_ends(kind) {
        let (send, work) = mpsc::channel::<(Outbox, Resumer)>();
        let play = Stage::new(kind).talk(move |call, peer| match call {
            Call::Line(line) => {
                peer.write(line)?;
                let outbox = peer.outbox()?;
                send.send((outbox, peer.resumer())).unwrap();
                Ok(Next::Pause)
            }
            Call::Resumed => {
                peer.write(b"resumed\n")?;
                Ok(Next::Continue)
            }
            _ => Ok(Next::Continue),
        });
        let worker = thread::spawn(move || {
            for (outbox, resumer) in work {
                outbox.push(*b"worked\n").unwrap();
                resumer.resume();
            }
        });
        let mut client = play.connect();
        for round in 0..100 {
            let line = format!("{round}\n");
            assert_eq!(ask(&mut client, &line), line);
            assert_eq!(read_line(&mut client), "worked\n");
            assert_eq!(read_line(&mut client), "resumed\n");
        }
        drop(client);
        play.stop();
        worker.join().unwrap();
    }

    /// What the worker pushed fills the socket, and the pause ends while some of it waits.
    fn a_large_result_that_was_pushed_in_a_pause_arrives_whole(kind) {
        const PIECE: usize = 300_000;
        let (send, work) = mpsc::channel::<(Outbox, Resumer)>();
        let limits = patient().outbox_bytes(8 << 20);
        let play = Stage::new(kind).limits(limits).talk(move |call, peer| match call {
            Call::Line(_) => {
                let outbox = peer.outbox()?;
                send.send((outbox, peer.resumer())).unwrap();
                Ok(Next::Pause)
            }
            _ => Ok(Next::Continue),
        });
        let worker = thread::spawn(move || {
            for (outbox, resumer) in work {
                for letter in b'a'..b'g' {
                    outbox.push(vec![letter; PIECE]).unwrap();
                }
                resumer.resume();
            }
        });
        let mut client = play.connect();
        let wanted: Vec<u8> = (b'a'..b'g').flat_map(|letter| vec![letter; PIECE]).collect();
        for _ in 0..5 {
            client.write_all(b"go\n").unwrap();
            let mut result = vec![0; wanted.len()];
            client.read_exact(&mut result).unwrap();
            assert!(result == wanted, "{kind:?}");
        }
        drop(client);
        play.stop();
        worker.join().unwrap();
    }

    fn the_end_of_input_waits_for_the_end_of_a_pause(kind) {
        let (play, resumers) = paused_by_line(Stage::new(kind));
        let mut client = play.connect();
        client.write_all(b"pause\nlast\nrest").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let resumer = resumers.recv().unwrap();
        thread::sleep(Duration::from_millis(5));
        assert_eq!(play.handle().connection_count(), 1);
        resumer.resume();
        assert_eq!(rest(&mut client).unwrap(), b"resumed\nlast\nrestfinish\n");
        play.stop();
    }

    fn neither_the_idle_nor_the_message_timeout_runs_in_a_pause(kind) {
        let limits = patient().idle_timeout(Some(HOUR)).read_timeout(Some(HOUR));
        let (play, resumers) = paused_by_line(Stage::new(kind).limits(limits).by_hand());
        let mut client = play.connect();
        // The beginning of a message comes in with the one that pauses.
        client.write_all(b"pause\nbegi").unwrap();
        let resumer = resumers.recv().unwrap();
        until("it is paused", || play.only().activity == Activity::Busy);
        play.time.advance(3 * HOUR);
        thread::sleep(Duration::from_millis(5));
        assert_eq!(play.record.ends(), []);
        resumer.resume();
        assert_eq!(read_line(&mut client), "resumed\n");
        thread::sleep(Duration::from_millis(5));
        assert_eq!(play.record.ends(), [], "{kind:?}");
        assert_eq!(ask(&mut client, "n\n"), "begin\n", "{kind:?}");
        drop(client);
        play.stop();
    }

    /// The time for the work that the pause is for.
    fn a_timer_ticks_in_a_pause(kind) {
        let (send, resumers) = mpsc::channel();
        let play = Stage::new(kind).by_hand().limits(patient()).talk(move |call, peer| {
            match call {
                Call::Line(_) => {
                    peer.wake_after(HOUR);
                    send.send(peer.resumer()).unwrap();
                    return Ok(Next::Pause);
                }
                Call::Tick => {
                    peer.write(b"too late\n")?;
                    return Ok(Next::Close);
                }
                _ => {}
            }
            Ok(Next::Continue)
        });
        let mut client = play.connect();
        client.write_all(b"go\n").unwrap();
        let _resumer = resumers.recv().unwrap();
        until("it is paused", || play.only().activity == Activity::Busy);
        play.time.advance(HOUR);
        assert_eq!(rest(&mut client).unwrap(), b"too late\n");
        play.stop();
    }

    fn a_pause_may_follow_a_pause(kind) {
        let (send, resumers) = mpsc::channel();
        let mut left = 3;
        let play = Stage::new(kind).talk(move |call, peer| match call {
            Call::Line(_) | Call::Resumed => {
                if left == 0 {
                    peer.write(b"done\n")?;
                    return Ok(Next::Continue);
                }
                left -= 1;
                send.send(peer.resumer()).unwrap();
                Ok(Next::Pause)
            }
            _ => Ok(Next::Continue),
        });
        let mut client = play.connect();
        client.write_all(b"go\n").unwrap();
        for _ in 0..3 {
            resumers.recv().unwrap().resume();
        }
        assert_eq!(read_line(&mut client), "done\n");
        drop(client);
        play.stop();
    }
}
