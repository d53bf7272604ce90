//! The client, driven by pipes and a listener of the test's own.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use chat::client::{self, Error, Options, Terminal};
use socketserver::Endpoint;

/// Longer than anything here takes, so that a test that fails does not hang.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client that runs, with its three streams.
struct Client {
    input: UnixStream,
    output: BufReader<UnixStream>,
    notices: BufReader<UnixStream>,
    thread: JoinHandle<Result<(), Error>>,
}

impl Client {
    fn start(endpoint: &str, options: Options) -> Self {
        let pair = || {
            let (ours, its) = UnixStream::pair().unwrap();
            ours.set_read_timeout(Some(PATIENCE)).unwrap();
            (ours, its)
        };
        let ((input, its_input), (output, mut its_output), (notices, mut its_notices)) =
            (pair(), pair(), pair());
        let endpoint: Endpoint = endpoint.parse().unwrap();
        let thread = thread::spawn(move || {
            let terminal = Terminal {
                input: its_input.as_fd(),
                output: &mut its_output,
                notices: &mut its_notices,
            };
            client::run_on(&endpoint, &options, terminal)
        });
        let (output, notices) = (BufReader::new(output), BufReader::new(notices));
        Self {
            input,
            output,
            notices,
            thread,
        }
    }

    fn types(&mut self, text: &str) {
        self.input.write_all(text.as_bytes()).unwrap();
    }

    fn ends_input(&self) {
        self.input.shutdown(std::net::Shutdown::Write).unwrap();
    }

    fn shows(&mut self) -> String {
        line(&mut self.output).unwrap()
    }

    fn notes(&mut self) -> String {
        line(&mut self.notices).unwrap()
    }

    /// What it showed to its end, and how it ended.
    fn ends(mut self) -> (String, Result<(), Error>) {
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        (rest, self.thread.join().unwrap())
    }
}

fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    Ok(line)
}

/// A listener, and its address as an endpoint.
fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    (listener, endpoint)
}

fn accept(listener: &TcpListener) -> BufReader<TcpStream> {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    BufReader::new(stream)
}

/// Options that wait for nothing longer than they must.
fn quick() -> Options {
    Options::default()
        .first_wait(Duration::from_millis(1))
        .farewell(PATIENCE)
}

/// An address at which nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

/// D-34: the original's client sent no line ends, so that messages could not be told apart.
#[test]
fn each_line_typed_is_a_line_sent() {
    let (listener, endpoint) = listen();
    let mut client = Client::start(&endpoint, quick());
    let mut server = accept(&listener);
    client.types("hel");
    client.types("lo\n中文\nno end");
    client.ends_input();
    let mut received = String::new();
    server.read_to_string(&mut received).unwrap();
    assert_eq!(received, "hello\n中文\nno end\n");
    drop(server);
    assert!(client.ends().1.is_ok());
}

#[test]
fn what_is_received_is_shown_as_whole_lines_that_obey_nothing() {
    let (listener, endpoint) = listen();
    let mut client = Client::start(&endpoint, quick());
    let mut server = accept(&listener);
    let text = format!("ada {}中", "a".repeat(1023));
    let (one, two) = text.as_bytes().split_at(text.len() - 1);
    server.get_mut().write_all(one).unwrap();
    server.get_mut().write_all(two).unwrap();
    server
        .get_mut()
        .write_all(b"\r\nbob \x1b[2J\xff\n")
        .unwrap();
    assert_eq!(client.shows(), format!("{text}\n"));
    assert_eq!(client.shows(), "bob \\x1b[2J\u{fffd}\n");
}

#[test]
fn a_line_that_never_ends_is_shown_after_a_pause() {
    let (listener, endpoint) = listen();
    let mut client = Client::start(&endpoint, quick().pause(Duration::from_millis(1)));
    let mut server = accept(&listener);
    server.get_mut().write_all(b"127.0.0.1:9 hello").unwrap();
    assert_eq!(client.shows(), "127.0.0.1:9 hello\n");
}

#[test]
fn quit_is_sent_and_what_still_comes_is_shown() {
    let (listener, endpoint) = listen();
    let mut client = Client::start(&endpoint, quick());
    let mut server = accept(&listener);
    client.types("bye all\nquit \nnever sent\n");
    let mut received = String::new();
    server.read_to_string(&mut received).unwrap();
    assert_eq!(received, "bye all\nquit\n");
    server.get_mut().write_all(b"ada bye all\n* bye\n").unwrap();
    drop(server);
    let (rest, outcome) = client.ends();
    assert_eq!(rest, "ada bye all\n* bye\n");
    assert!(outcome.is_ok());
}

#[test]
fn a_server_that_does_not_close_is_left_after_the_farewell() {
    let (listener, endpoint) = listen();
    let mut client = Client::start(&endpoint, quick().farewell(Duration::from_millis(1)));
    let mut server = accept(&listener);
    client.types("quit\n");
    assert_eq!(line(&mut server).unwrap(), "quit\n");
    assert!(client.ends().1.is_ok());
}

/// D-34: a refused connection ended the original's client with a traceback.
#[test]
fn nobody_listening_is_one_error_that_names_the_endpoint_and_the_cause() {
    let address = nobody();
    let (_, outcome) = Client::start(&format!("tcp://{address}"), quick()).ends();
    let error = outcome.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }));
    assert_eq!(
        error.to_string(),
        format!("cannot connect to tcp://{address}: Connection refused")
    );
}

/// D-34: the original's client had no connect timeout.
#[test]
fn connecting_takes_no_longer_than_its_timeout() {
    // A queue that is full: what comes next gets no answer.
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    )
    .unwrap();
    rustix::net::bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let address: SocketAddr = rustix::net::getsockname(&socket)
        .unwrap()
        .try_into()
        .unwrap();
    let _first = TcpStream::connect(address).unwrap();
    let options = quick().connect_timeout(Duration::from_millis(1));
    let (_, outcome) = Client::start(&format!("tcp://{address}"), options).ends();
    let error = outcome.unwrap_err().to_string();
    assert!(error.ends_with("no answer"), "{error}");
}

#[test]
fn datagrams_are_refused_with_a_sentence() {
    let (_, outcome) = Client::start("udp://127.0.0.1:9", quick()).ends();
    assert!(
        outcome
            .unwrap_err()
            .to_string()
            .contains("tcp:// or unix://")
    );
}

/// D-34: the original's client noticed that the server was gone at the next line typed, and did not
/// come back.
#[test]
fn a_lost_connection_is_noticed_at_once_and_made_again() {
    let (listener, endpoint) = listen();
    let mut client = Client::start(&endpoint, quick().nick(Some("ada".parse().unwrap())));
    let mut server = accept(&listener);
    assert_eq!(line(&mut server).unwrap(), "/nick ada\n");
    client.types("/nick bob\n");
    assert_eq!(line(&mut server).unwrap(), "/nick bob\n");
    drop(server);
    let notice = client.notes();
    assert_eq!(
        notice,
        format!("* connection lost: {endpoint} (the server closed it) — reconnecting in 1ms\n")
    );
    let mut server = accept(&listener);
    assert_eq!(client.notes(), format!("* connected again: {endpoint}\n"));
    assert_eq!(line(&mut server).unwrap(), "/nick bob\n");
    client.types("hello\n");
    assert_eq!(line(&mut server).unwrap(), "hello\n");
}

#[test]
fn attempts_to_reconnect_come_more_and_more_seldom() {
    let (listener, endpoint) = listen();
    let options = quick().longest_wait(Duration::from_millis(4));
    let mut client = Client::start(&endpoint, options);
    drop((accept(&listener), listener));
    let waits: Vec<_> = (0..4).map(|_| client.notes()).collect();
    for (notice, wait) in waits.iter().zip(["1ms", "2ms", "4ms", "4ms"]) {
        assert!(
            notice.ends_with(&format!("reconnecting in {wait}\n")),
            "{waits:?}"
        );
    }
    client.types("quit\n");
    assert!(client.ends().1.is_ok());
}

#[test]
fn a_lost_connection_is_an_error_if_it_is_not_to_be_made_again() {
    let (listener, endpoint) = listen();
    let client = Client::start(&endpoint, quick().reconnect(false));
    drop(accept(&listener));
    let (_, outcome) = client.ends();
    let error = outcome.unwrap_err().to_string();
    assert_eq!(
        error,
        format!("connection lost: {endpoint}: the server closed it")
    );
}

/// What was typed while there was no connection is sent once there is one.
#[test]
fn nothing_typed_is_lost_while_there_is_no_connection() {
    let (listener, endpoint) = listen();
    let mut client = Client::start(&endpoint, quick().longest_wait(Duration::from_millis(5)));
    let address = listener.local_addr().unwrap();
    drop((accept(&listener), listener));
    client.notes();
    client.types("are you there?\n");
    let listener = TcpListener::bind(address).unwrap();
    assert_eq!(line(&mut accept(&listener)).unwrap(), "are you there?\n");
}

#[test]
fn input_that_could_not_be_sent_is_an_error() {
    let (listener, endpoint) = listen();
    let mut client = Client::start(&endpoint, quick().first_wait(PATIENCE));
    drop((accept(&listener), listener));
    client.notes();
    client.types("lost\n");
    client.ends_input();
    let (_, outcome) = client.ends();
    assert!(matches!(outcome, Err(Error::Lost { .. })), "{outcome:?}");
}

/// A pipe that brings more than the server takes for now is read no faster than that.
#[test]
fn a_long_input_reaches_the_server_whole() {
    let (listener, endpoint) = listen();
    let mut client = Client::start(&endpoint, quick());
    let mut server = accept(&listener);
    let text = "a line that is typed by nobody\n".repeat(50_000);
    let expected = text.clone();
    let writer = thread::spawn(move || {
        client.types(&text);
        client.ends_input();
        client
    });
    let mut received = String::new();
    server.read_to_string(&mut received).unwrap();
    assert!(
        received == expected,
        "{} of {} bytes",
        received.len(),
        expected.len()
    );
    drop(server);
    assert!(writer.join().unwrap().ends().1.is_ok());
}

#[test]
fn an_output_that_nobody_reads_any_more_ends_the_client_quietly() {
    let (listener, endpoint) = listen();
    let Client {
        input: _input,
        output,
        notices: _notices,
        thread,
    } = Client::start(&endpoint, quick());
    drop(output);
    let mut server = accept(&listener);
    server.get_mut().write_all(b"ada hello\n").unwrap();
    assert!(thread.join().unwrap().is_ok());
}

#[test]
fn a_unix_socket_is_joined_as_well() {
    let directory = std::env::temp_dir().join(format!("chat-client-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("room.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let mut client = Client::start(&format!("unix://{}", path.display()), quick());
    let (stream, _) = listener.accept().unwrap();
    client.types("hi\n");
    assert_eq!(line(&mut BufReader::new(&stream)).unwrap(), "hi\n");
    (&stream).write_all(b"unix-1 hi\n").unwrap();
    assert_eq!(client.shows(), "unix-1 hi\n");
    std::fs::remove_dir_all(&directory).unwrap();
}
