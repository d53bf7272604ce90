//! `socketserver chat`: the room.

use std::sync::{Arc, OnceLock};

use chat::{ChatServer, Door, Names, Options};
use socketserver::{Endpoint, Engine, SharedMemory};

use crate::Failure;
use crate::arguments::{ChatArguments, EngineName, NamesArgument, ServeArguments};
use crate::console::{Console, Extra};
use crate::serve::{self, SignalWatch, streams};

pub(crate) fn run(arguments: &ChatArguments) -> Result<(), Failure> {
    let common = &arguments.serve;
    serve::check(common)?;
    let engine = engine(common)?;
    check_endpoints(common)?;
    let sink = serve::prepare(common);
    let signals = SignalWatch::new()?;
    let door: Arc<OnceLock<Door>> = Arc::default();
    let mut console = Console::new(common, sink, engine.place(), &[who(Arc::clone(&door))])?;
    let options = Options::default()
        .plain(arguments.plain)
        .names(names(arguments));
    let mut server = ChatServer::bind_on(
        engine,
        &streams(common),
        &common.listen,
        options,
        |builder| {
            let builder = builder
                .limits(common.bounds.limits(None))
                .drain_timeout(common.bounds.drain_timeout);
            console.attach(signals.attach(builder))
        },
    )?;
    // It is set here only.
    let _ = door.set(server.door().clone());
    serve::serve(&server.handle(), console, || server.serve_forever())
}

/// The engine that was asked for, if a room can be run on it.
fn engine(arguments: &ServeArguments) -> Result<Box<dyn SharedMemory>, Failure> {
    let engine = serve::shared_engine(arguments);
    let reason = match (arguments.engine, engine) {
        (EngineName::Sequential, _) => "it serves one connection at a time, and a chat takes two",
        (_, Some(engine)) => return Ok(engine),
        (_, None) => "each child process would have a room of its own, with nobody else in it",
    };
    let name = arguments.engine.as_str();
    Err(Failure::usage(format!(
        "the chat cannot run on --engine {name}: {reason}; choose reactor, pool or threading"
    )))
}

/// Refuses endpoints at which there are no connections.
fn check_endpoints(arguments: &ServeArguments) -> Result<(), Failure> {
    match arguments
        .listen
        .iter()
        .find(|endpoint| endpoint.scheme().is_datagram())
    {
        Some(endpoint) => Err(Failure::usage(format!(
            "the chat needs connections, and {endpoint} is for datagrams: choose tcp:// or unix://"
        ))),
        None => Ok(()),
    }
}

/// What members are called at first: where strangers can connect, addresses are nobody's business.
fn names(arguments: &ChatArguments) -> Names {
    let is_local = |endpoint: &Endpoint| endpoint.address().is_local();
    let everyone_is_local = arguments.serve.listen.iter().all(is_local);
    match arguments.names {
        Some(NamesArgument::Address) => Names::Address,
        Some(NamesArgument::Guest) => Names::Guest,
        None => {
            if everyone_is_local {
                Names::Address
            } else {
                Names::Guest
            }
        }
    }
}

/// The console's `who`.
fn who(door: Arc<OnceLock<Door>>) -> Extra {
    let answer = move |_: &str| {
        let members = door.get().map(Door::members).unwrap_or_default();
        let mut text = format!("{} here\n", members.len());
        for name in members {
            text.push_str("  ");
            text.push_str(&name);
            text.push('\n');
        }
        text
    };
    Extra {
        name: "who",
        help: "who is in the room",
        answer: Arc::new(answer),
    }
}
