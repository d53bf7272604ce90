//! Telnet: its commands are taken out of what a member sends.
//!
//! A telnet client may send them in the middle of a line (Ctrl-C is `IAC IP IAC DO TIMING-MARK`).
//! We never negotiate, as other programs would show it; `IAC`, 0xFF, never occurs in UTF-8, so no
//! text is lost.

use std::borrow::Cow;

/// "Interpret as command" (RFC 854), before each command.
const IAC: u8 = 255;
/// Begins a subnegotiation.
const SB: u8 = 250;
/// Ends a subnegotiation.
const SE: u8 = 240;

/// `message` without telnet's commands.
///
/// It looks at one message at a time: a subnegotiation that does not end in it counts as a command of
/// three bytes, so that a stray byte cannot swallow what follows.
pub fn strip(message: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = message.iter().position(|&byte| byte == IAC) else {
        return Cow::Borrowed(message);
    };
    let mut kept = message[..first].to_vec();
    let mut rest = &message[first..];
    // Where one subnegotiation has no end, none behind it has.
    let mut may_end = true;
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == IAC {
            let (length, literal) = command(rest, &mut may_end);
            kept.extend(literal);
            rest = &rest[length..];
        } else {
            kept.push(byte);
            rest = tail;
        }
    }
    Cow::Owned(kept)
}

/// The length of the command that `bytes` begin with, and the byte that it stands for, if it does.
///
/// `may_end` is whether a subnegotiation may have an end, and becomes false when one has none.
fn command(bytes: &[u8], may_end: &mut bool) -> (usize, Option<u8>) {
    match bytes {
        [IAC, SB, option @ ..] => {
            let searched = if *may_end { option } else { &[] };
            let end = searched.windows(2).position(|pair| pair == [IAC, SE]);
            *may_end = end.is_some();
            (end.map_or(bytes.len().min(3), |end| 2 + end + 2), None)
        }
        // WILL, WON'T, DO and DON'T have an option behind them.
        [IAC, 251..=254, ..] => (bytes.len().min(3), None),
        [IAC, IAC, ..] => (2, Some(IAC)),
        [IAC, SE..=249, ..] => (2, None),
        _ => (1, Some(IAC)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_untouched() {
        assert!(matches!(strip("ÿ 中文".as_bytes()), Cow::Borrowed(_)));
    }

    #[test]
    fn commands_of_two_and_three_bytes_and_subnegotiations_are_taken_out() {
        assert_eq!(*strip(b"he\xff\xf4\xff\xfd\x06llo"), *b"hello");
        assert_eq!(
            *strip(b"\xff\xfa\x1f\x00\x50\x00\x18\xff\xf0hi\xff\xfb\x01"),
            *b"hi"
        );
        assert_eq!(*strip(b"a\xff\xfa\xff\xf0b"), *b"ab");
    }

    #[test]
    fn a_command_that_is_cut_off_costs_no_text() {
        assert_eq!(*strip(b"hi\xff\xfd"), *b"hi");
        assert_eq!(*strip(b"hi\xff\xfa"), *b"hi");
        assert_eq!(*strip(b"\xff\xfa\x1fhello"), *b"hello");
    }

    /// Each beginning was searched to the end of the message for its own end: a message of 64 KiB took
    /// a quarter of a second. One of this size would take minutes.
    #[test]
    fn subnegotiations_without_an_end_are_searched_for_one_once() {
        let message = b"\xff\xfa\x1f".repeat(400_000);
        assert_eq!(*strip(&message), *b"");
    }

    #[test]
    fn a_byte_that_is_no_command_stays() {
        assert_eq!(*strip(b"a\xff"), *b"a\xff");
        assert_eq!(*strip(b"a\xffb"), *b"a\xffb");
        assert_eq!(*strip(b"a\xff\xffb"), *b"a\xffb");
    }
}
