//! What a member can ask for, and what the names are.

use chat::{Names, Options};

use crate::people::{Person, open};

#[test]
fn everyone_hears_every_message_the_sender_included() {
    let room = open(Options::default());
    let (mut ada, mut bob) = (Person::join_as(&room, "ada"), Person::join_as(&room, "bob"));
    ada.sends("hello 中文\r\n");
    for person in [&mut ada, &mut bob] {
        assert_eq!(
            person.hears_until(|line| line.starts_with("ada ")),
            "ada hello 中文"
        );
    }
}

#[test]
fn the_greeting_says_who_one_is_and_what_to_do() {
    let room = open(Options::default());
    let mut one = Person::connect(&room);
    let expected = format!(
        "* Welcome. 1 here. You are {}. /help lists the commands, quit leaves.",
        one.address()
    );
    assert_eq!(one.hears(), expected);
    let greeting = Person::connect(&room).hears();
    assert!(greeting.starts_with("* Welcome. 2 here. "), "{greeting}");
}

#[test]
fn guests_show_no_address() {
    let room = open(Options::default().names(Names::Guest));
    let mut one = Person::connect(&room);
    assert!(one.hears().contains("You are guest-1."));
    one.sends("hi\n");
    assert_eq!(one.hears(), "guest-1 hi");
}

#[test]
fn a_nickname_takes_the_place_of_the_address_for_everybody() {
    let room = open(Options::default());
    let mut one = Person::join(&room);
    let mut two = Person::join(&room);
    two.sends("/nick ada\n");
    let renamed = format!("* {} is now ada", two.address());
    assert_eq!(two.hears(), renamed);
    assert_eq!(one.hears(), format!("* {} joined", two.address()));
    assert_eq!(one.hears(), renamed);
    two.sends("hi\n");
    assert_eq!(one.hears(), "ada hi");
}

#[test]
fn a_name_that_will_not_do_is_refused_to_the_one_who_asked_alone() {
    let room = open(Options::default());
    let (mut ada, mut bob) = (Person::join_as(&room, "ada"), Person::join_as(&room, "bob"));
    for (name, words) in [
        ("", "* write the name that you want"),
        ("ADA", "* ADA is taken"),
        ("bob", "* you are bob already"),
        ("a b", "* a name has no space"),
        ("server", "* the name server is reserved"),
        ("127.0.0.1", "* a name of digits and dots"),
        ("unix-7", "* names with guest- and unix-"),
        ("*", "* a name has letters"),
    ] {
        bob.sends(format!("/nick {name}\n"));
        let answer = bob.hears();
        assert!(answer.starts_with(words), "{answer}");
    }
    bob.sends("still bob\n");
    ada.hears_until(|line| line.contains("is now bob"));
    assert_eq!(ada.hears(), "bob still bob");
}

/// Of many who ask for one name at once, one gets it.
#[test]
fn a_name_is_given_once() {
    let room = open(Options::default());
    let mut people: Vec<_> = (0..20).map(|_| Person::join(&room)).collect();
    for person in &mut people {
        person.sends("/nick Ada\n");
    }
    let taken = "* Ada is taken: choose another name";
    let mut refused = 0;
    for person in &mut people {
        let own = format!("* {} is now Ada", person.address());
        refused += usize::from(person.hears_until(|line| line == taken || line == own) == taken);
    }
    assert_eq!(refused, 19);
    assert_eq!(
        room.door()
            .members()
            .iter()
            .filter(|&name| name == "Ada")
            .count(),
        1
    );
}

#[test]
fn who_lists_the_names() {
    let room = open(Options::default());
    let mut ada = Person::join_as(&room, "ada");
    let mut bob = Person::join_as(&room, "bob");
    bob.sends("/who\n");
    assert_eq!(bob.hears(), "* 2 here: ada, bob");
    ada.hears_until(|line| line.ends_with("is now bob"));
    ada.sends("/nobody\n");
    assert_eq!(ada.hears(), "* no such command: /nobody — /help lists them");
}

#[test]
fn help_names_every_command() {
    let room = open(Options::default());
    let mut ada = Person::join(&room);
    ada.sends("/help\n/quit\n");
    let help = ada.hears_to_the_end();
    for command in ["/nick NAME", "/who", "/quit", "//text"] {
        assert!(help.contains(command), "{help}");
    }
    assert!(help.lines().all(|line| line.starts_with("* ")), "{help}");
}

#[test]
fn two_slashes_say_what_begins_with_one() {
    let room = open(Options::default().names(Names::Guest));
    let mut one = Person::join(&room);
    one.sends("//etc/hosts\n");
    assert_eq!(one.hears(), "guest-1 /etc/hosts");
}

/// D-9: one rule for the word, in whatever case and company.
#[test]
fn quit_leaves_and_other_words_are_said() {
    let room = open(Options::default().names(Names::Guest));
    let mut one = Person::join(&room);
    one.sends(" quit\nQUIT\nquit now\nquit \t\r\nnever said\n");
    let expected = "guest-1  quit\nguest-1 QUIT\nguest-1 quit now\n* bye\n";
    assert_eq!(one.hears_to_the_end(), expected);
}
