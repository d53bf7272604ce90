//! Where a server listens, or a peer is: an internet address or a Unix one.
//!
//! The entry type is [`Address`].
//! It never says which kind of socket it belongs to; [`Endpoint`](crate::Endpoint) does.

use std::ffi::OsStr;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::net::{SocketAddrAny, SocketAddrUnix};

/// The address of a socket.
///
/// An IPv4 peer that comes in through an IPv6 socket (`::ffff:192.0.2.1`) is shown as the IPv4 address
/// that it is.
///
/// ```
/// use socketserver::Address;
/// let address: Address = "[::1]:9999".parse::<std::net::SocketAddr>()?.into();
/// assert_eq!(address.to_string(), "[::1]:9999");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Address {
    /// A name in Linux's abstract namespace, without its leading zero byte (`unix(7)`).
    Abstract(Vec<u8>),
    /// An IPv4 or IPv6 address with its port.
    Inet(SocketAddr),
    /// The path of a Unix socket.
    Path(PathBuf),
    /// A Unix socket without a name, as most clients have.
    Unnamed,
}

impl Address {
    /// The internet address, if it is one.
    pub fn inet(&self) -> Option<SocketAddr> {
        match self {
            Self::Inet(address) => Some(*address),
            _ => None,
        }
    }

    /// The path, if it is that of a Unix socket.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            _ => None,
        }
    }

    /// The port of an internet address.
    pub fn port(&self) -> Option<u16> {
        self.inet().map(|address| address.port())
    }

    /// Whether only this machine can be at the other end: loopback, or any Unix socket.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Inet(address) => address.ip().is_loopback(),
            _ => true,
        }
    }

    /// The address that the kernel reported, tidied: an IPv4 address in IPv6 clothes is IPv4.
    pub(crate) fn from_kernel(address: &SocketAddrAny) -> Self {
        if let Ok(address) = SocketAddr::try_from(address.clone()) {
            return Self::from(address);
        }
        match SocketAddrUnix::try_from(address.clone()) {
            Ok(address) => Self::from_unix(&address),
            Err(_) => Self::Unnamed,
        }
    }

    fn from_unix(address: &SocketAddrUnix) -> Self {
        // The kernel gives no name at all as an abstract one of no bytes.
        if let Some(name) = address.abstract_name().filter(|name| !name.is_empty()) {
            return Self::Abstract(name.to_vec());
        }
        match address.path_bytes() {
            Some(path) if !path.is_empty() => {
                Self::Path(PathBuf::from(std::ffi::OsString::from_vec(path.to_vec())))
            }
            _ => Self::Unnamed,
        }
    }

    /// The address as the kernel takes it.
    pub(crate) fn to_kernel(&self) -> rustix::io::Result<SocketAddrAny> {
        Ok(match self {
            Self::Abstract(name) => SocketAddrUnix::new_abstract_name(name)?.into(),
            Self::Inet(address) => (*address).into(),
            Self::Path(path) => SocketAddrUnix::new(path)?.into(),
            Self::Unnamed => SocketAddrUnix::new_unnamed().into(),
        })
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Inet(match address {
            SocketAddr::V6(v6) => unmapped(v6),
            v4 @ SocketAddr::V4(_) => v4,
        })
    }
}

impl fmt::Display for Address {
    /// Prints `127.0.0.1:80`, `[::1]:80`, a path, `@name` for an abstract name, or `unnamed`.
    ///
    /// Bytes that would disturb a terminal or a log are escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Abstract(name) => write!(
                f,
                "@{}",
                OsStr::from_bytes(name).display().to_string().escape_debug()
            ),
            Self::Inet(address) => address.fmt(f),
            Self::Path(path) => write!(f, "{}", path.display().to_string().escape_debug()),
            Self::Unnamed => f.write_str("unnamed"),
        }
    }
}

/// The IPv4 address inside an IPv4-mapped IPv6 one, or the address itself.
fn unmapped(address: SocketAddrV6) -> SocketAddr {
    match address.ip().to_ipv4_mapped() {
        Some(v4) => (v4, address.port()).into(),
        None => address.into(),
    }
}

/// Whom a limit counts as one: an IPv4 address, an IPv6 /64, or a Unix user.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Origin {
    /// One IPv4 address, or the upper half of an IPv6 one.
    Network(IpAddr),
    /// The user id behind a Unix socket; `None` where the kernel does not tell.
    User(Option<u32>),
}

impl Origin {
    /// The origin of `address`; `user` is asked only for Unix sockets.
    pub(crate) fn of(address: &Address, user: impl FnOnce() -> Option<u32>) -> Self {
        match address {
            Address::Inet(address) => Self::Network(match address.ip() {
                IpAddr::V6(v6) => {
                    let s = v6.segments();
                    Ipv6Addr::new(s[0], s[1], s[2], s[3], 0, 0, 0, 0).into()
                }
                v4 @ IpAddr::V4(_) => v4,
            }),
            _ => Self::User(user()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inet(text: &str) -> Address {
        text.parse::<SocketAddr>().unwrap().into()
    }

    #[test]
    fn an_ipv4_peer_of_a_dual_stack_socket_is_shown_as_ipv4() {
        assert_eq!(inet("[::ffff:192.0.2.1]:80").to_string(), "192.0.2.1:80");
        assert_eq!(inet("[2001:db8::1]:80").to_string(), "[2001:db8::1]:80");
    }

    #[test]
    fn a_name_cannot_disturb_the_terminal_that_prints_it() {
        assert_eq!(
            Address::Abstract(b"a\x1b[2J".to_vec()).to_string(),
            "@a\\u{1b}[2J"
        );
    }

    #[test]
    fn two_addresses_of_one_ipv6_network_have_one_origin() {
        let origin = |text| Origin::of(&inet(text), || None);
        assert_eq!(origin("[2001:db8::1]:1"), origin("[2001:db8::ffff]:2"));
        assert_ne!(origin("[2001:db8::1]:1"), origin("[2001:db8:0:1::1]:1"));
        assert_eq!(origin("[::ffff:192.0.2.1]:80"), origin("192.0.2.1:9"));
        assert_ne!(origin("192.0.2.1:9"), origin("192.0.2.2:9"));
    }
}
