//! The memory that the kernel receives into.
//!
//! The entry type is [`Buffers`]: one mapping that holds a ring of entries, which tell the kernel
//! what it may use, and behind them the buffers themselves.
//! A buffer belongs to the kernel from when its entry is put into the ring until a completion names
//! it, and to the program until it is given back.

use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use io_uring::{IoUring, cqueue};

/// The number of the group of buffers; a ring has one.
pub(super) const GROUP: u16 = 0;

/// The most buffers of a group, which the kernel sets.
const MOST: u16 = 1 << 15;

/// `IOU_PBUF_RING_INC` of `io_uring_register(2)`: a buffer is used up piece by piece.
const INCREMENTAL: u16 = 2;

/// The number of the next ring's buffers, by which a [`Buffer`] knows where it belongs.
static NEXT_HOME: AtomicU64 = AtomicU64::new(0);

/// Bytes that a ring has received.
///
/// Give it back with [`Ring::give_back`](super::Ring::give_back): one that is dropped is lost to its
/// ring until the ring itself is dropped.
#[derive(Debug)]
#[must_use = "a buffer that is not given back is lost to its ring"]
pub struct Buffer {
    home: u64,
    offset: u32,
    length: u32,
    id: u16,
}

impl Buffer {
    /// How many bytes were received.
    #[inline]
    pub fn len(&self) -> usize {
        self.length as usize
    }

    /// Whether no byte was received.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

/// An entry of the ring of buffers, as the kernel reads it.
///
/// The last field of the first entry is the ring's tail; nothing else uses that field.
#[repr(C)]
struct Entry {
    address: u64,
    length: u32,
    id: u16,
    tail: u16,
}

/// What has become of a buffer that is used up piece by piece.
#[derive(Clone, Copy, Debug, Default)]
struct Pieces {
    /// Bytes that the kernel has used.
    used: u32,
    /// Pieces that the program holds.
    held: u32,
    /// Whether the kernel is done with it.
    is_done: bool,
}

/// Provided buffers, and the ring that provides them.
#[derive(Debug)]
pub(super) struct Buffers {
    /// The mapping, at whose beginning the ring is.
    memory: NonNull<u8>,
    mapped: usize,
    /// Where in the mapping the buffers begin.
    first: usize,
    /// Bytes of a buffer.
    bytes: u32,
    /// The number of buffers, a power of two.
    count: u16,
    tail: u16,
    home: u64,
    /// One for each buffer if they are used up piece by piece; none otherwise.
    pieces: Vec<Pieces>,
    is_leaked: bool,
}

impl Buffers {
    /// Maps the memory; the kernel knows nothing of it yet.
    pub(super) fn new(count: u16, bytes: u32) -> io::Result<Self> {
        if count == 0 || count > MOST || bytes == 0 {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let count = count.next_power_of_two();
        let first = (usize::from(count) * size_of::<Entry>()).next_multiple_of(4096);
        let mapped = usize::try_from(bytes)
            .ok()
            .and_then(|bytes| bytes.checked_mul(usize::from(count)))
            .and_then(|bytes| bytes.checked_add(first))
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        // SAFETY: a fresh anonymous mapping at an address that the kernel chooses overlaps nothing.
        let memory = unsafe {
            libc::mmap(
                ptr::null_mut(),
                mapped,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = NonNull::new(memory.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        let buffers = Self {
            memory,
            mapped,
            first,
            bytes,
            count,
            tail: 0,
            home: NEXT_HOME.fetch_add(1, Ordering::Relaxed),
            pieces: Vec::new(),
            is_leaked: false,
        };
        // A fork must not make this process copy the pages that the kernel has pinned.
        // SAFETY: the range is the mapping just made, which `buffers` owns.
        let code = unsafe { libc::madvise(memory.as_ptr().cast(), mapped, libc::MADV_DONTFORK) };
        if code != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(buffers)
    }

    /// Registers the memory with `uring` and hands all buffers to the kernel.
    ///
    /// # Safety
    ///
    /// `self` must be dropped after `uring`, and be [leaked](Self::leak) if an operation of `uring`
    /// has not ended by then.
    // SAFETY: a demand and no block; the paragraph above is what the caller keeps.
    pub(super) unsafe fn register(&mut self, uring: &IoUring, incremental: bool) -> io::Result<()> {
        let flags = if incremental { INCREMENTAL } else { 0 };
        let address = self.memory.as_ptr() as u64;
        let submitter = uring.submitter();
        // SAFETY: the mapping begins with room for `count` entries, zeroed and aligned to a page,
        // and outlives `uring`, as the caller promises.
        unsafe { submitter.register_buf_ring_with_flags(address, self.count, GROUP, flags)? };
        if incremental {
            self.pieces = vec![Pieces::default(); usize::from(self.count)];
        }
        for id in 0..self.count {
            self.provide(id);
        }
        Ok(())
    }

    /// Whether a buffer is used up piece by piece.
    pub(super) fn is_incremental(&self) -> bool {
        !self.pieces.is_empty()
    }

    /// Takes over what a completion with these flags has put into a buffer.
    #[inline]
    pub(super) fn take(&mut self, flags: u32, length: u32) -> Option<Buffer> {
        let id = cqueue::buffer_select(flags)?;
        debug_assert!(id < self.count && length <= self.bytes, "not one of ours");
        let mut offset = 0;
        if let Some(pieces) = self.pieces.get_mut(usize::from(id)) {
            offset = pieces.used;
            pieces.used += length;
            pieces.held += 1;
            // Without a byte the kernel has used nothing, whatever the flags say.
            pieces.is_done |= length > 0 && !cqueue::buffer_more(flags);
        }
        Some(Buffer {
            home: self.home,
            offset,
            length,
            id,
        })
    }

    /// The bytes in a buffer.
    #[inline]
    pub(super) fn bytes(&self, buffer: &Buffer) -> &[u8] {
        assert_eq!(buffer.home, self.home, "a buffer of another ring");
        let place = self.place(buffer.id) + buffer.offset as usize;
        // SAFETY: the range lies within the buffer, since `take` was told what the kernel wrote
        // there, and thus within the mapping, which is initialised (it began as zeros).
        // `buffer` exists, so the kernel does not write to these bytes: its buffer, or its piece of
        // one, is given back by `give_back` only, which consumes it and needs `&mut self`.
        unsafe {
            std::slice::from_raw_parts(self.memory.as_ptr().add(place), buffer.length as usize)
        }
    }

    /// Returns a buffer, or a piece of one, to the kernel.
    #[inline]
    pub(super) fn give_back(&mut self, buffer: &Buffer) {
        assert_eq!(buffer.home, self.home, "a buffer of another ring");
        if let Some(pieces) = self.pieces.get_mut(usize::from(buffer.id)) {
            pieces.held -= 1;
            if !pieces.is_done || pieces.held > 0 {
                return;
            }
            *pieces = Pieces::default();
        }
        self.provide(buffer.id);
    }

    /// Puts the buffer `id`, which is the program's, into the kernel's ring.
    #[inline]
    fn provide(&mut self, id: u16) {
        let at = usize::from(self.tail & (self.count - 1));
        let place = self.place(id);
        let ring: *mut Entry = self.memory.as_ptr().cast();
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `at` is below `count`, so the entry lies in the mapping, and `place` does too.
        // The kernel does not read this entry before the tail says so: there are `count` buffers
        // and `count` entries, and each buffer is provided again only after the kernel took it.
        // The tail is aligned, and nobody but this thread writes to it.
        unsafe {
            let entry = ring.add(at);
            (&raw mut (*entry).address).write(self.memory.as_ptr().add(place) as u64);
            (&raw mut (*entry).length).write(self.bytes);
            (&raw mut (*entry).id).write(id);
            AtomicU16::from_ptr(&raw mut (*ring).tail).store(self.tail, Ordering::Release);
        }
    }

    /// Where in the mapping the buffer `id` begins.
    #[inline]
    fn place(&self, id: u16) -> usize {
        self.first + usize::from(id) * self.bytes as usize
    }

    /// Leaves the memory to the kernel for ever.
    pub(super) fn leak(&mut self) {
        self.is_leaked = true;
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        if self.is_leaked {
            return;
        }
        // SAFETY: the mapping was made in `new` with this size; no slice outlives `self`, and the
        // kernel uses it no more, as `register` demands.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), self.mapped) };
    }
}
