//! The bare loop: a thread for each connection, with nothing but the standard library.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use clap::ValueEnum;

use crate::failure::{Doing, Result};

const BUFFER_BYTES: usize = 16 * 1024;
/// The buffer of a connection that has filled its first one.
const LARGE_BYTES: usize = 256 * 1024;
const DATAGRAM_BYTES: usize = 2048;

/// What it does with what it receives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Work {
    /// Sends each datagram back.
    Datagrams,
    /// Sends back what is read.
    #[default]
    Echo,
    /// Sends each line to everybody.
    Fanout,
    /// Sends each line back.
    Lines,
}

/// The members of a fan-out, by their numbers.
type Members = Arc<Mutex<Vec<(u64, TcpStream)>>>;

/// Listens on a port of its own and serves until the process is ended.
pub(crate) fn run(work: Work) -> Result<()> {
    if work == Work::Datagrams {
        return datagrams().doing(|| "serve datagrams".into());
    }
    let listener = TcpListener::bind("127.0.0.1:0").doing(|| "bind 127.0.0.1:0".into())?;
    let address = listener
        .local_addr()
        .doing(|| "tell the bound address".into())?;
    println!("listening on tcp://{address}");
    serve(listener.incoming(), work);
    Ok(())
}

/// Serves every connection that comes, each on a thread of its own.
pub(crate) fn serve(connections: impl Iterator<Item = io::Result<TcpStream>>, work: Work) {
    let members = Members::default();
    for (number, connection) in (0..).zip(connections) {
        let served = connection.and_then(|connection| {
            connection.set_nodelay(true)?;
            let members = Arc::clone(&members);
            thread::Builder::new().spawn(move || match work {
                Work::Datagrams | Work::Echo => echo(connection),
                Work::Fanout => member(connection, number, &members),
                Work::Lines => lines(connection, Write::write_all),
            })
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
        if bytes == BUFFER_BYTES {
            return echo_bulk(connection);
        }
    }
}

/// The same with a buffer that would be too large for every connection.
fn echo_bulk(mut connection: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; LARGE_BYTES];
    loop {
        let bytes = connection.read(&mut buffer)?;
        if bytes == 0 {
            return Ok(());
        }
        connection.write_all(&buffer[..bytes])?;
    }
}

/// Cuts what comes into lines and hands on those of each read at once.
fn lines(
    mut stream: TcpStream,
    mut on_lines: impl FnMut(&mut TcpStream, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut input = vec![0; BUFFER_BYTES];
    let mut filled = 0;
    let mut output = Vec::with_capacity(BUFFER_BYTES);
    loop {
        if filled == input.len() {
            input.resize(2 * filled, 0);
        }
        let bytes = stream.read(&mut input[filled..])?;
        if bytes == 0 {
            return Ok(());
        }
        filled += bytes;
        for line in input[..filled].split_inclusive(|&byte| byte == b'\n') {
            if line.ends_with(b"\n") {
                output.extend_from_slice(line);
            }
        }
        if !output.is_empty() {
            on_lines(&mut stream, &output)?;
            input.copy_within(output.len()..filled, 0);
            filled -= output.len();
            output.clear();
        }
    }
}

/// A member writes to all others itself, the lines of a read at once.
fn member(stream: TcpStream, number: u64, members: &Members) -> io::Result<()> {
    let locked = || members.lock().unwrap_or_else(PoisonError::into_inner);
    locked().push((number, stream.try_clone()?));
    let ended = lines(stream, |_, lines| {
        locked().retain_mut(|(_, member)| member.write_all(lines).is_ok());
        Ok(())
    });
    locked().retain(|(other, _)| *other != number);
    ended
}

fn datagrams() -> io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    println!("listening on udp://{}", socket.local_addr()?);
    let mut buffer = [0; DATAGRAM_BYTES];
    loop {
        let (bytes, peer) = socket.recv_from(&mut buffer)?;
        socket.send_to(&buffer[..bytes], peer)?;
    }
}
