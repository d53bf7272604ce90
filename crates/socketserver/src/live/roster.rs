//! All that live, by number, in as little memory as that takes.
//!
//! Numbers only grow, so a list is in order by itself; who has left leaves a gap, and when half of the
//! list is gaps it is closed up.

use std::sync::Arc;

use super::Live;

/// Gaps that are not worth closing up.
const FEW: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Roster {
    entries: Vec<(u64, Option<Arc<Live>>)>,
    count: usize,
}

impl Roster {
    /// Adds `live`, whose number is higher than all before.
    pub(super) fn push(&mut self, live: Arc<Live>) {
        debug_assert!(self.entries.last().is_none_or(|(id, _)| *id < live.id));
        self.entries.push((live.id, Some(live)));
        self.count += 1;
    }

    pub(super) fn remove(&mut self, id: u64) {
        let Some(at) = self.find(id) else { return };
        if self.entries[at].1.take().is_none() {
            return;
        }
        self.count -= 1;
        // Those who come last and leave first are most of a busy server's.
        while self.entries.last().is_some_and(|(_, live)| live.is_none()) {
            self.entries.pop();
        }
        if self.entries.len() > 2 * self.count + FEW {
            self.entries.retain(|(_, live)| live.is_some());
            if self.entries.capacity() > 4 * self.entries.len() + FEW {
                self.entries.shrink_to(2 * self.entries.len());
            }
        }
    }

    pub(super) fn get(&self, id: u64) -> Option<&Arc<Live>> {
        self.entries[self.find(id)?].1.as_ref()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// All, the oldest first.
    pub(super) fn values(&self) -> impl Iterator<Item = &Arc<Live>> {
        self.entries.iter().filter_map(|(_, live)| live.as_ref())
    }

    /// The oldest with a number above `id`.
    pub(super) fn after(&self, id: u64) -> Option<&Arc<Live>> {
        let from = self.entries.partition_point(|(it, _)| *it <= id);
        self.entries[from..]
            .iter()
            .find_map(|(_, live)| live.as_ref())
    }

    fn find(&self, id: u64) -> Option<usize> {
        self.entries.binary_search_by_key(&id, |(it, _)| *it).ok()
    }
}
