//! Datagrams: each is a request of its own.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use super::{Admission, Source, Taken};
use crate::address::Address;
use crate::endpoint::Endpoint;
use crate::engine::Work;
use crate::live::Ticket;
use crate::request::Datagram;
use crate::server::serve::{Factory, serve};
use crate::telemetry::Refusal;
use crate::transport::{BoxListener, Packet};

/// A bound datagram socket.
pub(in crate::server) struct PacketSource {
    endpoint: Arc<Endpoint>,
    listener: BoxListener<Packet>,
    factory: Factory<Datagram>,
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
        Ok(Taken::Task(admission.task(
            ticket,
            None,
            Work::Blocking(Box::new(work)),
        )))
    }

    fn refuse(&mut self) -> io::Result<Address> {
        self.listener.accept().map(|(_, peer)| peer)
    }
}
