//! `socketserver chat`: the room.

use std::sync::{Arc, OnceLock};

use chat::{ChatServer, Door, Names, Options};
use socketserver::{Endpoint, Place, Threading};

use crate::Failure;
use crate::arguments::{ChatArguments, EngineName, NamesArgument, ServeArguments};
use crate::console::{Console, Extra};
use crate::serve::{self, SignalWatch, streams};

pub(crate) fn run(arguments: &ChatArguments) -> Result<(), Failure> {
    let common = &arguments.serve;
    check(common)?;
    let sink = serve::prepare(common);
    let signals = SignalWatch::new()?;
    let door: Arc<OnceLock<Door>> = Arc::default();
    let mut console = Console::new(common, sink, Place::Thread, &[who(Arc::clone(&door))])?;
    let options = Options::default()
        .plain(arguments.plain)
        .names(names(arguments));
    let mut server = ChatServer::bind_on(
        Threading::default(),
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

/// Refuses what a room cannot be run on.
fn check(arguments: &ServeArguments) -> Result<(), Failure> {
    let reason = match arguments.engine {
        EngineName::Threading => None,
        EngineName::Forking => {
            Some("each child process would have a room of its own, with nobody else in it")
        }
        EngineName::Sequential => Some("it serves one connection at a time, and a chat takes two"),
        EngineName::Pool => {
            Some("it seats as many members as it has threads, and leaves the others waiting")
        }
    };
    if let Some(reason) = reason {
        let name = arguments.engine.as_str();
        return Err(Failure::usage(format!(
            "the chat cannot run on --engine {name}: {reason}; choose threading"
        )));
    }
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
