//! The handler of requests under test: it does what they say.

use std::io::{self, Read};
use std::sync::Arc;

use socketserver::{Connection, Datagram, RequestHandler};

use super::orders::{Answered, Exchange, answer, fail_if_told, unknown};
use super::stage::Stage;
use crate::gate;

/// An exchange that can be waited for.
pub(crate) trait Conversation: Exchange + 'static {
    /// The next request, if there is one; `served` is the number of those before it.
    fn next(&mut self, served: u32) -> io::Result<Option<String>>;
    /// All that the peer still sends.
    fn rest(&mut self) -> io::Result<Vec<u8>>;
}

impl Conversation for Connection {
    fn next(&mut self, _served: u32) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        let count = self.reader().read_line(&mut line)?;
        if line.ends_with(b"\n") {
            line.pop();
        }
        Ok((count > 0).then(|| String::from_utf8_lossy(&line).into_owned()))
    }

    fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.reader().read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl Conversation for Datagram {
    fn next(&mut self, served: u32) -> io::Result<Option<String>> {
        let text = || String::from_utf8_lossy(self.payload()).into_owned();
        Ok((served == 0).then(text))
    }

    fn rest(&mut self) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::Unsupported.into())
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

    /// Does what the request in hand says; tells whether to go on.
    fn obey<R: Conversation>(&self, request: &mut R) -> io::Result<bool> {
        match answer(&self.present, self.served, request)? {
            Answered::Yes => return Ok(true),
            Answered::Finally => return Ok(false),
            Answered::No => {}
        }
        match self.present.as_str() {
            "all" => {
                let rest = request.rest()?;
                request.reply(&rest.to_ascii_uppercase())?;
            }
            "join" => self.join(request)?,
            "wait" => {
                gate::pass(&self.stage.gate())?;
                request.reply(b"waited")?;
            }
            other => return Err(unknown(other)),
        }
        Ok(true)
    }

    /// Sends what comes in to everybody in the room.
    fn join<R: Conversation>(&self, request: &mut R) -> io::Result<()> {
        let _membership = self.stage.room.join(request.outbox()?)?;
        request.reply(b"joined")?;
        while let Some(line) = request.next(self.served)? {
            self.stage.room.send(format!("{line}\n").into_bytes());
        }
        Ok(())
    }
}

impl<R: Conversation> RequestHandler<R> for Obedient {
    fn setup(&mut self, request: &mut R) -> io::Result<()> {
        self.stage.note("setup");
        if self.stage.greets() {
            request.reply(b"hello")?;
        }
        if self.stage.is_early() {
            self.first = request.next(0)?;
            self.present = self.first.clone().unwrap_or_default();
            fail_if_told(&self.present, "setup")?;
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
            fail_if_told(&self.present, "handle")?;
            if !self.obey(request)? {
                return Ok(());
            }
        }
    }

    fn finish(&mut self, _request: &mut R) -> io::Result<()> {
        self.stage.note("finish");
        fail_if_told(&self.present, "finish")
    }
}
