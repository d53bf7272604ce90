//! Shutting down: at once, whoever asks for it, and nobody is lost.

use rustix::process::Signal;

use crate::Outcome;
use crate::case::{Case, Engine, Kind, sentences};
use crate::client::Client;
use crate::server_process::{ServerProcess, signal};

sentences! {
    everywhere:
        a_shutdown_waits_for_no_interval,
        a_signal_that_is_watched_shuts_the_server_down,
        a_handler_may_shut_the_server_down_and_still_replies,
        stop_ends_the_server_in_good_order_and_is_no_error,
        nothing_is_left_after_a_stop;
    on_streams:
        an_idle_connection_is_closed_at_once_and_reported_so,
        a_busy_connection_has_its_whole_reply_and_is_reported_finished,
        who_waits_in_the_queue_is_served_and_not_reset,
        what_is_busy_at_the_deadline_is_cut_off_and_reported_so,
        an_abort_cuts_off_what_is_busy;
    side_by_side_or_pausing:
        a_handler_at_work_elsewhere_is_waited_for,
        a_handler_that_never_returns_does_not_hold_the_stop_for_ever;
}

/// More than sockets hold: who writes it waits for its peer to read.
const MORE_THAN_FITS: usize = 24 << 20;

/// A connection whose handler waits for the next request.
fn idle_client(server: &mut ServerProcess) -> Outcome<Client> {
    let mut client = server.client()?;
    assert_eq!(client.ask("echo hello")?, "hello");
    server.wait_until("idle", 1)?;
    Ok(client)
}

/// A connection whose handler is in the middle of its reply; returns what came of it, too.
fn busy_client(server: &ServerProcess) -> Outcome<(Client, Vec<u8>)> {
    let mut client = server.client()?;
    client.say(&format!("write {MORE_THAN_FITS}"))?;
    let begun = client.receive()?;
    Ok((client, begun))
}

fn a_shutdown_waits_for_no_interval(case: Case) -> Outcome {
    // The intervals of these servers are of an hour, and the tests' patience of seconds.
    let mut server = case.server().start()?;
    let report = server.stop()?;
    assert_eq!((report.of("finished"), report.of("idle_closed")), (0, 0));
    Ok(())
}

fn a_signal_that_is_watched_shuts_the_server_down(case: Case) -> Outcome {
    let server = case.server().start()?;
    assert_eq!(server.ask("echo hello")?, "hello");
    signal(server.process.pid(), Signal::TERM)?;
    server.report().map(drop)
}

fn a_handler_may_shut_the_server_down_and_still_replies(case: Case) -> Outcome {
    let server = case.server().start()?;
    let mut client = server.client()?;
    assert_eq!(client.ask("shutdown")?, "down");
    if !case.scheme.is_datagram() {
        client.hear_end()?;
        drop(client);
    }
    assert_eq!(server.report()?.of("ended"), 1);
    Ok(())
}

fn stop_ends_the_server_in_good_order_and_is_no_error(case: Case) -> Outcome {
    let mut server = case.server().with("early", "yes").bind()?;
    for (run, step) in (1..).zip(["setup", "handle", "finish"]) {
        server.serve()?;
        let before = server.journal()?.len();
        let mut client = server.failing_client(case, &format!("stop {step}"))?;
        if !case.scheme.is_datagram() {
            client.hear_end()?;
            drop(client);
        }
        let report = server.report()?;
        assert_eq!(report.of("ended:-done"), run);
        let steps = server.journal()?.split_off(before);
        let wanted: &[&str] = match step {
            "setup" => &["verify_request", "setup"],
            _ => &["verify_request", "setup", "handle", "finish"],
        };
        assert_eq!(steps, wanted);
    }
    Ok(())
}

fn nothing_is_left_after_a_stop(case: Case) -> Outcome {
    let mut server = case.server().start()?;
    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = server.client()?;
        client.say("echo hello")?;
        clients.push(client);
    }
    clients[0].hear()?;
    let mut panicking = server.client()?;
    panicking.say("panic handle")?;
    let report = server.stop()?;
    assert_eq!((report.of("live"), report.of("stuck")), (0, 0));
    assert_eq!((report.of("started"), report.of("ended")), (11, 11));
    for mut client in clients.drain(1..) {
        assert_eq!(client.hear()?, "hello");
    }
    let left = server.close()?;
    assert_eq!((left.of("threads"), left.of("children")), (1, 0));
    assert_eq!(left.of("descriptors"), left.of("descriptors_before"));
    Ok(())
}

fn an_idle_connection_is_closed_at_once_and_reported_so(case: Case) -> Outcome {
    let mut server = case.server().start()?;
    let mut client = idle_client(&mut server)?;
    server.tell("stop")?;
    client.hear_end()?;
    drop(client);
    let report = server.report()?;
    assert_eq!((report.of("idle_closed"), report.of("finished")), (1, 0));
    assert_eq!(report.of("forced"), 0);
    assert_eq!(server.journal()?.last().map(String::as_str), Some("finish"));
    Ok(())
}

fn a_busy_connection_has_its_whole_reply_and_is_reported_finished(case: Case) -> Outcome {
    let mut server = case.server().start()?;
    let (mut client, begun) = busy_client(&server)?;
    server.drain()?;
    let rest = client.rest()?;
    assert_eq!(begun.len() + rest.len(), MORE_THAN_FITS + 1);
    drop(client);
    let report = server.report()?;
    assert_eq!((report.of("finished"), report.of("idle_closed")), (1, 0));
    assert_eq!(report.of("forced"), 0);
    Ok(())
}

fn who_waits_in_the_queue_is_served_and_not_reset(case: Case) -> Outcome {
    let mut server = case.server().with("connections", 1).start()?;
    let mut holder = idle_client(&mut server)?;
    let mut queued = Vec::new();
    for number in 0..5 {
        let mut client = server.client()?;
        client.say(&format!("echo {number}"))?;
        queued.push(client);
    }
    let mut mute = server.client()?;
    server.tell("stop")?;
    holder.hear_end()?;
    drop(holder);
    for (number, mut client) in queued.into_iter().enumerate() {
        assert_eq!(client.hear()?, number.to_string());
        client.hear_end()?;
    }
    mute.hear_end()?;
    drop(mute);
    let report = server.report()?;
    assert_eq!((report.of("finished"), report.of("idle_closed")), (5, 2));
    assert_eq!(report.of("forced"), 0);
    Ok(())
}

fn what_is_busy_at_the_deadline_is_cut_off_and_reported_so(case: Case) -> Outcome {
    let mut server = case.server().with("drain", 50).start()?;
    let (_client, _) = busy_client(&server)?;
    let report = server.stop()?;
    assert_eq!((report.of("forced"), report.of("stuck")), (1, 0));
    assert_eq!((report.of("finished"), report.of("live")), (0, 0));
    Ok(())
}

fn an_abort_cuts_off_what_is_busy(case: Case) -> Outcome {
    let mut server = case.server().start()?;
    let (_client, _) = busy_client(&server)?;
    server.tell("abort")?;
    let report = server.report()?;
    assert_eq!((report.of("forced"), report.of("stuck")), (1, 0));
    Ok(())
}

fn a_handler_at_work_elsewhere_is_waited_for(case: Case) -> Outcome {
    let mut server = case.server().start()?;
    let mut client = server.client()?;
    client.say("wait")?;
    let waiting = server.gate.next()?;
    server.drain()?;
    drop(waiting);
    assert_eq!(client.hear()?, "waited");
    if !case.scheme.is_datagram() {
        client.hear_end()?;
    }
    drop(client);
    let report = server.report()?;
    assert_eq!((report.of("finished"), report.of("idle_closed")), (1, 0));
    Ok(())
}

fn a_handler_that_never_returns_does_not_hold_the_stop_for_ever(case: Case) -> Outcome {
    let mut server = case.server().with("drain", 20).start()?;
    server.client()?.say("wait")?;
    let _waiting = server.gate.next()?;
    let report = server.stop()?;
    // A process can be killed and a pause ended, a thread cannot.
    let wanted = if case.engine == Engine::Forking || case.kind == Kind::Messages {
        (1, 0)
    } else {
        (0, 1)
    };
    assert_eq!((report.of("forced"), report.of("stuck")), wanted);
    Ok(())
}
