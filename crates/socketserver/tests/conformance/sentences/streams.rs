//! Streams: nothing that was sent is lost, however the connection ends.

use crate::Outcome;
use crate::case::{Case, sentences};
use crate::serve::LONG;
use crate::server_process::interrupt;

sentences! {
    on_streams:
        a_half_closed_client_still_has_its_whole_reply,
        a_long_reply_arrives_whole_though_input_is_unread,
        a_message_of_many_segments_arrives_whole,
        requests_that_come_in_one_segment_are_each_answered,
        a_last_line_without_an_end_is_a_request,
        the_server_may_speak_first,
        an_overlong_line_is_an_error_of_that_request_only,
        a_handler_may_go_on_after_an_overlong_line,
        a_silent_client_is_cut_off_for_that_reason,
        a_signal_that_interrupts_a_wait_is_noticed_by_nobody;
}

fn a_half_closed_client_still_has_its_whole_reply(case: Case) -> Outcome {
    let server = case.server().start()?;
    let mut client = server.client()?;
    client.say(&format!("write {}", 4 << 20))?;
    client.say("echo the end")?;
    client.end_sending()?;
    let reply = client.rest()?;
    assert_eq!(reply.len(), (4 << 20) + "\nthe end\n".len());
    assert!(reply.ends_with(b"x\nthe end\n"));
    Ok(())
}

fn a_long_reply_arrives_whole_though_input_is_unread(case: Case) -> Outcome {
    let server = case.server().start()?;
    let unread = vec![b'u'; 20_000];
    for number in 1..=100 {
        let mut client = server.client()?;
        client.say("leave")?;
        client.send(&unread)?;
        // More comes in while the server closes: neither may this end what it has sent.
        server.wait_for_steps("finish", number)?;
        let begun = client.receive_some(10_000)?.len();
        client.send(&unread)?;
        assert_eq!(begun + client.rest()?.len(), LONG + 1);
    }
    Ok(())
}

fn a_message_of_many_segments_arrives_whole(case: Case) -> Outcome {
    // It has no line feed.
    let server = case.server().with("line_bytes", 1 << 20).start()?;
    let mut client = server.client()?;
    client.say("all")?;
    let message: Vec<u8> = (b'a'..=b'z').cycle().take(300_000).collect();
    client.send(&message)?;
    client.end_sending()?;
    let reply = client.rest()?;
    assert!(reply.strip_suffix(b"\n") == Some(&message.to_ascii_uppercase()[..]));
    Ok(())
}

fn requests_that_come_in_one_segment_are_each_answered(case: Case) -> Outcome {
    let server = case.server().start()?;
    let mut client = server.client()?;
    client.send(b"echo one\necho two\nnumber\n")?;
    for reply in ["one", "two", "3"] {
        assert_eq!(client.hear()?, reply);
    }
    Ok(())
}

fn a_last_line_without_an_end_is_a_request(case: Case) -> Outcome {
    let server = case.server().start()?;
    let mut client = server.client()?;
    client.send(b"echo hello")?;
    client.end_sending()?;
    assert_eq!(client.rest()?, b"hello\n");
    Ok(())
}

fn the_server_may_speak_first(case: Case) -> Outcome {
    let server = case.server().with("greets", "yes").start()?;
    for _ in 0..3 {
        let mut client = server.client()?;
        assert_eq!(client.hear()?, "hello");
        assert_eq!(client.ask("echo hello yourself")?, "hello yourself");
    }
    Ok(())
}

fn an_overlong_line_is_an_error_of_that_request_only(case: Case) -> Outcome {
    let mut server = case.server().with("line_bytes", 100).start()?;
    for (ended, length) in [(1, 100), (3, 100_000)] {
        let mut client = server.client()?;
        client.say(&format!("echo {}", "x".repeat(90)))?;
        assert_eq!(client.hear()?.len(), 90);
        client.say(&"x".repeat(length))?;
        client.hear_end()?;
        drop(client);
        server.wait_until("ended", ended)?;
        assert_eq!(server.ask("echo hello")?, "hello");
        server.wait_until("ended", ended + 1)?;
    }
    assert_eq!(server.stop()?.of("failed"), 2);
    Ok(())
}

fn a_handler_may_go_on_after_an_overlong_line(case: Case) -> Outcome {
    let server = case
        .server()
        .with("line_bytes", 100)
        .with("forgives", "yes")
        .start()?;
    let mut client = server.client()?;
    for length in [100, 1000, 100_000] {
        client.say(&"x".repeat(length))?;
        client.say("echo hello")?;
        assert_eq!(client.hear()?, "too long");
        assert_eq!(client.hear()?, "hello");
    }
    Ok(())
}

fn a_silent_client_is_cut_off_for_that_reason(case: Case) -> Outcome {
    let mut server = case.server().with("idle", 50).bind()?;
    let mut client = server.client()?;
    // It has spoken before the time begins to run, however slow the machine is.
    client.say("echo hello")?;
    server.serve()?;
    assert_eq!(client.hear()?, "hello");
    client.hear_end()?;
    let mut mute = server.client()?;
    mute.hear_end()?;
    drop((client, mute));
    let status = server.wait_until("ended", 2)?;
    assert_eq!((status.of("ended:-idle-timeout"), status.of("cut")), (2, 2));
    Ok(())
}

fn a_signal_that_interrupts_a_wait_is_noticed_by_nobody(case: Case) -> Outcome {
    let mut server = case.server().start()?;
    let mut client = server.client()?;
    // Under forking it is a child that waits for the client.
    let pid = client.ask("pid")?.parse()?;
    for _ in 0..3 {
        interrupt(server.process.pid())?;
        interrupt(pid)?;
        assert_eq!(client.ask("echo hello")?, "hello");
    }
    client.end_sending()?;
    client.hear_end()?;
    drop(client);
    assert_eq!(server.stop()?.of("failed"), 0);
    Ok(())
}
