//! The bare loop: a thread for each connection, with nothing but the standard library.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::failure::{Doing, Result};

const BUFFER_BYTES: usize = 16 * 1024;

/// Listens on a port of its own and serves until the process is ended.
pub(crate) fn run(nodelay: bool) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").doing(|| "bind 127.0.0.1:0".into())?;
    let address = listener
        .local_addr()
        .doing(|| "tell the bound address".into())?;
    println!("listening on tcp://{address}");
    serve(listener.incoming(), nodelay);
    Ok(())
}

/// Echoes on every connection that comes, each on a thread of its own.
pub(crate) fn serve(connections: impl Iterator<Item = io::Result<TcpStream>>, nodelay: bool) {
    for connection in connections {
        let served = connection.and_then(|connection| {
            if nodelay {
                connection.set_nodelay(true)?;
            }
            thread::Builder::new().spawn(move || echo(connection))
        });
        if served.is_err() {
            // Out of descriptors or threads: a moment's rest instead of a busy loop.
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Sends back what comes until the client closes.
fn echo(mut connection: TcpStream) -> io::Result<()> {
    let mut buffer = [0; BUFFER_BYTES];
    loop {
        let bytes = connection.read(&mut buffer)?;
        if bytes == 0 {
            return Ok(());
        }
        connection.write_all(&buffer[..bytes])?;
    }
}
