//! Endpoints: a transport and an address, written as a URL that parses and prints round-trip.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::str::FromStr;

use crate::address::Address;

/// The kind of socket that an [`Endpoint`] names.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Scheme {
    /// `tcp://`
    Tcp,
    /// `udp://`
    Udp,
    /// `unix://`: a Unix stream socket
    Unix,
    /// `unix-dgram://`
    UnixDatagram,
}

impl Scheme {
    /// Every scheme.
    pub const ALL: [Self; 4] = [Self::Tcp, Self::Udp, Self::Unix, Self::UnixDatagram];

    /// The word before `://`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Unix => "unix",
            Self::UnixDatagram => "unix-dgram",
        }
    }

    /// Whether its traffic is datagrams rather than connections.
    pub fn is_datagram(self) -> bool {
        matches!(self, Self::Udp | Self::UnixDatagram)
    }

    fn is_inet(self) -> bool {
        matches!(self, Self::Tcp | Self::Udp)
    }
}

/// Where a server listens: `tcp://127.0.0.1:9999`, `tcp://[::1]:0`, `udp://…`, `unix:///run/x.sock`,
/// `unix-dgram:///…`, `unix://@abstract`.
///
/// Bytes of a path that do not print are written as `%XX`, `%` as `%25`, and an `@` that a path begins
/// with as `%40`.
/// A host name is looked up while parsing; the first address counts.
///
/// ```
/// use socketserver::Endpoint;
/// let endpoint: Endpoint = "tcp://127.0.0.1:9999".parse()?;
/// assert_eq!(endpoint.to_string(), "tcp://127.0.0.1:9999");
/// # Ok::<(), socketserver::ParseEndpointError>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Endpoint {
    scheme: Scheme,
    address: Address,
}

impl Endpoint {
    /// Joins a scheme and an address; the caller vouches that they fit.
    pub(crate) fn new(scheme: Scheme, address: Address) -> Self {
        Self { scheme, address }
    }

    /// The kind of socket.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Where the socket is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The port of an internet endpoint: the real one, once the server is bound.
    pub fn port(&self) -> Option<u16> {
        self.address.port()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme.as_str())?;
        match &self.address {
            Address::Abstract(name) => {
                f.write_str("@")?;
                escaped(name, f)
            }
            Address::Path(path) => {
                let path = path.as_os_str().as_bytes();
                match path.strip_prefix(b"@") {
                    // A plain one would make it an abstract name.
                    Some(rest) => f.write_str("%40").and_then(|()| escaped(rest, f)),
                    None => escaped(path, f),
                }
            }
            Address::Inet(address) => address.fmt(f),
            Address::Unnamed => Ok(()),
        }
    }
}

/// A text is not an endpoint; its `Display` says why and what would be one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ParseEndpointError {
    text: String,
    reason: String,
}

impl fmt::Display for ParseEndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "'{}' is not an endpoint: {}",
            self.text.escape_debug(),
            self.reason
        )
    }
}

impl std::error::Error for ParseEndpointError {}

impl FromStr for Endpoint {
    type Err = ParseEndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map_err(|reason| ParseEndpointError {
            text: text.to_owned(),
            reason,
        })
    }
}

fn parse(text: &str) -> Result<Endpoint, String> {
    let Some((word, rest)) = text.split_once("://") else {
        return Err("it has no '://'; write for example tcp://127.0.0.1:9999".to_owned());
    };
    let Some(scheme) = Scheme::ALL
        .into_iter()
        .find(|scheme| scheme.as_str() == word)
    else {
        return Err(format!(
            "'{}' is none of tcp, udp, unix, unix-dgram",
            word.escape_debug()
        ));
    };
    let address = if scheme.is_inet() {
        inet(rest)?
    } else {
        unix(rest)?
    };
    Ok(Endpoint { scheme, address })
}

fn inet(rest: &str) -> Result<Address, String> {
    if let Ok(address) = rest.parse::<SocketAddr>() {
        return Ok(Address::Inet(address));
    }
    if rest
        .rsplit_once(':')
        .is_none_or(|(_, port)| port.parse::<u16>().is_err())
    {
        return Err("a port from 0 to 65535 must follow the host, as in 127.0.0.1:9999".to_owned());
    }
    if rest.starts_with(':') {
        return Err(
            "a host must stand before the port: 0.0.0.0 or [::] is every address".to_owned(),
        );
    }
    if rest.starts_with('[') {
        return Err("an IPv6 address must stand in the brackets, as in [::1]:9999".to_owned());
    }
    let mut found = rest
        .to_socket_addrs()
        .map_err(|error| format!("the host is unknown ({error})"))?;
    found
        .next()
        .map(Address::Inet)
        .ok_or_else(|| "the host has no address".to_owned())
}

fn unix(rest: &str) -> Result<Address, String> {
    // `sun_path` has 108 bytes, one of them a terminating or a leading zero (unix(7)).
    const LONGEST: usize = 107;
    let (name, is_abstract) = match rest.strip_prefix('@') {
        Some(name) => (name, true),
        None => (rest, false),
    };
    let bytes = unescaped(name)?;
    if bytes.is_empty() {
        return Err("a path or @name must follow, as in unix:///run/x.sock".to_owned());
    }
    if bytes.len() > LONGEST {
        return Err(format!(
            "a Unix address has at most {LONGEST} bytes, this one {}",
            bytes.len()
        ));
    }
    if is_abstract {
        return Ok(Address::Abstract(bytes));
    }
    if bytes.contains(&0) {
        return Err("a path has no zero byte".to_owned());
    }
    Ok(Address::Path(PathBuf::from(std::ffi::OsString::from_vec(
        bytes,
    ))))
}

fn escaped(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for &byte in bytes {
        match byte {
            b'%' => f.write_str("%25")?,
            b'!'..=b'~' => fmt::Write::write_char(f, char::from(byte))?,
            _ => write!(f, "%{byte:02X}")?,
        }
    }
    Ok(())
}

fn unescaped(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = tail
            .get(..2)
            .filter(|two| two.iter().all(u8::is_ascii_hexdigit));
        let digits = digits.and_then(|two| std::str::from_utf8(two).ok());
        let value = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        bytes.push(value.ok_or("'%' must be followed by two hexadecimal digits")?);
        rest = &tail[2..];
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_print_as_they_are_written() {
        for text in [
            "tcp://127.0.0.1:9999",
            "tcp://[::1]:0",
            "udp://0.0.0.0:53",
            "unix:///run/x.sock",
            "unix://relative.sock",
            "unix-dgram:///tmp/a%20b%25",
            "unix://@abstract",
            "unix://@%00%FF",
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
    }

    /// `unix://%40x` was printed as `unix://@x`, which is another socket.
    #[test]
    fn a_path_that_begins_with_an_at_sign_is_not_printed_as_an_abstract_name() {
        for (text, printed) in [
            ("unix://%40x", "unix://%40x"),
            ("unix://%40", "unix://%40"),
            ("unix-dgram://%40@x", "unix-dgram://%40@x"),
            ("unix://a%40x", "unix://a@x"),
            ("unix://@%40x", "unix://@@x"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), printed);
            assert_eq!(printed.parse(), Ok(endpoint));
        }
    }

    #[test]
    fn a_text_that_is_no_endpoint_is_refused_with_the_reason() {
        for (text, reason) in [
            ("127.0.0.1:9999", "'://'"),
            ("http://x", "none of tcp"),
            ("tcp://127.0.0.1", "port"),
            ("tcp://127.0.0.1:70000", "port"),
            ("tcp://:0", "[::]"),
            ("tcp://[::1:0", "brackets"),
            ("unix://", "path"),
            ("unix:///a%2", "hexadecimal"),
            ("unix:///a%+1b", "hexadecimal"),
            ("unix:///a%00", "zero"),
        ] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains(text), "{error}");
        }
        let long = format!("unix:///{}", "x".repeat(107));
        assert!(
            long.parse::<Endpoint>()
                .unwrap_err()
                .to_string()
                .contains("107")
        );
    }
}
