//! What is sent, kept alive until the kernel is done with it.
//!
//! The entry type is [`Payload`]; [`Sends`] keeps those that are under way.

use std::sync::Arc;

/// The most bytes that one send takes; the kernel sends no more at once.
const MOST_BYTES: u32 = 0x7fff_f000;

/// Bytes to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Of this send alone; the vector comes back with the completion and can be used again.
    Owned(Vec<u8>),
    /// Shared with others, who must not change them.
    Shared(Arc<[u8]>),
}

impl Payload {
    /// The bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Owned(bytes)
    }
}

impl From<Arc<[u8]>> for Payload {
    fn from(bytes: Arc<[u8]>) -> Self {
        Self::Shared(bytes)
    }
}

/// A payload that the kernel reads, and the token of its send.
#[derive(Debug)]
struct Send {
    payload: Payload,
    token: u64,
}

/// The sends under way, by the number that stands in their user data.
///
/// No slice of a payload is handed out and no payload changes here, so the bytes stay where they are
/// and what they are, although the vectors that own them may move.
#[derive(Debug, Default)]
pub(super) struct Sends {
    sends: Vec<Option<Send>>,
    free: Vec<u32>,
}

impl Sends {
    /// Keeps `payload`; tells its number, and where and how long its bytes are.
    #[inline]
    pub(super) fn keep(&mut self, payload: Payload, token: u64) -> (u32, *const u8, u32) {
        let bytes = payload.bytes();
        let address = bytes.as_ptr();
        let length = u32::try_from(bytes.len()).map_or(MOST_BYTES, |bytes| bytes.min(MOST_BYTES));
        let send = Some(Send { payload, token });
        if let Some(number) = self.free.pop() {
            self.sends[number as usize] = send;
            return (number, address, length);
        }
        // Each holds more than a hundred bytes of memory: there are never 2^32 of them.
        let number = u32::try_from(self.sends.len()).unwrap_or(u32::MAX);
        self.sends.push(send);
        (number, address, length)
    }

    /// Gives back what was kept under `number`, whose send is over.
    #[inline]
    pub(super) fn release(&mut self, number: u32) -> Option<(Payload, u64)> {
        let Send { payload, token } = self.sends.get_mut(number as usize)?.take()?;
        self.free.push(number);
        Some((payload, token))
    }

    /// Leaves to the kernel for ever what has not been released.
    pub(super) fn leak(&mut self) {
        std::mem::forget(std::mem::take(&mut self.sends));
    }
}
