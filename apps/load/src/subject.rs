//! A server under load: its process, its meter, and the clients that drive it.

use std::time::Duration;

use crate::failure::{Doing, Result};
use crate::generator::{CHURN_CONCURRENCY, Outcome, PingPong, Span, churn};
use crate::histogram::Histogram;
use crate::meter::Meter;
use crate::server_process::ServerProcess;
use crate::servers::{Launcher, Server};
use crate::statistics;

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Each message has a connection of its own.
    Churn,
    /// So many connections stay, and each has one message under way.
    PingPong(usize),
}

/// How long and how often is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Of one measurement.
    pub(crate) slice: Duration,
    /// Before each measurement, not counted.
    pub(crate) warm_up: Duration,
    /// Measurements of each server in a table.
    pub(crate) rounds: usize,
    /// Pairs of measurements in a comparison.
    pub(crate) pairs: usize,
    /// How often a server is stopped to see how long that takes.
    pub(crate) stops: usize,
    /// How long idle connections are watched.
    pub(crate) idle: Duration,
}

/// The most connections of one measurement of churn: each leaves a port in TIME-WAIT, and there are
/// some 28,000 of them.
const CHURN_CONNECTIONS: u64 = 4000;

/// One measurement, or several added up.
#[derive(Clone)]
pub(crate) struct Cost {
    /// Of the server.
    pub(crate) cpu: Duration,
    pub(crate) messages: u64,
    /// While messages were under way.
    pub(crate) elapsed: Duration,
    pub(crate) latency: Histogram,
}

impl Cost {
    /// Microseconds of the server's processor time for each message.
    pub(crate) fn cpu_per_message(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / statistics::count(self.messages)
    }

    /// Messages per second.
    pub(crate) fn rate(&self) -> f64 {
        statistics::count(self.messages) / self.elapsed.as_secs_f64()
    }

    /// Adds another measurement of the same server.
    pub(crate) fn add(&mut self, other: &Self) {
        self.cpu += other.cpu;
        self.messages += other.messages;
        self.elapsed += other.elapsed;
        self.latency.merge(&other.latency);
    }
}

/// A running server and its clients.
pub(crate) struct Subject {
    /// Before the server, so that its connections are closed before it is stopped.
    clients: Option<PingPong>,
    process: ServerProcess,
    meter: Meter,
    server: Server,
}

impl Subject {
    /// Starts a server and opens the connections that the work needs.
    pub(crate) fn start(launcher: &Launcher, server: Server, work: Work) -> Result<Self> {
        let mut subject = Self::without_clients(launcher, server)?;
        if let Work::PingPong(connections) = work {
            subject.clients = Some(subject.connect(connections)?);
        }
        Ok(subject)
    }

    /// Starts a server.
    pub(crate) fn without_clients(launcher: &Launcher, server: Server) -> Result<Self> {
        let process = launcher.start(server)?;
        let meter = Meter::new(process.pid(), server.works_in_children());
        Ok(Self {
            clients: None,
            process,
            meter,
            server,
        })
    }

    /// Opens connections to the server.
    pub(crate) fn connect(&self, connections: usize) -> Result<PingPong> {
        PingPong::connect(self.process.address(), connections, 1, self.server.reply())
            .doing(|| format!("load {}", self.server.name()))
    }

    /// What the server has used.
    pub(crate) fn meter(&self) -> Meter {
        self.meter
    }

    /// Closes the connections, stops the server and tells how long it took to end.
    pub(crate) fn stop(mut self) -> Result<Duration> {
        drop(self.clients.take());
        self.process
            .stop()
            .doing(|| format!("stop {}", self.server.name()))
    }

    /// Warms up, then measures for one slice, from rest to rest.
    ///
    /// All messages of the slice are answered, and all threads of its connections gone, before the
    /// clock is read again, so that no work is left out and none is counted for another slice.
    pub(crate) fn measure(&mut self, plan: &Plan) -> Result<Cost> {
        let name = self.server.name();
        self.load(plan.warm_up)
            .doing(|| format!("warm up {name}"))?;
        let before = self.meter.cpu_at_rest()?;
        let outcome = self.load(plan.slice).doing(|| format!("load {name}"))?;
        let after = self.meter.cpu_at_rest()?;
        Ok(Cost {
            cpu: after.saturating_sub(before),
            messages: outcome.messages,
            elapsed: outcome.elapsed,
            latency: outcome.latency,
        })
    }

    fn load(&mut self, time: Duration) -> Result<Outcome> {
        match &mut self.clients {
            Some(clients) => clients.drive(Span {
                time,
                messages: u64::MAX,
            }),
            None => churn(
                self.process.address(),
                CHURN_CONCURRENCY,
                Span {
                    time,
                    messages: CHURN_CONNECTIONS,
                },
                self.server.reply(),
            ),
        }
    }
}
