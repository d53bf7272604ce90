//! What holds for any input: of the codecs, of endpoints, and of what a chat's members send.
//!
//! The entry type is [`Target`]. Each is checked with inputs that look random in `tests/smoke.rs`, and
//! by a fuzzer that is guided by coverage, in the package in `targets`.

#![forbid(unsafe_code)]

mod chat_text;
mod codecs;
mod decoders;
mod endpoints;
mod feeding;
mod random;

pub use random::{Inputs, Random};

/// Something that takes any bytes, and what holds for it.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: that of its fuzz target, and of its folder of inputs.
    pub name: &'static str,
    /// What its inputs are made of, noise aside.
    pub words: &'static [&'static str],
    check: fn(&[u8]),
}

impl Target {
    /// Checks that what holds for any input holds for this one.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub fn check(&self, input: &[u8]) {
        (self.check)(input);
    }
}

/// Makes a constant of each target, and the list of them all.
macro_rules! targets {
    ($($(#[$doc:meta])* $constant:ident $name:literal $check:path, $words:expr;)*) => {
        $(
            $(#[$doc])*
            pub const $constant: Target = Target { name: $name, words: $words, check: $check };
        )*

        /// Every target.
        pub const TARGETS: &[Target] = &[$($constant),*];
    };
}

targets! {
    /// `Chunks`
    CHUNKS "chunks" codecs::chunks, &["\n", "\0", "ab"];
    /// `Delimited`, by several delimiters.
    DELIMITED "delimited" codecs::delimited, &["-", "--", "\r\n", "\n", "\0", "aba", "ab", "x"];
    /// `LengthPrefixed`, by lengths of every size in both orders.
    LENGTH_PREFIXED "length_prefixed" codecs::length_prefixed,
        &["\0", "\0\0\0", "\x01", "\x02", "\x03", "\x7f", "abc", "x"];
    /// `Lines`, with pauses and without.
    LINES "lines" codecs::lines, &["\n", "\r\n", "\r", "abc", "x", "\n\n"];
    /// `Netstrings`
    NETSTRINGS "netstrings" codecs::netstrings,
        &["0:,", "1:a,", "3:abc,", "12:", "0", "9", ":", ",", "18446744073709551615", "x"];
    /// `Parsed`, of lines.
    PARSED "parsed" codecs::parsed, &["\n", "\r\n", "0", "12", "7", "x", "18446744073709551616"];
    /// `Endpoint`, parsed and printed.
    ENDPOINT "endpoint" endpoints::check,
        &["tcp://", "udp://", "unix://", "unix-dgram://", "127.0.0.1", "[::1]", "[fe80::1%3]", ":", "0",
          "65535", "@", "%40", "%25", "%00", "%", "/run/x.sock", "/", ".", "..", "é"];
    /// What becomes of a line that a member sends.
    CHAT_LINE "chat_line" chat_text::line,
        &["quit", "/quit", "/nick ", "/who", "/help", "//", "/", " ", "\t", "\r\n", "\u{b}", "ada", "é",
          "\u{202e}", "\u{2028}", "\u{85}", "\x1b[2J", "\\"];
    /// The names that a member may take.
    CHAT_NAME "chat_name" chat_text::name,
        &["ada", "Ada", "ß", "ẞ", "SS", "ſ", "İ", "ŉ", "Σ", "ς", "K", "guest-", "unix-", "server",
          "-", "_", ".", "127.0.0.1", "1", "*", " ", "作者", "\u{3164}", "\u{200b}"];
    /// Telnet's commands in what a member sends.
    TELNET "telnet" chat_text::telnet, &["a", "é", "quit", "\r\n"];
}
