//! A tester for codecs.

use std::fmt::Debug;

use crate::codec::{Codec, Decoded, Input};

/// The longest frame that is tried; a codec that allows more is not fed one that is too long.
const LONGEST: usize = 64 << 10;

/// Feeds a codec its input in every way in which a network may deliver it.
///
/// `make` makes a fresh codec, `own` makes something comparable of a message, and `input` is to decode
/// to exactly `expected`. It is fed
///
/// 1. split at every point, into two pieces and into three,
/// 2. byte by byte,
/// 3. coalesced: twice in a row, if its messages all have an end,
/// 4. truncated at every point,
/// 5. oversized: with more bytes inside than [`Codec::frame_bytes`] allows, if it says so and has at
///    most 64 KiB,
/// 6. corrupted: with every byte changed.
///
/// The codec must find the same messages however the input is split; must find no others when it is cut
/// short, but for the rest as one message; must not find a longer one than it says, nor take what is
/// behind for a message; and must use some of the input, and not more than there is, whatever the
/// bytes are.
/// As a reader does, the tester discards input that is incomplete at [`Codec::frame_bytes`].
///
/// ```
/// use socketserver::codec::Lines;
/// use socketserver::testing::verify_codec;
///
/// verify_codec(
///     || Lines::new(16),
///     |line| line.text().to_vec(),
///     b"one\r\n\ntwo\n",
///     &[b"one".to_vec(), b"".to_vec(), b"two".to_vec()],
/// );
/// ```
///
/// # Panics
///
/// If the codec fails, with the input that shows it.
pub fn verify_codec<C, T>(
    make: impl Fn() -> C,
    own: impl Fn(C::Message<'_>) -> T,
    input: &[u8],
    expected: &[T],
) where
    C: Codec,
    T: PartialEq + Debug,
{
    let feed = |how: &str, pieces: &[&[u8]]| feed(&mut make(), &own, how, pieces);
    let expect = |how: &str, pieces: &[&[u8]]| {
        let found = feed(how, pieces);
        assert_eq!(found.messages, expected, "{how}: fed as {pieces:?}");
        found
    };
    let is_whole = expect("whole", &[input]).is_whole;
    for at in 0..=input.len() {
        let (head, tail) = input.split_at(at);
        expect("split", &[head, tail]);
    }
    expect("byte by byte", &bytes_of(input));
    for at in 0..=input.len() {
        let (head, tail) = input.split_at(at);
        let (middle, tail) = tail.split_at(tail.len() / 2);
        expect("split", &[head, middle, tail]);
    }
    if is_whole {
        let twice = feed("coalesced", &[&[input, input].concat()]).messages;
        let (first, second) = twice.split_at(expected.len().min(twice.len()));
        assert!(
            first == expected && second == expected,
            "coalesced: fed twice in a row it is {twice:?}"
        );
    }
    for at in 0..=input.len() {
        verify_truncated(&feed, &input[..at], expected);
    }
    if let Some(limit) = make().frame_bytes().filter(|&limit| limit <= LONGEST) {
        verify_oversized(&feed, input, limit);
    }
    for at in 0..input.len() {
        for change in [1, 0x80, 0xff] {
            let mut corrupted = input.to_vec();
            corrupted[at] ^= change;
            verify_alike(&feed, "corrupted", &corrupted, &bytes_of(&corrupted));
        }
    }
}

/// What feeding a codec came to.
struct Fed<T> {
    messages: Vec<T>,
    /// How many of the messages were there before the end of input was told.
    before_end: usize,
    errors: usize,
    /// Whether every byte was taken before the end of input was told.
    is_whole: bool,
}

fn bytes_of(input: &[u8]) -> Vec<&[u8]> {
    input.chunks(1).collect()
}

/// Whether what was cut short is the beginning of what is expected, and one message at most behind it.
fn verify_truncated<T: PartialEq + Debug>(
    feed: &impl Fn(&str, &[&[u8]]) -> Fed<T>,
    head: &[u8],
    expected: &[T],
) {
    let Fed {
        messages,
        before_end,
        ..
    } = feed("truncated", &[head]);
    assert!(
        expected.starts_with(&messages[..before_end]) && messages.len() <= before_end + 1,
        "truncated: {head:?} is {messages:?}, of which {before_end} came before its end"
    );
    verify_alike(feed, "truncated", head, &bytes_of(head));
}

/// Puts more bytes than a frame may have before, into and behind the input.
fn verify_oversized<T: PartialEq + Debug>(
    feed: &impl Fn(&str, &[&[u8]]) -> Fed<T>,
    input: &[u8],
    limit: usize,
) {
    let first = input.first().copied().unwrap_or_default();
    for filler in [first, 0, b'9', b'x'] {
        for at in [0, input.len() / 2, input.len()] {
            let (head, tail) = input.split_at(at);
            let oversized = [head, &vec![filler; limit + 1], tail].concat();
            // A byte at a time is too slow for long ones.
            for size in [limit / 64 + 1, limit / 2 + 1, limit + 1] {
                let pieces: Vec<_> = oversized.chunks(size).collect();
                verify_alike(feed, "oversized", &oversized, &pieces);
            }
        }
    }
}

/// Whether `pieces` come to the same as the whole of them.
fn verify_alike<T: PartialEq + Debug>(
    feed: &impl Fn(&str, &[&[u8]]) -> Fed<T>,
    how: &str,
    whole: &[u8],
    pieces: &[&[u8]],
) {
    let (one, many) = (feed(how, &[whole]), feed(how, pieces));
    assert_eq!(
        one.messages, many.messages,
        "{how}: fed as {pieces:?} other messages are found"
    );
    assert_eq!(
        one.errors > 0,
        many.errors > 0,
        "{how}: fed as {pieces:?} there is an error or not"
    );
}

/// Feeds `pieces` and the end of input.
fn feed<C: Codec, T>(
    codec: &mut C,
    own: impl Fn(C::Message<'_>) -> T,
    how: &str,
    pieces: &[&[u8]],
) -> Fed<T> {
    let mut fed = Fed {
        messages: Vec::new(),
        before_end: 0,
        errors: 0,
        is_whole: false,
    };
    let mut input = Vec::new();
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        input.extend_from_slice(piece);
        let used = ask(codec, &own, how, &input, Input::More, &mut fed);
        input.drain(..used);
        if codec
            .frame_bytes()
            .is_some_and(|limit| input.len() >= limit.max(1))
        {
            input.clear();
            fed.errors += 1;
        }
    }
    fed.before_end = fed.messages.len();
    fed.is_whole = input.is_empty();
    ask(codec, &own, how, &input, Input::End, &mut fed);
    fed
}

/// Asks a codec until it knows no more of `input`; tells how much of it was used.
fn ask<C: Codec, T>(
    codec: &mut C,
    own: impl Fn(C::Message<'_>) -> T,
    how: &str,
    input: &[u8],
    why: Input,
    fed: &mut Fed<T>,
) -> usize {
    let mut rest = input;
    while !rest.is_empty() {
        let used = match codec.decode(rest, why) {
            Decoded::Incomplete => break,
            Decoded::Invalid { used, .. } => {
                fed.errors += 1;
                used
            }
            Decoded::Message { message, used } => {
                fed.messages.push(own(message));
                let limit = codec.frame_bytes().unwrap_or(usize::MAX);
                assert!(
                    used <= limit,
                    "{how}: a message of {used} bytes, where frame_bytes says {limit}"
                );
                used
            }
            Decoded::Skipped { used } => used,
        };
        assert!(used > 0, "{how}: no progress at {rest:?}");
        assert!(
            used <= rest.len(),
            "{how}: more used than there is of {rest:?}"
        );
        rest = &rest[used..];
    }
    input.len() - rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{ByteOrder, Delimited, LengthPrefixed, Lines, Netstrings};
    use crate::limits::Limits;

    fn owned(messages: &[&[u8]]) -> Vec<Vec<u8>> {
        messages.iter().map(|message| message.to_vec()).collect()
    }

    #[test]
    fn every_codec_with_boundaries_finds_them_however_the_input_is_split() {
        let lines = owned(&[b"one", b"", b"three"]);
        verify_codec(
            || Lines::new(8),
            |line| line.text().to_vec(),
            b"one\n\nthree",
            &lines,
        );
        let messages = owned(&[b"a", b"", b"b-b", b"c"]);
        verify_codec(
            || Delimited::new("--", 8),
            <[u8]>::to_vec,
            b"a----b-b--c--",
            &messages,
        );
        let netstrings = owned(&[b"hello", b"", b"a,b:c1234567"]);
        let input = b"5:hello,0:,12:a,b:c1234567,";
        verify_codec(|| Netstrings::new(12), <[u8]>::to_vec, input, &netstrings);
        for (size, order) in
            (1..=8).flat_map(|size| [ByteOrder::Big, ByteOrder::Little].map(|order| (size, order)))
        {
            let make = || LengthPrefixed::new(size, order, 100);
            let messages = owned(&[b"hello", b"", b"you"]);
            let framed =
                |message: &Vec<u8>| [make().prefix(message.len() as u64), message.clone()].concat();
            let input: Vec<u8> = messages.iter().flat_map(framed).collect();
            verify_codec(make, <[u8]>::to_vec, &input, &messages);
        }
    }

    #[test]
    fn an_oversize_message_is_told_once_and_held_by_nobody() {
        let long = vec![b'9'; 1000];
        let errors = |fed: Fed<Vec<u8>>| (fed.messages.len(), fed.errors);
        let bytes: Vec<_> = long.chunks(1).collect();
        for pieces in [&[&long[..]][..], &bytes] {
            let told_once = (0, 1);
            assert_eq!(
                errors(feed(
                    &mut Netstrings::new(10),
                    <[u8]>::to_vec,
                    "oversized",
                    pieces
                )),
                told_once
            );
            let mut prefixed = LengthPrefixed::new(4, ByteOrder::Big, 10);
            assert_eq!(
                errors(feed(&mut prefixed, <[u8]>::to_vec, "oversized", pieces)),
                told_once
            );
        }
        let mut delimited = Delimited::new("--", 10);
        let fed = feed(
            &mut delimited,
            <[u8]>::to_vec,
            "oversized",
            &[&long, b"-", b"-ok--"],
        );
        assert_eq!((fed.messages, fed.errors), (vec![b"ok".to_vec()], 1));
    }

    /// Decodes, with a number to remember.
    type Decode = fn(&mut usize, &[u8], Input) -> Decoded<Vec<u8>>;

    /// Lines, decoded as a test says.
    struct Line {
        decode: Decode,
        frame_bytes: Option<usize>,
        number: usize,
    }

    impl Codec for Line {
        type Message<'a> = Vec<u8>;

        fn for_limits(limits: &Limits) -> Self {
            Self {
                decode: line,
                frame_bytes: Some(limits.line_bytes),
                number: 0,
            }
        }

        fn decode(&mut self, input: &[u8], why: Input) -> Decoded<Vec<u8>> {
            (self.decode)(&mut self.number, input, why)
        }

        fn frame_bytes(&self) -> Option<usize> {
            self.frame_bytes
        }
    }

    /// Finds a line as it should be, however long it is.
    fn line(_: &mut usize, input: &[u8], _: Input) -> Decoded<Vec<u8>> {
        match input.iter().position(|&byte| byte == b'\n') {
            Some(end) => message(input, end + 1),
            None => Decoded::Incomplete,
        }
    }

    fn message(input: &[u8], used: usize) -> Decoded<Vec<u8>> {
        let message = input[..used].to_vec();
        Decoded::Message { message, used }
    }

    fn invalid(used: usize) -> Decoded<Vec<u8>> {
        let error = std::io::ErrorKind::InvalidData.into();
        Decoded::Invalid { used, error }
    }

    /// What the tester says of a codec that is to find `lines`.
    fn verdict(decode: Decode, frame_bytes: Option<usize>, lines: &[&[u8]]) -> String {
        let make = || Line {
            decode,
            frame_bytes,
            number: 0,
        };
        let verify = || verify_codec(make, |line| line, &lines.concat(), &owned(lines));
        match std::panic::catch_unwind(verify) {
            Ok(()) => String::new(),
            Err(panic) => *panic.downcast().expect("it says why"),
        }
    }

    /// Checks that the tester says `how` of a codec, and nothing of [`line`].
    fn is_found_out(how: &str, decode: Decode, frame_bytes: Option<usize>, lines: &[&[u8]]) {
        assert_eq!(verdict(line, None, lines), "");
        let verdict = verdict(decode, frame_bytes, lines);
        assert!(verdict.contains(how), "{how}: it says {verdict:?}");
    }

    #[test]
    fn a_codec_that_takes_a_piece_for_a_message_is_found_out() {
        let decode: Decode = |_, input, _| message(input, input.len());
        is_found_out("split: ", decode, None, &[b"one\n"]);
    }

    #[test]
    fn a_codec_that_loses_patience_with_small_pieces_is_found_out() {
        let decode: Decode = |asked, input, why| {
            *asked += 1;
            let found = line(asked, input, why);
            match found {
                Decoded::Incomplete if *asked > 2 => return invalid(input.len()),
                Decoded::Incomplete => {}
                _ => *asked = 0,
            }
            found
        };
        is_found_out("byte by byte: ", decode, None, &[b"one\n", b"two\n"]);
    }

    #[test]
    fn a_codec_that_swallows_what_comes_behind_a_message_is_found_out() {
        let decode: Decode = |number, input, why| match line(number, input, why) {
            Decoded::Message { message, .. } => Decoded::Message {
                message,
                used: input.len(),
            },
            other => other,
        };
        is_found_out("coalesced: ", decode, None, &[b"one\n"]);
    }

    #[test]
    fn a_codec_that_makes_messages_of_what_was_cut_short_is_found_out() {
        let decode: Decode = |number, input, why| match line(number, input, why) {
            Decoded::Incomplete if why == Input::End => message(input, 1),
            other => other,
        };
        is_found_out("truncated: ", decode, None, &[b"one\n"]);
    }

    #[test]
    fn a_codec_that_hears_the_rest_of_an_overlong_message_is_found_out() {
        let decode: Decode = |number, input, why| match line(number, input, why) {
            Decoded::Message { used, .. } if used > 8 => invalid(used),
            other => other,
        };
        is_found_out("oversized: ", decode, Some(8), &[b"one\n", b"two\n"]);
    }

    #[test]
    fn a_codec_that_finds_longer_messages_than_it_says_is_found_out() {
        is_found_out("oversized: a message of", line, Some(8), &[b"one\n"]);
    }

    #[test]
    fn a_codec_that_discards_all_there_is_for_one_bad_byte_is_found_out() {
        let decode: Decode = |number, input, why| match line(number, input, why) {
            Decoded::Message { message, .. } if !message.is_ascii() => invalid(input.len()),
            other => other,
        };
        is_found_out("corrupted: ", decode, None, &[b"one\n", b"two\n"]);
    }

    #[test]
    fn a_codec_that_makes_no_progress_is_found_out() {
        let decode: Decode = |number, input, why| match line(number, input, why) {
            Decoded::Message { message, .. } if !message.is_ascii() => invalid(0),
            other => other,
        };
        is_found_out("corrupted: no progress", decode, None, &[b"one\n"]);
    }

    #[test]
    fn a_codec_that_uses_more_than_there_is_is_found_out() {
        let decode: Decode = |_, input, why| match why {
            Input::End => Decoded::Skipped { used: 9 },
            _ => line(&mut 0, input, why),
        };
        is_found_out("truncated: more used", decode, None, &[b"one\n"]);
    }
}
