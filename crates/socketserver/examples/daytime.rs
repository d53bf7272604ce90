//! Tells the time to whoever sends a datagram: `cargo run -p socketserver --example daytime`.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use socketserver::{Datagram, Error, UdpServer, handler_fn};

fn daytime(datagram: &mut Datagram) -> io::Result<()> {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(io::Error::other)?;
    datagram.reply(format!("{} seconds since 1970\n", since.as_secs()).as_bytes())
}

fn main() -> Result<(), Error> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:9999".to_owned());
    let mut server = UdpServer::bind(address, handler_fn(daytime))?;
    println!("listening on {}", server.local_address());
    server.serve_forever().map(drop)
}
