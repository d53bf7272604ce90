//! The report's comparisons and whether each reaches its mark.

use super::Findings;
use super::table::{NOTHING, Table};
use crate::facts::{Fact, facts};
use crate::marks::{Answer, Figure, QUESTIONS, Question, answers};
use crate::statistics::Mark;

/// Writes the section.
pub(crate) fn write(findings: &Findings) -> String {
    let mut reached = Vec::new();
    let mut sections = Vec::new();
    for question in &QUESTIONS {
        let answers = answers(question, &findings.stages);
        if answers.is_empty() {
            continue;
        }
        let mut table = Table::new([
            "scenario",
            "servers",
            "µs",
            "ratio: median",
            "quartiles",
            "control's spread",
            "verdict",
        ]);
        for answer in &answers {
            reached.push(is_reached(question, answer));
            table.row(row(question, answer));
        }
        let mark = match question.mark {
            Mark::AtMost(bound) => format!("≤ {bound:.2}"),
            Mark::AtLeast(bound) => format!("≥ {bound:.2}"),
        };
        sections.push(format!("### {} {mark}\n\n{table}", question.title));
    }
    let facts = facts(&findings.stages);
    reached.extend(facts.iter().map(|fact| fact.is_reached));
    if !facts.is_empty() {
        sections.push(format!("### Figures\n\n{}", facts_table(&facts)));
    }
    let count = reached.iter().filter(|&&reached| reached).count();
    format!(
        "\
## Marks

**{count} of {all} reached.**
Where one is missed, [the profile](profile.md) says where the time goes.

Ratios of processor time for each message unless the title says otherwise, by {rounds} pairs of measurements.
The *control's spread* is how far a second instance of the lower server strays from the first: the larger of half the distance between the quartiles of their ratio, and the distance of its median from 1.
Where the lower server is ours, the control is that of the raw epoll loop.
A mark `≤` is reached if the median ratio is at most the mark plus the control's spread; a mark `≥` has no tolerance.
*Better* and *cheapest* are decided in each scenario by the median, among those that were measured in every round.

{sections}",
        all = reached.len(),
        rounds = findings.plan.rounds,
        sections = sections.join("\n"),
    )
}

fn facts_table(facts: &[Fact]) -> Table {
    let mut table = Table::new(["what", "figure", "mark", "verdict"]);
    for fact in facts {
        let verdict = verdict(fact.is_reached).to_owned();
        let cells = [&fact.title, &fact.figure, &fact.mark, &verdict];
        table.row(cells.map(String::as_str));
    }
    table
}

fn is_reached(question: &Question, answer: &Answer) -> bool {
    question
        .mark
        .is_reached(&answer.ratios, answer.control.as_ref())
}

fn verdict(is_reached: bool) -> &'static str {
    if is_reached { "reached" } else { "**missed**" }
}

fn row(question: &Question, answer: &Answer) -> Vec<String> {
    let figure = |value: f64| match question.figure {
        Figure::Cpu => super::plot::digits(value),
        Figure::P99 => super::table::thousands(value),
    };
    let spread = answer
        .control
        .as_ref()
        .map_or(NOTHING.to_owned(), |control| {
            format!("{:.3}", control.stray_from_one())
        });
    vec![
        answer.act.to_owned(),
        format!("{} ÷ {}", answer.upper.name(), answer.lower.name()),
        format!(
            "{} ÷ {}",
            figure(answer.upper_figure),
            figure(answer.lower_figure)
        ),
        format!("**{:.3}**", answer.ratios.median),
        format!(
            "{:.3} to {:.3}",
            answer.ratios.lower_quartile, answer.ratios.upper_quartile
        ),
        spread,
        verdict(is_reached(question, answer)).to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::servers::{REACTORS, Server};
    use crate::statistics::Summary;

    #[test]
    fn a_ratio_above_its_mark_is_missed_unless_the_control_strays_as_far() {
        let mut answer = Answer {
            act: "100",
            upper: REACTORS[0],
            lower: Server::RawEpoll,
            ratios: Summary::of(&[1.07]).unwrap(),
            control: Summary::of(&[1.01]),
            upper_figure: 6.0,
            lower_figure: 5.6,
        };
        let verdict = |answer: &Answer| row(&QUESTIONS[0], answer).pop();
        assert_eq!(verdict(&answer).as_deref(), Some("**missed**"));
        answer.control = Summary::of(&[1.03]);
        assert_eq!(verdict(&answer).as_deref(), Some("reached"));
    }
}
