//! Plots: bars in small panels, as SVG that needs nothing else and is read on light and dark ground.

use std::fmt::Write as _;

/// One panel: a bar for each server.
pub(crate) struct Panel {
    pub(crate) title: String,
    pub(crate) bars: Vec<Bar>,
}

/// One bar.
pub(crate) struct Bar {
    pub(crate) label: String,
    pub(crate) value: f64,
    /// Whether it is this library's.
    pub(crate) is_ours: bool,
}

const COLUMNS: usize = 3;
const PANEL_WIDTH: usize = 330;
const LABEL_WIDTH: usize = 150;
const BAR_WIDTH: f64 = 120.0;
const LINE: usize = 17;
const TITLE: usize = 26;
const GAP: usize = 14;
/// A bar that is longer than so many times the shortest is cut, so that the others can be told apart.
const LONGEST: f64 = 3.0;

const STYLE: &str = "\
text{font:12px system-ui,sans-serif;fill:#1f2328}\
.title{font-weight:600}.value{font-size:11px}\
.ours{fill:#bc4c00}.peer{fill:#8c959f}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.ours{fill:#f0883e}.peer{fill:#6e7681}}";

/// Draws the panels side by side; the values are printed with their bars.
pub(crate) fn svg(panels: &[Panel]) -> String {
    let mut body = String::new();
    let mut top = 0;
    for row in panels.chunks(COLUMNS) {
        for (column, panel) in row.iter().enumerate() {
            draw(&mut body, panel, column * PANEL_WIDTH, top);
        }
        let most = row.iter().map(|panel| panel.bars.len()).max().unwrap_or(0);
        top += TITLE + most * LINE + GAP;
    }
    let width = COLUMNS.min(panels.len()) * PANEL_WIDTH;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{top}\" \
         viewBox=\"0 0 {width} {top}\" role=\"img\">\n<style>{STYLE}</style>\n{body}</svg>\n"
    )
}

fn draw(body: &mut String, panel: &Panel, left: usize, top: usize) {
    let values = panel.bars.iter().map(|bar| bar.value);
    let shortest = values.clone().fold(f64::INFINITY, f64::min);
    let longest = values.fold(0.0, f64::max);
    let scale = longest.min(LONGEST * shortest).max(f64::MIN_POSITIVE);
    // Writing to a string cannot fail.
    let _ = writeln!(
        body,
        "<text class=\"title\" x=\"{left}\" y=\"{}\">{}</text>",
        top + 16,
        escaped(&panel.title)
    );
    for (number, bar) in panel.bars.iter().enumerate() {
        let line = top + TITLE + number * LINE;
        let length = (bar.value / scale).clamp(0.0, 1.0) * BAR_WIDTH;
        let class = if bar.is_ours { "ours" } else { "peer" };
        // A cut bar says so.
        let cut = if bar.value > scale { "… " } else { "" };
        let _ = writeln!(
            body,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\
             <rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{length:.1}\" height=\"11\"/>\
             <text class=\"value\" x=\"{:.1}\" y=\"{}\">{cut}{}</text>",
            left + LABEL_WIDTH - 6,
            line + 10,
            escaped(&bar.label),
            left + LABEL_WIDTH,
            line,
            length + 4.0 + crate::statistics::count((left + LABEL_WIDTH) as u64),
            line + 10,
            digits(bar.value),
        );
    }
}

/// Three digits that count.
pub(crate) fn digits(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value if value >= 1.0 => format!("{value:.2}"),
        value => format!("{value:.3}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(title: &str, values: &[f64]) -> Panel {
        let bars = values.iter().map(|&value| Bar {
            label: format!("server <{value}>"),
            value,
            is_ours: value > 1.0,
        });
        Panel {
            title: title.to_owned(),
            bars: bars.collect(),
        }
    }

    /// The names of the elements that are open at the end, and whether every end has its beginning.
    fn is_well_formed(svg: &str) -> bool {
        let mut open = Vec::new();
        for tag in svg.split('<').skip(1) {
            let Some((tag, _)) = tag.split_once('>') else {
                return false;
            };
            let name = tag
                .trim_start_matches('/')
                .split([' ', '/'])
                .next()
                .unwrap();
            if tag.starts_with('/') {
                if open.pop() != Some(name) {
                    return false;
                }
            } else if !tag.ends_with('/') {
                open.push(name);
            }
            if !tag.matches('"').count().is_multiple_of(2) {
                return false;
            }
        }
        open.is_empty()
    }

    #[test]
    fn what_is_drawn_is_well_formed_whatever_the_labels_say() {
        let panels = [
            panel("a & b", &[0.5, 2.0]),
            panel("c", &[]),
            panel("d", &[1.0]),
            panel("e", &[3.0]),
        ];
        let svg = svg(&panels);
        assert!(is_well_formed(&svg), "{svg}");
        assert!(svg.contains("a &amp; b") && svg.contains("server &lt;0.5&gt;"));
        assert!(!is_well_formed("<a><b></a></b>"));
    }

    #[test]
    fn a_bar_is_as_long_as_its_value_and_a_cut_one_says_so() {
        let svg = svg(&[panel("a", &[1.0, 2.0, 40.0])]);
        // The scale ends at three times the shortest.
        assert!(svg.contains("width=\"40.0\"") && svg.contains("width=\"80.0\""));
        assert!(
            svg.contains("width=\"120.0\"") && svg.contains(">… 40.0<"),
            "{svg}"
        );
    }

    #[test]
    fn figures_keep_three_digits() {
        assert_eq!(
            [0.0351, 5.678, 56.78, 567.8].map(digits),
            ["0.035", "5.68", "56.8", "568"]
        );
    }
}
