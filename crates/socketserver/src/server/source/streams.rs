//! Streams: connections, and the requests that are made of them.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use super::{Admission, Source, Taken};
use crate::address::Address;
use crate::endpoint::Endpoint;
use crate::engine::{Driven, Newcomer, Place, Work};
use crate::handler::{Make, MakeSession};
use crate::hooks::GuardedHooks;
use crate::live::Ticket;
use crate::request::{Closer, Closing, Connection, Link, Parts, Site};
use crate::server::keeper::Keeper;
use crate::server::serve::{Factory, serve};
use crate::socket::Socket;
use crate::telemetry::{EndReason, Refusal};
use crate::transport::{BoxListener, Stream};
use crate::wait::Waiter;

/// A listener of streams.
pub(in crate::server) struct StreamSource {
    endpoint: Arc<Endpoint>,
    listener: BoxListener<Stream>,
    make: Make<Connection>,
    /// What the sessions of this run share.
    site: Option<Arc<Site>>,
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
    pub(in crate::server) fn new(
        endpoint: Endpoint,
        listener: BoxListener<Stream>,
        make: Make<Connection>,
    ) -> Self {
        Self {
            endpoint: Arc::new(endpoint),
            listener,
            make,
            site: None,
            timeouts: Inherited::No,
        }
    }
}

impl StreamSource {
    /// What is to be done with an accepted connection.
    fn work(&self, admission: &Admission, socket: &Arc<Socket>, ticket: &Ticket) -> Work {
        let socket = Arc::clone(socket);
        let waiter = admission.waiter(&ticket.live);
        let has_timeouts = self.timeouts == Inherited::ByAll;
        match (&self.make, &self.site) {
            (Make::Session(make), Some(site)) => Work::Driven(Box::new(Visitor {
                make: Arc::clone(make),
                site: Arc::clone(site),
                socket,
                waiter,
                has_timeouts,
            })),
            (Make::Request(factory), _) => {
                let parts = Parts {
                    socket,
                    live: Arc::clone(&ticket.live),
                    waiter,
                    server: admission.shared.handle(),
                    flusher: Arc::clone(&admission.keeper) as _,
                    has_timeouts,
                };
                let factory = Arc::clone(factory);
                let hooks = admission.hooks.clone();
                let keeper = Arc::clone(&admission.keeper);
                let work = move |ticket: Ticket| {
                    serve_connection(parts, &factory, ticket, &hooks, &keeper)
                };
                Work::Blocking(Box::new(work))
            }
            // A run has not begun: nothing is accepted.
            (Make::Session(_), None) => Work::Blocking(Box::new(|_| EndReason::Failed)),
        }
    }
}

/// A connection that a message handler is to be made for.
struct Visitor {
    make: MakeSession,
    site: Arc<Site>,
    socket: Arc<Socket>,
    waiter: Waiter,
    has_timeouts: bool,
}

impl Newcomer for Visitor {
    fn admit(self: Box<Self>, ticket: Ticket) -> Box<dyn Driven> {
        let now = self.site.server.shared().clock.moment();
        let make = self.make;
        make(Link::new(ticket, self.socket, self.site, now))
    }

    fn waiter(&self) -> (Waiter, bool) {
        (self.waiter.clone(), self.has_timeouts)
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
        self.site = Some(Arc::new(Site {
            server: admission.shared.handle(),
            hooks: admission.hooks.clone(),
            closer: Arc::clone(&admission.keeper) as _,
        }));
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
        let work = self.work(admission, &socket, &ticket);
        Ok(Taken::Task(admission.task(ticket, Some(socket), work)))
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
