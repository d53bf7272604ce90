//! Requests are answered: each by a handler of its own, whoever asks and from wherever.

use crate::Outcome;
use crate::case::{Case, Engine, Kind, sentences};

sentences! {
    everywhere:
        each_request_has_a_handler_of_its_own,
        three_clients_one_after_another_are_each_answered,
        fifty_clients_who_all_wait_are_all_answered,
        the_handler_sees_the_address_of_its_peer,
        an_engine_chosen_at_run_time_serves_the_same;
    on_internet: an_ipv6_peer_is_seen_with_its_address_and_port;
    on_unix: a_server_with_an_abstract_name_serves;
}

fn each_request_has_a_handler_of_its_own(case: Case) -> Outcome {
    let mut server = case.server().start()?;
    for _ in 0..3 {
        let mut client = server.client()?;
        assert_eq!(client.ask("number")?, "1");
        if !case.scheme.is_datagram() {
            assert_eq!(client.ask("number")?, "2");
        }
    }
    assert_eq!(server.stop()?.of("started"), 3);
    Ok(())
}

fn three_clients_one_after_another_are_each_answered(case: Case) -> Outcome {
    let mut server = case.server().start()?;
    for word in ["one", "two", "three"] {
        assert_eq!(server.ask(&format!("echo {word}"))?, word);
    }
    let report = server.stop()?;
    assert_eq!((report.of("started"), report.of("ended")), (3, 3));
    assert_eq!((report.of("failed"), report.of("panicked")), (0, 0));
    Ok(())
}

fn fifty_clients_who_all_wait_are_all_answered(case: Case) -> Outcome {
    let mut server = case.server().start()?;
    let mut clients = Vec::new();
    for number in 0..50 {
        let mut client = server.client()?;
        client.say(&format!("echo {number}"))?;
        clients.push(client);
    }
    for (number, mut client) in clients.into_iter().enumerate() {
        assert_eq!(client.hear()?, number.to_string());
    }
    assert_eq!(server.stop()?.of("started"), 50);
    Ok(())
}

fn the_handler_sees_the_address_of_its_peer(case: Case) -> Outcome {
    let server = case.server().start()?;
    for _ in 0..2 {
        let mut client = server.client()?;
        assert_eq!(client.ask("peer")?, client.address()?);
    }
    Ok(())
}

fn an_engine_chosen_at_run_time_serves_the_same(case: Case) -> Outcome {
    for boxed in boxes(case) {
        let mut server = case.server().with("boxed", boxed).start()?;
        assert_eq!(server.ask("echo hello")?, "hello");
        assert_eq!(server.stop()?.of("ended"), 1);
    }
    Ok(())
}

/// The boxes that such an engine fits in, with such a handler.
fn boxes(case: Case) -> Vec<&'static str> {
    let never_waits = case.kind == Kind::Messages || case.scheme.is_datagram();
    let fits = [
        ("any", never_waits),
        ("blocking", !case.engine.is_reactor()),
        ("shared", never_waits && case.engine != Engine::Forking),
    ];
    let fits = fits.into_iter().filter(|&(_, fits)| fits);
    fits.map(|(name, _)| name).collect()
}

fn an_ipv6_peer_is_seen_with_its_address_and_port(case: Case) -> Outcome {
    let server = case.server().with("address", "[::1]:0").start()?;
    let mut client = server.client()?;
    let peer = client.ask("peer")?;
    assert_eq!(peer, client.address()?);
    assert!(peer.starts_with("[::1]:"), "{peer}");
    Ok(())
}

fn a_server_with_an_abstract_name_serves(case: Case) -> Outcome {
    let name = format!("@conformance-{}-{case}", std::process::id());
    let server = case.server().with("address", &name).start()?;
    assert!(server.endpoint.to_string().ends_with(&name));
    assert_eq!(server.ask("echo hello")?, "hello");
    Ok(())
}
