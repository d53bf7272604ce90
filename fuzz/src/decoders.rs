//! What the codecs should find: decoders that see the whole input at once, and take their time.

/// What there is in an input.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Found {
    pub(crate) messages: Vec<Vec<u8>>,
    pub(crate) errors: usize,
}

impl Found {
    fn push(&mut self, message: &[u8], is_good: bool) {
        if is_good {
            self.messages.push(message.to_vec());
        } else {
            self.errors += 1;
        }
    }
}

pub(crate) fn lines(input: &[u8], limit: usize) -> Found {
    let mut found = Found::default();
    for line in input.split_inclusive(|&byte| byte == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(text) => {
                let text = text.strip_suffix(b"\r").unwrap_or(text);
                found.push(text, line.len() <= limit);
            }
            // It has no end, and room for one was missed before the end of input was known.
            None => found.push(line, line.len() < limit),
        }
    }
    found
}

pub(crate) fn delimited(input: &[u8], delimiter: &[u8], limit: usize) -> Found {
    let (mut found, mut rest) = (Found::default(), input);
    while let Some(end) = (0..rest.len()).find(|&at| rest[at..].starts_with(delimiter)) {
        found.push(&rest[..end], end <= limit);
        rest = &rest[end + delimiter.len()..];
    }
    if !rest.is_empty() {
        found.errors += 1;
    }
    found
}

pub(crate) fn length_prefixed(input: &[u8], size: usize, is_big: bool, limit: usize) -> Found {
    let (mut found, mut rest) = (Found::default(), input);
    while !rest.is_empty() {
        let mut prefix = rest[..size.min(rest.len())].to_vec();
        if !is_big {
            prefix.reverse();
        }
        let length = prefix
            .iter()
            .fold(0_u128, |length, &byte| length * 256 + u128::from(byte));
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let is_whole = prefix.len() == size && length <= limit;
        match rest.get(size..).and_then(|rest| rest.get(..length)) {
            Some(message) if is_whole => {
                found.push(message, true);
                rest = &rest[size + length..];
            }
            _ => {
                found.errors += 1;
                break;
            }
        }
    }
    found
}

pub(crate) fn netstrings(input: &[u8], limit: usize) -> Found {
    let (mut found, mut rest) = (Found::default(), input);
    while !rest.is_empty() {
        let Some((message, tail)) = netstring(rest).filter(|(message, _)| message.len() <= limit)
        else {
            found.errors += 1;
            break;
        };
        found.push(message, true);
        rest = tail;
    }
    found
}

/// The netstring at the beginning of `input`, and what follows it.
fn netstring(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = input.iter().position(|&byte| byte == b':')?;
    let digits = str::from_utf8(&input[..colon]).ok()?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let length: usize = digits.parse().ok().filter(|_| is_number)?;
    if length.to_string() != digits {
        return None;
    }
    let rest = &input[colon + 1..];
    let message = rest.get(..length)?;
    let tail = rest[length..].strip_prefix(b",")?;
    Some((message, tail))
}
