//! Answers each line in capitals, on the engine that is named: `cargo run -p socketserver --example
//! shout -- pool`.

use std::io::{self, Write};

use socketserver::{
    BlockingEngine, Builder, Connection, Error, Forking, Pool, Sequential, Tcp, Threading,
    handler_fn,
};

fn shout(connection: &mut Connection) -> io::Result<()> {
    let (reader, mut writer) = connection.split();
    for line in reader.lines() {
        let mut line = line?.to_ascii_uppercase();
        line.push(b'\n');
        writer.write_all(&line)?;
    }
    Ok(())
}

fn main() -> Result<(), Error> {
    let engine: Box<dyn BlockingEngine> = match std::env::args().nth(1).as_deref() {
        Some("forking") => Box::new(Forking::default()),
        Some("pool") => Box::new(Pool::new(8)),
        Some("sequential") => Box::new(Sequential),
        _ => Box::new(Threading::default()),
    };
    let address = std::env::args()
        .nth(2)
        .unwrap_or_else(|| "127.0.0.1:9999".to_owned());
    let mut server = Builder::new(Tcp::default(), engine).bind(address, handler_fn(shout))?;
    println!("listening on {}", server.local_address());
    server.serve_forever().map(drop)
}
