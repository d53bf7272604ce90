//! What a ring does, on sockets of this machine.

#![allow(clippy::unwrap_used, reason = "the functions that the tests share")]

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socketserver_sys::ring::{Completion, GREATEST_TOKEN, Operation, Payload, Ring, Settings};
use socketserver_sys::signal::Signals;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(10);

const SMALL: Settings = Settings {
    entries: 8,
    buffers: 4,
    buffer_bytes: 64,
    incremental: false,
};

/// A ring, or none where the kernel has no `io_uring` that would do, which is said.
fn ring(settings: &Settings) -> Option<Ring> {
    match Ring::new(settings) {
        Ok(ring) => {
            if settings.incremental && !ring.is_incremental() {
                assert!(!has_incremental(), "the kernel has pieces, but no ring has");
                println!("buffers in pieces are not supported here");
                return None;
            }
            Some(ring)
        }
        Err(error) => {
            let bare = io_uring::IoUring::builder()
                .setup_single_issuer()
                .setup_defer_taskrun()
                .build(8);
            let bare: io::Result<io_uring::IoUring> = bare;
            assert!(bare.is_err(), "there is an io_uring, but no ring: {error}");
            println!("io_uring is not supported here: {error}");
            None
        }
    }
}

/// Whether the kernel would fill buffers piece by piece.
fn has_incremental() -> bool {
    let uring = io_uring::IoUring::new(8).unwrap();
    let page = Box::leak(Box::new([0_u8; 2 * 4096]));
    let address = (page.as_ptr() as u64).next_multiple_of(4096);
    // SAFETY: the page is leaked, and nothing is received.
    unsafe {
        uring
            .submitter()
            .register_buf_ring_with_flags(address, 8, 0, 2)
            .is_ok()
    }
}

/// A ring of each kind that there is.
fn rings(settings: &Settings) -> impl Iterator<Item = Ring> {
    let kinds = [false, true].map(|incremental| Settings {
        incremental,
        ..settings.clone()
    });
    kinds.into_iter().filter_map(|settings| ring(&settings))
}

/// The next completion.
fn next(ring: &mut Ring) -> Completion {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(completion) = ring.next() {
            return completion;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "nothing happens");
        ring.wait(Some(left)).unwrap();
    }
}

/// Everything that is there now.
fn everything(ring: &mut Ring) -> Vec<Completion> {
    let mut all = Vec::new();
    loop {
        ring.wait(Some(Duration::ZERO)).unwrap();
        let before = all.len();
        all.extend(std::iter::from_fn(|| ring.next()));
        if all.len() == before {
            return all;
        }
    }
}

/// The bytes that a completion brings to `token`, given back.
fn received(ring: &mut Ring, completion: Completion, expected: u64) -> Vec<u8> {
    let Completion::Received {
        token,
        buffer,
        armed: true,
    } = completion
    else {
        panic!("{completion:?}");
    };
    assert_eq!(token, expected);
    let bytes = ring.bytes(&buffer).to_vec();
    assert_eq!(buffer.len(), bytes.len());
    assert!(!buffer.is_empty());
    ring.give_back(buffer);
    bytes
}

/// A connection over TCP.
fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one, listener.accept().unwrap().0)
}

#[test]
fn one_receive_brings_message_after_message() {
    for mut ring in rings(&SMALL) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ring.receive(ours.as_fd(), GREATEST_TOKEN);
        for message in 0..100 {
            let message = format!("message {message}");
            theirs.write_all(message.as_bytes()).unwrap();
            let completion = next(&mut ring);
            let bytes = received(&mut ring, completion, GREATEST_TOKEN);
            // At the end of a buffer that is filled piece by piece a message comes in two.
            let mut all = bytes;
            while all.len() < message.len() {
                let completion = next(&mut ring);
                all.extend(received(&mut ring, completion, GREATEST_TOKEN));
            }
            assert_eq!(all, message.as_bytes());
        }
    }
}

#[test]
fn a_long_stream_arrives_whole_and_in_order_through_few_small_buffers() {
    for mut ring in rings(&SMALL) {
        let (ours, mut theirs) = tcp_pair();
        let sent: Vec<u8> = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();
        let expected = sent.clone();
        let writer = std::thread::spawn(move || theirs.write_all(&sent).unwrap());
        ring.receive(ours.as_fd(), 1);
        let mut all = Vec::new();
        // Some buffers are held for a while, so that they are given back in another order.
        let mut held = Vec::new();
        let begin = Instant::now();
        loop {
            assert!(begin.elapsed() < PATIENCE, "{} bytes so far", all.len());
            match next(&mut ring) {
                Completion::Received { buffer, armed, .. } => {
                    all.extend_from_slice(ring.bytes(&buffer));
                    held.push(buffer);
                    if held.len() == 3 {
                        let middle = held.swap_remove(1);
                        ring.give_back(middle);
                        ring.give_back(held.pop().unwrap());
                    }
                    if !armed {
                        ring.receive(ours.as_fd(), 1);
                    }
                }
                Completion::ReceiveFailed { starved: true, .. } => {
                    held.drain(..).for_each(|buffer| ring.give_back(buffer));
                    ring.receive(ours.as_fd(), 1);
                }
                Completion::Ended { armed: false, .. } => break,
                other => panic!("{other:?}"),
            }
        }
        writer.join().unwrap();
        assert!(all == expected, "{} bytes, or others", all.len());
    }
}

#[test]
fn the_end_of_the_input_is_told_and_ends_the_receive() {
    for mut ring in rings(&SMALL) {
        let (ours, mut theirs) = tcp_pair();
        ring.receive(ours.as_fd(), 5);
        theirs.write_all(b"last").unwrap();
        drop(theirs);
        let completion = next(&mut ring);
        assert_eq!(received(&mut ring, completion, 5), b"last");
        let completion = next(&mut ring);
        assert!(
            matches!(
                completion,
                Completion::Ended {
                    token: 5,
                    armed: false
                }
            ),
            "{completion:?}"
        );
        assert!(everything(&mut ring).is_empty());
    }
}

/// Writes until there is no room for more; tells how much that was.
fn fill(stream: &TcpStream) -> usize {
    stream.set_nonblocking(true).unwrap();
    let mut count = 0;
    let mut stream = stream;
    let block = vec![b'x'; 65_536];
    while let Ok(more) = stream.write(&block) {
        count += more;
    }
    count
}

#[test]
fn a_payload_lives_until_its_send_is_over_whatever_the_caller_drops() {
    let Some(mut ring) = ring(&SMALL) else { return };
    let (ours, mut theirs) = tcp_pair();
    let before = fill(&ours);
    let payload: Arc<[u8]> = vec![b'y'; 1000].into();
    let weak = Arc::downgrade(&payload);
    ring.send(ours.as_fd(), payload.into(), 7);
    // There is no room: the send waits.
    ring.wait(Some(Duration::ZERO)).unwrap();
    assert!(ring.next().is_none());
    drop(ours);
    assert!(weak.upgrade().is_some());
    let reader = std::thread::spawn(move || {
        theirs.read_exact(&mut vec![0; before]).unwrap();
        let mut rest = Vec::new();
        theirs.read_to_end(&mut rest).unwrap();
        rest
    });
    let Completion::Sent {
        token: 7,
        result,
        payload,
    } = next(&mut ring)
    else {
        panic!("not sent");
    };
    assert_eq!(result.unwrap(), 1000);
    assert_eq!(payload.bytes().len(), 1000);
    drop(payload);
    assert!(weak.upgrade().is_none());
    assert_eq!(reader.join().unwrap(), vec![b'y'; 1000]);
}

#[test]
fn a_send_tells_how_much_there_was_room_for() {
    let Some(mut ring) = ring(&SMALL) else { return };
    let (ours, mut theirs) = tcp_pair();
    ring.send(ours.as_fd(), vec![b'x'; 20_000_000].into(), 1);
    let Completion::Sent { result, .. } = next(&mut ring) else {
        panic!("not sent");
    };
    let sent = result.unwrap();
    assert!((1..20_000_000).contains(&sent), "{sent}");
    drop(ours);
    let mut all = Vec::new();
    theirs.read_to_end(&mut all).unwrap();
    assert_eq!(all.len(), sent);
}

#[test]
fn a_vector_that_was_sent_comes_back() {
    let Some(mut ring) = ring(&SMALL) else { return };
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let bytes = b"and again".to_vec();
    let address = bytes.as_ptr();
    ring.send(ours.as_fd(), bytes.into(), 2);
    let Completion::Sent {
        payload: Payload::Owned(bytes),
        ..
    } = next(&mut ring)
    else {
        panic!("not sent");
    };
    assert_eq!(bytes.as_ptr(), address);
    let mut read = [0; 9];
    theirs.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"and again");
}

#[test]
fn more_sends_than_the_queue_has_places_are_all_sent() {
    let Some(mut ring) = ring(&SMALL) else { return };
    let pairs: Vec<_> = (0..100).map(|_| UnixStream::pair().unwrap()).collect();
    for (token, (ours, _)) in (0..).zip(&pairs) {
        ring.send(
            ours.as_fd(),
            format!("{token:03}").into_bytes().into(),
            token,
        );
    }
    let mut tokens: Vec<u64> = (0..100)
        .map(|_| match next(&mut ring) {
            Completion::Sent {
                token,
                result: Ok(3),
                ..
            } => token,
            other => panic!("{other:?}"),
        })
        .collect();
    tokens.sort_unstable();
    assert!(tokens.into_iter().eq(0..100));
    for (token, (_, mut theirs)) in pairs.into_iter().enumerate() {
        let mut read = [0; 3];
        theirs.read_exact(&mut read).unwrap();
        assert_eq!(read, format!("{token:03}").as_bytes());
    }
}

#[test]
fn a_send_to_a_peer_that_is_gone_is_an_error_and_no_signal() {
    let Some(mut ring) = ring(&SMALL) else { return };
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    // Blocked, a signal is kept even though Rust's programs ignore this one.
    let signals = Signals::new(&[libc::SIGPIPE]).unwrap();
    ring.send(ours.as_fd(), b"hello?".to_vec().into(), 2);
    let Completion::Sent { result, .. } = next(&mut ring) else {
        panic!("not sent");
    };
    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(signals.take().unwrap(), None);
}

#[test]
fn starvation_is_told_and_is_over_when_buffers_are_given_back() {
    for mut ring in rings(&SMALL) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ring.receive(ours.as_fd(), 3);
        theirs.write_all(&[b'a'; 300]).unwrap();
        let mut held = Vec::new();
        loop {
            match next(&mut ring) {
                Completion::Received { buffer, .. } => held.push(buffer),
                Completion::ReceiveFailed {
                    token: 3,
                    starved: true,
                    armed: false,
                    ..
                } => break,
                other => panic!("{other:?}"),
            }
        }
        let had: usize = held.iter().map(|buffer| ring.bytes(buffer).len()).sum();
        // The trial has used some bytes of the first buffer if it is used piece by piece.
        assert!((240..=256).contains(&had), "{had}");
        for buffer in held {
            ring.give_back(buffer);
        }
        ring.receive(ours.as_fd(), 3);
        let mut rest = 0;
        while had + rest < 300 {
            let completion = next(&mut ring);
            rest += received(&mut ring, completion, 3).len();
        }
        assert_eq!(had + rest, 300);
    }
}

#[test]
fn small_messages_share_a_buffer_that_is_filled_piece_by_piece() {
    let settings = Settings {
        incremental: true,
        buffers: 1,
        ..SMALL
    };
    let Some(mut ring) = ring(&settings) else {
        return;
    };
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ring.receive(ours.as_fd(), 3);
    let mut held = Vec::new();
    for message in [b"one", b"two", b"six"] {
        theirs.write_all(message).unwrap();
        match next(&mut ring) {
            Completion::Received {
                buffer,
                armed: true,
                ..
            } => held.push(buffer),
            other => panic!("{other:?}"),
        }
    }
    let all: Vec<&[u8]> = held.iter().map(|buffer| ring.bytes(buffer)).collect();
    assert_eq!(all, [b"one", b"two", b"six"]);
}

#[test]
fn a_cancelled_receive_ends_and_leaves_what_comes_then() {
    for mut ring in rings(&SMALL) {
        let (ours, mut theirs) = tcp_pair();
        ring.receive(ours.as_fd(), 9);
        ring.submit().unwrap();
        ring.cancel_receive(9);
        let completion = next(&mut ring);
        let expected = Completion::Cancelled {
            token: 9,
            operation: Operation::Receive,
        };
        assert_eq!(format!("{completion:?}"), format!("{expected:?}"));
        theirs.write_all(b"later").unwrap();
        assert!(everything(&mut ring).is_empty());
        let mut read = [0; 5];
        (&ours).read_exact(&mut read).unwrap();
        assert_eq!(&read, b"later");
    }
}

#[test]
fn cancelling_what_is_not_there_is_told_as_well() {
    let Some(mut ring) = ring(&SMALL) else { return };
    for expected in [Operation::Receive, Operation::Accept, Operation::Watch] {
        match expected {
            Operation::Receive => ring.cancel_receive(77),
            Operation::Accept => ring.cancel_accept(77),
            Operation::Watch => ring.cancel_watch(77),
        }
        match next(&mut ring) {
            Completion::Cancelled {
                token: 77,
                operation,
            } => assert_eq!(operation, expected),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_wait_ends_with_its_timeout_and_without_an_error() {
    let Some(mut ring) = ring(&SMALL) else { return };
    let (ours, _theirs) = UnixStream::pair().unwrap();
    ring.receive(ours.as_fd(), 1);
    ring.wait(Some(Duration::ZERO)).unwrap();
    let begin = Instant::now();
    ring.wait(Some(Duration::from_millis(30))).unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(30));
    assert!(ring.next().is_none());
}

#[test]
fn a_wait_does_not_wait_while_there_is_something_to_tell() {
    let Some(mut ring) = ring(&SMALL) else { return };
    ring.cancel_receive(1);
    ring.cancel_receive(2);
    let begin = Instant::now();
    ring.wait(Some(PATIENCE)).unwrap();
    ring.wait(Some(PATIENCE)).unwrap();
    assert!(ring.next().is_some());
    ring.wait(Some(PATIENCE)).unwrap();
    assert!(ring.next().is_some());
    assert!(begin.elapsed() < PATIENCE);
}

#[test]
fn a_shutdown_ends_a_send_to_a_peer_that_does_not_read() {
    let Some(mut ring) = ring(&SMALL) else { return };
    let (ours, _theirs) = tcp_pair();
    fill(&ours);
    ring.send(ours.as_fd(), vec![b'x'; 1000].into(), 1);
    assert!(everything(&mut ring).is_empty());
    ours.shutdown(Shutdown::Both).unwrap();
    let Completion::Sent { result, .. } = next(&mut ring) else {
        panic!("not sent");
    };
    assert!(result.is_err(), "{result:?}");
}

#[test]
fn a_connection_that_the_peer_resets_fails_with_its_error() {
    let Some(mut ring) = ring(&SMALL) else { return };
    let (ours, theirs) = tcp_pair();
    // A peer that closes with input unread resets.
    (&ours).write_all(b"unread").unwrap();
    theirs.peek(&mut [0]).unwrap();
    ring.receive(ours.as_fd(), 1);
    ring.submit().unwrap();
    drop(theirs);
    match next(&mut ring) {
        Completion::ReceiveFailed {
            token: 1,
            error,
            starved: false,
            armed: false,
        } => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_watched_descriptor_is_told_each_time_it_becomes_readable() {
    let Some(mut ring) = ring(&SMALL) else { return };
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    ring.watch(ours.as_fd(), 4);
    for _ in 0..3 {
        theirs.write_all(b"!").unwrap();
        let completion = next(&mut ring);
        let expected = Completion::Readable {
            token: 4,
            armed: true,
        };
        assert_eq!(format!("{completion:?}"), format!("{expected:?}"));
        ours.read_exact(&mut [0]).unwrap();
    }
    ring.cancel_watch(4);
    match next(&mut ring) {
        Completion::Cancelled {
            token: 4,
            operation: Operation::Watch,
        } => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_accept_brings_connection_after_connection_and_can_be_cancelled() {
    let Some(mut ring) = ring(&SMALL) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    ring.accept(listener.as_fd(), 6);
    for _ in 0..3 {
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let Completion::Accepted {
            token: 6,
            socket,
            armed: true,
        } = next(&mut ring)
        else {
            panic!("not accepted");
        };
        let socket = TcpStream::from(socket);
        assert_eq!(socket.peer_addr().unwrap(), peer.local_addr().unwrap());
    }
    ring.cancel_accept(6);
    match next(&mut ring) {
        Completion::Cancelled {
            token: 6,
            operation: Operation::Accept,
        } => {}
        other => panic!("{other:?}"),
    }
    // Nobody accepts any more, so the next one stays in the queue for us.
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    assert!(everything(&mut ring).is_empty());
    assert_eq!(
        listener.accept().unwrap().1,
        peer.local_addr().unwrap(),
        "the connection is somebody else's"
    );
}

#[test]
fn what_does_not_fit_the_descriptor_fails_with_its_token() {
    let Some(mut ring) = ring(&SMALL) else { return };
    let (socket, _other) = UnixStream::pair().unwrap();
    let file = std::fs::File::open("/dev/null").unwrap();
    ring.receive(file.as_fd(), 1);
    match next(&mut ring) {
        Completion::ReceiveFailed {
            token: 1,
            starved: false,
            armed: false,
            ..
        } => {}
        other => panic!("{other:?}"),
    }
    ring.accept(socket.as_fd(), 2);
    match next(&mut ring) {
        Completion::AcceptFailed {
            token: 2,
            armed: false,
            ..
        } => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn sockets_that_do_not_block_wait_all_the_same() {
    let Some(mut ring) = ring(&SMALL) else { return };
    let (ours, mut theirs) = tcp_pair();
    let before = fill(&ours);
    ring.receive(ours.as_fd(), 1);
    ring.send(ours.as_fd(), vec![b'x'; 1000].into(), 2);
    assert!(everything(&mut ring).is_empty());
    let reader = std::thread::spawn(move || {
        theirs.write_all(b"go").unwrap();
        theirs.read_exact(&mut vec![0; before + 1000]).unwrap();
        theirs
    });
    let mut is_received = false;
    let mut is_sent = false;
    while !is_received || !is_sent {
        match next(&mut ring) {
            Completion::Sent { result, .. } => is_sent = result.unwrap() == 1000,
            other => is_received = received(&mut ring, other, 1) == b"go",
        }
    }
    drop(reader.join().unwrap());
}

#[test]
fn datagrams_keep_their_bounds() {
    let Some(mut ring) = ring(&SMALL) else { return };
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    ring.receive(ours.as_fd(), 1);
    theirs.send(b"one").unwrap();
    theirs.send(b"three").unwrap();
    for expected in ["one", "three"] {
        let completion = next(&mut ring);
        assert_eq!(received(&mut ring, completion, 1), expected.as_bytes());
    }
}

#[test]
fn a_ring_that_is_dropped_ends_what_is_under_way_and_frees_its_memory() {
    for mut ring in rings(&SMALL) {
        let (ours, mut theirs) = tcp_pair();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let payload: Arc<[u8]> = vec![b'x'; 20_000_000].into();
        let weak = Arc::downgrade(&payload);
        ring.receive(ours.as_fd(), 1);
        ring.accept(listener.as_fd(), 2);
        ring.watch(theirs.as_fd(), 3);
        ring.send(ours.as_fd(), payload.into(), 4);
        ring.submit().unwrap();
        // This one is never seen by the kernel.
        ring.send(theirs.as_fd(), b"unsubmitted".to_vec().into(), 5);
        let begin = Instant::now();
        drop(ring);
        assert!(begin.elapsed() < socketserver_sys::ring::GRACE);
        assert!(
            weak.upgrade().is_none(),
            "the payload was left to the kernel"
        );
        // Nobody receives in our place any more.
        theirs.write_all(b"still here").unwrap();
        let mut read = [0; 10];
        (&ours).read_exact(&mut read).unwrap();
        assert_eq!(&read, b"still here");
    }
}

#[test]
fn a_connection_that_was_accepted_and_not_told_is_closed_with_the_ring() {
    let Some(mut ring) = ring(&SMALL) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    ring.accept(listener.as_fd(), 6);
    let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    ring.wait(None).unwrap();
    drop(ring);
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_descriptor_given_to_close_is_closed_when_its_operations_are_submitted() {
    let Some(mut ring) = ring(&SMALL) else { return };
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    ring.send(ours.as_fd(), b"farewell".to_vec().into(), 1);
    ring.close(OwnedFd::from(ours));
    let early = theirs.read(&mut [0]).unwrap_err();
    assert_eq!(early.kind(), io::ErrorKind::WouldBlock);
    ring.wait(None).unwrap();
    let mut all = Vec::new();
    theirs.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"farewell");
}

#[test]
fn closing_a_descriptor_does_not_end_its_receive_and_cancelling_does() {
    let Some(mut ring) = ring(&SMALL) else { return };
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.set_read_timeout(Some(PATIENCE)).unwrap();
    ring.receive(ours.as_fd(), 1);
    ring.submit().unwrap();
    drop(ours);
    theirs.write_all(b"anybody?").unwrap();
    let completion = next(&mut ring);
    assert_eq!(received(&mut ring, completion, 1), b"anybody?");
    ring.cancel_receive(1);
    assert!(matches!(next(&mut ring), Completion::Cancelled { .. }));
    assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
}

#[test]
fn more_completions_than_the_queue_has_places_are_all_told() {
    const PEERS: u64 = 300;
    let settings = Settings {
        buffers: 1024,
        ..SMALL
    };
    let Some(mut ring) = ring(&settings) else {
        return;
    };
    let pairs: Vec<_> = (0..PEERS).map(|_| UnixStream::pair().unwrap()).collect();
    for (token, (ours, _)) in (0..).zip(&pairs) {
        ring.receive(ours.as_fd(), token);
    }
    let mut sent = 0;
    // The completion queue has 8192 places.
    for _ in 0..40 {
        for (token, (_, theirs)) in (1000..).zip(&pairs) {
            ring.send(theirs.as_fd(), b"x".to_vec().into(), token);
            sent += 1;
        }
        ring.submit().unwrap();
    }
    let (mut done, mut bytes) = (0, 0);
    let begin = Instant::now();
    while done < sent || bytes < sent {
        assert!(begin.elapsed() < PATIENCE, "{done} sent, {bytes} received");
        match next(&mut ring) {
            Completion::Sent { result, .. } => done += result.unwrap(),
            Completion::Received {
                token,
                buffer,
                armed,
            } => {
                bytes += buffer.len();
                ring.give_back(buffer);
                if !armed {
                    ring.receive(pairs[usize::try_from(token).unwrap()].0.as_fd(), token);
                }
            }
            Completion::ReceiveFailed {
                token,
                starved: true,
                ..
            } => ring.receive(pairs[usize::try_from(token).unwrap()].0.as_fd(), token),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((done, bytes), (sent, sent));
}

#[test]
#[should_panic(expected = "a buffer of another ring")]
fn a_buffer_of_another_ring_is_refused() {
    let (Some(mut one), Some(mut other)) = (ring(&SMALL), ring(&SMALL)) else {
        panic!("a buffer of another ring cannot be had without io_uring");
    };
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    one.receive(ours.as_fd(), 1);
    theirs.write_all(b"x").unwrap();
    match next(&mut one) {
        Completion::Received { buffer, .. } => other.give_back(buffer),
        other => panic!("{other:?}"),
    }
}

#[test]
fn settings_out_of_their_range_are_refused() {
    let wrong = [
        Settings {
            buffers: 0,
            ..SMALL
        },
        Settings {
            buffers: 40_000,
            ..SMALL
        },
        Settings {
            buffer_bytes: 0,
            ..SMALL
        },
        Settings {
            entries: 0,
            ..SMALL
        },
    ];
    for settings in wrong {
        assert!(Ring::new(&settings).is_err(), "{settings:?}");
    }
}
