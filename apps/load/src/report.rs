//! The report: runs every scenario and comparison, and hands the findings to be written.

mod document;
mod marks;
mod table;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use crate::failure::{Doing, Failure, Result};
use crate::machine::{self, Machine};
use crate::pairs::{self, Answer, QUESTIONS, Question};
use crate::scenarios::{self, Figures, Idle, SCENARIOS, Scenario};
use crate::servers::{ECHO_SERVERS, Launcher, Server};
use crate::statistics::Summary;
use crate::subject::Plan;

/// Where a complete report goes.
const DEFAULT_OUTPUT: &str = "docs/benchmarks/echo.md";
/// How many idle connections are watched for the processor time that they use.
pub(crate) const WATCHED_CONNECTIONS: usize = 100;

/// A part of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Section {
    /// Memory and processor time of idle connections.
    Idle,
    /// The comparisons that have a mark to reach.
    Pairs,
    /// How long stopping takes.
    Stop,
    /// Every server in every scenario.
    Tables,
}

/// What the user asked for.
#[derive(Debug, clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub(crate) struct Options {
    /// Also write the report to this file [default: docs/benchmarks/echo.md, for a complete report]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Two short rounds, to see that everything runs; the figures mean little
    #[arg(long)]
    quick: bool,
    /// The `socketserver` command under test [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
    /// Only servers whose name holds this text, for example `peer` or `threading`
    #[arg(long, value_name = "SUBSTRING")]
    only: Option<String>,
    /// Only these parts
    #[arg(long, value_delimiter = ',', value_name = "PART")]
    sections: Vec<Section>,
    /// Pairs of measurements in each comparison
    #[arg(long, value_name = "N", default_value_t = 21)]
    pairs: usize,
    /// Measurements of each server in each table
    #[arg(long, value_name = "N", default_value_t = 7)]
    rounds: usize,
    /// Keep the server on core 1 and the generator on core 0 (this is the default with two cores)
    #[arg(long, overrides_with = "no_pin")]
    pin: bool,
    /// Let the kernel place server and generator
    #[arg(long)]
    no_pin: bool,
    /// Leave `TCP_NODELAY` unset in the bare loop; it is set by default, as in the server under test
    #[arg(long)]
    peer_nagle: bool,
}

/// What was measured of each server, or why it could not be.
pub(crate) type ByServer<T> = Vec<(Server, Result<T>)>;

/// All that was measured, by server or question in the order of the report.
pub(crate) struct Findings {
    pub(crate) machine: Machine,
    pub(crate) plan: Plan,
    pub(crate) pinned: bool,
    pub(crate) peer_nodelay: bool,
    /// Why this is not a complete report, if it is not.
    pub(crate) partial: Option<String>,
    pub(crate) answers: Vec<(&'static Question, Result<Answer>)>,
    pub(crate) scenarios: Vec<(&'static Scenario, ByServer<Figures>)>,
    pub(crate) memory: ByServer<Idle>,
    pub(crate) idle_cpu: ByServer<Duration>,
    pub(crate) stops: ByServer<Summary>,
    /// What was left out, and why.
    pub(crate) notes: Vec<String>,
}

/// Runs the report, prints it, and fails afterwards if a measurement did.
pub(crate) fn run(options: &Options) -> Result<()> {
    let machine = Machine::look();
    machine::raise_descriptor_limit()?;
    let pinned = options.pin || (machine.cores >= 2 && !options.no_pin);
    let launcher = Launcher::new(options.server.clone(), pinned, !options.peer_nagle)?;
    let run = Run {
        options,
        launcher: &launcher,
        plan: plan(options)?,
        has_python: machine.python.is_some(),
    };
    if run.wanted().any(Server::is_ours) {
        launcher.require_command()?;
    }
    if launcher.is_pinned() {
        machine::pin(machine::GENERATOR_CORE)?;
    }
    let (text, failed) = document::write(&run.findings(machine));
    print!("{text}");
    let complete = run.partial().is_none();
    let output = options.output.clone();
    if let Some(path) = output.or_else(|| complete.then(|| DEFAULT_OUTPUT.into())) {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).doing(|| format!("make {}", folder.display()))?;
        }
        fs::write(&path, text).doing(|| format!("write {}", path.display()))?;
    }
    if failed > 0 {
        return Err(Failure::new(format!(
            "{failed} measurements failed, they stand at the end of the report"
        )));
    }
    Ok(())
}

fn plan(options: &Options) -> Result<Plan> {
    if options.pairs == 0 || options.rounds == 0 {
        return Err(Failure::new("--pairs and --rounds must be at least 1"));
    }
    Ok(if options.quick {
        Plan {
            slice: Duration::from_millis(100),
            warm_up: Duration::from_millis(20),
            rounds: 2,
            pairs: 2,
            stops: 2,
            idle: Duration::from_millis(500),
        }
    } else {
        Plan {
            slice: Duration::from_millis(350),
            warm_up: Duration::from_millis(50),
            rounds: options.rounds,
            pairs: options.pairs,
            stops: 9,
            idle: Duration::from_secs(2),
        }
    })
}

/// A report under way.
struct Run<'a> {
    options: &'a Options,
    launcher: &'a Launcher,
    plan: Plan,
    has_python: bool,
}

impl Run<'_> {
    fn findings(&self, machine: Machine) -> Findings {
        let mut findings = Findings {
            machine,
            plan: self.plan,
            pinned: self.launcher.is_pinned(),
            peer_nodelay: !self.options.peer_nagle,
            partial: self.partial(),
            answers: Vec::new(),
            scenarios: Vec::new(),
            memory: Vec::new(),
            idle_cpu: Vec::new(),
            stops: Vec::new(),
            notes: Vec::new(),
        };
        if !self.has_python {
            let note = "There is no `python3` on this machine: the Python peers were skipped.";
            findings.notes.push(note.to_owned());
        }
        if self.has(Section::Pairs) {
            findings.answers = self.answers();
        }
        if self.has(Section::Tables) {
            findings.scenarios = self.scenarios();
        }
        if self.has(Section::Idle) {
            findings.memory = self.each(ECHO_SERVERS, "memory of idle connections", |server| {
                scenarios::idle_memory(server, self.launcher)
            });
            let watched = ECHO_SERVERS
                .into_iter()
                .filter(|server| server.most_connections() >= WATCHED_CONNECTIONS);
            findings.idle_cpu = self.each(watched, "processor time while idle", |server| {
                scenarios::idle_cpu(server, WATCHED_CONNECTIONS, self.launcher, &self.plan)
            });
        }
        if self.has(Section::Stop) {
            let ours = ECHO_SERVERS.into_iter().filter(|server| server.is_ours());
            findings.stops = self.each(ours, "stopping", |server| {
                scenarios::stop_times(server, self.launcher, &self.plan)
            });
        }
        findings
    }

    fn answers(&self) -> Vec<(&'static Question, Result<Answer>)> {
        let mut answers = Vec::new();
        for question in &QUESTIONS {
            // Without our own server the control is still worth running: it shows the noise.
            if self.wants(question.lower) && (self.wants(question.upper) || question.controlled) {
                progress(question.title);
                let with_upper = self.wants(question.upper);
                let answer = pairs::answer(question, with_upper, self.launcher, &self.plan);
                answers.push((question, answer));
            }
        }
        answers
    }

    fn scenarios(&self) -> Vec<(&'static Scenario, ByServer<Figures>)> {
        let mut columns = Vec::new();
        for scenario in &SCENARIOS {
            let suited: Vec<Server> = ECHO_SERVERS
                .into_iter()
                .filter(|&server| self.wants(server) && scenario.suits(server))
                .collect();
            if !suited.is_empty() {
                progress(scenario.title);
                let figures = scenarios::run(scenario, &suited, self.launcher, &self.plan);
                columns.push((scenario, suited.into_iter().zip(figures).collect()));
            }
        }
        columns
    }

    /// Measures each server that is wanted on its own.
    fn each<T>(
        &self,
        servers: impl IntoIterator<Item = Server>,
        title: &str,
        measure: impl Fn(Server) -> Result<T>,
    ) -> ByServer<T> {
        progress(title);
        let wanted = servers.into_iter().filter(|&server| self.wants(server));
        wanted.map(|server| (server, measure(server))).collect()
    }

    fn has(&self, section: Section) -> bool {
        self.options.sections.is_empty() || self.options.sections.contains(&section)
    }

    fn wants(&self, server: Server) -> bool {
        let named = self
            .options
            .only
            .as_deref()
            .is_none_or(|part| server.name().contains(part));
        named && (self.has_python || !server.needs_python())
    }

    fn wanted(&self) -> impl Iterator<Item = Server> {
        let all = ECHO_SERVERS
            .into_iter()
            .chain([Server::Unbounded, Server::Addressed]);
        all.filter(|&server| self.wants(server))
    }

    fn partial(&self) -> Option<String> {
        let mut reasons = Vec::new();
        if self.options.quick {
            reasons.push("`--quick`: the figures mean little".to_owned());
        }
        if let Some(part) = &self.options.only {
            reasons.push(format!("only servers named `{part}`"));
        }
        if !self.options.sections.is_empty() {
            reasons.push("only some sections".to_owned());
        }
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }
}

/// Tells the person who waits what is being measured.
fn progress(what: &str) {
    eprintln!("measuring: {what}");
}
