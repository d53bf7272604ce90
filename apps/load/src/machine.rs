//! The machine: what it is, for the report's head, and what a process may use of it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use rustix::process::{
    Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit,
};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::failure::{Doing, Result};

/// The core that the load generator runs on when it is pinned.
pub(crate) const GENERATOR_CORE: usize = 0;
/// The core that the server under test runs on when it is pinned.
pub(crate) const SERVER_CORE: usize = 1;

/// What a figure depends on and a reader must know.
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    /// What the servers were built with, and which release each is of.
    pub(crate) versions: Vec<String>,
}

impl Machine {
    /// Looks at this machine; must be called before the process is pinned.
    pub(crate) fn look() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let mut processor = field(&cpuinfo, "model name")
            .unwrap_or("unknown processor")
            .to_owned();
        if field(&cpuinfo, "flags").is_some_and(|flags| flags.contains(" hypervisor")) {
            processor.push_str(", a virtual machine");
        }
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            processor,
            cores: thread::available_parallelism().map_or(1, usize::from),
            kernel: format!("Linux {}", kernel.trim()),
            versions: versions(),
        }
    }
}

/// The versions of what the servers stand on, as far as it is there.
fn versions() -> Vec<String> {
    let programs = ["rustc", "cc", "python3", "nats-server"];
    let mut found: Vec<String> = programs.into_iter().filter_map(version_of).collect();
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
    let lock = fs::read_to_string(lock).unwrap_or_default();
    let crates = ["tokio", "mio", "may"].into_iter();
    found.extend(crates.filter_map(|name| Some(format!("{name} {}", locked(&lock, name)?))));
    found
}

/// The version of a crate in `Cargo.lock`.
fn locked<'a>(lock: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    rest.split('"').next()
}

/// The value of the first line `name : value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim())
}

/// The first line that a program prints about its version.
fn version_of(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next()?.trim();
    (output.status.success() && !line.is_empty()).then(|| line.to_owned())
}

/// Keeps this process, and those it starts later, on one core.
pub(crate) fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).doing(|| format!("stay on core {core}"))
}

/// Puts this process on the generator's core, or lets it go where it likes.
pub(crate) fn place_generator(is_pinned: bool) -> Result<()> {
    if is_pinned {
        return pin(GENERATOR_CORE);
    }
    let mut set = CpuSet::new();
    (0..CpuSet::MAX_CPU).for_each(|core| set.set(core));
    sched_setaffinity(None, &set).doing(|| "use every core".into())
}

/// Raises the soft limit of open descriptors to the hard one, for this process and its children.
pub(crate) fn raise_descriptor_limit() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).doing(|| "raise the limit of open descriptors".into())
}

/// Asks to be ended when the process that started this one ends, however it ends.
pub(crate) fn end_with_parent() -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .doing(|| "ask to be ended with the parent".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "model\t\t: 6\nmodel name\t: A: B\n";
        assert_eq!(field(text, "model name"), Some("A: B"));
        assert_eq!(field(text, "flags"), None);
    }

    #[test]
    fn the_version_of_a_crate_is_found_by_its_whole_name() {
        let lock = "[[package]]\nname = \"tokio-macros\"\nversion = \"2.7.2\"\n\n[[package]]\nname = \"tokio\"\nversion = \"1.54.1\"\n";
        assert_eq!(locked(lock, "tokio"), Some("1.54.1"));
        assert_eq!(locked(lock, "mio"), None);
    }

    #[test]
    fn a_program_that_is_not_there_has_no_version() {
        assert_eq!(version_of("no-such-program-at-all"), None);
    }
}
