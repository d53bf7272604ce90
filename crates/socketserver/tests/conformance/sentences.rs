//! The sentences, by what they are about.

use crate::case::Sentence;

mod answers;
mod datagrams;
mod engines;
mod failures;
mod messages;
mod once;
mod restart;
mod shutdown;
mod streams;

/// All sentences.
pub(crate) fn all() -> Vec<Sentence> {
    [
        answers::SENTENCES,
        datagrams::SENTENCES,
        engines::SENTENCES,
        failures::SENTENCES,
        messages::SENTENCES,
        once::SENTENCES,
        restart::SENTENCES,
        shutdown::SENTENCES,
        streams::SENTENCES,
    ]
    .concat()
}
