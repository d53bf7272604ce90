//! Reading lines and messages: what is whole, what is too long, and what nobody has finished.

use std::io::{self, Write};
use std::net::Shutdown;
use std::sync::{Arc, Mutex};

use socketserver::codec::Lines;
use socketserver::{
    BlockingEngine, Builder, Connection, Limits, Running, Tcp, Threading, ThreadingTcpServer,
    handler_fn,
};

use crate::support::{HOUR, connect, engines, rest, send_and_wait, within};

/// What a handler has heard.
#[derive(Clone, Debug, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    fn hear(&self, text: &[u8]) {
        let text = String::from_utf8_lossy(text).into_owned();
        self.0.lock().unwrap().push(text);
    }

    fn hear_line(&self, line: io::Result<Vec<u8>>) -> io::Result<()> {
        match line {
            Ok(line) => self.hear(&line),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => self.hear(b"(too long)"),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// The ways in which a handler may read lines.
#[derive(Clone, Copy, Debug)]
enum Way {
    Lines,
    LinesAnew,
    Calls,
    Messages,
}

fn listen(connection: &mut Connection, way: Way, heard: &Heard) -> io::Result<()> {
    let limit = connection.server().limits().line_bytes;
    match way {
        Way::Lines => connection
            .reader()
            .lines()
            .try_for_each(|line| heard.hear_line(line)),
        Way::LinesAnew => {
            while let Some(line) = connection.reader().lines().next() {
                heard.hear_line(line)?;
            }
            Ok(())
        }
        Way::Calls => loop {
            let mut line = Vec::new();
            match connection.reader().read_line(&mut line) {
                Ok(0) => return Ok(()),
                Ok(_) => heard.hear(line.trim_ascii_end()),
                Err(error) => heard.hear_line(Err(error))?,
            }
        },
        Way::Messages => {
            let mut messages = connection.reader().messages(Lines::new(limit));
            loop {
                match messages.next_with(|line| heard.hear(line.text())) {
                    Ok(Some(())) => {}
                    Ok(None) => return Ok(()),
                    Err(error) => heard.hear_line(Err(error))?,
                }
            }
        }
    }
}

const WAYS: [Way; 4] = [Way::Lines, Way::LinesAnew, Way::Calls, Way::Messages];

fn hearing_server(engine: Box<dyn BlockingEngine>, way: Way) -> (Running, Heard) {
    let heard = Heard::default();
    let ears = heard.clone();
    let server = Builder::new(Tcp::default(), engine)
        .limits(Limits::default().line_bytes(16))
        .bind(
            "127.0.0.1:0",
            handler_fn(move |connection: &mut Connection| listen(connection, way, &ears)),
        )
        .unwrap()
        .start()
        .unwrap();
    (server, heard)
}

#[test]
fn the_rest_of_an_overlong_line_is_no_line_and_the_next_is_heard() {
    for way in WAYS {
        let (server, heard) = hearing_server(Box::new(Threading::default()), way);
        let mut client = connect(&server);
        for piece in [
            &b"xxxxxxxxxx"[..],
            b"xxxxxxxxxx",
            b"yyyyyyyyyy",
            b"QUIT\nnext\n",
            b"later\n",
        ] {
            send_and_wait(&mut client, &server, piece);
        }
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(&mut client).unwrap(), b"");
        assert_eq!(heard.all(), ["(too long)", "next", "later"], "{way:?}");
        within(move || server.stop()).unwrap();
    }
}

#[test]
fn a_line_that_a_drain_has_cut_is_not_heard() {
    for way in WAYS {
        for engine in engines() {
            let name = engine.name();
            let (server, heard) = hearing_server(engine, way);
            let mut client = connect(&server);
            send_and_wait(&mut client, &server, b"hello\ndelete /tmp");
            server.handle().shutdown();
            assert_eq!(rest(&mut client).unwrap(), b"");
            drop(client);
            within(move || server.wait()).unwrap();
            assert_eq!(heard.all(), ["hello"], "{way:?} on {name}");
        }
    }
}

#[test]
fn a_last_line_without_an_end_is_heard_when_the_peer_ends_its_side() {
    for way in WAYS {
        for engine in engines() {
            let name = engine.name();
            let (server, heard) = hearing_server(engine, way);
            let mut client = connect(&server);
            send_and_wait(&mut client, &server, b"hello\nlast");
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(rest(&mut client).unwrap(), b"");
            within(move || server.stop()).unwrap();
            assert_eq!(heard.all(), ["hello", "last"], "{way:?} on {name}");
        }
    }
}

#[test]
fn what_a_pause_may_end_is_heard_when_a_drain_comes_before_the_pause() {
    for engine in engines() {
        let (name, heard) = (engine.name(), Heard::default());
        let ears = heard.clone();
        let handler = move |connection: &mut Connection| {
            let lines = Lines::new(100).or_pause(HOUR);
            let mut messages = connection.reader().messages(lines);
            while messages.next_with(|line| ears.hear(line.text()))?.is_some() {}
            Ok(())
        };
        let server = Builder::new(Tcp::default(), engine)
            .bind("127.0.0.1:0", handler_fn(handler))
            .unwrap()
            .start()
            .unwrap();
        let mut client = connect(&server);
        send_and_wait(&mut client, &server, b"hello");
        server.handle().shutdown();
        assert_eq!(rest(&mut client).unwrap(), b"");
        drop(client);
        within(move || server.wait()).unwrap();
        assert_eq!(heard.all(), ["hello"], "{name}");
    }
}

/// Of several lines in one piece the last one alone is unfinished.
#[test]
fn a_drain_does_not_take_back_what_was_whole() {
    let heard = Heard::default();
    let ears = heard.clone();
    let handler = move |connection: &mut Connection| {
        let server = connection.server().clone();
        for line in connection.reader().lines() {
            ears.hear(&line?);
            server.shutdown();
        }
        Ok(())
    };
    let server = ThreadingTcpServer::bind("127.0.0.1:0", handler_fn(handler))
        .unwrap()
        .start()
        .unwrap();
    let mut client = connect(&server);
    client.write_all(b"one\ntwo\nthr").unwrap();
    assert_eq!(rest(&mut client).unwrap(), b"");
    drop(client);
    within(move || server.wait()).unwrap();
    assert_eq!(heard.all(), ["one", "two"]);
}
