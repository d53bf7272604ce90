//! Where a message begins and ends, and what its bytes may be.

use chat::{Names, Options, RunningChat};

use crate::people::{Person, open, open_with};

fn guests() -> RunningChat {
    open(Options::default().names(Names::Guest))
}

/// D-10: the original split messages at 1 024 bytes.
#[test]
fn a_long_message_is_one_message() {
    let room = guests();
    let mut one = Person::join(&room);
    let text = "x".repeat(3000);
    one.sends(format!("{text}\n"));
    assert_eq!(one.hears(), format!("guest-1 {text}"));
}

/// D-11: the original merged messages that came together, and receivers could not tell them apart.
#[test]
fn messages_that_come_together_are_told_apart() {
    let room = guests();
    let mut one = Person::join(&room);
    one.sends("m0\nm1\nm2\nm3\nm4\n");
    for number in 0..5 {
        assert_eq!(one.hears(), format!("guest-1 m{number}"));
    }
}

/// D-12: the original did not see a `quit` that came with other text, or in two pieces.
#[test]
fn quit_is_seen_merged_and_split() {
    let room = guests();
    let mut one = Person::join(&room);
    one.sends("bye\r\nquit\r\n");
    assert_eq!(one.hears_to_the_end(), "guest-1 bye\n* bye\n");

    let mut two = Person::join(&room);
    two.sends("hi\nqu");
    assert_eq!(two.hears(), "guest-2 hi");
    two.sends("it\n");
    assert_eq!(two.hears_to_the_end(), "* bye\n");
}

/// D-13: a character split at byte 1 024 ended the session.
#[test]
fn a_character_in_two_pieces_is_one_character() {
    let room = guests();
    let mut one = Person::join(&room);
    let text = format!("{}中", "a".repeat(1023));
    let (head, tail) = text.as_bytes().split_at(1024);
    one.sends("\n");
    one.sends(head);
    one.sends(tail);
    one.sends("\n");
    assert_eq!(one.hears(), format!("guest-1 {text}"));
}

/// D-14: any byte that is not UTF-8 ended the session.
#[test]
fn a_bad_byte_costs_nobody_anything() {
    let room = guests();
    let (mut one, mut two) = (Person::join(&room), Person::join(&room));
    one.sends(b"\xd6\xd0\xce\xc4\nstill here\n");
    for person in [&mut one, &mut two] {
        person.hears_until(|line| line == "guest-1 still here");
    }
    two.sends(b"\xff\xfe\n\xe4\xb8\nso am I\n");
    for person in [&mut one, &mut two] {
        person.hears_until(|line| line == "guest-2 so am I");
    }
}

/// D-15: a line must not grow without bound, and what happens at the bound is said.
#[test]
fn a_line_that_is_too_long_is_refused_and_the_next_is_heard() {
    let room = open_with(
        Options::default().names(Names::Guest),
        chat::limits().line_bytes(100),
    );
    let mut one = Person::join(&room);
    one.sends(format!("{}\nshort\n", "x".repeat(100_000)));
    assert_eq!(one.hears(), "* line too long, at most 100 bytes");
    assert_eq!(one.hears(), "guest-1 short");
}

/// What comes behind the rest of a line that was too long is a line like others.
#[test]
fn after_a_long_line_in_several_pieces_its_rest_is_dropped_and_the_next_is_heard() {
    let room = guests();
    let mut one = Person::join(&room);
    one.sends("x".repeat(70_000));
    assert_eq!(one.hears(), "* line too long, at most 65536 bytes");
    one.sends("x".repeat(70_000));
    one.sends("quit\nlater\n");
    assert_eq!(one.hears(), "guest-1 later");
    one.sends("and later\n");
    assert_eq!(one.hears(), "guest-1 and later");
}

/// D-16: one could speak as another, forge a log line, and command the terminals of all.
#[test]
fn nobody_speaks_for_another_or_to_a_terminal() {
    let room = guests();
    let mut one = Person::join(&room);
    one.sends("hi\n10.0.0.99:4444 I am the admin\n");
    one.sends("a\r* server says\u{85}* bye\u{2028}* bye\n");
    one.sends("\x1b[2J\x1b]0;owned\x07 \u{202e}gnp.exe\u{9b}31m\0\n");
    assert_eq!(one.hears(), "guest-1 hi");
    assert_eq!(one.hears(), "guest-1 10.0.0.99:4444 I am the admin");
    assert_eq!(one.hears(), "guest-1 a* server says* bye* bye");
    assert_eq!(one.hears(), "guest-1 [2J]0;owned gnp.exe31m");
}

#[test]
fn telnet_s_commands_are_no_text() {
    let room = guests();
    let mut one = Person::join(&room);
    one.sends(b"he\xff\xf4\xff\xfd\x06llo\r\n\xff\xfb\x1fquit\r\n");
    assert_eq!(one.hears_to_the_end(), "guest-1 hello\n* bye\n");
}

/// The original's own client sends no line ends.
#[test]
fn who_sends_no_line_ends_is_heard_after_a_pause() {
    let room = guests();
    let mut one = Person::join(&room);
    one.sends("hello");
    assert_eq!(one.hears(), "guest-1 hello");
    // The end of that line, typed late, is no message.
    one.sends("\nnext\n");
    assert_eq!(one.hears(), "guest-1 next");
}

#[test]
fn quit_without_a_line_end_leaves_after_a_pause() {
    let room = guests();
    let mut one = Person::join(&room);
    one.sends("quit");
    assert_eq!(one.hears_to_the_end(), "* bye\n");
}

#[test]
fn a_slow_typist_who_has_sent_a_line_end_is_not_cut() {
    let room = guests();
    let mut one = Person::join(&room);
    one.sends("first\nsec");
    assert_eq!(one.hears(), "guest-1 first");
    // Meanwhile another's pause goes by.
    let mut two = Person::join(&room);
    two.sends("pause");
    assert_eq!(one.hears(), "* guest-2 joined");
    assert_eq!(one.hears(), "guest-2 pause");
    one.sends("ond\n");
    assert_eq!(one.hears(), "guest-1 second");
}

/// D-27: `printf hi | nc` left before the reply could be read.
#[test]
fn who_ends_its_side_hears_what_it_said() {
    let room = guests();
    let mut one = Person::join(&room);
    one.sends("one\ndone");
    one.ends_sending();
    assert_eq!(one.hears_to_the_end(), "guest-1 one\nguest-1 done\n");
}
