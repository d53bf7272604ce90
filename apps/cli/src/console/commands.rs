//! What can be typed at the console.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socketserver::{ConnectionInfo, ServerHandle};

/// A command of one program.
#[derive(Clone)]
pub(crate) struct Extra {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    /// Answers what stands behind the command's name.
    pub(crate) answer: Arc<dyn Fn(&str) -> String + Send + Sync>,
}

/// All commands.
#[derive(Clone)]
pub(super) struct Commands {
    extra: Vec<Extra>,
    /// Whether somebody has typed `quit`.
    quit: Arc<AtomicBool>,
}

/// What a line came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Said {
    /// The server goes on.
    Something,
    /// The operator wants it to end.
    Quit,
}

const HELP: [(&str, &str); 5] = [
    (
        "ps",
        "what runs: each connection, its age and bytes, and what it waits for",
    ),
    ("stats", "how often things have happened"),
    ("kick ID", "cuts off the connection with that number"),
    ("help", "this list"),
    ("quit", "lets the connections end, and leaves"),
];

impl Commands {
    pub(super) fn new(extra: &[Extra]) -> Self {
        Self {
            extra: extra.to_vec(),
            quit: Arc::default(),
        }
    }

    /// Whether somebody has typed `quit`.
    pub(super) fn has_quit(&self) -> bool {
        self.quit.load(Ordering::Relaxed)
    }

    /// Runs one line, and prints its answer.
    pub(super) fn run(&self, line: &str, server: &ServerHandle) -> Said {
        let line = line.trim();
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let answer = match name {
            "" => return Said::Something,
            "quit" => {
                self.quit.store(true, Ordering::Relaxed);
                return Said::Quit;
            }
            "ps" => processes(server),
            "stats" => format!("{:#?}\n", server.counters()),
            "kick" => kick(rest.trim(), server),
            "help" => self.help(),
            _ => match self.extra.iter().find(|extra| extra.name == name) {
                Some(extra) => (extra.answer)(rest.trim()),
                None => format!("no such command: {}\n{}", name.escape_debug(), self.help()),
            },
        };
        let mut stdout = std::io::stdout().lock();
        let _ = stdout.write_all(answer.as_bytes());
        let _ = stdout.flush();
        Said::Something
    }

    fn help(&self) -> String {
        let extra = self.extra.iter().map(|extra| (extra.name, extra.help));
        let mut text = String::new();
        for (name, help) in extra.chain(HELP) {
            // Writing to a string does not fail.
            let _ = writeln!(text, "  {name:<10} {help}");
        }
        text
    }
}

fn kick(id: &str, server: &ServerHandle) -> String {
    match id.parse() {
        Ok(id) if server.disconnect(id) => format!("connection {id} is cut off\n"),
        Ok(id) => format!("there is no connection {id}: ps lists them\n"),
        Err(_) => "kick needs the number of a connection: ps lists them\n".to_owned(),
    }
}

/// What runs, as Python's `threading.enumerate()` would show the threads.
fn processes(server: &ServerHandle) -> String {
    let connections = server.connections();
    let mut text = format!("{} running\n", connections.len());
    if connections.is_empty() {
        return text;
    }
    let _ = writeln!(
        text,
        "{:>6} {:<24} {:<8} {:>8} {:>10} {:>10} {:<9} WAITS FOR",
        "ID", "PEER", "WORKER", "AGE", "IN", "OUT", "STATE"
    );
    for info in &connections {
        let _ = writeln!(text, "{}", row(info));
    }
    text
}

fn row(info: &ConnectionInfo) -> String {
    let worker = match info.process {
        Some(pid) => pid.to_string(),
        None => format!("{}", info.id),
    };
    let state = format!("{:?}", info.activity).to_lowercase();
    format!(
        "{:>6} {:<24} {:<8} {:>8} {:>10} {:>10} {:<9} {}",
        info.id,
        info.peer.to_string(),
        worker,
        age(info.age),
        info.bytes_in,
        info.bytes_out,
        state,
        info.activity.waits_for().unwrap_or("-"),
    )
}

/// An age in its largest unit, and one below.
fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_short_to_read() {
        assert_eq!(age(Duration::from_secs(5)), "5s");
        assert_eq!(age(Duration::from_secs(65)), "1m05s");
        assert_eq!(age(Duration::from_secs(7265)), "2h01m");
    }

    #[test]
    fn help_lists_every_command() {
        let extra = Extra {
            name: "who",
            help: "who is here",
            answer: Arc::new(|_| String::new()),
        };
        let help = Commands::new(&[extra]).help();
        for name in ["who", "ps", "stats", "kick", "help", "quit"] {
            assert!(help.contains(name), "{name}");
        }
    }
}
