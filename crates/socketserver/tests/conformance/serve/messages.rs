//! The handler of messages under test: it does what they say, and on the wire it cannot be told from
//! the handler of requests.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use socketserver::codec::{Line, Lines};
use socketserver::{Membership, MessageHandler, Next, Peer, Resumer};

use super::orders::{Answered, Exchange, answer, fail_if_told, unknown};
use super::stage::Stage;
use crate::gate;

/// A handler that does what it is told, and never waits.
pub(super) struct ObedientMessages {
    stage: Arc<Stage>,
    /// The message in hand.
    present: String,
    served: u32,
    role: Role,
}

/// What messages are for.
enum Role {
    /// They are for everybody in the room.
    Chats(#[expect(dead_code, reason = "held")] Membership),
    /// They are kept for the end.
    Gathers(Vec<u8>),
    /// They say what to do.
    Obeys,
}

impl ObedientMessages {
    pub(super) fn new(stage: Arc<Stage>) -> Self {
        Self {
            stage,
            present: String::new(),
            served: 0,
            role: Role::Obeys,
        }
    }

    fn obey(&mut self, peer: &mut Peer<'_>) -> io::Result<Next> {
        self.served += 1;
        if self.served == 1 {
            self.stage.note("handle");
        }
        if self.present == "stop handle" {
            return Ok(Next::Stop);
        }
        fail_if_told(&self.present, "handle")?;
        match answer(&self.present, self.served, peer)? {
            Answered::Yes => return Ok(Next::Continue),
            Answered::Finally => return Ok(Next::Close),
            Answered::No => {}
        }
        match self.present.split_once(' ').unwrap_or((&self.present, "")) {
            ("all", _) => self.role = Role::Gathers(Vec::new()),
            ("join", _) => {
                let membership = self.stage.room.join(peer.outbox()?)?;
                peer.reply(b"joined")?;
                self.role = Role::Chats(membership);
            }
            ("renew", _) => {
                let void = peer.resumer();
                let resumer = peer.resumer();
                drop(void);
                self.pass(resumer)?;
                return Ok(Next::Pause);
            }
            ("skip", _) => {
                drop(peer.resumer());
                return Ok(Next::Pause);
            }
            ("tick", millis) => peer.wake_after(time(millis)?),
            ("wait", millis) => {
                self.pass(peer.resumer())?;
                if !millis.is_empty() {
                    peer.wake_after(time(millis)?);
                }
                return Ok(Next::Pause);
            }
            _ => return Err(unknown(&self.present)),
        }
        Ok(Next::Continue)
    }

    /// Has another thread pass the gate, and end the pause then.
    fn pass(&self, resumer: Resumer) -> io::Result<()> {
        let stage = Arc::clone(&self.stage);
        let pass = move || {
            // Without a gate the tests are over.
            let _ = gate::pass(&stage.gate());
            resumer.resume();
            stage.note("resumed");
        };
        thread::Builder::new().spawn(pass).map(drop)
    }
}

fn time(millis: &str) -> io::Result<Duration> {
    let millis = millis.parse().map_err(io::Error::other)?;
    Ok(Duration::from_millis(millis))
}

impl MessageHandler for ObedientMessages {
    type Codec = Lines;

    fn setup(&mut self, peer: &mut Peer<'_>) -> io::Result<()> {
        self.stage.note("setup");
        if self.stage.greets() {
            peer.reply(b"hello")?;
        }
        fail_if_told(&self.stage.prompt(), "setup")
    }

    fn handle(&mut self, line: Line<'_>, peer: &mut Peer<'_>) -> io::Result<Next> {
        let text = line.raw().strip_suffix(b"\n").unwrap_or(line.raw());
        match &mut self.role {
            Role::Chats(_) => {
                self.stage.room.send([text, b"\n"].concat());
                Ok(Next::Continue)
            }
            Role::Gathers(bytes) => {
                bytes.extend_from_slice(line.raw());
                Ok(Next::Continue)
            }
            Role::Obeys => {
                self.present = String::from_utf8_lossy(text).into_owned();
                self.obey(peer)
            }
        }
    }

    fn invalid(&mut self, error: io::Error, peer: &mut Peer<'_>) -> io::Result<Next> {
        if !self.stage.forgives() {
            return Err(error);
        }
        peer.reply(b"too long")?;
        Ok(Next::Continue)
    }

    /// Ends what waits longer than it is to; else replies.
    fn tick(&mut self, peer: &mut Peer<'_>) -> io::Result<Next> {
        peer.reply(b"ticked")?;
        let is_waiting = self.present.starts_with("wait");
        Ok(if is_waiting {
            Next::Close
        } else {
            Next::Continue
        })
    }

    fn resumed(&mut self, peer: &mut Peer<'_>) -> io::Result<Next> {
        peer.reply(b"waited")?;
        Ok(Next::Continue)
    }

    fn finish(&mut self, peer: &mut Peer<'_>) -> io::Result<()> {
        self.stage.note("finish");
        if let Role::Gathers(bytes) = &self.role {
            peer.reply(&bytes.to_ascii_uppercase())?;
        }
        fail_if_told(&self.present, "finish")
    }
}
