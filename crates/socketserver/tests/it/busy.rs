//! A server of one thread whose handler never has to wait, and servers with nothing to do.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream as Pipe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use socketserver::testing::{Faults, FlakyListener, ManualClock};
use socketserver::{
    Builder, Connection, Datagram, DrainReport, EndReason, Hooks, Limits, Running, Sequential,
    ServerHandle, Tcp, Threading, Transport, Udp, handler_fn,
};

use crate::support::{HOUR, Record, connect_to, rest, until, within};

type Handle = fn(&mut Connection) -> io::Result<()>;

/// Reads byte by byte from a peer that has always sent more.
fn reads(connection: &mut Connection) -> io::Result<()> {
    let mut reader = connection.reader();
    while reader.read(&mut [0])? > 0 {}
    Ok(())
}

/// Writes byte by byte to a peer that always has room.
fn writes(connection: &mut Connection) -> io::Result<()> {
    loop {
        connection.writer().write_all(b"x")?;
    }
}

/// As [`writes`], where others may send, too.
fn writes_by_outbox(connection: &mut Connection) -> io::Result<()> {
    connection.outbox()?;
    writes(connection)
}

const TIRELESS: [Handle; 3] = [reads, writes, writes_by_outbox];

/// A peer that sends and reads as fast as it can, until it is cut off.
fn peer(address: SocketAddr) -> thread::JoinHandle<()> {
    let mut sends = connect_to(address);
    let mut receives = sends.try_clone().unwrap();
    thread::spawn(move || {
        let sending =
            thread::spawn(move || while sends.write_all(&vec![b'x'; 64 << 10]).is_ok() {});
        let mut block = vec![0; 1 << 20];
        while matches!(receives.read(&mut block), Ok(1..)) {}
        let _ = receives.shutdown(std::net::Shutdown::Both);
        sending.join().unwrap();
    })
}

/// A server whose one thread is at work for a peer that never lets it wait.
struct Occupied {
    server: Running,
    peer: thread::JoinHandle<()>,
    time: ManualClock,
    record: Record,
}

impl Occupied {
    fn new(
        handle: Handle,
        set: impl FnOnce(Builder<Tcp, Sequential>) -> Builder<Tcp, Sequential>,
    ) -> Self {
        let (time, record) = (ManualClock::new(), Record::default());
        let builder = Builder::new(Tcp::default(), Sequential)
            .clock(time.clock())
            .observer(record.clone())
            .limits(limits());
        let server = set(builder)
            .bind("127.0.0.1:0", handler_fn(handle))
            .unwrap()
            .start()
            .unwrap();
        let peer = peer(crate::support::address_of(&server));
        until("it is at work", || {
            let infos = server.handle().connections();
            infos
                .iter()
                .any(|info| info.bytes_in + info.bytes_out > 100)
        });
        Self {
            server,
            peer,
            time,
            record,
        }
    }

    fn end(self) -> DrainReport {
        let report = within(move || self.server.wait()).unwrap();
        within(move || self.peer.join().unwrap());
        report
    }
}

fn limits() -> Limits {
    Limits::default()
        .idle_timeout(None)
        .read_timeout(None)
        .write_timeout(None)
}

#[test]
fn a_handler_that_never_waits_is_stopped_at_the_end_of_the_drain() {
    for handle in TIRELESS {
        let occupied = Occupied::new(handle, |builder| builder.drain_timeout(HOUR));
        let server = occupied.server.handle().clone();
        server.shutdown();
        until("the drain is over", || {
            occupied.time.advance(HOUR);
            server.wait(Duration::ZERO)
        });
        let report = occupied.end();
        assert_eq!(report.finished + report.forced, 1);
        assert_eq!(report.stuck, 0);
    }
}

#[test]
fn a_handler_that_never_waits_is_stopped_by_an_abort() {
    for handle in TIRELESS {
        let occupied = Occupied::new(handle, |builder| builder);
        occupied.server.handle().abort();
        let report = occupied.end();
        assert_eq!((report.forced, report.stuck), (1, 0));
    }
}

#[test]
fn a_handler_that_never_waits_is_cut_at_the_request_timeout() {
    for handle in TIRELESS {
        let limits = limits().request_timeout(Some(HOUR));
        let occupied = Occupied::new(handle, |builder| builder.limits(limits));
        occupied.time.advance(HOUR);
        until("it is cut", || !occupied.record.ends().is_empty());
        assert_eq!(occupied.record.ends(), [EndReason::RequestTimeout]);
        occupied.server.handle().shutdown();
        occupied.end();
    }
}

#[test]
fn a_watch_is_heard_while_a_handler_never_waits() {
    for handle in TIRELESS {
        let (ours, mut theirs) = Pipe::pair().unwrap();
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let occupied = Occupied::new(handle, |builder| {
            builder.watch(ours, move |server| {
                counted.fetch_add(1, Ordering::SeqCst);
                server.abort();
                ControlFlow::Break(())
            })
        });
        theirs.write_all(b"!").unwrap();
        occupied.end();
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }
}

/// How the queue of a server ends that asks itself another question with each answer.
fn ends_though_its_queue_never_does(
    end: impl Fn(&ServerHandle, &ManualClock) + Clone + Send + Sync + 'static,
) {
    let time = ManualClock::new();
    let answered = Arc::new(AtomicUsize::new(0));
    let (counted, clock) = (Arc::clone(&answered), time.clone());
    let again = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
    let ask = move |datagram: &mut Datagram| {
        let server = datagram.server();
        again.send_to(b"again", server.endpoints()[0].address().inet().unwrap())?;
        match counted.fetch_add(1, Ordering::SeqCst) {
            5 => server.shutdown(),
            10 => end(server, &clock),
            _ => {}
        }
        // It is work, and takes its time.
        thread::sleep(Duration::from_millis(1));
        Ok(())
    };
    let server = Builder::new(Udp::default(), Sequential)
        .clock(time.clock())
        .drain_timeout(HOUR)
        .bind("127.0.0.1:0", handler_fn(ask))
        .unwrap()
        .start()
        .unwrap();
    let first = UdpSocket::bind("127.0.0.1:0").unwrap();
    first
        .send_to(b"first", crate::support::address_of(&server))
        .unwrap();
    within(move || server.wait()).unwrap();
    let answered = answered.load(Ordering::SeqCst);
    assert!((10..500).contains(&answered), "{answered} were answered");
}

#[test]
fn a_drain_of_a_queue_that_never_empties_ends_at_its_deadline() {
    ends_though_its_queue_never_does(|_, time| time.advance(HOUR));
}

#[test]
fn a_drain_of_a_queue_that_never_empties_ends_by_an_abort() {
    ends_though_its_queue_never_does(|server, _| server.abort());
}

#[test]
fn a_watch_is_heard_though_a_queue_never_empties() {
    let (ours, theirs) = Pipe::pair().unwrap();
    let answered = Arc::new(AtomicUsize::new(0));
    let (counted, theirs) = (Arc::clone(&answered), Arc::new(theirs));
    let again = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
    let ask = move |datagram: &mut Datagram| {
        let address = datagram.server().endpoints()[0].address().inet();
        again.send_to(b"again", address.unwrap())?;
        if counted.fetch_add(1, Ordering::SeqCst) == 5 {
            (&*theirs).write_all(b"!")?;
        }
        // It is work, and takes its time.
        thread::sleep(Duration::from_millis(10));
        Ok(())
    };
    let server = Builder::new(Udp::default(), Sequential)
        .watch(ours, |server| {
            server.abort();
            ControlFlow::Break(())
        })
        .bind("127.0.0.1:0", handler_fn(ask))
        .unwrap()
        .start()
        .unwrap();
    let first = UdpSocket::bind("127.0.0.1:0").unwrap();
    first
        .send_to(b"first", crate::support::address_of(&server))
        .unwrap();
    within(move || server.wait()).unwrap();
    let answered = answered.load(Ordering::SeqCst);
    assert!((6..30).contains(&answered), "{answered} were answered");
}

/// Counts the turns of the loop.
#[derive(Clone, Default)]
struct Turns(Arc<AtomicUsize>);

impl Hooks for Turns {
    fn service_actions(&self, _: &ServerHandle) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Turns {
    /// How many turns a loop with nothing to do makes in a while.
    fn in_a_while(&self) -> usize {
        let before = self.0.load(Ordering::Relaxed);
        thread::sleep(Duration::from_millis(300));
        self.0.load(Ordering::Relaxed) - before
    }
}

#[test]
fn after_a_shortage_a_loop_without_clients_rests() {
    const EMFILE: i32 = 24;
    let (faults, turns) = (Faults::new(), Turns::default());
    let address: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let inner = Tcp::default().bind(&address.into()).unwrap();
    let server = Builder::new(Tcp::default(), Threading::default())
        .hooks(turns.clone())
        .service_interval(HOUR)
        .listener(FlakyListener::new(inner, faults.clone()), handler_fn(reads))
        .unwrap()
        .start()
        .unwrap();
    faults.push(EMFILE);
    faults.push(EMFILE);
    let mut refused = crate::support::connect(&server);
    // The second fault refuses who waits, and so nobody is there when the pause ends.
    assert_eq!(rest(&mut refused).unwrap(), b"");
    // The pause is a fifth of a second; whether it is over makes no difference to an idle loop.
    turns.in_a_while();
    let turned = turns.in_a_while();
    assert!(turned < 100, "{turned} turns for nobody");
    let next: TcpStream = crate::support::connect(&server);
    drop(next);
    until("the next is served", || {
        server.handle().counters().started == 1
    });
    within(move || server.stop()).unwrap();
}
