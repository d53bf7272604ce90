//! What the handlers and hooks of a server under test share, and what they note.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use socketserver::{Address, Broadcast, Error, Event, Hooks, Observer, ServerHandle, Verdict};

use super::Settings;
use crate::facts::Facts;

/// What all share.
pub(super) struct Stage {
    settings: Arc<Settings>,
    /// Events and calls of hooks, counted; a forked child counts for itself.
    tally: Mutex<Facts>,
    has_panicked: AtomicBool,
    /// What the next handlers of messages are to do before they have one.
    prompt: Mutex<String>,
    pub(super) room: Broadcast,
}

impl Stage {
    pub(super) fn new(settings: Arc<Settings>) -> Self {
        Self {
            settings,
            tally: Mutex::default(),
            has_panicked: AtomicBool::new(false),
            prompt: Mutex::default(),
            room: Broadcast::new(),
        }
    }

    /// Notes a step; each is one write to the end of a file, so that those of children are in order
    /// too.
    pub(super) fn note(&self, step: &str) {
        let path = super::journal(&self.settings.directory);
        let file = OpenOptions::new().append(true).open(path);
        let noted = file.and_then(|mut file| file.write_all(format!("{step}\n").as_bytes()));
        // The tests may be over, and their directory gone, before the last child is.
        if let Err(error) = noted
            && error.kind() != ErrorKind::NotFound
        {
            eprintln!("the journal: {error}");
        }
    }

    pub(super) fn gate(&self) -> PathBuf {
        super::gate(&self.settings.directory)
    }

    /// Whether the first request is read in `setup`.
    pub(super) fn is_early(&self) -> bool {
        self.settings.is("early", "yes")
    }

    /// What handlers of messages are to do before they have one.
    pub(super) fn prompt(&self) -> String {
        let prompt = self.prompt.lock().unwrap_or_else(PoisonError::into_inner);
        prompt.clone()
    }

    pub(super) fn prompt_with(&self, words: &str) {
        let mut prompt = self.prompt.lock().unwrap_or_else(PoisonError::into_inner);
        words.clone_into(&mut prompt);
    }

    /// Whether the server speaks first.
    pub(super) fn greets(&self) -> bool {
        self.settings.is("greets", "yes")
    }

    /// Whether an overlong line is answered rather than an error.
    pub(super) fn forgives(&self) -> bool {
        self.settings.is("forgives", "yes")
    }

    pub(super) fn tally(&self) -> Facts {
        self.tally
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn count(&self, name: &str) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.add(name, 1);
    }

    /// Panics if this is the hook that is to, for the first time.
    fn called(&self, hook: &str) {
        self.count(hook);
        let panics = self.settings.is("panics", hook);
        assert!(
            !panics || self.has_panicked.swap(true, Ordering::Relaxed),
            "on purpose"
        );
    }
}

/// The hooks note that they are called, and do as the settings say.
pub(super) struct Noting(pub(super) Arc<Stage>);

impl Hooks for Noting {
    fn verify_request(&self, _peer: &Address, _server: &ServerHandle) -> Verdict {
        self.0.note("verify_request");
        self.0.called("verify_request");
        if self.0.settings.is("verify", "no") {
            Verdict::Refuse
        } else {
            Verdict::Serve
        }
    }

    fn service_actions(&self, _server: &ServerHandle) {
        self.0.called("service_actions");
    }

    fn handle_timeout(&self, _server: &ServerHandle) {
        self.0.called("handle_timeout");
    }

    fn handle_error(&self, error: &Error, server: &ServerHandle) {
        let step = match error {
            Error::Handler { step, .. } | Error::Panic { step, .. } => step.to_string(),
            other => other.to_string(),
        };
        self.0.note(&format!("handle_error {step}"));
        self.0.called("handle_error");
        server.report(error);
    }
}

impl Observer for Noting {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Ended { reason, .. } => self.0.count(&format!("ended: {reason}")),
            Event::Refused { reason, .. } => self.0.count(&format!("refused: {reason}")),
            _ => {}
        }
    }
}
