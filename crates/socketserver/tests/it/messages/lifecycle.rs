//! How servers of message handlers end and begin again, and that they leave nothing behind.

use std::fs;
use std::io::Write;
use std::net::Shutdown;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use socketserver::{Activity, Builder, EndReason, Engine, Next, Outbox, Server, Tcp};

use super::{Call, Kind, Stage, ask, echo, patient, sentences, talk};
use crate::support::{Latch, connect_to, is_child, read_line, rest, run_in_child, until, within};

sentences! {
    fn an_idle_connection_is_closed_at_a_shutdown(kind) {
        let play = Stage::new(kind).talk(|call, peer| {
            match call {
                Call::Line(line) => peer.write(line)?,
                Call::Finish => {
                    assert!(peer.is_draining());
                    peer.write(b"bye\n")?;
                }
                _ => {}
            }
            Ok(Next::Continue)
        });
        let mut client = play.connect();
        assert_eq!(ask(&mut client, "hi\n"), "hi\n");
        until("it waits", || play.only().activity == Activity::Reading);
        let (handle, record) = (play.handle().clone(), play.record.clone());
        handle.shutdown();
        assert_eq!(rest(&mut client).unwrap(), b"bye\n");
        drop(client);
        let report = play.stop();
        assert_eq!((report.idle_closed, report.finished, report.forced, report.stuck), (1, 0, 0, 0), "{kind:?}");
        assert_eq!(record.ends(), [EndReason::Drained]);
    }

    fn stop_from_a_handler_ends_the_server_in_good_order(kind) {
        let play = Stage::new(kind).talk(|call, peer| match call {
            Call::Line(b"stop\n") => {
                peer.write(b"as you wish\n")?;
                Ok(Next::Stop)
            }
            Call::Line(line) => {
                peer.write(line)?;
                Ok(Next::Continue)
            }
            Call::Finish => {
                peer.write(b"bye\n")?;
                Ok(Next::Continue)
            }
            _ => Ok(Next::Continue),
        });
        let mut other = (kind != Kind::Sequential).then(|| {
            let mut other = play.connect();
            assert_eq!(ask(&mut other, "hi\n"), "hi\n");
            other
        });
        let mut client = play.connect();
        client.write_all(b"on\nstop\nnever heard\n").unwrap();
        assert_eq!(rest(&mut client).unwrap(), b"on\nas you wish\nbye\n", "{kind:?}");
        if let Some(other) = &mut other {
            assert_eq!(rest(other).unwrap(), b"bye\n", "{kind:?}");
        }
        drop((client, other));
        let (record, server) = (play.record, play.server);
        within(move || server.wait()).unwrap();
        assert_eq!(record.failures(), [""; 0], "{kind:?}: it is no failure");
    }

    fn messages_that_came_before_a_shutdown_are_answered(kind) {
        let (latch, entered) = (Latch::default(), Latch::default());
        let (waits, enters) = (latch.clone(), entered.clone());
        let play = Stage::new(kind).talk(move |call, peer| {
            match call {
                Call::Line(b"wait\n") => {
                    enters.open();
                    waits.wait();
                    peer.write(b"waited\n")?;
                }
                Call::Line(line) => peer.write(line)?,
                Call::Finish => peer.write(b"bye\n")?,
                _ => {}
            }
            Ok(Next::Continue)
        });
        let mut client = play.connect();
        client.write_all(b"wait\n").unwrap();
        entered.wait();
        client.write_all(b"one\ntwo\n").unwrap();
        play.handle().shutdown();
        latch.open();
        assert_eq!(rest(&mut client).unwrap(), b"waited\none\ntwo\nbye\n", "{kind:?}");
        drop(client);
        let report = play.stop();
        assert_eq!((report.forced, report.stuck, report.finished + report.idle_closed), (0, 0, 1), "{kind:?}");
    }

    fn who_reads_slowly_gets_the_rest_in_a_drain(kind) {
        const ANSWER: usize = 4 << 20;
        let play = Stage::new(kind).talk(|call, peer| {
            if let Call::Line(_) = call {
                peer.write(&vec![b'a'; ANSWER])?;
            }
            Ok(Next::Continue)
        });
        let mut client = play.connect();
        client.write_all(b"go\n").unwrap();
        until("it was heard", || play.only().bytes_in == 3);
        until("it waits for the peer", || play.only().activity == Activity::Writing);
        play.handle().shutdown();
        assert!(!play.handle().wait(Duration::from_millis(10)));
        assert_eq!(rest(&mut client).unwrap().len(), ANSWER, "{kind:?}");
        drop(client);
        let report = play.stop();
        assert_eq!((report.finished, report.forced, report.stuck), (1, 0, 0), "{kind:?}: {report:?}");
    }

    fn who_does_not_read_at_all_is_forced_at_the_end_of_the_drain(kind) {
        let play = Stage::new(kind).drain_timeout(Duration::from_millis(30)).talk(|call, peer| {
            if let Call::Line(_) = call {
                peer.write(&vec![b'a'; 4 << 20])?;
            }
            Ok(Next::Continue)
        });
        let mut client = play.connect();
        client.write_all(b"go\n").unwrap();
        until("it waits for the peer", || play.only().activity == Activity::Writing);
        let report = play.stop();
        assert_eq!((report.forced, report.stuck), (1, 0), "{kind:?}: {report:?}");
        drop(client);
    }

    fn an_abort_cuts_everybody_off(kind) {
        let play = Stage::new(kind).talk(|call, peer| {
            match call {
                Call::Line(b"much\n") => peer.write(&vec![b'a'; 4 << 20])?,
                Call::Line(line) => peer.write(line)?,
                _ => {}
            }
            Ok(Next::Continue)
        });
        let mut idle = play.connect();
        assert_eq!(ask(&mut idle, "hi\n"), "hi\n");
        let busy = (kind != Kind::Sequential).then(|| {
            let mut busy = play.connect();
            busy.write_all(b"much\n").unwrap();
            until("it waits for the peer", || {
                let infos = play.handle().connections();
                infos.iter().any(|info| info.bytes_in == 5 && info.activity == Activity::Writing)
            });
            busy
        });
        play.handle().abort();
        let report = play.stop();
        assert_eq!(report.stuck, 0, "{kind:?}: {report:?}");
        let ended = report.forced + report.idle_closed + report.finished;
        assert_eq!(ended, 1 + usize::from(busy.is_some()), "{kind:?}: {report:?}");
        drop((idle, busy));
    }

    /// In a process of its own, whose descriptors and threads are nobody else's.
    fn a_server_may_serve_again_and_leaves_nothing_behind(kind) {
        let name = thread::current().name().unwrap().to_owned();
        if !is_child(&name) {
            return run_in_child(&name);
        }
        let count = |what: &str| fs::read_dir(format!("/proc/self/{what}")).unwrap().count();
        // What the first use of anything leaves for good does not count.
        runs_thrice(kind);
        let before = (count("fd"), count("task"));
        runs_thrice(kind);
        until("all threads have gone", || (count("fd"), count("task")) == before);
    }
}

/// Serves thrice with one server, each time on a thread of its own; ends it by `close`, and another by
/// a drop.
fn runs_thrice(kind: Kind) {
    for closes in [true, false] {
        let mut server: Server<Tcp, Box<dyn Engine>> = Builder::new(Tcp::default(), kind.engine())
            .bind("127.0.0.1:0", talk(echo))
            .unwrap();
        let address = server.local_address().inet().unwrap();
        for _ in 0..3 {
            let handle = server.handle();
            let thread = thread::spawn(move || {
                let report = server.serve_forever().unwrap();
                (server, report)
            });
            let mut clients: Vec<_> = (0..5).map(|_| connect_to(address)).collect();
            for client in &mut clients {
                client.write_all(b"hi\n").unwrap();
                if kind != Kind::Sequential {
                    assert_eq!(read_line(client), "hi\n");
                }
            }
            handle.shutdown();
            let (it, report) = within(move || thread.join().unwrap());
            server = it;
            assert_eq!((report.forced, report.stuck), (0, 0), "{kind:?}");
            for mut client in clients {
                let _ = rest(&mut client);
            }
        }
        if closes {
            server.close().unwrap();
        }
    }
}

/// The outbox, the resumer and the handle of a server that is gone are of no use, and do no harm.
#[test]
fn what_is_left_of_a_server_that_is_gone_is_harmless() {
    for kind in [
        Kind::Threading,
        Kind::Pool,
        Kind::Reactor,
        Kind::TwoLoops,
        Kind::Ring,
    ] {
        let (send, receive) = mpsc::channel::<(Outbox, _)>();
        let play = Stage::new(kind).limits(patient()).talk(move |call, peer| {
            if let Call::Line(_) = call {
                send.send((peer.outbox()?, peer.resumer())).unwrap();
                return Ok(Next::Pause);
            }
            Ok(Next::Continue)
        });
        let mut client = play.connect();
        client.write_all(b"go\n").unwrap();
        let (outbox, resumer) = receive.recv().unwrap();
        let handle = play.handle().clone();
        handle.abort();
        play.stop();
        assert!(outbox.push(*b"late").is_err(), "{kind:?}");
        resumer.resume();
        assert!(!handle.disconnect(1));
        drop(client);
    }
}

#[test]
fn half_closed_peers_get_their_answers() {
    for kind in [Kind::Threading, Kind::Pool, Kind::Reactor, Kind::Ring] {
        let play = Stage::new(kind).talk(echo);
        for _ in 0..50 {
            let mut client = play.connect();
            client.write_all(b"one\ntwo\n").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(rest(&mut client).unwrap(), b"one\ntwo\n");
        }
        play.stop();
    }
}
