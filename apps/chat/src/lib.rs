//! A chat room on [`socketserver`].
//!
//! | module | what lives in it |
//! |---|---|
//! | [`names`], [`command`], [`text`], [`telnet`] | what a name is, what a line means, what text is let in |
//! | [`room`] | the members of a room and the lines that they are shown; pure |
//! | [`door`] | how a connection becomes a member |
//! | [`server`] | the room as a server: [`ChatServer`] |
//! | [`client`] | the program at the other end |
#![forbid(unsafe_code)]

pub mod client;
pub mod command;
pub mod door;
pub mod names;
pub mod room;
pub mod server;
pub mod telnet;
pub mod text;

pub use command::Command;
pub use door::{Door, Options};
pub use names::{Name, NameError, Names};
pub use room::{MemberId, RenameError, Room};
pub use server::{ChatServer, RunningChat, limits, transport};
