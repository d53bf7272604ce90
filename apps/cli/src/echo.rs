//! `socketserver echo`: every message comes back.

use std::io::{self, Write};
use std::time::Duration;

use socketserver::codec::Lines;
use socketserver::{Address, Builder, Connection, Datagram, Engine, RequestHandler};

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
    let sink = serve::prepare(common);
    let signals = SignalWatch::new()?;
    let engine = engine(common);
    let mut console = Console::new(common, sink, engine.place(), &[])?;
    let builder = Builder::new(streams(common), engine)
        .limits(common.bounds.limits(Some(IDLE)))
        .drain_timeout(common.bounds.drain_timeout);
    let builder = console.attach(signals.attach(builder));
    let echo = Echo { raw: *raw };
    let mut server = serve::server(common, builder, move || echo, move || echo)?;
    serve::serve(&server.handle(), console, || server.serve_forever())
}

/// Echoes connections and datagrams.
#[derive(Clone, Copy)]
struct Echo {
    raw: bool,
}

impl RequestHandler<Connection> for Echo {
    fn handle(&mut self, connection: &mut Connection) -> io::Result<()> {
        if self.raw {
            let (mut reader, mut writer) = connection.split();
            return io::copy(&mut reader, &mut writer).map(drop);
        }
        let name = name(connection.peer(), connection.id());
        let lines = Lines::new(connection.server().limits().line_bytes).or_pause(PAUSE);
        let (reader, mut writer) = connection.split();
        let mut messages = reader.messages(lines);
        let mut answer = Vec::new();
        loop {
            match messages.next_with(|line| compose(&mut answer, &name, line.raw())) {
                Ok(Some(true)) => writer.write_all(&answer)?,
                Ok(Some(false) | None) => return Ok(()),
                // The rest of it is discarded, and the next line is heard.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    tracing::info!("{name} sent a line that is too long");
                    writer.write_all(format!("* {error}\n").as_bytes())?;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl RequestHandler<Datagram> for Echo {
    fn handle(&mut self, datagram: &mut Datagram) -> io::Result<()> {
        if self.raw {
            return datagram.reply(datagram.payload());
        }
        let mut answer = Vec::new();
        if compose(
            &mut answer,
            &name(datagram.peer(), datagram.id()),
            datagram.payload(),
        ) {
            datagram.reply(&answer)?;
        }
        Ok(())
    }
}

/// Puts the answer to `message` into `answer` and logs it; tells whether it was anything but `quit`.
fn compose(answer: &mut Vec<u8>, name: &str, message: &[u8]) -> bool {
    if message.trim_ascii_end() == b"quit" {
        return false;
    }
    answer.clear();
    answer.extend_from_slice(name.as_bytes());
    answer.push(b' ');
    answer.extend_from_slice(message);
    tracing::info!(
        "{name} {}",
        String::from_utf8_lossy(message.trim_ascii_end())
    );
    true
}

/// What a peer is called: its address and port, or a number where it has none.
fn name(peer: &Address, id: u64) -> String {
    match peer {
        Address::Unnamed => format!("unix-{id}"),
        named => named.to_string(),
    }
}
