//! The text door: how a connection becomes a member, and its lines become the room's.
//!
//! The entry type is [`Door`].
//! One lock is the room's sequence: whoever joins, leaves, speaks or takes another name does so at one
//! moment for everybody, and nothing is waited for meanwhile.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socketserver::codec::{Line, Lines};
use socketserver::{Address, Broadcast, Limits, Membership, MessageHandler, Next, Outbox, Peer};

use crate::command::{Command, is_quit};
use crate::names::{Names, label};
use crate::room::{MemberId, Room, system};
use crate::text::{escape_for_log, sanitise};

/// After what pause a peer is heard that has not yet sent a line feed.
const PAUSE: Duration = Duration::from_millis(100);

/// What `/help` answers.
const HELP: &str = "\
* /nick NAME  take another name
* /who        list who is here
* /quit       leave; so does the word quit alone
* //text      say /text
";

/// How a room is run.
///
/// ```
/// use chat::{Names, Options};
/// let options = Options::default().names(Names::Guest);
/// assert!(!options.plain);
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Options {
    /// Whether to speak as Python's `socketserver` chat did; default `false`.
    ///
    /// Then a message is relayed as the bytes that came, behind the sender's name, its line end if it
    /// had one included; nothing is greeted, announced or understood but `quit`.
    pub plain: bool,
    /// What members are called who have not taken a nickname; default [`Names::Address`].
    pub names: Names,
}

impl Options {
    /// Sets [`plain`](Self#structfield.plain).
    #[must_use]
    pub fn plain(mut self, plain: bool) -> Self {
        self.plain = plain;
        self
    }

    /// Sets [`names`](Self#structfield.names).
    #[must_use]
    pub fn names(mut self, names: Names) -> Self {
        self.names = names;
        self
    }
}

/// A room and the door to it; clones lead to the same room.
#[derive(Clone)]
pub struct Door(Arc<Hall>);

/// What the members share.
struct Hall {
    options: Options,
    room: Mutex<Room>,
    broadcast: Broadcast,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door")
            .field("options", &self.0.options)
            .finish_non_exhaustive()
    }
}

impl Door {
    /// The door to a new, empty room.
    pub fn new(options: Options) -> Self {
        let (room, broadcast) = (Mutex::default(), Broadcast::new());
        Self(Arc::new(Hall {
            options,
            room,
            broadcast,
        }))
    }

    /// How the room is run.
    pub fn options(&self) -> Options {
        self.0.options
    }

    /// The names of those who are here, the first who came first.
    pub fn members(&self) -> Vec<String> {
        self.0
            .lock()
            .members()
            .map(|(_, name)| name.to_string())
            .collect()
    }

    /// How many are here.
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Whether nobody is here.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A handler for one connection.
    ///
    /// It is no public method: a room must not be given to an engine that shares no memory.
    pub(crate) fn visit(&self) -> Visit {
        Visit {
            door: self.clone(),
            seat: None,
        }
    }
}

impl Hall {
    fn lock(&self) -> MutexGuard<'_, Room> {
        // Every critical section leaves the room whole.
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves one connection.
pub(crate) struct Visit {
    door: Door,
    /// `None` before the member has come, and when it has left.
    seat: Option<Seat>,
}

impl MessageHandler for Visit {
    type Codec = Lines;

    fn codec(&mut self, limits: &Limits) -> Lines {
        Lines::new(limits.line_bytes).or_pause(PAUSE)
    }

    fn setup(&mut self, peer: &mut Peer<'_>) -> io::Result<()> {
        let outbox = peer.outbox()?;
        self.seat = Some(Seat::take(&self.door, peer.address(), outbox)?);
        Ok(())
    }

    fn handle(&mut self, line: Line<'_>, _: &mut Peer<'_>) -> io::Result<Next> {
        let Some(seat) = &mut self.seat else {
            return Ok(Next::Close);
        };
        match seat.hear(line) {
            Heard::Message => Ok(Next::Continue),
            Heard::Quit => {
                self.seat = None;
                Ok(Next::Close)
            }
        }
    }

    /// The rest of the line is discarded, and the next one is heard.
    fn invalid(&mut self, _: io::Error, peer: &mut Peer<'_>) -> io::Result<Next> {
        let limit = peer.server().limits().line_bytes;
        if let Some(seat) = &self.seat {
            seat.answer(&system(format_args!(
                "line too long, at most {limit} bytes"
            )));
        }
        Ok(Next::Continue)
    }

    fn finish(&mut self, peer: &mut Peer<'_>) -> io::Result<()> {
        if let Some(mut seat) = self.seat.take()
            && peer.is_draining()
        {
            seat.dismiss();
        }
        Ok(())
    }
}

/// What a message was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Heard {
    Message,
    Quit,
}

/// A member's place in the room; dropped, on whatever path, the member has left.
struct Seat {
    hall: Arc<Hall>,
    id: MemberId,
    /// What the log calls the member.
    label: String,
    outbox: Outbox,
    /// `None` when the member is about to leave.
    membership: Option<Membership>,
    /// Whether the others learn that the member leaves.
    is_announced: bool,
}

impl Seat {
    fn take(door: &Door, peer: &Address, outbox: Outbox) -> io::Result<Self> {
        let hall = Arc::clone(&door.0);
        let Options { plain, names } = hall.options;
        let mut room = hall.lock();
        let id = room.join(|id| names.name(peer, id.number()));
        let name = room.name(id).map(ToString::to_string).unwrap_or_default();
        let count = room.len();
        if !plain {
            hall.broadcast
                .send(system(format_args!("{name} joined")).into_bytes());
            let welcome = format_args!(
                "Welcome. {count} here. You are {name}. /help lists the commands, quit leaves."
            );
            // If the peer is gone already, reading tells.
            let _ = outbox.push(system(welcome).into_bytes());
        }
        let membership = hall.broadcast.join(outbox.clone()).inspect_err(|_| {
            room.leave(id);
        })?;
        drop(room);
        let label = label(peer, id.number());
        if name == label {
            tracing::info!(target: "chat", "* {label} joined");
        } else {
            tracing::info!(target: "chat", "* {label} joined as {name}");
        }
        let membership = Some(membership);
        Ok(Self {
            hall,
            id,
            label,
            outbox,
            membership,
            is_announced: !plain,
        })
    }

    fn hear(&mut self, line: Line<'_>) -> Heard {
        if self.hall.options.plain {
            self.hear_plain(line)
        } else {
            self.hear_text(line)
        }
    }

    /// Relays the bytes as they came.
    fn hear_plain(&mut self, line: Line<'_>) -> Heard {
        if is_quit(line.raw()) {
            return Heard::Quit;
        }
        let room = self.hall.lock();
        if let Some(name) = room.name(self.id) {
            let message = [name.as_str().as_bytes(), b" ", line.raw()].concat();
            self.hall.broadcast.send(message);
        }
        drop(room);
        self.log_said(line);
        Heard::Message
    }

    /// Does what a line says.
    fn hear_text(&mut self, line: Line<'_>) -> Heard {
        let text = sanitise(line.text());
        match Command::parse(&text) {
            Command::Help => self.answer(HELP),
            Command::Nick(name) => self.rename(name),
            Command::Quit => {
                self.answer(&system("bye"));
                return Heard::Quit;
            }
            // A line end alone often comes behind a message that a pause had ended.
            Command::Say(text) if text.trim().is_empty() => {}
            Command::Say(text) => {
                let room = self.hall.lock();
                self.hall
                    .broadcast
                    .send(room.said(self.id, text).into_bytes());
                drop(room);
                self.log_said(line);
            }
            Command::Unknown(word) => {
                let word: String = word.chars().take(24).collect();
                let text = format_args!("no such command: {word} — /help lists them");
                self.answer(&system(text));
            }
            Command::Who => {
                // Under the lock, so that it stands among what others do where it belongs.
                let room = self.hall.lock();
                self.answer(&room.who());
            }
        }
        Heard::Message
    }

    fn rename(&mut self, name: &str) {
        let name = match name.parse() {
            Ok(name) => name,
            Err(refusal) => return self.answer(&system(refusal)),
        };
        let mut room = self.hall.lock();
        match room.rename(self.id, name) {
            Ok(old) => {
                let name = room
                    .name(self.id)
                    .map(ToString::to_string)
                    .unwrap_or_default();
                self.hall
                    .broadcast
                    .send(system(format_args!("{old} is now {name}")).into_bytes());
                drop(room);
                tracing::info!(target: "chat", "* {} is now {name}", self.label);
            }
            Err(refusal) => self.answer(&system(refusal)),
        }
    }

    /// Tells this member alone, unless the room is plain; what was said before comes before.
    fn answer(&self, lines: &str) {
        if self.hall.options.plain {
            return;
        }
        let (broadcast, outbox) = (&self.hall.broadcast, &self.outbox);
        // On event loops what others say may still be on its way to everybody. A second membership, for
        // a moment, begins when it has come.
        let moment = broadcast.join_with(outbox.clone(), || {
            // If the peer is gone, reading tells.
            let _ = outbox.push(lines.as_bytes());
        });
        drop(moment);
    }

    /// Tells the member that the server closes, as the last that it hears; as all have to leave, nobody
    /// else is told.
    fn dismiss(&mut self) {
        self.membership.take();
        self.answer(&system("the server is closing"));
        self.is_announced = false;
    }

    fn log_said(&self, line: Line<'_>) {
        tracing::info!(target: "chat", "{} {}", self.label, escape_for_log(line.text()));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut room = self.hall.lock();
        self.membership.take();
        let name = room.leave(self.id);
        if let Some(name) = name
            && self.is_announced
        {
            self.hall
                .broadcast
                .send(system(format_args!("{name} left")).into_bytes());
        }
        drop(room);
        tracing::info!(target: "chat", "* {} left", self.label);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::TcpStream;

    use socketserver::codec::Chunks;
    use socketserver::{ReactorTcpServer, ThreadingTcpServer};

    use super::*;

    /// Takes a seat, and panics.
    struct Panics {
        door: Door,
        seat: Option<Seat>,
    }

    impl MessageHandler for Panics {
        type Codec = Chunks;

        fn setup(&mut self, peer: &mut Peer<'_>) -> io::Result<()> {
            let outbox = peer.outbox()?;
            self.seat = Some(Seat::take(&self.door, peer.address(), outbox)?);
            assert_eq!(self.door.len(), 1);
            panic!("as a handler may");
        }

        fn handle(&mut self, _: &[u8], _: &mut Peer<'_>) -> io::Result<Next> {
            Ok(Next::Continue)
        }
    }

    /// D-18, D-19: a handler that failed left its client in the room.
    #[test]
    fn a_member_whose_handler_panics_has_left() {
        let door = Door::new(Options::default());
        let panics = || {
            let door = door.clone();
            move || Panics {
                door: door.clone(),
                seat: None,
            }
        };
        for server in [
            ThreadingTcpServer::bind("127.0.0.1:0", panics()).and_then(|it| it.start()),
            ReactorTcpServer::bind("127.0.0.1:0", panics()).and_then(|it| it.start()),
        ] {
            let server = server.unwrap();
            let address = server.endpoint().address().inet().unwrap();
            let mut heard = String::new();
            let mut stream = TcpStream::connect(address).unwrap();
            stream.read_to_string(&mut heard).unwrap();
            assert!(heard.starts_with("* Welcome. 1 here."), "{heard}");
            assert!(door.is_empty());
            let handle = server.handle().clone();
            server.stop().unwrap();
            assert_eq!(handle.counters().panicked, 1);
        }
    }
}
