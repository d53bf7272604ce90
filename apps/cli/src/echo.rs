//! `socketserver echo`: every message comes back.

use std::io::{self, Write};
use std::time::Duration;

use socketserver::codec::{Chunks, Line, Lines};
use socketserver::{
    Address, Builder, Datagram, Engine, Limits, MessageHandler, Next, Peer, RequestHandler,
};

use crate::Failure;
use crate::arguments::EchoArguments;
use crate::console::Console;
use crate::serve::{self, SignalWatch, engine, streams};

/// A pause after which a peer that has never sent a line feed is heard.
const PAUSE: Duration = Duration::from_millis(100);

/// The longest silence by default.
const IDLE: Duration = Duration::from_secs(300);

pub(crate) fn run(arguments: &EchoArguments) -> Result<(), Failure> {
    let EchoArguments { serve: common, raw } = arguments;
    serve::check(common)?;
    let sink = serve::prepare(common);
    let signals = SignalWatch::new()?;
    let engine = engine(common);
    let mut console = Console::new(common, sink, engine.place(), &[])?;
    let builder = Builder::new(streams(common), engine)
        .limits(common.bounds.limits(Some(IDLE)))
        .drain_timeout(common.bounds.drain_timeout);
    let builder = console.attach(signals.attach(builder));
    let mut server = if *raw {
        serve::server(common, builder, || Raw, || Raw)?
    } else {
        serve::server(common, builder, Echo::default, || Datagrams)?
    };
    serve::serve(&server.handle(), console, || server.serve_forever())
}

/// Sends back what comes, byte for byte (RFC 862).
struct Raw;

impl MessageHandler for Raw {
    type Codec = Chunks;

    fn handle(&mut self, bytes: &[u8], peer: &mut Peer<'_>) -> io::Result<Next> {
        peer.write(bytes)?;
        Ok(Next::Continue)
    }
}

impl RequestHandler<Datagram> for Raw {
    fn handle(&mut self, datagram: &mut Datagram) -> io::Result<()> {
        datagram.reply(datagram.payload())
    }
}

/// Sends each message of a connection back behind the name of its sender.
#[derive(Default)]
struct Echo {
    name: String,
}

impl MessageHandler for Echo {
    type Codec = Lines;

    fn codec(&mut self, limits: &Limits) -> Lines {
        Lines::new(limits.line_bytes).or_pause(PAUSE)
    }

    fn setup(&mut self, peer: &mut Peer<'_>) -> io::Result<()> {
        self.name = name(peer.address(), peer.id());
        Ok(())
    }

    fn handle(&mut self, line: Line<'_>, peer: &mut Peer<'_>) -> io::Result<Next> {
        if is_quit(line.raw()) {
            return Ok(Next::Close);
        }
        log(&self.name, line.raw());
        peer.write(self.name.as_bytes())?;
        peer.write(b" ")?;
        peer.write(line.raw())?;
        Ok(Next::Continue)
    }

    /// The rest of the line is discarded, and the next one is heard.
    fn invalid(&mut self, error: io::Error, peer: &mut Peer<'_>) -> io::Result<Next> {
        tracing::info!("{} sent a line that is too long", self.name);
        writeln!(peer, "* {error}")?;
        Ok(Next::Continue)
    }
}

/// Sends each datagram back behind the name of its sender.
struct Datagrams;

impl RequestHandler<Datagram> for Datagrams {
    fn handle(&mut self, datagram: &mut Datagram) -> io::Result<()> {
        let message = datagram.payload();
        if is_quit(message) {
            return Ok(());
        }
        let name = name(datagram.peer(), datagram.id());
        log(&name, message);
        datagram.reply(&[name.as_bytes(), b" ", message].concat())
    }
}

fn is_quit(message: &[u8]) -> bool {
    message.trim_ascii_end() == b"quit"
}

fn log(name: &str, message: &[u8]) {
    tracing::info!(
        "{name} {}",
        String::from_utf8_lossy(message.trim_ascii_end())
    );
}

/// What a peer is called: its address and port, or a number where it has none.
fn name(peer: &Address, id: u64) -> String {
    match peer {
        Address::Unnamed => format!("unix-{id}"),
        named => named.to_string(),
    }
}
