//! Feeding codecs as a reader does.

use socketserver::codec::{Codec, Decoded, Input};

use crate::decoders::Found;
use crate::random::Random;

/// `input` in pieces, as `seed` says.
pub(crate) fn pieces(input: &[u8], seed: u8) -> Vec<&[u8]> {
    let mut random = Random::new(u64::from(seed));
    let longest = 1 + random.below(8);
    let (mut pieces, mut rest) = (Vec::new(), input);
    while !rest.is_empty() {
        let (piece, tail) = rest.split_at((1 + random.below(longest)).min(rest.len()));
        pieces.push(piece);
        rest = tail;
    }
    pieces
}

/// Feeds `pieces` and the end of input.
pub(crate) fn feed<C: Codec>(
    codec: &mut C,
    own: impl Fn(C::Message<'_>) -> Vec<u8>,
    pieces: &[&[u8]],
) -> Found {
    let (mut found, mut input) = (Found::default(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        let used = ask(codec, &own, &input, Input::More, &mut found);
        input.drain(..used);
        let is_undecided = codec
            .frame_bytes()
            .is_some_and(|limit| input.len() >= limit.max(1));
        assert!(!is_undecided, "undecided at its longest frame: {input:?}");
    }
    let used = ask(codec, &own, &input, Input::End, &mut found);
    assert_eq!(used, input.len(), "undecided at the end of {input:?}");
    found
}

/// Asks a codec until it knows no more of `input`; tells how much was used.
pub(crate) fn ask<C: Codec>(
    codec: &mut C,
    own: impl Fn(C::Message<'_>) -> Vec<u8>,
    input: &[u8],
    why: Input,
    found: &mut Found,
) -> usize {
    let mut rest = input;
    while !rest.is_empty() {
        let used = match codec.decode(rest, why) {
            Decoded::Incomplete => break,
            Decoded::Invalid { used, .. } => {
                found.errors += 1;
                used
            }
            Decoded::Message { message, used } => {
                found.messages.push(own(message));
                used
            }
            Decoded::Skipped { used } => used,
        };
        assert!(used > 0, "no progress at {rest:?}");
        assert!(used <= rest.len(), "more used than there is of {rest:?}");
        rest = &rest[used..];
    }
    input.len() - rest.len()
}
