//! What a server hands to `tracing`.

use std::fmt::Write as _;
use std::io;
use std::net::UdpSocket;
use std::sync::{Arc, Mutex};

use socketserver::{Datagram, UdpServer, handler_fn};
use tracing::field::{Field, Visit};
use tracing::{Level, Metadata, Subscriber, span};

/// Writes down the level and the message of every trace.
#[derive(Clone, Default)]
struct Traces(Arc<Mutex<Vec<(Level, String)>>>);

impl Visit for Traces {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message"
            && let Some((_, text)) = self.0.lock().unwrap().last_mut()
        {
            let _ = write!(text, "{value:?}");
        }
    }
}

impl Subscriber for Traces {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let level = *event.metadata().level();
        self.0.lock().unwrap().push((level, String::new()));
        event.record(&mut self.clone());
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[test]
fn events_are_traced_at_the_level_that_they_deserve() {
    let traces = Traces::default();
    let reply = |datagram: &mut Datagram| {
        datagram.server().shutdown();
        Err(io::Error::other("as it was told"))
    };
    let mut server = UdpServer::bind("127.0.0.1:0", handler_fn(reply)).unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = server.local_address().inet().unwrap();
    client.send_to(b"x", address).unwrap();
    tracing::subscriber::with_default(traces.clone(), || server.serve_forever()).unwrap();
    let told = traces.0.lock().unwrap().clone();
    let wanted = [
        (Level::DEBUG, "started".to_owned()),
        (Level::WARN, "failed".to_owned()),
        (Level::DEBUG, "ended".to_owned()),
    ];
    assert_eq!(told, wanted);
}
