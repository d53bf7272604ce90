//! TCP over IPv4 and IPv6.

use std::io;
use std::net::ToSocketAddrs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};
use socket2::{SockFilter, SockRef};

use super::{BoxListener, IntoAddress, Listener, Stream, Transport, inet_addresses, wrong_socket};
use crate::address::Address;
use crate::endpoint::Scheme;

/// TCP, with the options of its listening socket.
///
/// ```
/// use socketserver::{Builder, Connection, Tcp, Threading, handler_fn};
///
/// let transport = Tcp::default().backlog(4096).keepalive(Some(std::time::Duration::from_secs(60)));
/// let server = Builder::new(transport, Threading::default())
///     .bind("127.0.0.1:0", handler_fn(|_: &mut Connection| Ok(())))?;
/// assert_ne!(server.local_address().port(), Some(0));
/// # Ok::<(), socketserver::Error>(())
/// ```
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are the socket options of the same names"
)]
pub struct Tcp {
    backlog: i32,
    reuse_address: bool,
    reuse_port: bool,
    nodelay: bool,
    keepalive: Option<Duration>,
    dual_stack: bool,
}

impl Default for Tcp {
    fn default() -> Self {
        Self {
            backlog: 1024,
            reuse_address: true,
            reuse_port: false,
            nodelay: true,
            keepalive: None,
            dual_stack: false,
        }
    }
}

impl Tcp {
    /// How many connections the kernel queues before they are accepted; default 1 024.
    ///
    /// The kernel lowers it to `net.core.somaxconn`.
    /// Beyond it clients are not refused but try again, after 1 s, 2 s and so on (`listen(2)`).
    #[must_use]
    pub fn backlog(mut self, connections: u32) -> Self {
        self.backlog = i32::try_from(connections).unwrap_or(i32::MAX);
        self
    }

    /// Whether to bind though old connections linger on the port (`SO_REUSEADDR`); default `true`.
    ///
    /// Without it a server cannot be restarted for a minute (`socket(7)`).
    #[must_use]
    pub fn reuse_address(mut self, reuse: bool) -> Self {
        self.reuse_address = reuse;
        self
    }

    /// Whether several servers may listen on the port (`SO_REUSEPORT`); default `false`.
    ///
    /// They must all say so; the kernel spreads the connections over them.
    #[must_use]
    pub fn reuse_port(mut self, reuse: bool) -> Self {
        self.reuse_port = reuse;
        self
    }

    /// Whether small writes leave at once (`TCP_NODELAY`); default `true`.
    #[must_use]
    pub fn nodelay(mut self, nodelay: bool) -> Self {
        self.nodelay = nodelay;
        self
    }

    /// After how long a silence to ask whether the peer's machine still lives (`SO_KEEPALIVE`);
    /// default `None`, never.
    ///
    /// It is asked nine times, a sixth of that time apart; then reads fail with `TimedOut`
    /// (`tcp(7)`). Whole seconds, at least one.
    #[must_use]
    pub fn keepalive(mut self, silence: Option<Duration>) -> Self {
        self.keepalive = silence;
        self
    }

    /// Whether an IPv6 address serves IPv4 peers too; default `false`.
    #[must_use]
    pub fn dual_stack(mut self, dual_stack: bool) -> Self {
        self.dual_stack = dual_stack;
        self
    }

    /// Sets what accepted connections inherit from the listener.
    fn set_inherited(&self, fd: &OwnedFd) -> rustix::io::Result<()> {
        sockopt::set_tcp_nodelay(fd, self.nodelay)?;
        if let Some(silence) = self.keepalive {
            let second = Duration::from_secs(1);
            sockopt::set_socket_keepalive(fd, true)?;
            sockopt::set_tcp_keepidle(fd, silence.max(second))?;
            sockopt::set_tcp_keepintvl(fd, (silence / 6).max(second))?;
        }
        Ok(())
    }
}

impl Transport for Tcp {
    type Accepted = Stream;

    fn scheme(&self, _address: &Address) -> Scheme {
        Scheme::Tcp
    }

    fn bind(&self, address: &Address) -> io::Result<BoxListener<Stream>> {
        let fd = inet_socket(address, SocketType::STREAM, self.dual_stack)?;
        sockopt::set_socket_reuseaddr(&fd, self.reuse_address)?;
        if self.reuse_port {
            sockopt::set_socket_reuseport(&fd, true)?;
        }
        rustix::net::bind(&fd, &address.to_kernel()?)?;
        self.set_inherited(&fd)?;
        rustix::net::listen(&fd, self.backlog)?;
        Ok(Box::new(TcpListener {
            fd,
            is_given: false,
        }))
    }

    fn adopt(&self, socket: OwnedFd) -> io::Result<BoxListener<Stream>> {
        let inet = [AddressFamily::INET, AddressFamily::INET6];
        if !inet.contains(&sockopt::socket_domain(&socket)?) || !is_listening(&socket)? {
            return Err(wrong_socket("a listening TCP socket"));
        }
        rustix::io::ioctl_fionbio(&socket, true)?;
        self.set_inherited(&socket)?;
        Ok(Box::new(TcpListener {
            fd: socket,
            is_given: true,
        }))
    }
}

/// Whether `socket` is a stream socket that listens.
pub(super) fn is_listening(socket: &OwnedFd) -> io::Result<bool> {
    Ok(sockopt::socket_type(socket)? == SocketType::STREAM && sockopt::socket_acceptconn(socket)?)
}

/// Makes a non-blocking internet socket for `address`.
pub(super) fn inet_socket(
    address: &Address,
    kind: SocketType,
    dual_stack: bool,
) -> io::Result<OwnedFd> {
    let Some(inet) = address.inet() else {
        let text = format!("{address} is not an internet address");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    };
    let family = if inet.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let protocol = if kind == SocketType::STREAM {
        ipproto::TCP
    } else {
        ipproto::UDP
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = rustix::net::socket_with(family, kind, flags, Some(protocol))?;
    if inet.is_ipv6() {
        sockopt::set_ipv6_v6only(&fd, !dual_stack)?;
    }
    Ok(fd)
}

#[derive(Debug)]
struct TcpListener {
    fd: OwnedFd,
    /// Whether others may hold the socket, too.
    is_given: bool,
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        // The socket lives on with whoever else holds it, and is to hear again.
        if self.is_given {
            self.resume();
        }
    }
}

impl Listener for TcpListener {
    type Accepted = Stream;

    fn accept(&mut self) -> io::Result<(Stream, Address)> {
        accept(&self.fd)
    }

    fn local_address(&self) -> io::Result<Address> {
        Ok(Address::from_kernel(&rustix::net::getsockname(&self.fd)?))
    }

    fn is_shared(&self) -> bool {
        self.is_given
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn pause(&mut self) {
        // A filter that drops the first packet of a handshake: a new client tries again later, where
        // an accept after the last one would have left it to be reset. A handshake that is under way
        // goes on, or its client would believe itself connected.
        let drop_new = [
            SockFilter::new(BPF_LOAD_BYTE, 0, 0, TCP_FLAGS),
            SockFilter::new(BPF_IF_ANY, 0, 1, TCP_SYN),
            SockFilter::new(BPF_RET, 0, 0, 0),
            SockFilter::new(BPF_RET, 0, 0, u32::MAX),
        ];
        let _ = SockRef::from(&self.fd).attach_filter(&drop_new);
    }

    fn resume(&mut self) {
        let _ = SockRef::from(&self.fd).detach_filter();
    }

    fn set_timeouts(&mut self, read: Option<Duration>, write: Option<Duration>) -> bool {
        // Linux copies a listener's timeouts to what it accepts. The listener itself never waits.
        let set = |which, timeout| sockopt::set_socket_timeout(&self.fd, which, timeout).is_ok();
        set(sockopt::Timeout::Recv, read) && set(sockopt::Timeout::Send, write)
    }
}

/// `BPF_LD | BPF_B | BPF_ABS`: load the byte at an offset.
const BPF_LOAD_BYTE: u16 = 0x30;
/// `BPF_JMP | BPF_JSET | BPF_K`: go on if one of these bits is set in it, or else skip.
const BPF_IF_ANY: u16 = 0x45;
/// `BPF_RET | BPF_K`: return a constant, the number of bytes of the packet to keep.
const BPF_RET: u16 = 0x06;
/// Where the flags are in a TCP header, with which the filtered packet begins.
const TCP_FLAGS: u32 = 13;
/// The flag of the first packet.
const TCP_SYN: u32 = 0x02;

/// Accepts from a listening stream socket.
pub(super) fn accept(fd: &OwnedFd) -> io::Result<(Stream, Address)> {
    let (fd, peer) = rustix::net::acceptfrom_with(fd, SocketFlags::CLOEXEC)?;
    let peer = peer.map_or(Address::Unnamed, |peer| Address::from_kernel(&peer));
    Ok((Stream::from(fd), peer))
}

impl<A: ToSocketAddrs> IntoAddress<Tcp> for A {
    fn into_addresses(self) -> io::Result<Vec<Address>> {
        inet_addresses(self)
    }
}
