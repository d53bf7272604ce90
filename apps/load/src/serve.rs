//! Servers over this library that the command does not have: lines that come back, and a fan-out.
//!
//! They are what a user of the library would write, on its public interface, and no more.

use std::io;

use clap::ValueEnum;
use socketserver::codec::{Line, Lines};
use socketserver::{
    Broadcast, Builder, Driver, Engine, Error, Limits, Membership, MessageHandler, Next, Peer,
    Pool, Reactor, Tcp, Threading,
};

use crate::failure::{Doing, Failure, Result};

/// Connections that the kernel queues, as in the peers.
const BACKLOG: u32 = 4096;
/// More than any scenario has.
const CONNECTIONS: usize = 19_500;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Work {
    /// Sends each line to everybody.
    Fanout,
    /// Sends each line back.
    Lines,
}

/// Which engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EngineName {
    Pool,
    Reactor,
    Threading,
}

/// Which driver of the reactor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DriverName {
    Epoll,
    Uring,
}

/// How to serve.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What to do
    work: Work,
    /// The engine
    #[arg(long)]
    engine: EngineName,
    /// The driver of the reactor
    #[arg(long, default_value = "epoll")]
    driver: DriverName,
    /// The loops of the reactor
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

/// Serves until it is ended.
pub(crate) fn run(options: &Options) -> Result<()> {
    let served = match options.engine {
        EngineName::Pool => serve(Pool::default(), options.work),
        EngineName::Reactor => {
            let driver = match options.driver {
                DriverName::Epoll => Driver::Epoll,
                DriverName::Uring => Driver::Uring,
            };
            serve(Reactor::new(options.threads).driver(driver), options.work)
        }
        EngineName::Threading => serve(Threading::default(), options.work),
    };
    served
        .map_err(|error| Failure::new(error.to_string()))
        .doing(|| "serve".into())
}

fn serve(engine: impl Engine, work: Work) -> std::result::Result<(), Error> {
    let limits = Limits::default().connections(CONNECTIONS);
    let builder = Builder::new(Tcp::default().backlog(BACKLOG), engine).limits(limits);
    let mut server = match work {
        Work::Fanout => {
            let room = Broadcast::new();
            builder.bind("127.0.0.1:0", move || Member::new(room.clone()))?
        }
        Work::Lines => builder.bind("127.0.0.1:0", || Back)?,
    };
    println!("listening on {}", server.endpoints()[0]);
    server.serve_forever().map(drop)
}

/// Sends each line back.
struct Back;

impl MessageHandler for Back {
    type Codec = Lines;

    fn handle(&mut self, line: Line<'_>, peer: &mut Peer<'_>) -> io::Result<Next> {
        peer.write(line.raw())?;
        Ok(Next::Continue)
    }
}

/// Sends each line to everybody.
struct Member {
    room: Broadcast,
    membership: Option<Membership>,
}

impl Member {
    fn new(room: Broadcast) -> Self {
        Self {
            room,
            membership: None,
        }
    }
}

impl MessageHandler for Member {
    type Codec = Lines;

    fn setup(&mut self, peer: &mut Peer<'_>) -> io::Result<()> {
        self.membership = Some(self.room.join(peer.outbox()?)?);
        Ok(())
    }

    fn handle(&mut self, line: Line<'_>, _: &mut Peer<'_>) -> io::Result<Next> {
        self.room.send(line.raw());
        Ok(Next::Continue)
    }
}
