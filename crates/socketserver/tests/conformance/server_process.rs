//! A server under test, in a process of its own: starting it, talking to it, ending it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use socketserver::Endpoint;

use crate::Outcome;
use crate::case::{Case, Kind};
use crate::client::{Client, PATIENCE};
use crate::facts::Facts;
use crate::gate::Gate;
use crate::serve;

/// A directory that is removed when it is dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Outcome<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("conformance-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A child process of the tests, which dies with its owner.
pub(crate) struct Process {
    child: Child,
    commands: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Process {
    /// Starts this binary with `arguments`.
    pub(crate) fn start(arguments: &[String]) -> Outcome<Self> {
        // Not by its path, at which a newer build may stand by now.
        let mut child = Command::new("/proc/self/exe")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or("the output is not a pipe")?;
        let commands = child.stdin.take();
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            child,
            commands,
            lines,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Gives it a command: a line of input.
    pub(crate) fn tell(&mut self, command: &str) -> Outcome {
        let commands = self.commands.as_mut().ok_or("its input is closed")?;
        // In one write, so that commands of several lines come in together.
        Ok(commands.write_all(format!("{command}\n").as_bytes())?)
    }

    /// Waits for a line of its output, which must begin with `word`; returns what follows.
    pub(crate) fn hear(&self, word: &str) -> Outcome<String> {
        let line = self
            .lines
            .recv_timeout(PATIENCE)
            .map_err(|error| format!("waiting for '{word}' of the server: {error}"))?;
        match line.strip_prefix(word) {
            Some(rest) => Ok(rest.trim().to_owned()),
            None => Err(format!("not '{word}' but '{line}' came of the server").into()),
        }
    }

    /// Kills it and waits for its end.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends `signal` to process `pid`.
pub(crate) fn signal(pid: u32, signal: Signal) -> Outcome {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or("the pid is no pid")?;
    Ok(rustix::process::kill_process(pid, signal)?)
}

/// Stops process `pid`, in which all wait, and has it go on: that ends system calls with `EINTR` that
/// have a timeout set, `recv(2)`, `send(2)` and `epoll_wait(2)` among them (`signal(7)`).
pub(crate) fn interrupt(pid: u32) -> Outcome {
    wait_for_state(pid, "S")?;
    signal(pid, Signal::STOP)?;
    wait_for_state(pid, "T")?;
    signal(pid, Signal::CONT)
}

/// Waits until all threads of process `pid` are in the state `letter` (`proc_pid_stat(5)`).
fn wait_for_state(pid: u32, letter: &str) -> Outcome {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let threads = fs::read_dir(format!("/proc/{pid}/task"))?.flatten();
        let mut states = threads.filter_map(|thread| serve::state(&thread.path()));
        // Under a debugger it is a small letter.
        if states.all(|state| state.eq_ignore_ascii_case(letter)) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("the threads of {pid} never were in state {letter}").into());
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// A server to be started: a cell of the matrix, and settings of [`serve`].
pub(crate) struct Setup {
    case: Case,
    settings: Vec<String>,
}

impl Setup {
    pub(crate) fn new(case: Case) -> Self {
        Self {
            case,
            settings: Vec::new(),
        }
    }

    /// Sets `name` to `value`; [`serve`] lists the names.
    pub(crate) fn with(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.settings.push(format!("{name}={value}"));
        self
    }

    /// Starts the process and has it serve.
    pub(crate) fn start(self) -> Outcome<ServerProcess> {
        let mut server = self.bind()?;
        server.serve()?;
        Ok(server)
    }

    /// Starts the process, which listens and does not serve yet.
    pub(crate) fn bind(self) -> Outcome<ServerProcess> {
        let scratch = Scratch::new()?;
        let mut arguments = vec![
            serve::FLAG.to_owned(),
            self.case.scheme.as_str().to_owned(),
            self.case.kind.as_str().to_owned(),
            self.case.engine.as_str().to_owned(),
            scratch.path().display().to_string(),
        ];
        arguments.extend(self.settings);
        fs::write(serve::journal(scratch.path()), "")?;
        let gate = Gate::at(&serve::gate(scratch.path()))?;
        let process = Process::start(&arguments)?;
        let endpoint = process.hear("listening on ")?.parse()?;
        Ok(ServerProcess {
            process,
            endpoint,
            gate,
            scratch,
        })
    }
}

/// A server in a process of its own.
pub(crate) struct ServerProcess {
    pub(crate) process: Process,
    pub(crate) endpoint: Endpoint,
    /// Where the handlers that are told to `wait` stand.
    pub(crate) gate: Gate,
    scratch: Scratch,
}

impl ServerProcess {
    /// A client of the server.
    pub(crate) fn client(&self) -> Outcome<Client> {
        Client::connect(&self.endpoint, self.scratch.path())
    }

    /// Asks one thing by a client of its own.
    pub(crate) fn ask(&self, text: &str) -> Outcome<String> {
        self.client()?.ask(text)
    }

    pub(crate) fn tell(&mut self, command: &str) -> Outcome {
        self.process.tell(command)
    }

    /// Has it serve (again).
    pub(crate) fn serve(&mut self) -> Outcome {
        self.tell("serve")?;
        self.process.hear("serving").map(drop)
    }

    /// A client whose request goes wrong as `text` says; a handler of messages has none to read in its
    /// `setup`, and is prompted.
    pub(crate) fn failing_client(&mut self, case: Case, text: &str) -> Outcome<Client> {
        let is_prompted = case.kind == Kind::Messages && text.ends_with("setup");
        self.prompt(case, if is_prompted { text } else { "" })?;
        let mut client = self.client()?;
        if !is_prompted {
            client.say(text)?;
        }
        Ok(client)
    }

    /// Has handlers of messages do as `text` says before they have a message.
    pub(crate) fn prompt(&mut self, case: Case, text: &str) -> Outcome {
        if case.kind == Kind::Requests {
            return Ok(());
        }
        self.tell(&format!("prompt {text}"))?;
        self.process.hear("prompted").map(drop)
    }

    /// What it is like at the moment.
    pub(crate) fn status(&mut self) -> Outcome<Facts> {
        self.tell("status")?;
        Ok(Facts::parse(&self.process.hear("status")?))
    }

    /// Waits until `name` is `number`.
    pub(crate) fn wait_until(&mut self, name: &str, number: u64) -> Outcome<Facts> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let facts = self.status()?;
            if facts.of(name) == number {
                return Ok(facts);
            }
            if Instant::now() > deadline {
                return Err(format!("{name} never was {number}: {facts}").into());
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Shuts the server down and waits for its report.
    pub(crate) fn stop(&mut self) -> Outcome<Facts> {
        self.tell("stop")?;
        self.report()
    }

    /// Shuts the server down and waits until it drains.
    pub(crate) fn drain(&mut self) -> Outcome {
        self.tell("stop")?;
        self.wait_until("stopping", 1)?;
        // Commands that come in together are obeyed before the drain begins; this one comes after.
        self.status().map(drop)
    }

    /// Waits until the server has stopped.
    pub(crate) fn report(&self) -> Outcome<Facts> {
        Ok(Facts::parse(&self.process.hear("report")?))
    }

    /// Calls `handle_request` with a timeout in milliseconds; returns what came of it.
    pub(crate) fn handle_request(&mut self, timeout: u64) -> Outcome<String> {
        self.tell(&format!("handle {timeout}"))?;
        self.process.hear("handled ")
    }

    /// Closes the server that has stopped; returns what is left.
    pub(crate) fn close(&mut self) -> Outcome<Facts> {
        self.tell("close")?;
        Ok(Facts::parse(&self.process.hear("closed")?))
    }

    /// Waits until `step` has been taken so often.
    pub(crate) fn wait_for_steps(&self, step: &str, number: usize) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        while self
            .journal()?
            .iter()
            .filter(|taken| *taken == step)
            .count()
            < number
        {
            if Instant::now() > deadline {
                return Err(format!("{step} was not taken {number} times").into());
            }
            thread::yield_now();
        }
        Ok(())
    }

    /// The steps that were taken so far, in their order.
    pub(crate) fn journal(&self) -> Outcome<Vec<String>> {
        let text = fs::read_to_string(serve::journal(self.scratch.path()))?;
        Ok(text.lines().map(str::to_owned).collect())
    }
}
