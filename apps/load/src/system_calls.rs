//! System calls for each message: counted by `perf` where it can, by `strace` elsewhere.
//!
//! Both slow the server, `strace` greatly; so the counting has a slice of its own, whose time is not
//! looked at, and what is counted is told for what it is.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::failure::{Doing, Failure, Result};
use crate::scenarios::Act;
use crate::server_process::{START_BOUND, readable};
use crate::statistics;
use crate::subject::{Plan, Subject};

/// The system calls of the server for each message; none where nothing can count them.
pub(crate) fn per_message(subject: &mut Subject, act: &Act, plan: &Plan) -> Option<f64> {
    let counters: [fn(i32) -> Result<Counter>; 2] = [Counter::perf, Counter::strace];
    for start in counters {
        if let Ok(counter) = start(subject.pid()) {
            return counter.count(subject, act, plan).ok();
        }
    }
    None
}

/// A program that is attached to the server and counts; dropping it detaches it.
struct Counter {
    child: Child,
    is_perf: bool,
}

impl Counter {
    /// Attaches `perf`, which counts from when it is told to.
    fn perf(pid: i32) -> Result<Self> {
        let mut perf = Command::new("perf");
        perf.args("stat -x, -D -1 --control fd:0,1 -e raw_syscalls:sys_enter -p".split(' '));
        let child = spawn(perf.arg(pid.to_string()))?;
        let mut counter = Self {
            child,
            is_perf: true,
        };
        counter.tell("enable")?;
        Ok(counter)
    }

    /// Attaches `strace`, which counts from when it says that it is attached.
    fn strace(pid: i32) -> Result<Self> {
        let mut strace = Command::new("strace");
        let child = spawn(strace.args(["-c", "-f", "-p", &pid.to_string()]))?;
        let mut counter = Self {
            child,
            is_perf: false,
        };
        let stderr = counter.child.stderr.as_mut();
        let stderr = stderr.ok_or_else(|| Failure::new("its errors are not piped"))?;
        let deadline = Instant::now() + START_BOUND;
        let mut said = Vec::new();
        while !String::from_utf8_lossy(&said).contains(" attached") {
            let mut chunk = [0; 256];
            if !readable(&*stderr, deadline)? {
                return Err(Failure::new("strace does not attach itself"));
            }
            let bytes = stderr
                .read(&mut chunk)
                .doing(|| "read from strace".into())?;
            if bytes == 0 {
                return Err(Failure::new("strace cannot attach itself"));
            }
            said.extend_from_slice(&chunk[..bytes]);
        }
        Ok(counter)
    }

    /// Sends `perf` an order and waits until it has obeyed.
    fn tell(&mut self, order: &str) -> Result<()> {
        let (Some(stdin), Some(stdout)) = (&mut self.child.stdin, &mut self.child.stdout) else {
            return Err(Failure::new("perf is not piped"));
        };
        writeln!(stdin, "{order}").doing(|| "tell perf to count".into())?;
        let mut obeyed = [0; 5];
        if !readable(&*stdout, Instant::now() + START_BOUND)? {
            return Err(Failure::new("perf does not obey"));
        }
        stdout
            .read_exact(&mut obeyed)
            .doing(|| "hear from perf".into())
    }

    /// Loads the server for a slice and tells how many calls there were for each message.
    fn count(mut self, subject: &mut Subject, act: &Act, plan: &Plan) -> Result<f64> {
        let outcome = subject.load(act, plan.slice)?;
        subject.meter().cpu_at_rest()?;
        if self.is_perf {
            self.tell("disable")?;
        }
        self.end()?;
        let stderr = self.child.stderr.take();
        let stderr = stderr.ok_or_else(|| Failure::new("its errors are not piped"))?;
        let lines = BufReader::new(stderr)
            .lines()
            .map_while(std::result::Result::ok);
        let calls = calls_in(lines, self.is_perf)
            .ok_or_else(|| Failure::new("the counter has not told a count"))?;
        Ok(calls / statistics::count(outcome.messages))
    }

    fn end(&mut self) -> Result<()> {
        // The pid is ours until it is reaped, which happens after this.
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::INT).doing(|| "stop the counter".into())
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        // Killed only after it had its chance to print: nobody reads on from here.
        drop(self.child.stderr.take());
        if self.end().is_err() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

fn spawn(command: &mut Command) -> Result<Child> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .doing(|| "start the counter".into())
}

/// The number of calls in what a counter prints at its end.
fn calls_in(mut lines: impl Iterator<Item = String>, is_perf: bool) -> Option<f64> {
    lines.find_map(|line| {
        if is_perf {
            let (count, _) = line.split_once(',')?;
            return line.contains("sys_enter").then(|| count.parse().ok())?;
        }
        // `100.00  0.1  2  1234  [errors]  total`
        let words: Vec<&str> = line.split_whitespace().collect();
        (words.last() == Some(&"total")).then(|| words.get(3)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_in_what_each_counter_prints() {
        let perf = "4242,,raw_syscalls:sys_enter,1000,100.00,,".to_owned();
        assert_eq!(calls_in([perf].into_iter(), true), Some(4242.0));
        let strace = [
            "% time     seconds  usecs/call     calls    errors syscall",
            " 60.00    0.000100           1        60           sendto",
            "100.00    0.000200           2       123         4 total",
        ];
        let lines = strace.into_iter().map(str::to_owned);
        assert_eq!(calls_in(lines, false), Some(123.0));
        assert_eq!(calls_in(std::iter::empty(), true), None);
    }
}
