//! What a server process has used: processor time and memory.

use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use socketserver_sys::cpu_clock::process_cpu_time;

use crate::failure::{Doing, Failure, Result};

/// How long a server may go on after its last client has left.
const SETTLE_BOUND: Duration = Duration::from_millis(500);
/// A server that has used no time for so long is at rest.
const SETTLE_PAUSE: Duration = Duration::from_millis(5);

/// Whose use is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meter {
    pid: i32,
    with_children: bool,
}

/// Memory in KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Resident; a page that two processes share counts twice.
    pub(crate) rss: u64,
    /// Proportional; a page that two processes share counts half for each.
    pub(crate) pss: u64,
}

impl Meter {
    /// Makes a meter for the process `pid`, its children counted or not.
    pub(crate) fn new(pid: i32, with_children: bool) -> Self {
        Self { pid, with_children }
    }

    /// The processor time used so far.
    ///
    /// That of the process and of its live children is exact to the nanosecond; that of children
    /// which have been reaped is known to a tick of the system only, usually 10 ms.
    pub(crate) fn cpu(self) -> Result<Duration> {
        let mut total = process_cpu_time(self.pid).doing(|| "read a server's clock".into())?;
        if self.with_children {
            for child in children(self.pid)? {
                match process_cpu_time(child) {
                    Ok(time) => total += time,
                    // Reaped a moment ago: counted with those, below.
                    Err(error) if has_vanished(&error) => {}
                    Err(error) => return Err(error).doing(|| "read a child's clock".into()),
                }
            }
            total += reaped_children_time(self.pid)?;
        }
        Ok(total)
    }

    /// Waits, within a bound, until the server has come to rest, and tells the time used so far.
    pub(crate) fn cpu_at_rest(self) -> Result<Duration> {
        let give_up = Instant::now() + SETTLE_BOUND;
        let mut before = self.cpu()?;
        loop {
            thread::sleep(SETTLE_PAUSE);
            let now = self.cpu()?;
            if now == before || Instant::now() > give_up {
                return Ok(now);
            }
            before = now;
        }
    }

    /// How many pieces the memory of the server itself is mapped in, the lines of `/proc/PID/maps`.
    pub(crate) fn mappings(self) -> Result<u64> {
        mappings_of(self.pid)
    }

    /// Whether the server has an `io_uring` open.
    pub(crate) fn has_a_ring(self) -> Result<bool> {
        let path = format!("/proc/{}/fd", self.pid);
        let descriptors = fs::read_dir(&path).doing(|| format!("read {path}"))?;
        // The lowest come first, and a ring is opened before any connection.
        let mut targets = descriptors.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
        Ok(targets.any(|target| target.to_string_lossy().contains("[io_uring]")))
    }

    /// The memory in use now.
    pub(crate) fn memory(self) -> Result<Memory> {
        let mut total = memory_of(self.pid)?
            .ok_or_else(|| Failure::new(format!("process {} has ended", self.pid)))?;
        if self.with_children {
            for child in children(self.pid)? {
                // None: the child ended a moment ago and weighs nothing.
                if let Some(memory) = memory_of(child)? {
                    total.rss += memory.rss;
                    total.pss += memory.pss;
                }
            }
        }
        Ok(total)
    }
}

/// How many pieces the memory of a process is mapped in.
fn mappings_of(pid: i32) -> Result<u64> {
    let path = format!("/proc/{pid}/maps");
    let maps = fs::read_to_string(&path).doing(|| format!("read {path}"))?;
    Ok(maps.lines().count() as u64)
}

/// The live children of a process, whichever of its threads made them.
fn children(pid: i32) -> Result<Vec<i32>> {
    let what = || format!("list the children of process {pid}");
    let mut found = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).doing(what)? {
        let path = thread.doing(what)?.path().join("children");
        match fs::read_to_string(path) {
            Ok(text) => found.extend(
                text.split_whitespace()
                    .filter_map(|id| id.parse::<i32>().ok()),
            ),
            // The thread ended after it was listed.
            Err(error) if has_vanished(&error) => {}
            Err(error) => return Err(error).doing(what),
        }
    }
    Ok(found)
}

/// Whether an error means that a process or thread is no longer there.
fn has_vanished(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

/// The processor time of all children that a process has waited for.
fn reaped_children_time(pid: i32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).doing(|| format!("read {path}"))?;
    let ticks = reaped_children_ticks(&stat)
        .ok_or_else(|| Failure::new(format!("cannot understand {path}")))?;
    let nanoseconds = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
    Ok(Duration::from_nanos(ticks * nanoseconds))
}

/// `cutime + cstime` of a line of `proc_pid_stat(5)`.
fn reaped_children_ticks(stat: &str) -> Option<u64> {
    // The second field is the command in parentheses, which may hold anything.
    let (_, after_command) = stat.rsplit_once(')')?;
    let mut fields = after_command.split_whitespace().skip(13);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// The memory of one process; none if it has ended.
fn memory_of(pid: i32) -> Result<Option<Memory>> {
    let path = format!("/proc/{pid}/smaps_rollup");
    match fs::read_to_string(&path) {
        Ok(text) => match parse_memory(&text) {
            Some(memory) => Ok(Some(memory)),
            None => Err(Failure::new(format!("cannot understand {path}"))),
        },
        Err(error) if has_vanished(&error) => Ok(None),
        Err(error) => Err(error).doing(|| format!("read {path}")),
    }
}

fn parse_memory(rollup: &str) -> Option<Memory> {
    let of = |name: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Some(Memory {
        rss: of("Rss:")?,
        pss: of("Pss:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_reaped_children_is_found_behind_any_command_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 50 60 70 80 20 0 1 0 9";
        assert_eq!(reaped_children_ticks(stat), Some(150));
        assert_eq!(reaped_children_ticks("7 (cut) S 1"), None);
    }

    #[test]
    fn memory_is_read_from_the_rollup() {
        let text =
            "55-7f ---p 00000000 00:00 0 [rollup]\nRss:  1896 kB\nPss:   310 kB\nPss_Dirty: 9 kB\n";
        let memory = parse_memory(text).unwrap();
        assert_eq!(
            memory,
            Memory {
                rss: 1896,
                pss: 310
            }
        );
    }

    #[test]
    fn a_meter_reads_its_own_process() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let meter = Meter::new(pid, true);
        assert!(meter.cpu().unwrap() > Duration::ZERO);
        assert!(meter.memory().unwrap().rss > 0);
        assert!(meter.mappings().unwrap() > 0);
        assert!(!meter.has_a_ring().unwrap());
    }
}
