//! Starting and stopping the room, where it listens, and the client in it.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use chat::client::{self, Terminal};
use chat::{ChatServer, Names, Options, RunningChat};
use socketserver::Endpoint;

use crate::people::{PATIENCE, Person, address, open, until};

fn start(endpoints: &[&str]) -> RunningChat {
    let endpoints: Vec<Endpoint> = endpoints.iter().map(|text| text.parse().unwrap()).collect();
    ChatServer::bind(&endpoints, Options::default())
        .unwrap()
        .start()
        .unwrap()
}

/// D-1, D-4: clients were abandoned: neither told nor disconnected.
#[test]
fn stopping_tells_the_members_and_lets_them_go() {
    let room = open(Options::default().names(Names::Guest));
    let people: Vec<_> = (0..5).map(|_| Person::join(&room)).collect();
    let report = room.stop().unwrap();
    // Who has just been greeted may not yet wait for a line, and counts as finished.
    assert_eq!(report.idle_closed + report.finished, 5, "{report:?}");
    assert_eq!(report.forced, 0, "{report:?}");
    for person in people {
        let heard = person.hears_to_the_end();
        assert!(heard.ends_with("* the server is closing\n"), "{heard}");
        assert!(!heard.contains(" left"), "{heard}");
    }
}

/// D-5: a restart failed for a minute when clients had been connected.
#[test]
fn it_starts_again_on_the_same_port_with_clients_connected() {
    let mut room = open(Options::default());
    let port = address(&room);
    for _ in 0..2 {
        let person = Person::join(&room);
        room.stop().unwrap();
        person.hears_to_the_end();
        room = start(&[&format!("tcp://{port}")]);
        assert_eq!(address(&room), port);
    }
    Person::join(&room);
}

/// D-7
#[test]
fn a_port_in_use_is_an_error_that_names_it() {
    let room = open(Options::default());
    let taken = room.endpoints()[0].clone();
    let error = ChatServer::bind(std::slice::from_ref(&taken), Options::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot listen on {taken}: Address already in use")
    );
}

/// D-17: the original lost the messages of IPv6 peers, and failed on Unix ones.
#[test]
fn one_room_has_doors_of_every_family() {
    let directory = std::env::temp_dir().join(format!("chat-server-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("room.sock");
    let unix = format!("unix://{}", path.display());
    let room = start(&["tcp://127.0.0.1:0", "tcp://[::1]:0", &unix]);
    let mut v4 = Person::join(&room);
    let mut v6 = Person::connect_to(room.endpoints()[1].address().inet().unwrap());
    let v6_name = v6.address();
    assert!(v6_name.starts_with("[::1]:"));
    assert!(v6.hears().contains(&format!("You are {v6_name}.")));
    let stream = UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut greeting = String::new();
    BufReader::new(&stream).read_line(&mut greeting).unwrap();
    assert!(greeting.contains("You are unix-3."), "{greeting}");
    v6.sends("hello 0\n");
    for person in [&mut v4, &mut v6] {
        person.hears_until(|line| line == format!("{v6_name} hello 0"));
    }
    (&stream).write_all(b"and I\n").unwrap();
    for person in [&mut v4, &mut v6] {
        assert_eq!(person.hears(), "unix-3 and I");
    }
    room.stop().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
}

/// `echo hi | socketserver join …`
#[test]
fn a_pipe_says_its_lines_hears_them_and_leaves() {
    let room = open(Options::default().names(Names::Guest));
    let mut other = Person::join(&room);
    let (mut input, its_input) = UnixStream::pair().unwrap();
    let (mut output, mut its_output) = UnixStream::pair().unwrap();
    input.write_all(b"build green\n").unwrap();
    drop(input);
    let terminal = Terminal {
        input: its_input.as_fd(),
        output: &mut its_output,
        notices: &mut std::io::sink(),
    };
    let options = client::Options::default().nick(Some("ci".parse().unwrap()));
    client::run_on(&room.endpoints()[0], &options, terminal).unwrap();
    drop(its_output);
    let mut heard = String::new();
    output.read_to_string(&mut heard).unwrap();
    assert!(heard.starts_with("* Welcome. 2 here."), "{heard}");
    assert!(
        heard.ends_with("* guest-2 is now ci\nci build green\n"),
        "{heard}"
    );
    other.hears_until(|line| line == "ci build green");
    assert_eq!(other.hears(), "* ci left");
}

/// D-34: the client of the original did not come back.
#[test]
fn the_client_comes_back_under_its_name_when_the_server_does() {
    let room = open(Options::default());
    let endpoint = room.endpoints()[0].clone();
    let (mut input, its_input) = UnixStream::pair().unwrap();
    let options = client::Options::default()
        .nick(Some("ada".parse().unwrap()))
        .first_wait(Duration::from_millis(1))
        .longest_wait(Duration::from_millis(10));
    let its_endpoint = endpoint.clone();
    let client = thread::spawn(move || {
        let terminal = Terminal {
            input: its_input.as_fd(),
            output: &mut std::io::sink(),
            notices: &mut std::io::sink(),
        };
        client::run_on(&its_endpoint, &options, terminal)
    });
    until("ada here", || room.door().members() == ["ada"]);
    room.stop().unwrap();
    let room = ChatServer::bind(&[endpoint], Options::default())
        .unwrap()
        .start()
        .unwrap();
    until("ada back", || room.door().members() == ["ada"]);
    input.write_all(b"quit\n").unwrap();
    client.join().unwrap().unwrap();
    until("ada gone", || room.door().is_empty());
}
