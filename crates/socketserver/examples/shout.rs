//! Answers every line in capitals, on any engine: `cargo run -p socketserver --example shout`, then
//! `nc 127.0.0.1 9999`; the line `quit` ends the connection.

use std::io;

use socketserver::codec::{Line, Lines};
use socketserver::{
    Builder, Engine, Error, Forking, MessageHandler, Next, Peer, Pool, Reactor, Sequential, Tcp,
    Threading,
};

struct Shout;

impl MessageHandler for Shout {
    type Codec = Lines;

    fn handle(&mut self, line: Line<'_>, peer: &mut Peer<'_>) -> io::Result<Next> {
        if line.text() == b"quit" {
            return Ok(Next::Close);
        }
        peer.write(&line.raw().to_ascii_uppercase())?;
        Ok(Next::Continue)
    }
}

fn engine(name: &str) -> Box<dyn Engine> {
    match name {
        "sequential" => Box::new(Sequential),
        "threading" => Box::new(Threading::default()),
        "forking" => Box::new(Forking::default()),
        "pool" => Box::new(Pool::default()),
        _ => Box::new(Reactor::default()),
    }
}

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let address = arguments.next();
    let address = address.unwrap_or_else(|| "127.0.0.1:9999".to_owned());
    let mut server = Builder::new(Tcp::default(), engine(&name)).bind(address, || Shout)?;
    println!("listening on {}", server.local_address());
    server.serve_forever().map(drop)
}
