//! The unsafe room of `socketserver`.
//!
//! Everything that safe wrappers do not offer lives here, behind functions that are safe to call:
//!
//! | module | what it does | why it is not elsewhere |
//! |---|---|---|
//! | [`datagrams`] | receives and sends many datagrams by one system call | `recvmmsg(2)` and `sendmmsg(2)` |
//! | [`fork`] | forks a child that runs one closure and `_exit`s | `fork(2)` is sound only under rules that are kept here |
//! | [`gauges`] | numbers that a server reads while a forked child changes them | `mmap(2)` with `MAP_SHARED` |
//! | [`signal`] | signals as a readable descriptor | `signalfd(2)` and the signal mask |
//! | [`socket`] | facts about a socket that no safe wrapper tells | `getsockopt(TCP_INFO)` |
//! | [`cpu_clock`] | the processor time of another process | `clock_getcpuclockid(3)` |
//! | `ring` | input and output by `io_uring`, with the feature `uring` | memory that the kernel uses while the program goes on |
//!
//! The rest of the project forbids `unsafe`.
//! Each block here names the invariant that makes it sound.

#[cfg(not(target_os = "linux"))]
compile_error!(
    "socketserver supports Linux only: it is built on epoll, eventfd, signalfd and pidfd"
);

pub mod cpu_clock;
pub mod datagrams;
pub mod fork;
pub mod gauges;
#[cfg(feature = "uring")]
pub mod ring;
pub mod signal;
pub mod socket;
