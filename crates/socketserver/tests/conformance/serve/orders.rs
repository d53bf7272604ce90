//! What a request may ask for, whichever handler serves it.

use std::io::{self, Write};

use socketserver::{Address, Connection, Datagram, Outbox, Peer, ServerHandle, Stop};

/// What panics on purpose say.
const ON_PURPOSE: &str = "on purpose";

/// How long a long reply is.
pub(crate) const LONG: usize = 200_000;

/// Keeps panics on purpose out of the output of the tests.
pub(super) fn silence_panics_on_purpose() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload().downcast_ref::<&str>() != Some(&ON_PURPOSE) {
            tell(info);
        }
    }));
}

/// What streams, datagrams and peers have in common: requests are answered.
pub(crate) trait Exchange {
    fn reply(&mut self, bytes: &[u8]) -> io::Result<()>;
    fn outbox(&mut self) -> io::Result<Outbox>;
    fn address(&self) -> &Address;
    fn server(&self) -> &ServerHandle;
}

impl Exchange for Connection {
    fn reply(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer().write_all(&[bytes, b"\n"].concat())
    }

    fn outbox(&mut self) -> io::Result<Outbox> {
        Self::outbox(self)
    }

    fn address(&self) -> &Address {
        self.peer()
    }

    fn server(&self) -> &ServerHandle {
        Self::server(self)
    }
}

impl Exchange for Datagram {
    fn reply(&mut self, bytes: &[u8]) -> io::Result<()> {
        Self::reply(self, bytes)
    }

    fn outbox(&mut self) -> io::Result<Outbox> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn address(&self) -> &Address {
        self.peer()
    }

    fn server(&self) -> &ServerHandle {
        Self::server(self)
    }
}

impl Exchange for Peer<'_> {
    fn reply(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write(&[bytes, b"\n"].concat())
    }

    fn outbox(&mut self) -> io::Result<Outbox> {
        Self::outbox(self)
    }

    fn address(&self) -> &Address {
        Self::address(self)
    }

    fn server(&self) -> &ServerHandle {
        Self::server(self)
    }
}

/// What became of a request.
pub(super) enum Answered {
    Yes,
    /// And the connection is to end.
    Finally,
    /// It is for the handler to know.
    No,
}

/// Fails in `step` if `request` says so: `panic setup`, `error handle`, `stop finish`.
pub(super) fn fail_if_told(request: &str, step: &str) -> io::Result<()> {
    let (how, steps) = request.split_once(' ').unwrap_or_default();
    if !steps.split(' ').any(|told| told == step) {
        return Ok(());
    }
    match how {
        "error" => Err(io::Error::other(ON_PURPOSE)),
        "panic" => std::panic::panic_any(ON_PURPOSE),
        "stop" => Err(Stop.into()),
        _ => Ok(()),
    }
}

/// Does what `request` says, the `number`th of its connection, if that takes no waiting.
pub(super) fn answer(
    request: &str,
    number: u32,
    exchange: &mut impl Exchange,
) -> io::Result<Answered> {
    match request.split_once(' ').unwrap_or((request, "")) {
        ("", _) => exchange.reply(b"nothing")?,
        ("echo", words) => exchange.reply(words.as_bytes())?,
        ("error" | "panic" | "stop", _) => return Ok(Answered::Finally),
        ("leave", _) => {
            exchange.reply(&vec![b'x'; LONG])?;
            return Ok(Answered::Finally);
        }
        ("number", _) => exchange.reply(number.to_string().as_bytes())?,
        ("peer", _) => {
            let peer = exchange.address().to_string();
            exchange.reply(peer.as_bytes())?;
        }
        ("pid", _) => exchange.reply(std::process::id().to_string().as_bytes())?,
        ("shutdown", _) => {
            exchange.server().shutdown();
            exchange.reply(b"down")?;
        }
        ("write", count) => {
            let count = count.parse().map_err(io::Error::other)?;
            exchange.reply(&vec![b'x'; count])?;
        }
        _ => return Ok(Answered::No),
    }
    Ok(Answered::Yes)
}

/// Nobody knows what is asked for.
pub(super) fn unknown(request: &str) -> io::Error {
    io::Error::other(format!("no request: '{request}'"))
}
