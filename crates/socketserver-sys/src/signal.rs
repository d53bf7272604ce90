//! Signals as one more descriptor to wait on.
//!
//! A [`Signals`] blocks the signals it is given and makes them readable instead, so that a loop can
//! treat `SIGTERM` as it treats a new connection.
//! Nothing is installed until a program asks for it.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::Mutex;

use libc::c_int;

/// The signals that are blocked by a [`Signals`] at the moment, so that a child can unblock them.
static BLOCKED: Mutex<Vec<c_int>> = Mutex::new(Vec::new());

/// `SIGINT`: interrupt, typed at the terminal.
pub const INTERRUPT: i32 = libc::SIGINT;
/// `SIGTERM`: the polite request to end.
pub const TERMINATE: i32 = libc::SIGTERM;
/// `SIGHUP`: the terminal is gone, or the configuration has changed.
pub const HANG_UP: i32 = libc::SIGHUP;

/// A descriptor that is readable when one of a set of signals has arrived (`signalfd(2)`).
///
/// The signals are blocked for the calling thread and for those it starts later, so make it before
/// any other thread.
/// They stay blocked when it is dropped: a signal that arrives in that moment must not kill a
/// program that is ending in good order.
#[derive(Debug)]
pub struct Signals {
    fd: OwnedFd,
}

impl Signals {
    /// Blocks `signals` and makes them readable here instead.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a number that is no signal, `EMFILE` without a free descriptor.
    pub fn new(signals: &[i32]) -> io::Result<Self> {
        let set = signal_set(signals)?;
        // SAFETY: `set` is initialised; -1 asks for a new descriptor.
        let fd =
            unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is fresh from the kernel and owned by nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // Last, so that a failure leaves the signals as they were.
        // SAFETY: `set` is initialised; a null pointer asks for no old mask.
        let code =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) };
        if code != 0 {
            return Err(io::Error::from_raw_os_error(code));
        }
        if let Ok(mut blocked) = BLOCKED.lock() {
            blocked.extend_from_slice(signals);
        }
        Ok(Self { fd })
    }

    /// Takes the next signal that has arrived, if there is one; never waits.
    ///
    /// # Errors
    ///
    /// The error of `read(2)`; none is expected.
    pub fn take(&self) -> io::Result<Option<i32>> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: the buffer is writable and `size` bytes long.
        let read = unsafe { libc::read(self.fd.as_raw_fd(), info.as_mut_ptr().cast(), size) };
        if read < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
                _ => Err(error),
            };
        }
        if usize::try_from(read).ok() != Some(size) {
            return Err(io::Error::other("signalfd returned part of a record"));
        }
        // SAFETY: the kernel filled the whole record, checked above.
        let signal = unsafe { info.assume_init() }.ssi_signo;
        Ok(i32::try_from(signal).ok())
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Unblocks in a forked child what the parent reads from a descriptor, except `SIGINT`.
pub(crate) fn restore_in_child() {
    let Ok(blocked) = BLOCKED.lock() else { return };
    let signals: Vec<c_int> = blocked
        .iter()
        .copied()
        .filter(|&signal| signal != INTERRUPT)
        .collect();
    if signals.is_empty() {
        return;
    }
    if let Ok(set) = signal_set(&signals) {
        // SAFETY: `set` is initialised; a null pointer asks for no old mask.
        unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, ptr::null_mut()) };
    }
}

/// Makes a signal set of `signals`.
fn signal_set(signals: &[i32]) -> io::Result<libc::sigset_t> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigemptyset` initialises the set that it is given.
    let mut set = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    };
    for &signal in signals {
        // SAFETY: `set` is initialised; a number that is no signal is answered with an error.
        if unsafe { libc::sigaddset(&raw mut set, signal) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_no_signal_is_refused() {
        assert!(Signals::new(&[4096]).is_err());
    }

    #[test]
    fn a_signal_that_has_arrived_is_taken_once() {
        let signals = Signals::new(&[libc::SIGUSR2]).unwrap();
        assert_eq!(signals.take().unwrap(), None);
        // SAFETY: raises a signal that is blocked in this thread, for this thread.
        unsafe { libc::raise(libc::SIGUSR2) };
        assert_eq!(signals.take().unwrap(), Some(libc::SIGUSR2));
        assert_eq!(signals.take().unwrap(), None);
    }
}
