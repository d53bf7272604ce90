//! What the server commands share: engine, listeners, signals, console, and the run itself.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::process::{Resource, Rlimit};
use socketserver::signal::{INTERRUPT, Signals, TERMINATE};
use socketserver::{
    AnyDatagram, AnyStream, Builder, Datagram, DrainReport, Driver, Endpoint, Engine, Error,
    Forking, MessageHandler, Pool, Reactor, RequestHandler, Sequential, Served, Server,
    ServerHandle, SharedMemory, Tcp, Threading, Transport, UnixStream,
};

use crate::Failure;
use crate::arguments::{DriverName, EngineName, ServeArguments};
use crate::console::{self, Console};
use crate::log::{self, Sink};

/// A server whose transport and engine were chosen on the command line.
pub(crate) type AnyServer = Server<AnyStream, Box<dyn Engine>>;

/// A silence after which a vanished peer's machine is asked whether it still lives.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Starts the log, and lets the process have as many descriptors as it may.
pub(crate) fn prepare(arguments: &ServeArguments) -> Sink {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let _ = rustix::process::setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
    log::start(&arguments.log)
}

/// The engine that was asked for.
pub(crate) fn engine(arguments: &ServeArguments) -> Box<dyn Engine> {
    match shared_engine(arguments) {
        Some(engine) => engine,
        None => Box::new(Forking::default().max_children(usize::from(arguments.max_children))),
    }
}

/// The engine that was asked for, unless its requests share no memory.
pub(crate) fn shared_engine(arguments: &ServeArguments) -> Option<Box<dyn SharedMemory>> {
    let threads = arguments.threads.map(usize::from);
    Some(match arguments.engine {
        EngineName::Sequential => Box::new(Sequential),
        EngineName::Threading => Box::new(Threading::default()),
        EngineName::Forking => return None,
        EngineName::Pool => Box::new(threads.map_or_else(Pool::default, Pool::new)),
        EngineName::Reactor => {
            let reactor = threads.map_or_else(Reactor::default, Reactor::new);
            Box::new(reactor.driver(match arguments.driver {
                None | Some(DriverName::Epoll) => Driver::Epoll,
                Some(DriverName::Uring) => Driver::Uring,
            }))
        }
    })
}

/// The transport of streams, with the options that were asked for.
pub(crate) fn streams(arguments: &ServeArguments) -> AnyStream {
    AnyStream {
        tcp: Tcp::default()
            .backlog(arguments.backlog)
            .keepalive(Some(KEEPALIVE)),
        unix: UnixStream::default().backlog(arguments.backlog),
    }
}

/// Makes a server that listens at every endpoint that was asked for.
pub(crate) fn server<S, D>(
    arguments: &ServeArguments,
    builder: Builder<AnyStream, Box<dyn Engine>>,
    stream: impl Fn() -> S + Clone + Send + Sync + 'static,
    datagram: impl Fn() -> D + Clone + Send + Sync + 'static,
) -> Result<AnyServer, Failure>
where
    S: MessageHandler,
    D: RequestHandler<Datagram> + 'static,
{
    let mut server = builder.build()?;
    for endpoint in &arguments.listen {
        if endpoint.scheme().is_datagram() {
            server.listen(AnyDatagram::default(), endpoint, datagram.clone())?;
        } else {
            server.listen(streams(arguments), endpoint, stream.clone())?;
        }
    }
    Ok(server)
}

/// Refuses options that do not go together.
pub(crate) fn check(arguments: &ServeArguments) -> Result<(), Failure> {
    let (engine, name) = (arguments.engine, arguments.engine.as_str());
    if arguments.threads.is_some() && !matches!(engine, EngineName::Pool | EngineName::Reactor) {
        return Err(Failure::usage(format!(
            "--threads is for the pool and the reactor, and --engine {name} has no number of \
             threads to set"
        )));
    }
    if arguments.driver.is_some() && engine != EngineName::Reactor {
        return Err(Failure::usage(format!(
            "--driver is for the reactor, and --engine {name} has no event loops"
        )));
    }
    check_mixture(arguments)
}

/// Under some engines a connection would keep the datagrams waiting.
fn check_mixture(arguments: &ServeArguments) -> Result<(), Failure> {
    let mut datagrams = arguments
        .listen
        .iter()
        .map(|endpoint| endpoint.scheme().is_datagram());
    let first = datagrams.next();
    let is_mixed = datagrams.any(|is_datagram| Some(is_datagram) != first);
    let waits = matches!(
        arguments.engine,
        EngineName::Sequential | EngineName::Forking
    );
    if is_mixed && waits {
        return Err(Failure::usage(format!(
            "--engine {} serves streams or datagrams, not both at once: choose reactor, pool or \
             threading, or start two servers",
            arguments.engine.as_str()
        )));
    }
    Ok(())
}

/// `SIGTERM` and `SIGINT`: the first one drains, the second leaves at once.
pub(crate) struct SignalWatch {
    signals: Signals,
    readable: OwnedFd,
}

impl SignalWatch {
    /// Blocks the signals; before any thread is started, so that none of them is killed by one.
    pub(crate) fn new() -> io::Result<Self> {
        let signals = Signals::new(&[TERMINATE, INTERRUPT])?;
        let readable = signals.as_fd().try_clone_to_owned()?;
        Ok(Self { signals, readable })
    }

    /// Has the server's loop watch for them.
    pub(crate) fn attach<T, E>(self, builder: Builder<T, E>) -> Builder<T, E>
    where
        T: Transport,
        T::Accepted: Served,
        E: Engine,
    {
        let mut seen = false;
        builder.watch(self.readable, move |server| {
            while let Ok(Some(signal)) = self.signals.take() {
                if std::mem::replace(&mut seen, true) {
                    console::restore_terminal();
                    std::process::exit(128 + signal);
                }
                server.shutdown();
            }
            ControlFlow::Continue(())
        })
    }
}

/// Tells where the server listens, and serves until it is stopped.
pub(crate) fn serve(
    server: &ServerHandle,
    console: Console,
    serve: impl FnOnce() -> Result<DrainReport, Error>,
) -> Result<(), Failure> {
    announce(&server.endpoints())?;
    let console = console.start(server)?;
    let result = serve();
    console.end();
    let report = result?;
    let (finished, idle_closed) = (report.finished, report.idle_closed);
    let (forced, stuck) = (report.forced, report.stuck);
    if forced + stuck > 0 {
        tracing::warn!(
            finished,
            idle_closed,
            forced,
            stuck,
            "stopped, and cut off who was at work"
        );
    } else {
        tracing::debug!(finished, idle_closed, "stopped");
    }
    Ok(())
}

/// Prints the one line for each endpoint that scripts wait for.
fn announce(endpoints: &[Endpoint]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    for endpoint in endpoints {
        writeln!(stdout, "listening on {endpoint}")?;
    }
    stdout.flush()
}
