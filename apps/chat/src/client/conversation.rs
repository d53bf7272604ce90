//! The client's loop: it waits for the input and the socket at once, and for the clock.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socketserver::Endpoint;

use super::incoming::Incoming;
use super::input::Input;
use super::link::Link;
use super::outgoing::Outgoing;
use super::{Error, Options, Terminal, cause};
use crate::room::system;

/// How soon a Unix socket whose queue is full is asked again.
const QUEUE_PAUSE: Duration = Duration::from_millis(20);

/// How the connection stands.
#[derive(Debug)]
enum State {
    Connecting {
        link: Link,
        until: Instant,
    },
    Connected(Link),
    /// Until `until`; what then is tried may take until `attempt`, if it has begun already.
    Waiting {
        until: Instant,
        attempt: Option<Instant>,
    },
}

/// What a wait has found ready.
#[derive(Clone, Copy, Debug)]
struct Ready {
    input: bool,
    socket: bool,
}

/// Whether to go on.
type Step = Result<ControlFlow<()>, Error>;

const GO_ON: Step = Ok(ControlFlow::Continue(()));
const DONE: Step = Ok(ControlFlow::Break(()));

/// One run of the client.
pub(super) struct Conversation<'o, 't> {
    endpoint: &'o Endpoint,
    options: &'o Options,
    output: &'t mut dyn Write,
    notices: &'t mut dyn Write,
    state: State,
    has_connected: bool,
    next_wait: Duration,
    input: Input<'t>,
    /// Whether the server has been told that no more comes.
    sending_ended: bool,
    /// Until when to wait for the server once the input has ended.
    farewell: Option<Instant>,
    incoming: Incoming,
    outgoing: Outgoing,
}

impl<'o, 't> Conversation<'o, 't> {
    pub(super) fn new(
        endpoint: &'o Endpoint,
        options: &'o Options,
        terminal: Terminal<'t>,
    ) -> Self {
        let Terminal {
            input,
            output,
            notices,
        } = terminal;
        Self {
            endpoint,
            options,
            output,
            notices,
            state: State::Waiting {
                until: Instant::now(),
                attempt: None,
            },
            has_connected: false,
            next_wait: options.first_wait,
            input: Input::new(input, options.nick.clone()),
            sending_ended: false,
            farewell: None,
            incoming: Incoming::default(),
            outgoing: Outgoing::default(),
        }
    }

    pub(super) fn run(mut self) -> Result<(), Error> {
        if self.endpoint.scheme().is_datagram() {
            return Err(Error::Datagrams {
                endpoint: self.endpoint.clone(),
            });
        }
        loop {
            let ready = self.wait().map_err(|source| Error::Terminal { source })?;
            if ready.input {
                self.input.read(&mut self.outgoing);
            }
            if self.advance(ready.socket)?.is_break() || self.part()?.is_break() {
                return Ok(());
            }
        }
    }

    /// Waits until the input or the socket is ready, or a deadline has passed.
    fn wait(&self) -> io::Result<Ready> {
        let mut fds = Vec::with_capacity(2);
        let reads_input = self.input.is_open() && !self.outgoing.is_full();
        if reads_input {
            fds.push(PollFd::from_borrowed_fd(self.input.fd(), PollFlags::IN));
        }
        match &self.state {
            State::Connecting { link, .. } => fds.push(PollFd::new(link, PollFlags::OUT)),
            State::Connected(link) if self.outgoing.is_empty() => {
                fds.push(PollFd::new(link, PollFlags::IN));
            }
            State::Connected(link) => fds.push(PollFd::new(link, PollFlags::IN | PollFlags::OUT)),
            State::Waiting { .. } => {}
        }
        match poll(&mut fds, self.timeout().as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        Ok(Ready {
            input: reads_input && ready.next().unwrap_or(false),
            socket: ready.next().unwrap_or(false),
        })
    }

    /// The time to the next deadline, rounded up, so that it has passed when the wait is over.
    fn timeout(&self) -> Option<Timespec> {
        let of_state = match self.state {
            State::Connecting { until, .. } | State::Waiting { until, .. } => Some(until),
            State::Connected(_) => self.incoming.due(self.options.pause),
        };
        let deadline = of_state.into_iter().chain(self.farewell).min()?;
        let left = deadline.saturating_duration_since(Instant::now());
        let millis = i64::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX);
        Some(Timespec {
            tv_sec: millis / 1000,
            tv_nsec: (millis % 1000) * 1_000_000,
        })
    }

    /// Does what the connection needs: makes it, makes it again, receives and sends.
    fn advance(&mut self, socket_ready: bool) -> Step {
        let now = Instant::now();
        match &self.state {
            State::Waiting { until, attempt } if now >= *until => {
                let until = attempt.unwrap_or(now + self.options.connect_timeout);
                self.connect(now, until)
            }
            State::Connecting { link, .. } if socket_ready => match link.outcome() {
                Ok(()) => self.connected(),
                Err(error) => self.unreachable(&error),
            },
            State::Connecting { until, .. } if now >= *until => {
                self.unreachable(&io::Error::new(io::ErrorKind::TimedOut, "no answer"))
            }
            State::Connected(_) => self.converse(now, socket_ready),
            State::Connecting { .. } | State::Waiting { .. } => GO_ON,
        }
    }

    fn connect(&mut self, now: Instant, until: Instant) -> Step {
        match Link::open(self.endpoint) {
            Ok(link) => self.state = State::Connecting { link, until },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && now < until => {
                self.state = State::Waiting {
                    until: now + QUEUE_PAUSE,
                    attempt: Some(until),
                };
            }
            Err(error) => return self.unreachable(&error),
        }
        GO_ON
    }

    fn connected(&mut self) -> Step {
        let now = Instant::now();
        let before = State::Waiting {
            until: now,
            attempt: None,
        };
        if let State::Connecting { link, .. } = std::mem::replace(&mut self.state, before) {
            self.state = State::Connected(link);
        }
        let nick = self.input.nick().map(|name| format!("/nick {name}\n"));
        // One that was typed before there was a connection is sent in its place.
        if let Some(line) = nick.filter(|line| !self.outgoing.holds(line)) {
            self.outgoing.push_first(&line);
        }
        if self.has_connected {
            self.notice(&format!("connected again: {}", self.endpoint));
        }
        self.has_connected = true;
        self.converse(now, false)
    }

    /// An attempt to connect has failed.
    fn unreachable(&mut self, error: &io::Error) -> Step {
        if self.has_connected && (self.input.has_quit() || self.options.reconnect) {
            let what = format!("still no connection: {} ({})", self.endpoint, cause(error));
            return self.retry(&what);
        }
        let source = io::Error::new(error.kind(), cause(error));
        Err(Error::Connect {
            endpoint: self.endpoint.clone(),
            source,
        })
    }

    /// The connection is over.
    fn lost(&mut self, source: io::Error) -> Step {
        if self.show_partial()?.is_break() {
            return DONE;
        }
        let is_end = source.kind() == io::ErrorKind::UnexpectedEof;
        if self.input.has_quit() || (!self.input.is_open() && self.outgoing.is_empty() && is_end) {
            return DONE;
        }
        if !self.input.is_open() || !self.options.reconnect {
            return Err(Error::Lost {
                endpoint: self.endpoint.clone(),
                source,
            });
        }
        self.outgoing.rewind();
        let what = format!("connection lost: {} ({})", self.endpoint, cause(&source));
        self.retry(&what)
    }

    /// Connects again after a wait, the next time after a longer one.
    fn retry(&mut self, what: &str) -> Step {
        let wait = self.next_wait;
        self.next_wait = wait.saturating_mul(2).min(self.options.longest_wait);
        self.state = State::Waiting {
            until: Instant::now() + wait,
            attempt: None,
        };
        if self.input.is_open() {
            self.notice(&format!("{what} — reconnecting in {wait:?}"));
        }
        GO_ON
    }

    /// Receives, shows and sends.
    fn converse(&mut self, now: Instant, socket_ready: bool) -> Step {
        if socket_ready && self.receive(now)?.is_break() {
            return DONE;
        }
        if self
            .incoming
            .due(self.options.pause)
            .is_some_and(|due| now >= due)
            && self.show_partial()?.is_break()
        {
            return DONE;
        }
        let State::Connected(link) = &self.state else {
            return GO_ON;
        };
        match self.outgoing.send(|bytes| link.send(bytes)) {
            Ok(true) => {
                self.farewell = None;
                GO_ON
            }
            Ok(false) => GO_ON,
            // What the server said before it went is still there to be read.
            Err(error) => match self.receive(now)? {
                ControlFlow::Continue(()) if matches!(self.state, State::Connected(_)) => {
                    self.lost(error)
                }
                step => Ok(step),
            },
        }
    }

    /// Receives and shows what is there, up to a bound, so that nothing else starves.
    fn receive(&mut self, now: Instant) -> Step {
        let mut buffer = [0; 16 << 10];
        for _ in 0..16 {
            let State::Connected(link) = &self.state else {
                break;
            };
            let count = match link.receive(&mut buffer) {
                Ok(0) => {
                    let end = io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed it");
                    return self.lost(end);
                }
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return self.lost(error),
            };
            self.next_wait = self.options.first_wait;
            let mut lines = String::new();
            self.incoming.push(&buffer[..count], now, |line| {
                lines.push_str(&line);
                lines.push('\n');
            });
            if self.show(&lines)?.is_break() {
                return DONE;
            }
        }
        GO_ON
    }

    /// Ends the conversation once the input has ended and there is no more to wait for.
    fn part(&mut self) -> Step {
        if self.input.is_open() {
            return GO_ON;
        }
        let link = match &self.state {
            State::Connecting { .. } => return GO_ON,
            State::Waiting { .. } if !self.has_connected => return GO_ON,
            State::Waiting { .. } if self.input.has_quit() || self.outgoing.is_empty() => {
                return DONE;
            }
            State::Waiting { .. } => return Err(self.unsent()),
            State::Connected(link) => link,
        };
        let now = Instant::now();
        if self.outgoing.is_empty() && !self.sending_ended {
            link.end_sending();
            self.sending_ended = true;
            self.farewell = None;
        }
        let farewell = *self.farewell.get_or_insert(now + self.options.farewell);
        if now < farewell {
            return GO_ON;
        }
        if self.show_partial()?.is_break() {
            return DONE;
        }
        if self.input.has_quit() || self.sending_ended {
            DONE
        } else {
            Err(self.unsent())
        }
    }

    fn unsent(&self) -> Error {
        let source = io::Error::other("not all that was typed has been sent");
        Error::Lost {
            endpoint: self.endpoint.clone(),
            source,
        }
    }

    /// Shows the line that has no end, if there is one.
    fn show_partial(&mut self) -> Step {
        match self.incoming.end() {
            Some(line) => self.show(&format!("{line}\n")),
            None => GO_ON,
        }
    }

    /// Shows whole lines; an output that nobody reads any more ends the conversation.
    fn show(&mut self, lines: &str) -> Step {
        let output = &mut self.output;
        match output
            .write_all(lines.as_bytes())
            .and_then(|()| output.flush())
        {
            Ok(()) => GO_ON,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => DONE,
            Err(source) => Err(Error::Terminal { source }),
        }
    }

    fn notice(&mut self, text: &str) {
        // What does not reach standard error is nobody's loss.
        let notices = &mut self.notices;
        let _ = notices
            .write_all(system(text).as_bytes())
            .and_then(|()| notices.flush());
    }
}
