//! Event loops.
//!
//! The first loop runs on the thread that serves, beside the accepting: with one loop there is no other
//! thread, and no connection changes hands.

use std::cell::RefCell;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{Engine, Place, SharedMemory, Task, Work};
use crate::live::lock;

mod epoll;
mod event_loop;
mod inbox;
mod own;
#[cfg(feature = "uring")]
mod ring;
mod watchdog;

use inbox::{Inbox, Post};
use own::{Own, available, start_loop};
use watchdog::{Dog, Watched};

/// How long a stopping reactor waits for its loops to end; they have nothing left to do.
const STOP_WAIT: Duration = Duration::from_secs(1);

/// Serves all connections on `n` event loops, of which one runs on the thread in `serve_forever`.
///
/// It takes [`MessageHandler`](crate::MessageHandler)s, and handlers of datagrams; those never wait,
/// so a connection needs neither a thread nor, while it is idle, a buffer or a timer.
/// How many there can be is bounded by the descriptors of the process and by
/// [`Limits::connections`](crate::Limits#structfield.connections).
///
/// A new connection goes to the loop that has the fewest. Datagrams are handled on the serving thread.
///
/// A handler that computes for long, or waits, holds up its loop: see [`watchdog`](Self::watchdog).
///
/// ```
/// use socketserver::codec::Chunks;
/// use socketserver::{MessageHandler, Next, Peer, ReactorTcpServer};
/// use std::io;
///
/// struct Echo;
///
/// impl MessageHandler for Echo {
///     type Codec = Chunks;
///     fn handle(&mut self, bytes: &[u8], peer: &mut Peer<'_>) -> io::Result<Next> {
///         peer.write(bytes)?;
///         Ok(Next::Continue)
///     }
/// }
///
/// let server = ReactorTcpServer::bind("127.0.0.1:0", || Echo)?.start()?;
/// # server.stop()?;
/// # Ok::<(), socketserver::Error>(())
/// ```
///
/// A [`RequestHandler`](crate::RequestHandler) waits for its peer, and is refused:
///
/// ```compile_fail,E0277
/// use socketserver::{Connection, ReactorTcpServer, handler_fn};
/// let server = ReactorTcpServer::bind("127.0.0.1:0", handler_fn(|_: &mut Connection| Ok(())));
/// ```
#[derive(Debug)]
pub struct Reactor {
    loops: usize,
    driver: Driver,
    watchdog: Option<Duration>,
    run: Mutex<Run>,
}

/// How an event loop learns what its sockets have to tell.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Driver {
    /// `epoll(7)`.
    #[default]
    Epoll,
    /// `io_uring(7)`, with the feature `uring` and where the kernel has and allows it; otherwise
    /// epoll, with one line in the log.
    ///
    /// Each loop lends the kernel 4 MiB of buffers to receive into. What has come into them from a peer
    /// before it is held up is kept beside what the limits let it have.
    ///
    /// It makes a tenth or less of the system calls, which pays where many connections are sent the
    /// same; containers often forbid it.
    Uring,
}

/// What there is while the reactor serves.
#[derive(Default)]
struct Run {
    inboxes: Vec<Arc<Inbox>>,
    threads: Vec<JoinHandle<()>>,
    dog: Arc<Dog>,
    watched: Vec<Arc<Watched>>,
    has_dog: bool,
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run")
            .field("loops", &self.inboxes.len())
            .finish_non_exhaustive()
    }
}

thread_local! {
    /// The loops that run on this thread, beside the accepting of their servers; by the address of
    /// their inbox. A loop stays on the thread that made it.
    ///
    /// Where a program leaves at once, by `exit(3)` on this thread, they are not dropped: no handler is
    /// to run after that.
    static OWN: RefCell<Vec<(usize, ManuallyDrop<Own>)>> = const { RefCell::new(Vec::new()) };
}

impl Default for Reactor {
    /// A loop for each processor.
    fn default() -> Self {
        Self::new(thread::available_parallelism().map_or(1, std::num::NonZero::get))
    }
}

impl Reactor {
    /// A reactor of `loops` event loops, at least 1; each beside the first has a thread, which starts
    /// with the server.
    pub fn new(loops: usize) -> Self {
        Self {
            loops: loops.max(1),
            driver: Driver::default(),
            watchdog: Some(Duration::from_secs(1)),
            run: Mutex::default(),
        }
    }

    /// How the loops learn what their sockets have to tell; default [`Driver::Epoll`].
    #[must_use]
    pub fn driver(mut self, driver: Driver) -> Self {
        self.driver = driver;
        self
    }

    /// For how long one call of a handler may hold its loop before that is told as
    /// [`Event::LoopHeld`](crate::Event::LoopHeld), with the connection that it serves; default 1
    /// second; `None` is never.
    ///
    /// It costs a thread, which sleeps while the loops do. It is told of after one to two times this
    /// long, and once for each call.
    #[must_use]
    pub fn watchdog(mut self, time: Option<Duration>) -> Self {
        self.watchdog = time;
        self
    }

    /// Makes the loops that are missing.
    fn make_loops(&self, run: &mut Run) -> io::Result<()> {
        let driver = available(self.driver);
        for number in 0..self.loops {
            let inbox = Arc::new(Inbox::new()?);
            let watched = Arc::new(Watched::new(&run.dog));
            if number == 0 {
                let own = Own::new(driver, &inbox, &watched)?;
                OWN.with_borrow_mut(|owns| owns.push((inbox.number(), ManuallyDrop::new(own))));
            } else {
                let thread = start_loop(driver, number, &inbox, &watched)?;
                run.threads.push(thread);
            }
            run.inboxes.push(inbox);
            run.watched.push(watched);
        }
        Ok(())
    }

    /// Starts the watchdog with the first connection, which knows the way to the server's events.
    fn start_watchdog(&self, run: &mut Run, task: &Task) {
        let Some(period) = self.watchdog.filter(|_| !run.has_dog) else {
            return;
        };
        run.has_dog = true;
        let (dog, watched) = (Arc::clone(&run.dog), run.watched.clone());
        let registry = task.ticket.registry();
        let thread = thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || {
                dog.watch(&watched, period, |connection, time| {
                    registry.report_held(connection, time);
                });
            });
        match thread {
            Ok(thread) => run.threads.push(thread),
            Err(error) => {
                tracing::warn!(%error, "the watchdog cannot start: no handler that holds its loop is told of");
            }
        }
    }

    /// Calls `call` with the loop of this thread.
    fn with_own<T>(&self, call: impl FnOnce(&mut Own) -> io::Result<T>) -> io::Result<T> {
        let number = lock(&self.run).inboxes.first().map(|inbox| inbox.number());
        // It is out of its place meanwhile: a handler may drive a server of its own.
        let own = OWN.with_borrow_mut(|owns| {
            let at = owns.iter().position(|(it, _)| Some(*it) == number)?;
            Some(owns.swap_remove(at))
        });
        let Some((number, mut own)) = own else {
            let text = "the reactor serves on the thread that started it";
            return Err(io::Error::other(text));
        };
        let result = call(&mut own);
        OWN.with_borrow_mut(|owns| owns.push((number, own)));
        result
    }

    fn end(&self) {
        let run = std::mem::take(&mut *lock(&self.run));
        if let Some(first) = run.inboxes.first() {
            let number = first.number();
            let own = OWN.with_borrow_mut(|owns| {
                let at = owns.iter().position(|(it, _)| *it == number)?;
                Some(owns.swap_remove(at).1)
            });
            if let Some(own) = own {
                ManuallyDrop::into_inner(own).end();
            }
        }
        for inbox in run.inboxes.iter().skip(1) {
            inbox.post(Post::Stop);
        }
        run.dog.stop();
        let deadline = Instant::now() + STOP_WAIT;
        for thread in run.threads {
            // A handler that holds its loop is not waited for.
            while !thread.is_finished() && Instant::now() < deadline {
                thread::sleep(Duration::from_micros(100));
            }
            if thread.is_finished() {
                let _ = thread.join();
            }
        }
    }
}

/// Whether the first loop is on this thread.
fn is_here(run: &Run) -> bool {
    let number = run.inboxes.first().map(|inbox| inbox.number());
    OWN.with_borrow(|owns| owns.iter().any(|(it, _)| Some(*it) == number))
}

impl Engine for Reactor {
    fn name(&self) -> &'static str {
        "reactor"
    }

    fn place(&self) -> Place {
        Place::Loop
    }

    fn start(&self) -> io::Result<()> {
        let made = {
            let mut run = lock(&self.run);
            if !run.inboxes.is_empty() && is_here(&run) {
                return Ok(());
            }
            if !run.inboxes.is_empty() {
                // A start that led to no run was on another thread, which has that loop.
                drop(run);
                self.end();
                run = lock(&self.run);
            }
            self.make_loops(&mut run)
        };
        if made.is_err() {
            self.end();
        }
        made
    }

    fn process_request(&self, task: Task) -> io::Result<()> {
        if matches!(task.work, Work::Blocking(_)) {
            // A datagram's handler never waits.
            task.run();
            return Ok(());
        }
        let mut run = lock(&self.run);
        self.start_watchdog(&mut run, &task);
        let live = run.inboxes.iter().enumerate();
        let least = live.filter(|(_, inbox)| !inbox.is_shut());
        let Some((number, inbox)) = least.min_by_key(|(_, inbox)| inbox.load()) else {
            return Err(io::Error::other("the reactor does not serve"));
        };
        inbox.expect();
        if number > 0 {
            inbox.post(Post::Admit(task));
            return Ok(());
        }
        drop(run);
        self.with_own(|own| own.admit(task))
    }

    fn wait(&self, fd: BorrowedFd<'_>, timeout: Option<Duration>) -> io::Result<bool> {
        self.with_own(|own| own.run_beside(fd, timeout))
    }

    fn stop(&self) {
        self.end();
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        self.end();
    }
}

impl SharedMemory for Reactor {}
