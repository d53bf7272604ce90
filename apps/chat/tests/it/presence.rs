//! Who is here, and who learns of it.

use std::time::Duration;

use chat::{Names, Options, RunningChat};

use crate::people::{Person, open, open_with, until};

/// How a member may go.
type Leave = fn(&RunningChat, Person);

fn guests() -> RunningChat {
    open(Options::default().names(Names::Guest))
}

/// D-26: nobody learnt who came and went.
#[test]
fn joins_and_leaves_are_announced_to_the_others() {
    let room = guests();
    let mut one = Person::join(&room);
    let mut two = Person::join(&room);
    assert_eq!(one.hears(), "* guest-2 joined");
    two.sends("quit\n");
    assert_eq!(two.hears_to_the_end(), "* bye\n");
    assert_eq!(one.hears(), "* guest-2 left");
}

/// D-26, D-19: a reset left no trace, and the corpse stayed in the room.
#[test]
fn a_member_leaves_on_every_path() {
    let room = guests();
    let mut one = Person::join(&room);
    let leave: [(&str, Leave); 4] = [
        ("closes", |_, person| drop(person)),
        ("ends its side", |_, person| {
            person.ends_sending();
            person.hears_to_the_end();
        }),
        ("resets", |_, person| person.resets()),
        ("is disconnected", |room, _person| {
            let newest = room
                .handle()
                .connections()
                .into_iter()
                .max_by_key(|info| info.id);
            assert!(room.handle().disconnect(newest.unwrap().id));
            until("a member fewer", || room.door().len() == 1);
        }),
    ];
    for (number, (how, leave)) in (2..).zip(leave) {
        let other = Person::join(&room);
        assert_eq!(one.hears(), format!("* guest-{number} joined"), "{how}");
        leave(&room, other);
        assert_eq!(one.hears(), format!("* guest-{number} left"), "{how}");
    }
    assert_eq!(room.door().members(), ["guest-1"]);
}

/// D-30: who had vanished held its place for ever.
#[test]
fn who_is_silent_for_too_long_leaves_if_the_limits_say_so() {
    let limits = chat::limits().idle_timeout(Some(Duration::from_millis(1)));
    let room = open_with(Options::default(), limits);
    let (mut one, two) = (Person::join(&room), Person::join(&room));
    one.sends("quit\n");
    two.hears_to_the_end();
    until("an empty room", || room.door().is_empty());
}

#[test]
fn a_name_is_free_again_when_its_holder_is_gone() {
    let room = guests();
    let mut one = Person::join(&room);
    drop(Person::join_as(&room, "ada"));
    one.hears_until(|line| line == "* ada left");
    one.sends("/nick ada\n");
    assert_eq!(one.hears(), "* guest-1 is now ada");
}

/// D-21: two rooms in one process shared their members.
#[test]
fn two_rooms_in_one_process_share_nobody() {
    let (here, there) = (guests(), guests());
    let (mut one, mut other) = (Person::join(&here), Person::join(&there));
    one.sends("here\n");
    other.sends("there\n");
    assert_eq!(one.hears(), "guest-1 here");
    assert_eq!(other.hears(), "guest-1 there");
    other.sends("/who\n");
    assert_eq!(other.hears(), "* 1 here: guest-1");
}
