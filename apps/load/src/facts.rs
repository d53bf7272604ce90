//! The marks that are no ratio of two servers: system calls, memory, and how a cost grows.

use crate::marks::{control, ratios};
use crate::rounds::Played;
use crate::servers::{REACTORS, Server};
use crate::statistics::{Summary, count};
use crate::subject::Cost;

/// System calls for a message at 100 connections on `io_uring`.
const CALLS: f64 = 0.1;
/// Memory of an idle connection, in KiB.
const KIBIBYTES: f64 = 0.3;
/// Mappings that may come with all connections together.
const MAPPINGS: u64 = 64;

/// The acts whose figures are looked at.
pub(crate) const ACTS: [&str; 2] = ["100 connections", "19,000 connections"];

/// A figure, its mark, and whether it is reached.
pub(crate) struct Fact {
    pub(crate) title: String,
    pub(crate) figure: String,
    pub(crate) mark: String,
    pub(crate) is_reached: bool,
}

/// All of them that were measured.
pub(crate) fn facts(stages: &[Played]) -> Vec<Fact> {
    let mut found: Vec<Fact> = calls(stages).into_iter().collect();
    found.extend(REACTORS.iter().filter_map(|&server| memory(stages, server)));
    found.extend(growth(stages, REACTORS[0], Server::RawEpoll));
    found.extend(growth(stages, REACTORS[1], Server::RawUring));
    found
}

/// The stage that has an act, and the act's number in it.
fn act<'a>(stages: &'a [Played], title: &str) -> Option<(&'a Played, usize)> {
    stages.iter().find_map(|played| {
        let mut acts = played.stage.acts.iter();
        Some((played, acts.position(|act| act.title == title)?))
    })
}

fn calls(stages: &[Played]) -> Option<Fact> {
    let (played, number) = act(stages, ACTS[0])?;
    let calls = played.entrant(REACTORS[1])?.calls[number]?;
    Some(Fact {
        title: "reactor, io_uring: system calls for a message, 100 connections".to_owned(),
        figure: format!("{calls:.3}"),
        mark: format!("< {CALLS}"),
        is_reached: calls < CALLS,
    })
}

/// The lightest of a server's rounds, which chance has added the least to.
pub(crate) fn lightest(played: &Played, server: Server) -> Option<(f64, u64)> {
    let weights = &played.entrant(server)?.weights;
    let each = weights
        .iter()
        .map(|weight| count(weight.memory.pss) / count(weight.connections as u64));
    let mappings = weights.iter().map(|weight| weight.mappings).max()?;
    Some((each.min_by(f64::total_cmp)?, mappings))
}

fn memory(stages: &[Played], server: Server) -> Option<Fact> {
    let played = stages.iter().find(|played| played.stage.weighs)?;
    let (kibibytes, mappings) = lightest(played, server)?;
    Some(Fact {
        title: format!(
            "{}: memory of one of 19,000 idle connections",
            server.name()
        ),
        figure: format!("{kibibytes:.2} KiB, {mappings} mappings for all"),
        mark: format!("≤ {KIBIBYTES:.2} KiB, no mappings of their own"),
        is_reached: kibibytes <= KIBIBYTES && mappings <= MAPPINGS,
    })
}

/// Whether the cost grows more than that of the raw loop from 100 to 19,000 connections.
///
/// The two stages are not interleaved, but the ratios within each are, and it is they that are divided.
fn growth(stages: &[Played], server: Server, raw: Server) -> Option<Fact> {
    let ratio = |title| -> Option<(f64, f64)> {
        let (played, number) = act(stages, title)?;
        let ratio = ratios(played, number, server, raw, Cost::cpu_per_message)?;
        let control = control(played, number, raw, Cost::cpu_per_message);
        let spread = control.as_ref().map_or(0.0, Summary::stray_from_one);
        Some((ratio.median, spread))
    };
    let ((few, few_spread), (many, many_spread)) = (ratio(ACTS[0])?, ratio(ACTS[1])?);
    let (growth, spread) = (many / few, few_spread + many_spread);
    Some(Fact {
        title: format!(
            "{}: growth of a message's cost from 100 to 19,000 connections ÷ that of {}",
            server.name(),
            raw.name()
        ),
        figure: format!("{growth:.3} ± {spread:.3}"),
        mark: "≤ 1.00".to_owned(),
        is_reached: growth <= 1.0 + spread,
    })
}
