//! Finding, building and starting the programs that are measured.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::{Doing, Failure, Result};
use crate::machine;
use crate::server_process::ServerProcess;
use crate::servers::{Program, Server, Service};

/// This crate, where the sources of the loops in C are.
const CRATE: &str = env!("CARGO_MANIFEST_DIR");

/// Where the programs are and how they are run.
#[derive(Debug)]
pub(crate) struct Launcher {
    this_program: PathBuf,
    command: PathBuf,
    pinned: bool,
    /// Why a program is not there, by its name.
    missing: BTreeMap<&'static str, String>,
}

impl Launcher {
    /// Makes a launcher; `command` is the program under test, by default beside this one.
    pub(crate) fn new(command: Option<PathBuf>, pinned: bool) -> Result<Self> {
        let this_program = std::env::current_exe().doing(|| "find this program".into())?;
        let command = command.unwrap_or_else(|| this_program.with_file_name("socketserver"));
        Ok(Self {
            this_program,
            command,
            pinned,
            missing: BTreeMap::new(),
        })
    }

    /// Builds the command and the peers, and looks for the programs that are not built.
    ///
    /// What cannot be had is left out of the report, and told there.
    pub(crate) fn prepare(&mut self, with_build: bool, with_command: bool) {
        if with_build && with_command {
            self.build(
                "socketserver-cli",
                "socketserver",
                &["--features", "socketserver/uring"],
            );
        }
        if with_build {
            self.build("load", "load-peers", &["--features", "peers"]);
            for name in ["epoll", "uring"] {
                if let Err(failure) = self.compile(name) {
                    self.missing.insert(name, failure.to_string());
                }
            }
        }
        for (program, argument) in [("python3", "--version"), ("nats-server", "--version")] {
            let found = Command::new(program).arg(argument).output();
            if !found.is_ok_and(|output| output.status.success()) {
                let why = format!("there is no `{program}` on this machine");
                self.missing.insert(program, why);
            }
        }
    }

    fn build(&mut self, package: &str, program: &'static str, more: &[&str]) {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo.arg("build");
        // The folder of this program is named for its profile.
        let folder = self.this_program.parent();
        if folder.is_some_and(|folder| folder.ends_with("release")) {
            cargo.arg("--release");
        }
        if let Some(target) = folder.and_then(Path::parent) {
            cargo.arg("--target-dir").arg(target);
        }
        cargo.args(["--locked", "--package", package, "--bin", program]);
        cargo.args(more).current_dir(CRATE).stdin(Stdio::null());
        if !cargo.status().is_ok_and(|status| status.success()) {
            let why = format!("`{program}` could not be built");
            self.missing.insert(program, why);
        }
    }

    fn compile(&self, name: &str) -> Result<()> {
        let source = Path::new(CRATE)
            .join("peers")
            .join(name)
            .with_extension("c");
        let output = Command::new("cc")
            .args(["-O2", "-pthread", "-o"])
            .arg(self.raw_program(name))
            .arg(source)
            .output()
            .doing(|| "run cc".into())?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let first = text.lines().find(|line| line.contains("error"));
        let why = first.unwrap_or("cc failed");
        Err(Failure::new(format!(
            "{name}.c does not compile here: {why}"
        )))
    }

    fn raw_program(&self, name: &str) -> PathBuf {
        self.this_program.with_file_name(format!("load-raw-{name}"))
    }

    /// Why a server cannot be run here, if it cannot.
    pub(crate) fn obstacle(&self, server: Server) -> Option<&str> {
        let program = match server.program(Service::Echo, 1) {
            Program::Command(_) => "socketserver",
            Program::Nats => "nats-server",
            Program::OtherFrameworks(_) => "load-peers",
            Program::Raw(name, _) => name,
            Program::This(arguments) if arguments.iter().any(|word| word.contains("python")) => {
                "python3"
            }
            Program::This(_) => return None,
        };
        self.missing.get(program).map(String::as_str)
    }

    /// Why servers were left out.
    pub(crate) fn notes(&self) -> impl Iterator<Item = &str> {
        self.missing.values().map(String::as_str)
    }

    /// Whether servers and generator have a core each when a server has one loop.
    pub(crate) fn is_pinned(&self) -> bool {
        self.pinned
    }

    /// Starts a server and waits until it listens; one of several loops may use every core.
    pub(crate) fn start(
        &self,
        server: Server,
        service: Service,
        loops: usize,
    ) -> Result<ServerProcess> {
        let mut command = vec![OsString::from(&self.this_program), "launch".into()];
        if self.pinned && loops == 1 {
            command.extend(["--core".into(), machine::SERVER_CORE.to_string().into()]);
        }
        command.push("--".into());
        let (program, arguments) = match server.program(service, loops) {
            Program::Command(arguments) => (self.command.clone(), arguments),
            Program::Nats => {
                let options = "--addr 127.0.0.1 --port -1 --log /dev/stdout";
                let arguments = options.split(' ').map(str::to_owned).collect();
                (PathBuf::from("nats-server"), arguments)
            }
            Program::OtherFrameworks(arguments) => {
                (self.this_program.with_file_name("load-peers"), arguments)
            }
            Program::Raw(name, arguments) => (self.raw_program(name), arguments),
            Program::This(arguments) => (self.this_program.clone(), arguments),
        };
        command.push(program.into());
        command.extend(arguments.into_iter().map(OsString::from));
        ServerProcess::start(&command).doing(|| format!("run {}", server.name()))
    }
}
