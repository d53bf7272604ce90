//! Adding listeners to a server: where the types of transport and handler are erased.

use std::io;

use super::source::{PacketSource, Source, StreamSource};
use crate::endpoint::Endpoint;
use crate::handler::{Factory, Make};
use crate::request::{Accepted, Connection, Datagram};
use crate::transport::{BoxListener, Packet, Stream, Transport};

/// The request that a handler of transport `T` sees: [`Connection`] or [`Datagram`].
pub type RequestOf<T> = <<T as Transport>::Accepted as Accepted>::Request;

/// What a server can make requests of: [`Stream`] and [`Packet`].
pub trait Served: Accepted + sealed::Sealed {}

impl Served for Stream {}
impl Served for Packet {}

pub(super) mod sealed {
    use super::{Accepted, BoxListener, Connection, Datagram, Endpoint, Factory, Make};
    use super::{Packet, PacketSource, Source, Stream, StreamSource};

    pub trait Sealed: Accepted {
        #[doc(hidden)]
        #[expect(private_interfaces, reason = "the trait is sealed")]
        fn source(
            endpoint: Endpoint,
            listener: BoxListener<Self>,
            factory: Factory<Self::Request>,
        ) -> Box<dyn Source>;
    }

    impl Sealed for Stream {
        #[expect(private_interfaces, reason = "the trait is sealed")]
        fn source(
            endpoint: Endpoint,
            listener: BoxListener<Self>,
            factory: Factory<Connection>,
        ) -> Box<dyn Source> {
            Box::new(StreamSource::new(endpoint, listener, factory.0))
        }
    }

    impl Sealed for Packet {
        #[expect(private_interfaces, reason = "the trait is sealed")]
        fn source(
            endpoint: Endpoint,
            listener: BoxListener<Self>,
            factory: Factory<Datagram>,
        ) -> Box<dyn Source> {
            match factory.0 {
                Make::Request(factory) => Box::new(PacketSource::new(endpoint, listener, factory)),
                Make::Session(_) => unreachable!("a datagram is no stream of messages"),
            }
        }
    }
}

/// Binds the first of `addresses` that can be bound.
pub(super) fn bind_first<T: Transport>(
    transport: &T,
    addresses: &[crate::Address],
) -> Result<BoxListener<T::Accepted>, (String, io::Error)> {
    let mut failed = ("no address".to_owned(), io::ErrorKind::InvalidInput.into());
    for address in addresses {
        match transport.bind(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => {
                let endpoint = Endpoint::new(transport.scheme(address), address.clone());
                failed = (endpoint.to_string(), error);
            }
        }
    }
    Err(failed)
}
