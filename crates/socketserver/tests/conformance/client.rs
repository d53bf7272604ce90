//! A client of any transport. Nothing that it does waits for ever.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use socketserver::{Address, Endpoint, Scheme};

use crate::Outcome;

/// How long a test waits for something that should happen at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A client: a socket, and what it has received and not yet looked at.
pub(crate) struct Client {
    socket: Socket,
    received: Vec<u8>,
    is_datagram: bool,
    name: Option<PathBuf>,
}

impl Client {
    /// Connects to `endpoint`; a Unix datagram client binds to a name in `directory`, so that it can
    /// be answered.
    pub(crate) fn connect(endpoint: &Endpoint, directory: &Path) -> Outcome<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let mut client = Self::new(endpoint)?;
        if endpoint.scheme() == Scheme::UnixDatagram {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let name = directory.join(format!("client-{number}"));
            client.socket.bind(&SockAddr::unix(&name)?)?;
            client.name = Some(name);
        }
        client.attach(endpoint)
    }

    /// Connects to `endpoint` without a name of its own.
    pub(crate) fn connect_unnamed(endpoint: &Endpoint) -> Outcome<Self> {
        Self::new(endpoint)?.attach(endpoint)
    }

    fn new(endpoint: &Endpoint) -> Outcome<Self> {
        let domain = match endpoint.address() {
            Address::Inet(address) => Domain::for_address(*address),
            _ => Domain::UNIX,
        };
        let is_datagram = endpoint.scheme().is_datagram();
        let kind = if is_datagram {
            Type::DGRAM
        } else {
            Type::STREAM
        };
        let socket = Socket::new(domain, kind, None)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            socket,
            received: Vec::new(),
            is_datagram,
            name: None,
        })
    }

    fn attach(self, endpoint: &Endpoint) -> Outcome<Self> {
        let address = match endpoint.address() {
            Address::Inet(address) => SockAddr::from(*address),
            Address::Path(path) => SockAddr::unix(path)?,
            Address::Abstract(name) => {
                let name = [b"\0", &name[..]].concat();
                SockAddr::unix(String::from_utf8(name)?)?
            }
            other => return Err(format!("nobody can connect to {other}").into()),
        };
        self.socket.connect(&address)?;
        Ok(self)
    }

    /// The raw socket.
    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// What the server should see as its peer.
    pub(crate) fn address(&self) -> Outcome<String> {
        let address = self.socket.local_addr()?;
        Ok(match (address.as_socket(), &self.name) {
            (Some(address), _) => address.to_string(),
            (None, Some(name)) => name.display().to_string(),
            (None, None) => "unnamed".to_owned(),
        })
    }

    /// Sends a request and waits for its reply.
    pub(crate) fn ask(&mut self, text: &str) -> Outcome<String> {
        self.say(text)?;
        self.hear()
    }

    /// Sends a request: a line, or a datagram.
    pub(crate) fn say(&mut self, text: &str) -> Outcome {
        if self.is_datagram {
            self.send(text.as_bytes())
        } else {
            self.send(format!("{text}\n").as_bytes())
        }
    }

    /// Sends `bytes` as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Outcome {
        if self.is_datagram {
            self.socket.send(bytes)?;
        } else {
            self.socket.write_all(bytes)?;
        }
        Ok(())
    }

    /// Waits for a reply: a line, or a datagram.
    pub(crate) fn hear(&mut self) -> Outcome<String> {
        let bytes = if self.is_datagram {
            self.receive()?
        } else {
            self.line()?
        };
        Ok(String::from_utf8(bytes)?)
    }

    fn line(&mut self) -> Outcome<Vec<u8>> {
        let mut searched = 0;
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.received[searched..]) {
                let mut line: Vec<u8> = self.received.drain(..=searched + end).collect();
                line.pop();
                return Ok(line);
            }
            searched = self.received.len();
            let more = self.receive()?;
            if more.is_empty() {
                let left = String::from_utf8_lossy(&self.received).into_owned();
                return Err(
                    format!("the connection has ended before a reply, after {left:?}").into(),
                );
            }
            self.received.extend(more);
        }
    }

    /// Waits for something: a datagram, or some bytes, or, if empty, the end of the connection.
    pub(crate) fn receive(&mut self) -> Outcome<Vec<u8>> {
        self.receive_some(128 << 10)
    }

    /// As [`receive`](Self::receive), but at most so many bytes.
    pub(crate) fn receive_some(&mut self, at_most: usize) -> Outcome<Vec<u8>> {
        let mut buffer = vec![0; at_most];
        let count = self.socket.read(&mut buffer)?;
        buffer.truncate(count);
        Ok(buffer)
    }

    /// Waits for the end of the connection, which is not to be a reset; returns what came before it.
    pub(crate) fn rest(&mut self) -> Outcome<Vec<u8>> {
        let mut bytes = std::mem::take(&mut self.received);
        self.socket.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Waits for the end of the connection, before which nothing more is to come.
    pub(crate) fn hear_end(&mut self) -> Outcome {
        let rest = self.rest()?;
        if rest.is_empty() {
            return Ok(());
        }
        Err(format!("{:?} came before the end", String::from_utf8_lossy(&rest)).into())
    }

    /// Says that it will send no more.
    pub(crate) fn end_sending(&self) -> Outcome {
        Ok(self.socket.shutdown(Shutdown::Write)?)
    }

    /// Closes with a reset rather than in good order.
    pub(crate) fn reset(self) -> io::Result<()> {
        self.socket.set_linger(Some(Duration::ZERO))
    }
}
