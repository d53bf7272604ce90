//! `handle_request`: one request, or none in time.

use crate::Outcome;
use crate::case::{Case, Engine, sentences};

sentences! {
    blocking:
        handle_request_serves_one_request,
        handle_request_tells_once_that_none_came_in_time,
        handle_request_tells_that_a_request_was_refused,
        a_shutdown_ends_handle_request_once,
        a_stop_in_handle_request_is_seen_by_the_next_call;
}

/// What `handle_request` says of a request that was served, or begun.
fn served(case: Case) -> &'static str {
    match case.engine {
        Engine::Sequential => "Served",
        _ => "Started",
    }
}

fn handle_request_serves_one_request(case: Case) -> Outcome {
    let mut server = case.server().bind()?;
    for word in ["one", "two"] {
        let mut client = server.client()?;
        client.say(&format!("echo {word}"))?;
        if !case.scheme.is_datagram() {
            client.end_sending()?;
        }
        let handled = server.handle_request(10_000)?;
        assert_eq!(handled, served(case));
        if case.engine == Engine::Pool && !case.scheme.is_datagram() {
            // It is parked, and begun by the next call.
            assert_eq!(server.handle_request(1)?, "TimedOut");
        }
        assert_eq!(client.hear()?, word);
    }
    let status = server.status()?;
    assert_eq!(status.of("started"), 2);
    assert_eq!(status.of("service_actions"), 0);
    let left = server.close()?;
    assert_eq!((left.of("threads"), left.of("children")), (1, 0));
    Ok(())
}

fn handle_request_tells_once_that_none_came_in_time(case: Case) -> Outcome {
    let mut server = case.server().bind()?;
    for (timeouts, timeout) in [(1, 0), (2, 20)] {
        assert_eq!(server.handle_request(timeout)?, "TimedOut");
        assert_eq!(server.status()?.of("handle_timeout"), timeouts);
    }
    Ok(())
}

fn handle_request_tells_that_a_request_was_refused(case: Case) -> Outcome {
    let mut server = case.server().with("verify", "no").bind()?;
    let mut client = server.client()?;
    if case.scheme.is_datagram() {
        client.say("echo hello")?;
    }
    assert_eq!(server.handle_request(10_000)?, "Refused(Verify)");
    Ok(())
}

fn a_shutdown_ends_handle_request_once(case: Case) -> Outcome {
    let mut server = case.server().bind()?;
    server.tell("stop")?;
    assert_eq!(server.handle_request(10_000)?, "Stopped");
    assert_eq!(server.handle_request(0)?, "TimedOut");
    Ok(())
}

fn a_stop_in_handle_request_is_seen_by_the_next_call(case: Case) -> Outcome {
    let mut server = case.server().bind()?;
    // Not only in the first run of a server.
    server.serve()?;
    server.stop()?;
    let mut client = server.client()?;
    client.say("stop handle")?;
    assert_eq!(server.handle_request(10_000)?, served(case));
    assert_eq!(server.handle_request(10_000)?, "Stopped");
    if !case.scheme.is_datagram() {
        client.hear_end()?;
    }
    assert!(
        !server
            .journal()?
            .contains(&"handle_error handle".to_owned())
    );
    Ok(())
}
