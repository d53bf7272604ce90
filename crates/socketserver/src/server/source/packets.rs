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
use crate::live::{DatagramBatch, Ticket};
use crate::request::{Datagram, DroppedReplies, Replies};
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
    /// Where their replies wait.
    replies: Replies,
    /// What becomes of them.
    batch: DatagramBatch,
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
            replies: Replies::nobodys(),
            batch: DatagramBatch::default(),
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
        let server = shared.handle();
        if let Some(datagram) = &mut self.datagram {
            datagram.set_server(server.clone());
        }
        let at_most = at_most.min(self.waiting.len());
        self.batch.open(&shared.registry, at_most);
        self.replies.exchange();
        let is_draining = admission.keeper.is_draining();
        let mut count = 0;
        let mut last = None;
        while count < at_most
            && let Some((packet, peer)) = self.waiting.pop_front()
        {
            count += 1;
            last = Some(self.serve_one(admission, &server, packet, peer));
            // The rest was in the queue when the server was stopped: the drain serves it, if there is
            // one, or else the next run.
            if shared.is_stopping() && (!is_draining || shared.is_aborting()) {
                break;
            }
        }
        self.end_batch(admission);
        (count, last)
    }

    fn serve_one(
        &mut self,
        admission: &Admission,
        server: &ServerHandle,
        packet: Packet,
        peer: Address,
    ) -> Handled {
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
            none => none.insert(Datagram::in_batch(packet, server.clone())),
        };
        datagram.begin(self.batch.begin(registry, &peer), &peer);
        let reason = serve(&self.factory, datagram, &peer, &admission.hooks);
        let bytes = datagram.bytes();
        self.batch.handled(registry, peer, reason, bytes);
        Handled::Served
    }

    /// Sends the replies of a batch, and tells of each datagram that it has ended.
    fn end_batch(&mut self, admission: &Admission) {
        let registry = &admission.shared.registry;
        self.replies.exchange();
        self.replies.send();
        for DroppedReplies { nth, count, bytes } in self.replies.take_dropped() {
            self.batch.dropped(registry, nth, count, bytes);
        }
        self.batch.close(registry);
    }
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
