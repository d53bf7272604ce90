//! The connections of a loop or a pool, and when each is to be looked at.
//!
//! Silence needs no timer: now and then all seats are looked over, at most as often as makes an idle
//! timeout late by a sixty-fourth of itself.
//! Whatever else has a deadline has an entry in a heap, which is moved when it comes up and not when
//! the deadline is.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use crate::clock::{Clock, Moment, earlier};
use crate::engine::Driven;

/// Bits of a seat's number that say where it is; those above say which of its occupants is meant.
const PLACE_BITS: u32 = 28;
const GENERATIONS: u32 = 1 << 17;

/// The largest pause between two looks over all seats.
const SWEEP: Duration = Duration::from_secs(1);

/// How far ahead a deadline is noted at most.
const FAR: Duration = Duration::from_secs(30 * 24 * 3600);

/// Places that are kept free.
const RESERVE: usize = 64;

/// Deadlines that are not worth tidying up.
const FEW: usize = 64;

/// A place for a connection.
pub(in crate::engine) struct Slot {
    pub(in crate::engine) driven: Option<Box<dyn Driven>>,
    /// How many have sat here before, in 17 bits, and the marks of who does.
    state: u32,
    /// When its entry in the heap comes up, in ticks; 0 is never.
    armed: u32,
}

/// What a loop notes about a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub(in crate::engine) enum Mark {
    /// There may be something to read.
    Readable = 1 << 22,
    /// It wants input.
    Listens = 1 << 23,
    /// It is waited for until its peer reads on.
    AwaitsRoom = 1 << 24,
    /// It has a place in the queue of those that have more to read.
    HasMore = 1 << 25,
    /// It waits for a thread of the pool, or has news for the thread that it has.
    IsQueued = 1 << 26,
    /// A thread of the pool has it.
    IsOut = 1 << 27,
    /// There may be room to write.
    HasRoom = 1 << 28,
    /// The kernel has been asked to receive.
    Receives = 1 << 29,
    /// The last receive that was asked for is one of every other.
    IsOdd = 1 << 17,
    /// What it wrote has been sent by the kernel, and it has not been told.
    HasLanded = 1 << 18,
    /// It is to be told at once.
    AwaitsLanding = 1 << 19,
    /// The kernel has been asked to receive no more.
    Cancels = 1 << 20,
    /// Its handler has been set up.
    IsOpen = 1 << 30,
    /// The end of the input has come.
    HasEnded = 1 << 31,
}

impl Slot {
    pub(in crate::engine) fn has(&self, mark: Mark) -> bool {
        self.state & mark as u32 != 0
    }

    pub(in crate::engine) fn mark(&mut self, mark: Mark, on: bool) {
        if on {
            self.state |= mark as u32;
        } else {
            self.state &= !(mark as u32);
        }
    }

    fn generation(&self) -> u32 {
        self.state & (GENERATIONS - 1)
    }
}

/// The connections of a loop.
pub(in crate::engine) struct Seats {
    slots: Vec<Slot>,
    /// Places that are free, the one that has been for longest first.
    free: VecDeque<u32>,
    pub(in crate::engine) clock: Clock,
    deadlines: BinaryHeap<Reverse<(Moment, u64)>>,
    /// When to look all seats over, for silence.
    sweep: Option<Moment>,
    /// Whether silence ends anybody.
    watches_silence: bool,
}

impl Seats {
    pub(in crate::engine) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: VecDeque::new(),
            clock: Clock::default(),
            deadlines: BinaryHeap::new(),
            sweep: None,
            watches_silence: false,
        }
    }

    /// Takes a place; it is empty until [`sit`](Self::sit).
    pub(in crate::engine) fn take(&mut self) -> u64 {
        // Some are left alone, so that none has many occupants in a short time: who asks for one who has
        // long gone must not find another.
        let again = if self.free.len() > RESERVE {
            self.free.pop_front()
        } else {
            None
        };
        let place = again.unwrap_or_else(|| {
            self.slots.push(Slot {
                driven: None,
                state: 0,
                armed: 0,
            });
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let slot = &mut self.slots[place as usize];
        // A seat is never 0, which other tokens may be.
        let generation = (slot.generation() + 1) % GENERATIONS;
        slot.state = generation.max(1);
        slot.armed = 0;
        u64::from(slot.generation()) << PLACE_BITS | u64::from(place)
    }

    /// Gives a place back that nobody has sat down at.
    pub(in crate::engine) fn give_back(&mut self, seat: u64) {
        self.free.push_back(place(seat));
    }

    /// Seats a connection.
    pub(in crate::engine) fn sit(&mut self, seat: u64, mut driven: Box<dyn Driven>) {
        driven.take_seat(seat);
        if let Some(deadline) = driven.idle_deadline() {
            self.watches_silence = true;
            self.sweep = Some(self.sweep.map_or(deadline, |sweep| sweep.min(deadline)));
        }
        self.slots[place(seat) as usize].driven = Some(driven);
    }

    /// The slot at `seat`, if who was meant still sits there.
    #[inline]
    pub(in crate::engine) fn get(&mut self, seat: u64) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(place(seat) as usize)?;
        let is_meant = u64::from(slot.generation()) == seat >> PLACE_BITS;
        (is_meant && slot.driven.is_some()).then_some(slot)
    }

    /// Lends the connection at `seat` out, to be brought back.
    pub(in crate::engine) fn lend(&mut self, seat: u64) -> Option<Box<dyn Driven>> {
        let slot = self.get(seat)?;
        slot.mark(Mark::IsOut, true);
        slot.driven.take()
    }

    /// Takes the connection at `seat` back.
    pub(in crate::engine) fn bring_back(&mut self, seat: u64, driven: Box<dyn Driven>) {
        if let Some(slot) = self.find(seat) {
            slot.mark(Mark::IsOut, false);
            slot.driven = Some(driven);
        }
    }

    /// Frees the place of a connection that is lent out, and will not come back.
    pub(in crate::engine) fn vacate(&mut self, seat: u64) {
        if let Some(slot) = self.find(seat) {
            slot.state = slot.generation();
            self.free.push_back(place(seat));
        }
    }

    /// The slot at `seat`, if who was meant still has it, present or lent out.
    pub(in crate::engine) fn find(&mut self, seat: u64) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(place(seat) as usize)?;
        let is_meant = u64::from(slot.generation()) == seat >> PLACE_BITS;
        (is_meant && (slot.driven.is_some() || slot.has(Mark::IsOut))).then_some(slot)
    }

    /// Takes the connection away.
    pub(in crate::engine) fn leave(&mut self, seat: u64) -> Option<Box<dyn Driven>> {
        let slot = self.get(seat)?;
        let driven = slot.driven.take();
        // Who is told of this seat from now on means somebody who is gone.
        slot.state = slot.generation();
        self.free.push_back(place(seat));
        driven
    }

    /// Has the connection attended to at `at`, if it is not by then anyhow.
    pub(in crate::engine) fn arm(&mut self, seat: u64, at: Moment, now: Moment) {
        // Further away than ticks can be compared; it is armed anew then.
        let at = at.min(now.after(FAR));
        let Some(slot) = self.find(seat) else { return };
        let tick = tick(at);
        let is_later = slot.armed != 0 && tick.wrapping_sub(slot.armed).cast_signed() >= 0;
        if is_later {
            return;
        }
        slot.armed = tick;
        self.deadlines.push(Reverse((at, seat)));
        if self.deadlines.len() > 2 * (self.slots.len() - self.free.len()) + FEW {
            self.tidy();
        }
    }

    /// Forgets the deadlines of those who have gone, or have got an earlier one.
    fn tidy(&mut self) {
        let mut deadlines = std::mem::take(&mut self.deadlines).into_vec();
        deadlines.retain(|Reverse((at, seat))| {
            self.find(*seat).is_some_and(|slot| slot.armed == tick(*at))
        });
        self.deadlines = deadlines.into();
    }

    /// Has silence at `seat` noticed, if nobody's was watched.
    pub(in crate::engine) fn watch_silence(&mut self, seat: u64) {
        if self.sweep.is_none() && self.watches_silence {
            let deadline = self.get(seat).and_then(|slot| {
                let driven = slot.driven.as_deref()?;
                driven.idle_deadline()
            });
            self.sweep = deadline;
        }
    }

    /// Has the silence of one that is lent out noticed, if nobody's was watched.
    pub(in crate::engine) fn watch_silence_of(&mut self, driven: &dyn Driven) {
        if self.sweep.is_none() && self.watches_silence {
            self.sweep = driven.idle_deadline();
        }
    }

    /// Whether nobody sits.
    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.slots.len() == self.free.len()
    }

    /// When the next of them is to be attended to.
    pub(in crate::engine) fn next_deadline(&self) -> Option<Instant> {
        let first = self.deadlines.peek().map(|entry| entry.0.0);
        let instant = |moment: Option<Moment>| moment.and_then(|at| self.clock.instant(at));
        earlier(instant(first), instant(self.sweep))
    }

    /// Puts in `due` who is to be attended to now.
    pub(in crate::engine) fn due(&mut self, now: Moment, due: &mut Vec<u64>) {
        while let Some(&Reverse((at, seat))) = self.deadlines.peek() {
            if at > now {
                break;
            }
            self.deadlines.pop();
            if let Some(slot) = self.find(seat)
                && slot.armed == tick(at)
            {
                slot.armed = 0;
                due.push(seat);
            }
        }
        if self.sweep.is_some_and(|sweep| sweep <= now) {
            self.look_over(now, due);
        }
    }

    /// Puts in `due` who has been silent for too long.
    fn look_over(&mut self, now: Moment, due: &mut Vec<u64>) {
        let mut first: Option<Moment> = None;
        let mut shortest = SWEEP;
        for (number, slot) in self.slots.iter().enumerate() {
            let Some(driven) = &slot.driven else { continue };
            let Some(deadline) = driven.idle_deadline() else {
                continue;
            };
            if deadline <= now {
                due.push(u64::from(slot.generation()) << PLACE_BITS | number as u64);
            } else {
                first = Some(first.map_or(deadline, |first| first.min(deadline)));
                shortest = shortest.min(driven.idle_timeout().unwrap_or(SWEEP) / 64);
            }
        }
        self.sweep = first.map(|first| first.max(now.after(shortest)));
    }

    /// All that sit.
    pub(in crate::engine) fn all(&self) -> Vec<u64> {
        let seat = |(number, slot): (usize, &Slot)| {
            slot.driven.as_ref()?;
            Some(u64::from(slot.generation()) << PLACE_BITS | number as u64)
        };
        self.slots.iter().enumerate().filter_map(seat).collect()
    }
}

fn place(seat: u64) -> u32 {
    // The bits above are the generation's.
    (seat & ((1 << PLACE_BITS) - 1)) as u32
}

/// A moment in units of 4 ms, never 0; it wraps after half a year, and is compared within half that.
fn tick(at: Moment) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "it is meant to wrap")]
    let tick = (at.since(Moment::default()).as_millis() / 4) as u32;
    tick.max(1)
}
