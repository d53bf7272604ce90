//! What a request's worker tells of itself, readable by the server while it works.
//!
//! Under threads that is plain memory; a forked child needs memory that it shares with its parent.

use std::io;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64};

/// The numbers of one request; each means what its user makes of it.
///
/// They are few bytes, side by side: with a thousand connections each message finds its own out of the
/// cache, and with twenty thousand that are idle they are most of what is kept.
#[derive(Debug, Default)]
pub struct Gauges {
    /// What the worker is doing.
    pub activity: AtomicU8,
    /// Why the request was cut off.
    pub cut: AtomicU8,
    /// Whether a drain has reached it.
    pub drained: AtomicBool,
    /// Bytes received.
    pub bytes_in: AtomicU64,
    /// Bytes sent.
    pub bytes_out: AtomicU64,
    /// What the lower bits of `bytes_in` were when a drain found it idle.
    pub idle_at: AtomicU32,
    /// Leaves values that no `Gauges` has, so that [`GaugesCell`] needs no more memory than they do.
    #[doc(hidden)]
    pub filler: Filler,
}

/// Always zero.
#[derive(Clone, Copy, Debug, Default)]
#[repr(u8)]
pub enum Filler {
    /// The one value.
    #[default]
    Zero = 0,
}

/// [`Gauges`] in memory of this process, or in memory that forked children share.
#[derive(Debug)]
pub enum GaugesCell {
    /// Of this process alone.
    Own(Gauges),
    /// Shared with the children that are forked while it lives.
    Shared(SharedGauges),
}

impl Deref for GaugesCell {
    type Target = Gauges;

    #[inline]
    fn deref(&self) -> &Gauges {
        match self {
            Self::Own(gauges) => gauges,
            Self::Shared(gauges) => gauges,
        }
    }
}

/// A page of shared memory with [`Gauges`] in it (`mmap(2)`).
#[derive(Debug)]
pub struct SharedGauges(NonNull<Gauges>);

// SAFETY: it owns its mapping, and `Gauges` are atomics, which any thread of any process that has the
// mapping may use at the same time, and a byte that nobody changes.
unsafe impl Send for SharedGauges {}
// SAFETY: as above; a reference gives access to the atomics only.
unsafe impl Sync for SharedGauges {}

impl SharedGauges {
    /// Maps a page; all gauges are zero.
    ///
    /// # Errors
    ///
    /// `ENOMEM` without memory, or at the limit of mappings.
    pub fn new() -> io::Result<Self> {
        // SAFETY: a fresh anonymous mapping at an address that the kernel chooses overlaps nothing.
        let page = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<Gauges>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // A page is aligned to more than a cache line, and zero bytes are a valid value of atomics
        // and of the filler.
        NonNull::new(page.cast())
            .map(Self)
            .ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }
}

impl Deref for SharedGauges {
    type Target = Gauges;

    #[inline]
    fn deref(&self) -> &Gauges {
        // SAFETY: the mapping is readable, writable, large enough, aligned and zeroed, and lives as
        // long as `self`.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for SharedGauges {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `new` with this size, and no reference outlives `self`.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<Gauges>()) };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn a_cell_is_no_larger_than_what_it_may_hold() {
        assert_eq!(size_of::<GaugesCell>(), 24);
    }

    #[test]
    fn shared_gauges_begin_at_zero_and_keep_what_is_stored() {
        let gauges = GaugesCell::Shared(SharedGauges::new().unwrap());
        assert_eq!(gauges.bytes_in.load(Ordering::Relaxed), 0);
        gauges.bytes_in.store(7, Ordering::Relaxed);
        assert_eq!(gauges.bytes_in.load(Ordering::Relaxed), 7);
    }
}
