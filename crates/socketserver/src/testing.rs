//! For tests: servers without a network, accept errors on demand, and time that a test moves.

mod clock;
mod codec;
mod flaky;
mod memory;

pub use clock::ManualClock;
pub use codec::verify_codec;
pub use flaky::{Faults, FlakyListener};
pub use memory::Memory;
