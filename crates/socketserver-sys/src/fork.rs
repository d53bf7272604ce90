//! `fork(2)`, under the rules that make it sound: one thread, one closure, `_exit`.
//!
//! A child of a process with several threads may call only async-signal-safe functions: a lock that
//! another thread held at the moment of the fork is never released in the child.
//! So [`fork`] refuses unless the process has exactly one thread.
//! The child never returns into its parent's code: no destructor of the parent's values runs in it,
//! which would unlink socket files, flush buffers twice, or wait for threads that do not exist.

use std::fs;
use std::io::{self, Write};
use std::os::fd::RawFd;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Pid;

/// Whether this process was made by [`fork`].
static IN_CHILD: AtomicBool = AtomicBool::new(false);

/// Tells whether this process is a child that [`fork`] made.
///
/// What is shared between requests, a chat room for example, is a frozen copy there.
pub fn in_child() -> bool {
    IN_CHILD.load(Ordering::Relaxed)
}

/// Counts the threads of this process.
///
/// # Errors
///
/// Fails where `/proc` is not mounted.
pub fn thread_count() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/task")?.count())
}

/// Forks a child that closes `close`, runs `child`, and exits with the status it returned.
///
/// A panic in `child` ends it with status 1.
/// Standard output and error are flushed before the fork, so that nothing is written twice, and
/// before the exit, so that nothing is lost.
/// The signals that [`signal::Signals`](crate::signal::Signals) had blocked are delivered again in
/// the child, except `SIGINT`: an interrupt typed at a terminal goes to the whole process group, and
/// it is the parent that decides what becomes of its children then.
///
/// The descriptors in `close` are closed in the child without regard to who owns them.
/// That is the point, a child must not hold its parent's listening port, and it does no harm: their
/// owners are values of the parent's code, which the child never returns to.
///
/// # Errors
///
/// [`io::ErrorKind::Unsupported`] if the process has more than one thread; else the error of
/// `fork(2)`: `EAGAIN` at the limit of processes, `ENOMEM`.
pub fn fork(close: &[RawFd], child: impl FnOnce() -> i32) -> io::Result<Pid> {
    let threads = thread_count()?;
    if threads != 1 {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!(
                "cannot fork in a process with {threads} threads: a lock held by another thread \
                 would stay locked in the child for ever"
            ),
        ));
    }
    flush();
    // SAFETY: this process has one thread, the caller (checked above, and nobody else exists to
    // start another before the call), so the child is a complete copy and may run any code.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => run_child(close, child),
        pid => Pid::from_raw(pid).ok_or_else(|| io::Error::other("fork returned a negative pid")),
    }
}

/// What the child does; never returns.
fn run_child(close: &[RawFd], child: impl FnOnce() -> i32) -> ! {
    IN_CHILD.store(true, Ordering::Relaxed);
    for &fd in close {
        // SAFETY: closing a number is memory-safe; that its owner never uses it again in this
        // process is argued in the documentation of `fork`: the child does not return to it.
        unsafe { libc::close(fd) };
    }
    crate::signal::restore_in_child();
    // The closure's captures die with the process, so a state left half-changed by a panic is seen
    // by nobody.
    let status = panic::catch_unwind(AssertUnwindSafe(child)).unwrap_or_else(|payload| {
        // Its drop might panic, and unwind into the parent's code after all.
        std::mem::forget(payload);
        1
    });
    flush();
    // SAFETY: `_exit` ends the process at once, which is what keeps the parent's destructors and
    // exit handlers from running here.
    unsafe { libc::_exit(status) }
}

/// Writes out what the standard streams hold; a closed stream is nobody's problem here.
fn flush() {
    let _ = io::stdout().flush();
    let _ = io::stderr().flush();
}
