//! The plain room: the wire of the original, byte for byte, without its defects.

use chat::{Options, RunningChat};

use crate::people::{Person, address, open, open_with};

fn plain() -> RunningChat {
    open(Options::default().plain(true))
}

#[test]
fn everyone_gets_the_bytes_behind_the_sender_s_address() {
    let room = plain();
    let (mut one, mut two) = (Person::join_plain(&room), Person::join_plain(&room));
    one.sends("中文\r\n");
    let expected = format!("{} 中文\r\n", one.address());
    for person in [&mut one, &mut two] {
        assert_eq!(person.hears_bytes(expected.len()), expected.as_bytes());
    }
}

/// The original's client sends no line ends and expects none.
#[test]
fn no_line_end_is_added_to_a_message_that_has_none() {
    let room = plain();
    let mut one = Person::join_plain(&room);
    let own = one.address();
    one.sends("hello");
    let expected = format!("{own} hello");
    assert_eq!(one.hears_bytes(expected.len()), expected.as_bytes());
    one.sends("quit");
    assert_eq!(one.hears_to_the_end(), "");
}

#[test]
fn nothing_is_greeted_announced_or_understood_but_quit() {
    let room = plain();
    let mut one = Person::join_plain(&room);
    let own = one.address();
    Person::join_plain(&room).resets();
    one.sends("/who\n\n/nick ada\nquit now\nquit \t\r\n");
    let expected = format!("{own} /who\n{own} \n{own} /nick ada\n{own} quit now\n");
    assert_eq!(one.hears_to_the_end(), expected);
}

/// D-14: and no byte is changed.
#[test]
fn bytes_that_are_no_text_pass_unchanged() {
    let room = plain();
    let mut one = Person::join_plain(&room);
    let mut expected = format!("{} ", one.address()).into_bytes();
    expected.extend_from_slice(b"\xff\xfe\x1b\x00\n");
    one.sends(b"\xff\xfe\x1b\x00\n");
    assert_eq!(one.hears_bytes(expected.len()), expected);
}

/// D-12
#[test]
fn quit_is_seen_behind_another_message() {
    let room = plain();
    let mut one = Person::join_plain(&room);
    let expected = format!("{} bye\r\n", one.address());
    one.sends("bye\r\nquit\r\n");
    assert_eq!(one.hears_to_the_end(), expected);
}

/// D-15: without a word, as the original's wire has none for it.
#[test]
fn a_line_that_is_too_long_is_dropped_and_the_next_is_heard() {
    let room = open_with(
        Options::default().plain(true),
        chat::limits().line_bytes(100),
    );
    let mut one = Person::join_plain(&room);
    let expected = format!("{} short\n", one.address());
    one.sends(format!("{}\nshort\n", "x".repeat(5000)));
    assert_eq!(one.hears_bytes(expected.len()), expected.as_bytes());
}

#[test]
fn a_closing_server_says_nothing() {
    let room = plain();
    let one = Person::join_plain(&room);
    assert!(address(&room).ip().is_loopback());
    room.stop().unwrap();
    assert_eq!(one.hears_to_the_end(), "");
}
