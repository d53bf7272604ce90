//! A tester for codecs.

use std::fmt::Debug;

use crate::codec::{Codec, Decoded, Input};

/// What feeding a codec came to.
struct Fed<T> {
    messages: Vec<T>,
    errors: usize,
    /// Whether every byte was taken before the end of input was told.
    is_whole: bool,
}

/// Feeds a codec its input in every way in which a network may deliver it.
///
/// `make` makes a fresh codec, `own` makes something comparable of a message, and `input` is to decode
/// to exactly `expected`. It is fed whole, split at every point, byte by byte, twice in a row, cut short
/// at every point, and with every byte changed. The codec must find the same messages however the
/// input is split, must not find others when it is cut short, and must make progress whatever the
/// bytes are.
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
    let check = |pieces: &[&[u8]]| {
        let fed = feed(&mut make(), &own, pieces);
        assert_eq!(fed.messages, expected, "fed as {pieces:?}");
        fed
    };
    let is_whole = check(&[input]).is_whole;
    check(&input.chunks(1).collect::<Vec<_>>());
    for at in 0..=input.len() {
        let (head, tail) = input.split_at(at);
        check(&[head, tail]);
        let (middle, tail) = tail.split_at(tail.len() / 2);
        check(&[head, middle, tail]);
        let cut = feed(&mut make(), &own, &[head]).messages;
        let found = cut.len().saturating_sub(1).min(expected.len());
        assert_eq!(cut[..found], expected[..found], "cut short at {at}");
    }
    if is_whole {
        let twice = feed(&mut make(), &own, &[&[input, input].concat()]).messages;
        let (first, second) = twice.split_at(expected.len().min(twice.len()));
        assert!(
            first == expected && second == expected,
            "fed twice: {twice:?}"
        );
    }
    for at in 0..input.len() {
        for change in [1, 0x80, 0xff] {
            let mut corrupted = input.to_vec();
            corrupted[at] ^= change;
            let whole = feed(&mut make(), &own, &[&corrupted]);
            let bytes: Vec<_> = corrupted.chunks(1).collect();
            let split = feed(&mut make(), &own, &bytes);
            assert_eq!(whole.messages, split.messages, "corrupted: {corrupted:?}");
            assert_eq!(
                whole.errors > 0,
                split.errors > 0,
                "corrupted: {corrupted:?}"
            );
        }
    }
}

/// Feeds `pieces` and the end of input.
fn feed<C: Codec, T>(codec: &mut C, own: impl Fn(C::Message<'_>) -> T, pieces: &[&[u8]]) -> Fed<T> {
    let mut fed = Fed {
        messages: Vec::new(),
        errors: 0,
        is_whole: false,
    };
    let mut input = Vec::new();
    let last = pieces.len();
    for (number, piece) in pieces.iter().copied().chain([&b""[..]]).enumerate() {
        input.extend_from_slice(piece);
        let why = if number == last {
            Input::End
        } else {
            Input::More
        };
        if why == Input::End {
            fed.is_whole = input.is_empty();
        }
        while !input.is_empty() {
            let used = match codec.decode(&input, why) {
                Decoded::Incomplete => break,
                Decoded::Invalid { used, .. } => {
                    fed.errors += 1;
                    used
                }
                Decoded::Message { message, used } => {
                    fed.messages.push(own(message));
                    used
                }
                Decoded::Skipped { used } => used,
            };
            assert!(used > 0, "no progress at {input:?}");
            assert!(used <= input.len(), "more used than there is of {input:?}");
            input.drain(..used);
        }
    }
    fed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{ByteOrder, Delimited, LengthPrefixed, Lines, Netstrings};

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
                errors(feed(&mut Netstrings::new(10), <[u8]>::to_vec, pieces)),
                told_once
            );
            let mut prefixed = LengthPrefixed::new(4, ByteOrder::Big, 10);
            assert_eq!(
                errors(feed(&mut prefixed, <[u8]>::to_vec, pieces)),
                told_once
            );
        }
        let mut delimited = Delimited::new("--", 10);
        let fed = feed(&mut delimited, <[u8]>::to_vec, &[&long, b"-", b"-ok--"]);
        assert_eq!((fed.messages, fed.errors), (vec![b"ok".to_vec()], 1));
    }

    #[test]
    #[should_panic(expected = "fed as")]
    fn a_codec_that_depends_on_the_split_is_found_out() {
        verify_codec(
            || crate::codec::Chunks,
            <[u8]>::to_vec,
            b"ab",
            &[b"ab".to_vec()],
        );
    }
}
