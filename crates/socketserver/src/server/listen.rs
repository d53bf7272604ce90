//! Adding listeners to a server: where the types of transport and handler are erased.

use std::io;
use std::sync::Arc;

use super::serve::Factory;
use super::source::{PacketSource, Source, StreamSource};
use crate::endpoint::Endpoint;
use crate::request::{Accepted, Connection, Datagram};
use crate::transport::{BoxListener, Packet, Stream, Transport};

/// The request that a handler of transport `T` sees: [`Connection`] or [`Datagram`].
pub type RequestOf<T> = <<T as Transport>::Accepted as Accepted>::Request;

/// What a server can make requests of: [`Stream`] and [`Packet`].
pub trait Served: Accepted + sealed::Sealed {}

impl Served for Stream {}
impl Served for Packet {}

pub(super) mod sealed {
    use super::{Accepted, BoxListener, Connection, Datagram, Endpoint, Factory};
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
            Box::new(StreamSource::new(endpoint, listener, factory))
        }
    }

    impl Sealed for Packet {
        #[expect(private_interfaces, reason = "the trait is sealed")]
        fn source(
            endpoint: Endpoint,
            listener: BoxListener<Self>,
            factory: Factory<Datagram>,
        ) -> Box<dyn Source> {
            Box::new(PacketSource::new(endpoint, listener, factory))
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

/// Erases the type of the handlers that `factory` makes.
pub(super) fn erase<R, F, H, K>(factory: F) -> Factory<R>
where
    F: Fn() -> H + Send + Sync + 'static,
    H: crate::handler::Handler<R, K>,
    R: 'static,
{
    Arc::new(move || factory().erase())
}
