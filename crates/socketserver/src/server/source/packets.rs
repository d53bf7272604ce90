//! Datagrams: each is a request of its own.
//!
//! An engine that is no event loop is given a task for each.
//! On an event loop a handler of datagrams, which never waits, runs here: many datagrams are received
//! by one system call, served one after another, and answered by one more.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use super::{Admission, Batch, Source, Taken};
use crate::address::Address;
use crate::control::ServerHandle;
use crate::endpoint::Endpoint;
use crate::engine::{Place, Work};
use crate::live::{HandledDatagram, Ticket};
use crate::request::Datagram;
use crate::server::Handled;
use crate::server::serve::{Factory, serve};
use crate::telemetry::{Event, Refusal};
use crate::transport::{BoxListener, Packet};
use crate::wait::Interrupt;

/// A bound datagram socket.
pub(in crate::server) struct PacketSource {
    endpoint: Arc<Endpoint>,
    listener: BoxListener<Packet>,
    factory: Factory<Datagram>,
    /// Those that were received and wait to be served; a shutdown may leave some to its drain.
    waiting: VecDeque<(Packet, Address)>,
    /// What those of a batch are served with, one after another.
    datagram: Option<Datagram>,
    /// Those of the batch whose handlers are done.
    handled: Vec<HandledDatagram>,
}

impl PacketSource {
    pub(in crate::server) fn new(
        endpoint: Endpoint,
        listener: BoxListener<Packet>,
        factory: Factory<Datagram>,
    ) -> Self {
        Self {
            endpoint: Arc::new(endpoint),
            listener,
            factory,
            waiting: VecDeque::new(),
            datagram: None,
            handled: Vec::new(),
        }
    }

    /// The next one, with its peer.
    fn next(&mut self) -> io::Result<(Packet, Address)> {
        match self.waiting.pop_front() {
            Some(next) => Ok(next),
            None => self.listener.accept(),
        }
    }

    /// Serves those that wait, at most so many, up to one that stops the server; tells how many.
    fn serve_waiting(&mut self, admission: &Admission, at_most: usize) -> (usize, Option<Handled>) {
        let shared = &admission.shared;
        let batch = BatchRun {
            admission,
            server: shared.handle(),
            is_observed: shared.registry.is_observed(),
        };
        if let Some(datagram) = &mut self.datagram {
            datagram.set_server(batch.server.clone());
        }
        let is_draining = admission.keeper.is_draining();
        let mut count = 0;
        let mut last = None;
        while count < at_most
            && let Some((packet, peer)) = self.waiting.pop_front()
        {
            count += 1;
            last = Some(self.serve_one(&batch, packet, peer));
            // The rest was in the queue when the server was stopped: the drain serves it, if there is
            // one, or else the next run.
            if shared.is_stopping() && (!is_draining || shared.is_aborting()) {
                break;
            }
        }
        self.end_batch(admission);
        (count, last)
    }

    fn serve_one(&mut self, batch: &BatchRun<'_>, packet: Packet, peer: Address) -> Handled {
        let BatchRun {
            admission,
            ref server,
            is_observed,
        } = *batch;
        let registry = &admission.shared.registry;
        let refusal = refusal(&packet, &peer, admission, server)
            .or_else(|| (!registry.admits(&peer)).then_some(Refusal::PerAddress));
        if let Some(reason) = refusal {
            self.listener.take_back(packet);
            let peer = &peer;
            let telemetry = &admission.shared.telemetry;
            telemetry.emit(&Event::Refused { peer, reason });
            return Handled::Refused(reason);
        }
        let datagram = match &mut self.datagram {
            Some(datagram) => {
                self.listener.take_back(datagram.follow(packet));
                datagram
            }
            none => {
                let live = registry.unseated(&self.endpoint);
                none.insert(Datagram::in_batches(packet, live, server.clone()))
            }
        };
        registry.begin_datagram(datagram.live(), &peer, is_observed);
        datagram.begin(self.handled.len());
        let reason = serve(&self.factory, datagram, &peer, &admission.hooks);
        let handled = registry.handled(datagram.live(), peer, reason, is_observed);
        self.handled.push(handled);
        Handled::Served
    }

    /// Sends the replies of a batch, and tells of each datagram that it has ended.
    fn end_batch(&mut self, admission: &Admission) {
        let (registry, telemetry) = (&admission.shared.registry, &admission.shared.telemetry);
        let dropped = self.datagram.as_mut().map(Datagram::end_batch);
        for dropped in dropped.into_iter().flatten() {
            let handled = &mut self.handled[dropped.nth];
            handled.bytes_out = handled.bytes_out.saturating_sub(dropped.bytes);
            let peer = &handled.peer;
            for _ in 0..dropped.count {
                telemetry.emit(&Event::ReplyDropped { peer });
            }
        }
        registry.end_datagrams(&self.handled);
        self.handled.clear();
    }
}

/// What is the same for all of a batch.
struct BatchRun<'a> {
    admission: &'a Admission,
    server: ServerHandle,
    is_observed: bool,
}

/// Why a datagram is refused whoever else is served.
fn refusal(
    packet: &Packet,
    peer: &Address,
    admission: &Admission,
    server: &ServerHandle,
) -> Option<Refusal> {
    if packet.length > packet.payload.len() {
        return Some(Refusal::Oversize);
    }
    (admission.hooks.verify_request_of(peer, server) == crate::Verdict::Refuse)
        .then_some(Refusal::Verify)
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

    fn begin_run(&mut self, admission: &Admission) {
        // What an abort has left behind is in no queue that would wake the loop.
        if admission.place == Place::Loop
            && !self.waiting.is_empty()
            && admission.shared.registry.has_room()
        {
            self.serve_waiting(admission, usize::MAX);
        }
    }

    fn is_listening(&self) -> bool {
        // A child answers by the socket that it came in by.
        false
    }

    fn accept(&mut self, admission: &Admission) -> io::Result<Taken> {
        let (packet, peer) = self.next()?;
        let server = admission.shared.handle();
        if let Some(reason) = refusal(&packet, &peer, admission, &server) {
            return Ok(Taken::Refused(peer, reason));
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
        let work = move |mut ticket: Ticket| {
            let mut datagram = Datagram::new(packet, Arc::clone(&ticket.live), server);
            let peer = ticket.live.peer.clone();
            ticket.outcome = serve(&factory, &mut datagram, &peer, &hooks);
            ticket.reason()
        };
        Ok(Taken::Task(admission.task(
            ticket,
            None,
            Work::Blocking(Box::new(work)),
        )))
    }

    fn serve_batch(&mut self, admission: &Admission, at_most: usize) -> io::Result<Option<Batch>> {
        if admission.place != Place::Loop {
            return Ok(None);
        }
        let mut goes_on = true;
        if self.waiting.is_empty() {
            goes_on = self.listener.accept_many(at_most, &mut self.waiting)?;
        }
        let (count, last) = self.serve_waiting(admission, at_most);
        Ok(Some(Batch {
            // A listener that wraps another may have kept what there was for itself.
            count: count.max(1),
            goes_on,
            last,
        }))
    }

    fn refuse(&mut self) -> io::Result<Address> {
        self.next().map(|(_, peer)| peer)
    }
}
