//! Runs after runs, and servers after servers.

use crate::Outcome;
use crate::case::{Case, sentences};

sentences! {
    everywhere:
        a_server_that_has_stopped_can_serve_again,
        a_shutdown_before_the_run_is_not_lost,
        two_shutdowns_end_one_run,
        a_shutdown_of_a_run_that_is_over_does_not_end_the_next,
        what_comes_between_two_runs_is_served_by_the_second,
        a_new_server_has_the_address_at_once_after_a_stop,
        a_new_server_has_the_address_at_once_after_a_kill;
}

fn a_server_that_has_stopped_can_serve_again(case: Case) -> Outcome {
    let mut server = case.server().bind()?;
    let mut left = None;
    for run in 1..=3 {
        server.serve()?;
        assert_eq!(server.ask("echo hello")?, "hello");
        assert_eq!(server.stop()?.of("ended"), run);
        // No run leaves a descriptor behind that the one before did not.
        let now = server.wait_until("threads", 1)?.of("descriptors");
        assert_eq!(now, *left.get_or_insert(now));
    }
    Ok(())
}

fn a_shutdown_before_the_run_is_not_lost(case: Case) -> Outcome {
    let mut server = case.server().bind()?;
    server.tell("stop")?;
    server.serve()?;
    server.report()?;
    server.serve()?;
    assert_eq!(server.ask("echo hello")?, "hello");
    server.stop().map(drop)
}

fn two_shutdowns_end_one_run(case: Case) -> Outcome {
    let mut server = case.server().start()?;
    let mut client = server.client()?;
    assert_eq!(client.ask("echo hello")?, "hello");
    // They come in together, so both are for this run.
    server.tell("stop\nstop")?;
    server.report()?;
    server.serve()?;
    assert_eq!(server.ask("echo hello")?, "hello");
    server.stop().map(drop)
}

fn a_shutdown_of_a_run_that_is_over_does_not_end_the_next(case: Case) -> Outcome {
    let mut server = case.server().start()?;
    server.stop()?;
    server.tell("stop-first-run")?;
    server.serve()?;
    assert_eq!(server.ask("echo hello")?, "hello");
    server.stop().map(drop)
}

fn what_comes_between_two_runs_is_served_by_the_second(case: Case) -> Outcome {
    let mut server = case.server().start()?;
    assert_eq!(server.ask("echo hello")?, "hello");
    server.stop()?;
    let mut client = server.client()?;
    client.say("echo meanwhile")?;
    server.serve()?;
    assert_eq!(client.hear()?, "meanwhile");
    Ok(())
}

fn a_new_server_has_the_address_at_once_after_a_stop(case: Case) -> Outcome {
    let mut server = case.server().start()?;
    let address = server.endpoint.address().to_string();
    let mut client = server.client()?;
    assert_eq!(client.ask("echo hello")?, "hello");
    let mut mute = server.client()?;
    server.stop()?;
    server.close()?;
    let next = case.server().with("address", &address).start()?;
    assert_eq!(next.endpoint, server.endpoint);
    assert_eq!(next.ask("echo again")?, "again");
    if !case.scheme.is_datagram() {
        client.hear_end()?;
        mute.hear_end()?;
    }
    Ok(())
}

fn a_new_server_has_the_address_at_once_after_a_kill(case: Case) -> Outcome {
    let mut server = case.server().start()?;
    let address = server.endpoint.address().to_string();
    let mut client = server.client()?;
    assert_eq!(client.ask("echo hello")?, "hello");
    if case.scheme.is_datagram() {
        // A child answers by its parent's socket, so it holds the address until it is done.
        server.wait_until("live", 0)?;
        server.process.kill();
    } else {
        server.process.kill();
        // A child that serves the client ends with its parent.
        client.hear_end()?;
    }
    let next = case.server().with("address", &address).start()?;
    assert_eq!(next.ask("echo again")?, "again");
    Ok(())
}
