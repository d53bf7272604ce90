//! An echo server in a few lines: `cargo run -p socketserver --example echo`.

use std::io;

use socketserver::{Connection, Error, RequestHandler, ThreadingTcpServer};

struct Echo;

impl RequestHandler for Echo {
    fn handle(&mut self, connection: &mut Connection) -> io::Result<()> {
        let (mut reader, mut writer) = connection.split();
        io::copy(&mut reader, &mut writer).map(drop)
    }
}

fn main() -> Result<(), Error> {
    ThreadingTcpServer::bind("127.0.0.1:9999", || Echo)?
        .serve_forever()
        .map(drop)
}
