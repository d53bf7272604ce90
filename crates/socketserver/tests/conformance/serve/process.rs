//! What this process has: threads, descriptors, children.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command};

use crate::facts::Facts;

/// The open descriptors, less the one by which they are counted.
pub(crate) fn descriptors() -> u64 {
    entries("/proc/self/fd").saturating_sub(1)
}

/// Threads, descriptors and children.
pub(crate) fn facts() -> Facts {
    let mut facts = Facts::default();
    facts.add("threads", entries("/proc/self/task"));
    facts.add("descriptors", descriptors());
    facts.add("children", children());
    facts
}

fn entries(directory: &str) -> u64 {
    fs::read_dir(directory).map_or(0, |entries| entries.count() as u64)
}

/// The children of this process, those included that have ended and are not reaped.
fn children() -> u64 {
    let me = std::process::id().to_string();
    let Ok(processes) = fs::read_dir("/proc") else {
        return 0;
    };
    let is_child = |status: &String| field(status, 1) == Some(&me);
    processes
        .flatten()
        .filter_map(|process| fs::read_to_string(process.path().join("stat")).ok())
        .filter(is_child)
        .count() as u64
}

/// What `/proc/PID/stat` says behind the name: 0 is the state, 1 the parent.
fn field(status: &str, number: usize) -> Option<&str> {
    let (_, fields) = status.rsplit_once(") ")?;
    fields.split(' ').nth(number)
}

/// The state of the process or thread that `/proc` has at `path`, by its letter (`proc_pid_stat(5)`).
pub(crate) fn state(path: &Path) -> Option<String> {
    let status = fs::read_to_string(path.join("stat")).ok()?;
    field(&status, 0).map(str::to_owned)
}

/// A child that no server has started; it has ended, with the code 72, and waits to be reaped.
pub(crate) fn foreign_child() -> io::Result<Child> {
    let child = Command::new("sh").args(["-c", "exit 72"]).spawn()?;
    let process = format!("/proc/{}", child.id());
    while state(Path::new(&process)).as_deref() != Some("Z") {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    Ok(child)
}
