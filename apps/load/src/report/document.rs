//! The text of the report.

use super::marks;
use super::table::{NOTHING, Table, thousands};
use super::{Findings, WATCHED_CONNECTIONS};
use crate::failure::Result;
use crate::histogram::Histogram;
use crate::scenarios::Figures;
use crate::servers::{ECHO_SERVERS, Engine, Server, our_arguments};
use crate::statistics::count;

/// Writes the whole report as Markdown, and tells how many measurements failed.
pub(crate) fn write(findings: &Findings) -> (String, usize) {
    let mut sections = vec![head(findings), method(findings)];
    let mut failures = Vec::new();
    if !findings.answers.is_empty() {
        sections.push(marks::write(findings, &mut failures));
    }
    if !findings.scenarios.is_empty() {
        sections.push(scenario_tables(findings, &mut failures));
    }
    if !findings.memory.is_empty() {
        sections.push(memory(findings, &mut failures));
    }
    if !findings.idle_cpu.is_empty() {
        sections.push(idle_cpu(findings, &mut failures));
    }
    if !findings.stops.is_empty() {
        sections.push(stops(findings, &mut failures));
    }
    let failed = failures.len();
    failures.extend(findings.notes.iter().cloned());
    if !failures.is_empty() {
        let lines: Vec<String> = failures.iter().map(|line| format!("- {line}\n")).collect();
        sections.push(format!("## Not measured\n\n{}", lines.concat()));
    }
    (sections.join("\n"), failed)
}

fn head(findings: &Findings) -> String {
    let machine = &findings.machine;
    let partial = match &findings.partial {
        Some(reasons) => format!("**Not a complete report** ({reasons}).\n\n"),
        None => String::new(),
    };
    format!(
        "\
# Echo: what a message costs

{partial}Written by a command, not by hand; to run it again:

```sh
cargo build --release
cargo run --release -p load -- report
```

- Processor: {}, {} cores
- Kernel: {}
- Compiler: {}
- Python: {}
",
        machine.processor,
        machine.cores,
        machine.kernel,
        machine.rustc,
        machine.python.as_deref().unwrap_or("none"),
    )
}

fn method(findings: &Findings) -> String {
    let plan = &findings.plan;
    let placed = if findings.pinned {
        "The server is kept on core 1 and the generator on core 0, so that neither moves or takes the other's time"
    } else {
        "Nothing is pinned: the kernel places server and generator"
    };
    let nodelay = if findings.peer_nodelay {
        "sets"
    } else {
        "does not set"
    };
    format!(
        "\
## Method

- One generator, one thread on epoll, in a closed loop over 127.0.0.1: each connection sends 64 bytes and waits for the whole reply, whose every byte is checked.
  Each message has a number of its own, so that a stale or doubled reply would be found out.
- {placed}.
- The figure that counts is the *server's processor time per message*: the process clock (`clock_getcpuclockid`), in nanoseconds, with the threads that have exited.
  For the forking engine the live children's clocks are added, and the time of those that were reaped, which the kernel tells in ticks of 10 ms: its figure for connect-echo-close is that much coarser.
- A measurement lasts {slice} ms after {warm_up} ms of warm-up, from rest to rest: the clock is read when every reply has come and the server has nothing left to do.
- Connect-echo-close: 50 at a time connect, echo one message, and the client closes; its time is from the connect to the reply.
- *threading* and its sisters are `socketserver {raw}`, each with its engine.
  *std threads* is `TcpListener::incoming` and `thread::spawn`, a 16 KiB buffer on the stack, `read` and `write_all`; it {nodelay} `TCP_NODELAY`.
  It bounds no wait, where *threading* has an idle timeout, for which the kernel sets a timer each time a read waits; *threading, no timeouts* is `socketserver {unbounded}`, and does as much as the bare loop.
  *Python ThreadingTCPServer* is `recv` and `sendall`.
  *Python article echo* decodes, puts the client's address before the text, encodes, sends, and logs a line with the time; *threading with prefix and log*, which is `socketserver {addressed}`, does the same work.
  The log goes to `/dev/null`. Both Python servers have a backlog of 1024 instead of 5, so that it is not the retransmission of SYNs that is measured.
",
        slice = plan.slice.as_millis(),
        warm_up = plan.warm_up.as_millis(),
        raw = our_arguments(Server::Raw(Engine::Threading)).join(" "),
        unbounded = our_arguments(Server::Unbounded).join(" "),
        addressed = our_arguments(Server::Addressed).join(" "),
    )
}

fn scenario_tables(findings: &Findings, failures: &mut Vec<String>) -> String {
    for (scenario, results) in &findings.scenarios {
        for (server, result) in results {
            if let Err(failure) = result {
                failures.push(format!("{}, {}: {failure}", server.name(), scenario.title));
            }
        }
    }
    let cpu = scenario_table(findings, |figures| {
        format!("{:.2}", figures.cpu_per_message)
    });
    let rate = scenario_table(findings, |figures| thousands(figures.rate));
    let latency = scenario_table(findings, |figures| {
        format!(
            "{} / {}",
            microseconds(&figures.latency, 500),
            microseconds(&figures.latency, 990)
        )
    });
    format!(
        "\
## Every engine

Medians of {rounds} rounds, in each of which every server is measured once, the order rotated; the servers of a column run all at once and are driven one at a time.
Two figures that differ by a few per cent here do not differ: near cases are for the marks, by pairs.
{NOTHING}: more connections than the server takes at once (sequential 1; the pool 8, the number of its threads; forking 30, its children being limited to 40).

### Processor time per message, µs

{cpu}
### Messages per second

{rate}
### Latency, p50 / p99, µs

{latency}",
        rounds = findings.plan.rounds
    )
}

/// A table with a row for each server and a column for each scenario.
fn scenario_table(findings: &Findings, show: impl Fn(&Figures) -> String) -> Table {
    let titles = findings
        .scenarios
        .iter()
        .map(|(scenario, _)| scenario.title);
    let mut table = Table::new(std::iter::once("server").chain(titles));
    for server in ECHO_SERVERS {
        let cells: Vec<Option<String>> = findings
            .scenarios
            .iter()
            .map(|(_, results)| {
                let (_, result) = results.iter().find(|(other, _)| *other == server)?;
                Some(result.as_ref().map_or_else(|_| "failed".to_owned(), &show))
            })
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

fn memory(findings: &Findings, failures: &mut Vec<String>) -> String {
    let mut table = Table::new(["server", "connections", "PSS", "RSS"]);
    rows(&mut table, &findings.memory, failures, |idle| {
        let each = |total: u64| format!("{:.1}", count(total) / count(idle.connections as u64));
        vec![
            idle.connections.to_string(),
            each(idle.memory.pss),
            each(idle.memory.rss),
        ]
    });
    format!(
        "\
## Memory of an idle connection, KiB

What the server has grown by, after each connection has echoed one message, divided by their number; its children included.
In PSS a page that processes share is shared out among them, in RSS it counts for each; what the kernel keeps for sockets and stacks is in neither.

{table}"
    )
}

fn idle_cpu(findings: &Findings, failures: &mut Vec<String>) -> String {
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

fn stops(findings: &Findings, failures: &mut Vec<String>) -> String {
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
    results: &[(Server, Result<T>)],
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

fn microseconds(latency: &Histogram, per_mille: u64) -> String {
    latency
        .quantile(per_mille)
        .map_or(NOTHING.to_owned(), |duration| {
            thousands(duration.as_secs_f64() * 1e6)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::failure::Failure;
    use crate::machine::Machine;
    use crate::subject::Plan;

    fn findings() -> Findings {
        Findings {
            machine: Machine {
                processor: "a processor".into(),
                cores: 2,
                kernel: "a kernel".into(),
                rustc: "a compiler".into(),
                python: None,
            },
            plan: Plan {
                slice: Duration::from_millis(350),
                warm_up: Duration::from_millis(50),
                rounds: 7,
                pairs: 3,
                stops: 1,
                idle: Duration::from_secs(2),
            },
            pinned: true,
            peer_nodelay: false,
            partial: None,
            answers: Vec::new(),
            scenarios: Vec::new(),
            memory: Vec::new(),
            idle_cpu: Vec::new(),
            stops: Vec::new(),
            notes: Vec::new(),
        }
    }

    #[test]
    fn what_failed_stands_in_its_table_and_at_the_end() {
        let mut findings = findings();
        let failure = Failure::new("it did not end");
        findings.stops = vec![(Server::Raw(Engine::Pool), Err(failure))];
        let (text, failed) = write(&findings);
        assert_eq!(failed, 1);
        assert!(text.contains("| engine pool | failed |"), "{text}");
        assert!(text.ends_with("## Not measured\n\n- engine pool: it did not end\n"));
    }

    #[test]
    fn a_partial_report_says_so_first() {
        let mut findings = findings();
        findings.partial = Some("only peers".into());
        let (text, _) = write(&findings);
        assert!(text.starts_with("# Echo: what a message costs\n\n**Not a complete report**"));
    }
}
