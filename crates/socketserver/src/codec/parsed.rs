//! Parsed messages: what another codec cuts out, made into a type of one's own.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::time::Duration;

use super::{Codec, Decoded, Encode, Input};
use crate::limits::Limits;

/// A type of one's own that is parsed of the messages that `C` cuts out.
pub trait Parse<C: Codec>: Sized + 'static {
    /// Parses one message.
    ///
    /// # Errors
    ///
    /// What is wrong with it; the handler is told, and the next message is parsed all the same.
    fn parse(message: C::Message<'_>) -> io::Result<Self>;
}

/// Parses the messages that `C` cuts out into `T`s.
///
/// A message that cannot be parsed is [`Decoded::Invalid`] with the error of [`Parse::parse`].
/// It frames what `C` frames: for a type of one's own, that is `impl Encode<Mine> for C`.
///
/// A message handler that makes none gets what it would get of `C`.
///
/// ```
/// use std::io;
///
/// use socketserver::codec::{Codec, Decoded, Encode, Input, Line, Lines, Parse, Parsed};
///
/// #[derive(Debug, PartialEq)]
/// enum Switch { Off, On }
///
/// impl Parse<Lines> for Switch {
///     fn parse(line: Line<'_>) -> io::Result<Self> {
///         match line.text() {
///             b"off" => Ok(Self::Off),
///             b"on" => Ok(Self::On),
///             _ => Err(io::Error::new(io::ErrorKind::InvalidData, "neither on nor off")),
///         }
///     }
/// }
///
/// impl Encode<Switch> for Lines {
///     fn encode(&self, switch: &Switch, output: &mut Vec<u8>) -> io::Result<()> {
///         self.encode(match switch { Switch::Off => "off", Switch::On => "on" }, output)
///     }
/// }
///
/// let mut switches = Parsed::<Lines, Switch>::new(Lines::new(80));
/// let bytes = switches.encoded(&Switch::On)?;
/// let found = switches.decode(&bytes, Input::More);
/// assert!(matches!(found, Decoded::Message { message: Switch::On, used: 3 }));
/// # Ok::<(), io::Error>(())
/// ```
pub struct Parsed<C, T> {
    codec: C,
    parsed: PhantomData<fn() -> T>,
}

impl<C, T> Parsed<C, T> {
    /// Parses what `codec` cuts out.
    pub fn new(codec: C) -> Self {
        Self {
            codec,
            parsed: PhantomData,
        }
    }
}

impl<C: Codec, T: Parse<C>> Codec for Parsed<C, T> {
    type Message<'a> = T;

    fn for_limits(limits: &Limits) -> Self {
        Self::new(C::for_limits(limits))
    }

    fn decode(&mut self, input: &[u8], why: Input) -> Decoded<T> {
        match self.codec.decode(input, why) {
            Decoded::Incomplete => Decoded::Incomplete,
            Decoded::Invalid { used, error } => Decoded::Invalid { used, error },
            Decoded::Message { message, used } => match T::parse(message) {
                Ok(message) => Decoded::Message { message, used },
                Err(error) => Decoded::Invalid { used, error },
            },
            Decoded::Skipped { used } => Decoded::Skipped { used },
        }
    }

    fn frame_bytes(&self) -> Option<usize> {
        self.codec.frame_bytes()
    }

    fn quiet_after(&self) -> Option<Duration> {
        self.codec.quiet_after()
    }
}

impl<C: Encode<M>, T, M: ?Sized> Encode<M> for Parsed<C, T> {
    fn encode(&self, message: &M, output: &mut Vec<u8>) -> io::Result<()> {
        self.codec.encode(message, output)
    }
}

impl<C: Clone, T> Clone for Parsed<C, T> {
    fn clone(&self) -> Self {
        Self::new(self.codec.clone())
    }
}

impl<C: fmt::Debug, T> fmt::Debug for Parsed<C, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Parsed").field(&self.codec).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{LengthPrefixed, Netstrings};
    use crate::testing::verify_codec;

    #[derive(Debug, PartialEq)]
    struct Number(u32);

    impl Parse<Netstrings> for Number {
        fn parse(message: &[u8]) -> io::Result<Self> {
            let text = str::from_utf8(message).map_err(io::Error::other)?;
            text.parse().map(Self).map_err(io::Error::other)
        }
    }

    impl Encode<Number> for Netstrings {
        fn encode(&self, number: &Number, output: &mut Vec<u8>) -> io::Result<()> {
            self.encode(number.0.to_string().as_str(), output)
        }
    }

    impl Parse<LengthPrefixed> for Number {
        fn parse(message: &[u8]) -> io::Result<Self> {
            let bytes = message.try_into().map_err(io::Error::other)?;
            Ok(Self(u32::from_le_bytes(bytes)))
        }
    }

    #[test]
    fn a_type_of_ones_own_comes_out_as_it_went_in_however_it_is_delivered() {
        let make = || Parsed::<_, Number>::new(Netstrings::new(10));
        let mut output = Vec::new();
        for number in [0, 7, u32::MAX] {
            make().encode(&Number(number), &mut output).unwrap();
        }
        assert_eq!(output, b"1:0,1:7,10:4294967295,");
        let numbers = [0, 7, u32::MAX].map(Number);
        verify_codec(make, |number| number, &output, &numbers);
    }

    #[test]
    fn a_message_that_cannot_be_parsed_is_told_and_the_next_one_is_parsed() {
        let limits = Limits::default().line_bytes(4);
        let mut numbers = Parsed::<LengthPrefixed, Number>::for_limits(&limits);
        assert_eq!(numbers.frame_bytes(), Some(8));
        let input = b"\0\0\0\x01x\0\0\0\x04\x05\0\0\0";
        let found = numbers.decode(input, Input::More);
        assert!(matches!(found, Decoded::Invalid { used: 5, .. }));
        let found = numbers.decode(&input[5..], Input::More);
        let five = Number(5);
        assert!(matches!(found, Decoded::Message { message, used: 8 } if message == five));
    }
}
