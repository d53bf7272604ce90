//! Names: what a member is called, which nicknames it may take, and when two names are the same.
//!
//! The entry types are [`Name`] and [`Names`].
//! Whether a name is taken is the room's to say; see [`Room`](crate::room::Room).

use std::fmt;
use std::str::FromStr;

use socketserver::Address;

/// The longest nickname, in characters.
pub const LONGEST_NAME: usize = 24;

/// Words that would speak for the server, or that are commands.
///
/// They are compared folded and without `-`, `_` and `.`, so that `-Server-` is `server`.
const RESERVED: [&str; 24] = [
    "admin",
    "administrator",
    "all",
    "bye",
    "everybody",
    "everyone",
    "guest",
    "help",
    "here",
    "me",
    "moderator",
    "nick",
    "nickserv",
    "nobody",
    "op",
    "operator",
    "quit",
    "root",
    "server",
    "system",
    "unix",
    "unnamed",
    "who",
    "you",
];

/// A member's name, as it is shown.
///
/// It holds no white space and does not begin with `*`, so that nothing a member says looks like a
/// line of the system's or like a line of somebody else's.
/// A nickname is made by parsing; the names that members come with are made by [`Names`].
///
/// ```
/// use chat::Name;
/// let name: Name = "Ada".parse()?;
/// assert_eq!(name.to_string(), "Ada");
/// assert!(name.is_same(&"aDA".parse()?));
/// assert!("Ada Lovelace".parse::<Name>().is_err());
/// # Ok::<(), chat::NameError>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Name {
    shown: String,
    folded: String,
}

impl Name {
    /// The name as it is shown.
    pub fn as_str(&self) -> &str {
        &self.shown
    }

    /// Whether the two would be taken for each other: they differ in case at most.
    pub fn is_same(&self, other: &Self) -> bool {
        self.folded == other.folded
    }

    /// The form that is compared.
    pub(crate) fn folded(&self) -> &str {
        &self.folded
    }

    /// The name with `/N` behind it, for the one whose default name is taken already.
    ///
    /// No nickname and no default name has a `/`.
    pub(crate) fn numbered(&self, number: u64) -> Self {
        Self::unchecked(format!("{}/{number}", self.shown))
    }

    fn unchecked(shown: String) -> Self {
        let folded = fold(&shown);
        Self { shown, folded }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if let Some(character) = text.chars().find(|&character| !is_allowed(character)) {
            return Err(NameError::Character(character));
        }
        let length = text.chars().count();
        if length > LONGEST_NAME {
            return Err(NameError::TooLong(length));
        }
        if text
            .chars()
            .all(|character| character.is_numeric() || character == '.')
        {
            return Err(NameError::Address);
        }
        let name = Self::unchecked(text.to_owned());
        if ["guest-", "unix-"]
            .iter()
            .any(|prefix| name.folded.starts_with(prefix))
        {
            return Err(NameError::Default);
        }
        let bare = name.folded.replace(['-', '_', '.'], "");
        if bare.is_empty() {
            return Err(NameError::Marks);
        }
        if RESERVED.contains(&bare.as_str()) {
            return Err(NameError::Reserved(name.shown));
        }
        Ok(name)
    }
}

/// Whether a nickname may have `character`.
fn is_allowed(character: char) -> bool {
    // These are letters to Unicode, and nothing to the eye.
    const BLANK: [char; 4] = ['\u{115f}', '\u{1160}', '\u{3164}', '\u{ffa0}'];
    matches!(character, '-' | '_' | '.')
        || (character.is_alphanumeric() && !BLANK.contains(&character))
}

/// The form in which names are compared: by way of upper case, as ß and SS are one name then, and
/// from lower case, as ẞ is upper case as it stands.
fn fold(text: &str) -> String {
    text.chars()
        .flat_map(char::to_lowercase)
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .collect()
}

/// Why a text is no nickname, in words for the one who typed it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum NameError {
    /// It looks like an address.
    Address,
    /// It has a character that no name may have.
    Character(char),
    /// It looks like a name that the room gives.
    Default,
    /// There is none.
    Empty,
    /// It has neither a letter nor a digit.
    Marks,
    /// It speaks for the server, or is a command.
    Reserved(String),
    /// It is longer than [`LONGEST_NAME`].
    TooLong(usize),
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => {
                f.write_str("a name of digits and dots looks like an address: add a letter")
            }
            Self::Character(' ') => f.write_str("a name has no space: write - or _ instead"),
            Self::Character(character) => write!(
                f,
                "a name has letters, digits, - _ and . only: leave out '{}'",
                character.escape_debug()
            ),
            Self::Default => {
                f.write_str("names with guest- and unix- are given by the room: choose another one")
            }
            Self::Empty => f.write_str("write the name that you want, as in /nick ada"),
            Self::Marks => f.write_str("a name has at least one letter: add one"),
            Self::Reserved(name) => write!(f, "the name {name} is reserved: choose another one"),
            Self::TooLong(length) => write!(
                f,
                "a name has at most {LONGEST_NAME} characters, this one {length}: shorten it"
            ),
        }
    }
}

impl std::error::Error for NameError {}

/// What members are called until they take a nickname.
///
/// A Unix peer has no address that would tell it from others, so it is `unix-N` in both cases.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Names {
    /// Their `ADDRESS:PORT`, which everybody in the room sees.
    #[default]
    Address,
    /// `guest-N`: nobody's address is shown.
    Guest,
}

impl Names {
    /// The default name of the `number`th member, who is at `peer`.
    pub fn name(self, peer: &Address, number: u64) -> Name {
        match self {
            Self::Address => Name::unchecked(label(peer, number)),
            Self::Guest if peer.inet().is_some() => Name::unchecked(format!("guest-{number}")),
            Self::Guest => Name::unchecked(format!("unix-{number}")),
        }
    }
}

/// What the log calls a peer: its `ADDRESS:PORT`, or `unix-N`.
pub(crate) fn label(peer: &Address, number: u64) -> String {
    match peer.inet() {
        Some(address) => address.to_string(),
        None => format!("unix-{number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn refusal(text: &str) -> NameError {
        text.parse::<Name>().unwrap_err()
    }

    #[test]
    fn letters_and_digits_of_any_script_make_a_name() {
        for text in [
            "a",
            "Ada",
            "ada.l-1_2",
            "作者",
            "Ольга",
            "عمر",
            "7of9",
            "x".repeat(24).as_str(),
        ] {
            assert_eq!(text.parse::<Name>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        for (text, words) in [
            ("", "/nick ada"),
            ("a b", "write - or _"),
            ("*ada", "leave out '*'"),
            ("#ada", "leave out '#'"),
            ("/ada", "leave out '/'"),
            ("@ada", "leave out '@'"),
            ("a\x1b[2J", "leave out '\\u{1b}'"),
            ("a\u{202e}b", "leave out '\\u{202e}'"),
            ("a\u{200b}b", "leave out '\\u{200b}'"),
            ("\u{3164}", "leave out"),
            ("[::1]:80", "leave out '['"),
            ("127.0.0.1:80", "leave out ':'"),
            ("127.0.0.1", "add a letter"),
            ("١٢٧.٠", "add a letter"),
            ("_.-", "add one"),
            ("unix-7", "choose another"),
            ("Guest-x", "choose another"),
            (&"x".repeat(25), "at most 24 characters, this one 25"),
        ] {
            let words_of_refusal = refusal(text).to_string();
            assert!(
                words_of_refusal.contains(words),
                "{text:?}: {words_of_refusal}"
            );
        }
    }

    #[test]
    fn words_that_would_speak_for_the_server_are_reserved() {
        for text in [
            "server",
            "SERVER",
            "-Server-",
            "s.e.r.v.e.r",
            "Operator",
            "admin_",
            "quit",
            "root",
        ] {
            assert_eq!(refusal(text), NameError::Reserved(text.to_owned()));
        }
    }

    #[test]
    fn names_that_differ_in_case_are_the_same() {
        for (one, other) in [
            ("Ada", "aDA"),
            ("ÉTÉ", "été"),
            ("STRASSE", "straße"),
            ("ΣΑΣ", "σας"),
        ] {
            let other: Name = other.parse().unwrap();
            assert!(
                one.parse::<Name>().unwrap().is_same(&other),
                "{one} {other}"
            );
        }
    }

    /// ẞ is the upper case of ß, whose upper case is SS: one member was `straße`, another `STRAẞE`.
    #[test]
    fn every_letter_is_the_same_in_upper_and_lower_case() {
        for letter in ('\0'..=char::MAX).filter(|letter| letter.is_alphanumeric()) {
            let one = letter.to_string();
            assert_eq!(fold(&one.to_uppercase()), fold(&one), "{letter}");
            assert_eq!(fold(&one.to_lowercase()), fold(&one), "{letter}");
        }
        let name: Name = "STRAẞE".parse().unwrap();
        assert!(name.is_same(&"strasse".parse().unwrap()));
    }

    /// D-17: the original lost the message of an IPv6 peer, and failed on a Unix one.
    #[test]
    fn every_family_has_a_default_name() {
        let inet = |text: &str| Address::from(text.parse::<SocketAddr>().unwrap());
        let name = |names: Names, peer: &Address| names.name(peer, 7).to_string();
        assert_eq!(name(Names::Address, &inet("127.0.0.1:9")), "127.0.0.1:9");
        assert_eq!(name(Names::Address, &inet("[::1]:1234")), "[::1]:1234");
        assert_eq!(name(Names::Address, &Address::Unnamed), "unix-7");
        assert_eq!(
            name(Names::Address, &Address::Path("/tmp/a b".into())),
            "unix-7"
        );
        assert_eq!(name(Names::Guest, &inet("192.0.2.1:9")), "guest-7");
        assert_eq!(name(Names::Guest, &Address::Unnamed), "unix-7");
    }
}
