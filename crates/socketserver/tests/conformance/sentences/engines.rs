//! What is an engine's own.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::case::{Case, sentences};
use crate::client::PATIENCE;
use crate::serve;

sentences! {
    side_by_side_on_streams: fifty_conversations_go_on_side_by_side;
    parking_messages: who_has_spoken_and_is_silent_holds_no_thread;
    side_by_side: a_handler_that_waits_holds_up_nobody_else;
    shared_memory_on_streams:
        a_broadcast_reaches_every_member_in_one_order,
        a_member_that_leaves_is_forgotten;
    parking_on_streams: a_silent_connection_holds_no_thread;
    forking:
        each_request_has_a_process_of_its_own,
        no_more_children_live_than_may,
        a_stop_does_not_wait_for_room_for_a_child,
        children_are_reaped_as_soon_as_they_end;
    forking_on_streams:
        a_child_cannot_join_a_broadcast,
        a_child_that_writes_while_the_server_drains_sleeps;
}

fn fifty_conversations_go_on_side_by_side(case: Case) -> Outcome {
    let server = case
        .server()
        .with("children", 64)
        .with("threads", 64)
        .start()?;
    let mut clients = (0..50)
        .map(|_| server.client())
        .collect::<Outcome<Vec<_>>>()?;
    for round in ["1", "2", "3"] {
        for client in &mut clients {
            client.say("number")?;
        }
        for client in &mut clients {
            assert_eq!(client.hear()?, round);
        }
    }
    Ok(())
}

fn a_handler_that_waits_holds_up_nobody_else(case: Case) -> Outcome {
    let server = case.server().start()?;
    let mut slow = server.client()?;
    slow.say("wait")?;
    let waiting = server.gate.next()?;
    for _ in 0..3 {
        assert_eq!(server.ask("echo hello")?, "hello");
    }
    drop(waiting);
    assert_eq!(slow.hear()?, "waited");
    Ok(())
}

fn a_broadcast_reaches_every_member_in_one_order(case: Case) -> Outcome {
    let server = case.server().with("threads", 16).start()?;
    let mut members = (0..8)
        .map(|_| server.client())
        .collect::<Outcome<Vec<_>>>()?;
    for member in &mut members {
        assert_eq!(member.ask("join")?, "joined");
    }
    for round in 0..20 {
        for (number, member) in members.iter_mut().enumerate() {
            member.say(&format!("{number}.{round}"))?;
        }
    }
    let mut order: Option<Vec<String>> = None;
    for member in &mut members {
        let heard = (0..160)
            .map(|_| member.hear())
            .collect::<Outcome<Vec<_>>>()?;
        assert_eq!(heard.iter().collect::<BTreeSet<_>>().len(), 160);
        assert_eq!(&heard, order.get_or_insert_with(|| heard.clone()));
    }
    Ok(())
}

fn a_member_that_leaves_is_forgotten(case: Case) -> Outcome {
    let mut server = case.server().start()?;
    let (mut stays, mut leaves) = (server.client()?, server.client()?);
    for member in [&mut stays, &mut leaves] {
        assert_eq!(member.ask("join")?, "joined");
    }
    server.wait_until("members", 2)?;
    leaves.end_sending()?;
    leaves.hear_end()?;
    drop(leaves);
    server.wait_until("members", 1)?;
    assert_eq!(stays.ask("alone")?, "alone");
    Ok(())
}

/// That which serves, and the pool's only one; or those of the loops, and the watchdog's.
fn threads(case: Case) -> u64 {
    if case.engine.is_reactor() {
        case.engine.loops() as u64 + 1
    } else {
        2
    }
}

fn a_silent_connection_holds_no_thread(case: Case) -> Outcome {
    let mut server = case.server().with("threads", 1).start()?;
    let silent = (0..20)
        .map(|_| server.client())
        .collect::<Outcome<Vec<_>>>()?;
    server.wait_until("idle", 20)?;
    assert_eq!(server.ask("echo hello")?, "hello");
    assert_eq!(server.status()?.of("threads"), threads(case));
    drop(silent);
    server.wait_until("live", 0).map(drop)
}

fn who_has_spoken_and_is_silent_holds_no_thread(case: Case) -> Outcome {
    let mut server = case.server().with("threads", 1).start()?;
    let mut clients = (0..20)
        .map(|_| server.client())
        .collect::<Outcome<Vec<_>>>()?;
    let mut slow = server.client()?;
    slow.say("wait")?;
    let waiting = server.gate.next()?;
    for round in ["1", "2", "3"] {
        for client in &mut clients {
            assert_eq!(client.ask("number")?, round);
        }
    }
    server.wait_until("idle", 20)?;
    drop(waiting);
    assert_eq!(slow.hear()?, "waited");
    // The one that waited in the gate has gone.
    server.wait_until("threads", threads(case)).map(drop)
}

fn each_request_has_a_process_of_its_own(case: Case) -> Outcome {
    let server = case.server().start()?;
    let mut pids = BTreeSet::from([server.process.pid().to_string()]);
    for _ in 0..5 {
        assert!(pids.insert(server.ask("pid")?), "{pids:?}");
    }
    Ok(())
}

fn no_more_children_live_than_may(case: Case) -> Outcome {
    let mut server = case.server().with("children", 2).start()?;
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = server.client()?;
        client.say("wait")?;
        if !case.scheme.is_datagram() {
            client.end_sending()?;
        }
        clients.push(client);
    }
    let mut waiting = vec![server.gate.next()?, server.gate.next()?];
    let status = server.status()?;
    assert_eq!((status.of("children"), status.of("started")), (2, 2));
    for _ in 0..2 {
        // One goes, and only then comes the next.
        drop(waiting.remove(0));
        waiting.push(server.gate.next()?);
        assert!(server.status()?.of("children") <= 2);
    }
    waiting.clear();
    for mut client in clients {
        assert_eq!(client.hear()?, "waited");
    }
    Ok(())
}

fn a_stop_does_not_wait_for_room_for_a_child(case: Case) -> Outcome {
    let mut server = case
        .server()
        .with("children", 1)
        .with("drain", 50)
        .start()?;
    let mut first = server.client()?;
    first.say("wait")?;
    let _waiting = server.gate.next()?;
    let mut second = server.client()?;
    second.say("echo hello")?;
    let report = server.stop()?;
    assert_eq!((report.of("forced"), report.of("children")), (1, 0));
    Ok(())
}

fn children_are_reaped_as_soon_as_they_end(case: Case) -> Outcome {
    let mut server = case.server().start()?;
    for ended in 1..=20 {
        assert_eq!(server.ask("echo hello")?, "hello");
        let status = server.wait_until("ended", ended)?;
        assert_eq!(status.of("children"), 0);
    }
    Ok(())
}

fn a_child_cannot_join_a_broadcast(case: Case) -> Outcome {
    let mut server = case.server().start()?;
    let mut client = server.client()?;
    client.say("join")?;
    client.hear_end()?;
    drop(client);
    server.wait_until("failed", 1).map(drop)
}

fn a_child_that_writes_while_the_server_drains_sleeps(case: Case) -> Outcome {
    let mut server = case.server().start()?;
    let mut client = server.client()?;
    let pid = client.ask("pid")?;
    client.say(&format!("write {}", 24 << 20))?;
    client.receive()?;
    server.drain()?;
    // It is woken by the drain, and has nothing to do then until its peer reads on.
    let deadline = Instant::now() + PATIENCE;
    let process = Path::new("/proc").join(pid);
    let mut asleep = 0;
    while asleep < 20 {
        assert!(
            Instant::now() < deadline,
            "the child does not sleep while it waits"
        );
        std::thread::sleep(Duration::from_millis(2));
        asleep = match serve::state(&process).as_deref() {
            Some("S") => asleep + 1,
            _ => 0,
        };
    }
    client.rest()?;
    drop(client);
    assert_eq!(server.report()?.of("finished"), 1);
    Ok(())
}
