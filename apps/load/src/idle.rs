//! What a server costs that has nothing to do: memory, processor time, and the time to stop.

use std::thread;
use std::time::Duration;

use crate::failure::{Failure, Result};
use crate::generator::ONE_SMALL;
use crate::launcher::Launcher;
use crate::scenarios::Setup;
use crate::servers::{Engine, Server, Service};
use crate::statistics::Summary;
use crate::subject::{Plan, Subject, Weight};

/// How many idle connections are watched for the processor time that they use.
pub(crate) const WATCHED_CONNECTIONS: usize = 100;

/// The servers whose connections are weighed here, because no stage has them by the thousands.
pub(crate) const WEIGHED: [Server; 5] = [
    Server::Engine(Engine::Threading),
    Server::Engine(Engine::Forking),
    Server::Engine(Engine::Sequential),
    Server::StdThreads,
    Server::PythonThreading,
];

/// The servers that are watched while their connections say nothing.
pub(crate) const WATCHED: [Server; 8] = [
    Server::Engine(Engine::ReactorEpoll),
    Server::Engine(Engine::ReactorUring),
    Server::Engine(Engine::Pool),
    Server::Engine(Engine::Threading),
    Server::RawEpoll,
    Server::TokioCurrent,
    Server::StdThreads,
    Server::PythonThreading,
];

/// The engines that are stopped to see how long that takes.
pub(crate) const STOPPED: [Server; 6] = [
    Server::Engine(Engine::ReactorEpoll),
    Server::Engine(Engine::ReactorUring),
    Server::Engine(Engine::Pool),
    Server::Engine(Engine::Threading),
    Server::Engine(Engine::Forking),
    Server::Engine(Engine::Sequential),
];

fn connections(connections: usize) -> Setup {
    Setup::PingPong {
        connections,
        active: connections,
        shape: ONE_SMALL,
        service: Service::Echo,
    }
}

/// What so many connections weigh as the server takes.
pub(crate) fn weight(server: Server, launcher: &Launcher) -> Result<Weight> {
    let mut subject = Subject::bare(launcher, server, Service::Echo, 1)?;
    let weight = subject.weigh(connections(server.most_connections()))?;
    subject.stop()?;
    Ok(weight)
}

/// The processor time that a server uses while its connections say nothing.
pub(crate) fn cpu(server: Server, launcher: &Launcher, plan: &Plan) -> Result<Duration> {
    let mut subject = Subject::bare(launcher, server, Service::Echo, 1)?;
    subject.connect(connections(WATCHED_CONNECTIONS))?;
    let before = subject.meter().cpu_at_rest()?;
    thread::sleep(plan.idle);
    let used = subject.meter().cpu()?.saturating_sub(before);
    subject.stop()?;
    Ok(used)
}

/// How long a server without clients takes to end after SIGTERM, several times, in milliseconds.
pub(crate) fn stop_times(server: Server, launcher: &Launcher, plan: &Plan) -> Result<Summary> {
    let mut milliseconds = Vec::with_capacity(plan.stops);
    for _ in 0..plan.stops {
        let mut subject = Subject::bare(launcher, server, Service::Echo, 1)?;
        // It has served before, so that it stands in its loop and not in its start.
        subject.connect(connections(1))?;
        subject.connect(Setup::Churn)?;
        subject.meter().cpu_at_rest()?;
        milliseconds.push(subject.stop()?.as_secs_f64() * 1e3);
    }
    Summary::of(&milliseconds).ok_or_else(|| Failure::new("no server was stopped"))
}
