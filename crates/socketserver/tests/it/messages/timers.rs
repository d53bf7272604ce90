//! Timers: a handler's own clock, moved by hand.

use std::io::Write;
use std::thread;
use std::time::Duration;

use socketserver::{EndReason, Next};

use super::{Call, Stage, ask, patient, sentences};
use crate::support::{HOUR, read_line, rest, until};

const DAY: Duration = Duration::from_secs(86_400);

/// Obeys: `h` wakes after an hour, `m` after a minute, `y` after 200 days, `f` in what is for ever,
/// `c` cancels; says what it was called for.
fn obey(stage: Stage) -> super::Play {
    stage.talk(|call, peer| {
        match call {
            Call::Line(line) => {
                match line[0] {
                    b'h' => peer.wake_after(HOUR),
                    b'm' => peer.wake_after(HOUR / 60),
                    b'y' => peer.wake_after(200 * DAY),
                    b'f' => peer.wake_after(Duration::MAX),
                    b'c' => peer.cancel_wake(),
                    b'i' => peer.set_idle_timeout(Some(HOUR)),
                    b'n' => peer.set_idle_timeout(None),
                    b'q' => return Ok(Next::Close),
                    _ => {}
                }
                peer.write(line)?;
            }
            Call::Tick => peer.write(b"tick\n")?,
            Call::Finish => peer.write(b"finish\n")?,
            _ => {}
        }
        Ok(Next::Continue)
    })
}

/// The connection waits for input, and its deadline stands.
fn waits(play: &super::Play) {
    until("it waits", || {
        play.only().activity == socketserver::Activity::Reading
    });
}

/// Time for what must not happen.
fn a_moment() {
    thread::sleep(Duration::from_millis(5));
}

sentences! {
    fn a_handler_is_woken_once_when_its_time_is_over_and_not_before(kind) {
        let play = obey(Stage::new(kind).by_hand().limits(patient()));
        let mut client = play.connect();
        assert_eq!(ask(&mut client, "h\n"), "h\n");
        play.time.advance(HOUR - Duration::from_millis(10));
        a_moment();
        assert_eq!(ask(&mut client, "x\n"), "x\n", "{kind:?}");
        play.time.advance(Duration::from_millis(10));
        assert_eq!(read_line(&mut client), "tick\n");
        play.time.advance(3 * HOUR);
        a_moment();
        assert_eq!(ask(&mut client, "x\n"), "x\n", "{kind:?}: it ticks once");
        drop(client);
        play.stop();
    }

    fn a_later_wake_replaces_an_earlier_one(kind) {
        let play = obey(Stage::new(kind).by_hand().limits(patient()));
        let mut client = play.connect();
        for (first, then) in [("h\n", "m\n"), ("m\n", "h\n"), ("y\n", "m\n"), ("f\n", "m\n"), ("y\n", "h\n")] {
            assert_eq!(ask(&mut client, first), first);
            assert_eq!(ask(&mut client, then), then);
            if then == "h\n" {
                play.time.advance(HOUR / 60);
                a_moment();
                assert_eq!(ask(&mut client, "x\n"), "x\n", "{kind:?} {first} {then}");
            }
            play.time.advance(if then == "h\n" { HOUR } else { HOUR / 60 });
            assert_eq!(read_line(&mut client), "tick\n", "{kind:?} {first} {then}");
        }
        drop(client);
        play.stop();
    }

    fn a_wake_that_is_taken_back_does_not_come(kind) {
        let play = obey(Stage::new(kind).by_hand().limits(patient()));
        let mut client = play.connect();
        assert_eq!(ask(&mut client, "h\n"), "h\n");
        assert_eq!(ask(&mut client, "c\n"), "c\n");
        play.time.advance(2 * HOUR);
        a_moment();
        assert_eq!(ask(&mut client, "x\n"), "x\n", "{kind:?}");
        assert_eq!(ask(&mut client, "m\n"), "m\n");
        play.time.advance(HOUR);
        assert_eq!(read_line(&mut client), "tick\n");
        drop(client);
        play.stop();
    }

    fn who_has_closed_is_woken_no_more(kind) {
        let play = obey(Stage::new(kind).by_hand().limits(patient()));
        let mut client = play.connect();
        client.write_all(b"h\nq\n").unwrap();
        until("it is closing", || {
            play.time.advance(2 * HOUR);
            play.record.ends().len() == 1
        });
        assert_eq!(rest(&mut client).unwrap(), b"h\nfinish\n");
        play.stop();
    }

    fn a_timer_ticks_in_the_middle_of_a_message(kind) {
        let play = obey(Stage::new(kind).by_hand().limits(patient()));
        let mut client = play.connect();
        assert_eq!(ask(&mut client, "h\n"), "h\n");
        client.write_all(b"half ").unwrap();
        until("it has come", || play.only().bytes_in == 7);
        a_moment();
        play.time.advance(HOUR);
        assert_eq!(read_line(&mut client), "tick\n");
        assert_eq!(ask(&mut client, "whole\n"), "half whole\n");
        drop(client);
        play.stop();
    }

    fn a_timer_can_be_set_again_in_its_tick(kind) {
        let play = Stage::new(kind).by_hand().limits(patient()).talk(|call, peer| {
            match call {
                Call::Setup => peer.wake_after(HOUR),
                Call::Tick => {
                    peer.write(b"tick\n")?;
                    peer.wake_after(HOUR);
                }
                _ => {}
            }
            Ok(Next::Continue)
        });
        let mut client = play.connect();
        until("it waits", || play.only().activity == socketserver::Activity::Reading);
        a_moment();
        for _ in 0..5 {
            play.time.advance(HOUR);
            assert_eq!(read_line(&mut client), "tick\n", "{kind:?}");
        }
        drop(client);
        play.stop();
    }

    fn a_tick_can_end_the_connection(kind) {
        let play = Stage::new(kind).by_hand().limits(patient()).talk(|call, peer| {
            match call {
                Call::Line(line) => {
                    peer.write(line)?;
                    peer.wake_after(HOUR);
                }
                Call::Tick => {
                    peer.write(b"time is up\n")?;
                    return Ok(Next::Close);
                }
                Call::Finish => peer.write(b"bye\n")?,
                _ => {}
            }
            Ok(Next::Continue)
        });
        let mut client = play.connect();
        assert_eq!(ask(&mut client, "go\n"), "go\n");
        a_moment();
        play.time.advance(HOUR);
        assert_eq!(rest(&mut client).unwrap(), b"time is up\nbye\n");
        drop(client);
        until("it is told", || play.record.ends() == [EndReason::Done]);
        play.stop();
    }

    fn a_connection_may_have_an_idle_timeout_of_its_own(kind) {
        let limits = patient().idle_timeout(Some(48 * HOUR));
        let play = obey(Stage::new(kind).by_hand().limits(limits));
        let mut client = play.connect();
        assert_eq!(ask(&mut client, "i\n"), "i\n");
        waits(&play);
        play.time.advance(HOUR / 2);
        a_moment();
        assert_eq!(ask(&mut client, "x\n"), "x\n");
        waits(&play);
        play.time.advance(HOUR * 3 / 4);
        a_moment();
        assert_eq!(play.record.ends(), [], "{kind:?}: it has spoken since");
        play.time.advance(HOUR / 4);
        assert_eq!(rest(&mut client).unwrap(), b"", "{kind:?}");
        drop(client);
        until("it is told", || play.record.ends() == [EndReason::IdleTimeout]);
        play.stop();
    }

    fn a_connection_may_be_free_of_the_idle_timeout(kind) {
        let limits = patient().idle_timeout(Some(HOUR));
        let play = obey(Stage::new(kind).by_hand().limits(limits));
        let mut client = play.connect();
        assert_eq!(ask(&mut client, "n\n"), "n\n");
        play.time.advance(100 * HOUR);
        a_moment();
        assert_eq!(play.record.ends(), [], "{kind:?}");
        // And take that back.
        assert_eq!(ask(&mut client, "i\n"), "i\n");
        waits(&play);
        play.time.advance(HOUR);
        assert_eq!(rest(&mut client).unwrap(), b"", "{kind:?}");
        drop(client);
        until("it is told", || play.record.ends() == [EndReason::IdleTimeout]);
        play.stop();
    }
}

sentences! { parallel:
    /// A tick is due though the input never runs dry.
    fn a_flood_of_input_does_not_hold_a_tick_up(kind) {
        let play = Stage::new(kind).talk(|call, peer| {
            match call {
                Call::Setup => peer.wake_after(Duration::from_millis(20)),
                Call::Tick => {
                    peer.write(b"tick\n")?;
                    return Ok(Next::Close);
                }
                _ => {}
            }
            Ok(Next::Continue)
        });
        let mut client = play.connect();
        let mut sender = client.try_clone().unwrap();
        let flooding = thread::spawn(move || {
            let lines = b"line\n".repeat(10_000);
            while sender.write_all(&lines).is_ok() {}
        });
        assert_eq!(read_line(&mut client), "tick\n", "{kind:?}");
        drop(client);
        until("it has ended", || play.record.ends().len() == 1);
        flooding.join().unwrap();
        play.stop();
    }
}
