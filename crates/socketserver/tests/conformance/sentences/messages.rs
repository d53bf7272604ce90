//! Messages: whole, in order, each answered once, whoever else is slow.

use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::case::{Case, Kind, sentences};
use crate::client::Client;
use crate::serve::LONG;
use crate::server_process::ServerProcess;

sentences! {
    on_streams:
        a_message_may_come_in_single_bytes,
        a_client_that_pipelines_and_closes_its_writing_side_has_all_answers,
        a_large_answer_holds_up_the_next_and_loses_nothing,
        a_message_after_the_last_is_not_handled,
        half_a_message_at_a_stop_is_not_handled,
        what_waits_behind_a_handler_at_work_is_answered_after_it,
        a_client_that_drips_is_cut_off_for_that_reason,
        a_client_that_never_reads_is_cut_off_for_that_reason,
        a_client_that_never_reads_the_last_answer_is_not_waited_for;
    on_unix_streams: a_client_that_reads_slowly_and_steadily_is_not_cut_off;
    side_by_side_on_streams:
        a_slow_reader_holds_up_nobody_else,
        many_who_pipeline_are_each_answered_in_order;
    side_by_side_or_pausing: a_peer_that_goes_while_its_handler_is_at_work_costs_nobody_anything;
    shared_memory_on_streams: a_member_that_never_reads_is_cut_off_and_the_others_are_served;
    on_messages:
        a_pause_that_is_over_before_it_begins_is_none,
        a_pause_is_ended_by_its_own_resumer_only,
        a_second_pause_keeps_no_answer_back,
        a_tick_comes_to_who_says_nothing,
        a_tick_comes_during_a_pause_and_may_end_it;
    on_messages_side_by_side: a_late_resumer_resumes_nobody_else;
}

/// More than sockets hold.
const MORE_THAN_FITS: usize = 16 << 20;

/// Nothing has come to `client`.
fn assert_silent(client: &Client) -> Outcome {
    let socket = client.socket();
    socket.set_nonblocking(true)?;
    let found = socket.peek(&mut [std::mem::MaybeUninit::uninit(); 16]);
    socket.set_nonblocking(false)?;
    match found {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        other => Err(format!("nothing was to come, and there is {other:?}").into()),
    }
}

fn a_message_may_come_in_single_bytes(case: Case) -> Outcome {
    let server = case.server().start()?;
    let mut client = server.client()?;
    for word in ["one", "two"] {
        for byte in format!("echo {word}\n").bytes() {
            client.send(&[byte])?;
        }
        assert_eq!(client.hear()?, word);
    }
    assert_eq!(client.ask("number")?, "3");
    Ok(())
}

fn a_client_that_pipelines_and_closes_its_writing_side_has_all_answers(case: Case) -> Outcome {
    let mut server = case.server().bind()?;
    let mut client = server.client()?;
    client.send("number\n".repeat(500).as_bytes())?;
    client.end_sending()?;
    // All of it, the end too, is there when it is first looked at.
    server.serve()?;
    for number in 1..=500 {
        assert_eq!(client.hear()?, number.to_string());
    }
    client.hear_end()?;
    drop(client);
    assert_eq!(server.wait_until("ended", 1)?.of("ended:-done"), 1);
    Ok(())
}

fn a_large_answer_holds_up_the_next_and_loses_nothing(case: Case) -> Outcome {
    let server = case.server().start()?;
    let mut client = server.client()?;
    client.send(format!("write {0}\nwrite {0}\necho the end\n", 2 << 20).as_bytes())?;
    for _ in 0..2 {
        assert_eq!(client.hear()?.len(), 2 << 20);
    }
    assert_eq!(client.hear()?, "the end");
    assert_eq!(client.ask("number")?, "4");
    Ok(())
}

fn a_message_after_the_last_is_not_handled(case: Case) -> Outcome {
    let mut server = case.server().start()?;
    let mut client = server.client()?;
    client.send(b"echo hello\nleave\necho unheard\nstop handle\n")?;
    server.wait_for_steps("finish", 1)?;
    // Its answer is still under way.
    client.say("stop handle")?;
    assert_eq!(client.hear()?, "hello");
    assert_eq!(client.hear()?.len(), LONG);
    client.hear_end()?;
    drop(client);
    let status = server.wait_until("ended", 1)?;
    assert_eq!((status.of("ended:-done"), status.of("stopping")), (1, 0));
    Ok(())
}

fn half_a_message_at_a_stop_is_not_handled(case: Case) -> Outcome {
    let mut server = case.server().start()?;
    let mut client = server.client()?;
    assert_eq!(client.ask("echo hello")?, "hello");
    client.send(b"echo hal")?;
    server.wait_until("idle", 1)?;
    server.tell("stop")?;
    client.hear_end()?;
    drop(client);
    let report = server.report()?;
    assert_eq!((report.of("forced"), report.of("stuck")), (0, 0));
    Ok(())
}

fn what_waits_behind_a_handler_at_work_is_answered_after_it(case: Case) -> Outcome {
    let mut server = case.server().start()?;
    let mut client = server.client()?;
    client.send(b"echo first\nwait\nnumber\necho half")?;
    let waiting = server.gate.next()?;
    client.send(b" and half\nwait\necho last\n")?;
    if case.kind == Kind::Messages {
        // What is written before the pause does not wait for its end.
        assert_eq!(client.hear()?, "first");
        server.status()?;
        assert_silent(&client)?;
    }
    drop(waiting);
    let waiting = server.gate.next()?;
    let first: &[&str] = if case.kind == Kind::Messages {
        &[]
    } else {
        &["first"]
    };
    for wanted in first.iter().chain(&["waited", "3", "half and half"]) {
        assert_eq!(client.hear()?, *wanted);
    }
    client.end_sending()?;
    drop(waiting);
    assert_eq!(client.rest()?, b"waited\nlast\n");
    Ok(())
}

fn a_client_that_drips_is_cut_off_for_that_reason(case: Case) -> Outcome {
    let mut server = case.server().with("read", 50).start()?;
    let mut client = server.client()?;
    assert_eq!(client.ask("echo hello")?, "hello");
    client.send(b"echo h")?;
    client.hear_end()?;
    drop(client);
    let status = server.wait_until("ended", 1)?;
    assert_eq!(status.of("ended:-read-timeout"), 1, "{status}");
    assert_eq!(server.ask("echo hello")?, "hello");
    Ok(())
}

/// A client that asks for much, and reads none of it.
fn mute_reader(server: &ServerProcess) -> Outcome<Client> {
    let mut client = server.client()?;
    client.send(format!("write {0}\nwrite {0}\n", MORE_THAN_FITS / 2).as_bytes())?;
    Ok(client)
}

fn a_client_that_never_reads_is_cut_off_for_that_reason(case: Case) -> Outcome {
    let mut server = case.server().with("write", 50).start()?;
    let client = mute_reader(&server)?;
    let status = server.wait_until("ended", 1)?;
    assert_eq!(status.of("ended:-write-timeout"), 1, "{status}");
    assert_eq!(server.ask("echo hello")?, "hello");
    drop(client);
    Ok(())
}

fn a_client_that_reads_slowly_and_steadily_is_not_cut_off(case: Case) -> Outcome {
    const LENGTH: usize = 4 << 20;
    let mut server = case.server().with("write", 400).start()?;
    let mut client = server.client()?;
    client.say(&format!("write {LENGTH}"))?;
    let begun = Instant::now();
    let mut read = 0;
    while begun.elapsed() < Duration::from_millis(900) {
        read += client.receive_some(20_000)?.len();
        thread::sleep(Duration::from_millis(10));
    }
    client.say("echo hello")?;
    while read <= LENGTH {
        let count = client.receive_some(LENGTH + 1 - read)?.len();
        assert!(count > 0, "cut off after {read} bytes");
        read += count;
    }
    assert_eq!(client.hear()?, "hello");
    assert_eq!(server.stop()?.of("cut"), 0);
    Ok(())
}

fn a_client_that_never_reads_the_last_answer_is_not_waited_for(case: Case) -> Outcome {
    let mut server = case.server().with("write", 50).start()?;
    let mut client = server.client()?;
    client.send(format!("write {MORE_THAN_FITS}\nerror handle\n").as_bytes())?;
    server.wait_until("ended", 1)?;
    assert_eq!(server.ask("echo hello")?, "hello");
    drop(client);
    Ok(())
}

fn a_slow_reader_holds_up_nobody_else(case: Case) -> Outcome {
    let server = case.server().start()?;
    let mut slow = mute_reader(&server)?;
    let begun = slow.receive_some(1000)?;
    for _ in 0..10 {
        assert_eq!(server.ask("echo hello")?, "hello");
    }
    slow.end_sending()?;
    assert_eq!(begun.len() + slow.rest()?.len(), MORE_THAN_FITS + 2);
    Ok(())
}

fn many_who_pipeline_are_each_answered_in_order(case: Case) -> Outcome {
    let server = case
        .server()
        .with("children", 20)
        .with("threads", 20)
        .start()?;
    let mut clients = (0..20)
        .map(|_| server.client())
        .collect::<Outcome<Vec<_>>>()?;
    let words = (0..50).map(|word| format!("echo {word}\n"));
    let words = words.collect::<Vec<_>>().concat();
    for round in 0..4 {
        for client in &mut clients {
            // Cut anywhere, so that some have half a message while others are served.
            let (begun, rest) = words.as_bytes().split_at(97 * (round + 1));
            client.send(begun)?;
            client.send(rest)?;
        }
        for client in &mut clients {
            for word in 0..50 {
                assert_eq!(client.hear()?, word.to_string());
            }
        }
    }
    Ok(())
}

fn a_peer_that_goes_while_its_handler_is_at_work_costs_nobody_anything(case: Case) -> Outcome {
    let mut server = case.server().start()?;
    let mut client = server.client()?;
    client.say("wait")?;
    let waiting = server.gate.next()?;
    client.reset()?;
    server.status()?;
    drop(waiting);
    server.wait_until("ended", 1)?;
    assert_eq!(server.ask("echo hello")?, "hello");
    assert_eq!(server.stop()?.of("panicked"), 0);
    Ok(())
}

fn a_member_that_never_reads_is_cut_off_and_the_others_are_served(case: Case) -> Outcome {
    let mut server = case.server().with("threads", 16).start()?;
    let (mut mute, mut talks) = (server.client()?, server.client()?);
    for member in [&mut mute, &mut talks] {
        assert_eq!(member.ask("join")?, "joined");
    }
    let line = "x".repeat(60_000);
    let mut said = 0;
    while server.status()?.of("members") == 2 {
        assert!(
            said < 4 * MORE_THAN_FITS,
            "the mute member is never cut off"
        );
        for _ in 0..50 {
            assert!(talks.ask(&line)? == line);
            said += line.len();
        }
    }
    let status = server.wait_until("ended", 1)?;
    assert_eq!(status.of("ended:-slow-consumer"), 1, "{status}");
    assert_eq!(server.ask("echo hello")?, "hello");
    Ok(())
}

fn a_pause_that_is_over_before_it_begins_is_none(case: Case) -> Outcome {
    let server = case.server().start()?;
    let mut client = server.client()?;
    for _ in 0..3 {
        client.send(b"skip\necho hello\nskip\n")?;
        for wanted in ["waited", "hello", "waited"] {
            assert_eq!(client.hear()?, wanted);
        }
    }
    Ok(())
}

fn a_pause_is_ended_by_its_own_resumer_only(case: Case) -> Outcome {
    let mut server = case.server().start()?;
    let mut client = server.client()?;
    for _ in 0..3 {
        client.say("renew")?;
        let waiting = server.gate.next()?;
        server.status()?;
        assert_silent(&client)?;
        drop(waiting);
        assert_eq!(client.hear()?, "waited");
    }
    Ok(())
}

fn a_second_pause_keeps_no_answer_back(case: Case) -> Outcome {
    let server = case.server().start()?;
    let mut client = server.client()?;
    client.send(b"wait\nwait\necho hello\n")?;
    for _ in 0..2 {
        drop(server.gate.next()?);
        assert_eq!(client.hear()?, "waited");
    }
    assert_eq!(client.hear()?, "hello");
    Ok(())
}

fn a_tick_comes_to_who_says_nothing(case: Case) -> Outcome {
    let server = case.server().start()?;
    let mut client = server.client()?;
    for _ in 0..2 {
        client.say("tick 20")?;
        assert_eq!(client.hear()?, "ticked");
    }
    // It comes once, and a later one replaces an earlier.
    client.send(b"tick 3600000\ntick 1\n")?;
    assert_eq!(client.hear()?, "ticked");
    thread::sleep(Duration::from_millis(20));
    assert_silent(&client)
}

fn a_tick_comes_during_a_pause_and_may_end_it(case: Case) -> Outcome {
    let mut server = case.server().start()?;
    let mut client = server.client()?;
    client.send(b"wait 20\necho unheard\n")?;
    let _waiting = server.gate.next()?;
    assert_eq!(client.hear()?, "ticked");
    client.hear_end()?;
    drop(client);
    let status = server.wait_until("ended", 1)?;
    assert_eq!(status.of("ended:-done"), 1);
    Ok(())
}

fn a_late_resumer_resumes_nobody_else(case: Case) -> Outcome {
    let mut server = case.server().start()?;
    let mut gone = server.client()?;
    gone.say("wait 1")?;
    let late = server.gate.next()?;
    assert_eq!(gone.hear()?, "ticked");
    gone.hear_end()?;
    drop(gone);
    server.wait_until("ended", 1)?;
    // Whoever comes next may have its seat, and pauses for the first time, too.
    let mut clients = Vec::new();
    let mut waiting = Vec::new();
    for _ in 0..4 {
        let mut client = server.client()?;
        client.say("wait")?;
        waiting.push(server.gate.next()?);
        clients.push(client);
    }
    drop(late);
    if case.engine != crate::case::Engine::Forking {
        // A child has ended by then, and its thread with it.
        server.wait_for_steps("resumed", 1)?;
    }
    assert_eq!(server.ask("echo hello")?, "hello");
    for client in &clients {
        assert_silent(client)?;
    }
    waiting.clear();
    for mut client in clients {
        assert_eq!(client.hear()?, "waited");
    }
    Ok(())
}
