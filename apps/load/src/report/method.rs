//! How it was measured, and what the servers are.

use super::Findings;
use crate::servers::{Engine, Program, Server, Service};

/// Writes the section.
pub(crate) fn write(findings: &Findings) -> String {
    let plan = &findings.plan;
    let placed = if findings.pinned {
        "A server of one loop is kept on core 1 and the generator on core 0, so that neither moves or takes the other's time; with two loops the kernel places all"
    } else {
        "Nothing is pinned: the kernel places server and generator"
    };
    format!(
        "\
## Method

- One generator, one thread on epoll, in a closed loop over 127.0.0.1.
  Each connection sends 64 bytes, or sixteen times as much, or 64 KiB, and waits for the whole reply, whose every byte is checked.
  Each message has a number of its own, so that a stale or doubled reply would be found out.
  Every member of a fan-out must receive every message, once and in order.
- {placed}.
- The figure that counts is the *server's processor time for each message*: the process clock (`clock_getcpuclockid`), in nanoseconds, with the threads that have exited and what the kernel does in the server's name.
  For the forking engine the live children's clocks are added, and the time of those that were reaped, which the kernel tells in ticks of 10 ms: its figure for connect-echo-close is that much coarser.
- Servers are measured in rounds. For each the servers are started anew, all of a scenario at once, and measured there and back (A B C C B A, every second round from the other end), {slice} ms each time after {warm_up} ms of warm-up; a round's figure is the sum of the two.
  With more than 10,000 connections they run one after the other, because the generator may not have more descriptors open.
- A measurement goes from rest to rest: the clock is read when every reply has come and the server has nothing left to do.
- Every peer runs twice; the ratio of the second instance to the first is the control.
- *Connect-echo-close*: 50 at a time connect, echo one message, and the client closes; its time is from the connect to the reply.
- *Datagrams*: 100 sockets with one datagram under way each; one that is not answered in 200 ms is lost{lost}.
- *Fan-out*: one member sends lines of 64 bytes, every member receives each; one line is under way, or 16. A line is done when the last member has it.
- System calls are counted by `perf` (or `strace`, where that cannot) in a slice of their own.

## Servers

- *reactor, epoll* is `socketserver {reactor}`, and the other engines are chosen in the same way.
  For lines and fan-out it is a server of some forty lines on the library's public interface, `apps/load/src/serve.rs`.
- *raw epoll* and *raw io_uring* are loops in C without any framework, `apps/load/peers`, compiled with `cc -O2`.
  The epoll loop is level-triggered and makes one receive and one send for each event; the io_uring loop has multishot accept and receive, buffers that the kernel picks, direct descriptors, `DEFER_TASKRUN`, and one enter for each turn.
- *tokio* and *may* are in `apps/load/src/bin/load-peers`: buffers that grow for bulk, all lines of a read answered with one write, a broadcast channel that is drained before each write.
  *Current thread* is a runtime for each loop with its tasks on a `LocalSet`; *multi-thread* is one runtime with a worker for each loop.
- *std threads* is `TcpListener::incoming` and `thread::spawn`, a 16 KiB buffer on the stack, `read` and `write_all`.
  It bounds no wait, where *threading* has an idle timeout, for which the kernel sets a timer each time a read waits; *threading, no timeouts* is `socketserver {unbounded}`, and does as much as the bare loop.
- *Python threading* is a `ThreadingTCPServer` with `recv` and `sendall`.
  *Python article echo* decodes, puts the client's address before the text, encodes, sends, and logs a line with the time; *threading, prefix and log*, which is `socketserver {addressed}`, does the same work.
  The log goes to `/dev/null`. Both Python servers have a backlog of 1024 instead of 5, so that it is not the retransmission of SYNs that is measured.
- *nats-server* is as it comes, and its members speak its protocol, whose messages are 78 bytes instead of 64.
- All set `TCP_NODELAY`.
",
        slice = plan.slice.as_millis(),
        warm_up = plan.warm_up.as_millis(),
        lost = lost(findings),
        reactor = command(Server::Engine(Engine::ReactorEpoll)),
        unbounded = command(Server::Unbounded),
        addressed = command(Server::Addressed),
    )
}

/// The arguments of the command under test.
fn command(server: Server) -> String {
    match server.program(Service::Echo, 1) {
        Program::Command(arguments) => arguments.join(" "),
        other => format!("{other:?}"),
    }
}

/// Which servers lost datagrams, and how many of all.
fn lost(findings: &Findings) -> String {
    let mut losses = Vec::new();
    for entrant in findings.stages.iter().flat_map(|played| &played.entrants) {
        let lost: u64 = entrant.costs.iter().flatten().map(|cost| cost.lost).sum();
        if lost > 0 {
            losses.push(format!("{} lost {lost}", entrant.server.name()));
        }
    }
    if losses.is_empty() {
        return ", and none was".to_owned();
    }
    format!(": {}", losses.join(", "))
}
