//! Starting and stopping: from anywhere, at any time, and again.

use std::io::Write;
use std::ops::ControlFlow;
use std::thread;
use std::time::Duration;

use socketserver::{
    Builder, Connection, Engine, Error, Forking, Hooks, Pool, Sequential, ServerHandle, Stop, Tcp,
    TcpServer, Threading, ThreadingTcpServer, handler_fn,
};

use crate::support::{
    Latch, address_of, ask, connect, connect_to, echo, echo_lines, engines, flood, rest, until,
    within,
};

#[test]
fn a_shutdown_before_the_run_is_not_lost() {
    for engine in engines() {
        let mut server = Builder::new(Tcp::default(), engine)
            .bind("127.0.0.1:0", handler_fn(echo))
            .unwrap();
        let handle = server.handle();
        handle.shutdown();
        assert!(!handle.is_serving());
        within(move || server.serve_forever()).unwrap();
        assert!(handle.wait(Duration::ZERO));
    }
}

#[test]
fn a_late_shutdown_does_not_end_the_next_run() {
    let mut server = ThreadingTcpServer::bind("127.0.0.1:0", handler_fn(echo_lines)).unwrap();
    let first = server.handle();
    first.shutdown();
    let mut server = within(move || server.serve_forever().map(|_| server)).unwrap();
    first.shutdown();
    first.shutdown();
    let second = server.handle();
    let address = server.local_address().inet().unwrap();
    let run = thread::spawn(move || server.serve_forever());
    until("it serves", || second.is_serving());
    assert!(!second.is_stopping());
    assert_eq!(
        ask(&mut connect_to(address), "still here\n"),
        "still here\n"
    );
    second.shutdown();
    within(move || run.join().unwrap()).unwrap();
}

#[test]
fn an_old_handle_stops_the_run_that_serves_at_the_moment() {
    let mut server = TcpServer::bind("127.0.0.1:0", handler_fn(echo)).unwrap();
    let first = server.handle();
    first.shutdown();
    let mut server = within(move || server.serve_forever().map(|_| server)).unwrap();
    let second = server.handle();
    let run = thread::spawn(move || server.serve_forever());
    until("it serves", || second.is_serving());
    first.shutdown();
    within(move || run.join().unwrap()).unwrap();
}

#[test]
fn a_shutdown_twice_is_a_shutdown() {
    let server = ThreadingTcpServer::bind("127.0.0.1:0", handler_fn(echo))
        .unwrap()
        .start()
        .unwrap();
    server.handle().shutdown();
    server.handle().shutdown();
    within(move || server.stop()).unwrap();
}

#[test]
fn twenty_threads_may_shut_a_server_down_at_once() {
    for engine in engines() {
        let server = Builder::new(Tcp::default(), engine)
            .bind("127.0.0.1:0", handler_fn(echo))
            .unwrap()
            .start()
            .unwrap();
        let stoppers: Vec<_> = (0..20)
            .map(|_| server.handle().clone())
            .map(|handle| thread::spawn(move || handle.shutdown()))
            .collect();
        within(move || server.wait()).unwrap();
        for stopper in stoppers {
            stopper.join().unwrap();
        }
    }
}

/// Python's `test_shutdown`: the request to stop may come before the loop has begun.
#[test]
fn a_shutdown_immediately_after_the_start_stops_it() {
    let servers: Vec<_> = (0..20)
        .map(|_| ThreadingTcpServer::bind("127.0.0.1:0", handler_fn(echo)).unwrap())
        .map(|server| server.start().unwrap())
        .collect();
    for server in servers {
        within(move || server.stop()).unwrap();
    }
}

#[test]
fn a_handler_may_shut_its_server_down() {
    for engine in engines() {
        let stop = |connection: &mut Connection| {
            connection.server().shutdown();
            connection.writer().write_all(b"stopped\n")
        };
        let server = Builder::new(Tcp::default(), engine)
            .bind("127.0.0.1:0", handler_fn(stop))
            .unwrap()
            .start()
            .unwrap();
        let mut client = connect(&server);
        assert_eq!(rest(&mut client).unwrap(), b"stopped\n");
        drop(client);
        within(move || server.wait()).unwrap();
    }
}

#[test]
fn a_handler_may_end_the_server_by_its_outcome() {
    for engine in engines() {
        let name = engine.name();
        let server = Builder::new(Tcp::default(), engine)
            .bind(
                "127.0.0.1:0",
                handler_fn(|_: &mut Connection| Err(Stop.into())),
            )
            .unwrap()
            .start()
            .unwrap();
        let handle = server.handle().clone();
        drop(connect(&server));
        within(move || server.wait()).unwrap();
        assert_eq!(handle.counters().failed, 0, "{name}: it is no failure");
    }
}

#[test]
fn a_watch_callback_may_shut_the_server_down() {
    for engine in engines() {
        let (read, mut write) = std::io::pipe().unwrap();
        let stop = |handle: &ServerHandle| {
            handle.shutdown();
            ControlFlow::Break(())
        };
        let server = Builder::new(Tcp::default(), engine)
            .watch(read, stop)
            .bind("127.0.0.1:0", handler_fn(echo))
            .unwrap()
            .start()
            .unwrap();
        write.write_all(b"quit\n").unwrap();
        within(move || server.wait()).unwrap();
    }
}

#[test]
fn service_actions_may_shut_the_server_down() {
    struct StopSoon;
    impl Hooks for StopSoon {
        fn service_actions(&self, server: &ServerHandle) {
            server.shutdown();
        }
    }
    let server = Builder::new(Tcp::default(), Threading::default())
        .hooks(StopSoon)
        .service_interval(Duration::from_millis(1))
        .bind("127.0.0.1:0", handler_fn(echo))
        .unwrap()
        .start()
        .unwrap();
    within(move || server.wait()).unwrap();
}

#[test]
fn waiting_for_the_end_is_bounded() {
    let server = ThreadingTcpServer::bind("127.0.0.1:0", handler_fn(echo))
        .unwrap()
        .start()
        .unwrap();
    let handle = server.handle().clone();
    assert!(!handle.wait(Duration::from_millis(5)));
    within(move || server.stop()).unwrap();
    assert!(handle.wait(Duration::ZERO));
}

#[test]
fn abort_cuts_a_drain_short() {
    for engine in engines() {
        let name = engine.name();
        let server = Builder::new(Tcp::default(), engine)
            .drain_timeout(crate::support::HOUR)
            .limits(socketserver::Limits::default().write_timeout(None))
            .bind("127.0.0.1:0", handler_fn(flood))
            .unwrap()
            .start()
            .unwrap();
        let handle = server.handle().clone();
        let _client = connect(&server);
        until("it is served", || handle.connection_count() == 1);
        handle.shutdown();
        assert!(!handle.wait(Duration::from_millis(20)), "{name}: it drains");
        handle.abort();
        let report = within(move || server.wait()).unwrap();
        assert_eq!((report.forced, report.stuck), (1, 0), "{name}");
    }
}

#[test]
fn an_abort_without_a_shutdown_stops_at_once() {
    let server = ThreadingTcpServer::bind("127.0.0.1:0", handler_fn(echo))
        .unwrap()
        .start()
        .unwrap();
    let handle = server.handle().clone();
    let _client = connect(&server);
    until("it is served", || handle.connection_count() == 1);
    handle.abort();
    let report = within(move || server.wait()).unwrap();
    assert_eq!(report.idle_closed + report.forced, 1);
}

#[test]
fn a_server_restarts_on_its_port_right_after_a_stop_with_clients() {
    let mut address = "127.0.0.1:0".parse().unwrap();
    let mut clients = Vec::new();
    for _ in 0..3 {
        let server = ThreadingTcpServer::bind(address, handler_fn(echo_lines))
            .unwrap()
            .start()
            .unwrap();
        address = address_of(&server);
        for _ in 0..3 {
            clients.push(connect(&server));
            assert_eq!(ask(clients.last_mut().unwrap(), "hi\n"), "hi\n");
        }
        within(move || server.stop()).unwrap();
    }
}

#[test]
fn a_server_serves_again_after_a_stop_and_with_who_came_meanwhile() {
    for engine in engines() {
        let mut server = Builder::new(Tcp::default(), engine)
            .bind("127.0.0.1:0", handler_fn(echo_lines))
            .unwrap();
        let address = server.local_address().inet().unwrap();
        let mut early = connect_to(address);
        early.write_all(b"early\n").unwrap();
        for _ in 0..3 {
            let handle = server.handle();
            let run = thread::spawn(move || server.serve_forever().map(|_| server));
            until("it serves", || handle.is_serving());
            let mut client = connect_to(address);
            if early.peer_addr().is_ok() {
                early.shutdown(std::net::Shutdown::Write).ok();
            }
            assert_eq!(ask(&mut client, "hi\n"), "hi\n");
            drop(client);
            handle.shutdown();
            server = within(move || run.join().unwrap()).unwrap();
        }
        assert_eq!(rest(&mut early).unwrap(), b"early\n");
    }
}

#[test]
fn a_guard_that_is_dropped_stops_its_server() {
    let server = ThreadingTcpServer::bind("127.0.0.1:0", handler_fn(echo))
        .unwrap()
        .start()
        .unwrap();
    let handle = server.handle().clone();
    drop(server);
    assert!(handle.wait(crate::support::PATIENCE));
}

#[test]
fn forking_refuses_to_serve_in_a_process_with_threads_and_says_why() {
    let server = Builder::new(Tcp::default(), Forking::default())
        .bind("127.0.0.1:0", handler_fn(echo))
        .unwrap();
    let error = server.start().unwrap().wait().unwrap_err();
    assert!(matches!(error, Error::Engine { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("forking") && text.contains("threads"),
        "{text}"
    );
}

#[test]
fn an_idle_server_stops_while_another_is_busy() {
    let latch = Latch::default();
    let waits = {
        let latch = latch.clone();
        move |_: &mut Connection| {
            latch.wait();
            Ok(())
        }
    };
    let busy = ThreadingTcpServer::bind("127.0.0.1:0", handler_fn(waits))
        .unwrap()
        .start()
        .unwrap();
    let client = connect(&busy);
    until("it is busy", || busy.handle().connection_count() == 1);
    for engine in [true, false] {
        let idle = if engine {
            Builder::new(Tcp::default(), Pool::new(2))
                .bind("127.0.0.1:0", handler_fn(echo))
                .unwrap()
                .start()
        } else {
            Builder::new(Tcp::default(), Sequential)
                .bind("127.0.0.1:0", handler_fn(echo))
                .unwrap()
                .start()
        };
        within(move || idle.unwrap().stop()).unwrap();
    }
    latch.open();
    drop(client);
    within(move || busy.stop()).unwrap();
}
