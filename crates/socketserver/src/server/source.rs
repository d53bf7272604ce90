//! Sources: a listener, and how its requests become tasks.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use socketserver_sys::gauges::{Gauges, GaugesCell, SharedGauges};

use super::child::ChildInterrupt;
use super::keeper::Keeper;
use super::serve::{Factory, GuardedHooks, serve};
use crate::address::Address;
use crate::control::Shared;
use crate::endpoint::Endpoint;
use crate::engine::{Place, Task};
use crate::live::{Live, Ticket};
use crate::request::{Closing, Connection, Datagram, Parts};
use crate::socket::Socket;
use crate::telemetry::{EndReason, Refusal};
use crate::transport::{BoxListener, Packet, Stream};
use crate::wait::{Interrupt, Polled, Waiter};

/// A listener of any kind, as the loop sees it.
pub(super) trait Source: Send {
    fn endpoint(&self) -> &Arc<Endpoint>;
    fn fd(&self) -> BorrowedFd<'_>;
    /// Lets nobody new into the queue, or again.
    fn pause(&mut self, pauses: bool);
    /// Lets nobody new into the queue, for good.
    fn retire(&mut self);
    /// Whether the queue is ours to turn away.
    fn owns_queue(&self) -> bool;
    /// Tells the timeouts to the listener.
    fn begin_run(&mut self, admission: &Admission);
    /// Whether a forked child must let go of it.
    fn is_listening(&self) -> bool;
    /// Takes the next request.
    fn accept(&mut self, admission: &Admission) -> io::Result<Taken>;
    /// Takes the next request and refuses it.
    fn refuse(&mut self) -> io::Result<Address>;
}

/// What came of an accept.
pub(super) enum Taken {
    Task(Task),
    Refused(Address, Refusal),
}

/// What a source needs to make a task.
pub(super) struct Admission {
    pub(super) shared: Arc<Shared>,
    pub(super) keeper: Arc<Keeper>,
    pub(super) hooks: GuardedHooks,
    pub(super) place: Place,
    /// What a forked child sees the drain by.
    pub(super) drain_pipe: Option<Arc<OwnedFd>>,
    pub(super) close_in_child: Arc<[RawFd]>,
}

impl Admission {
    /// How the socket of a request waits.
    fn waiter(&self, live: &Arc<Live>) -> Waiter {
        let clock = self.shared.clock.clone();
        let interrupt: Option<Arc<dyn Interrupt>> = match (self.place, &self.drain_pipe) {
            (Place::Caller, _) => Some(Arc::clone(&self.keeper) as Arc<dyn Interrupt>),
            (Place::Process, Some(pipe)) => Some(Arc::new(ChildInterrupt::new(
                Arc::clone(pipe),
                Arc::clone(live),
            ))),
            _ if clock.is_manual() => None,
            _ => return Waiter::Blocking,
        };
        Waiter::Polled(Polled { clock, interrupt })
    }

    /// Where a request's numbers are kept: a child's in memory that it shares with us.
    fn gauges(&self) -> GaugesCell {
        if self.place == Place::Process
            && let Ok(shared) = SharedGauges::new()
        {
            return GaugesCell::Shared(shared);
        }
        // Without memory for a page they stay unknown, which is no reason to refuse the request.
        GaugesCell::Own(Gauges::default())
    }

    fn task(&self, ticket: Ticket, socket: Option<Arc<Socket>>, work: crate::engine::Work) -> Task {
        Task {
            ticket,
            work,
            socket,
            idle_timeout: self.shared.limits.idle_timeout,
            clock: self.shared.clock.clone(),
            close_in_child: Arc::clone(&self.close_in_child),
        }
    }
}

/// Streams.
pub(super) struct StreamSource {
    endpoint: Arc<Endpoint>,
    listener: BoxListener<Stream>,
    factory: Factory<Connection>,
    /// Whether accepted sockets have their timeouts from the listener.
    timeouts: Inherited,
}

/// Who has the timeouts that were set on a listener: not who was in its queue at that time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Inherited {
    No,
    ByThoseToCome,
    ByAll,
}

fn is_empty(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

impl StreamSource {
    pub(super) fn new(
        endpoint: Endpoint,
        listener: BoxListener<Stream>,
        factory: Factory<Connection>,
    ) -> Self {
        Self {
            endpoint: Arc::new(endpoint),
            listener,
            factory,
            timeouts: Inherited::No,
        }
    }
}

impl Source for StreamSource {
    fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    fn pause(&mut self, pauses: bool) {
        if pauses {
            self.listener.pause();
        } else {
            self.listener.resume();
        }
    }

    fn owns_queue(&self) -> bool {
        !self.listener.is_shared()
    }

    fn retire(&mut self) {
        self.listener.retire();
    }

    fn begin_run(&mut self, admission: &Admission) {
        let limits = &admission.shared.limits;
        let is_blocking = admission.place == Place::Thread && !admission.shared.clock.is_manual();
        let inherits = is_blocking
            && self
                .listener
                .set_timeouts(limits.idle_timeout, limits.write_timeout);
        self.timeouts = if inherits {
            Inherited::ByThoseToCome
        } else {
            Inherited::No
        };
    }

    fn is_listening(&self) -> bool {
        true
    }

    fn accept(&mut self, admission: &Admission) -> io::Result<Taken> {
        let accepted = self.listener.accept();
        if self.timeouts == Inherited::ByThoseToCome && accepted.as_ref().is_err_and(is_empty) {
            self.timeouts = Inherited::ByAll;
        }
        let (stream, peer) = accepted?;
        if admission.hooks.verify_request(&peer) == crate::Verdict::Refuse {
            stream.socket.turn_away();
            return Ok(Taken::Refused(peer, Refusal::Verify));
        }
        let socket = Arc::new(stream.socket);
        let registry = &admission.shared.registry;
        let ticket = match registry.admit(&self.endpoint, peer, Some(&socket), admission.gauges()) {
            Ok(ticket) => ticket,
            Err((peer, reason)) => {
                socket.turn_away();
                return Ok(Taken::Refused(peer, reason));
            }
        };
        let parts = Parts {
            socket: Arc::clone(&socket),
            live: Arc::clone(&ticket.live),
            waiter: admission.waiter(&ticket.live),
            server: admission.shared.handle(),
            flusher: Arc::clone(&admission.keeper) as _,
            has_timeouts: self.timeouts == Inherited::ByAll,
        };
        let factory = Arc::clone(&self.factory);
        let hooks = admission.hooks.clone();
        let keeper = Arc::clone(&admission.keeper);
        let work = move |ticket: Ticket| serve_connection(parts, &factory, ticket, &hooks, &keeper);
        Ok(Taken::Task(admission.task(
            ticket,
            Some(socket),
            Box::new(work),
        )))
    }

    fn refuse(&mut self) -> io::Result<Address> {
        let (stream, peer) = self.listener.accept()?;
        stream.socket.turn_away();
        Ok(peer)
    }
}

/// Serves a connection to its end, and sees to its closing.
fn serve_connection(
    parts: Parts,
    factory: &Factory<Connection>,
    mut ticket: Ticket,
    hooks: &GuardedHooks,
    keeper: &Keeper,
) -> EndReason {
    let waiter = parts.waiter.clone();
    let mut connection = Connection::new(parts);
    let peer = ticket.live.peer.clone();
    ticket.outcome = serve(factory, &mut connection, &peer, hooks);
    if !socketserver_sys::fork::in_child() {
        let outcome = ticket.outcome;
        keeper.close(connection.close(ticket));
        return outcome;
    }
    let reason = ticket.reason();
    let limits = connection.server().limits().clone();
    let closing: Closing = connection.close(ticket);
    if let Waiter::Polled(polled) = &waiter {
        closing.finish_here(polled, &limits);
    }
    reason
}

/// Datagrams.
pub(super) struct PacketSource {
    endpoint: Arc<Endpoint>,
    listener: BoxListener<Packet>,
    factory: Factory<Datagram>,
}

impl PacketSource {
    pub(super) fn new(
        endpoint: Endpoint,
        listener: BoxListener<Packet>,
        factory: Factory<Datagram>,
    ) -> Self {
        Self {
            endpoint: Arc::new(endpoint),
            listener,
            factory,
        }
    }
}

impl Source for PacketSource {
    fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    fn pause(&mut self, pauses: bool) {
        if pauses {
            self.listener.pause();
        } else {
            self.listener.resume();
        }
    }

    fn owns_queue(&self) -> bool {
        // What is in it is read by whoever comes first, and asks for no end.
        false
    }

    fn retire(&mut self) {
        self.listener.retire();
    }

    fn begin_run(&mut self, _admission: &Admission) {}

    fn is_listening(&self) -> bool {
        // A child answers by the socket that it came in by.
        false
    }

    fn accept(&mut self, admission: &Admission) -> io::Result<Taken> {
        let (packet, peer) = self.listener.accept()?;
        if packet.length > packet.payload.len() {
            return Ok(Taken::Refused(peer, Refusal::Oversize));
        }
        if admission.hooks.verify_request(&peer) == crate::Verdict::Refuse {
            return Ok(Taken::Refused(peer, Refusal::Verify));
        }
        let ticket =
            match admission
                .shared
                .registry
                .admit(&self.endpoint, peer, None, admission.gauges())
            {
                Ok(ticket) => ticket,
                Err((peer, reason)) => return Ok(Taken::Refused(peer, reason)),
            };
        let factory = Arc::clone(&self.factory);
        let hooks = admission.hooks.clone();
        let server = admission.shared.handle();
        let work = move |mut ticket: Ticket| {
            let mut datagram = Datagram::new(packet, Arc::clone(&ticket.live), server);
            let peer = ticket.live.peer.clone();
            ticket.outcome = serve(&factory, &mut datagram, &peer, &hooks);
            ticket.reason()
        };
        Ok(Taken::Task(admission.task(ticket, None, Box::new(work))))
    }

    fn refuse(&mut self) -> io::Result<Address> {
        self.listener.accept().map(|(_, peer)| peer)
    }
}

/// The raw numbers of the descriptors that a forked child must let go of.
pub(super) fn listening_fds<'a>(sources: impl Iterator<Item = &'a Box<dyn Source>>) -> Vec<RawFd> {
    let listening = sources.filter(|source| source.is_listening());
    listening.map(|source| source.fd().as_raw_fd()).collect()
}

/// How long accepting pauses for want of a resource: a tenth of a second, doubled up to a whole one.
pub(super) fn back_off(pauses: u32) -> Duration {
    Duration::from_millis(100 << pauses.min(4)).min(Duration::from_secs(1))
}
