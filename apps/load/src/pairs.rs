//! Two servers compared by pairs of measurements, with a control of the bare loop against itself.
//!
//! For each pair all servers are started anew and measured there and back, `A B C C B A`, so that
//! what drifts slowly on the machine falls on all of them alike; the ratio is that of the sums.
//! Every second pair begins at the other end.

use crate::failure::Result;
use crate::peers::Peer;
use crate::servers::{Engine, Launcher, Server};
use crate::statistics::{Mark, Summary};
use crate::subject::{Cost, Plan, Subject, Work};

/// A question that the report answers: does `upper` cost at most, or at least, so many times `lower`?
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    pub(crate) title: &'static str,
    pub(crate) upper: Server,
    pub(crate) lower: Server,
    pub(crate) work: Work,
    pub(crate) mark: Mark,
    /// Whether a second instance of `lower` is compared with the first.
    pub(crate) controlled: bool,
}

const fn against_the_bare_loop(title: &'static str, work: Work) -> Question {
    Question {
        title,
        upper: Server::Raw(Engine::Threading),
        lower: Server::Peer(Peer::StdThreads),
        work,
        mark: Mark::AtMost(1.05),
        controlled: true,
    }
}

/// The questions, in the order of the report.
pub(crate) const QUESTIONS: [Question; 6] = [
    against_the_bare_loop("threading ÷ std threads, 1 connection", Work::PingPong(1)),
    against_the_bare_loop(
        "threading ÷ std threads, 100 connections",
        Work::PingPong(100),
    ),
    against_the_bare_loop(
        "threading ÷ std threads, 1000 connections",
        Work::PingPong(1000),
    ),
    Question {
        upper: Server::Unbounded,
        ..against_the_bare_loop(
            "threading, no timeouts ÷ std threads, 1000 connections",
            Work::PingPong(1000),
        )
    },
    against_the_bare_loop("threading ÷ std threads, connect-echo-close", Work::Churn),
    Question {
        title: "Python article echo ÷ threading with prefix and log, 100 connections",
        upper: Server::Peer(Peer::PythonArticle),
        lower: Server::Addressed,
        work: Work::PingPong(100),
        mark: Mark::AtLeast(3.0),
        controlled: false,
    },
];

/// The answer: ratios of processor time per message, and what they were made of.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// None if `upper` was left out and only the control was run.
    pub(crate) ratios: Option<Summary>,
    /// None if the question has no control.
    pub(crate) control: Option<Summary>,
    /// Medians of microseconds per message.
    pub(crate) upper_cost: Option<f64>,
    pub(crate) lower_cost: f64,
}

/// Measures all pairs of a question; `with_upper` is false if only the control is wanted.
pub(crate) fn answer(
    question: &Question,
    with_upper: bool,
    launcher: &Launcher,
    plan: &Plan,
) -> Result<Answer> {
    // In the order of measurement: neighbours are compared.
    let mut servers = vec![question.lower];
    if with_upper {
        servers.insert(0, question.upper);
    }
    if question.controlled {
        servers.push(question.lower);
    }
    let lower_at = usize::from(with_upper);
    let mut costs = vec![Vec::with_capacity(plan.pairs); servers.len()];
    for pair in 0..plan.pairs {
        let measured = measure_pair(&servers, question.work, pair % 2 == 1, launcher, plan)?;
        for (all, one) in costs.iter_mut().zip(measured) {
            all.push(one.cpu_per_message());
        }
    }
    let ratios_of = |upper: usize| -> Option<Summary> {
        let pairs = costs.get(upper)?.iter().zip(&costs[lower_at]);
        Summary::of(
            &pairs
                .map(|(upper, lower)| upper / lower)
                .collect::<Vec<_>>(),
        )
    };
    let median_of = |at: usize| Summary::of(&costs[at]).map(|summary| summary.median);
    Ok(Answer {
        ratios: if with_upper { ratios_of(0) } else { None },
        control: ratios_of(lower_at + 1),
        upper_cost: if with_upper { median_of(0) } else { None },
        lower_cost: median_of(lower_at).unwrap_or(f64::NAN),
    })
}

/// Starts the servers, measures them there and back, and stops them.
fn measure_pair(
    servers: &[Server],
    work: Work,
    from_the_end: bool,
    launcher: &Launcher,
    plan: &Plan,
) -> Result<Vec<Cost>> {
    let mut subjects = servers
        .iter()
        .map(|&server| Subject::start(launcher, server, work))
        .collect::<Result<Vec<_>>>()?;
    let mut order: Vec<usize> = (0..servers.len()).collect();
    if from_the_end {
        order.reverse();
    }
    let mut costs: Vec<Option<Cost>> = vec![None; servers.len()];
    for &at in order.iter().chain(order.iter().rev()) {
        let cost = subjects[at].measure(plan)?;
        match &mut costs[at] {
            Some(sum) => sum.add(&cost),
            none => *none = Some(cost),
        }
    }
    for subject in subjects {
        subject.stop()?;
    }
    Ok(costs.into_iter().flatten().collect())
}
