//! Fewer descriptors than clients.

use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::program::{Client, Program, engines_of_a_room, ticks, until};

const DESCRIPTORS: u64 = 60;
const CLIENTS: usize = 100;

/// A server without descriptors spun, or refused whom it could have let wait.
#[test]
fn with_more_clients_than_descriptors_some_wait_and_cost_nothing() {
    for engine in engines_of_a_room() {
        let arguments = format!("echo --engine {engine} --listen tcp://127.0.0.1:0");
        let mut command = Command::new("prlimit");
        command
            .arg(format!("--nofile={DESCRIPTORS}:{DESCRIPTORS}"))
            .arg(env!("CARGO_BIN_EXE_socketserver"))
            .args(arguments.split_whitespace());
        let program = Program::spawn(&mut command);
        let address = program.address();
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::connect(address)).collect();
        for client in &mut clients {
            client.send("hello\n");
        }
        let served = || program.log().matches(" hello\n").count();
        until("as many as fit are served", || served() >= 30);
        let before = ticks(&program);
        thread::sleep(Duration::from_millis(300));
        let busy = ticks(&program) - before;
        assert!(busy < 10, "{engine}: {busy} of 30 hundredths of a second");

        let count = served();
        assert!(count < CLIENTS, "{engine}");
        let log = program.log();
        let warnings: Vec<_> = log
            .lines()
            .filter(|line| !line.ends_with(" hello"))
            .collect();
        assert_eq!(warnings.len(), 1, "{engine}: {warnings:?}");
        // They come in the order of the queue.
        for client in &mut clients[..count] {
            client.send("again\n");
            assert!(client.line().ends_with(" hello\n"), "{engine}");
            assert!(client.line().ends_with(" again\n"), "{engine}");
        }
        // Who waited is served when others go.
        drop(clients.drain(..count));
        assert!(clients[0].line().ends_with(" hello\n"), "{engine}");
    }
}
