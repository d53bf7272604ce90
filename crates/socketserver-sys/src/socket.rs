//! Facts about a socket that no safe wrapper tells.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};

/// Tells whether the peer of a TCP connection has closed its side, or the connection is gone.
///
/// A socket whose reading side was shut down here answers every read with end of file, so reading
/// cannot tell; the state of the connection can (`tcp(7)`, `TCP_INFO`).
///
/// # Errors
///
/// The error of `getsockopt(2)`: `EOPNOTSUPP` if it is not a TCP socket.
pub fn peer_has_closed(socket: impl AsFd) -> io::Result<bool> {
    // The states of `enum` in <netinet/tcp.h> in which the peer may still send.
    const ESTABLISHED: u8 = 1;
    const FIN_WAIT1: u8 = 4;
    const FIN_WAIT2: u8 = 5;
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).unwrap_or(0);
    // SAFETY: `info` is writable and `length` says how long it is.
    let code = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if code != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the structure was zeroed, which is a valid value of it, and then filled in part.
    let state = unsafe { info.assume_init() }.tcpi_state;
    Ok(!matches!(state, ESTABLISHED | FIN_WAIT1 | FIN_WAIT2))
}
