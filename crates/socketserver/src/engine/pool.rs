//! A fixed number of threads.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

mod lounge;
mod news;

use super::{BlockingEngine, Engine, Place, SharedMemory, Task};

use super::Work;
use crate::live::lock;
use crate::telemetry::EndReason;
use crate::wait::{Interest, Poller};
use lounge::Lounge;

/// How long a stopping pool waits for its threads to end; they have nothing left to do.
const STOP_WAIT: Duration = Duration::from_secs(1);

/// Runs requests on `n` threads.
///
/// A [`MessageHandler`](crate::MessageHandler) holds a thread while it handles a message, and no longer:
/// its idle connections are parked, however many, and so are those whose peers send or read slowly.
/// Its handlers may wait, `n` of them at once.
///
/// A [`RequestHandler`](crate::RequestHandler)'s connection is parked until its first byte has come;
/// then it holds a thread until its handler is done, so `n` connections are served at once.
/// For a protocol in which the server speaks first, see [`greeting`](Self::greeting).
#[derive(Debug)]
pub struct Pool {
    threads: usize,
    greets: bool,
    shared: Arc<Shared>,
    /// The parked connections by number. All may wait equally long, so the first is the first to
    /// expire.
    parked: Mutex<BTreeMap<u64, Parked>>,
    poller: OnceLock<Poller>,
}

#[derive(Debug)]
struct Parked {
    task: Task,
    until: Option<Instant>,
}

/// What the threads share.
#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    has_work: Condvar,
    has_ended: Condvar,
    /// Where the connections of message handlers are.
    lounge: OnceLock<Arc<Lounge>>,
}

#[derive(Debug, Default)]
struct Queue {
    tasks: VecDeque<Task>,
    threads: usize,
    /// Threads that have nothing to do.
    idle: usize,
    /// Of these, how many have been called and have not come yet.
    called: usize,
    stops: bool,
}

impl Default for Pool {
    /// Four threads for each processor, and at least eight.
    fn default() -> Self {
        Self::new(
            thread::available_parallelism()
                .map_or(8, |count| count.get() * 4)
                .max(8),
        )
    }
}

impl Pool {
    /// A pool of `threads` threads, at least 1; they start with the server.
    pub fn new(threads: usize) -> Self {
        Self {
            threads: threads.max(1),
            greets: false,
            shared: Arc::default(),
            parked: Mutex::default(),
            poller: OnceLock::new(),
        }
    }

    /// Gives a connection a thread at once rather than at its first byte, for protocols in which the
    /// server speaks first; default `false`.
    ///
    /// An idle newcomer then holds a thread.
    #[must_use]
    pub fn greeting(mut self, greets: bool) -> Self {
        self.greets = greets;
        self
    }

    /// Makes up for the threads that a failed start or an earlier stop left out.
    fn start_threads(&self) -> io::Result<()> {
        let mut queue = lock(&self.shared.queue);
        queue.stops = false;
        while queue.threads < self.threads {
            let shared = Arc::clone(&self.shared);
            let name = format!("pool-{}", queue.threads + 1);
            thread::Builder::new()
                .name(name)
                .spawn(move || shared.work())?;
            queue.threads += 1;
        }
        Ok(())
    }

    fn park(&self, task: Task) -> io::Result<()> {
        let (Some(socket), Some(poller)) = (task.socket.clone(), self.poller.get()) else {
            self.shared.push(task);
            return Ok(());
        };
        let until = task
            .idle_timeout
            .and_then(|timeout| task.clock.now().checked_add(timeout));
        let id = task.id();
        lock(&self.parked).insert(id, Parked { task, until });
        if let Err(error) = poller.add(&*socket, id, Interest::Readable) {
            lock(&self.parked).remove(&id);
            return Err(error);
        }
        Ok(())
    }

    /// Takes a parked task out.
    fn unpark(&self, id: u64) -> Option<Task> {
        let parked = lock(&self.parked).remove(&id)?;
        if let (Some(socket), Some(poller)) = (&parked.task.socket, self.poller.get()) {
            poller.remove(&**socket);
        }
        Some(parked.task)
    }

    /// Ends what has been silent for too long.
    fn expire(&self) {
        while let Some(id) = self.first_expired() {
            if let Some(task) = self.unpark(id) {
                task.ticket.live.cut(EndReason::IdleTimeout);
            }
        }
    }

    fn first_expired(&self) -> Option<u64> {
        let parked = lock(&self.parked);
        let (&id, first) = parked.first_key_value()?;
        first.task.clock.is_past(first.until).then_some(id)
    }
}

impl Shared {
    fn push(&self, task: Task) {
        let mut queue = lock(&self.queue);
        queue.tasks.push_back(task);
        self.call(&mut queue, true);
    }

    /// Calls a thread that has nothing to do, if there is one. For the lounge one that is on its way is
    /// enough: it calls the next.
    fn call(&self, queue: &mut Queue, each: bool) {
        if queue.idle > queue.called {
            if each || queue.called == 0 {
                queue.called += 1;
                self.has_work.notify_one();
            }
        } else if queue.called == 0
            && let Some(lounge) = self.lounge.get()
            && lounge.is_watched()
        {
            // The one that waits for the connections may be the only one that is free.
            lounge.wake();
        }
    }

    /// What each thread does.
    fn work(&self) {
        let _seat = Seat(self);
        let mut kit = None;
        loop {
            let mut queue = lock(&self.queue);
            if let Some(task) = queue.tasks.pop_front() {
                drop(queue);
                task.run();
                continue;
            }
            if queue.stops {
                return;
            }
            if let Some(lounge) = self.lounge.get() {
                let kit = kit.get_or_insert_with(|| lounge.kit());
                drop(queue);
                if lounge.serve_next(kit) {
                    continue;
                }
                if lounge.begin_watch() {
                    lounge.watch(kit);
                    continue;
                }
                queue = lock(&self.queue);
                // What came meanwhile called nobody, as this thread was not yet idle.
                if !queue.tasks.is_empty() || queue.stops || lounge.has_work() {
                    continue;
                }
            }
            queue.idle += 1;
            queue = self
                .has_work
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
            queue.called = queue.called.saturating_sub(1);
        }
    }
}

/// A thread of the pool; it counts until it is dropped, whatever ends the thread.
struct Seat<'a>(&'a Shared);

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        lock(&self.0.queue).threads -= 1;
        self.0.has_ended.notify_all();
    }
}

impl Engine for Pool {
    fn name(&self) -> &'static str {
        "pool"
    }

    fn place(&self) -> Place {
        Place::Thread
    }

    fn start(&self) -> io::Result<()> {
        if self.poller.get().is_none() {
            let _ = self.poller.set(Poller::new()?);
        }
        if self.shared.lounge.get().is_none() {
            let shared = Arc::downgrade(&self.shared);
            let call = move || {
                if let Some(shared) = shared.upgrade() {
                    shared.call(&mut lock(&shared.queue), false);
                }
            };
            let _ = self.shared.lounge.set(Arc::new(Lounge::new(call)?));
        }
        self.start_threads()
    }

    fn process_request(&self, task: Task) -> io::Result<()> {
        if let (Work::Driven(_), Some(lounge)) = (&task.work, self.shared.lounge.get()) {
            return lounge.admit(task);
        }
        if self.greets {
            self.shared.push(task);
            return Ok(());
        }
        self.park(task)
    }

    fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        self.poller.get().map(Poller::as_fd)
    }

    fn deadline(&self) -> Option<Instant> {
        lock(&self.parked)
            .first_key_value()
            .and_then(|(_, first)| first.until)
    }

    fn service_actions(&self) {
        let Some(poller) = self.poller.get() else {
            return;
        };
        let mut ready = Vec::new();
        while poller.wait(&mut ready, Some(Duration::ZERO)).is_ok() && !ready.is_empty() {
            for task in ready.iter().filter_map(|&id| self.unpark(id)) {
                self.shared.push(task);
            }
        }
        self.expire();
    }

    fn stop(&self) {
        let mut queue = lock(&self.shared.queue);
        queue.stops = true;
        self.shared.has_work.notify_all();
        if let Some(lounge) = self.shared.lounge.get() {
            lounge.wake();
        }
        let deadline = Instant::now() + STOP_WAIT;
        while queue.threads > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.shared.has_ended.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(queue);
        if let Some(lounge) = self.shared.lounge.get() {
            lounge.end();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut queue = lock(&self.shared.queue);
        queue.stops = true;
        queue.tasks.clear();
        self.shared.has_work.notify_all();
        if let Some(lounge) = self.shared.lounge.get() {
            lounge.wake();
        }
    }
}

impl BlockingEngine for Pool {}
impl SharedMemory for Pool {}
