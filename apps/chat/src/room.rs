//! The room: who is in it, what they are called, and the lines that they are shown.
//!
//! The entry type is [`Room`]; it is pure.
//! It knows neither sockets nor doors: a door asks it, and sends the lines that it makes.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use crate::names::Name;

/// A member's number: the room counts those who join, from 1, and uses none twice.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MemberId(u64);

impl MemberId {
    /// The number.
    pub fn number(self) -> u64 {
        self.0
    }
}

/// The members of a room, and their names.
///
/// ```
/// use chat::{Name, Names, Room};
/// use socketserver::Address;
///
/// let mut room = Room::default();
/// let ada = room.join(|id| Names::Guest.name(&Address::Unnamed, id.number()));
/// room.rename(ada, "ada".parse()?)?;
/// assert_eq!(room.said(ada, "hello"), "ada hello\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Room {
    /// In the order in which they joined.
    members: BTreeMap<MemberId, Name>,
    /// Who has a name, by its folded form.
    taken: HashMap<String, MemberId>,
    /// How many have ever joined.
    joined: u64,
}

impl Room {
    /// Takes a member in, under the name that `name` makes for its number.
    ///
    /// If that is taken, `/` and the number are put behind it.
    pub fn join(&mut self, name: impl FnOnce(MemberId) -> Name) -> MemberId {
        self.joined += 1;
        let id = MemberId(self.joined);
        let mut name = name(id);
        if self.taken.contains_key(name.folded()) {
            name = name.numbered(id.0);
        }
        self.taken.insert(name.folded().to_owned(), id);
        self.members.insert(id, name);
        id
    }

    /// Lets a member go; its name is free from now on.
    pub fn leave(&mut self, id: MemberId) -> Option<Name> {
        let name = self.members.remove(&id)?;
        self.taken.remove(name.folded());
        Some(name)
    }

    /// Gives a member another name, and tells the one that it had.
    ///
    /// # Errors
    ///
    /// Another member has the name, or this one has it already, or is not in the room.
    pub fn rename(&mut self, id: MemberId, name: Name) -> Result<Name, RenameError> {
        let Some(old) = self.members.get_mut(&id) else {
            return Err(RenameError::Gone);
        };
        if *old == name {
            return Err(RenameError::Same(name));
        }
        if self
            .taken
            .get(name.folded())
            .is_some_and(|&holder| holder != id)
        {
            return Err(RenameError::Taken(name));
        }
        self.taken.remove(old.folded());
        self.taken.insert(name.folded().to_owned(), id);
        Ok(std::mem::replace(old, name))
    }

    /// What a member is called.
    pub fn name(&self, id: MemberId) -> Option<&Name> {
        self.members.get(&id)
    }

    /// The members with their names, those who came first before the others.
    pub fn members(&self) -> impl ExactSizeIterator<Item = (MemberId, &Name)> {
        self.members.iter().map(|(&id, name)| (id, name))
    }

    /// How many are here.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nobody is here.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The line for what a member says: its name, a space, the text, a line feed.
    ///
    /// Of one who is not here it is empty.
    pub fn said(&self, id: MemberId, text: &str) -> String {
        self.name(id)
            .map_or_else(String::new, |name| format!("{name} {text}\n"))
    }

    /// The lines that answer `/who`.
    ///
    /// They are bounded: a room that is too large to list is listed in part.
    pub fn who(&self) -> String {
        // Together at most a few kilobytes, and no line much longer than a terminal is wide.
        const NAMES_A_LINE: usize = 8;
        const NAMES: usize = 400;
        let mut lines = String::new();
        let names: Vec<_> = self
            .members
            .values()
            .take(NAMES)
            .map(Name::as_str)
            .collect();
        for (number, line) in names.chunks(NAMES_A_LINE).enumerate() {
            let line = line.join(", ");
            lines.push_str(&match number {
                0 => system(format_args!("{} here: {line}", self.len())),
                _ => system(line),
            });
        }
        if self.len() > NAMES {
            lines.push_str(&system(format_args!("and {} more", self.len() - NAMES)));
        }
        lines
    }
}

/// A line of the system's: `* ` and the text; no line of a member's begins so.
pub fn system(text: impl fmt::Display) -> String {
    format!("* {text}\n")
}

/// Why a member keeps the name that it has, in words for the one who asked.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum RenameError {
    /// The member is not in the room any more.
    Gone,
    /// The member is called that already.
    Same(Name),
    /// Another member has the name.
    Taken(Name),
}

impl fmt::Display for RenameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("you are not here any more"),
            Self::Same(name) => write!(f, "you are {name} already"),
            Self::Taken(name) => write!(f, "{name} is taken: choose another name"),
        }
    }
}

impl std::error::Error for RenameError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Names;
    use socketserver::Address;

    fn guest(room: &mut Room) -> MemberId {
        let peer = Address::from(std::net::SocketAddr::from(([127, 0, 0, 1], 9)));
        room.join(|id| Names::Guest.name(&peer, id.number()))
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn a_member_is_called_by_its_default_name_until_it_takes_another() {
        let mut room = Room::default();
        let one = guest(&mut room);
        assert_eq!(room.said(one, "hi"), "guest-1 hi\n");
        assert_eq!(room.rename(one, name("ada")).unwrap().as_str(), "guest-1");
        assert_eq!(room.said(one, "hi"), "ada hi\n");
    }

    #[test]
    fn no_two_members_have_the_same_name() {
        let mut room = Room::default();
        let (one, two) = (guest(&mut room), guest(&mut room));
        room.rename(one, name("Ada")).unwrap();
        let error = room.rename(two, name("aDA")).unwrap_err();
        assert_eq!(error.to_string(), "aDA is taken: choose another name");
        assert_eq!(room.name(two).unwrap().as_str(), "guest-2");
    }

    #[test]
    fn a_member_may_change_the_case_of_its_name() {
        let mut room = Room::default();
        let one = guest(&mut room);
        room.rename(one, name("ada")).unwrap();
        room.rename(one, name("Ada")).unwrap();
        assert_eq!(
            room.rename(one, name("Ada")).unwrap_err().to_string(),
            "you are Ada already"
        );
    }

    #[test]
    fn a_name_is_free_once_its_holder_has_left_or_taken_another() {
        let mut room = Room::default();
        let (one, two, three) = (guest(&mut room), guest(&mut room), guest(&mut room));
        room.rename(one, name("ada")).unwrap();
        assert_eq!(room.leave(one).unwrap().as_str(), "ada");
        assert_eq!(room.leave(one), None);
        room.rename(two, name("ada")).unwrap();
        room.rename(two, name("grace")).unwrap();
        room.rename(three, name("ada")).unwrap();
        assert_eq!(room.rename(one, name("linus")), Err(RenameError::Gone));
        assert_eq!(room.said(one, "hi"), "");
    }

    #[test]
    fn two_who_come_with_one_name_are_told_apart() {
        let mut room = Room::default();
        let same = |room: &mut Room| room.join(|_| Names::Guest.name(&Address::Unnamed, 1));
        let (one, two) = (same(&mut room), same(&mut room));
        assert_eq!(room.name(one).unwrap().as_str(), "unix-1");
        assert_eq!(room.name(two).unwrap().as_str(), "unix-1/2");
    }

    #[test]
    fn who_lists_the_members_in_the_order_in_which_they_came() {
        let mut room = Room::default();
        let one = guest(&mut room);
        guest(&mut room);
        room.rename(one, name("zoe")).unwrap();
        assert_eq!(room.who(), "* 2 here: zoe, guest-2\n");
    }

    #[test]
    fn a_large_room_is_listed_in_part() {
        let mut room = Room::default();
        for _ in 0..10_000 {
            guest(&mut room);
        }
        let lines = room.who();
        assert!(lines.ends_with("* and 9600 more\n"), "{lines}");
        assert!(lines.len() < 16 << 10, "{}", lines.len());
        assert!(lines.lines().all(|line| line.starts_with("* ")));
    }
}
