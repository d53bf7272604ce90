//! Sockets that listen, and the line that says where.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

/// As in the other peers; the standard library's is 128.
const BACKLOG: i32 = 4096;

/// Binds `count` listeners to one port and says where it is.
pub(crate) fn tcp(count: usize) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::with_capacity(count);
    let mut address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    for _ in 0..count {
        let socket = bound(SocketType::STREAM, address)?;
        listen(&socket, BACKLOG)?;
        let listener = TcpListener::from(socket);
        address = listener.local_addr()?;
        listeners.push(listener);
    }
    println!("listening on tcp://{address}");
    Ok(listeners)
}

/// Binds `count` sockets to one port and says where it is.
pub(crate) fn udp(count: usize) -> io::Result<Vec<UdpSocket>> {
    let mut sockets = Vec::with_capacity(count);
    let mut address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    for _ in 0..count {
        let socket = UdpSocket::from(bound(SocketType::DGRAM, address)?);
        address = socket.local_addr()?;
        sockets.push(socket);
    }
    println!("listening on udp://{address}");
    Ok(sockets)
}

fn bound(kind: SocketType, address: SocketAddr) -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, kind, flags, None)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    bind(&socket, &address)?;
    Ok(socket)
}
