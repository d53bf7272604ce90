//! Commands: what one line of a member's means.
//!
//! The entry type is [`Command`]; parsing is pure and never fails.

/// What one line of a member's means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Command<'a> {
    /// `/help`
    Help,
    /// `/nick NAME`; the text may be empty, and is not checked yet.
    Nick(&'a str),
    /// `quit`, white space behind it aside, or `/quit`
    Quit,
    /// Anything else is said; of `//text` it is `/text`.
    Say(&'a str),
    /// A word behind `/` that is no command, with its `/`.
    Unknown(&'a str),
    /// `/who`
    Who,
}

impl<'a> Command<'a> {
    /// Parses one line, which is without control characters; see [`sanitise`](crate::text::sanitise).
    ///
    /// ```
    /// use chat::Command;
    /// assert_eq!(Command::parse("quit "), Command::Quit);
    /// assert_eq!(Command::parse("quit now"), Command::Say("quit now"));
    /// assert_eq!(Command::parse("/nick ada"), Command::Nick("ada"));
    /// assert_eq!(Command::parse("//etc"), Command::Say("/etc"));
    /// ```
    pub fn parse(line: &'a str) -> Self {
        if is_quit(line.as_bytes()) {
            return Self::Quit;
        }
        if line.starts_with("//") {
            return Self::Say(&line[1..]);
        }
        if !line.starts_with('/') {
            return Self::Say(line);
        }
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match word.to_ascii_lowercase().as_str() {
            "/help" => Self::Help,
            "/nick" => Self::Nick(rest.trim()),
            "/quit" => Self::Quit,
            "/who" => Self::Who,
            _ => Self::Unknown(word),
        }
    }
}

/// Whether a message is `quit`, ASCII white space behind it aside.
///
/// It is the one rule for the word, in the room, in its plain form and in the client.
pub fn is_quit(message: &[u8]) -> bool {
    // Python's `rstrip` takes the vertical tab for white space, Rust's does not.
    let end = message
        .iter()
        .rposition(|byte| !matches!(byte, b'\t'..=b'\r' | b' '));
    end.is_some_and(|end| &message[..=end] == b"quit")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// D-9: "quit" meant five different things in the original.
    #[test]
    fn quit_is_the_word_alone_white_space_behind_it_aside() {
        for message in ["quit", "quit\r\n", "quit \t\r\n", "quit\x0b\x0c"] {
            assert!(is_quit(message.as_bytes()), "{message:?}");
            assert_eq!(Command::parse(message), Command::Quit);
        }
        for message in [" quit", "QUIT\n", "quit now", "quitt", "", "\n"] {
            assert!(!is_quit(message.as_bytes()), "{message:?}");
            assert_eq!(Command::parse(message), Command::Say(message));
        }
    }

    #[test]
    fn a_slash_begins_a_command() {
        assert_eq!(Command::parse("/who"), Command::Who);
        assert_eq!(Command::parse("/WHO is there"), Command::Who);
        assert_eq!(Command::parse("/help"), Command::Help);
        assert_eq!(Command::parse("/quit  "), Command::Quit);
        assert_eq!(Command::parse("/nick  ada "), Command::Nick("ada"));
        assert_eq!(Command::parse("/nick"), Command::Nick(""));
        assert_eq!(Command::parse("/nick a b"), Command::Nick("a b"));
    }

    #[test]
    fn an_unknown_command_is_not_said() {
        assert_eq!(Command::parse("/x y"), Command::Unknown("/x"));
        assert_eq!(Command::parse("/"), Command::Unknown("/"));
        assert_eq!(Command::parse("/nickname"), Command::Unknown("/nickname"));
    }

    #[test]
    fn two_slashes_say_one() {
        assert_eq!(Command::parse("//who"), Command::Say("/who"));
        assert_eq!(Command::parse("///"), Command::Say("//"));
        assert_eq!(Command::parse("a /who"), Command::Say("a /who"));
    }
}
