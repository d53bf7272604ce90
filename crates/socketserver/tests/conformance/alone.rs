//! Checks that count what a process has, and so need one of their own: `--alone NAME`.

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};

use socketserver::{Connection, Error, TcpServer, handler_fn};

use crate::Outcome;
use crate::facts::Facts;
use crate::serve::descriptors;

/// What makes this binary such a process.
pub(crate) const FLAG: &str = "--alone";

pub(crate) fn main(mut words: impl Iterator<Item = String>) -> Outcome {
    let name = words.next().unwrap_or_default();
    let facts = match name.as_str() {
        "bind-leak" => bind_leak()?,
        "scope" => scope()?,
        _ => return Err(format!("no check: '{name}'").into()),
    };
    println!("found {facts}");
    Ok(())
}

/// Binds where it cannot, over and over.
fn bind_leak() -> Outcome<Facts> {
    let other = TcpListener::bind("127.0.0.1:0")?;
    let taken = other.local_addr()?.to_string();
    let mut facts = Facts::default();
    facts.add("before", descriptors());
    for _ in 0..1024 {
        for (address, kind) in [
            ("127.0.0.1:-1", ErrorKind::InvalidInput),
            ("192.0.2.1:0", ErrorKind::AddrNotAvailable),
            (&taken, ErrorKind::AddrInUse),
        ] {
            match TcpServer::bind(address, handler_fn(|_: &mut Connection| Ok(()))) {
                Err(Error::Bind { source, .. }) if source.kind() == kind => facts.add("failed", 1),
                Err(error) => return Err(error.into()),
                Ok(_) => return Err(format!("{address} could be bound").into()),
            }
        }
    }
    facts.add("after", descriptors());
    Ok(facts)
}

/// Makes a server that goes out of scope.
fn scope() -> Outcome<Facts> {
    let mut facts = Facts::default();
    facts.add("before", descriptors());
    let address = {
        let server = TcpServer::bind("127.0.0.1:0", handler_fn(|_: &mut Connection| Ok(())))?;
        facts.add("within", descriptors());
        server.local_address().inet().ok_or("no internet address")?
    };
    facts.add("after", descriptors());
    facts.add("connects", u64::from(TcpStream::connect(address).is_ok()));
    Ok(facts)
}
