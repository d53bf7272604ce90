//! A server under load: its process, its meter, and the clients that drive it.

use std::time::Duration;

use crate::failure::{Doing, Failure, Result};
use crate::generator::{
    CHURN_CONCURRENCY, Datagrams, FanOut, ONE_SMALL, Outcome, PingPong, Reply, Span, Wire, churn,
};
use crate::histogram::Histogram;
use crate::launcher::Launcher;
use crate::meter::{Memory, Meter};
use crate::scenarios::{Act, Setup, Stage};
use crate::server_process::ServerProcess;
use crate::servers::{Engine, Server, Service};
use crate::statistics;

/// How long and how often is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Of one measurement.
    pub(crate) slice: Duration,
    /// Before each measurement, not counted.
    pub(crate) warm_up: Duration,
    /// Rounds, in each of which every server of a stage is measured.
    pub(crate) rounds: usize,
    /// Rounds in which spectators are measured, too.
    pub(crate) spectator_rounds: usize,
    /// How often a server is stopped to see how long that takes.
    pub(crate) stops: usize,
    /// How long idle connections are watched.
    pub(crate) idle: Duration,
}

/// The most connections of one measurement of churn: each leaves a port in TIME-WAIT, and there are
/// some 28,000 of them.
const CHURN_CONNECTIONS: u64 = 4000;
/// Members that join a large fan-out at once; every server of it queues more.
const JOIN_TOGETHER: usize = 1000;
/// Members that join a small one at once, which the standard library's queue of 128 can hold.
const JOIN_TOGETHER_SMALL: usize = 50;

/// One measurement, or several added up.
#[derive(Clone)]
pub(crate) struct Cost {
    /// Of the server.
    pub(crate) cpu: Duration,
    pub(crate) messages: u64,
    /// Datagrams that were not answered.
    pub(crate) lost: u64,
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
        self.lost += other.lost;
        self.elapsed += other.elapsed;
        self.latency.merge(&other.latency);
    }
}

/// What a server's connections weigh, all together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weight {
    pub(crate) connections: usize,
    pub(crate) memory: Memory,
    /// Lines of `/proc/PID/maps` that came with them.
    pub(crate) mappings: u64,
}

enum Clients {
    Churn,
    Datagrams(Datagrams),
    FanOut(FanOut),
    PingPong(PingPong),
}

/// A running server and its clients.
pub(crate) struct Subject {
    /// Before the server, so that its connections are closed before it is stopped.
    clients: Clients,
    process: ServerProcess,
    meter: Meter,
    server: Server,
}

impl Subject {
    /// Starts a server and opens the connections that the stage needs.
    pub(crate) fn start(launcher: &Launcher, server: Server, stage: &Stage) -> Result<Self> {
        let mut subject = Self::bare(launcher, server, stage.setup.service(), stage.loops)?;
        subject.connect(stage.setup)?;
        Ok(subject)
    }

    /// Starts a server, which has no clients.
    pub(crate) fn bare(
        launcher: &Launcher,
        server: Server,
        service: Service,
        loops: usize,
    ) -> Result<Self> {
        let process = launcher.start(server, service, loops)?;
        let meter = Meter::new(process.pid(), server.works_in_children());
        Ok(Self {
            clients: Clients::Churn,
            process,
            meter,
            server,
        })
    }

    /// Opens the connections of a setup, has each answered, and closes those that were open before.
    pub(crate) fn connect(&mut self, setup: Setup) -> Result<()> {
        let address = self.process.address();
        let clients = match setup {
            Setup::Churn => Ok(Clients::Churn),
            Setup::Datagrams(sockets) => {
                Datagrams::connect(address, sockets).map(Clients::Datagrams)
            }
            Setup::FanOut(members) => {
                let wire = if self.server == Server::Nats {
                    Wire::Nats
                } else {
                    Wire::Lines
                };
                let together = if members > JOIN_TOGETHER {
                    JOIN_TOGETHER
                } else {
                    JOIN_TOGETHER_SMALL
                };
                FanOut::connect(address, wire, members, together).map(Clients::FanOut)
            }
            Setup::PingPong {
                connections,
                active,
                shape,
                ..
            } => PingPong::connect(address, (connections, active), shape, self.reply())
                .map(Clients::PingPong),
        };
        self.clients = clients.doing(|| format!("load {}", self.server.name()))?;
        Ok(())
    }

    /// Opens connections that each echo one message, and tells what they weigh.
    pub(crate) fn weigh(&mut self, setup: Setup) -> Result<Weight> {
        // What is allocated once, for the first connection of all, is no connection's share.
        self.connect(Setup::PingPong {
            connections: 1,
            active: 1,
            shape: ONE_SMALL,
            service: setup.service(),
        })?;
        self.clients = Clients::Churn;
        self.meter.cpu_at_rest()?;
        let (before, mappings) = (self.meter.memory()?, self.meter.mappings()?);
        self.connect(setup)?;
        self.meter.cpu_at_rest()?;
        let after = self.meter.memory()?;
        Ok(Weight {
            connections: setup.connections(),
            memory: Memory {
                rss: after.rss.saturating_sub(before.rss),
                pss: after.pss.saturating_sub(before.pss),
            },
            mappings: self.meter.mappings()?.saturating_sub(mappings),
        })
    }

    /// What the server has used.
    pub(crate) fn meter(&self) -> Meter {
        self.meter
    }

    /// The id of the server's process.
    pub(crate) fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// Closes the connections, stops the server and tells how long it took to end.
    pub(crate) fn stop(mut self) -> Result<Duration> {
        self.clients = Clients::Churn;
        self.process
            .stop()
            .doing(|| format!("stop {}", self.server.name()))
    }

    /// Warms up, then measures for one slice, from rest to rest.
    ///
    /// All messages of the slice are answered, and all threads of its connections gone, before the
    /// clock is read again, so that no work is left out and none is counted for another slice.
    pub(crate) fn measure(&mut self, act: &Act, plan: &Plan) -> Result<Cost> {
        let name = self.server.name();
        self.load(act, plan.warm_up)
            .doing(|| format!("warm up {name}"))?;
        if self.server == Server::Engine(Engine::ReactorUring) && !self.meter.has_a_ring()? {
            let text = "the reactor has no io_uring: it has fallen back to epoll";
            return Err(Failure::new(text));
        }
        let before = self.meter.cpu_at_rest()?;
        let outcome = self
            .load(act, plan.slice * act.length)
            .doing(|| format!("load {name}"))?;
        let after = self.meter.cpu_at_rest()?;
        Ok(Cost {
            cpu: after.saturating_sub(before),
            messages: outcome.messages,
            lost: outcome.lost,
            elapsed: outcome.elapsed,
            latency: outcome.latency,
        })
    }

    /// Drives the clients for a time.
    pub(crate) fn load(&mut self, act: &Act, time: Duration) -> Result<Outcome> {
        let mut span = Span {
            time,
            messages: u64::MAX,
        };
        match &mut self.clients {
            Clients::Churn => {
                span.messages = CHURN_CONNECTIONS;
                churn(
                    self.process.address(),
                    CHURN_CONCURRENCY,
                    span,
                    self.reply(),
                )
            }
            Clients::Datagrams(sockets) => sockets.drive(span),
            Clients::FanOut(members) => members.drive(act.window, span),
            Clients::PingPong(connections) => connections.drive(span),
        }
    }

    fn reply(&self) -> Reply {
        if self.server.is_addressed() {
            Reply::Addressed
        } else {
            Reply::Same
        }
    }
}
