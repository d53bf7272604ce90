//! A Markdown table, its columns padded so that the text can be read as it is.

use std::fmt;

/// What stands in a cell to which nothing applies.
pub(crate) const NOTHING: &str = "–";

/// A table under construction; the first column is text, the others are figures.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Makes a table with these headings.
    pub(crate) fn new<S: Into<String>>(headings: impl IntoIterator<Item = S>) -> Self {
        Self {
            rows: vec![headings.into_iter().map(Into::into).collect()],
        }
    }

    /// Adds a row; cells that are missing at its end say [`NOTHING`].
    pub(crate) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let columns = self.rows[0].len();
        let given = cells.into_iter().map(Into::into);
        let filled = given.chain(std::iter::repeat_with(|| NOTHING.to_owned()));
        self.rows.push(filled.take(columns).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths: Vec<usize> = (0..self.rows[0].len())
            .map(|column| {
                let cells = self
                    .rows
                    .iter()
                    .map(|row| escaped(&row[column]).chars().count());
                // `---:` is the shortest rule of a column of figures.
                cells.max().unwrap_or(0).max(4)
            })
            .collect();
        for (number, row) in self.rows.iter().enumerate() {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let cell = escaped(cell);
                if column == 0 {
                    write!(formatter, "| {cell:<width$} |")?;
                } else {
                    write!(formatter, " {cell:>width$} |")?;
                }
            }
            writeln!(formatter)?;
            if number == 0 {
                write_rule(formatter, &widths)?;
            }
        }
        Ok(())
    }
}

fn write_rule(formatter: &mut fmt::Formatter<'_>, widths: &[usize]) -> fmt::Result {
    for (column, width) in widths.iter().enumerate() {
        if column == 0 {
            write!(formatter, "| {} |", "-".repeat(*width))?;
        } else {
            write!(formatter, " {}: |", "-".repeat(width - 1))?;
        }
    }
    writeln!(formatter)
}

/// A cell whose text cannot be taken for the table's own marks.
fn escaped(cell: &str) -> String {
    cell.replace('|', "\\|").replace('\n', " ")
}

/// A rounded number with its thousands set apart.
pub(crate) fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return digits;
    }
    let mut text = String::new();
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_padded_and_figures_stand_to_the_right() {
        let mut table = Table::new(["server", "µs"]);
        table.row(["a", "1.5"]);
        table.row(["longer name", "12.25"]);
        let expected = "\
| server      |    µs |
| ----------- | ----: |
| a           |   1.5 |
| longer name | 12.25 |
";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn cells_that_are_missing_say_so() {
        let mut table = Table::new(["server", "x", "y"]);
        table.row(["a"]);
        assert!(table.to_string().ends_with("| a      |    – |    – |\n"));
    }

    #[test]
    fn a_cell_cannot_break_its_row() {
        let mut table = Table::new(["server"]);
        table.row(["a|b\nc"]);
        assert!(table.to_string().ends_with("| a\\|b c |\n"));
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(thousands(999.4), "999");
        assert_eq!(thousands(1000.0), "1,000");
        assert_eq!(thousands(1_234_567.0), "1,234,567");
        assert_eq!(thousands(f64::NAN), "NaN");
    }
}
