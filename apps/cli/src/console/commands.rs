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
                let busy = server
                    .connections()
                    .iter()
                    .filter(|info| !info.activity.is_idle())
                    .count();
                if busy > 0 {
                    let text = "are at work and have a moment to end; an interrupt leaves at once";
                    println!("{busy} {text}");
                }
                return Said::Quit;
            }
            "ps" => processes(server),
            "stats" => stats(server),
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
    let header = [
        "ID",
        "PEER",
        "PID",
        "AGE",
        "IN",
        "OUT",
        "STATE",
        "WAITS FOR",
    ]
    .map(str::to_owned);
    let rows: Vec<_> = std::iter::once(header)
        .chain(connections.iter().map(row))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; 8] = std::array::from_fn(|column| width(column).unwrap_or(0));
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            // Writing to a string does not fail.
            let _ = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn row(info: &ConnectionInfo) -> [String; 8] {
    [
        info.id.to_string(),
        info.peer.to_string(),
        info.process
            .map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
        age(info.age),
        info.bytes_in.to_string(),
        info.bytes_out.to_string(),
        format!("{:?}", info.activity).to_lowercase(),
        info.activity.waits_for().unwrap_or("-").to_owned(),
    ]
}

/// How often things have happened.
fn stats(server: &ServerHandle) -> String {
    let counters = server.counters();
    let numbers = [
        ("started", counters.started),
        ("ended", counters.ended),
        ("failed", counters.failed),
        ("panicked", counters.panicked),
        ("cut off", counters.cut),
        ("refused", counters.refused),
        ("accept pauses", counters.accept_pauses),
        ("accept failures", counters.accept_failures),
        ("replies dropped", counters.replies_dropped),
        ("bytes in", counters.bytes_in),
        ("bytes out", counters.bytes_out),
    ];
    numbers
        .iter()
        .fold(String::new(), |mut text, (name, number)| {
            let _ = writeln!(text, "  {name:<16} {number}");
            text
        })
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
