//! Who is to receive again once there are buffers, and in which order.

use std::collections::HashSet;

/// Those for whom there was no buffer.
///
/// The first to ask again may be given all buffers that are free, so whoever has gone away empty since
/// it last asked comes before those who have received.
#[derive(Debug, Default)]
pub(super) struct Hunger {
    /// Who has asked and gone away empty, and who has received before.
    first: Vec<u64>,
    then: Vec<u64>,
    /// Who has asked again, and has not been told.
    asked: HashSet<u64>,
}

impl Hunger {
    /// There was no buffer for `seat`.
    pub(super) fn starves(&mut self, seat: u64) {
        if self.asked.remove(&seat) {
            self.first.push(seat);
        } else {
            self.then.push(seat);
        }
    }

    /// `seat` has received, or has left.
    #[inline]
    pub(super) fn is_fed(&mut self, seat: u64) {
        if !self.asked.is_empty() {
            self.asked.remove(&seat);
        }
    }

    /// All who are to ask again now, in their order.
    pub(super) fn ask(&mut self) -> Vec<u64> {
        let mut all = std::mem::take(&mut self.first);
        all.append(&mut self.then);
        self.asked.extend(&all);
        all
    }
}
