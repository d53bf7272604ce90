//! What an engine sees of a message handler's connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Moment;
use crate::outbox::Outbox;
use crate::socket::Socket;
use crate::telemetry::EndReason;
use crate::turn::Turn;
use crate::wait::Waiter;

/// What a connection wants of the loop that drives it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is wanted or not by itself"
)]
pub(crate) struct Wants {
    /// Input.
    pub(crate) input: bool,
    /// To be attended to when its peer reads on.
    pub(crate) room: bool,
    /// To be told at once when the kernel has sent what was taken for it.
    pub(crate) landing: bool,
    /// To be closed.
    pub(crate) is_over: bool,
    /// To be attended to at this time, if nothing else happens.
    pub(crate) at: Option<Moment>,
}

/// A connection that is driven: it is given its input, and never waits.
///
/// After each call, and before another connection has its turn, [`flush`](Self::flush) sends what the
/// handler has written.
pub(crate) trait Driven: Send {
    fn id(&self) -> u64;
    fn socket(&self) -> &Arc<Socket>;
    /// It is served at `seat` from now on.
    fn take_seat(&mut self, seat: u64);
    /// Sets the handler up.
    fn open(&mut self, turn: &mut Turn) -> Wants;
    /// Input has come in.
    fn receive(&mut self, bytes: &[u8], turn: &mut Turn) -> Wants;
    /// No more will: the peer, a drain or an error has ended it.
    fn end_input(&mut self, error: Option<io::Error>, turn: &mut Turn) -> Wants;
    /// Its peer may have read on, one of its deadlines may have passed, or somebody may have cut it
    /// off.
    fn attend(&mut self, turn: &mut Turn) -> Wants;
    /// A pause may be over.
    fn resume(&mut self, pause: u32, turn: &mut Turn) -> Wants;
    /// Sends what the handler has written, as far as there is room.
    fn flush(&mut self, turn: &mut Turn) -> Wants;
    /// Takes what the handler has written, for the kernel to send; `None` if it waits behind what is
    /// under way.
    fn take_output(&mut self, turn: &mut Turn) -> Option<Vec<u8>>;
    /// What was taken has been sent.
    fn landed(&mut self, result: io::Result<()>, turn: &mut Turn);
    /// Only a part of what was taken has been sent; this is the rest.
    fn landed_short(&mut self, rest: &[u8], turn: &mut Turn);
    fn outbox(&self) -> Option<&Outbox>;
    /// When the peer's silence ends it.
    fn idle_deadline(&self) -> Option<Moment>;
    /// How long that silence is.
    fn idle_timeout(&self) -> Option<Duration>;
    /// Whether closing it leaves nothing to wait for.
    fn closes_at_once(&self) -> bool;
    /// Closes it in good order.
    fn close(self: Box<Self>);
    /// Serves it to its end on this thread, which may wait; tells how it ended.
    fn serve(self: Box<Self>, waiter: &Waiter, has_timeouts: bool) -> EndReason;
}
