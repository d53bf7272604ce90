//! The processor time of another process, in nanoseconds.
//!
//! [`process_cpu_time`] counts all threads, those that have exited included, which `/proc/PID/stat`
//! also does, but only in ticks of 10 ms.

use std::io;
use std::time::Duration;

/// The largest process id that Linux gives (`PID_MAX_LIMIT`).
const LARGEST_PID: i32 = 4 * 1024 * 1024;

/// Tells how much processor time the process `pid` has used, its exited threads included.
///
/// Its children are not included.
///
/// # Errors
///
/// [`io::ErrorKind::NotFound`] if there is no such process; the error of `clock_gettime(2)`
/// otherwise.
pub fn process_cpu_time(pid: i32) -> io::Result<Duration> {
    // The id of the clock is made by shifting the pid, so that a pid out of range would name another
    // clock, and 0 names the caller's own.
    if !(1..=LARGEST_PID).contains(&pid) {
        return Err(no_such_process(pid));
    }
    let mut clock: libc::clockid_t = 0;
    // SAFETY: `clock` is a live local that the call may write to; nothing else is touched.
    let error = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
    // Unlike most of libc, this function returns the error instead of setting `errno`.
    match error {
        0 => {}
        libc::ESRCH => return Err(no_such_process(pid)),
        error => return Err(io::Error::from_raw_os_error(error)),
    }
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a live local that the call may write to; an invalid clock is an error.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        let error = io::Error::last_os_error();
        // The process ended between the two calls: its clock is no longer a valid one.
        return Err(match error.raw_os_error() {
            Some(libc::EINVAL) => no_such_process(pid),
            _ => error,
        });
    }
    let seconds = u64::try_from(time.tv_sec).map_err(io::Error::other)?;
    let nanoseconds = u32::try_from(time.tv_nsec).map_err(io::Error::other)?;
    Ok(Duration::new(seconds, nanoseconds))
}

fn no_such_process(pid: i32) -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        format!("there is no process {pid}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn the_time_of_a_thread_that_has_exited_still_counts() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let before = process_cpu_time(pid).unwrap();
        let spun =
            thread::spawn(|| (0..2_000_000_u64).fold(0, |sum, n| sum ^ n.wrapping_mul(sum | 1)));
        std::hint::black_box(spun.join().unwrap());
        assert!(process_cpu_time(pid).unwrap() > before);
    }

    #[test]
    fn a_process_that_does_not_exist_is_not_found() {
        for pid in [LARGEST_PID, i32::MAX, 0, -1] {
            let error = process_cpu_time(pid).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "pid {pid}");
        }
    }
}
