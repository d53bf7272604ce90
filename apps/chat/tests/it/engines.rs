//! One room, whichever engine serves it.

use chat::{Names, Options, RunningChat};
use socketserver::Sequential;

use crate::people::{Person, engines, open_on, until};

/// Opens a room of guests on each engine in turn.
fn on_each(check: impl Fn(&str, RunningChat)) {
    for (name, engine) in engines() {
        let options = Options::default().names(Names::Guest);
        check(name, open_on(engine, options, chat::limits()));
    }
}

/// Everything that one member hears while others come, speak, change and go.
#[test]
fn a_member_hears_the_same_on_every_engine() {
    on_each(|engine, room| {
        let mut ada = Person::join_as(&room, "ada");
        let mut bob = Person::join(&room);
        bob.sends("one\ntwo\n/nick bob\n/nick ADA\n/who\n//three\nquit\n");
        let expected = "guest-2 one\nguest-2 two\n* guest-2 is now bob\n\
             * ADA is taken: choose another name\n* 2 here: ada, bob\nbob /three\n* bye\n";
        assert_eq!(bob.hears_to_the_end(), expected, "{engine}");
        let eve = Person::join(&room);
        eve.resets();
        for line in [
            "* guest-2 joined",
            "guest-2 one",
            "guest-2 two",
            "* guest-2 is now bob",
            "bob /three",
            "* bob left",
            "* guest-3 joined",
            "* guest-3 left",
        ] {
            assert_eq!(ada.hears(), line, "{engine}");
        }
        let report = room.stop().unwrap();
        assert_eq!(
            (report.forced, report.stuck),
            (0, 0),
            "{engine}: {report:?}"
        );
        assert_eq!(
            ada.hears_to_the_end(),
            "* the server is closing\n",
            "{engine}"
        );
    });
}

#[test]
fn what_is_no_whole_line_is_treated_alike_on_every_engine() {
    on_each(|engine, room| {
        let mut typist = Person::join(&room);
        typist.sends("no end");
        assert_eq!(typist.hears(), "guest-1 no end", "{engine}");
        typist.sends(format!("\n{}\nshort\nhalf", "x".repeat(100_000)));
        let told = "* line too long, at most 65536 bytes";
        assert_eq!(typist.hears(), told, "{engine}");
        assert_eq!(typist.hears(), "guest-1 short", "{engine}");
        // What stands before the end of input is a line.
        typist.ends_sending();
        assert_eq!(typist.hears_to_the_end(), "guest-1 half\n", "{engine}");
        until("the room is empty", || room.door().is_empty());
    });
}

/// More members than the pool has threads, and more than one loop has to itself.
#[test]
fn five_hundred_lines_at_once_reach_everybody_whole_on_every_engine() {
    on_each(|engine, room| {
        let mut people: Vec<_> = (0..12).map(|_| Person::join(&room)).collect();
        let lines: Vec<_> = (0..500).map(|number| format!("line {number}")).collect();
        people[0].sends(lines.join("\n") + "\n");
        for person in &mut people {
            for line in &lines {
                let heard = person.hears_until(|heard| !heard.ends_with(" joined"));
                assert_eq!(heard, format!("guest-1 {line}"), "{engine}");
            }
        }
    });
}

/// D-22: one member that did not read froze the room for everybody.
#[test]
fn who_never_reads_is_cut_off_on_every_engine() {
    for (engine, served) in engines() {
        let limits = chat::limits().outbox_bytes(64 << 10);
        let room = open_on(served, Options::default().names(Names::Guest), limits);
        let _sleeper = Person::join(&room);
        let mut ada = Person::join_as(&room, "ada");
        let text = "x".repeat(8000);
        let mut said = 0;
        until("the sleeper is gone", || {
            ada.sends(format!("{said} {text}\n"));
            let expected = format!("ada {said} {text}");
            ada.hears_until(|line| line == expected);
            said += 1;
            room.door().members() == ["ada"]
        });
        let counters = || room.handle().counters();
        until("it is counted", || counters().cut == 1);
        assert_eq!(counters().panicked, 0, "{engine}");
    }
}

/// A member that does not read, but is within the bounds, keeps nothing busy and nobody waiting.
#[test]
fn who_does_not_read_for_a_while_hears_everything_later_on_every_engine() {
    for (engine, served) in engines() {
        let limits = chat::limits()
            .outbox_bytes(64 << 20)
            .outbox_messages(1 << 20);
        let room = open_on(served, Options::default().names(Names::Guest), limits);
        let mut slow = Person::join(&room);
        let mut ada = Person::join_as(&room, "ada");
        let text = "x".repeat(60_000);
        // More than the kernel keeps for it.
        for number in 0..200 {
            ada.sends(format!("{number} {text}\n"));
            let expected = format!("ada {number} {text}");
            ada.hears_until(|line| line == expected);
        }
        for number in 0..200 {
            let expected = format!("ada {number} {text}");
            let heard = slow.hears_until(|line| line.starts_with("ada "));
            assert!(heard == expected, "{engine}: another line than {number}");
        }
        slow.sends("still here\n");
        assert_eq!(ada.hears(), "guest-1 still here", "{engine}");
    }
}

#[test]
fn a_member_that_is_disconnected_leaves_on_every_engine() {
    on_each(|engine, room| {
        let mut ada = Person::join_as(&room, "ada");
        let bob = Person::join(&room);
        ada.hears();
        assert!(room.handle().disconnect(2), "{engine}");
        assert_eq!(ada.hears(), "* guest-2 left", "{engine}");
        assert_eq!(bob.hears_to_the_end(), "", "{engine}");
    });
}

#[test]
fn on_sequential_one_member_comes_after_another() {
    let options = Options::default().names(Names::Guest);
    let room = open_on(Box::new(Sequential), options, chat::limits());
    let mut one = Person::join(&room);
    let mut two = Person::connect(&room);
    one.sends("alone\nquit\n");
    assert_eq!(one.hears_to_the_end(), "guest-1 alone\n* bye\n");
    assert!(
        two.hears()
            .starts_with("* Welcome. 1 here. You are guest-2.")
    );
}
