//! The two queues that the program and the kernel share, and the count of what is under way.
//!
//! The entry type is [`Queue`].
//! It knows nothing of what the operations mean.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::time::Duration;

use io_uring::types::{CancelBuilder, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, Probe, cqueue, opcode, squeue};

/// How many completions are taken out of the shared queue at once.
const BATCH: usize = 256;

/// The least and the most places of the completion queue; the most is the kernel's limit.
const COMPLETIONS: (u32, u32) = (8192, 65_536);

/// The longest wait that is passed on; whoever asked for more waits again.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// A completion as the kernel tells it.
#[derive(Clone, Copy)]
pub(super) struct Arrived {
    pub(super) user_data: u64,
    pub(super) result: i32,
    pub(super) flags: u32,
}

impl Arrived {
    /// Whether its operation goes on.
    #[inline]
    pub(super) fn has_more(self) -> bool {
        cqueue::more(self.flags)
    }
}

/// An `io_uring` and what has been taken out of it.
pub(super) struct Queue {
    uring: IoUring,
    /// What found the submission queue full while the kernel took nothing; empty but for that.
    backlog: VecDeque<squeue::Entry>,
    /// Completions taken out of the shared queue; those before `next` have been told.
    arrived: Vec<Arrived>,
    next: usize,
    /// Operations that were pushed and whose last completion has not been told.
    under_way: usize,
    /// The flags of every wait.
    flags: EnterFlags,
}

impl Queue {
    /// Makes an `io_uring` for the calling thread alone.
    pub(super) fn new(entries: u32) -> io::Result<Self> {
        let (least, most) = COMPLETIONS;
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_clamp()
            .setup_cqsize(entries.saturating_mul(4).clamp(least, most))
            // A child must not see the queues: what it put there would be done in its parent's memory.
            .dontfork()
            .build(entries)?;
        let parameters = uring.params();
        if !parameters.is_feature_nodrop() || !parameters.is_feature_ext_arg() {
            return Err(unsupported("a completion queue that loses nothing"));
        }
        let mut flags = EnterFlags::GETEVENTS;
        // An idle server should not look like one that waits for a disk.
        flags.set(EnterFlags::NO_IOWAIT, parameters.is_feature_no_iowait());
        let queue = Self {
            uring,
            backlog: VecDeque::new(),
            arrived: Vec::with_capacity(BATCH),
            next: 0,
            under_way: 0,
            flags,
        };
        queue.probe()?;
        Ok(queue)
    }

    /// Asks the kernel for the operations that are used.
    fn probe(&self) -> io::Result<()> {
        let mut probe = Probe::new();
        self.uring.submitter().register_probe(&mut probe)?;
        let operations = [
            opcode::AcceptMulti::CODE,
            opcode::AsyncCancel::CODE,
            opcode::PollAdd::CODE,
            opcode::RecvMulti::CODE,
            opcode::Send::CODE,
        ];
        if operations.iter().all(|&code| probe.is_supported(code)) {
            return Ok(());
        }
        Err(unsupported("an operation that a server needs"))
    }

    /// Puts an operation into the submission queue.
    ///
    /// It is submitted by the next [`submit`](Self::submit) or [`wait`](Self::wait), or at once if
    /// the queue is full.
    ///
    /// # Safety
    ///
    /// The memory that `entry` names must be valid, for reading or writing as the operation does,
    /// until [`take`](Self::take) has told the operation's last completion, or for ever.
    // SAFETY: a demand and no block; the paragraph above is what the caller keeps.
    #[inline]
    pub(super) unsafe fn push(&mut self, entry: &squeue::Entry) {
        self.under_way += 1;
        if self.backlog.is_empty() {
            // SAFETY: the caller keeps the memory valid until the last completion.
            let pushed = unsafe { self.uring.submission().push(entry) };
            if pushed.is_ok() {
                return;
            }
        }
        self.push_to_backlog(entry.clone());
    }

    #[cold]
    fn push_to_backlog(&mut self, entry: squeue::Entry) {
        self.backlog.push_back(entry);
        // If the kernel takes nothing now, the next wait tries again and tells the error.
        let _ = self.submit();
    }

    /// Moves what fits from the backlog into the submission queue.
    fn refill(&mut self) {
        let mut submission = self.uring.submission();
        while let Some(entry) = self.backlog.front() {
            // SAFETY: it was pushed under the promise of `push`, which still holds, because its
            // last completion cannot have been told.
            if unsafe { submission.push(entry) }.is_err() {
                break;
            }
            self.backlog.pop_front();
        }
    }

    /// How many operations the kernel has not seen yet.
    #[inline]
    pub(super) fn unsubmitted(&mut self) -> usize {
        self.uring.submission().len() + self.backlog.len()
    }

    /// Hands everything to the kernel, without waiting.
    pub(super) fn submit(&mut self) -> io::Result<()> {
        loop {
            if !self.backlog.is_empty() {
                self.refill();
            }
            let queued = self.uring.submission().len();
            if queued == 0 {
                return Ok(());
            }
            let taken = self.enter(queued, 0, EnterFlags::empty(), None);
            let taken = self.bear(taken)?;
            if self.backlog.is_empty() || taken == 0 {
                return Ok(());
            }
        }
    }

    /// Hands everything to the kernel, and waits until a completion is there or `timeout` is over.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if !self.backlog.is_empty() {
            self.submit()?;
        }
        let has_arrived = self.has_arrived();
        let (queued, has_work) = {
            let submission = self.uring.submission();
            let has_work = submission.taskrun() || submission.cq_overflow();
            (submission.len(), has_work)
        };
        let waits = !has_arrived && timeout != Some(Duration::ZERO);
        if !waits && queued == 0 && !has_work {
            return Ok(());
        }
        let timeout = if waits { timeout } else { None };
        let entered = self.enter(queued, u32::from(waits), self.flags, timeout);
        self.bear(entered).map(drop)
    }

    /// Waits for a completion without submitting anything.
    pub(super) fn attend(&mut self, timeout: Duration) -> io::Result<()> {
        let entered = self.enter(0, 1, self.flags, Some(timeout));
        self.bear(entered).map(drop)
    }

    /// Whether [`take`](Self::take) would tell something.
    fn has_arrived(&mut self) -> bool {
        self.next < self.arrived.len() || !self.uring.completion().is_empty()
    }

    /// `io_uring_enter(2)`; tells how many operations the kernel has taken.
    fn enter(
        &self,
        queued: usize,
        wanted: u32,
        flags: EnterFlags,
        timeout: Option<Duration>,
    ) -> io::Result<usize> {
        let queued = u32::try_from(queued).unwrap_or(u32::MAX);
        let submitter = self.uring.submitter();
        let Some(timeout) = timeout else {
            // SAFETY: everything in the queue was pushed under the promise of `push`; there is no
            // argument.
            return unsafe {
                submitter.enter::<libc::sigset_t>(queued, wanted, flags.bits(), None)
            };
        };
        let timeout = Timespec::from(timeout.min(LONGEST));
        let argument = SubmitArgs::new().timespec(&timeout);
        let flags = flags | EnterFlags::EXT_ARG;
        // SAFETY: as above; the argument is the one that `EXT_ARG` announces, and lives through the
        // call together with the time that it points to.
        unsafe { submitter.enter(queued, wanted, flags.bits(), Some(&argument)) }
    }

    /// Passes an error of `io_uring_enter(2)` on if it is one.
    fn bear(&mut self, entered: io::Result<usize>) -> io::Result<usize> {
        let Err(error) = entered else { return entered };
        match error.raw_os_error() {
            Some(libc::ETIME | libc::EINTR) => Ok(0),
            // The kernel is short of memory or of places: what is told makes room, and what was not
            // taken stays queued.
            Some(libc::EAGAIN | libc::EBUSY) if self.has_arrived() => Ok(0),
            _ => Err(error),
        }
    }

    /// The next completion.
    #[inline]
    pub(super) fn take(&mut self) -> Option<Arrived> {
        let arrived = match self.arrived.get(self.next) {
            Some(&arrived) => arrived,
            None => self.take_batch()?,
        };
        self.next += 1;
        if !arrived.has_more() {
            self.under_way = self.under_way.saturating_sub(1);
        }
        Some(arrived)
    }

    /// Copies the next batch out of the shared queue and tells its first.
    fn take_batch(&mut self) -> Option<Arrived> {
        self.arrived.clear();
        self.next = 0;
        let batch = self.uring.completion().take(BATCH);
        self.arrived.extend(batch.map(|entry| Arrived {
            user_data: entry.user_data(),
            result: entry.result(),
            flags: entry.flags(),
        }));
        self.arrived.first().copied()
    }

    /// Asks the kernel to cancel everything that it has taken.
    pub(super) fn cancel_all(&self, patience: Duration) {
        // That there is nothing to cancel is told as an error; whether it worked is seen in
        // `is_quiet`.
        let _ = self
            .uring
            .submitter()
            .register_sync_cancel(Some(Timespec::from(patience)), CancelBuilder::any());
    }

    /// Whether the kernel has no operation left: nothing reads or writes the program's memory.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.under_way == self.unsubmitted()
    }

    /// The `io_uring`, to register memory with it.
    pub(super) fn uring(&self) -> &IoUring {
        &self.uring
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Queue")
            .field("under_way", &self.under_way)
            .field("backlog", &self.backlog.len())
            .finish_non_exhaustive()
    }
}

/// The error for a kernel that lacks something.
pub(super) fn unsupported(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!("this kernel's io_uring lacks {what}"),
    )
}
