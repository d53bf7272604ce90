//! The report's comparisons and whether each reaches its mark.

use super::Findings;
use super::table::{NOTHING, Table};
use crate::pairs::{Answer, Question};
use crate::statistics::Mark;

/// Writes the section, and adds what could not be measured to `failures`.
pub(crate) fn write(findings: &Findings, failures: &mut Vec<String>) -> String {
    let mut table = Table::new([
        "server ÷ server, work",
        "µs/message",
        "ratio: median",
        "quartiles",
        "range",
        "control: median",
        "control's spread",
        "mark",
        "verdict",
    ]);
    for (question, answer) in &findings.answers {
        match answer {
            Ok(answer) => table.row(mark_row(question, answer)),
            Err(failure) => {
                failures.push(format!("{}: {failure}", question.title));
                table.row([question.title, "failed"]);
            }
        }
    }
    format!(
        "\
## Marks

Ratios of processor time per message, by {} pairs.
For each pair the servers are started anew and measured there and back (A B C C B A, every second pair from the other end); the ratio is that of the two sums.
The control is the same ratio of a second instance of the bare loop to the first.
The *control's spread* is the larger of half the distance between its quartiles and the distance of its median from 1.
A mark `≤` is reached if the median ratio is at most the mark plus the control's spread; a mark `≥` has no tolerance.

{table}",
        findings.plan.pairs
    )
}

fn mark_row(question: &Question, answer: &Answer) -> Vec<String> {
    let upper = answer
        .upper_cost
        .map_or(NOTHING.to_owned(), |cost| format!("{cost:.2}"));
    let mut row = vec![
        question.title.to_owned(),
        format!("{upper} ÷ {:.2}", answer.lower_cost),
    ];
    row.extend(match &answer.ratios {
        Some(ratios) => [
            format!("**{:.3}**", ratios.median),
            format!(
                "{:.3} to {:.3}",
                ratios.lower_quartile, ratios.upper_quartile
            ),
            format!("{:.3} to {:.3}", ratios.smallest, ratios.largest),
        ],
        None => [NOTHING; 3].map(str::to_owned),
    });
    row.extend(match &answer.control {
        Some(control) => [
            format!("{:.3}", control.median),
            format!("{:.3}", control.stray_from_one()),
        ],
        None => [NOTHING; 2].map(str::to_owned),
    });
    row.push(match question.mark {
        Mark::AtMost(bound) => format!("≤ {bound:.2}"),
        Mark::AtLeast(bound) => format!("≥ {bound:.2}"),
    });
    row.push(match &answer.ratios {
        Some(ratios) if question.mark.is_reached(ratios, answer.control.as_ref()) => {
            "reached".to_owned()
        }
        Some(_) => "**not reached**".to_owned(),
        None => NOTHING.to_owned(),
    });
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pairs::QUESTIONS;
    use crate::statistics::Summary;

    #[test]
    fn a_verdict_needs_a_measurement_of_ours() {
        let mut answer = Answer {
            ratios: Summary::of(&[1.20]),
            control: Summary::of(&[1.01]),
            upper_cost: Some(6.0),
            lower_cost: 5.0,
        };
        let verdict = |answer: &Answer| mark_row(&QUESTIONS[0], answer).pop();
        assert_eq!(verdict(&answer).as_deref(), Some("**not reached**"));
        answer.ratios = Summary::of(&[1.0]);
        assert_eq!(verdict(&answer).as_deref(), Some("reached"));
        answer.ratios = None;
        assert_eq!(verdict(&answer).as_deref(), Some(NOTHING));
    }
}
