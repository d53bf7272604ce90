//! The scenarios: what is asked of whom.
//!
//! A [`Stage`] is a setting of servers and clients, and its [`Act`]s are what is measured in it: the
//! columns of the tables.

use crate::generator::{ONE_SMALL, Shape};
use crate::servers::{Engine, Server, Service};

/// Servers and clients that stay while acts are measured.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) setup: Setup,
    /// Of each server, where it has loops; only one is kept on a core.
    pub(crate) loops: usize,
    /// Measured in every round, the peers among them twice.
    pub(crate) servers: &'static [Server],
    /// Measured in the first rounds, without a control.
    pub(crate) spectators: &'static [Server],
    /// All servers run at once and are measured there and back; or else one after the other, because
    /// there are more connections than this process may have open.
    pub(crate) together: bool,
    /// Whether the memory of a connection is looked at.
    pub(crate) weighs: bool,
    pub(crate) acts: &'static [Act],
}

/// A column of the tables.
#[derive(Debug)]
pub(crate) struct Act {
    pub(crate) title: &'static str,
    pub(crate) group: Group,
    /// Of a fan-out: messages under way.
    pub(crate) window: u64,
    /// How many times as long as others it is measured.
    pub(crate) length: u32,
}

/// Which of the report's tables a column is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    Connections,
    FanOut,
    Traffic,
}

/// The clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setup {
    /// Each message has a connection of its own.
    Churn,
    /// Sockets that each have a datagram under way.
    Datagrams(usize),
    /// One member speaks, all hear.
    FanOut(usize),
    /// Connections, of which so many are active.
    PingPong {
        connections: usize,
        active: usize,
        shape: Shape,
        service: Service,
    },
}

impl Setup {
    /// What the servers must do.
    pub(crate) fn service(self) -> Service {
        match self {
            Self::Churn => Service::Echo,
            Self::Datagrams(_) => Service::Datagrams,
            Self::FanOut(_) => Service::FanOut,
            Self::PingPong { service, .. } => service,
        }
    }

    /// How many connections a server has at once.
    pub(crate) fn connections(self) -> usize {
        match self {
            Self::Churn | Self::Datagrams(_) => 1,
            Self::FanOut(members) => members,
            Self::PingPong { connections, .. } => connections,
        }
    }
}

const FORKING: Server = Server::Engine(Engine::Forking);
const POOL: Server = Server::Engine(Engine::Pool);
const REACTOR_EPOLL: Server = Server::Engine(Engine::ReactorEpoll);
const REACTOR_URING: Server = Server::Engine(Engine::ReactorUring);
const SEQUENTIAL: Server = Server::Engine(Engine::Sequential);
const THREADING: Server = Server::Engine(Engine::Threading);

/// All that can serve connections without end.
const ALL: &[Server] = &[
    REACTOR_EPOLL,
    REACTOR_URING,
    POOL,
    THREADING,
    Server::RawEpoll,
    Server::RawUring,
    Server::TokioCurrent,
    Server::TokioMulti,
    Server::May,
    Server::StdThreads,
];
/// Those that have loops.
const LOOPS: &[Server] = &[
    REACTOR_EPOLL,
    REACTOR_URING,
    Server::RawEpoll,
    Server::RawUring,
    Server::TokioCurrent,
    Server::TokioMulti,
    Server::May,
];
/// The cheapest of them, for the stages that take long.
const ONE_LOOP: &[Server] = &[
    REACTOR_EPOLL,
    REACTOR_URING,
    Server::RawEpoll,
    Server::RawUring,
    Server::TokioCurrent,
    Server::TokioMulti,
];
const FAN_OUTS: &[Server] = &[
    REACTOR_EPOLL,
    REACTOR_URING,
    Server::RawEpoll,
    Server::RawUring,
    Server::TokioCurrent,
    Server::TokioMulti,
    Server::Nats,
];

const fn act(title: &'static str, group: Group) -> Act {
    Act {
        title,
        group,
        window: 1,
        length: 1,
    }
}

const ECHO: Stage = Stage {
    setup: Setup::Churn,
    loops: 1,
    servers: ALL,
    spectators: &[Server::PythonThreading],
    together: true,
    weighs: false,
    acts: &[],
};

const fn ping_pong(connections: usize, active: usize, shape: Shape, service: Service) -> Setup {
    Setup::PingPong {
        connections,
        active,
        shape,
        service,
    }
}

const fn small(connections: usize) -> Setup {
    ping_pong(connections, connections, ONE_SMALL, Service::Echo)
}

const SIXTEEN: Shape = Shape {
    message_bytes: 64,
    pipeline: 16,
};
const BULK: Shape = Shape {
    message_bytes: 64 * 1024,
    pipeline: 1,
};

/// The stages, in the order in which they are measured.
pub(crate) const STAGES: &[Stage] = &[
    Stage {
        setup: small(1),
        spectators: &[Server::PythonThreading, FORKING, SEQUENTIAL],
        acts: &[act("1 connection", Group::Connections)],
        ..ECHO
    },
    Stage {
        setup: small(100),
        spectators: &[Server::PythonThreading, FORKING],
        acts: &[act("100 connections", Group::Connections)],
        ..ECHO
    },
    Stage {
        setup: small(1000),
        servers: &[
            REACTOR_EPOLL,
            REACTOR_URING,
            POOL,
            THREADING,
            Server::Unbounded,
            Server::RawEpoll,
            Server::RawUring,
            Server::TokioCurrent,
            Server::TokioMulti,
            Server::May,
            Server::StdThreads,
        ],
        acts: &[act("1000 connections", Group::Connections)],
        ..ECHO
    },
    Stage {
        setup: ping_pong(10_100, 100, ONE_SMALL, Service::Echo),
        servers: ONE_LOOP,
        spectators: &[POOL, Server::May],
        together: false,
        acts: &[act("100 active, 10,000 idle", Group::Connections)],
        ..ECHO
    },
    Stage {
        setup: small(19_000),
        servers: &[
            REACTOR_EPOLL,
            REACTOR_URING,
            Server::RawEpoll,
            Server::RawUring,
        ],
        spectators: &[POOL, Server::TokioCurrent, Server::TokioMulti, Server::May],
        together: false,
        weighs: true,
        acts: &[Act {
            length: 2,
            ..act("19,000 connections", Group::Connections)
        }],
        ..ECHO
    },
    Stage {
        setup: small(100),
        loops: 2,
        servers: LOOPS,
        spectators: &[],
        acts: &[act("100 connections, two loops", Group::Connections)],
        ..ECHO
    },
    Stage {
        setup: ping_pong(100, 100, SIXTEEN, Service::Echo),
        acts: &[act("16 in flight, chunks", Group::Traffic)],
        ..ECHO
    },
    Stage {
        setup: ping_pong(100, 100, SIXTEEN, Service::Lines),
        spectators: &[],
        acts: &[act("16 in flight, lines", Group::Traffic)],
        ..ECHO
    },
    Stage {
        setup: ping_pong(4, 4, BULK, Service::Echo),
        acts: &[act("64 KiB", Group::Traffic)],
        ..ECHO
    },
    Stage {
        setup: Setup::Churn,
        spectators: &[Server::PythonThreading, FORKING, SEQUENTIAL],
        acts: &[act("connect-echo-close", Group::Traffic)],
        ..ECHO
    },
    Stage {
        setup: Setup::Datagrams(100),
        spectators: &[SEQUENTIAL],
        acts: &[act("datagrams", Group::Traffic)],
        ..ECHO
    },
    Stage {
        setup: Setup::FanOut(1000),
        servers: FAN_OUTS,
        spectators: &[THREADING, Server::May, Server::StdThreads],
        acts: &[
            act("1000 members", Group::FanOut),
            Act {
                window: 16,
                ..act("1000 members, 16 in flight", Group::FanOut)
            },
        ],
        ..ECHO
    },
    Stage {
        setup: Setup::FanOut(10_000),
        servers: ONE_LOOP,
        spectators: &[Server::Nats],
        together: false,
        acts: &[
            act("10,000 members", Group::FanOut),
            Act {
                window: 16,
                ..act("10,000 members, 16 in flight", Group::FanOut)
            },
        ],
        ..ECHO
    },
    Stage {
        setup: small(100),
        servers: &[Server::Addressed, Server::PythonArticle],
        spectators: &[],
        acts: &[act(ARTICLE, Group::Connections)],
        ..ECHO
    },
];

/// The act in which the article's program is compared; its servers are in no table.
pub(crate) const ARTICLE: &str = "100 connections, prefix and log";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_act_has_a_title_of_its_own() {
        let titles: Vec<&str> = STAGES
            .iter()
            .flat_map(|stage| stage.acts)
            .map(|act| act.title)
            .collect();
        for (at, title) in titles.iter().enumerate() {
            assert!(!titles[at + 1..].contains(title), "{title}");
        }
    }

    #[test]
    fn no_server_is_given_more_connections_than_it_takes() {
        for stage in STAGES {
            for server in stage.servers.iter().chain(stage.spectators) {
                assert!(
                    stage.setup.connections() <= server.most_connections(),
                    "{} in {}",
                    server.name(),
                    stage.acts[0].title
                );
            }
        }
    }

    #[test]
    fn servers_that_run_together_fit_into_the_limit_of_descriptors() {
        for stage in STAGES.iter().filter(|stage| stage.together) {
            let peers = stage.servers.iter().filter(|server| !server.is_ours());
            let instances = stage.servers.len() + peers.count() + stage.spectators.len();
            let open = instances * stage.setup.connections();
            // The usual hard limit is 20,000, and there is more that is open.
            assert!(open <= 19_500, "{open} in {}", stage.acts[0].title);
        }
    }
}
