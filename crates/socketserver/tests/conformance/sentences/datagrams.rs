//! Datagrams: each is a request, served whole or refused, and answered if that is possible.

use crate::Outcome;
use crate::case::{Case, sentences};
use crate::client::Client;

sentences! {
    on_datagrams:
        an_empty_datagram_is_a_request,
        the_largest_datagram_arrives_whole,
        an_oversize_datagram_is_refused_and_counted_and_never_cut,
        a_reply_to_a_peer_that_is_gone_costs_nobody_else_anything;
    on_udp: a_reply_that_is_too_large_is_an_error_of_that_request_only;
    on_unix_datagrams: a_reply_to_an_unnamed_peer_is_an_error_of_that_request_only;
}

fn an_empty_datagram_is_a_request(case: Case) -> Outcome {
    let server = case.server().start()?;
    assert_eq!(server.ask("")?, "nothing");
    Ok(())
}

fn the_largest_datagram_arrives_whole(case: Case) -> Outcome {
    let server = case.server().start()?;
    let words = "x".repeat(65_507 - "echo ".len());
    assert!(server.ask(&format!("echo {words}"))? == words);
    Ok(())
}

fn an_oversize_datagram_is_refused_and_counted_and_never_cut(case: Case) -> Outcome {
    let mut server = case.server().with("datagram_bytes", 100).start()?;
    let mut client = server.client()?;
    for length in [101, 65_507] {
        client.say(&format!("echo {}", "x".repeat(length - 5)))?;
    }
    server.wait_until("refused", 2)?;
    assert_eq!(client.ask(&format!("echo {}", "x".repeat(95)))?.len(), 95);
    let report = server.stop()?;
    assert_eq!(report.of("refused:-datagram-too-large"), 2);
    assert_eq!(report.of("started"), 1);
    Ok(())
}

fn a_reply_to_a_peer_that_is_gone_costs_nobody_else_anything(case: Case) -> Outcome {
    let mut server = case.server().start()?;
    for ended in [1, 3] {
        let mut client = server.client()?;
        client.say("wait")?;
        let waiting = server.gate.next()?;
        drop(client);
        drop(waiting);
        server.wait_until("ended", ended)?;
        assert_eq!(server.ask("echo hello")?, "hello");
        server.wait_until("ended", ended + 1)?;
    }
    Ok(())
}

fn a_reply_that_is_too_large_is_an_error_of_that_request_only(case: Case) -> Outcome {
    let mut server = case.server().start()?;
    server.client()?.say("write 65508")?;
    server.wait_until("failed", 1)?;
    assert_eq!(server.ask("write 65507")?.len(), 65_507);
    Ok(())
}

fn a_reply_to_an_unnamed_peer_is_an_error_of_that_request_only(case: Case) -> Outcome {
    let mut server = case.server().start()?;
    let mut client = Client::connect_unnamed(&server.endpoint)?;
    client.say("echo hello")?;
    server.wait_until("failed", 1)?;
    assert_eq!(server.ask("echo hello")?, "hello");
    Ok(())
}
