//! The operator's console: a prompt on standard input, as one more descriptor of the server's loop.
//!
//! Where standard input and output are a terminal and the engine allows threads, a line editor reads
//! it instead, on a thread of its own, and log lines are drawn above the line being typed.

use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::termios::{OptionalActions, Termios};
use rustyline::error::ReadlineError;
use rustyline::{DefaultEditor, ExternalPrinter};
use socketserver::{Builder, Engine, Place, Served, ServerHandle, Transport};

mod commands;

pub(crate) use commands::Extra;
use commands::{Commands, Said};

use crate::arguments::ServeArguments;
use crate::log::Sink;

const PROMPT: &str = ">>> ";

/// The terminal as it was before a line editor took it over.
static TERMINAL: Mutex<Option<Termios>> = Mutex::new(None);

/// A console that has not yet been started.
pub(crate) struct Console {
    kind: Kind,
    commands: Commands,
    sink: Sink,
}

enum Kind {
    /// There is none.
    Off,
    /// The server's loop reads standard input: once to wait on it, once to read.
    Watched(Option<(OwnedFd, OwnedFd)>),
    /// A line editor does.
    Edited,
}

impl Console {
    /// Decides which console there is to be, for a server that runs its requests at `place`.
    pub(crate) fn new(
        arguments: &ServeArguments,
        sink: Sink,
        place: Place,
        extra: &[Extra],
    ) -> io::Result<Self> {
        let is_terminal = io::stdin().is_terminal();
        let kind = if arguments.no_console || !(arguments.console || is_terminal) {
            Kind::Off
        } else if is_terminal && io::stdout().is_terminal() && place != Place::Process {
            Kind::Edited
        } else {
            let stdin = || io::stdin().as_fd().try_clone_to_owned();
            Kind::Watched(Some((stdin()?, stdin()?)))
        };
        Ok(Self {
            kind,
            commands: Commands::new(extra),
            sink,
        })
    }

    /// Has the server's loop watch standard input, if that is how it is read.
    pub(crate) fn attach<T, E>(&mut self, builder: Builder<T, E>) -> Builder<T, E>
    where
        T: Transport,
        T::Accepted: Served,
        E: Engine,
    {
        let Kind::Watched(stdin) = &mut self.kind else {
            return builder;
        };
        let Some((watched, read)) = stdin.take() else {
            return builder;
        };
        let commands = self.commands.clone();
        let mut typed = Vec::new();
        builder.watch(watched, move |server| {
            read_lines(&read, &mut typed, &commands, server)
        })
    }

    /// Shows the prompt.
    pub(crate) fn start(self, server: &ServerHandle) -> io::Result<Started> {
        match self.kind {
            Kind::Off => {}
            Kind::Watched(_) => prompt(),
            Kind::Edited => self.edit(server.clone())?,
        }
        let shows_prompt = !matches!(self.kind, Kind::Off);
        Ok(Started {
            shows_prompt,
            commands: self.commands,
            sink: self.sink,
        })
    }

    fn edit(&self, server: ServerHandle) -> io::Result<()> {
        let saved = rustix::termios::tcgetattr(io::stdin()).ok();
        *TERMINAL.lock().unwrap_or_else(PoisonError::into_inner) = saved;
        let mut editor = DefaultEditor::new().map_err(io::Error::other)?;
        let printer = editor.create_external_printer().map_err(io::Error::other)?;
        let printer = Arc::new(Mutex::new(printer));
        self.sink.redirect(Some(Box::new(move |line| {
            let mut printer = printer.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = printer.print(line);
        })));
        let commands = self.commands.clone();
        // It ends with the program: a read of the terminal cannot be called off.
        thread::Builder::new()
            .name("console".to_owned())
            .spawn(move || {
                loop {
                    match editor.readline(PROMPT) {
                        Ok(line) => {
                            let _ = editor.add_history_entry(&line);
                            if commands.run(&line, &server) == Said::Quit {
                                break;
                            }
                        }
                        Err(ReadlineError::Interrupted | ReadlineError::Eof) => break,
                        Err(error) => {
                            tracing::warn!(%error, "the console is gone");
                            return;
                        }
                    }
                }
                server.shutdown();
            })?;
        Ok(())
    }
}

/// A console that is running.
pub(crate) struct Started {
    shows_prompt: bool,
    commands: Commands,
    sink: Sink,
}

impl Started {
    /// Gives the terminal back.
    pub(crate) fn end(self) {
        self.sink.redirect(None);
        restore_terminal();
        if self.shows_prompt && !self.commands.has_quit() {
            // The prompt is still there: what comes next begins a line of its own.
            let _ = writeln!(io::stdout());
        }
    }
}

/// Puts the terminal back as it was; a line editor changes it while it reads.
pub(crate) fn restore_terminal() {
    let saved = TERMINAL
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    if let Some(saved) = saved {
        let _ = rustix::termios::tcsetattr(io::stdin(), OptionalActions::Now, &saved);
    }
}

/// Reads what has been typed, and runs the lines that are whole.
fn read_lines(
    stdin: &OwnedFd,
    typed: &mut Vec<u8>,
    commands: &Commands,
    server: &ServerHandle,
) -> ControlFlow<()> {
    /// A line longer than this is no command.
    const LONGEST: usize = 64 << 10;
    let mut chunk = [0; 4096];
    let count = match rustix::io::read(stdin, &mut chunk) {
        Ok(count) => count,
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return ControlFlow::Continue(()),
        Err(_) => 0,
    };
    typed.extend_from_slice(&chunk[..count]);
    while let Some(end) = typed.iter().position(|&byte| byte == b'\n') {
        let line = typed.drain(..=end).collect::<Vec<u8>>();
        if commands.run(&String::from_utf8_lossy(&line), server) == Said::Quit {
            server.shutdown();
            return ControlFlow::Break(());
        }
        prompt();
    }
    if typed.len() > LONGEST {
        typed.clear();
    }
    if count == 0 {
        // The end of input is the operator's quit.
        server.shutdown();
        return ControlFlow::Break(());
    }
    ControlFlow::Continue(())
}

fn prompt() {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(PROMPT.as_bytes());
    let _ = stdout.flush();
}
