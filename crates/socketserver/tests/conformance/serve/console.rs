//! The console: commands from the standard input, read without ever waiting while the server serves.

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use socketserver::{ConnectionInfo, ServerHandle};

use super::process;
use super::stage::Stage;
use super::{Facts, say};
use crate::Outcome;

/// Commands that have come in.
pub(super) struct Console {
    input: Arc<Mutex<Input>>,
    stage: Arc<Stage>,
}

#[derive(Default)]
struct Input {
    lines: VecDeque<String>,
    partial: String,
}

impl Input {
    /// Reads at most `at_most` bytes; `false` at the end of input.
    fn read(&mut self, at_most: usize) -> io::Result<bool> {
        let mut bytes = vec![0; at_most];
        let count = rustix::io::read(io::stdin(), &mut bytes)?;
        for &byte in &bytes[..count] {
            if byte == b'\n' {
                self.lines.push_back(std::mem::take(&mut self.partial));
            } else {
                self.partial.push(char::from(byte));
            }
        }
        Ok(count > 0)
    }
}

impl Console {
    pub(super) fn new(stage: Arc<Stage>) -> Self {
        Self {
            input: Arc::default(),
            stage,
        }
    }

    /// Waits for the next command, while the server does not serve; byte by byte, so that what is
    /// for the [`watch`](Self::watch) is left to it.
    pub(super) fn next(&self) -> Outcome<String> {
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(line) = input.lines.pop_front() {
                return Ok(line);
            }
            if !input.read(1)? {
                return Err("the tests are gone".into());
            }
        }
    }

    /// What obeys the commands that come while the server serves.
    pub(super) fn watch(&self) -> impl FnMut(&ServerHandle) -> ControlFlow<()> + Send + 'static {
        let input = Arc::clone(&self.input);
        let stage = Arc::clone(&self.stage);
        move |handle| {
            let mut input = input.lock().unwrap_or_else(PoisonError::into_inner);
            if !input.read(4096).unwrap_or(false) {
                handle.abort();
                return ControlFlow::Break(());
            }
            while let Some(line) = input.lines.pop_front() {
                obey(&line, handle, &stage);
            }
            ControlFlow::Continue(())
        }
    }

    /// What the server is like at the moment.
    pub(super) fn status(&self, handle: &ServerHandle) -> Facts {
        status(handle, &self.stage)
    }
}

fn obey(line: &str, handle: &ServerHandle, stage: &Stage) {
    match line {
        "stop" => handle.shutdown(),
        "abort" => handle.abort(),
        "status" => {
            let _ = say(&format!("status {}", status(handle, stage)));
        }
        _ => match line.strip_prefix("prompt ") {
            Some(words) => {
                stage.prompt_with(words);
                let _ = say("prompted");
            }
            None => {
                let _ = say(&format!("no command while serving: '{line}'"));
            }
        },
    }
}

fn status(handle: &ServerHandle, stage: &Stage) -> Facts {
    let mut facts = process::facts();
    facts.add_all(&stage.tally());
    let connections = handle.connections();
    let is_idle = |connection: &&ConnectionInfo| connection.activity.is_idle();
    facts.add("live", connections.len() as u64);
    facts.add("idle", connections.iter().filter(is_idle).count() as u64);
    facts.add("members", stage.room.len() as u64);
    facts.add("stopping", u64::from(handle.is_stopping()));
    let counters = handle.counters();
    for (name, count) in [
        ("started", counters.started),
        ("ended", counters.ended),
        ("failed", counters.failed),
        ("panicked", counters.panicked),
        ("cut", counters.cut),
        ("refused", counters.refused),
    ] {
        facts.add(name, count);
    }
    facts
}
