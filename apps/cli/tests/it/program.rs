//! The command as a child process, and clients of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// How long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The engines. Where the kernel has no io_uring, the last is the one before.
pub(crate) const ENGINES: [&str; 6] = [
    "sequential",
    "forking",
    "threading",
    "pool",
    "reactor",
    "reactor --driver uring",
];

/// Those on which there can be a chat, and streams beside datagrams.
pub(crate) fn engines_of_a_room() -> &'static [&'static str] {
    &ENGINES[2..]
}

/// A running command; ended by force when it is dropped.
pub(crate) struct Program {
    pub(crate) child: Child,
    pub(crate) stdin: Option<ChildStdin>,
    output: Arc<Mutex<String>>,
    log: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

/// The command with `arguments`, separated by spaces.
pub(crate) fn command(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_socketserver"));
    command.args(arguments.split_whitespace());
    command
}

impl Program {
    /// Starts the command.
    pub(crate) fn start(arguments: &str) -> Self {
        Self::spawn(&mut command(arguments))
    }

    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (output, log) = (Arc::default(), Arc::default());
        let readers = vec![
            collect(child.stdout.take().unwrap(), &output),
            collect(child.stderr.take().unwrap(), &log),
        ];
        let stdin = child.stdin.take();
        Self {
            child,
            stdin,
            output,
            log,
            readers,
        }
    }

    /// Where it listens, in the order of its `--listen`.
    pub(crate) fn endpoints(&self, count: usize) -> Vec<String> {
        let endpoints = || -> Vec<String> {
            let output = self.output();
            let lines = output
                .lines()
                .filter_map(|line| line.strip_prefix("listening on "));
            lines.map(str::to_owned).collect()
        };
        until("it listens", || endpoints().len() >= count);
        endpoints()
    }

    /// The address of its one TCP endpoint.
    pub(crate) fn address(&self) -> SocketAddr {
        self.endpoints(1)[0]
            .strip_prefix("tcp://")
            .unwrap()
            .parse()
            .unwrap()
    }

    pub(crate) fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Types `line` at its console.
    pub(crate) fn type_line(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for its end, and for all that it printed.
    pub(crate) fn end(&mut self) -> ExitStatus {
        let mut status = None;
        until("it ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        status.unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads all of `stream` into `text`, on a thread.
fn collect(mut stream: impl Read + Send + 'static, text: &Arc<Mutex<String>>) -> JoinHandle<()> {
    let text = Arc::clone(text);
    thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut chunk) {
            text.lock()
                .unwrap()
                .push_str(&String::from_utf8_lossy(&chunk[..count]));
        }
    })
}

/// The fields of `/proc/PID/stat` from the state on; `None` if there is no such process.
pub(crate) fn stat(pid: i32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    Some(fields.split(' ').map(str::to_owned).collect())
}

/// The processor time of `program`, in hundredths of a second.
pub(crate) fn ticks(program: &Program) -> u64 {
    let fields = stat(program.child.id().cast_signed()).unwrap();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Waits until `condition` holds.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A TCP client that reads lines.
pub(crate) struct Client {
    pub(crate) reader: BufReader<TcpStream>,
    pub(crate) name: String,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let name = stream.local_addr().unwrap().to_string();
        Self {
            reader: BufReader::new(stream),
            name,
        }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.reader.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// The next line, with its end; empty at the end of input.
    pub(crate) fn line(&mut self) -> String {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line).unwrap();
        String::from_utf8_lossy(&line).into_owned()
    }

    /// All that still comes, to the end of input.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.reader.read_to_end(&mut rest).unwrap();
        rest
    }
}
