//! The scenarios of the tables: the same load on every server, in turns; idle connections; stopping.

use std::thread;
use std::time::Duration;

use crate::failure::{Failure, Result};
use crate::generator::Span;
use crate::histogram::Histogram;
use crate::meter::Memory;
use crate::servers::{Launcher, Server};
use crate::statistics::Summary;
use crate::subject::{Plan, Subject, Work};

/// A column of the tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) title: &'static str,
    pub(crate) work: Work,
}

const fn ping_pong(title: &'static str, connections: usize) -> Scenario {
    Scenario {
        title,
        work: Work::PingPong(connections),
    }
}

/// The columns, in order.
pub(crate) const SCENARIOS: [Scenario; 6] = [
    ping_pong("1 connection", 1),
    ping_pong("8", 8),
    ping_pong("30", 30),
    ping_pong("100", 100),
    ping_pong("1000", 1000),
    Scenario {
        title: "connect-echo-close",
        work: Work::Churn,
    },
];

impl Scenario {
    /// Whether a server can do this work.
    pub(crate) fn suits(&self, server: Server) -> bool {
        match self.work {
            Work::Churn => true,
            Work::PingPong(connections) => connections <= server.most_connections(),
        }
    }
}

/// What one server showed in one scenario.
#[derive(Clone)]
pub(crate) struct Figures {
    /// Median of microseconds of the server's processor time for each message.
    pub(crate) cpu_per_message: f64,
    /// Median of messages per second.
    pub(crate) rate: f64,
    /// Of all messages of all rounds.
    pub(crate) latency: Histogram,
}

/// Runs one scenario: every server started once, then driven in rounds, one at a time, the order
/// rotated by one from round to round.
pub(crate) fn run(
    scenario: &Scenario,
    servers: &[Server],
    launcher: &Launcher,
    plan: &Plan,
) -> Vec<Result<Figures>> {
    let mut entrants: Vec<Result<Entrant>> = servers
        .iter()
        .map(|&server| Entrant::start(launcher, server, scenario.work))
        .collect();
    for round in 0..plan.rounds {
        for turn in 0..entrants.len() {
            let at = (round + turn) % entrants.len();
            // A server that fails is left out from then on; the others go on.
            if let Ok(entrant) = &mut entrants[at]
                && let Err(failure) = entrant.take_turn(plan)
            {
                entrants[at] = Err(failure);
            }
        }
    }
    entrants
        .into_iter()
        .map(|entrant| entrant?.figures())
        .collect()
}

struct Entrant {
    subject: Subject,
    cpu_per_message: Vec<f64>,
    rate: Vec<f64>,
    latency: Histogram,
}

impl Entrant {
    fn start(launcher: &Launcher, server: Server, work: Work) -> Result<Self> {
        Ok(Self {
            subject: Subject::start(launcher, server, work)?,
            cpu_per_message: Vec::new(),
            rate: Vec::new(),
            latency: Histogram::new(),
        })
    }

    fn take_turn(&mut self, plan: &Plan) -> Result<()> {
        let cost = self.subject.measure(plan)?;
        self.cpu_per_message.push(cost.cpu_per_message());
        self.rate.push(cost.rate());
        self.latency.merge(&cost.latency);
        Ok(())
    }

    fn figures(self) -> Result<Figures> {
        self.subject.stop()?;
        let none = || Failure::new("there were no rounds");
        Ok(Figures {
            cpu_per_message: Summary::of(&self.cpu_per_message).ok_or_else(none)?.median,
            rate: Summary::of(&self.rate).ok_or_else(none)?.median,
            latency: self.latency,
        })
    }
}

/// What idle connections cost a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Idle {
    pub(crate) connections: usize,
    /// Memory of all these connections together.
    pub(crate) memory: Memory,
}

/// Opens as many connections as the server takes, echoes once on each, and weighs the server before
/// and after.
pub(crate) fn idle_memory(server: Server, launcher: &Launcher) -> Result<Idle> {
    let subject = Subject::without_clients(launcher, server)?;
    // What is allocated once, for the first connection of all, is no connection's share.
    drop(echo_once(&subject, 1)?);
    subject.meter().cpu_at_rest()?;
    let before = subject.meter().memory()?;
    let connections = server.most_connections();
    let clients = echo_once(&subject, connections)?;
    subject.meter().cpu_at_rest()?;
    let after = subject.meter().memory()?;
    drop(clients);
    subject.stop()?;
    Ok(Idle {
        connections,
        memory: Memory {
            rss: after.rss.saturating_sub(before.rss),
            pss: after.pss.saturating_sub(before.pss),
        },
    })
}

/// The processor time that a server uses while `connections` connections say nothing.
pub(crate) fn idle_cpu(
    server: Server,
    connections: usize,
    launcher: &Launcher,
    plan: &Plan,
) -> Result<Duration> {
    let subject = Subject::without_clients(launcher, server)?;
    let clients = echo_once(&subject, connections)?;
    let before = subject.meter().cpu_at_rest()?;
    thread::sleep(plan.idle);
    let used = subject.meter().cpu()?.saturating_sub(before);
    drop(clients);
    subject.stop()?;
    Ok(used)
}

/// How long a server without clients takes to end after SIGTERM, several times.
pub(crate) fn stop_times(server: Server, launcher: &Launcher, plan: &Plan) -> Result<Summary> {
    let mut milliseconds = Vec::with_capacity(plan.stops);
    for _ in 0..plan.stops {
        let subject = Subject::without_clients(launcher, server)?;
        // It has served before, so that it stands in its loop and not in its start.
        drop(echo_once(&subject, 1)?);
        subject.meter().cpu_at_rest()?;
        milliseconds.push(subject.stop()?.as_secs_f64() * 1e3);
    }
    Summary::of(&milliseconds).ok_or_else(|| Failure::new("no server was stopped"))
}

fn echo_once(subject: &Subject, connections: usize) -> Result<crate::generator::PingPong> {
    let mut clients = subject.connect(connections)?;
    clients.drive(Span {
        time: Duration::from_secs(10),
        messages: connections as u64,
    })?;
    Ok(clients)
}
