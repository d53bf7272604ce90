//! The operator's console in a real terminal, with its line editor.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use crate::program::{Client, command, until};

/// The command in a terminal of its own.
struct Terminal {
    child: Child,
    keys: File,
    shown: Arc<Mutex<String>>,
    /// Kept, so that the state of the terminal can be looked at.
    line: OwnedFd,
}

impl Terminal {
    fn start(arguments: &str) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let line = rustix::fs::open(name, flags, Mode::empty()).unwrap();
        let end = || line.try_clone().unwrap();
        let mut command = command(arguments);
        command
            .env("TERM", "xterm")
            .stdin(end())
            .stdout(end())
            .stderr(end());
        let child = command.spawn().unwrap();
        let keys = File::from(master);
        let shown = Arc::default();
        collect(keys.try_clone().unwrap(), Arc::clone(&shown));
        Self {
            child,
            keys,
            shown,
            line,
        }
    }

    fn shown(&self) -> String {
        self.shown.lock().unwrap().clone()
    }

    fn address(&self) -> std::net::SocketAddr {
        let mut address = None;
        until("it listens and prompts", || {
            let shown = self.shown();
            let rest = shown
                .split_once("listening on tcp://")
                .map(|(_, rest)| rest.to_owned());
            address = rest
                .as_deref()
                .and_then(|rest| rest.lines().next()?.trim().parse().ok());
            address.is_some() && shown.contains(">>> ")
        });
        address.unwrap()
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    fn ends_in_good_order(&mut self) {
        let mut status = None;
        until("it ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert_eq!(status.unwrap().code(), Some(0), "{}", self.shown());
        let modes = tcgetattr(&self.line).unwrap().local_modes;
        assert!(
            modes.contains(LocalModes::ICANON | LocalModes::ECHO),
            "the terminal is usable"
        );
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Notes what the terminal shows, on a thread that ends with the terminal.
fn collect(mut screen: File, shown: Arc<Mutex<String>>) {
    thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = screen.read(&mut chunk) {
            shown
                .lock()
                .unwrap()
                .push_str(&String::from_utf8_lossy(&chunk[..count]));
        }
    });
}

/// D-8: log lines and the line being typed overwrote each other.
#[test]
fn a_log_line_leaves_the_line_being_typed_whole() {
    let mut terminal = Terminal::start("chat --listen tcp://127.0.0.1:0");
    let address = terminal.address();
    terminal.press("he");
    until("it is shown", || terminal.shown().ends_with("he"));
    let before = terminal.shown().len();
    let mut client = Client::connect(address);
    client.line();
    let joined = format!("{} joined", client.name);
    until(
        "the log line is shown, and the typed line again below it",
        || {
            let shown = terminal.shown();
            shown[before..]
                .split_once(&joined)
                .is_some_and(|(_, rest)| rest.contains(">>> he"))
        },
    );
    terminal.press("lp\r");
    until("help answers", || {
        terminal.shown().contains("what runs: each connection")
    });
    terminal.press("quit\r");
    client.rest();
    terminal.ends_in_good_order();
}

#[test]
fn the_end_of_input_and_an_interrupt_and_a_signal_give_the_terminal_back() {
    for way in ["\x04", "\x03", "TERM"] {
        let mut terminal = Terminal::start("echo --listen tcp://127.0.0.1:0");
        terminal.address();
        match way {
            "TERM" => {
                let pid = Pid::from_child(&terminal.child);
                rustix::process::kill_process(pid, Signal::TERM).unwrap();
            }
            key => terminal.press(key),
        }
        terminal.ends_in_good_order();
    }
}

#[test]
fn the_forking_engine_has_a_plain_prompt() {
    let mut terminal = Terminal::start("echo --engine forking --listen tcp://127.0.0.1:0");
    let mut client = Client::connect(terminal.address());
    client.send("hello\n");
    client.line();
    terminal.press("ps\n");
    until("ps answers", || terminal.shown().contains("1 running"));
    terminal.press("quit\n");
    client.rest();
    terminal.ends_in_good_order();
}
