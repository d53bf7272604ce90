//! The report: measures every stage and what else there is, and hands the findings to be written.

mod columns;
mod document;
mod marks;
mod method;
mod plot;
mod rest;
mod table;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::failure::{Doing, Failure, Result};
use crate::idle::{self, STOPPED, WATCHED, WEIGHED};
use crate::launcher::Launcher;
use crate::machine::{self, Machine};
use crate::rounds::{self, Played};
use crate::scenarios::{STAGES, Stage};
use crate::servers::Server;
use crate::statistics::Summary;
use crate::subject::{Plan, Weight};

/// Where a complete report goes, its plots beside it.
const DEFAULT_OUTPUT: &str = "docs/benchmarks/README.md";

/// A part of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Section {
    /// Memory and processor time of idle connections.
    Idle,
    /// Every server in every scenario, and the marks.
    Stages,
    /// How long stopping takes.
    Stop,
}

/// What the user asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Also write the report to this file, and its plots beside it [default:
    /// docs/benchmarks/README.md, for a complete report]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Two short rounds, to see that everything runs; the figures mean little
    #[arg(long)]
    quick: bool,
    /// The `socketserver` command under test [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
    /// Only servers whose name holds one of these texts, for example `raw,tokio`
    #[arg(long, value_delimiter = ',', value_name = "TEXT")]
    only: Vec<String>,
    /// Only scenarios of which a column's title holds this text, for example `lines`; may be repeated
    #[arg(long = "scenario", value_name = "TEXT")]
    scenarios: Vec<String>,
    /// Only these parts
    #[arg(long, value_delimiter = ',', value_name = "PART")]
    sections: Vec<Section>,
    /// Rounds, in each of which every server is measured
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Milliseconds of each of the two measurements of a round
    #[arg(long, value_name = "MS", default_value_t = 110, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    slice: u32,
    /// Take the command and the peers as they are, or leave them out
    #[arg(long)]
    no_build: bool,
    /// Let the kernel place server and generator also where a server has one loop
    #[arg(long)]
    no_pin: bool,
}

/// What was measured of each server, or why it could not be.
pub(crate) type ByServer<T> = Vec<(Server, Result<T>)>;

/// All that was measured, in the order of the report.
pub(crate) struct Findings {
    pub(crate) machine: Machine,
    pub(crate) plan: Plan,
    pub(crate) pinned: bool,
    /// Why this is not a complete report, if it is not.
    pub(crate) partial: Option<String>,
    pub(crate) stages: Vec<Played>,
    pub(crate) memory: ByServer<Weight>,
    pub(crate) idle_cpu: ByServer<Duration>,
    pub(crate) stops: ByServer<Summary>,
    /// What was left out, and why.
    pub(crate) notes: Vec<String>,
    pub(crate) took: Duration,
}

/// Runs the report, prints it, and fails afterwards if a measurement did.
pub(crate) fn run(options: &Options) -> Result<()> {
    let began = Instant::now();
    let machine = Machine::look();
    machine::raise_descriptor_limit()?;
    let pinned = machine.cores >= 2 && !options.no_pin;
    let mut launcher = Launcher::new(options.server.clone(), pinned)?;
    launcher.prepare(!options.no_build, options.server.is_none());
    let run = Run {
        options,
        launcher: &launcher,
        plan: plan(options),
        began,
    };
    let document = document::write(&run.findings(machine)?);
    print!("{}", document.text);
    let complete = run.partial().is_none();
    let output = options.output.clone();
    if let Some(path) = output.or_else(|| complete.then(|| DEFAULT_OUTPUT.into())) {
        let folder = path.parent().map(PathBuf::from).unwrap_or_default();
        if !folder.as_os_str().is_empty() {
            fs::create_dir_all(&folder).doing(|| format!("make {}", folder.display()))?;
        }
        fs::write(&path, document.text).doing(|| format!("write {}", path.display()))?;
        for (name, plot) in document.plots {
            let path = folder.join(name);
            fs::write(&path, plot).doing(|| format!("write {}", path.display()))?;
        }
    }
    if document.failed > 0 {
        return Err(Failure::new(format!(
            "{} measurements failed, they stand at the end of the report",
            document.failed
        )));
    }
    Ok(())
}

fn plan(options: &Options) -> Plan {
    if options.quick {
        return Plan {
            slice: Duration::from_millis(40),
            warm_up: Duration::from_millis(10),
            rounds: 2,
            spectator_rounds: 1,
            stops: 2,
            idle: Duration::from_millis(500),
        };
    }
    let rounds = options.rounds as usize;
    Plan {
        slice: Duration::from_millis(options.slice.into()),
        warm_up: Duration::from_millis(25),
        rounds,
        spectator_rounds: rounds.min(3),
        stops: 9,
        idle: Duration::from_secs(2),
    }
}

/// A report under way.
struct Run<'a> {
    options: &'a Options,
    launcher: &'a Launcher,
    plan: Plan,
    began: Instant,
}

impl Run<'_> {
    fn findings(&self, machine: Machine) -> Result<Findings> {
        let mut findings = Findings {
            machine,
            plan: self.plan,
            pinned: self.launcher.is_pinned(),
            partial: self.partial(),
            stages: Vec::new(),
            memory: Vec::new(),
            idle_cpu: Vec::new(),
            stops: Vec::new(),
            notes: self.launcher.notes().map(str::to_owned).collect(),
            took: Duration::ZERO,
        };
        if self.has(Section::Stages) {
            for stage in STAGES.iter().filter(|stage| self.wants_stage(stage)) {
                self.progress(stage.acts[0].title);
                let wanted = |server| self.wants(server);
                let played = rounds::play(stage, wanted, self.launcher, &self.plan)?;
                findings.stages.push(played);
            }
        }
        machine::place_generator(self.launcher.is_pinned())?;
        if self.has(Section::Idle) {
            findings.memory = self.each(&WEIGHED, "memory of idle connections", |server| {
                idle::weight(server, self.launcher)
            });
            findings.idle_cpu = self.each(&WATCHED, "processor time while idle", |server| {
                idle::cpu(server, self.launcher, &self.plan)
            });
        }
        if self.has(Section::Stop) {
            findings.stops = self.each(&STOPPED, "stopping", |server| {
                idle::stop_times(server, self.launcher, &self.plan)
            });
        }
        findings.took = self.began.elapsed();
        Ok(findings)
    }

    /// Measures each server that is wanted on its own.
    fn each<T>(
        &self,
        servers: &[Server],
        title: &str,
        measure: impl Fn(Server) -> Result<T>,
    ) -> ByServer<T> {
        self.progress(title);
        let wanted = servers.iter().filter(|&&server| self.wants(server));
        wanted.map(|&server| (server, measure(server))).collect()
    }

    fn has(&self, section: Section) -> bool {
        self.options.sections.is_empty() || self.options.sections.contains(&section)
    }

    fn wants(&self, server: Server) -> bool {
        let is_named = is_named(&self.options.only, server.name());
        is_named && self.launcher.obstacle(server).is_none()
    }

    fn wants_stage(&self, stage: &Stage) -> bool {
        let mut acts = stage.acts.iter();
        acts.any(|act| is_named(&self.options.scenarios, act.title))
    }

    fn partial(&self) -> Option<String> {
        let options = self.options;
        let mut reasons = Vec::new();
        if options.quick {
            reasons.push("`--quick`: the figures mean little".to_owned());
        }
        if !options.only.is_empty() {
            reasons.push(format!(
                "only servers named `{}`",
                options.only.join("`, `")
            ));
        }
        if !options.scenarios.is_empty() {
            let named = options.scenarios.join("`, `");
            reasons.push(format!("only scenarios named `{named}`"));
        }
        if !options.sections.is_empty() {
            reasons.push("only some sections".to_owned());
        }
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    /// Tells the person who waits what is being measured.
    fn progress(&self, what: &str) {
        eprintln!("{:4} s  {what}", self.began.elapsed().as_secs());
    }
}

/// Whether `name` holds one of `parts`, or there are none.
fn is_named(parts: &[String], name: &str) -> bool {
    parts.is_empty() || parts.iter().any(|part| name.contains(part.as_str()))
}
