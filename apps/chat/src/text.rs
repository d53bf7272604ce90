//! Text: what is let into the room, and what is shown in logs and on terminals.
//!
//! Messages come in as bytes and may hold anything.
//! [`sanitise`] is the guard at the way in, [`escape_for_log`] and [`escape_for_terminal`] are the
//! second one at the way out; none of them fails.

use std::fmt::Write as _;

/// A message as it is let into the room: valid UTF-8 without anything that moves a cursor, ends a
/// line, or turns the direction of what follows.
///
/// Telnet's commands are taken out, a bad sequence of bytes becomes one U+FFFD, and control
/// characters but the tab are dropped.
///
/// ```
/// use chat::text::sanitise;
/// assert_eq!(sanitise("中文\r".as_bytes()), "中文");
/// assert_eq!(sanitise(b"a\xffb \x1b[2Jc"), "a\u{fffd}b [2Jc");
/// ```
pub fn sanitise(message: &[u8]) -> String {
    let message = crate::telnet::strip(message);
    let mut text = String::with_capacity(message.len());
    for chunk in message.utf8_chunks() {
        text.extend(
            chunk
                .valid()
                .chars()
                .filter(|&character| !is_dropped(character)),
        );
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    text
}

/// `bytes` for one record of a log: no control character, and no way to look like two records.
///
/// Control characters become `\n`, `\t`, `\x1b`, `\u{202e}`, bytes that are not UTF-8 `\xff`, and
/// `\` itself `\\`, so that what is read is what was there.
pub fn escape_for_log(bytes: &[u8]) -> String {
    let is_escaped = |character| character == '\\' || is_unprintable(character);
    escape(bytes, is_escaped, |bad, text| {
        for byte in bad {
            let _ = write!(text, "\\x{byte:02x}");
        }
    })
}

/// `bytes` for a terminal: as [`escape_for_log`], but `\` and the tab stand for themselves, and a
/// bad sequence of bytes becomes U+FFFD.
pub fn escape_for_terminal(bytes: &[u8]) -> String {
    escape(bytes, is_dropped, |_, text| {
        text.push(char::REPLACEMENT_CHARACTER);
    })
}

/// `bytes` with the characters that `is_escaped` picks made visible, and each bad sequence given to
/// `push_bad`.
fn escape(
    bytes: &[u8],
    is_escaped: impl Fn(char) -> bool,
    push_bad: impl Fn(&[u8], &mut String),
) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if is_escaped(character) {
                push_escaped(character, &mut text);
            } else {
                text.push(character);
            }
        }
        if !chunk.invalid().is_empty() {
            push_bad(chunk.invalid(), &mut text);
        }
    }
    text
}

fn push_escaped(character: char, text: &mut String) {
    let _ = match character {
        '\\' => write!(text, "\\\\"),
        '\t' => write!(text, "\\t"),
        '\n' => write!(text, "\\n"),
        '\r' => write!(text, "\\r"),
        '\0'..='\u{7f}' => write!(text, "\\x{:02x}", u32::from(character)),
        _ => write!(text, "\\u{{{:x}}}", u32::from(character)),
    };
}

/// Whether `character` has no place in a line of text.
fn is_dropped(character: char) -> bool {
    character != '\t' && is_unprintable(character)
}

/// Whether `character` acts on what shows it, rather than being shown: C0, DEL and C1, the line and
/// paragraph separators, and the overrides and isolates of bidirectional text.
fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// D-14: any byte that was not UTF-8 ended the session of the one who sent it.
    #[test]
    fn a_bad_byte_is_replaced_and_costs_nothing_else() {
        assert_eq!(sanitise(b"a\xc3(b"), "a\u{fffd}(b");
        assert_eq!(
            sanitise(b"\xd6\xd0\xce\xc4"),
            "\u{fffd}\u{fffd}\u{fffd}\u{fffd}"
        );
        assert_eq!(sanitise(b"\xe4\xb8"), "\u{fffd}");
        assert_eq!(sanitise(b"\x9b2J"), "\u{fffd}2J");
        assert_eq!(sanitise(b"\xff\xfe"), "");
    }

    /// D-16: what moves a cursor, forges a line or turns text around does not come in.
    #[test]
    fn nothing_that_a_terminal_obeys_is_let_in() {
        for hostile in [
            "\x1b[2J",
            "\x1b]0;title\x07",
            "\u{9b}2J",
            "a\rb",
            "a\nb",
            "a\0b",
            "a\u{7f}b",
            "a\u{85}b",
            "a\u{2028}b",
            "a\u{2029}b",
            "\u{202e}txt",
            "\u{2066}x\u{2069}",
            "\x08\x08",
        ] {
            let text = sanitise(hostile.as_bytes());
            assert!(
                !text.chars().any(is_unprintable),
                "{hostile:?} became {text:?}"
            );
        }
        assert_eq!(
            sanitise("a\tb — 👩‍👩‍👧 é עברית".as_bytes()),
            "a\tb — 👩‍👩‍👧 é עברית"
        );
    }

    #[test]
    fn a_log_shows_every_byte_and_stays_one_line() {
        assert_eq!(escape_for_log("中文 hello".as_bytes()), "中文 hello");
        assert_eq!(
            escape_for_log(b"a\r\n\t\x1b[2J\x7f\\"),
            r"a\r\n\t\x1b[2J\x7f\\"
        );
        assert_eq!(
            escape_for_log("\u{85}\u{2028}\u{202e}".as_bytes()),
            r"\u{85}\u{2028}\u{202e}"
        );
        assert_eq!(escape_for_log(b"\xe4\xb8 \xff\xfe"), r"\xe4\xb8 \xff\xfe");
    }

    #[test]
    fn a_terminal_is_shown_text_and_obeys_nothing() {
        assert_eq!(escape_for_terminal(b"C:\\a\tb"), "C:\\a\tb");
        assert_eq!(escape_for_terminal(b"\x1b[2J\x07\r"), r"\x1b[2J\x07\r");
        assert_eq!(
            escape_for_terminal(b"\xe4\xb8 \xff\xfe"),
            "\u{fffd} \u{fffd}\u{fffd}"
        );
        assert_eq!(escape_for_terminal("\u{202e}".as_bytes()), r"\u{202e}");
    }
}
