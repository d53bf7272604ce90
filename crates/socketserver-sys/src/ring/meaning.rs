//! What the kernel's completions mean to the caller.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use super::queue::Arrived;
use super::{
    ACCEPT, CANCEL, Completion, GREATEST_TOKEN, Operation, RECEIVE, Ring, SEND, TOKEN_BITS, WATCH,
};

impl Ring {
    /// What a completion means; none if it means nothing to the caller.
    #[inline]
    pub(super) fn meaning(&mut self, arrived: Arrived) -> Option<Completion> {
        let token = arrived.user_data & GREATEST_TOKEN;
        let kind = arrived.user_data >> TOKEN_BITS;
        if kind == SEND {
            return self.sent(arrived, token);
        }
        if kind == RECEIVE
            && let Ok(length @ 1..) = u32::try_from(arrived.result)
            && let Some(buffer) = self.buffers.take(arrived.flags, length)
        {
            return Some(Completion::Received {
                token,
                buffer,
                armed: arrived.has_more(),
            });
        }
        self.meaning_of_the_rest(arrived, kind, token)
    }

    /// What comes a few times for a connection; apart, so that the above is small where it is used.
    #[cold]
    fn meaning_of_the_rest(
        &mut self,
        arrived: Arrived,
        kind: u64,
        token: u64,
    ) -> Option<Completion> {
        match kind {
            RECEIVE => Some(self.not_received(arrived, token)),
            ACCEPT => Some(accepted(arrived, token)),
            WATCH => Some(watched(arrived, token)),
            cancel => cancelled(arrived, cancel.checked_sub(CANCEL)?, token),
        }
    }

    fn not_received(&mut self, arrived: Arrived, token: u64) -> Completion {
        let armed = arrived.has_more();
        if let Some(buffer) = self.buffers.take(arrived.flags, 0) {
            self.buffers.give_back(&buffer);
        }
        let Some(error) = error(arrived.result) else {
            return Completion::Ended { token, armed };
        };
        match error.raw_os_error() {
            Some(libc::ECANCELED) if !armed => Completion::Cancelled {
                token,
                operation: Operation::Receive,
            },
            code => Completion::ReceiveFailed {
                token,
                error,
                starved: code == Some(libc::ENOBUFS),
                armed,
            },
        }
    }

    #[inline]
    fn sent(&mut self, arrived: Arrived, number: u64) -> Option<Completion> {
        let (payload, token) = self.sends.release(u32::try_from(number).ok()?)?;
        let result = usize::try_from(arrived.result);
        Some(Completion::Sent {
            token,
            result: result.map_err(|_| io::Error::from_raw_os_error(-arrived.result)),
            payload,
        })
    }
}

/// The error that a completion tells.
fn error(result: i32) -> Option<io::Error> {
    (result < 0).then(|| io::Error::from_raw_os_error(-result))
}

fn accepted(arrived: Arrived, token: u64) -> Completion {
    let armed = arrived.has_more();
    let socket: RawFd = arrived.result;
    let Some(error) = error(arrived.result) else {
        // SAFETY: the descriptor is fresh from the kernel, and told by this completion only.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        return Completion::Accepted {
            token,
            socket,
            armed,
        };
    };
    if error.raw_os_error() == Some(libc::ECANCELED) && !armed {
        let operation = Operation::Accept;
        return Completion::Cancelled { token, operation };
    }
    Completion::AcceptFailed {
        token,
        error,
        armed,
    }
}

fn watched(arrived: Arrived, token: u64) -> Completion {
    let armed = arrived.has_more();
    let Some(error) = error(arrived.result) else {
        return Completion::Readable { token, armed };
    };
    if error.raw_os_error() == Some(libc::ECANCELED) && !armed {
        let operation = Operation::Watch;
        return Completion::Cancelled { token, operation };
    }
    Completion::WatchFailed {
        token,
        error,
        armed,
    }
}

/// What the end of a cancel means: if it found its target, that tells it; if not, this does.
fn cancelled(arrived: Arrived, kind: u64, token: u64) -> Option<Completion> {
    let operation = match kind {
        ACCEPT => Operation::Accept,
        RECEIVE => Operation::Receive,
        WATCH => Operation::Watch,
        _ => return None,
    };
    (arrived.result == -libc::ENOENT).then_some(Completion::Cancelled { token, operation })
}
