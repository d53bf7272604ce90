//! A server of messages: it answers every line in capitals, on event loops.
//!
//! Try it with `nc 127.0.0.1 9999`; the line `quit` ends the connection.

use std::io;

use socketserver::codec::{Line, Lines};
use socketserver::{Error, MessageHandler, Next, Peer, ReactorTcpServer};

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

fn main() -> Result<(), Error> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:9999".into());
    let mut server = ReactorTcpServer::bind(&address, || Shout)?;
    println!("listening on {}", server.endpoints()[0]);
    server.serve_forever().map(drop)
}
