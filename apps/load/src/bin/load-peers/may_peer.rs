//! may: a coroutine for each connection, written as for threads.

use std::io::{self, Read, Write};
use std::sync::Arc;

use may::go;
use may::net::{TcpListener, TcpStream, UdpSocket};
use may::sync::Mutex;

use super::Service;
use super::tokio_peer::whole_lines;

const SMALL: usize = 4 * 1024;
const LARGE: usize = 256 * 1024;
const DATAGRAM: usize = 2048;
/// Of a coroutine's stack, in machine words.
const STACK_WORDS: usize = 0x1000;

/// The members of a fan-out, by their numbers.
type Members = Arc<Mutex<Vec<(u64, TcpStream)>>>;

/// Serves with `loops` worker threads.
pub(crate) fn run(service: Service, loops: usize) -> io::Result<()> {
    may::config().set_workers(loops).set_stack_size(STACK_WORDS);
    let server = go!(move || if service == Service::Datagrams {
        datagrams()
    } else {
        streams(service)
    });
    let ended = server.join();
    ended.unwrap_or_else(|_| Err(io::Error::other("the server panicked")))
}

fn streams(service: Service) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("listening on tcp://{}", listener.local_addr()?);
    let members = Members::default();
    for (number, stream) in (0_u64..).zip(listener.incoming()) {
        let Ok(mut stream) = stream else {
            // Out of descriptors: a moment's rest instead of a busy loop.
            may::coroutine::sleep(std::time::Duration::from_millis(10));
            continue;
        };
        stream.set_nodelay(true)?;
        let members = Arc::clone(&members);
        let _ = go!(move || match service {
            Service::FanOut => member(stream, number, &members),
            Service::Lines => lines(stream, Write::write_all),
            Service::Echo | Service::Datagrams => echo(&mut stream),
        });
    }
    Ok(())
}

fn echo(stream: &mut TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; SMALL];
    loop {
        let bytes = stream.read(&mut buffer)?;
        if bytes == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..bytes])?;
        if bytes == buffer.len() && bytes < LARGE {
            buffer = vec![0; LARGE];
        }
    }
}

/// Cuts what comes into lines and hands on those of each read.
fn lines(
    mut stream: TcpStream,
    mut on_lines: impl FnMut(&mut TcpStream, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut input = vec![0; SMALL];
    let mut filled = 0;
    let mut output = Vec::with_capacity(SMALL);
    loop {
        if filled == input.len() {
            input.resize(2 * filled, 0);
        }
        let bytes = stream.read(&mut input[filled..])?;
        if bytes == 0 {
            return Ok(());
        }
        filled += bytes;
        for line in whole_lines(&input[..filled]) {
            output.extend_from_slice(line);
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
    let locked = || {
        members
            .lock()
            .map_err(|_| io::Error::other("a member panicked"))
    };
    locked()?.push((number, stream.try_clone()?));
    let ended = lines(stream, |_, lines| {
        locked()?.retain_mut(|(_, member)| member.write_all(lines).is_ok());
        Ok(())
    });
    locked()?.retain(|(other, _)| *other != number);
    ended
}

fn datagrams() -> io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    println!("listening on udp://{}", socket.local_addr()?);
    let mut buffer = [0; DATAGRAM];
    loop {
        let (bytes, peer) = socket.recv_from(&mut buffer)?;
        socket.send_to(&buffer[..bytes], peer)?;
    }
}
