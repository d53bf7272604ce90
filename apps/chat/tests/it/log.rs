//! What the log says.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use chat::{Names, Options};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::people::{Person, open, until};

/// Collects the messages of the chat's records.
struct Collector;

static RECORDS: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Message<'a>(&'a mut String);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            *self.0 = format!("{value:?}");
        }
    }
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "chat"
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut text = String::new();
        event.record(&mut Message(&mut text));
        RECORDS
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(text);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// The records of one peer.
fn records(address: &str) -> Vec<String> {
    let records = RECORDS.lock().unwrap_or_else(PoisonError::into_inner);
    records
        .iter()
        .filter(|record| record.contains(address))
        .cloned()
        .collect()
}

/// D-26: a reset left no record. D-16: a message could forge one.
#[test]
fn the_log_has_a_record_of_each_message_and_of_who_comes_and_goes() {
    // The other tests of this process log too; a peer's address picks its own.
    let _ = tracing::subscriber::set_global_default(Collector);
    let room = open(Options::default().names(Names::Guest));
    let mut one = Person::connect(&room);
    let own = one.address();
    let name = one.hears_until(|line| line.starts_with("* Welcome"));
    assert!(name.contains("guest-1"));
    one.sends("/nick ada\nhello 中文\na\rb\x1b[2J\\\n");
    one.sends(b"\xff\n");
    one.hears_until(|line| line.starts_with("ada \u{fffd}"));
    one.resets();
    until("the last record", || {
        records(&own)
            .last()
            .is_some_and(|last| last.ends_with("left"))
    });
    assert_eq!(
        records(&own),
        [
            format!("* {own} joined as guest-1"),
            format!("* {own} is now ada"),
            format!("{own} hello 中文"),
            format!("{own} a\\rb\\x1b[2J\\\\"),
            format!("{own} \\xff"),
            format!("* {own} left"),
        ]
    );
}
