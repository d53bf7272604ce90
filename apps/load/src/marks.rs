//! The marks: what this library has set itself, and whether the figures reach it.

use crate::rounds::Played;
use crate::scenarios::ARTICLE;
use crate::servers::{Engine, REACTORS, SERVERS, Server};
use crate::statistics::{Mark, Summary};
use crate::subject::Cost;

/// One of the two sides of a comparison.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    /// Whichever of them used the least processor time in that act.
    Cheapest(&'static [Server]),
    /// Whichever peer did.
    CheapestPeer,
    One(Server),
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Figure {
    /// Processor time of the server for each message.
    Cpu,
    /// The time in which 99 of 100 messages were answered.
    P99,
}

/// A question that the report answers: does `upper` cost at most, or at least, so many times `lower`?
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    pub(crate) title: &'static str,
    pub(crate) upper: Side,
    pub(crate) lower: Side,
    pub(crate) figure: Figure,
    pub(crate) mark: Mark,
    /// The titles of the acts in which it is asked; none means all.
    pub(crate) acts: &'static [&'static str],
}

/// The answer in one act: ratios of the rounds, and what they were made of.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) act: &'static str,
    pub(crate) upper: Server,
    pub(crate) lower: Server,
    pub(crate) ratios: Summary,
    /// The ratio of the second instance of `lower` to the first; none if it has none.
    pub(crate) control: Option<Summary>,
    /// Medians, in microseconds.
    pub(crate) upper_figure: f64,
    pub(crate) lower_figure: f64,
}

const REACTOR_EPOLL: Side = Side::One(REACTORS[0]);
const REACTOR_URING: Side = Side::One(REACTORS[1]);
const BETTER_REACTOR: Side = Side::Cheapest(&REACTORS);
const BETTER_TOKIO: Side = Side::Cheapest(&[Server::TokioCurrent, Server::TokioMulti]);
const BATCHED_LOOPS: Side = Side::Cheapest(&[
    Server::RawEpoll,
    Server::RawUring,
    Server::TokioCurrent,
    Server::TokioMulti,
]);
const THREADING: Side = Side::One(Server::Engine(Engine::Threading));
const STD_THREADS: Side = Side::One(Server::StdThreads);

const fn at_most(title: &'static str, upper: Side, bound: f64, lower: Side) -> Question {
    Question {
        title,
        upper,
        lower,
        figure: Figure::Cpu,
        mark: Mark::AtMost(bound),
        acts: &[],
    }
}

/// The questions, in the order of the report.
pub(crate) const QUESTIONS: [Question; 12] = [
    at_most(
        "the better driver ÷ the cheapest peer",
        BETTER_REACTOR,
        1.05,
        Side::CheapestPeer,
    ),
    at_most(
        "reactor, epoll ÷ raw epoll",
        REACTOR_EPOLL,
        1.05,
        Side::One(Server::RawEpoll),
    ),
    at_most(
        "reactor, epoll ÷ the better tokio",
        REACTOR_EPOLL,
        1.0,
        BETTER_TOKIO,
    ),
    at_most(
        "reactor, io_uring ÷ raw io_uring",
        REACTOR_URING,
        1.05,
        Side::One(Server::RawUring),
    ),
    Question {
        figure: Figure::P99,
        acts: &["1000 connections"],
        ..at_most(
            "p99: reactor, epoll ÷ raw epoll",
            REACTOR_EPOLL,
            1.1,
            Side::One(Server::RawEpoll),
        )
    },
    Question {
        acts: &["16 in flight, lines"],
        ..at_most(
            "lines: the better driver ÷ the better tokio",
            BETTER_REACTOR,
            0.9,
            BETTER_TOKIO,
        )
    },
    Question {
        acts: &["1000 members, 16 in flight"],
        ..at_most(
            "fan-out: the better driver ÷ nats-server",
            BETTER_REACTOR,
            0.55,
            Side::One(Server::Nats),
        )
    },
    Question {
        acts: &["1000 members, 16 in flight"],
        ..at_most(
            "fan-out: the better driver ÷ the best loop batched by hand",
            BETTER_REACTOR,
            1.05,
            BATCHED_LOOPS,
        )
    },
    Question {
        acts: &["100 connections"],
        ..at_most(
            "pool ÷ reactor, epoll",
            Side::One(Server::Engine(Engine::Pool)),
            1.3,
            REACTOR_EPOLL,
        )
    },
    Question {
        acts: &[
            "1 connection",
            "100 connections",
            "1000 connections",
            "connect-echo-close",
        ],
        ..at_most("threading ÷ std threads", THREADING, 1.05, STD_THREADS)
    },
    Question {
        acts: &["1000 connections"],
        ..at_most(
            "threading, no timeouts ÷ std threads",
            Side::One(Server::Unbounded),
            1.05,
            STD_THREADS,
        )
    },
    Question {
        acts: &[ARTICLE],
        mark: Mark::AtLeast(3.0),
        ..at_most(
            "Python article echo ÷ threading, prefix and log",
            Side::One(Server::PythonArticle),
            3.0,
            Side::One(Server::Addressed),
        )
    },
];

/// The answers to a question in every act in which both of its sides were measured.
pub(crate) fn answers(question: &Question, stages: &[Played]) -> Vec<Answer> {
    let mut found = Vec::new();
    for played in stages {
        for (number, act) in played.stage.acts.iter().enumerate() {
            let is_asked = if question.acts.is_empty() {
                act.title != ARTICLE
            } else {
                question.acts.contains(&act.title)
            };
            if is_asked {
                found.extend(answer(question, played, number));
            }
        }
    }
    found
}

/// The answer in one act; none if a side is missing.
fn answer(question: &Question, played: &Played, act: usize) -> Option<Answer> {
    let upper = resolve(question.upper, played, act)?;
    let lower = resolve(question.lower, played, act)?;
    let figure = |cost: &Cost| question.figure.of(cost);
    let median = |server| {
        let summary = played.entrant(server)?.summary(act, figure)?;
        Some(summary.median)
    };
    Some(Answer {
        act: played.stage.acts[act].title,
        upper,
        lower,
        ratios: ratios(played, act, upper, lower, figure)?,
        control: control(played, act, lower, figure),
        upper_figure: median(upper)?,
        lower_figure: median(lower)?,
    })
}

/// Which server a side is in an act.
fn resolve(side: Side, played: &Played, act: usize) -> Option<Server> {
    let cheapest = |servers: &[Server]| {
        let costs = servers.iter().filter_map(|&server| {
            let entrant = played.entrant(server)?;
            // A few rounds are not enough to be compared with.
            let full = (!entrant.is_spectator).then_some(entrant)?;
            let cost = full.summary(act, Cost::cpu_per_message)?;
            Some((server, cost.median))
        });
        let least = costs.min_by(|(_, one), (_, other)| one.total_cmp(other));
        least.map(|(server, _)| server)
    };
    match side {
        Side::Cheapest(servers) => cheapest(servers),
        Side::CheapestPeer => {
            let peers = SERVERS.into_iter().filter(|server| !server.is_ours());
            cheapest(&peers.collect::<Vec<_>>())
        }
        Side::One(server) => Some(server),
    }
}

/// The ratios of two servers, round by round.
pub(crate) fn ratios(
    played: &Played,
    act: usize,
    upper: Server,
    lower: Server,
    figure: impl Fn(&Cost) -> f64,
) -> Option<Summary> {
    let (upper, lower) = (played.entrant(upper)?, played.entrant(lower)?);
    if upper.failure.is_some() || lower.failure.is_some() {
        return None;
    }
    let pairs = upper.costs[act].iter().zip(&lower.costs[act]);
    Summary::of(
        &pairs
            .map(|(upper, lower)| figure(upper) / figure(lower))
            .collect::<Vec<_>>(),
    )
}

/// The ratios of a peer to itself; of ours those of the raw epoll loop, which works alike.
pub(crate) fn control(
    played: &Played,
    act: usize,
    server: Server,
    figure: impl Fn(&Cost) -> f64,
) -> Option<Summary> {
    let server = if server.is_ours() {
        Server::RawEpoll
    } else {
        server
    };
    let (first, second) = (played.entrant(server)?, played.twin(server)?);
    if first.failure.is_some() || second.failure.is_some() {
        return None;
    }
    let pairs = second.costs[act].iter().zip(&first.costs[act]);
    Summary::of(
        &pairs
            .map(|(second, first)| figure(second) / figure(first))
            .collect::<Vec<_>>(),
    )
}

impl Figure {
    fn of(self, cost: &Cost) -> f64 {
        match self {
            Self::Cpu => cost.cpu_per_message(),
            Self::P99 => {
                let quantile = cost.latency.quantile(990).unwrap_or_default();
                quantile.as_secs_f64() * 1e6
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Histogram;
    use crate::rounds::Entrant;
    use crate::scenarios::STAGES;
    use std::time::Duration;

    /// The stage of 100 connections, in which each server cost so many microseconds in each round.
    fn played(costs: &[(Server, bool, &[u64])]) -> Played {
        let mut stages = STAGES.iter();
        let stage = stages
            .find(|stage| stage.acts[0].title == "100 connections")
            .unwrap();
        let entrants = costs.iter().map(|&(server, is_twin, rounds)| {
            let mut entrant = Entrant::new(server, is_twin, rounds.len() == 1, 1);
            entrant.costs[0].extend(rounds.iter().map(|&microseconds| Cost {
                cpu: Duration::from_micros(microseconds),
                messages: 1,
                lost: 0,
                elapsed: Duration::from_millis(1),
                latency: Histogram::new(),
            }));
            entrant
        });
        Played {
            stage,
            entrants: entrants.collect(),
        }
    }

    #[test]
    fn the_better_driver_is_compared_with_the_cheapest_peer_and_its_control() {
        let stages = [played(&[
            (REACTORS[0], false, &[60, 60]),
            (REACTORS[1], false, &[33, 55]),
            (Server::RawEpoll, false, &[55, 55]),
            (Server::RawEpoll, true, &[66, 66]),
            (Server::TokioMulti, false, &[30, 50]),
            (Server::TokioMulti, true, &[33, 55]),
            // Cheaper still, but measured in one round only.
            (Server::May, false, &[1]),
        ])];
        let found = answers(&QUESTIONS[0], &stages);
        let [answer] = &found[..] else {
            panic!("{found:?}");
        };
        assert_eq!(
            (answer.upper, answer.lower),
            (REACTORS[1], Server::TokioMulti)
        );
        assert!((answer.ratios.median - 1.1).abs() < 1e-9);
        let control = answer.control.unwrap();
        assert!((control.median - 1.1).abs() < 1e-9);
    }

    #[test]
    fn a_server_that_failed_or_was_not_there_answers_nothing() {
        let mut stages = [played(&[
            (REACTORS[0], false, &[60]),
            (Server::RawEpoll, false, &[55]),
        ])];
        assert_eq!(answers(&QUESTIONS[1], &stages).len(), 1);
        assert!(answers(&QUESTIONS[3], &stages).is_empty());
        let failure = crate::failure::Failure::new("it ended");
        stages[0].entrants[0].failure = Some(failure);
        assert!(answers(&QUESTIONS[1], &stages).is_empty());
    }

    #[test]
    fn every_question_is_asked_in_acts_that_there_are() {
        let titles: Vec<&str> = STAGES
            .iter()
            .flat_map(|stage| stage.acts)
            .map(|act| act.title)
            .collect();
        for question in QUESTIONS {
            assert!(
                question.acts.iter().all(|act| titles.contains(act)),
                "{}",
                question.title
            );
        }
        for act in crate::facts::ACTS {
            assert!(titles.contains(&act), "{act}");
        }
    }
}
