//! A server that serves on a thread of its own.

use std::thread::JoinHandle;

use crate::control::ServerHandle;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::live::DrainReport;

/// A server that serves on a thread of its own, made by [`Server::start`](super::Server::start).
///
/// [`stop`](Self::stop) it, and it drains and closes. Dropped, it is told to stop and not waited for.
#[derive(Debug)]
#[must_use = "dropped, the server stops"]
pub struct Running {
    handle: ServerHandle,
    endpoints: Vec<Endpoint>,
    thread: Option<JoinHandle<Result<DrainReport, Error>>>,
}

impl Running {
    pub(super) fn new(
        handle: ServerHandle,
        thread: JoinHandle<Result<DrainReport, Error>>,
    ) -> Self {
        Self {
            endpoints: handle.endpoints(),
            handle,
            thread: Some(thread),
        }
    }

    /// A handle on the server.
    pub fn handle(&self) -> &ServerHandle {
        &self.handle
    }

    /// The first endpoint, with its real port.
    ///
    /// # Panics
    ///
    /// If it listens nowhere: [`Builder::build`](crate::Builder::build) and no
    /// [`listen`](crate::Server::listen).
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoints[0]
    }

    /// All endpoints, with their real ports.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Stops the server, lets it drain, closes it, and tells how that went.
    ///
    /// It waits as long as the drain takes, at most its timeout and a second.
    ///
    /// # Errors
    ///
    /// What `serve_forever` returned.
    pub fn stop(mut self) -> Result<DrainReport, Error> {
        self.handle.shutdown();
        self.join()
    }

    /// Waits until the server has stopped for a reason of its own.
    ///
    /// # Errors
    ///
    /// What `serve_forever` returned.
    pub fn wait(mut self) -> Result<DrainReport, Error> {
        self.join()
    }

    fn join(&mut self) -> Result<DrainReport, Error> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(payload)) => std::panic::resume_unwind(payload),
            None => Ok(DrainReport::default()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.handle.shutdown();
        }
    }
}
