//! The counterparts of the 27 tests of Python's `socketserver` (`Lib/test/test_socketserver.py`),
//! under their names.
//!
//! Where the library differs on purpose the counterpart says so and asserts what it does instead: the
//! one great difference is `SystemExit`, which ends Python's server, thread or child depending on where
//! it is raised, and whose counterpart [`Stop`](socketserver::Stop) ends the server in good order from
//! everywhere.

use libtest_mimic::Trial;

use crate::Outcome;

mod errors;
mod lifecycle;
mod servers;
mod writer;

/// One counterpart.
type Test = (&'static str, fn() -> Outcome);

/// All counterparts.
pub(crate) fn trials() -> Vec<Trial> {
    [
        servers::TESTS,
        lifecycle::TESTS,
        errors::TESTS,
        writer::TESTS,
    ]
    .concat()
    .into_iter()
    .map(|(name, test)| Trial::test(format!("cpython::{name}"), test))
    .collect()
}
