//! The process of a server under test: `--serve TRANSPORT KIND ENGINE DIRECTORY [NAME=VALUE ...]`.
//!
//! It prints `listening on URL` and then does what the lines of its input say, without a thread of its
//! own: `serve`, `handle MILLISECONDS`, `close` and so on when it does not serve ([`command`]); `stop`,
//! `abort`, `prompt` and `status` when it does ([`console`]).
//! Each is answered by a line.
//!
//! The settings are read where they are used, here, in [`engines`] and in [`stage`]:
//!
//! | name | what it sets |
//! |---|---|
//! | `address` | where to listen; default a free port of 127.0.0.1, or a file in the directory |
//! | `boxed` | `any`, `blocking`, `shared`: the engine is chosen at run time, as a box of that kind |
//! | `children`, `threads` | how many, under forking and pool |
//! | `connections`, `line_bytes`, `datagram_bytes` | those limits |
//! | `drain`, `idle`, `read`, `service`, `write` | those times, in milliseconds |
//! | `early` | `yes`: the first request is read in `setup`; a handler of messages is prompted |
//! | `forgives` | `yes`: an overlong line is answered `too long` rather than an error |
//! | `greets` | `yes`: the server speaks first |
//! | `panics` | the hook that panics, the first time that it is called |
//! | `verify` | `no`: every request is refused |

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socketserver::transport::{Stream, Transport};
use socketserver::{
    Builder, Handled, Handler, IntoAddress, Limits, RequestOf, RunsOn, Scheme, Served, Server,
    ServerHandle, Tcp, Udp, UnixDatagram, UnixStream,
};

use crate::Outcome;
use crate::case::{Engine, Kind};
use crate::facts::Facts;

mod console;
mod engines;
mod handler;
mod messages;
mod orders;
mod process;
mod stage;

use console::Console;
use handler::Obedient;
use messages::ObedientMessages;
pub(crate) use orders::LONG;
pub(crate) use process::{descriptors, state};
use stage::{Noting, Stage};

/// What makes this binary a server.
pub(crate) const FLAG: &str = "--serve";

/// The file in which the steps that are taken are noted.
pub(crate) fn journal(directory: &Path) -> PathBuf {
    directory.join("journal")
}

/// The gate in which handlers wait.
pub(crate) fn gate(directory: &Path) -> PathBuf {
    directory.join("gate")
}

/// What the process was told on its command line.
pub(crate) struct Settings {
    scheme: Scheme,
    kind: Kind,
    engine: Engine,
    directory: PathBuf,
    values: HashMap<String, String>,
}

impl Settings {
    fn parse(mut words: impl Iterator<Item = String>) -> Outcome<Self> {
        let mut next = || words.next().ok_or("an argument is missing");
        let (scheme, kind, engine, directory) = (next()?, next()?, next()?, next()?);
        let scheme = Scheme::ALL.into_iter().find(|it| it.as_str() == scheme);
        let kind = Kind::ALL.into_iter().find(|it| it.as_str() == kind);
        let engine = Engine::ALL.iter().find(|it| it.as_str() == engine);
        let pairs = words.filter_map(|word| {
            let (name, value) = word.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        });
        Ok(Self {
            scheme: scheme.ok_or("no such transport")?,
            kind: kind.ok_or("no such kind of handler")?,
            engine: *engine.ok_or("no such engine")?,
            directory: directory.into(),
            values: pairs.collect(),
        })
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    fn is(&self, name: &str, value: &str) -> bool {
        self.get(name) == Some(value)
    }

    fn number(&self, name: &str) -> Option<usize> {
        self.get(name)?.parse().ok()
    }

    fn time(&self, name: &str) -> Option<Duration> {
        let millis = self.get(name)?.parse().ok()?;
        Some(Duration::from_millis(millis))
    }

    fn address(&self) -> String {
        match (self.get("address"), self.scheme) {
            (Some(address), _) => address.to_owned(),
            (None, Scheme::Tcp | Scheme::Udp) => "127.0.0.1:0".to_owned(),
            (None, _) => self.directory.join("server").display().to_string(),
        }
    }

    fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        limits.connections = self.number("connections").unwrap_or(limits.connections);
        limits.line_bytes = self.number("line_bytes").unwrap_or(limits.line_bytes);
        limits.idle_timeout = self.time("idle").or(limits.idle_timeout);
        limits.read_timeout = self.time("read").or(limits.read_timeout);
        limits.write_timeout = self.time("write").or(limits.write_timeout);
        limits
    }
}

/// Prints one line.
fn say(line: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{line}")?;
    output.flush()
}

pub(crate) fn main(words: impl Iterator<Item = String>) -> Outcome {
    orders::silence_panics_on_purpose();
    let before = descriptors();
    run(&Arc::new(Settings::parse(words)?))?;
    // A thread that has served its request may take a moment to end.
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut left = process::facts();
    while Instant::now() < deadline && (left.of("threads") > 1 || left.of("descriptors") > before) {
        std::thread::sleep(Duration::from_millis(1));
        left = process::facts();
    }
    left.add("descriptors_before", before);
    say(&format!("closed {left}"))?;
    Ok(())
}

fn run(settings: &Arc<Settings>) -> Outcome {
    let bytes = settings.number("datagram_bytes");
    match settings.scheme {
        Scheme::Tcp => on_stream(Tcp::default(), settings),
        Scheme::Unix => on_stream(UnixStream::default(), settings),
        Scheme::Udp => {
            let transport = Udp::default().datagram_bytes(bytes.unwrap_or(65_507));
            engines::on_any(transport, settings, Obedient::new)
        }
        _ => {
            let transport = UnixDatagram::default().datagram_bytes(bytes.unwrap_or(65_536));
            engines::on_any(transport, settings, Obedient::new)
        }
    }
}

fn on_stream<T>(transport: T, settings: &Arc<Settings>) -> Outcome
where
    T: Transport<Accepted = Stream>,
    String: IntoAddress<T>,
{
    match settings.kind {
        Kind::Requests => engines::on_blocking(transport, settings, Obedient::new),
        Kind::Messages => engines::on_any(transport, settings, ObedientMessages::new),
    }
}

/// `handle_request`, where there is one.
type HandleRequest<T, E> =
    Option<fn(&mut Server<T, E>, Option<Duration>) -> Result<Handled, socketserver::Error>>;

fn on_engine<T, E, H, K>(
    transport: T,
    engine: E,
    settings: &Arc<Settings>,
    make: fn(Arc<Stage>) -> H,
    handle_request: HandleRequest<T, E>,
) -> Outcome
where
    T: Transport,
    T::Accepted: Served,
    E: socketserver::Engine,
    String: IntoAddress<T>,
    H: Handler<RequestOf<T>, K>,
    K: RunsOn<E>,
{
    if engine.name() != settings.engine.name() {
        return Err(format!("{} is called {}", settings.engine.name(), engine.name()).into());
    }
    let stage = Arc::new(Stage::new(Arc::clone(settings)));
    let console = Console::new(Arc::clone(&stage));
    let signals = Arc::new(socketserver::signal::Signals::new(&[
        socketserver::signal::TERMINATE,
    ])?);
    let taken = Arc::clone(&signals);
    let stopping = move |handle: &ServerHandle| {
        if taken.take().is_ok_and(|signal| signal.is_some()) {
            handle.shutdown();
        }
        std::ops::ControlFlow::Continue(())
    };
    let hour = Duration::from_secs(3600);
    let builder = Builder::new(transport, engine)
        .limits(settings.limits())
        .hooks(Noting(Arc::clone(&stage)))
        .observer(Noting(Arc::clone(&stage)))
        .drain_timeout(settings.time("drain").unwrap_or(hour))
        .service_interval(settings.time("service").unwrap_or(hour))
        .watch(io::stdin(), console.watch())
        .watch(signals, stopping);
    let server = builder.bind(settings.address(), move || make(Arc::clone(&stage)))?;
    command(server, &console, handle_request)
}

/// Does what it is told while it does not serve.
fn command<T: Transport, E: socketserver::Engine>(
    mut server: Server<T, E>,
    console: &Console,
    handle_request: HandleRequest<T, E>,
) -> Outcome {
    say(&format!("listening on {}", server.endpoints()[0]))?;
    let first_run = server.handle();
    let mut foreign = None;
    loop {
        let line = console.next()?;
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match word {
            "serve" => {
                say("serving")?;
                let report = server.serve_forever()?;
                let mut facts = console.status(&server.handle());
                facts.add("finished", report.finished as u64);
                facts.add("idle_closed", report.idle_closed as u64);
                facts.add("forced", report.forced as u64);
                facts.add("stuck", report.stuck as u64);
                say(&format!("report {facts}"))?;
            }
            "handle" => {
                let timeout = Duration::from_millis(rest.parse()?);
                let handle_request = handle_request.ok_or("this engine has no handle_request")?;
                let handled = handle_request(&mut server, Some(timeout))?;
                say(&format!("handled {handled:?}"))?;
            }
            "stop" => server.handle().shutdown(),
            "stop-first-run" => first_run.shutdown(),
            "status" => say(&format!("status {}", console.status(&server.handle())))?,
            "foreign" => foreign = Some(process::foreign_child()?),
            "await-foreign" => {
                let status = foreign.take().ok_or("no foreign child")?.wait()?;
                say(&format!("foreign {}", status.code().unwrap_or(-1)))?;
            }
            "close" => return Ok(server.close().map(drop)?),
            other => return Err(format!("no command: '{other}'").into()),
        }
    }
}
