//! Encoding: how messages are framed on their way out.

use std::io;
use std::sync::Arc;

use super::{Chunks, Delimited, LengthPrefixed, Lines, Netstrings};

/// Frames messages on their way out.
///
/// The codecs of this module frame bytes and text, so that the same codec at the other end finds what
/// was encoded. A message of one's own is framed by `impl Encode<Mine> for Lines`, or for whichever
/// codec is used.
///
/// ```
/// use socketserver::codec::{Encode, Lines};
///
/// let (lines, mut output) = (Lines::new(1024), Vec::new());
/// lines.encode("one", &mut output)?;
/// lines.encode(&b"two"[..], &mut output)?;
/// assert_eq!(output, b"one\ntwo\n");
/// assert!(lines.encode("three\nfour", &mut output).is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Encode<M: ?Sized> {
    /// Appends `message`, framed, to `output`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a message that the other end would not find again: one that is longer than
    /// the limit, or that holds what ends it. Then `output` is as it was.
    fn encode(&self, message: &M, output: &mut Vec<u8>) -> io::Result<()>;

    /// `message`, framed, to be sent to many.
    ///
    /// ```
    /// use socketserver::codec::{Encode, Netstrings};
    /// assert_eq!(*Netstrings::new(1024).encoded("hello")?, *b"5:hello,");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    fn encoded(&self, message: &M) -> io::Result<Arc<[u8]>> {
        let mut output = Vec::new();
        self.encode(message, &mut output)?;
        Ok(output.into())
    }
}

/// Frames text as its bytes.
macro_rules! encode_text {
    ($($codec:ty),*) => {
        $(
            impl Encode<str> for $codec {
                #[inline]
                fn encode(&self, message: &str, output: &mut Vec<u8>) -> io::Result<()> {
                    self.encode(message.as_bytes(), output)
                }
            }
        )*
    };
}

encode_text!(Chunks, Delimited, LengthPrefixed, Lines, Netstrings);

/// A message that cannot be framed.
#[cold]
pub(super) fn unencodable(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// A message that is longer than the other end takes.
#[cold]
pub(super) fn too_long(length: usize, limit: usize) -> io::Error {
    unencodable(format!(
        "a message of {length} bytes is too long: the limit is {limit}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{ByteOrder, Codec, Decoded, Input};
    use crate::testing::verify_codec;

    /// Numbers that look random and are the same in each run (xorshift64).
    struct Random(u64);

    impl Random {
        fn below(&mut self, end: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 % end as u64).unwrap()
        }

        /// At most `most` bytes, many of which mean something to one codec or another.
        fn message(&mut self, most: usize) -> Vec<u8> {
            const TELLING: &[u8] = b"\r\n\0-:,0123\xff\x80ab";
            let length = self.below(most + 1);
            (0..length)
                .map(|_| TELLING[self.below(TELLING.len())])
                .collect()
        }
    }

    /// Encodes random messages, and has what comes out decoded in every way in which a network may
    /// deliver it; tells how many messages were refused.
    fn there_and_back<C>(make: impl Fn() -> C, own: impl Fn(C::Message<'_>) -> Vec<u8>) -> usize
    where
        C: Codec + Encode<[u8]>,
    {
        let (mut random, mut refused) = (Random(1), 0);
        for _ in 0..60 {
            let (mut messages, mut output) = (Vec::new(), Vec::new());
            for _ in 0..random.below(5) {
                let (message, before) = (random.message(8), output.clone());
                match make().encode(&message[..], &mut output) {
                    Ok(()) => messages.push(message),
                    Err(error) => {
                        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
                        assert_eq!(output, before, "a refused message left something");
                        refused += 1;
                    }
                }
            }
            verify_codec(&make, &own, &output, &messages);
        }
        refused
    }

    #[test]
    fn what_one_end_encodes_the_other_decodes_however_it_is_delivered() {
        let bytes = <[u8]>::to_vec;
        let refused = there_and_back(|| Lines::new(7), |line| line.text().to_vec());
        assert!(refused > 10, "{refused}");
        for delimiter in ["\0", "--", "-:-", "\r\n\r\n"] {
            let refused = there_and_back(|| Delimited::new(delimiter, 6), bytes);
            assert!(refused > 10, "{delimiter:?}: {refused}");
        }
        for order in [ByteOrder::Big, ByteOrder::Little] {
            for size in 1..=8 {
                let refused = there_and_back(|| LengthPrefixed::new(size, order, 6), bytes);
                assert!(refused > 10, "{size}: {refused}");
            }
        }
        assert!(there_and_back(|| Netstrings::new(6), bytes) > 10);
    }

    #[test]
    fn chunks_are_the_bytes_that_were_encoded() {
        let mut random = Random(1);
        for _ in 0..100 {
            let (message, mut output) = (random.message(20), Vec::new());
            Chunks.encode(&message[..], &mut output).unwrap();
            Chunks.encode("", &mut output).unwrap();
            assert_eq!(output, message);
            if !output.is_empty() {
                let found = Chunks.decode(&output, Input::More);
                assert!(
                    matches!(found, Decoded::Message { message: found, .. } if found == message)
                );
            }
        }
    }

    /// What a codec refuses to encode leaves what was there as it was.
    fn refuses<C: Encode<[u8]> + Encode<str>>(codec: &C, message: &str) -> bool {
        let mut output = b"before".to_vec();
        let of_text = codec.encode(message, &mut output);
        let of_bytes = codec.encode(message.as_bytes(), &mut output);
        assert_eq!(of_text.is_err(), of_bytes.is_err());
        assert_eq!(of_text.is_err(), codec.encoded(message).is_err());
        let is_refused = of_text.is_err_and(|error| error.kind() == io::ErrorKind::InvalidInput);
        assert_eq!(is_refused, output == b"before");
        is_refused
    }

    #[test]
    fn a_message_that_the_other_end_would_not_find_is_refused() {
        assert!(!refuses(&Lines::new(4), "abc"));
        for line in ["abcd", "a\nb", "\n", "a\r", "\r"] {
            assert!(refuses(&Lines::new(4), line), "{line:?}");
        }
        assert!(!refuses(&Lines::new(4), "a\rb"));
        assert!(refuses(&Lines::new(0), ""));
        let dashes = Delimited::new("--", 4);
        assert!(!refuses(&dashes, "-a-b"));
        for message in ["a--b", "--", "a-", "abcde"] {
            assert!(refuses(&dashes, message), "{message:?}");
        }
        assert!(!refuses(&Netstrings::new(4), "4:,,"));
        assert!(refuses(&Netstrings::new(4), "abcde"));
        let byte = LengthPrefixed::new(1, ByteOrder::Big, 300);
        assert!(!refuses(&byte, &"x".repeat(255)));
        assert!(refuses(&byte, &"x".repeat(256)));
        assert!(refuses(&LengthPrefixed::new(8, ByteOrder::Big, 4), "abcde"));
        assert!(!refuses(&Chunks, "a\r\n\0"));
    }
}
