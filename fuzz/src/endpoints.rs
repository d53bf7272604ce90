//! What holds for endpoints.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;

use socketserver::{Address, Endpoint};

/// An endpoint that is parsed prints as a text that parses to the same endpoint and prints as itself;
/// a text that is none says so in a line.
pub(crate) fn check(input: &[u8]) {
    check_text(&String::from_utf8_lossy(input));
    for scheme in ["unix://", "unix-dgram://"] {
        check_path(scheme, input);
    }
}

fn check_text(text: &str) {
    if is_looked_up(text) {
        return;
    }
    match text.parse::<Endpoint>() {
        Ok(endpoint) => {
            let printed = endpoint.to_string();
            assert!(
                printed.bytes().all(|byte| byte.is_ascii_graphic()),
                "{text:?} prints as {printed:?}"
            );
            assert_eq!(printed.parse().as_ref(), Ok(&endpoint), "{printed}");
            assert!(text.starts_with(endpoint.scheme().as_str()));
        }
        Err(error) => {
            let error = error.to_string();
            assert!(!error.contains(char::is_control), "{error:?}");
        }
    }
}

/// Whether parsing `text` would ask for the address of a host.
fn is_looked_up(text: &str) -> bool {
    let rest = ["tcp://", "udp://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    rest.is_some_and(|rest| {
        rest.parse::<SocketAddr>().is_err() && !rest.starts_with(['[', ':']) && rest.contains(':')
    })
}

/// Any bytes but zero are a path, when they are written as an endpoint has them.
fn check_path(scheme: &str, path: &[u8]) {
    let path = &path[..path.len().min(120)];
    let mut written = String::new();
    for byte in path {
        let _ = write!(written, "%{byte:02x}");
    }
    let is_path = !path.is_empty() && path.len() <= 107 && !path.contains(&0);
    match format!("{scheme}{written}").parse::<Endpoint>() {
        Ok(endpoint) => {
            assert!(is_path, "{written}");
            let found = endpoint.address().path();
            assert_eq!(found.map(|found| found.as_os_str().as_bytes()), Some(path));
            let again = endpoint.to_string().parse::<Endpoint>();
            assert_eq!(again.as_ref(), Ok(&endpoint), "{endpoint}");
        }
        Err(error) => assert!(!is_path, "{error}"),
    }
    let is_name = !path.is_empty() && path.len() <= 107;
    match format!("{scheme}@{written}").parse::<Endpoint>() {
        Ok(endpoint) => {
            assert!(is_name, "{written}");
            assert_eq!(endpoint.address(), &Address::Abstract(path.to_vec()));
            let again = endpoint.to_string().parse::<Endpoint>();
            assert_eq!(again.as_ref(), Ok(&endpoint), "{endpoint}");
        }
        Err(error) => assert!(!is_name, "{error}"),
    }
}
