//! The servers that are measured: what each is called, what it can do, and how it is asked for.

/// One way to run a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    /// The command's echo on threading, with the client's address before each message and a log line.
    Addressed,
    /// This library, on one of its engines.
    Engine(Engine),
    May,
    Nats,
    /// The article's echo program on Python's socketserver, its logging included.
    PythonArticle,
    /// Python's `socketserver.ThreadingTCPServer`, echoing byte for byte.
    PythonThreading,
    RawEpoll,
    RawUring,
    StdThreads,
    TokioCurrent,
    TokioMulti,
    /// The command's echo on threading without timeouts: a loop that bounds no wait.
    Unbounded,
}

/// How the library runs requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Forking,
    Pool,
    ReactorEpoll,
    ReactorUring,
    Sequential,
    Threading,
}

/// What a server does with what it receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// Each datagram goes back.
    Datagrams,
    /// What is read goes back.
    Echo,
    /// Each line goes to everybody.
    FanOut,
    /// Each line goes back.
    Lines,
}

/// Which program a server is, and what it is told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// The command under test.
    Command(Vec<String>),
    Nats,
    /// `load-peers`, which is built with the feature `peers`.
    OtherFrameworks(Vec<String>),
    /// One of the loops in C, named as its source is.
    Raw(&'static str, Vec<String>),
    /// This program.
    This(Vec<String>),
}

/// The two drivers of the reactor.
pub(crate) const REACTORS: [Server; 2] = [
    Server::Engine(Engine::ReactorEpoll),
    Server::Engine(Engine::ReactorUring),
];

/// Every server, in the order of the tables.
pub(crate) const SERVERS: [Server; 17] = [
    Server::Engine(Engine::ReactorEpoll),
    Server::Engine(Engine::ReactorUring),
    Server::Engine(Engine::Pool),
    Server::Engine(Engine::Threading),
    Server::Unbounded,
    Server::Addressed,
    Server::Engine(Engine::Forking),
    Server::Engine(Engine::Sequential),
    Server::RawEpoll,
    Server::RawUring,
    Server::TokioCurrent,
    Server::TokioMulti,
    Server::May,
    Server::StdThreads,
    Server::PythonThreading,
    Server::PythonArticle,
    Server::Nats,
];

impl Server {
    /// What the report calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Addressed => "threading, prefix and log",
            Self::Engine(engine) => engine.name(),
            Self::May => "may",
            Self::Nats => "nats-server",
            Self::PythonArticle => "Python article echo",
            Self::PythonThreading => "Python threading",
            Self::RawEpoll => "raw epoll",
            Self::RawUring => "raw io_uring",
            Self::StdThreads => "std threads",
            Self::TokioCurrent => "tokio, current thread",
            Self::TokioMulti => "tokio, multi-thread",
            Self::Unbounded => "threading, no timeouts",
        }
    }

    /// How many connections it is given at most.
    pub(crate) fn most_connections(self) -> usize {
        match self {
            Self::Engine(Engine::Sequential) => 1,
            // As many as `max_children` below.
            Self::Engine(Engine::Forking) => 100,
            // A thread for each connection.
            Self::Engine(Engine::Threading)
            | Self::Addressed
            | Self::PythonArticle
            | Self::PythonThreading
            | Self::StdThreads
            | Self::Unbounded => 1000,
            Self::Engine(Engine::Pool | Engine::ReactorEpoll | Engine::ReactorUring)
            | Self::May
            | Self::Nats
            | Self::RawEpoll
            | Self::RawUring
            | Self::TokioCurrent
            | Self::TokioMulti => 19_000,
        }
    }

    /// Whether its children do the work.
    pub(crate) fn works_in_children(self) -> bool {
        self == Self::Engine(Engine::Forking)
    }

    /// Whether it is this library and not a peer.
    pub(crate) fn is_ours(self) -> bool {
        matches!(self, Self::Addressed | Self::Engine(_) | Self::Unbounded)
    }

    /// Whether it puts the client's address before what it sends back.
    pub(crate) fn is_addressed(self) -> bool {
        matches!(self, Self::Addressed | Self::PythonArticle)
    }

    /// The program that offers `service` with `loops` loops.
    pub(crate) fn program(self, service: Service, loops: usize) -> Program {
        let asked = |name: &str| vec![name.to_owned(), service.name().into(), loops.to_string()];
        let for_a_raw_loop = vec![service.name().to_owned(), loops.to_string()];
        match self {
            Self::Addressed | Self::Engine(_) | Self::Unbounded => self.own_program(service, loops),
            Self::May => Program::OtherFrameworks(asked("may")),
            Self::Nats => Program::Nats,
            Self::PythonArticle => Program::This(words(&["peer", "python-article"])),
            Self::PythonThreading => Program::This(words(&["peer", "python-threading"])),
            Self::RawEpoll => Program::Raw("epoll", for_a_raw_loop),
            Self::RawUring => Program::Raw("uring", for_a_raw_loop),
            Self::StdThreads => Program::This(words(&["peer", "std-threads", service.name()])),
            Self::TokioCurrent => Program::OtherFrameworks(asked("tokio-current")),
            Self::TokioMulti => Program::OtherFrameworks(asked("tokio-multi")),
        }
    }

    fn own_program(self, service: Service, loops: usize) -> Program {
        let engine = match self {
            Self::Engine(engine) => engine,
            _ => Engine::Threading,
        };
        let endpoint = match service {
            Service::Datagrams => "udp://127.0.0.1:0",
            Service::Echo | Service::FanOut | Service::Lines => "tcp://127.0.0.1:0",
        };
        if matches!(service, Service::FanOut | Service::Lines) {
            let mut arguments = words(&["serve", service.name()]);
            arguments.extend(engine.arguments(loops));
            return Program::This(arguments);
        }
        let mut arguments = words(&["echo"]);
        arguments.extend(engine.arguments(loops));
        arguments.extend(words(&["--listen", endpoint, "--no-console"]));
        if self != Self::Addressed {
            arguments.extend(words(&["--raw", "-q"]));
        }
        if self == Self::Unbounded {
            arguments.extend(words(&[
                "--idle-timeout",
                "none",
                "--write-timeout",
                "none",
            ]));
        }
        match engine {
            Engine::Forking => arguments.extend(words(&["--max-children", "110"])),
            Engine::Pool | Engine::ReactorEpoll | Engine::ReactorUring => {
                arguments.extend(words(&["--connections", "19500", "--backlog", "4096"]));
            }
            Engine::Sequential | Engine::Threading => {}
        }
        Program::Command(arguments)
    }
}

impl Engine {
    fn name(self) -> &'static str {
        match self {
            Self::Forking => "forking",
            Self::Pool => "pool",
            Self::ReactorEpoll => "reactor, epoll",
            Self::ReactorUring => "reactor, io_uring",
            Self::Sequential => "sequential",
            Self::Threading => "threading",
        }
    }

    /// The arguments that choose it; `loops` is for engines that are made of loops.
    fn arguments(self, loops: usize) -> Vec<String> {
        let driver = match self {
            Self::ReactorEpoll => "epoll",
            Self::ReactorUring => "uring",
            other => return words(&["--engine", other.name()]),
        };
        let loops = loops.to_string();
        words(&[
            "--engine",
            "reactor",
            "--driver",
            driver,
            "--threads",
            &loops,
        ])
    }
}

impl Service {
    /// What the peers' command lines call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Datagrams => "datagrams",
            Self::Echo => "echo",
            Self::FanOut => "fanout",
            Self::Lines => "lines",
        }
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_has_a_name_of_its_own() {
        for (at, server) in SERVERS.iter().enumerate() {
            let later = &SERVERS[at + 1..];
            assert!(later.iter().all(|other| other.name() != server.name()));
        }
    }

    #[test]
    fn the_reactor_is_told_its_driver_and_its_loops() {
        let program = REACTORS[1].program(Service::Datagrams, 2);
        let Program::Command(arguments) = program else {
            panic!("{program:?}");
        };
        let text = arguments.join(" ");
        assert!(
            text.starts_with("echo --engine reactor --driver uring --threads 2 --listen udp://")
        );
    }
}
