#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| properties::LENGTH_PREFIXED.check(input));
