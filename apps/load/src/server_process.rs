//! A server as a child process: started, asked where it listens, stopped by its pid.

use std::ffi::OsString;
use std::io::Read;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::failure::{Doing, Failure, Result};

/// How long a server may take to listen.
pub(crate) const START_BOUND: Duration = Duration::from_secs(10);
/// How long a server may take to end after SIGTERM before it is killed.
const STOP_BOUND: Duration = Duration::from_secs(10);
/// More than any first line; a server that prints more without listening is given up.
const FIRST_LINE_BYTES: usize = 4096;

/// A running server; dropping it ends the process.
pub(crate) struct ServerProcess {
    child: Child,
    address: SocketAddr,
    /// Kept open, so that a server that prints more does not fail at it.
    stdout: Option<ChildStdout>,
}

impl ServerProcess {
    /// Starts `command` and waits until it says `listening on tcp://ADDRESS`.
    ///
    /// Its standard error goes to `/dev/null`, where logging costs what it costs the server itself.
    pub(crate) fn start(command: &[OsString]) -> Result<Self> {
        let (program, arguments) = command
            .split_first()
            .ok_or_else(|| Failure::new("a server needs a command"))?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .doing(|| format!("start {}", shown(command)))?;
        // From here on a failure ends the child when this is dropped.
        let mut server = Self {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            stdout: None,
        };
        server.stdout = server.child.stdout.take();
        let said = server
            .stdout
            .as_mut()
            .ok_or_else(|| Failure::new("its output is not piped"))
            .and_then(|stdout| address_said_on(stdout, Instant::now() + START_BOUND));
        server.address = said.doing(|| format!("learn where `{}` listens", shown(command)))?;
        Ok(server)
    }

    /// Where the server listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The id of the server's process.
    pub(crate) fn pid(&self) -> i32 {
        Pid::from_child(&self.child).as_raw_pid()
    }

    /// Asks the server to end with SIGTERM and tells how long it took.
    ///
    /// # Errors
    ///
    /// Fails if it had to be killed, or had ended by itself before.
    pub(crate) fn stop(mut self) -> Result<Duration> {
        let early = self
            .child
            .try_wait()
            .doing(|| "look after a server".into())?;
        if let Some(status) = early {
            return Err(Failure::new(format!(
                "the server had ended by itself: {status}"
            )));
        }
        let asked = Instant::now();
        if self.end()? {
            Ok(asked.elapsed())
        } else {
            Err(Failure::new(format!(
                "the server did not end within {} s of SIGTERM and was killed",
                STOP_BOUND.as_secs()
            )))
        }
    }

    /// Ends the process and reaps it; tells whether SIGTERM was enough.
    fn end(&mut self) -> Result<bool> {
        if self
            .child
            .try_wait()
            .doing(|| "look after a server".into())?
            .is_some()
        {
            return Ok(true);
        }
        // The pid is ours until it is reaped below, so that no other process can be meant.
        let pid = Pid::from_child(&self.child);
        let watch =
            pidfd_open(pid, PidfdFlags::empty()).doing(|| format!("watch process {pid}"))?;
        kill_process(pid, Signal::TERM).doing(|| format!("end process {pid}"))?;
        let in_time = readable(&watch, Instant::now() + STOP_BOUND)?;
        if !in_time {
            self.child.kill().doing(|| format!("kill process {pid}"))?;
        }
        self.child.wait().doing(|| format!("reap process {pid}"))?;
        Ok(in_time)
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        if self.end().is_err() {
            // Nothing is left to try, and a destructor has nobody to tell.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Reads up to the line that names the address.
fn address_said_on(stdout: &mut ChildStdout, deadline: Instant) -> Result<SocketAddr> {
    let mut said = Vec::new();
    while said.len() < FIRST_LINE_BYTES {
        if !readable(&*stdout, deadline)? {
            return Err(Failure::new(format!(
                "it said nothing of it within {} s",
                START_BOUND.as_secs()
            )));
        }
        let mut chunk = [0; 256];
        let bytes = stdout.read(&mut chunk).doing(|| "read its output".into())?;
        if bytes == 0 {
            return Err(Failure::new("it ended, run it by hand to see why"));
        }
        said.extend_from_slice(&chunk[..bytes]);
        if let Some(address) = address_in(&String::from_utf8_lossy(&said)) {
            return address;
        }
    }
    Err(Failure::new("it said much, but not where it listens"))
}

/// The address in the first whole line that names one, if there is such a line.
fn address_in(said: &str) -> Option<Result<SocketAddr>> {
    said.split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n'))
        .find_map(|line| {
            if let Some(endpoint) = line.trim_end().strip_prefix("listening on ") {
                return Some(parse_endpoint(endpoint));
            }
            // As NATS says it, in the middle of a line of its log.
            let (_, address) = line.split_once("Listening for client connections on ")?;
            Some(parse_endpoint(&format!("tcp://{}", address.trim_end())))
        })
}

/// Reads `tcp://ADDRESS:PORT`, or the same with `udp`.
pub(crate) fn parse_endpoint(endpoint: &str) -> Result<SocketAddr> {
    endpoint
        .strip_prefix("tcp://")
        .or_else(|| endpoint.strip_prefix("udp://"))
        .ok_or_else(|| Failure::new(format!("`{endpoint}` is not tcp://ADDRESS:PORT")))?
        .parse()
        .doing(|| format!("read `{endpoint}` as tcp://ADDRESS:PORT"))
}

/// Waits until a descriptor is readable; false at the deadline.
pub(crate) fn readable(fd: impl AsFd, deadline: Instant) -> Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).doing(|| "convert a time".into())?;
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error).doing(|| "wait for a server".into()),
        }
    }
}

/// A command as it would be typed, programs without the folders that they are in, which are nobody
/// else's business: this text can end up in the report.
fn shown(command: &[OsString]) -> String {
    let words = command.iter().map(|argument| {
        let path = Path::new(argument);
        let word = if path.is_absolute() {
            path.file_name().unwrap_or(argument)
        } else {
            argument
        };
        word.to_string_lossy().into_owned()
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_taken_from_a_whole_line_only() {
        assert!(address_in("listening on tcp://127.0.0.1:99").is_none());
        let address = address_in("hello\nlistening on tcp://127.0.0.1:9999\n").unwrap();
        assert_eq!(address.unwrap(), SocketAddr::from(([127, 0, 0, 1], 9999)));
    }

    #[test]
    fn the_address_of_a_nats_server_stands_in_its_log() {
        let said = "[1] 2026/01/01 [INF] Listening for client connections on 127.0.0.1:4222\n";
        let address = address_in(said).unwrap().unwrap();
        assert_eq!(address.port(), 4222);
    }

    #[test]
    fn an_endpoint_that_is_not_tcp_is_refused_by_name() {
        let error = parse_endpoint("unix:///x").unwrap_err();
        assert!(error.to_string().contains("`unix:///x`"));
    }

    #[test]
    fn a_server_that_ends_before_it_listens_is_an_error() {
        let error = ServerProcess::start(&["true".into()]).err().unwrap();
        assert!(error.to_string().contains("it ended"), "{error}");
    }

    #[test]
    fn a_command_is_shown_without_the_folders_of_its_programs() {
        let command = ["/a/b/load", "--", "/c/socketserver", "echo"].map(OsString::from);
        assert_eq!(shown(&command), "load -- socketserver echo");
    }

    #[test]
    fn a_server_that_listens_is_stopped_by_sigterm() {
        let script = "echo listening on tcp://127.0.0.1:1; exec sleep 60";
        let command = ["sh", "-c", script].map(OsString::from);
        let server = ServerProcess::start(&command).unwrap();
        assert_eq!(server.address().port(), 1);
        assert!(server.stop().unwrap() < STOP_BOUND);
    }
}
