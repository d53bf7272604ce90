//! The measuring of a stage: rounds in which every server is measured, one at a time.
//!
//! For each round the servers are started anew and measured there and back, `A B C C B A`, every
//! second round from the other end, so that what drifts slowly on the machine falls on all of them
//! alike. Each peer runs twice: the ratio of the second to the first, which should be 1, is the control
//! that says how far such a ratio can be trusted. Where there are too many connections for all servers
//! to run at once they run one after the other, and every second round in the opposite order.

use crate::failure::{Failure, Result};
use crate::histogram::Histogram;
use crate::launcher::Launcher;
use crate::machine;
use crate::scenarios::{Act, Stage};
use crate::servers::Server;
use crate::statistics::Summary;
use crate::subject::{Cost, Plan, Subject, Weight};
use crate::system_calls;

/// One server of a stage, all its rounds.
pub(crate) struct Entrant {
    pub(crate) server: Server,
    /// Whether it is the second instance of its server, the control.
    pub(crate) is_twin: bool,
    /// Whether it is measured in the first rounds only.
    pub(crate) is_spectator: bool,
    /// By act, then by round.
    pub(crate) costs: Vec<Vec<Cost>>,
    /// System calls for each message, by act; none where they could not be counted.
    pub(crate) calls: Vec<Option<f64>>,
    pub(crate) weights: Vec<Weight>,
    /// Why it was left out from then on.
    pub(crate) failure: Option<Failure>,
}

/// A stage that was measured.
pub(crate) struct Played {
    pub(crate) stage: &'static Stage,
    pub(crate) entrants: Vec<Entrant>,
}

impl Played {
    /// The first instance of a server, if it took part.
    pub(crate) fn entrant(&self, server: Server) -> Option<&Entrant> {
        let mut entrants = self.entrants.iter();
        entrants.find(|entrant| entrant.server == server && !entrant.is_twin)
    }

    /// Its control.
    pub(crate) fn twin(&self, server: Server) -> Option<&Entrant> {
        let mut entrants = self.entrants.iter();
        entrants.find(|entrant| entrant.server == server && entrant.is_twin)
    }
}

impl Entrant {
    pub(crate) fn new(server: Server, is_twin: bool, is_spectator: bool, acts: usize) -> Self {
        Self {
            server,
            is_twin,
            is_spectator,
            costs: vec![Vec::new(); acts],
            calls: vec![None; acts],
            weights: Vec::new(),
            failure: None,
        }
    }

    /// Order statistics of what each round gave; none if there was none, or the server failed.
    pub(crate) fn summary(&self, act: usize, figure: impl Fn(&Cost) -> f64) -> Option<Summary> {
        if self.failure.is_some() {
            return None;
        }
        Summary::of(&self.costs[act].iter().map(figure).collect::<Vec<_>>())
    }

    /// The latency of all messages of all rounds.
    pub(crate) fn latency(&self, act: usize) -> Histogram {
        let mut all = Histogram::new();
        for cost in &self.costs[act] {
            all.merge(&cost.latency);
        }
        all
    }
}

/// Measures a stage with those of its servers that are `wanted`.
pub(crate) fn play(
    stage: &'static Stage,
    wanted: impl Fn(Server) -> bool,
    launcher: &Launcher,
    plan: &Plan,
) -> Result<Played> {
    let acts = stage.acts.len();
    let mut entrants = Vec::new();
    let servers = stage.servers.iter().filter(|&&server| wanted(server));
    for &server in servers.clone() {
        entrants.push(Entrant::new(server, false, false, acts));
    }
    let spectators = stage.spectators.iter().filter(|&&server| wanted(server));
    entrants.extend(spectators.map(|&server| Entrant::new(server, false, true, acts)));
    for &server in servers.filter(|server| !server.is_ours()) {
        entrants.push(Entrant::new(server, true, false, acts));
    }
    machine::place_generator(launcher.is_pinned() && stage.loops == 1)?;
    let mut played = Played { stage, entrants };
    for round in 0..plan.rounds {
        let mut order: Vec<usize> = (0..played.entrants.len())
            .filter(|&at| {
                let entrant = &played.entrants[at];
                entrant.failure.is_none()
                    && (!entrant.is_spectator || round < plan.spectator_rounds)
            })
            .collect();
        if round % 2 == 1 {
            order.reverse();
        }
        let is_last = round + 1 == plan.rounds.min(plan.spectator_rounds);
        if stage.together {
            play_together(&mut played, &order, is_last, launcher, plan);
        } else {
            play_in_turn(&mut played, &order, is_last, launcher, plan);
        }
    }
    Ok(played)
}

/// Starts all servers, measures them there and back, and stops them.
fn play_together(
    played: &mut Played,
    order: &[usize],
    counts_calls: bool,
    launcher: &Launcher,
    plan: &Plan,
) {
    let stage = played.stage;
    let mut subjects: Vec<(usize, Subject)> = Vec::new();
    for &at in order {
        let entrant = &mut played.entrants[at];
        let subject = Subject::start(launcher, entrant.server, stage);
        subjects.extend(entrant.kept(subject).map(|subject| (at, subject)));
    }
    for (number, act) in stage.acts.iter().enumerate() {
        let mut sums: Vec<Option<Cost>> = vec![None; subjects.len()];
        for place in (0..subjects.len()).chain((0..subjects.len()).rev()) {
            let (at, subject) = &mut subjects[place];
            let entrant = &mut played.entrants[*at];
            if entrant.failure.is_some() {
                continue;
            }
            let measured = subject.measure(act, plan);
            if let Some(cost) = entrant.kept(measured) {
                match &mut sums[place] {
                    Some(sum) => sum.add(&cost),
                    none => *none = Some(cost),
                }
            }
        }
        for (sum, (at, _)) in sums.into_iter().zip(&subjects) {
            played.entrants[*at].costs[number].extend(sum);
        }
    }
    for (at, mut subject) in subjects {
        let entrant = &mut played.entrants[at];
        if counts_calls {
            entrant.count_calls(&mut subject, stage.acts, plan);
        }
        let stopped = subject.stop();
        entrant.kept(stopped);
    }
}

/// Starts, measures and stops one server after the other.
fn play_in_turn(
    played: &mut Played,
    order: &[usize],
    counts_calls: bool,
    launcher: &Launcher,
    plan: &Plan,
) {
    for &at in order {
        let (stage, entrant) = (played.stage, &mut played.entrants[at]);
        let result = play_alone(stage, entrant, counts_calls, launcher, plan);
        entrant.kept(result);
    }
}

fn play_alone(
    stage: &Stage,
    entrant: &mut Entrant,
    counts_calls: bool,
    launcher: &Launcher,
    plan: &Plan,
) -> Result<()> {
    let mut subject = if stage.weighs {
        let service = stage.setup.service();
        let mut subject = Subject::bare(launcher, entrant.server, service, stage.loops)?;
        entrant.weights.push(subject.weigh(stage.setup)?);
        subject
    } else {
        Subject::start(launcher, entrant.server, stage)?
    };
    for (number, act) in stage.acts.iter().enumerate() {
        let mut cost = subject.measure(act, plan)?;
        cost.add(&subject.measure(act, plan)?);
        entrant.costs[number].push(cost);
    }
    if counts_calls {
        entrant.count_calls(&mut subject, stage.acts, plan);
    }
    subject.stop().map(drop)
}

impl Entrant {
    /// Takes what went well; a server that failed is left out from then on, and the others go on.
    fn kept<T>(&mut self, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(failure) => {
                self.failure.get_or_insert(failure);
                None
            }
        }
    }

    /// Counts system calls beside the measurements, because counting them costs time.
    fn count_calls(&mut self, subject: &mut Subject, acts: &[Act], plan: &Plan) {
        if self.is_twin || self.failure.is_some() {
            return;
        }
        for (number, act) in acts.iter().enumerate() {
            self.calls[number] = system_calls::per_message(subject, act, plan);
        }
    }
}
