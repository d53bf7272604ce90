//! The handler of a server under test: it does what the requests say.

use std::io::{self, Read, Write};
use std::sync::Arc;

use socketserver::{Address, Connection, Datagram, Outbox, RequestHandler, ServerHandle, Stop};

use super::stage::Stage;
use crate::gate;

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

/// What streams and datagrams have in common: requests come in, replies go out.
pub(crate) trait Exchange: Send + 'static {
    /// The next request, if there is one; `served` is the number of those before it.
    fn next(&mut self, served: u32) -> io::Result<Option<String>>;
    fn reply(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// All that the peer still sends.
    fn rest(&mut self) -> io::Result<Vec<u8>>;
    fn outbox(&mut self) -> io::Result<Outbox>;
    fn peer(&self) -> &Address;
    fn server(&self) -> &ServerHandle;
}

impl Exchange for Connection {
    fn next(&mut self, _served: u32) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        let count = self.reader().read_line(&mut line)?;
        if line.ends_with(b"\n") {
            line.pop();
        }
        Ok((count > 0).then(|| String::from_utf8_lossy(&line).into_owned()))
    }

    fn reply(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer().write_all(&[bytes, b"\n"].concat())
    }

    fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.reader().read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn outbox(&mut self) -> io::Result<Outbox> {
        Self::outbox(self)
    }

    fn peer(&self) -> &Address {
        Self::peer(self)
    }

    fn server(&self) -> &ServerHandle {
        Self::server(self)
    }
}

impl Exchange for Datagram {
    fn next(&mut self, served: u32) -> io::Result<Option<String>> {
        let text = || String::from_utf8_lossy(self.payload()).into_owned();
        Ok((served == 0).then(text))
    }

    fn reply(&mut self, bytes: &[u8]) -> io::Result<()> {
        Self::reply(self, bytes)
    }

    fn rest(&mut self) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn outbox(&mut self) -> io::Result<Outbox> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn peer(&self) -> &Address {
        Self::peer(self)
    }

    fn server(&self) -> &ServerHandle {
        Self::server(self)
    }
}

/// A handler that does what it is told.
pub(super) struct Obedient {
    stage: Arc<Stage>,
    /// The first request, if `setup` has read it.
    first: Option<String>,
    /// The request in hand.
    present: String,
    served: u32,
}

impl Obedient {
    pub(super) fn new(stage: Arc<Stage>) -> Self {
        Self {
            stage,
            first: None,
            present: String::new(),
            served: 0,
        }
    }

    /// Fails in `step` if the request in hand says so: `panic setup`, `error handle`, `stop finish`.
    fn fail_if_told(&self, step: &str) -> io::Result<()> {
        let (how, steps) = self.present.split_once(' ').unwrap_or_default();
        if !steps.split(' ').any(|told| told == step) {
            return Ok(());
        }
        match how {
            "error" => Err(io::Error::other(ON_PURPOSE)),
            "panic" => panic!("{}", ON_PURPOSE),
            "stop" => Err(Stop.into()),
            _ => Ok(()),
        }
    }

    /// Does what the request in hand says; tells whether to go on.
    fn obey<R: Exchange>(&self, request: &mut R) -> io::Result<bool> {
        let text = &self.present;
        match text.split_once(' ').unwrap_or((text, "")) {
            ("", _) => request.reply(b"nothing")?,
            ("all", _) => {
                let rest = request.rest()?;
                request.reply(&rest.to_ascii_uppercase())?;
            }
            ("echo", words) => request.reply(words.as_bytes())?,
            ("error" | "panic" | "stop", _) => return Ok(false),
            ("join", _) => self.join(request)?,
            ("leave", _) => {
                request.reply(&vec![b'x'; LONG])?;
                return Ok(false);
            }
            ("number", _) => request.reply(self.served.to_string().as_bytes())?,
            ("peer", _) => {
                let peer = request.peer().to_string();
                request.reply(peer.as_bytes())?;
            }
            ("pid", _) => request.reply(std::process::id().to_string().as_bytes())?,
            ("shutdown", _) => {
                request.server().shutdown();
                request.reply(b"down")?;
            }
            ("wait", _) => {
                gate::pass(&self.stage.gate())?;
                request.reply(b"waited")?;
            }
            ("write", count) => {
                let count = count.parse().map_err(io::Error::other)?;
                request.reply(&vec![b'x'; count])?;
            }
            _ => return Err(io::Error::other(format!("no request: '{text}'"))),
        }
        Ok(true)
    }

    /// Sends what comes in to everybody in the room.
    fn join<R: Exchange>(&self, request: &mut R) -> io::Result<()> {
        let _membership = self.stage.room.join(request.outbox()?)?;
        request.reply(b"joined")?;
        while let Some(line) = request.next(self.served)? {
            self.stage.room.send(format!("{line}\n").into_bytes());
        }
        Ok(())
    }
}

impl<R: Exchange> RequestHandler<R> for Obedient {
    fn setup(&mut self, request: &mut R) -> io::Result<()> {
        self.stage.note("setup");
        if self.stage.greets() {
            request.reply(b"hello")?;
        }
        if self.stage.is_early() {
            self.first = request.next(0)?;
            self.present = self.first.clone().unwrap_or_default();
            self.fail_if_told("setup")?;
        }
        Ok(())
    }

    fn handle(&mut self, request: &mut R) -> io::Result<()> {
        self.stage.note("handle");
        loop {
            let next = match self.first.take() {
                Some(first) => Ok(Some(first)),
                None => request.next(self.served),
            };
            let text = match next {
                Ok(Some(text)) => text,
                Ok(None) => return Ok(()),
                Err(error)
                    if self.stage.forgives() && error.kind() == io::ErrorKind::InvalidData =>
                {
                    request.reply(b"too long")?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            self.present = text;
            self.served += 1;
            self.fail_if_told("handle")?;
            if !self.obey(request)? {
                return Ok(());
            }
        }
    }

    fn finish(&mut self, _request: &mut R) -> io::Result<()> {
        self.stage.note("finish");
        self.fail_if_told("finish")
    }
}
