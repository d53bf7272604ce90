//! What fails costs one request: handlers, hooks and peers.

use crate::Outcome;
use crate::case::{Case, sentences};
use crate::server_process::ServerProcess;

sentences! {
    everywhere:
        an_error_costs_one_request,
        a_panic_costs_one_request,
        finish_runs_if_and_only_if_setup_has_succeeded,
        an_error_of_finish_is_told_beside_that_of_handle,
        a_refused_request_is_closed_once_and_sees_no_handler,
        a_panic_of_verify_request_refuses_one_request,
        a_panic_of_handle_error_costs_one_request,
        a_panic_of_service_actions_costs_nobody_anything;
    on_streams:
        handle_error_is_told_before_the_connection_closes,
        a_peer_that_resets_its_connection_costs_nobody_else_anything;
}

const STEPS: [&str; 3] = ["setup", "handle", "finish"];

/// Has one request go wrong as `text` says, and waits until it is over.
fn go_wrong(case: Case, server: &mut ServerProcess, text: &str, ended: u64) -> Outcome {
    let mut client = server.failing_client(case, text)?;
    if !case.scheme.is_datagram() {
        client.hear_end()?;
        drop(client);
    }
    server.wait_until("ended", ended)?;
    server.prompt(case, "")
}

/// In each step of a handler something goes wrong, and the next request is served all the same.
fn each_step_goes_wrong(case: Case, how: &str, counter: &str) -> Outcome {
    let mut server = case.server().with("early", "yes").start()?;
    for (ended, step) in (1..).step_by(2).zip(STEPS) {
        go_wrong(case, &mut server, &format!("{how} {step}"), ended)?;
        assert_eq!(server.ask("echo still here")?, "still here");
        server.wait_until("ended", ended + 1)?;
    }
    let report = server.stop()?;
    assert_eq!((report.of(counter), report.of("ended")), (3, 6));
    Ok(())
}

fn an_error_costs_one_request(case: Case) -> Outcome {
    each_step_goes_wrong(case, "error", "failed")
}

fn a_panic_costs_one_request(case: Case) -> Outcome {
    each_step_goes_wrong(case, "panic", "panicked")
}

fn finish_runs_if_and_only_if_setup_has_succeeded(case: Case) -> Outcome {
    let mut server = case.server().with("early", "yes").start()?;
    let mut wanted = Vec::new();
    let mut ended = 0;
    for how in ["error", "panic"] {
        for step in STEPS {
            ended += 1;
            go_wrong(case, &mut server, &format!("{how} {step}"), ended)?;
            // Python's order: the error is handled after `finish`.
            let told = format!("handle_error {step}");
            wanted.extend(["verify_request".to_owned(), "setup".to_owned()]);
            if step != "setup" {
                wanted.extend(["handle".to_owned(), "finish".to_owned()]);
            }
            wanted.push(told);
        }
    }
    assert_eq!(server.journal()?, wanted);
    Ok(())
}

fn an_error_of_finish_is_told_beside_that_of_handle(case: Case) -> Outcome {
    let mut server = case.server().start()?;
    go_wrong(case, &mut server, "error handle finish", 1)?;
    let told: Vec<String> = server.journal()?.split_off(4);
    assert_eq!(told, ["handle_error handle", "handle_error finish"]);
    assert_eq!(server.stop()?.of("failed"), 1);
    Ok(())
}

fn a_refused_request_is_closed_once_and_sees_no_handler(case: Case) -> Outcome {
    let mut server = case.server().with("verify", "no").start()?;
    let mut client = server.client()?;
    if case.scheme.is_datagram() {
        client.say("echo hello")?;
        server.wait_until("refused", 1)?;
    } else {
        client.hear_end()?;
    }
    let report = server.stop()?;
    assert_eq!((report.of("refused"), report.of("started")), (1, 0));
    assert_eq!(report.of("refused:-verify_request"), 1);
    assert_eq!(server.journal()?, ["verify_request"]);
    let left = server.close()?;
    assert_eq!(left.of("descriptors"), left.of("descriptors_before"));
    Ok(())
}

fn a_panic_of_verify_request_refuses_one_request(case: Case) -> Outcome {
    let mut server = case.server().with("panics", "verify_request").start()?;
    let mut client = server.client()?;
    if case.scheme.is_datagram() {
        client.say("echo hello")?;
    } else {
        client.hear_end()?;
    }
    server.wait_until("refused", 1)?;
    assert_eq!(server.ask("echo hello")?, "hello");
    Ok(())
}

fn a_panic_of_handle_error_costs_one_request(case: Case) -> Outcome {
    let mut server = case.server().with("panics", "handle_error").start()?;
    go_wrong(case, &mut server, "error handle", 1)?;
    assert_eq!(server.ask("echo hello")?, "hello");
    assert_eq!(server.stop()?.of("failed"), 1);
    Ok(())
}

fn a_panic_of_service_actions_costs_nobody_anything(case: Case) -> Outcome {
    let mut server = case.server().with("panics", "service_actions").start()?;
    for _ in 0..3 {
        assert_eq!(server.ask("echo hello")?, "hello");
    }
    let report = server.stop()?;
    assert!(report.of("service_actions") > 0, "{report}");
    assert_eq!((report.of("refused"), report.of("panicked")), (0, 0));
    Ok(())
}

fn handle_error_is_told_before_the_connection_closes(case: Case) -> Outcome {
    let server = case.server().start()?;
    for how in ["error", "panic"] {
        let mut client = server.client()?;
        let before = server.journal()?.len();
        client.say(&format!("{how} handle"))?;
        client.hear_end()?;
        let told = server.journal()?.split_off(before);
        assert!(told.contains(&"handle_error handle".to_owned()), "{told:?}");
    }
    Ok(())
}

fn a_peer_that_resets_its_connection_costs_nobody_else_anything(case: Case) -> Outcome {
    let mut server = case.server().start()?;
    let mut client = server.client()?;
    assert_eq!(client.ask("echo hello")?, "hello");
    // What has come in and was not read makes a Unix socket's close a reset, too.
    client.say("echo unheard")?;
    client.reset()?;
    server.wait_until("ended", 1)?;
    assert_eq!(server.ask("echo hello")?, "hello");
    assert_eq!(server.stop()?.of("panicked"), 0);
    Ok(())
}
