//! Facts about a socket that no safe wrapper tells.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};

/// Tells whether the machine of a TCP connection's peer has acknowledged everything, up to the end
/// that `shutdown(2)` put behind it; closing the socket can then lose nothing.
///
/// A socket whose reading side was shut down too answers every read with end of file, so reading
/// cannot tell that the peer is done; the state of the connection can (`tcp(7)`, `TCP_INFO`).
///
/// # Errors
///
/// The error of `getsockopt(2)`: `EOPNOTSUPP` if it is not a TCP socket.
pub fn peer_has_everything(socket: impl AsFd) -> io::Result<bool> {
    // The states of `enum` in <netinet/tcp.h> in which the end is not acknowledged.
    const ESTABLISHED: u8 = 1;
    const FIN_WAIT1: u8 = 4;
    const CLOSE_WAIT: u8 = 8;
    const LAST_ACK: u8 = 9;
    const CLOSING: u8 = 11;
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
    Ok(!matches!(
        state,
        ESTABLISHED | FIN_WAIT1 | CLOSE_WAIT | LAST_ACK | CLOSING
    ))
}
