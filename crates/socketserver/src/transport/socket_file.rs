//! The file of a Unix socket: made at bind, removed at close if it is still ours.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::address::Address;

/// How often and how long to wait for another server that makes a file: a second in all, and each takes
/// a fraction of a millisecond.
const LOCK_TRIES: u32 = 500;
const LOCK_PAUSE: Duration = Duration::from_millis(2);

/// A socket file that this server made; dropped, it is removed unless somebody else's is there.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// Makes a non-blocking Unix socket bound to `address` and has `listen` make it answer, and the guard
/// of its file if it has one.
///
/// `mode` is given to the file before it exists, so that it is never open to more (`unix(7)`).
pub(super) fn bind(
    address: &Address,
    kind: SocketType,
    mode: Option<u32>,
    listen: impl FnOnce(&OwnedFd) -> rustix::io::Result<()>,
) -> io::Result<(OwnedFd, Option<SocketFile>)> {
    if address.inet().is_some() {
        let text = format!("{address} is not a Unix address");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let fd = socket(kind)?;
    if let Some(mode) = mode {
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode))?;
    }
    let kernel = address.to_kernel()?;
    // From here to the end nobody else may find the file unanswered, and take it for a dead one's.
    let _turn = address.path().and_then(lock_directory);
    let mut bound = rustix::net::bind(&fd, &kernel);
    if let (Err(Errno::ADDRINUSE), Some(path)) = (bound, address.path())
        && remove_if_stale(path, kind)?
    {
        bound = rustix::net::bind(&fd, &kernel);
    }
    if bound == Err(Errno::ADDRINUSE) && address.path().is_some_and(is_other_file) {
        let text = "a file that is no socket is in the way";
        return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
    }
    bound?;
    let file = match address.path() {
        Some(path) => Some(SocketFile::of(path)?),
        None => None,
    };
    listen(&fd)?;
    Ok((fd, file))
}

/// Waits for its turn among the servers that make a socket file in the directory of `path`.
///
/// A directory that cannot be locked is not waited for: it may not be readable, and locks are only an
/// agreement among servers like this one (`flock(2)`).
fn lock_directory(path: &Path) -> Option<OwnedFd> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(directory, flags, Mode::empty()).ok()?;
    for _ in 0..LOCK_TRIES {
        match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Some(directory),
            Err(Errno::WOULDBLOCK | Errno::INTR) => std::thread::sleep(LOCK_PAUSE),
            Err(_) => return None,
        }
    }
    None
}

fn socket(kind: SocketType) -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)
}

/// Whether something other than a socket is at `path`.
fn is_other_file(path: &Path) -> bool {
    let kind = rustix::fs::lstat(path).map(|status| FileType::from_raw_mode(status.st_mode));
    kind.is_ok_and(|kind| kind != FileType::Socket)
}

/// Removes the socket file at `path` if nobody listens on it; tells whether it did.
fn remove_if_stale(path: &Path, kind: SocketType) -> io::Result<bool> {
    let Ok(status) = rustix::fs::lstat(path) else {
        return Ok(false);
    };
    if FileType::from_raw_mode(status.st_mode) != FileType::Socket {
        return Ok(false);
    }
    let probe = socket(kind)?;
    // Only a refusal says that nobody is there: a live server answers, has a full queue (EAGAIN), or
    // is of another kind (EPROTOTYPE).
    if rustix::net::connect(&probe, &SocketAddrUnix::new(path)?) != Err(Errno::CONNREFUSED) {
        return Ok(false);
    }
    rustix::fs::unlink(path)?;
    Ok(true)
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        let status = rustix::fs::lstat(path)?;
        // A relative path would mean another file after a change of directory.
        let path = std::path::absolute(path)?;
        Ok(Self {
            path,
            device: status.st_dev,
            inode: status.st_ino,
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Ok(status) = rustix::fs::lstat(&self.path)
            && (status.st_dev, status.st_ino) == (self.device, self.inode)
        {
            let _ = rustix::fs::unlink(&self.path);
        }
    }
}
