//! A chat room in a few lines: `cargo run -p socketserver --example chat`, then `nc 127.0.0.1 9999`.

use std::io;

use socketserver::{Broadcast, Connection, Error, RequestHandler, ThreadingTcpServer};

struct Chat {
    room: Broadcast,
}

impl RequestHandler for Chat {
    fn handle(&mut self, connection: &mut Connection) -> io::Result<()> {
        let name = connection.peer().to_string();
        let _membership = self.room.join(connection.outbox()?)?; // it leaves when this is dropped
        for line in connection.reader().lines() {
            match line?.as_slice() {
                b"quit" => break,
                text => {
                    let text = String::from_utf8_lossy(text);
                    self.room.send(format!("{name} {text}\n").into_bytes());
                }
            }
        }
        Ok(())
    }
}

fn main() -> Result<(), Error> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:9999".to_owned());
    let room = Broadcast::new();
    let mut server = ThreadingTcpServer::bind(address, move || Chat { room: room.clone() })?;
    println!("listening on {}", server.local_address());
    server.serve_forever().map(drop)
}
