//! People in a chat room, for tests: each has a socket and patience.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use chat::{ChatServer, Options, RunningChat};
use socketserver::{Limits, Pool, Reactor, SharedMemory, Threading};

/// Longer than anything here takes, so that a test that fails does not hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A room that is open, on a port of its own.
pub(crate) fn open(options: Options) -> RunningChat {
    open_with(options, chat::limits())
}

/// A room with limits of the test's own.
pub(crate) fn open_with(options: Options, limits: Limits) -> RunningChat {
    // More than one loop on whatever machine.
    open_on(Box::new(Reactor::new(2)), options, limits)
}

/// A room on `engine`.
pub(crate) fn open_on(
    engine: Box<dyn SharedMemory>,
    options: Options,
    limits: Limits,
) -> RunningChat {
    let transport = chat::transport();
    let endpoint = "tcp://127.0.0.1:0".parse().unwrap();
    let set = |builder: socketserver::Builder<_, _>| builder.limits(limits);
    let server = ChatServer::bind_on(engine, &transport, &[endpoint], options, set).unwrap();
    server.start().unwrap()
}

/// The engines on which there can be a room, by name.
pub(crate) fn engines() -> [(&'static str, Box<dyn SharedMemory>); 4] {
    [
        ("threading", Box::new(Threading::default())),
        ("pool", Box::new(Pool::new(2))),
        ("one loop", Box::new(Reactor::new(1))),
        ("three loops", Box::new(Reactor::new(3))),
    ]
}

/// Where the first door of `server` is.
pub(crate) fn address(server: &RunningChat) -> SocketAddr {
    server.endpoints()[0].address().inet().unwrap()
}

/// Waits until `condition` holds.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::yield_now();
    }
}

/// Somebody who is connected.
#[derive(Debug)]
pub(crate) struct Person {
    stream: BufReader<TcpStream>,
}

impl Person {
    /// Connects, and reads nothing.
    pub(crate) fn connect(server: &RunningChat) -> Self {
        Self::connect_to(address(server))
    }

    pub(crate) fn connect_to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// Connects, and reads the greeting.
    pub(crate) fn join(server: &RunningChat) -> Self {
        let mut person = Self::connect(server);
        let greeting = person.hears();
        assert!(greeting.starts_with("* Welcome. "), "{greeting}");
        person
    }

    /// Connects to a plain room, and waits until it is a member.
    pub(crate) fn join_plain(server: &RunningChat) -> Self {
        let before = server.door().len();
        let person = Self::connect(server);
        until("a new member", || server.door().len() > before);
        person
    }

    /// Joins under a nickname.
    pub(crate) fn join_as(server: &RunningChat, name: &str) -> Self {
        let mut person = Self::join(server);
        person.sends(format!("/nick {name}\n"));
        let answer = person.hears_until(|line| line.contains(" is now "));
        assert!(answer.ends_with(&format!(" is now {name}")), "{answer}");
        person
    }

    /// Its `ADDRESS:PORT`.
    pub(crate) fn address(&self) -> String {
        self.stream.get_ref().local_addr().unwrap().to_string()
    }

    pub(crate) fn sends(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// The next line, without its end.
    pub(crate) fn hears(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line.strip_suffix('\n')
            .unwrap_or_else(|| panic!("no whole line: {line:?}"))
            .to_owned()
    }

    /// The first line of which `is_it` holds; the others are skipped.
    pub(crate) fn hears_until(&mut self, mut is_it: impl FnMut(&str) -> bool) -> String {
        loop {
            let line = self.hears();
            if is_it(&line) {
                return line;
            }
        }
    }

    /// The next `count` bytes.
    pub(crate) fn hears_bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// All that comes until the server closes; a reset ends it as well.
    pub(crate) fn hears_to_the_end(mut self) -> String {
        let mut bytes = Vec::new();
        if let Err(error) = self.stream.read_to_end(&mut bytes) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
        }
        String::from_utf8(bytes).unwrap()
    }

    /// Says that nothing more comes.
    pub(crate) fn ends_sending(&self) {
        self.stream.get_ref().shutdown(Shutdown::Write).unwrap();
    }

    /// Goes without a farewell: the server sees a reset.
    pub(crate) fn resets(self) {
        let linger = Some(Duration::ZERO);
        rustix::net::sockopt::set_socket_linger(self.stream.get_ref(), linger).unwrap();
    }

    /// Another handle on the socket.
    pub(crate) fn socket(&self) -> TcpStream {
        self.stream.get_ref().try_clone().unwrap()
    }
}
