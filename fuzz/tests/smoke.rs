//! What holds for any input holds for the inputs in `corpus`, and for some that look random.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::Path;

use properties::{Inputs, TARGETS, Target};

/// How many inputs a target gets that look random.
const INPUTS: usize = 20_000;

/// The inputs of a target that are worth keeping.
fn corpus(target: Target) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target.name);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Checks a target, and says which input it was that failed.
fn check(target: Target) {
    let seeds = corpus(target);
    assert!(!seeds.is_empty(), "{} has no inputs to keep", target.name);
    for input in seeds
        .iter()
        .cloned()
        .chain(Inputs::new(target, &seeds, 1).take(INPUTS))
    {
        let result = std::panic::catch_unwind(|| target.check(&input));
        assert!(
            result.is_ok(),
            "{}: b\"{}\"",
            target.name,
            input.escape_ascii()
        );
    }
}

/// A test for each target.
macro_rules! tests {
    ($($test:ident $target:ident;)*) => {
        $(
            #[test]
            fn $test() {
                check(properties::$target);
            }
        )*

        #[test]
        fn every_target_has_a_test() {
            assert_eq!([$(properties::$target.name),*].len(), TARGETS.len());
        }
    };
}

tests! {
    chunks_hold CHUNKS;
    delimited_messages_hold DELIMITED;
    length_prefixed_messages_hold LENGTH_PREFIXED;
    lines_hold LINES;
    netstrings_hold NETSTRINGS;
    parsed_messages_hold PARSED;
    endpoints_hold ENDPOINT;
    a_chats_lines_hold CHAT_LINE;
    a_chats_names_hold CHAT_NAME;
    telnets_commands_hold TELNET;
}
