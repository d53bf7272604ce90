//! Many at once: limits that hold, drippers that delay nobody, floods that are bounded.

use std::io::Write;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socketserver::{Builder, EndReason, Limits, Next, Reactor, Refusal, Running, Tcp};

use super::{Call, Kind, Stage, ask, echo, patient, sentences, talk};
use crate::support::{
    HOUR, Record, Told, address_of, connect, connect_to, read_line, rest, until, until_empty,
    within,
};

/// How many handlers there are, and were at most.
#[derive(Clone, Default)]
struct Crowd {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    served: Arc<AtomicUsize>,
}

impl Crowd {
    fn enter(&self) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
    }

    fn leave(&self) {
        self.now.fetch_sub(1, Ordering::SeqCst);
        self.served.fetch_add(1, Ordering::SeqCst);
    }
}

fn crowded(
    engine: Box<dyn socketserver::Engine>,
    limits: Limits,
    record: &Record,
) -> (Running, Crowd) {
    let crowd = Crowd::default();
    let counts = crowd.clone();
    let server = Builder::new(Tcp::default(), engine)
        .limits(limits)
        .observer(record.clone())
        .bind(
            "127.0.0.1:0",
            talk(move |call, peer| {
                match call {
                    Call::Setup => {
                        counts.enter();
                        peer.write(b"in\n")?;
                    }
                    Call::Line(line) => peer.write(line)?,
                    Call::Finish => counts.leave(),
                    _ => {}
                }
                Ok(Next::Continue)
            }),
        )
        .unwrap()
        .start()
        .unwrap();
    (server, crowd)
}

/// Comes, speaks and goes `times` times, in each of the ways of going.
fn come_and_go(address: std::net::SocketAddr, times: usize) {
    for number in 0..times {
        let mut client = connect_to(address);
        assert_eq!(read_line(&mut client), "in\n");
        client.write_all(b"me\n").unwrap();
        match number % 3 {
            0 => assert_eq!(read_line(&mut client), "me\n"),
            1 => {
                client.shutdown(Shutdown::Write).unwrap();
                assert_eq!(rest(&mut client).unwrap(), b"me\n");
            }
            _ => crate::support::reset(client),
        }
    }
}

#[test]
fn the_connection_limit_is_exact_over_three_loops_in_a_storm() {
    const LIMIT: usize = 7;
    let record = Record::default();
    let (server, crowd) = crowded(
        Box::new(Reactor::new(3)),
        Limits::default().connections(LIMIT),
        &record,
    );
    let address = address_of(&server);
    let clients: Vec<_> = (0..20)
        .map(|_| thread::spawn(move || come_and_go(address, 30)))
        .collect();
    while !clients.iter().all(thread::JoinHandle::is_finished) {
        let count = server.handle().connection_count();
        assert!(count <= LIMIT, "{count}");
        thread::sleep(Duration::from_micros(200));
    }
    for client in clients {
        client.join().unwrap();
    }
    until_empty(server.handle());
    let counts = [&crowd.most, &crowd.now, &crowd.served].map(|it| it.load(Ordering::SeqCst));
    assert_eq!(counts, [LIMIT, 0, 600]);
    assert_eq!(server.handle().counters().started, 600);
    until("all are told", || server.handle().counters().ended == 600);
    within(move || server.stop()).unwrap();
}

sentences! { parallel:
    fn an_address_has_so_many_connections_and_no_more(kind) {
        let record = Record::default();
        let limits = Limits::default().per_address(Some(3));
        let (server, _) = crowded(kind.engine(), limits, &record);
        let mut clients: Vec<_> = (0..3).map(|_| connect(&server)).collect();
        for client in &mut clients {
            assert_eq!(read_line(client), "in\n");
        }
        for _ in 0..5 {
            assert_eq!(rest(&mut connect(&server)).unwrap(), b"", "{kind:?}");
        }
        let refused = || record.times(&Told::Refused(Refusal::PerAddress));
        until("it is told", || refused() == 5);
        drop(clients.pop());
        until("a place is free", || server.handle().connection_count() == 2);
        assert_eq!(read_line(&mut connect(&server)), "in\n");
        drop(clients);
        within(move || server.stop()).unwrap();
    }

    /// What is kept of a peer that pipelines and does not read has a bound, and so has its time.
    fn who_pipelines_without_reading_is_bounded_and_cut_off(kind) {
        let limits = patient().write_timeout(Some(HOUR)).outbox_bytes(256 << 10);
        let play = Stage::new(kind).by_hand().limits(limits).talk(echo);
        let client = play.connect();
        let mut sender = client.try_clone().unwrap();
        let flooding = thread::spawn(move || {
            let lines = b"a line of some twenty bytes\n".repeat(1000);
            let mut sent = 0;
            while sender.write_all(&lines).is_ok() {
                sent += lines.len();
            }
            sent
        });
        let mut before = (0, 0);
        until("it is read no more", || {
            let info = play.only();
            let last = std::mem::replace(&mut before, (info.bytes_in, info.bytes_out));
            thread::sleep(Duration::from_millis(20));
            last == before && last.1 > 0
        });
        // What was read and not sent is in memory: one read, and the outbox; and what the kernel had
        // received into a ring's buffers by then.
        let lent = if kind == Kind::Ring { 4 << 20 } else { 0 };
        let kept = before.0 - before.1;
        assert!(kept <= (256 << 10) + (256 << 10) + (64 << 10) + lent, "{kind:?}: {kept} bytes");
        assert_eq!(play.record.ends(), []);
        // Others are served meanwhile.
        assert_eq!(ask(&mut play.connect(), "me\n"), "me\n");
        until("it is told", || {
            play.time.advance(HOUR / 2);
            play.record.ends().contains(&EndReason::WriteTimeout)
        });
        drop(client);
        flooding.join().unwrap();
        play.stop();
    }
}

/// `drippers` clients send half a message, byte by byte; `normal` ones ask and are answered meanwhile;
/// tells the longest that one of these waited for its answer. At the deadline all drippers are cut.
fn drip(reactor: Reactor, drippers: usize, normal: usize, rounds: usize) -> Duration {
    let limits = patient()
        .read_timeout(Some(HOUR))
        .idle_timeout(Some(HOUR))
        .connections(20_000);
    let play = Stage::with(Box::new(reactor))
        .by_hand()
        .limits(limits)
        .talk(echo);
    let mut dripping: Vec<_> = (0..drippers).map(|_| play.connect()).collect();
    let mut asking: Vec<_> = (0..normal).map(|_| play.connect()).collect();
    play.until_count(drippers + normal);
    let mut slowest = Duration::ZERO;
    for round in 0..rounds {
        for (number, client) in dripping.iter_mut().enumerate() {
            client.write_all(b".").unwrap();
            if number % (drippers / normal).max(1) == 0 {
                let client = &mut asking[number * normal / drippers];
                let began = Instant::now();
                assert_eq!(ask(client, "me\n"), "me\n");
                slowest = slowest.max(began.elapsed());
            }
        }
        until("all were heard", || {
            let infos = play.handle().connections();
            infos[..drippers]
                .iter()
                .all(|info| info.bytes_in > round as u64)
        });
        // A minute a byte: neither silent nor done.
        play.time.advance(HOUR / 60);
    }
    assert_eq!(play.record.ends(), []);
    // Only those that are in the middle of a message have their hour.
    for client in &mut asking {
        assert_eq!(ask(client, "me\n"), "me\n");
    }
    let left = HOUR / 60 * (60 - u32::try_from(rounds).unwrap());
    play.time.advance(left / 2);
    for client in &mut asking {
        assert_eq!(ask(client, "me\n"), "me\n");
    }
    play.time.advance(left / 2);
    for client in &mut dripping {
        assert_eq!(rest(client).unwrap(), b"", "it is cut");
    }
    drop(dripping);
    let cut = |reason: &EndReason| *reason == EndReason::ReadTimeout;
    until("all are told", || {
        play.record.ends().iter().filter(|it| cut(it)).count() == drippers
    });
    for client in &mut asking {
        assert_eq!(ask(client, "still here\n"), "still here\n");
    }
    drop(asking);
    play.stop();
    slowest
}

#[test]
fn drippers_delay_nobody_and_are_cut_at_their_deadline() {
    for reactor in [Reactor::new(1), Reactor::new(2)] {
        let slowest = drip(reactor, 1000, 50, 3);
        assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    }
}

/// By hand: `cargo test --release -p socketserver --test it -- --ignored --nocapture five_thousand`.
#[test]
#[ignore = "takes the descriptors of a whole process"]
fn five_thousand_drippers_delay_a_hundred_others_by_little() {
    for loops in 1..=2 {
        let slowest = drip(Reactor::new(loops), 5000, 100, 10);
        println!("{loops} loops: 5 000 drippers, the slowest of 100 others waited {slowest:?}");
    }
}
