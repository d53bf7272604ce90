//! What the tests share: bounded waits, clients with time limits, a record of events, child processes.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use socketserver::{
    Activity, BlockingEngine, Connection, EndReason, Event, Observer, Pool, Refusal, Running,
    Sequential, ServerHandle, Threading,
};

/// How long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// An hour, which no test waits for.
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// Waits until `condition` holds.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "it never happened: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Runs `call` and fails if it hangs.
pub(crate) fn within<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || send.send(call()));
    receive
        .recv_timeout(PATIENCE)
        .expect("it hangs, or it panicked")
}

/// A door that is opened once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latch(Arc<(Mutex<bool>, Condvar)>);

impl Latch {
    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// Waits until it is open.
    pub(crate) fn wait(&self) {
        let (is_open, changed) = &*self.0;
        let waited =
            changed.wait_timeout_while(is_open.lock().unwrap(), 2 * PATIENCE, |open| !*open);
        assert!(*waited.unwrap().0, "nobody opened the latch");
    }
}

/// What a [`Record`] keeps of an event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Told {
    AcceptFailed,
    AcceptPaused,
    AcceptResumed(u64),
    Ended {
        id: u64,
        reason: EndReason,
        bytes_in: u64,
        bytes_out: u64,
    },
    Failed(String),
    LimitLowered(usize, usize),
    LoopHeld(u64),
    Refused(Refusal),
    ReplyDropped,
    Started(u64),
}

/// An observer that writes everything down.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record(Arc<Mutex<Vec<Told>>>);

impl Observer for Record {
    fn event(&self, event: &Event<'_>) {
        let told = match event {
            Event::AcceptFailed { .. } => Told::AcceptFailed,
            Event::AcceptPaused { .. } => Told::AcceptPaused,
            Event::AcceptResumed { refused, .. } => Told::AcceptResumed(*refused),
            &Event::Ended {
                id,
                reason,
                bytes_in,
                bytes_out,
                ..
            } => Told::Ended {
                id,
                reason,
                bytes_in,
                bytes_out,
            },
            Event::Failed { error } => Told::Failed(error.to_string()),
            Event::LimitLowered { from, to } => Told::LimitLowered(*from, *to),
            Event::LoopHeld { id, .. } => Told::LoopHeld(*id),
            Event::Refused { reason, .. } => Told::Refused(*reason),
            Event::ReplyDropped { .. } => Told::ReplyDropped,
            Event::Started { id, .. } => Told::Started(*id),
            other => panic!("an event that no test knows: {other:?}"),
        };
        self.0.lock().unwrap().push(told);
    }
}

impl Record {
    pub(crate) fn all(&self) -> Vec<Told> {
        self.0.lock().unwrap().clone()
    }

    /// How often something like this was told.
    pub(crate) fn count(&self, wanted: impl Fn(&Told) -> bool) -> usize {
        self.all().iter().filter(|told| wanted(told)).count()
    }

    /// How often exactly this was told.
    pub(crate) fn times(&self, wanted: &Told) -> usize {
        self.count(|told| told == wanted)
    }

    /// Why the requests ended, in the order in which they did.
    pub(crate) fn ends(&self) -> Vec<EndReason> {
        let reason = |told| match told {
            Told::Ended { reason, .. } => Some(reason),
            _ => None,
        };
        self.all().into_iter().filter_map(reason).collect()
    }

    /// The texts of the failures.
    pub(crate) fn failures(&self) -> Vec<String> {
        let text = |told| match told {
            Told::Failed(text) => Some(text),
            _ => None,
        };
        self.all().into_iter().filter_map(text).collect()
    }
}

/// The engines that share memory; the pool greets, so that a newcomer's handler runs at once.
pub(crate) fn engines() -> Vec<Box<dyn BlockingEngine>> {
    vec![
        Box::new(Sequential),
        Box::new(Threading::default()),
        Box::new(Pool::new(4).greeting(true)),
    ]
}

/// The engines that serve several connections at once.
pub(crate) fn parallel_engines() -> Vec<Box<dyn BlockingEngine>> {
    let mut engines = engines();
    engines.remove(0);
    engines
}

/// Sends back what comes in.
pub(crate) fn echo(connection: &mut Connection) -> io::Result<()> {
    let (mut reader, mut writer) = connection.split();
    io::copy(&mut reader, &mut writer).map(drop)
}

/// Sends back each line.
pub(crate) fn echo_lines(connection: &mut Connection) -> io::Result<()> {
    let (reader, mut writer) = connection.split();
    for line in reader.lines() {
        let mut line = line?;
        line.push(b'\n');
        writer.write_all(&line)?;
    }
    Ok(())
}

/// Writes until the connection fails.
pub(crate) fn flood(connection: &mut Connection) -> io::Result<()> {
    let block = vec![b'x'; 64 << 10];
    loop {
        connection.writer().write_all(&block)?;
    }
}

/// The TCP address of a server's first endpoint.
pub(crate) fn address_of(server: &Running) -> SocketAddr {
    server.endpoint().address().inet().unwrap()
}

/// Connects to the first endpoint of a TCP server.
pub(crate) fn connect(server: &Running) -> TcpStream {
    connect_to(address_of(server))
}

/// Connects by TCP, with a bound on every wait.
pub(crate) fn connect_to(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.set_write_timeout(Some(PATIENCE)).unwrap();
    client
}

/// Connects by a Unix socket, with a bound on every wait.
pub(crate) fn connect_unix(path: &Path) -> UnixStream {
    bounded(UnixStream::connect(path).unwrap())
}

/// Bounds every wait of a Unix client.
pub(crate) fn bounded(client: UnixStream) -> UnixStream {
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.set_write_timeout(Some(PATIENCE)).unwrap();
    client
}

/// A client of either kind.
pub(crate) trait Client: Read + Write + Send {}
impl<C: Read + Write + Send> Client for C {}

/// Reads one line with its end; fails at the end of input.
pub(crate) fn read_line(client: &mut (impl Read + ?Sized)) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.last() != Some(&b'\n') {
        client.read_exact(&mut byte).unwrap();
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}

/// Sends `line` and reads one back.
pub(crate) fn ask(client: &mut (impl Client + ?Sized), line: &str) -> String {
    client.write_all(line.as_bytes()).unwrap();
    read_line(client)
}

/// Sends `bytes` and waits until the handler, having received all that was sent, waits for more.
pub(crate) fn send_and_wait(client: &mut TcpStream, server: &Running, bytes: &[u8]) {
    let received = || {
        server
            .handle()
            .connections()
            .first()
            .map_or(0, |info| info.bytes_in)
    };
    let before = received();
    client.write_all(bytes).unwrap();
    until("it waits for more", || {
        let infos = server.handle().connections();
        infos.iter().any(|info| {
            info.bytes_in == before + bytes.len() as u64 && info.activity == Activity::Reading
        })
    });
}

/// Reads to the end of input; a reset is an error.
pub(crate) fn rest(client: &mut (impl Read + ?Sized)) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).map(|_| bytes)
}

/// Closes with a reset instead of an end.
pub(crate) fn reset(client: TcpStream) {
    let linger = Some(Duration::ZERO);
    socket2::SockRef::from(&client).set_linger(linger).unwrap();
    drop(client);
}

/// Waits until nothing lives any more.
pub(crate) fn until_empty(handle: &ServerHandle) {
    until("nobody is connected", || handle.connection_count() == 0);
}

/// A directory of a test's own, removed at its end.
#[derive(Debug)]
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("socketserver-it-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Says in a child process which test it is to run.
const CHILD: &str = "SOCKETSERVER_TEST_CHILD";

/// Whether this process is a child that runs `test`.
pub(crate) fn is_child(test: &str) -> bool {
    std::env::var(CHILD).is_ok_and(|name| name == test)
}

/// This program again, in a process of its own, to run `test` alone.
pub(crate) fn child(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, test)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs `test` in a process of its own and fails as it does.
pub(crate) fn run_in_child(test: &str) {
    let mut command = child(test);
    let output = within(move || command.output().unwrap());
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && told.contains("1 passed"),
        "{told}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
