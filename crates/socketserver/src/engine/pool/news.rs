//! What a connection in the lounge is told by the thread that has taken it out.

use super::lounge::State;
use crate::engine::seats::Mark;
use crate::engine::{Driven, Wants};
use crate::turn::Turn;
use crate::wait::Events;

/// Bytes that are read at once, and at most before others have their turn.
const CHUNK: usize = 64 << 10;

/// What a thread of the pool needs to serve connections.
pub(super) struct Kit {
    pub(super) turn: Turn,
    pub(super) input: Vec<u8>,
    pub(super) events: Events,
}

/// What there is to tell a connection.
#[expect(clippy::struct_excessive_bools, reason = "they are marks of a slot")]
pub(super) struct News {
    is_open: bool,
    listens: bool,
    is_readable: bool,
    /// Whether the input ends after what there is to read.
    has_ended: bool,
    has_room: bool,
    resumed: Option<u32>,
}

pub(super) fn take_news(state: &mut State, seat: u64) -> News {
    let at = state.resumed.iter().position(|(it, _)| *it == seat);
    let resumed = at.map(|at| state.resumed.swap_remove(at).1);
    let Some(slot) = state.seats.find(seat) else {
        return News {
            is_open: true,
            listens: false,
            is_readable: false,
            has_ended: false,
            has_room: false,
            resumed,
        };
    };
    let news = News {
        is_open: slot.has(Mark::IsOpen),
        listens: slot.has(Mark::Listens),
        is_readable: slot.has(Mark::Readable),
        has_ended: slot.has(Mark::HasEnded),
        has_room: slot.has(Mark::HasRoom),
        resumed,
    };
    slot.mark(Mark::IsOpen, true);
    slot.mark(Mark::Readable, false);
    slot.mark(Mark::HasRoom, false);
    slot.mark(Mark::IsQueued, false);
    news
}

impl News {
    /// Tells the connection; tells what it wants then, and whether it has more to read.
    pub(super) fn attend(self, driven: &mut dyn Driven, kit: &mut Kit) -> (Wants, bool) {
        let turn = &mut kit.turn;
        let mut wants = None;
        if self.has_room
            && let Some(outbox) = driven.outbox()
        {
            outbox.flush();
        }
        if !self.is_open {
            wants = Some(driven.open(turn));
        } else if let Some(pause) = self.resumed {
            wants = Some(driven.resume(pause, turn));
        }
        if self.is_open && (self.has_room || !self.is_readable || !self.listens) {
            wants = Some(driven.attend(turn));
        }
        let mut is_readable = self.is_readable;
        let listens = wants.map_or(self.listens, |wants| wants.input);
        if is_readable && listens {
            let (newer, has_more) = read(driven, self.has_ended, kit);
            wants = Some(newer);
            is_readable = has_more;
        }
        // Whoever has always something to say is attended to all the same.
        let now = kit.turn.now;
        if wants.is_some_and(|wants| wants.at.is_some_and(|at| at <= now)) {
            wants = Some(driven.attend(&mut kit.turn));
        }
        if !kit.turn.output.is_empty() {
            wants = Some(driven.flush(&mut kit.turn));
        }
        (wants.unwrap_or_default(), is_readable)
    }
}

/// Reads what there is, or as much as one may before others; tells whether there is more.
fn read(driven: &mut dyn Driven, to_the_end: bool, kit: &mut Kit) -> (Wants, bool) {
    if kit.input.is_empty() {
        kit.input = vec![0; CHUNK];
    }
    let mut read = 0;
    loop {
        let mut is_dry = false;
        let wants = match driven.socket().receive_now(&mut kit.input) {
            Ok(Some(0)) => driven.end_input(None, &mut kit.turn),
            Ok(Some(count)) => {
                read += count;
                // A read that was not full has emptied the socket, but for its end.
                is_dry = count < CHUNK && !to_the_end;
                driven.receive(&kit.input[..count], &mut kit.turn)
            }
            Ok(None) => {
                is_dry = true;
                driven.flush(&mut kit.turn)
            }
            Err(error) => driven.end_input(Some(error), &mut kit.turn),
        };
        if is_dry || read >= CHUNK || !wants.input {
            return (wants, !is_dry);
        }
    }
}
