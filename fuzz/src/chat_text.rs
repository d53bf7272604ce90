//! What holds for what a chat's members send.

use std::net::{Ipv4Addr, SocketAddr};

use chat::command::is_quit;
use chat::names::LONGEST_NAME;
use chat::telnet::strip;
use chat::text::{escape_for_log, escape_for_terminal, sanitise};
use chat::{Command, Name, Names};
use socketserver::Address;

/// Whether a terminal or a log could obey `character`.
fn is_obeyed(character: char) -> bool {
    matches!(character, '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}')
        || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

pub(crate) fn line(input: &[u8]) {
    let text = sanitise(input);
    let has_bad = |text: &str| text.chars().any(|c| c != '\t' && is_obeyed(c));
    assert!(!has_bad(&text), "let in: {text:?}");
    assert_eq!(sanitise(text.as_bytes()), text, "sanitised again");
    check_command(&text);
    let logged = escape_for_log(input);
    assert!(!logged.contains(is_obeyed), "logged: {logged:?}");
    assert_eq!(unescaped(&logged), input, "read from the log");
    assert!(!has_bad(&escape_for_terminal(input)));
}

/// A line means what it is, and loses nothing but the word of its command.
fn check_command(line: &str) {
    let command = Command::parse(line);
    assert_eq!(
        is_quit(line.as_bytes()),
        line.trim_end_matches(['\t', '\u{b}', '\u{c}', '\r', '\n', ' ']) == "quit"
    );
    match command {
        Command::Say(said) => {
            assert!(!is_quit(line.as_bytes()));
            let expected = if line.starts_with("//") {
                &line[1..]
            } else {
                line
            };
            assert_eq!(said, expected);
            assert!(line.starts_with("//") || !line.starts_with('/'), "{line:?}");
        }
        Command::Quit if is_quit(line.as_bytes()) => {}
        Command::Nick(name) => {
            assert_eq!(name, name.trim());
            assert!(line.trim_end().ends_with(name), "{line:?}: {name:?}");
            assert!(line.starts_with('/'));
        }
        Command::Unknown(word) => {
            assert!(word.starts_with('/') && !word.contains(char::is_whitespace));
            assert!(line.starts_with(word) && !line.starts_with("//"));
        }
        _ => assert!(line.starts_with('/') && !line.starts_with("//"), "{line:?}"),
    }
}

/// The bytes that a log shows.
fn unescaped(logged: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), logged);
    while let Some(character) = rest.chars().next() {
        let mut push = |character: char| {
            bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        };
        let Some(escape) = rest.strip_prefix('\\') else {
            push(character);
            rest = &rest[character.len_utf8()..];
            continue;
        };
        rest = &escape[1..];
        match escape.as_bytes()[0] {
            b'n' => push('\n'),
            b'r' => push('\r'),
            b't' => push('\t'),
            b'x' => {
                bytes.push(u8::from_str_radix(&rest[..2], 16).unwrap_or_default());
                rest = &rest[2..];
            }
            b'u' => {
                let (digits, tail) = rest[1..].split_once('}').unwrap_or_default();
                let number = u32::from_str_radix(digits, 16).unwrap_or_default();
                push(char::from_u32(number).unwrap_or_default());
                rest = tail;
            }
            _ => push('\\'),
        }
    }
    bytes
}

pub(crate) fn name(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let number = input.iter().map(|&byte| u64::from(byte)).sum();
    check_default_names(number);
    let Ok(name) = text.parse::<Name>() else {
        let refusal = text.parse::<Name>().err().map(|error| error.to_string());
        let is_line = refusal.is_some_and(|words| !words.contains(is_obeyed));
        assert!(is_line, "{text:?}");
        return;
    };
    assert_eq!(name.as_str(), text);
    assert!(text.chars().count() <= LONGEST_NAME);
    assert!(!text.contains(|c: char| c.is_whitespace() || is_obeyed(c) || "*/:#@[]".contains(c)));
    assert_eq!(sanitise(input), text, "it would be another one in the room");
    for other in [text.to_uppercase(), text.to_lowercase()] {
        if let Ok(other) = other.parse::<Name>() {
            assert!(name.is_same(&other), "{name} and {other}");
        }
        if other.chars().count() <= LONGEST_NAME && other.is_ascii() {
            assert!(other.parse::<Name>().is_ok(), "{other}");
        }
    }
}

/// Nobody can take a name that the room gives.
fn check_default_names(number: u64) {
    let peer = Address::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 9999)));
    for names in [Names::Address, Names::Guest] {
        for peer in [&peer, &Address::Unnamed] {
            let given = names.name(peer, number);
            assert!(given.as_str().parse::<Name>().is_err(), "{given}");
        }
    }
}

/// Text passes, in its order, and nothing is made up.
pub(crate) fn telnet(input: &[u8]) {
    let kept = strip(input);
    let mut rest = input.iter();
    assert!(
        kept.iter().all(|byte| rest.any(|other| other == byte)),
        "made up: {kept:?}"
    );
    let text: Vec<u8> = input.iter().copied().filter(|&byte| byte < 240).collect();
    assert_eq!(*strip(&text), *text, "text is lost");
    assert_eq!(*strip(&[&text, input].concat()), *[&text, &*kept].concat());
    assert_eq!(*strip(&with_commands(&text)), *text, "commands are left");
}

/// `text` with a command behind each byte.
fn with_commands(text: &[u8]) -> Vec<u8> {
    const COMMANDS: [&[u8]; 4] = [
        b"\xff\xf4",
        b"\xff\xfd\x06",
        b"\xff\xfa\x1f\x00\x50\xff\xf0",
        b"\xff\xfb\x01",
    ];
    let commands = COMMANDS.iter().cycle();
    text.iter()
        .zip(commands)
        .flat_map(|(&byte, command)| [&[byte][..], command].concat())
        .collect()
}
