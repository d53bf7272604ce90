//! The sections about servers that have nothing to do.

use super::plot::{Bar, Panel};
use super::table::{Table, thousands};
use super::{ByServer, Findings};
use crate::facts::lightest;
use crate::idle::WATCHED_CONNECTIONS;
use crate::servers::SERVERS;
use crate::statistics::count;

/// Memory of idle connections; none if none was weighed.
pub(crate) fn memory(findings: &Findings, failures: &mut Vec<String>) -> Option<(String, Panel)> {
    let mut table = Table::new(["server", "connections", "KiB each", "mappings for all"]);
    let mut bars = Vec::new();
    let mut is_empty = true;
    for played in findings.stages.iter().filter(|played| played.stage.weighs) {
        for server in SERVERS {
            let Some((kibibytes, mappings)) = lightest(played, server) else {
                continue;
            };
            is_empty = false;
            table.row([
                server.name().to_owned(),
                thousands(count(played.stage.setup.connections() as u64)),
                format!("{kibibytes:.2}"),
                mappings.to_string(),
            ]);
            bars.push(Bar {
                label: server.name().to_owned(),
                value: kibibytes,
                is_ours: server.is_ours(),
            });
        }
    }
    is_empty &= findings.memory.is_empty();
    rows(&mut table, &findings.memory, failures, |weight| {
        let connections = count(weight.connections as u64);
        vec![
            thousands(connections),
            format!("{:.2}", count(weight.memory.pss) / connections),
            weight.mappings.to_string(),
        ]
    });
    let text = format!(
        "\
## Memory of an idle connection

What the server has grown by, after each connection has echoed one message, divided by their number; its children included.
It is the proportional share (PSS): a page that processes share is shared out among them; what the kernel keeps for sockets and stacks is not in it.
Of several rounds the lightest is shown.

![Memory of one of 19,000 idle connections, KiB](memory.svg)

{table}"
    );
    let panel = Panel {
        title: "KiB for each of 19,000 idle connections".to_owned(),
        bars,
    };
    (!is_empty).then_some((text, panel))
}

/// What servers use while nothing is said.
pub(crate) fn idle_cpu(findings: &Findings, failures: &mut Vec<String>) -> String {
    let mut table = Table::new(["server", "µs"]);
    rows(&mut table, &findings.idle_cpu, failures, |used| {
        vec![thousands(used.as_secs_f64() * 1e6)]
    });
    format!(
        "\
## Processor time while idle

Used in {} s with {WATCHED_CONNECTIONS} connections that say nothing. A server that polls shows here.

{table}",
        findings.plan.idle.as_secs_f64()
    )
}

/// How long stopping takes.
pub(crate) fn stops(findings: &Findings, failures: &mut Vec<String>) -> String {
    let mut table = Table::new(["server", "median", "slowest"]);
    rows(&mut table, &findings.stops, failures, |milliseconds| {
        vec![
            format!("{:.2}", milliseconds.median),
            format!("{:.2}", milliseconds.largest),
        ]
    });
    format!(
        "\
## From SIGTERM to the end of the process, ms

Without clients, {} times.

{table}",
        findings.plan.stops
    )
}

/// Adds a row for each server, or what went wrong with it.
fn rows<T>(
    table: &mut Table,
    results: &ByServer<T>,
    failures: &mut Vec<String>,
    cells: impl Fn(&T) -> Vec<String>,
) {
    for (server, result) in results {
        let mut row = vec![server.name().to_owned()];
        match result {
            Ok(found) => row.extend(cells(found)),
            Err(failure) => {
                row.push("failed".to_owned());
                failures.push(format!("{}: {failure}", server.name()));
            }
        }
        table.row(row);
    }
}
