//! Hooks: each can be overridden alone, each default is reachable, and none can end the loop; watches.

use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socketserver::{
    Address, Builder, Connection, DefaultHooks, Error, Handled, Hooks, Refusal, RequestHandler,
    Running, Sequential, ServerHandle, Step, Tcp, Threading, Verdict, handler_fn,
};

use crate::support::{
    HOUR, Record, Told, ask, connect, connect_to, echo, echo_lines, rest, until, within,
};

/// Serves with `hooks`; a line "fail" makes the handler fail.
fn serve(hooks: impl Hooks, record: &Record) -> Running {
    let handler = |connection: &mut Connection| {
        let (reader, mut writer) = connection.split();
        for line in reader.lines() {
            let line = line?;
            if line == b"fail" {
                return Err(io::Error::other("as it was told"));
            }
            writer.write_all(&[&line[..], b"\n"].concat())?;
        }
        Ok(())
    };
    Builder::new(Tcp::default(), Threading::default())
        .hooks(hooks)
        .observer(record.clone())
        .service_interval(Duration::from_millis(1))
        .bind("127.0.0.1:0", handler_fn(handler))
        .unwrap()
        .start()
        .unwrap()
}

#[test]
fn verify_request_alone_decides_who_is_served() {
    struct FirstOnly(AtomicUsize);
    impl Hooks for FirstOnly {
        fn verify_request(&self, peer: &Address, server: &ServerHandle) -> Verdict {
            assert!(peer.is_local());
            match self.0.fetch_add(1, Ordering::SeqCst) {
                0 => DefaultHooks.verify_request(peer, server),
                _ => Verdict::Refuse,
            }
        }
    }
    let record = Record::default();
    let server = serve(FirstOnly(AtomicUsize::new(0)), &record);
    let mut first = connect(&server);
    assert_eq!(ask(&mut first, "hi\n"), "hi\n");
    let mut second = connect(&server);
    assert_eq!(rest(&mut second).unwrap(), b"");
    assert_eq!(ask(&mut first, "still\n"), "still\n");
    drop(first);
    within(move || server.stop()).unwrap();
    assert_eq!(record.times(&Told::Refused(Refusal::Verify)), 1);
}

#[test]
fn handle_error_alone_hears_of_the_failure_while_the_connection_is_open() {
    #[derive(Clone, Default)]
    struct Keep(Arc<AtomicUsize>);
    impl Hooks for Keep {
        fn handle_error(&self, error: &Error, server: &ServerHandle) {
            assert!(matches!(
                error,
                Error::Handler {
                    step: Step::Handle,
                    ..
                }
            ));
            assert_eq!(server.connection_count(), 1);
            self.0.fetch_add(1, Ordering::SeqCst);
            DefaultHooks.handle_error(error, server);
        }
    }
    let (hooks, record) = (Keep::default(), Record::default());
    let server = serve(hooks.clone(), &record);
    let mut client = connect(&server);
    client.write_all(b"fail\n").unwrap();
    assert_eq!(rest(&mut client).unwrap(), b"");
    drop(client);
    within(move || server.stop()).unwrap();
    assert_eq!(hooks.0.load(Ordering::SeqCst), 1);
    let failures = record.failures();
    assert!(
        failures.len() == 1 && failures[0].contains("as it was told"),
        "{failures:?}"
    );
}

#[test]
fn an_overridden_handle_error_replaces_the_report() {
    struct Silent;
    impl Hooks for Silent {
        fn handle_error(&self, _error: &Error, _server: &ServerHandle) {}
    }
    let record = Record::default();
    let server = serve(Silent, &record);
    let mut client = connect(&server);
    client.write_all(b"fail\n").unwrap();
    assert_eq!(rest(&mut client).unwrap(), b"");
    drop(client);
    within(move || server.stop()).unwrap();
    assert_eq!(record.failures(), Vec::<String>::new());
}

/// Panics in every hook that is called.
struct Bomb(&'static str);

impl Bomb {
    fn blow(&self, hook: &str) {
        assert!(self.0 != hook, "the {hook} bomb");
    }
}

impl Hooks for Bomb {
    fn verify_request(&self, peer: &Address, server: &ServerHandle) -> Verdict {
        self.blow("verify_request");
        DefaultHooks.verify_request(peer, server)
    }
    fn service_actions(&self, server: &ServerHandle) {
        self.blow("service_actions");
        DefaultHooks.service_actions(server);
    }
    fn handle_timeout(&self, server: &ServerHandle) {
        self.blow("handle_timeout");
        DefaultHooks.handle_timeout(server);
    }
    fn handle_error(&self, error: &Error, server: &ServerHandle) {
        self.blow("handle_error");
        DefaultHooks.handle_error(error, server);
    }
}

#[test]
fn a_panic_in_verify_request_refuses_that_request_and_the_loop_goes_on() {
    let record = Record::default();
    let server = serve(Bomb("verify_request"), &record);
    for number in 1..=3 {
        assert_eq!(rest(&mut connect(&server)).unwrap(), b"");
        until("it is told", || {
            record.times(&Told::Refused(Refusal::Verify)) == number
        });
    }
    within(move || server.stop()).unwrap();
    let failures = record.failures();
    assert!(
        failures[0].contains("the hook verify_request panicked"),
        "{failures:?}"
    );
}

#[test]
fn a_panic_in_service_actions_does_not_end_the_loop() {
    let record = Record::default();
    let server = serve(Bomb("service_actions"), &record);
    until("it has panicked", || !record.failures().is_empty());
    assert_eq!(ask(&mut connect(&server), "hi\n"), "hi\n");
    within(move || server.stop()).unwrap();
}

#[test]
fn a_panic_in_handle_error_takes_the_default_and_costs_one_request() {
    let record = Record::default();
    let server = serve(Bomb("handle_error"), &record);
    let mut client = connect(&server);
    client.write_all(b"fail\n").unwrap();
    assert_eq!(rest(&mut client).unwrap(), b"");
    assert_eq!(ask(&mut connect(&server), "hi\n"), "hi\n");
    within(move || server.stop()).unwrap();
    let failures = record.failures().join("\n");
    assert!(
        failures.contains("the hook handle_error panicked"),
        "{failures}"
    );
    assert!(failures.contains("as it was told"), "{failures}");
}

#[test]
fn a_panic_in_handle_timeout_is_told_and_no_more() {
    let record = Record::default();
    let mut server = Builder::new(Tcp::default(), Sequential)
        .hooks(Bomb("handle_timeout"))
        .observer(record.clone())
        .bind("127.0.0.1:0", handler_fn(echo))
        .unwrap();
    for _ in 0..2 {
        let handled = server.handle_request(Some(Duration::ZERO)).unwrap();
        assert_eq!(handled, Handled::TimedOut);
    }
    assert_eq!(record.failures().len(), 2);
}

#[test]
fn service_actions_are_called_though_nothing_happens() {
    #[derive(Clone, Default)]
    struct Count(Arc<AtomicUsize>);
    impl Hooks for Count {
        fn service_actions(&self, _server: &ServerHandle) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let count = Count::default();
    let server = serve(count.clone(), &Record::default());
    until("it was called ten times", || {
        count.0.load(Ordering::SeqCst) >= 10
    });
    within(move || server.stop()).unwrap();
}

#[test]
fn a_shutdown_does_not_wait_for_the_service_interval() {
    let server = Builder::new(Tcp::default(), Threading::default())
        .hooks(DefaultHooks)
        .service_interval(HOUR)
        .bind("127.0.0.1:0", handler_fn(echo))
        .unwrap()
        .start()
        .unwrap();
    until("it serves", || server.handle().is_serving());
    within(move || server.stop()).unwrap();
}

/// Notes its steps, and fails in one of them.
struct Steps {
    fails_in: &'static str,
    panics: bool,
    notes: Arc<std::sync::Mutex<Vec<&'static str>>>,
}

impl Steps {
    fn step(&self, name: &'static str) -> io::Result<()> {
        self.notes.lock().unwrap().push(name);
        if self.fails_in != name {
            return Ok(());
        }
        assert!(!self.panics, "a panic in {name}");
        Err(io::Error::other(format!("an error in {name}")))
    }
}

impl RequestHandler for Steps {
    fn setup(&mut self, _: &mut Connection) -> io::Result<()> {
        self.step("setup")
    }
    fn handle(&mut self, _: &mut Connection) -> io::Result<()> {
        self.step("handle")
    }
    fn finish(&mut self, _: &mut Connection) -> io::Result<()> {
        self.step("finish")
    }
}

#[test]
fn finish_runs_if_and_only_if_setup_succeeded() {
    let all = ["setup", "handle", "finish"];
    for (fails_in, wanted) in [
        ("", &all[..]),
        ("setup", &all[..1]),
        ("handle", &all),
        ("finish", &all),
    ] {
        for panics in [false, true] {
            let notes = Arc::new(std::sync::Mutex::default());
            let record = Record::default();
            let kept = Arc::clone(&notes);
            let factory = move || Steps {
                fails_in,
                panics,
                notes: Arc::clone(&kept),
            };
            let server = Builder::new(Tcp::default(), Threading::default())
                .observer(record.clone())
                .bind("127.0.0.1:0", factory)
                .unwrap()
                .start()
                .unwrap();
            assert_eq!(rest(&mut connect(&server)).unwrap(), b"");
            within(move || server.stop()).unwrap();
            assert_eq!(*notes.lock().unwrap(), wanted, "{fails_in} {panics}");
            assert_eq!(record.failures().len(), usize::from(!fails_in.is_empty()));
        }
    }
}

#[test]
fn a_watched_pipe_calls_back_until_the_callback_has_had_enough() {
    let (mut read, mut write) = io::pipe().unwrap();
    let copy = read.try_clone().unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let server = Builder::new(Tcp::default(), Threading::default())
        .watch(copy, move |_| {
            let mut byte = [0];
            read.read_exact(&mut byte).unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            if byte == *b"q" {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .bind("127.0.0.1:0", handler_fn(echo_lines))
        .unwrap()
        .start()
        .unwrap();
    for (number, byte) in b"abq".iter().enumerate() {
        write.write_all(&[*byte]).unwrap();
        until("it is heard", || calls.load(Ordering::SeqCst) == number + 1);
    }
    let _ = write.write_all(b"unheard");
    assert_eq!(ask(&mut connect(&server), "served\n"), "served\n");
    within(move || server.stop()).unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}

/// A file cannot be polled, as it is always readable; a console may be one (`< commands`).
#[test]
fn a_watched_file_is_read_to_its_end() {
    let directory = crate::support::Directory::new();
    let path = directory.path("commands");
    std::fs::write(&path, "one\ntwo\nquit\n").unwrap();
    let mut file = File::open(&path).unwrap();
    let heard = Arc::new(std::sync::Mutex::new(String::new()));
    let kept = Arc::clone(&heard);
    let server = Builder::new(Tcp::default(), Threading::default())
        .watch(File::open(&path).unwrap(), move |handle| {
            let mut byte = [0];
            if file.read(&mut byte).unwrap() == 0 {
                handle.shutdown();
                return ControlFlow::Break(());
            }
            kept.lock().unwrap().push(char::from(byte[0]));
            ControlFlow::Continue(())
        })
        .bind("127.0.0.1:0", handler_fn(echo))
        .unwrap()
        .start()
        .unwrap();
    within(move || server.wait()).unwrap();
    assert_eq!(*heard.lock().unwrap(), "one\ntwo\nquit\n");
}

#[test]
fn a_watch_that_panics_is_over_and_the_server_is_not() {
    let (read, mut write) = io::pipe().unwrap();
    write.write_all(b"x").unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let server = Builder::new(Tcp::default(), Threading::default())
        .watch(read, move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            panic!("as it was told");
        })
        .bind("127.0.0.1:0", handler_fn(echo_lines))
        .unwrap()
        .start()
        .unwrap();
    until("it was called", || calls.load(Ordering::SeqCst) == 1);
    assert_eq!(ask(&mut connect(&server), "served\n"), "served\n");
    within(move || server.stop()).unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

/// A sequential server's handler waits for its peer; watches are attended to all the same.
#[test]
fn a_watch_is_heard_while_a_sequential_handler_waits() {
    let (read, mut write) = io::pipe().unwrap();
    let mut server = Builder::new(Tcp::default(), Sequential)
        .watch(read, |handle| {
            handle.shutdown();
            ControlFlow::Break(())
        })
        .bind("127.0.0.1:0", handler_fn(echo_lines))
        .unwrap();
    let mut client = connect_to(server.local_address().inet().unwrap());
    let run = std::thread::spawn(move || server.serve_forever());
    assert_eq!(ask(&mut client, "hi\n"), "hi\n");
    write.write_all(b"quit\n").unwrap();
    assert_eq!(rest(&mut client).unwrap(), b"");
    drop(client);
    let report = within(move || run.join().unwrap()).unwrap();
    assert_eq!(report.idle_closed, 1);
}
