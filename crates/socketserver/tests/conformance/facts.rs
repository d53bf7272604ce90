//! Facts: numbers under names, as one line of text, by which a server process tells about itself.

use std::collections::BTreeMap;
use std::fmt;

/// Numbers under names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts(BTreeMap<String, u64>);

impl Facts {
    /// The facts in `line`: `name=number` words.
    pub(crate) fn parse(line: &str) -> Self {
        let pairs = line.split_whitespace().filter_map(|word| {
            let (name, number) = word.split_once('=')?;
            Some((name.to_owned(), number.parse().ok()?))
        });
        Self(pairs.collect())
    }

    /// Adds to the number under `name`.
    pub(crate) fn add(&mut self, name: &str, number: u64) {
        *self.0.entry(name.replace(' ', "-")).or_default() += number;
    }

    /// Adds all of `others`.
    pub(crate) fn add_all(&mut self, others: &Self) {
        for (name, number) in &others.0 {
            self.add(name, *number);
        }
    }

    /// The number under `name`, 0 if there is none.
    pub(crate) fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, number) in &self.0 {
            write!(f, "{name}={number} ")?;
        }
        Ok(())
    }
}
