//! What holds for the codecs.
//!
//! The first bytes of an input choose how the codec is made and how the rest is cut.

use std::io;
use std::time::Duration;

use socketserver::codec::{
    ByteOrder, Chunks, Codec, Delimited, Encode, Input, LengthPrefixed, Line, Lines, Netstrings,
    Parse, Parsed,
};

use crate::decoders::{self, Found};
use crate::feeding::{ask, feed, pieces};

/// How an input is to be used.
struct Plan<'a> {
    limit: usize,
    variant: usize,
    cuts: u8,
    bytes: &'a [u8],
}

impl<'a> Plan<'a> {
    fn of(input: &'a [u8]) -> Option<Self> {
        let (&[limit, variant, cuts], bytes) = input.split_first_chunk()?;
        // Mostly small ones, so that they are met, and now and then none at all.
        let limit = match limit {
            255 => usize::MAX,
            limit => usize::from(limit % 32),
        };
        Some(Self {
            limit,
            variant: usize::from(variant),
            cuts,
            bytes,
        })
    }

    fn pieces(&self) -> Vec<&'a [u8]> {
        pieces(self.bytes, self.cuts)
    }

    /// The codec finds what `decode` does, however the input is cut.
    fn check_decoding<C: Codec>(
        &self,
        make: impl Fn() -> C,
        own: impl Fn(C::Message<'_>) -> Vec<u8>,
        decode: impl Fn(&[u8]) -> Found,
    ) {
        let expected = decode(self.bytes);
        let bytes: Vec<&[u8]> = self.bytes.chunks(1).collect();
        for pieces in [&[self.bytes][..], &bytes, &self.pieces()] {
            let found = feed(&mut make(), &own, pieces);
            assert_eq!(found, expected, "cut as {pieces:?}");
        }
    }

    /// What the codec encodes it decodes, and it refuses exactly what would not be found again.
    ///
    /// `frame` is the naive way to frame a message.
    fn check_encoding<C: Codec + Encode<[u8]> + Encode<str>>(
        &self,
        make: impl Fn() -> C,
        own: impl Fn(C::Message<'_>) -> Vec<u8>,
        decode: impl Fn(&[u8]) -> Found,
        frame: impl Fn(&[u8]) -> Vec<u8>,
    ) {
        let mut output = Vec::new();
        let mut expected = Found::default();
        // Where there is no limit, also one that is too long for a length of a byte.
        let long = self
            .bytes
            .repeat(usize::from(self.limit == usize::MAX) * 64);
        for message in self.pieces().into_iter().chain([self.bytes, &long]) {
            let framed = frame(message);
            let again = decode(&framed);
            let is_found = again.errors == 0 && again.messages == [message];
            let before = output.len();
            let encoded = make().encode(message, &mut output);
            if let Ok(text) = str::from_utf8(message) {
                assert_eq!(make().encoded(text).is_ok(), is_found, "{text:?}");
            }
            match encoded {
                Ok(()) => {
                    assert!(is_found, "{message:?} would not be found again");
                    assert_eq!(output[before..], framed);
                    expected.messages.push(message.to_vec());
                }
                Err(error) => {
                    assert!(!is_found, "{message:?} is refused: {error}");
                    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
                    assert_eq!(output.len(), before, "a refused message left something");
                }
            }
        }
        let pieces = pieces(&output, self.cuts);
        assert_eq!(feed(&mut make(), own, &pieces), expected);
    }
}

pub(crate) fn chunks(input: &[u8]) {
    let Some(plan) = Plan::of(input) else { return };
    let found = feed(&mut Chunks, <[u8]>::to_vec, &plan.pieces());
    assert_eq!((found.messages, found.errors), (owned(&plan.pieces()), 0));
    let mut output = Vec::new();
    for piece in plan.pieces() {
        assert!(Chunks.encode(piece, &mut output).is_ok());
    }
    assert_eq!(output, plan.bytes);
}

fn owned(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
    pieces.iter().map(|piece| piece.to_vec()).collect()
}

pub(crate) fn delimited(input: &[u8]) {
    const DELIMITERS: [&str; 6] = ["\n", "\0", "--", "\r\n\r\n", "aba", "aab"];
    let Some(plan) = Plan::of(input) else { return };
    let delimiter = DELIMITERS[plan.variant % DELIMITERS.len()].as_bytes();
    let make = || Delimited::new(delimiter, plan.limit);
    let decode = |input: &[u8]| decoders::delimited(input, delimiter, plan.limit);
    plan.check_decoding(make, <[u8]>::to_vec, decode);
    let frame = |message: &[u8]| [message, delimiter].concat();
    plan.check_encoding(make, <[u8]>::to_vec, decode, frame);
}

pub(crate) fn length_prefixed(input: &[u8]) {
    let Some(plan) = Plan::of(input) else { return };
    let (size, is_big) = (1 + plan.variant % 8, plan.variant / 8 % 2 == 0);
    let order = if is_big {
        ByteOrder::Big
    } else {
        ByteOrder::Little
    };
    let make = || LengthPrefixed::new(size, order, plan.limit);
    let decode = |input: &[u8]| decoders::length_prefixed(input, size, is_big, plan.limit);
    plan.check_decoding(make, <[u8]>::to_vec, decode);
    let frame = |message: &[u8]| [&make().prefix(message.len() as u64), message].concat();
    plan.check_encoding(make, <[u8]>::to_vec, decode, frame);
}

pub(crate) fn lines(input: &[u8]) {
    let Some(plan) = Plan::of(input) else { return };
    let make = || Lines::new(plan.limit);
    let own = |line: Line<'_>| line.text().to_vec();
    let decode = |input: &[u8]| decoders::lines(input, plan.limit);
    plan.check_decoding(make, own, decode);
    let frame = |message: &[u8]| [message, b"\n"].concat();
    plan.check_encoding(make, own, decode, frame);
    check_pauses(&plan);
}

/// With a pause behind each piece: until the first line feed each is heard at once, and none is lost.
fn check_pauses(plan: &Plan<'_>) {
    let mut codec = Lines::new(plan.limit).or_pause(Duration::from_millis(1));
    let own = |line: Line<'_>| line.raw().to_vec();
    let (mut found, mut input) = (Found::default(), Vec::new());
    for piece in plan.pieces() {
        input.extend_from_slice(piece);
        let used = ask(&mut codec, own, &input, Input::More, &mut found);
        input.drain(..used);
        if codec.quiet_after().is_some() && !input.is_empty() {
            let used = ask(&mut codec, own, &input, Input::Quiet, &mut found);
            assert_eq!(used, input.len(), "undecided after a pause: {input:?}");
            input.clear();
        }
    }
    ask(&mut codec, own, &input, Input::End, &mut found);
    if found.errors == 0 {
        assert_eq!(found.messages.concat(), plan.bytes);
    }
    let has_ended_a_line = plan.bytes.contains(&b'\n');
    assert!(!has_ended_a_line || codec.quiet_after().is_none());
}

pub(crate) fn netstrings(input: &[u8]) {
    let Some(plan) = Plan::of(input) else { return };
    let make = || Netstrings::new(plan.limit);
    let decode = |input: &[u8]| decoders::netstrings(input, plan.limit);
    plan.check_decoding(make, <[u8]>::to_vec, decode);
    let frame = |message: &[u8]| {
        let length = message.len().to_string();
        [length.as_bytes(), b":", message, b","].concat()
    };
    plan.check_encoding(make, <[u8]>::to_vec, decode, frame);
}

/// A number on a line of its own.
struct Number(u64);

impl Parse<Lines> for Number {
    fn parse(line: Line<'_>) -> io::Result<Self> {
        number(line.text())
            .map(Self)
            .ok_or(io::ErrorKind::InvalidData.into())
    }
}

impl Encode<Number> for Lines {
    fn encode(&self, number: &Number, output: &mut Vec<u8>) -> io::Result<()> {
        self.encode(number.0.to_string().as_str(), output)
    }
}

fn number(text: &[u8]) -> Option<u64> {
    let text = str::from_utf8(text).ok()?;
    text.parse()
        .ok()
        .filter(|number: &u64| number.to_string() == text)
}

pub(crate) fn parsed(input: &[u8]) {
    let Some(plan) = Plan::of(input) else { return };
    let make = || Parsed::<_, Number>::new(Lines::new(plan.limit));
    let own = |number: Number| number.0.to_string().into_bytes();
    let decode = |input: &[u8]| {
        let mut found = decoders::lines(input, plan.limit);
        let lines = found.messages.len();
        found.messages.retain(|line| number(line).is_some());
        found.errors += lines - found.messages.len();
        found
    };
    plan.check_decoding(make, own, decode);
    let mut output = Vec::new();
    for number in decode(plan.bytes)
        .messages
        .iter()
        .filter_map(|text| number(text))
    {
        // A line at the end of the input may have had no room for its own end.
        let is_encoded = make().encode(&Number(number), &mut output).is_ok();
        assert_eq!(is_encoded, number.to_string().len() < plan.limit);
    }
    let again = decode(&output);
    assert_eq!(
        (again.messages.concat(), again.errors),
        (
            output
                .iter()
                .copied()
                .filter(|&byte| byte != b'\n')
                .collect(),
            0
        )
    );
}
