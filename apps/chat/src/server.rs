//! The server of a room: from an endpoint to people who talk.
//!
//! The entry type is [`ChatServer`]; a program that has more to set gives it a transport, an engine
//! and settings of its own.

use std::fmt;
use std::io;
use std::time::Duration;

use socketserver::{
    AnyStream, Builder, DrainReport, Endpoint, Engine, Error, Limits, Reactor, Running, Server,
    ServerHandle, SharedMemory, Tcp,
};

use crate::door::{Door, Options};

/// The limits that suit a room: the library's, but a member may be silent as long as it likes.
///
/// One that has vanished is found by the keepalive of [`transport`], and at the next message.
pub fn limits() -> Limits {
    Limits::default().idle_timeout(None)
}

/// The transport that suits a room: the library's, with TCP's keepalive after a minute's silence.
pub fn transport() -> AnyStream {
    AnyStream {
        tcp: Tcp::default().keepalive(Some(Duration::from_secs(60))),
        ..AnyStream::default()
    }
}

/// A chat room that listens, and is served by the engine `E`.
///
/// ```
/// use chat::{ChatServer, Options};
/// use std::io::{BufRead, BufReader};
/// use std::net::TcpStream;
///
/// let endpoint = "tcp://127.0.0.1:0".parse()?;
/// let chat = ChatServer::bind(&[endpoint], Options::default())?.start()?;
///
/// let address = chat.endpoints()[0].address().inet().ok_or("no internet address")?;
/// let mut greeting = String::new();
/// BufReader::new(TcpStream::connect(address)?).read_line(&mut greeting)?;
/// assert!(greeting.starts_with("* Welcome. 1 here."));
///
/// let report = chat.stop()?;
/// assert_eq!(report.forced, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The members of a room share its memory, so an engine whose requests do not is refused:
///
/// ```compile_fail,E0277
/// use chat::{ChatServer, Options};
/// use socketserver::Forking;
///
/// let endpoint = "tcp://127.0.0.1:0".parse()?;
/// let (engine, transport) = (Forking::default(), chat::transport());
/// ChatServer::bind_on(engine, &transport, &[endpoint], Options::default(), |builder| builder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// With any other in the place of `Forking` it compiles, and with one that is chosen at run time:
///
/// ```
/// use chat::{ChatServer, Options};
/// use socketserver::{Reactor, SharedMemory, Threading};
///
/// let engine: Box<dyn SharedMemory> = if std::env::args().any(|it| it == "--threading") {
///     Box::new(Threading::default())
/// } else {
///     Box::new(Reactor::new(1))
/// };
/// let (endpoint, transport) = ("tcp://127.0.0.1:0".parse()?, chat::transport());
/// ChatServer::bind_on(engine, &transport, &[endpoint], Options::default(), |builder| builder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ChatServer<E = Reactor> {
    door: Door,
    server: Server<AnyStream, E>,
}

impl<E> fmt::Debug for ChatServer<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatServer")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl ChatServer {
    /// Opens a room at `endpoints` on event loops, one for each processor, with [`limits`] and [`transport`].
    ///
    /// # Errors
    ///
    /// [`Error::Bind`] if one of them is taken, not of this machine, not allowed, or for datagrams, or
    /// if there is none.
    pub fn bind(endpoints: &[Endpoint], options: Options) -> Result<Self, Error> {
        Self::bind_on(
            Reactor::default(),
            &transport(),
            endpoints,
            options,
            |builder| builder,
        )
    }
}

impl<E: SharedMemory> ChatServer<E> {
    /// Opens a room at `endpoints`, served by `engine`; `set` sets what else there is to set.
    ///
    /// On `Sequential`, which serves one connection at a time, it seats one member.
    /// The builder that `set` is given has [`limits`].
    ///
    /// # Errors
    ///
    /// As [`bind`](ChatServer::bind).
    pub fn bind_on(
        engine: E,
        transport: &AnyStream,
        endpoints: &[Endpoint],
        options: Options,
        set: impl FnOnce(Builder<AnyStream, E>) -> Builder<AnyStream, E>,
    ) -> Result<Self, Error> {
        let Some((first, others)) = endpoints.split_first() else {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "no endpoint was given");
            return Err(Error::Bind {
                endpoint: "nowhere".to_owned(),
                source,
            });
        };
        let door = Door::new(options);
        let visits = || {
            let door = door.clone();
            move || door.visit()
        };
        let builder = set(Builder::new(transport.clone(), engine).limits(limits()));
        let mut server = builder.bind(first, visits())?;
        for endpoint in others {
            server.listen(transport.clone(), endpoint, visits())?;
        }
        Ok(Self { door, server })
    }

    /// Serves until a shutdown, on this thread; see [`Server::serve_forever`].
    ///
    /// # Errors
    ///
    /// As [`Server::serve_forever`].
    pub fn serve_forever(&mut self) -> Result<DrainReport, Error> {
        self.server.serve_forever()
    }

    /// Serves on a thread of its own until it is stopped.
    ///
    /// # Errors
    ///
    /// [`Error::Loop`] if the thread cannot be started.
    pub fn start(self) -> Result<RunningChat, Error> {
        Ok(RunningChat {
            door: self.door,
            running: self.server.start()?,
        })
    }
}

impl<E: Engine> ChatServer<E> {
    /// Where it listens, with the real ports.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.server.endpoints()
    }

    /// A handle by which it can be stopped and looked into from anywhere.
    pub fn handle(&self) -> ServerHandle {
        self.server.handle()
    }

    /// The room.
    pub fn door(&self) -> &Door {
        &self.door
    }
}

/// A chat room that is being served on a thread of its own; dropped, it is told to stop.
#[derive(Debug)]
#[must_use = "dropped, the room closes"]
pub struct RunningChat {
    door: Door,
    running: Running,
}

impl RunningChat {
    /// Where it listens, with the real ports.
    pub fn endpoints(&self) -> &[Endpoint] {
        self.running.endpoints()
    }

    /// A handle by which it can be stopped and looked into from anywhere.
    pub fn handle(&self) -> &ServerHandle {
        self.running.handle()
    }

    /// The room.
    pub fn door(&self) -> &Door {
        &self.door
    }

    /// Tells the members that the server closes, lets them go, closes it, and tells how that went.
    ///
    /// # Errors
    ///
    /// What [`ChatServer::serve_forever`] returned.
    pub fn stop(self) -> Result<DrainReport, Error> {
        self.running.stop()
    }
}
