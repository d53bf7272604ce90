//! The tables with a row for each server and a column for each act, and their plots.

use super::Findings;
use super::plot::{Bar, Panel, digits};
use super::table::{NOTHING, Table, thousands};
use crate::rounds::{Entrant, Played};
use crate::scenarios::{ARTICLE, Act, Group};
use crate::servers::{SERVERS, Server};
use crate::subject::Cost;

/// What a table or plot shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    Cpu,
    Latency,
    P99,
    Rate,
    SystemCalls,
}

impl Metric {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Cpu => "Processor time for each message, µs",
            Self::Latency => "Latency, p50 / p99 / p99.9, µs",
            Self::P99 => "Latency, p99, µs",
            Self::Rate => "Messages per second",
            Self::SystemCalls => "System calls for each message",
        }
    }

    fn show(self, entrant: &Entrant, act: usize) -> Option<String> {
        match self {
            Self::Cpu => Some(digits(entrant.summary(act, Cost::cpu_per_message)?.median)),
            Self::Rate => Some(thousands(entrant.summary(act, Cost::rate)?.median)),
            Self::Latency => {
                let shown = [500, 990, 999].map(|per_mille| {
                    quantile(entrant, act, per_mille).map_or(NOTHING.to_owned(), thousands)
                });
                Some(shown.join(" / "))
            }
            Self::P99 => quantile(entrant, act, 990).map(thousands),
            Self::SystemCalls => entrant.calls[act].map(digits),
        }
    }

    fn value(self, entrant: &Entrant, act: usize) -> Option<f64> {
        match self {
            Self::Cpu => Some(entrant.summary(act, Cost::cpu_per_message)?.median),
            Self::Rate => Some(entrant.summary(act, Cost::rate)?.median),
            Self::Latency | Self::P99 => quantile(entrant, act, 990),
            Self::SystemCalls => entrant.calls[act],
        }
    }
}

/// Microseconds that so many of a thousand messages did not exceed; none if the server failed.
fn quantile(entrant: &Entrant, act: usize, per_mille: u64) -> Option<f64> {
    if entrant.failure.is_some() {
        return None;
    }
    let duration = entrant.latency(act).quantile(per_mille)?;
    Some(duration.as_secs_f64() * 1e6)
}

/// Every act that is shown in tables, with the stage that it belongs to and its number there.
fn acts(findings: &Findings) -> impl Iterator<Item = (&Played, usize, &'static Act)> {
    findings.stages.iter().flat_map(|played| {
        let numbered = played.stage.acts.iter().enumerate();
        let shown = numbered.filter(|(_, act)| act.title != ARTICLE);
        shown.map(move |(number, act)| (played, number, act))
    })
}

/// Whether anything of a group was measured.
pub(crate) fn has(findings: &Findings, group: Group) -> bool {
    acts(findings).any(|(_, _, act)| act.group == group)
}

/// A table of one group.
pub(crate) fn table(findings: &Findings, group: Group, metric: Metric) -> Table {
    let columns: Vec<_> = acts(findings)
        .filter(|(_, _, act)| act.group == group)
        .collect();
    let titles = columns.iter().map(|(_, _, act)| act.title);
    let mut table = Table::new(std::iter::once("server").chain(titles));
    for server in SERVERS {
        let cells: Vec<Option<String>> = columns
            .iter()
            .map(|(played, number, _)| cell(played, server, *number, metric))
            .collect();
        if cells.iter().any(Option::is_some) {
            let shown = cells
                .into_iter()
                .map(|cell| cell.unwrap_or(NOTHING.to_owned()));
            table.row(std::iter::once(server.name().to_owned()).chain(shown));
        }
    }
    table
}

fn cell(played: &Played, server: Server, act: usize, metric: Metric) -> Option<String> {
    let entrant = played.entrant(server)?;
    if entrant.failure.is_some() {
        return Some("failed".to_owned());
    }
    metric.show(entrant, act)
}

/// A panel for each act.
pub(crate) fn panels(findings: &Findings, metric: Metric) -> Vec<Panel> {
    let panels = acts(findings).map(|(played, number, act)| {
        let bars = SERVERS.into_iter().filter_map(|server| {
            Some(Bar {
                label: server.name().to_owned(),
                value: metric.value(played.entrant(server)?, number)?,
                is_ours: server.is_ours(),
            })
        });
        Panel {
            title: act.title.to_owned(),
            bars: bars.collect(),
        }
    });
    panels.collect()
}

/// What went wrong with the servers of the stages, and how many datagrams were lost.
pub(crate) fn failures(findings: &Findings) -> Vec<String> {
    let mut found = Vec::new();
    for played in &findings.stages {
        for entrant in &played.entrants {
            if let Some(failure) = &entrant.failure {
                let act = played.stage.acts[0].title;
                found.push(format!("{}, {act}: {failure}", entrant.server.name()));
            }
        }
    }
    found
}
