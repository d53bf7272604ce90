//! stub
#![forbid(unsafe_code)]
#![allow(dead_code, missing_docs)]
mod address; mod endpoint; mod error; mod limits; mod clock; mod wait; mod wake; mod telemetry; mod socket; mod live; mod control; pub mod transport; pub mod codec; mod outbox; mod request; mod engine; mod handler; mod hooks; mod broadcast; mod server;
pub use address::Address; pub use endpoint::*; pub use error::{Error,Stop,Step}; pub use limits::Limits; pub use live::*; pub use control::*; pub use telemetry::*; pub use transport::*;
pub use request::*; pub use outbox::*;
pub use engine::*; pub use handler::*; pub use hooks::*; pub use broadcast::*;
pub use server::*; pub use clock::Clock;
