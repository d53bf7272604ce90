//! The text of the report, put together, and its plots.

use std::fmt::Write as _;

use super::columns::{self, Metric};
use super::plot;
use super::{Findings, marks, method, rest};
use crate::scenarios::Group;

/// The report, ready to be written.
pub(crate) struct Document {
    pub(crate) text: String,
    /// Names of files and what belongs in them.
    pub(crate) plots: Vec<(&'static str, String)>,
    /// How many measurements failed.
    pub(crate) failed: usize,
}

/// Writes the whole report as Markdown, and tells how many measurements failed.
pub(crate) fn write(findings: &Findings) -> Document {
    let mut sections = vec![head(findings)];
    let mut plots = Vec::new();
    let mut failures = columns::failures(findings);
    if !findings.stages.is_empty() {
        plots.push((
            "cpu.svg",
            plot::svg(&columns::panels(findings, Metric::Cpu)),
        ));
        plots.push((
            "p99.svg",
            plot::svg(&columns::panels(findings, Metric::P99)),
        ));
        sections.push(
            "\
## At a glance

Processor time of the server for each message, in µs; for a fan-out, for each delivery; shorter is better.
A bar that would be longer than three times the shortest is cut (…).

![Processor time for each message](cpu.svg)

The time in which 99 of 100 messages were answered, in µs; the generator's share is in it.

![p99 of the time to the reply](p99.svg)
"
            .to_owned(),
        );
        sections.push(marks::write(findings));
        sections.push(figures(findings));
    }
    let memory = rest::memory(findings, &mut failures);
    if let Some((text, panel)) = memory {
        plots.push(("memory.svg", plot::svg(&[panel])));
        sections.push(text);
    }
    if !findings.idle_cpu.is_empty() {
        sections.push(rest::idle_cpu(findings, &mut failures));
    }
    if !findings.stops.is_empty() {
        sections.push(rest::stops(findings, &mut failures));
    }
    sections.push(method::write(findings));
    let failed = failures.len();
    failures.extend(findings.notes.iter().cloned());
    if !failures.is_empty() {
        let lines: Vec<String> = failures.iter().map(|line| format!("- {line}\n")).collect();
        sections.push(format!("## Not measured\n\n{}", lines.concat()));
    }
    Document {
        text: sections.join("\n"),
        plots,
        failed,
    }
}

fn head(findings: &Findings) -> String {
    let machine = &findings.machine;
    let partial = match &findings.partial {
        Some(reasons) => format!("**Not a complete report** ({reasons}).\n\n"),
        None => String::new(),
    };
    format!(
        "\
# What a message costs

{partial}Written by a command, not by hand, in {minutes:.0} minutes; to run it again:

```sh
cargo run --release -p load -- report
```

- Processor: {processor}, {cores} cores
- Kernel: {kernel}
- Versions: {versions}
",
        minutes = (findings.took.as_secs_f64() / 60.0).ceil(),
        processor = machine.processor,
        cores = machine.cores,
        kernel = machine.kernel,
        versions = machine.versions.join("; "),
    )
}

fn figures(findings: &Findings) -> String {
    let groups = [
        (
            Group::Connections,
            "Connections that each have one message of 64 bytes under way",
        ),
        (
            Group::Traffic,
            "Other traffic: 100 connections with 16 messages in flight, 4 with 64 KiB each, a connection for each message, datagrams",
        ),
        (
            Group::FanOut,
            "Fan-out: each line goes to every member; the figures are for each delivery, the latency until the last member has it",
        ),
    ];
    let metrics = [
        Metric::Cpu,
        Metric::Rate,
        Metric::Latency,
        Metric::SystemCalls,
    ];
    let mut text = format!(
        "\
## Every server

Medians of {} rounds; of servers with no mark, which are measured in the first {} only.
Two figures that differ by a few per cent here do not differ: near cases are for the marks.
",
        findings.plan.rounds, findings.plan.spectator_rounds
    );
    // Writing to a string cannot fail.
    for (group, title) in groups {
        if !columns::has(findings, group) {
            continue;
        }
        let _ = write!(text, "\n### {title}\n");
        for metric in metrics {
            let table = columns::table(findings, group, metric);
            let _ = write!(text, "\n{}:\n\n{table}", metric.title());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::failure::Failure;
    use crate::machine::Machine;
    use crate::servers::{Engine, Server};
    use crate::subject::Plan;

    fn findings() -> Findings {
        Findings {
            machine: Machine {
                processor: "a processor".into(),
                cores: 2,
                kernel: "a kernel".into(),
                versions: vec!["a compiler".into()],
            },
            plan: Plan {
                slice: Duration::from_millis(150),
                warm_up: Duration::from_millis(25),
                rounds: 7,
                spectator_rounds: 3,
                stops: 1,
                idle: Duration::from_secs(2),
            },
            pinned: true,
            partial: None,
            stages: Vec::new(),
            memory: Vec::new(),
            idle_cpu: Vec::new(),
            stops: Vec::new(),
            notes: Vec::new(),
            took: Duration::from_secs(61),
        }
    }

    #[test]
    fn what_failed_stands_in_its_table_and_at_the_end() {
        let mut findings = findings();
        let failure = Failure::new("it did not end");
        findings.stops = vec![(Server::Engine(Engine::Pool), Err(failure))];
        let Document { text, failed, .. } = write(&findings);
        assert_eq!(failed, 1);
        assert!(text.contains("| pool   | failed |"), "{text}");
        assert!(
            text.ends_with("## Not measured\n\n- pool: it did not end\n"),
            "{text}"
        );
    }

    #[test]
    fn a_partial_report_says_so_first() {
        let mut findings = findings();
        findings.partial = Some("only peers".into());
        let text = write(&findings).text;
        assert!(
            text.starts_with("# What a message costs\n\n**Not a complete report**"),
            "{text}"
        );
        assert!(text.contains("in 2 minutes"));
    }
}
