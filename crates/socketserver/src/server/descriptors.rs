//! The descriptors of the process: how many a server may use, and one to give up.

use std::fs;
use std::os::fd::OwnedFd;

use rustix::process::{Resource, getrlimit};

/// Descriptors that a server keeps free for what is not a connection.
const SPARE: usize = 8;

/// How many connections fit beside what is open, of which `live` are connections; `None` without a
/// limit.
pub(super) fn room_for_connections(live: usize) -> Option<usize> {
    let limit = usize::try_from(getrlimit(Resource::Nofile).current?).unwrap_or(usize::MAX);
    let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    Some(
        limit
            .saturating_sub(open.saturating_sub(live) + SPARE)
            .max(1),
    )
}

/// A descriptor to give up when there is no other.
pub(super) fn open_reserve() -> Option<OwnedFd> {
    fs::File::open("/dev/null").ok().map(OwnedFd::from)
}
