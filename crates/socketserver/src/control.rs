//! The handle on a running server: stop it, wait for it, look into it.
//!
//! A run is one `serve_forever`. A handle names the run that it stops, so that a shutdown that comes
//! before the run is not lost, and one that comes after does not end the next.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::limits::Limits;
use crate::live::{ConnectionInfo, Registry, lock};
use crate::telemetry::{Counters, EndReason, Event, Telemetry};
use crate::wake::Waker;

/// What a server and its handles share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The number of the present or next run, doubled, plus 1 while it serves.
    state: AtomicU64,
    /// The newest run that is to stop.
    stop: AtomicU64,
    /// The newest run that is to stop without a drain.
    abort: AtomicU64,
    /// The newest run that has ended.
    ended: Mutex<u64>,
    has_ended: Condvar,
    endpoints: Mutex<Vec<Endpoint>>,
    /// Bytes that wait in all outboxes together.
    pub(crate) outbox_total: AtomicUsize,
    pub(crate) waker: Arc<Waker>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) telemetry: Telemetry,
    pub(crate) limits: Arc<Limits>,
    pub(crate) clock: Clock,
}

impl Shared {
    pub(crate) fn new(
        limits: Limits,
        clock: Clock,
        telemetry: Telemetry,
    ) -> std::io::Result<Arc<Self>> {
        let waker = Arc::new(Waker::new()?);
        let limits = Arc::new(limits);
        let registry = Registry::new(
            Arc::clone(&limits),
            clock.clone(),
            telemetry.clone(),
            Arc::clone(&waker),
        );
        Ok(Arc::new(Self {
            state: AtomicU64::new(1 << 1),
            stop: AtomicU64::new(0),
            abort: AtomicU64::new(0),
            ended: Mutex::new(0),
            has_ended: Condvar::new(),
            endpoints: Mutex::default(),
            outbox_total: AtomicUsize::new(0),
            waker,
            registry: Arc::new(registry),
            telemetry,
            limits,
            clock,
        }))
    }

    /// A handle that names the present run, or the next if none serves.
    pub(crate) fn handle(self: &Arc<Self>) -> ServerHandle {
        ServerHandle {
            run: self.run(),
            shared: Arc::clone(self),
        }
    }

    pub(crate) fn run(&self) -> u64 {
        self.state.load(Ordering::SeqCst) >> 1
    }

    /// Begins the next run.
    pub(crate) fn begin_run(&self) -> u64 {
        // A stop that a child of an earlier run left behind means nothing to this one; that there is
        // something to do still does.
        self.waker.take();
        self.waker.wake();
        self.state.fetch_or(1, Ordering::SeqCst) >> 1
    }

    /// Ends the present run.
    pub(crate) fn end_run(&self) {
        let run = self.run();
        self.state.store((run + 1) << 1, Ordering::SeqCst);
        *lock(&self.ended) = run;
        self.has_ended.notify_all();
    }

    /// Whether the present run is to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::SeqCst) >= self.run()
    }

    /// Whether the present run is to stop at once.
    pub(crate) fn is_aborting(&self) -> bool {
        self.abort.load(Ordering::SeqCst) >= self.run()
    }

    /// Takes the wakes; a child that asked for a stop has its wish.
    pub(crate) fn take_wakes(&self) {
        if self.waker.take() {
            self.stop.fetch_max(self.run(), Ordering::SeqCst);
        }
    }

    pub(crate) fn set_endpoints(&self, endpoints: Vec<Endpoint>) {
        *lock(&self.endpoints) = endpoints;
    }
}

/// A handle on a server: `Clone`, `Send`, and usable from any thread, handler or signal handler.
///
/// It names a run: the one that serves when it is taken, or else the next one.
/// [`shutdown`](Self::shutdown) ends the run that serves at the moment, or, if none does, the one
/// that the handle names unless that is over.
///
/// ```
/// use socketserver::{Connection, ThreadingTcpServer, handler_fn};
///
/// let mut server = ThreadingTcpServer::bind("127.0.0.1:0", handler_fn(|_: &mut Connection| Ok(())))?;
/// let handle = server.handle();
/// handle.shutdown();                                  // before the run: it is not lost
/// let report = server.serve_forever()?;
/// assert_eq!(report.finished, 0);
/// # Ok::<(), socketserver::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ServerHandle {
    run: u64,
    shared: Arc<Shared>,
}

impl ServerHandle {
    /// Asks the server to stop: it drains, and `serve_forever` returns.
    ///
    /// It returns at once, never waits and never fails; calling it twice is calling it once.
    /// It is an atomic store and one write to an eventfd, so a signal handler may call it.
    /// From a forked child it reaches the parent, as does [`abort`](Self::abort), which is no more
    /// than this there.
    pub fn shutdown(&self) {
        if socketserver_sys::fork::in_child() {
            self.shared.waker.wake_to_stop();
        } else if let Some(run) = self.target() {
            self.shared.stop.fetch_max(run, Ordering::SeqCst);
            self.shared.waker.wake();
        }
    }

    /// Asks the server to stop at once: what runs is cut off rather than waited for.
    ///
    /// As [`shutdown`](Self::shutdown) otherwise; it also cuts a drain short that is under way.
    pub fn abort(&self) {
        if let Some(run) = self.target() {
            self.shared.abort.fetch_max(run, Ordering::SeqCst);
        }
        self.shutdown();
    }

    /// The run that a stop would end.
    fn target(&self) -> Option<u64> {
        let state = self.shared.state.load(Ordering::SeqCst);
        let (run, serves) = (state >> 1, state & 1 == 1);
        (serves || run == self.run).then_some(run)
    }

    /// Waits until the run that the handle names is over, at most `timeout`; tells whether it is.
    ///
    /// Called in the serving thread of a run it can only time out.
    pub fn wait(&self, timeout: Duration) -> bool {
        // What is too far away to be told is for ever.
        let deadline = Instant::now().checked_add(timeout);
        let mut ended = lock(&self.shared.ended);
        while *ended < self.run {
            let left = deadline.map_or(Duration::MAX, |deadline| {
                deadline.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                return false;
            }
            ended = match self.shared.has_ended.wait_timeout(ended, left) {
                Ok((guard, _)) => guard,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        true
    }

    /// Whether the server serves at the moment.
    pub fn is_serving(&self) -> bool {
        self.shared.state.load(Ordering::SeqCst) & 1 == 1
    }

    /// Whether the present run has been asked to stop.
    pub fn is_stopping(&self) -> bool {
        self.shared.is_stopping()
    }

    /// Where the server listens, with the real ports.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        lock(&self.shared.endpoints).clone()
    }

    /// The requests that live at the moment, the oldest first.
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        self.shared.registry.list()
    }

    /// How many requests live at the moment.
    pub fn connection_count(&self) -> usize {
        self.shared.registry.count()
    }

    /// The live request with number `id`.
    pub fn find(&self, id: u64) -> Option<ConnectionInfo> {
        self.shared.registry.info(id)
    }

    /// Cuts the request with number `id` off; tells whether there was one.
    ///
    /// Its reads and writes fail from now on; what was written before may be lost.
    /// A child process that serves it is killed.
    pub fn disconnect(&self, id: u64) -> bool {
        let live = self.shared.registry.find(id);
        if let Some(live) = &live {
            live.cut(EndReason::Disconnected);
        }
        live.is_some()
    }

    /// How often things have happened so far.
    pub fn counters(&self) -> Counters {
        self.shared.telemetry.counters()
    }

    /// Tells of `error` as an event: what the default
    /// [`handle_error`](crate::Hooks::handle_error) does.
    pub fn report(&self, error: &Error) {
        self.shared.telemetry.emit(&Event::Failed { error });
    }

    /// The limits of the server.
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}
