//! Outboxes of peers that do not read: the bounds, and what each policy does at them.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;

use socketserver::testing::Memory;
use socketserver::{
    Builder, Connection, EndReason, Limits, Outbox, Overflow, PushError, Running, Threading,
    handler_fn,
};

use crate::support::{Record, bounded, rest, until, within};

/// Bytes of a message, its number in front.
const MESSAGE: usize = 1000;

/// A server in memory whose handlers hand their outboxes over and wait for their peers to end.
struct Post {
    memory: Memory,
    server: Running,
    outboxes: mpsc::Receiver<Outbox>,
    record: Record,
}

impl Post {
    fn new(limits: Limits) -> Self {
        let (send, outboxes) = mpsc::channel();
        let handler = move |connection: &mut Connection| {
            send.send(connection.outbox()?).unwrap();
            io::copy(&mut connection.reader(), &mut io::sink()).map(drop)
        };
        let (memory, record) = (Memory::new().unwrap(), Record::default());
        let server = Builder::new(memory.clone(), Threading::default())
            .limits(limits)
            .observer(record.clone())
            .bind((), handler_fn(handler))
            .unwrap()
            .start()
            .unwrap();
        Self {
            memory,
            server,
            outboxes,
            record,
        }
    }

    fn open(&self, overflow: Overflow) -> (UnixStream, Outbox) {
        let client = bounded(self.memory.connect().unwrap());
        let outbox = self.outboxes.recv().unwrap();
        outbox.set_overflow(overflow);
        (client, outbox)
    }

    fn stop(self) {
        let server = self.server;
        within(move || server.stop()).unwrap();
    }
}

fn message(number: u32) -> Vec<u8> {
    let mut message = vec![0; MESSAGE];
    message[..4].copy_from_slice(&number.to_be_bytes());
    message
}

/// Pushes the messages 0 to `count`, and tells how many were refused.
fn push_all(outbox: &Outbox, count: u32) -> u64 {
    let full = |number: &u32| outbox.push(message(*number)) == Err(PushError::Full);
    (0..count).filter(full).count() as u64
}

/// Reads `count` whole messages.
fn numbers(client: &mut UnixStream, count: usize) -> Vec<u32> {
    let mut block = [0; MESSAGE];
    let mut next = || {
        client.read_exact(&mut block).unwrap();
        assert!(block[4..].iter().all(|&byte| byte == 0), "a torn message");
        u32::from_be_bytes(block[..4].try_into().unwrap())
    };
    (0..count).map(|_| next()).collect()
}

#[test]
fn disconnect_cuts_a_peer_off_that_does_not_read() {
    let post = Post::new(Limits::default().outbox_bytes(20 * MESSAGE));
    let (mut client, outbox) = post.open(Overflow::Disconnect);
    let mut accepted = 0;
    let refused = loop {
        match outbox.push(message(accepted)) {
            Ok(()) => accepted += 1,
            Err(error) => break error,
        }
        assert!(outbox.queued_bytes() <= 20 * MESSAGE);
    };
    assert_eq!(refused, PushError::Full);
    assert_eq!(outbox.push(message(0)), Err(PushError::Closed));
    assert_eq!((outbox.queued_bytes(), outbox.is_closed()), (0, true));
    until("it is told", || {
        post.record.ends() == [EndReason::SlowConsumer]
    });
    assert_eq!(post.server.handle().counters().cut, 1);
    let left = rest(&mut client).unwrap().len();
    assert!(left < usize::try_from(accepted).unwrap() * MESSAGE);
    drop(client);
    post.stop();
}

#[test]
fn drop_newest_keeps_what_came_first_and_counts_the_rest() {
    let post = Post::new(Limits::default().outbox_bytes(20 * MESSAGE));
    let (mut client, outbox) = post.open(Overflow::DropNewest);
    let full = push_all(&outbox, 1000);
    assert!(full > 0 && outbox.dropped() == full);
    assert!(outbox.queued_bytes() <= 20 * MESSAGE);
    let kept = 1000 - u32::try_from(full).unwrap();
    let received = numbers(&mut client, usize::try_from(kept).unwrap());
    assert_eq!(received, (0..kept).collect::<Vec<_>>());
    until("there is room again", || outbox.queued_bytes() == 0);
    outbox.push(message(7777)).unwrap();
    assert_eq!(numbers(&mut client, 1), [7777]);
    drop(client);
    post.stop();
}

#[test]
fn drop_oldest_keeps_what_came_last_and_counts_the_rest() {
    let post = Post::new(Limits::default().outbox_bytes(20 * MESSAGE));
    let (mut client, outbox) = post.open(Overflow::DropOldest);
    assert_eq!(push_all(&outbox, 1000), 0);
    assert!(outbox.queued_bytes() <= 20 * MESSAGE);
    let dropped = usize::try_from(outbox.dropped()).unwrap();
    assert!(dropped > 0);
    let received = numbers(&mut client, 1000 - dropped);
    assert!(received.is_sorted(), "in order");
    assert_eq!(
        received[received.len() - 15..],
        (985..1000).collect::<Vec<_>>()
    );
    drop(client);
    post.stop();
}

/// A message larger than the outbox can never fit: it is not worth all the others.
#[test]
fn drop_oldest_gives_up_nothing_for_a_message_that_can_never_fit() {
    let post = Post::new(Limits::default().outbox_bytes(20 * MESSAGE));
    let (mut client, outbox) = post.open(Overflow::DropOldest);
    push_all(&outbox, 1000);
    let (queued, dropped) = (outbox.queued_bytes(), outbox.dropped());
    assert_eq!(outbox.push(vec![1; 21 * MESSAGE]), Err(PushError::Full));
    assert_eq!(
        (outbox.queued_bytes(), outbox.dropped()),
        (queued, dropped + 1)
    );
    let received = numbers(&mut client, 1000 - usize::try_from(dropped).unwrap());
    assert_eq!(received.last(), Some(&999));
    drop(client);
    post.stop();
}

#[test]
fn drop_oldest_gives_up_nothing_where_others_have_used_up_the_total() {
    let post = Post::new(Limits::default().outbox_total_bytes(30 * MESSAGE));
    let (first, one) = post.open(Overflow::DropOldest);
    let (second, two) = post.open(Overflow::DropNewest);
    until("five messages wait", || {
        one.push(message(0)).unwrap();
        one.queued_bytes() > 5 * MESSAGE
    });
    assert!(push_all(&two, 1000) > 0);
    let queued = one.queued_bytes();
    assert_eq!(one.push(vec![1; 10 * MESSAGE]), Err(PushError::Full));
    assert_eq!((one.queued_bytes(), one.dropped()), (queued, 1));
    drop((first, second));
    post.stop();
}

#[test]
fn the_number_of_messages_is_bounded_too() {
    let post = Post::new(Limits::default().outbox_messages(10));
    let (client, outbox) = post.open(Overflow::DropNewest);
    push_all(&outbox, 1000);
    let queued = outbox.queued_bytes();
    assert!(queued > 0 && queued <= 10 * MESSAGE, "{queued}");
    drop(client);
    post.stop();
}

#[test]
fn all_outboxes_together_are_bounded() {
    const TOTAL: usize = 30 * MESSAGE;
    let post = Post::new(Limits::default().outbox_total_bytes(TOTAL));
    let (mut first, one) = post.open(Overflow::DropNewest);
    let (second, two) = post.open(Overflow::DropNewest);
    assert!(push_all(&one, 1000) > 0);
    let (queued, full) = (one.queued_bytes(), push_all(&two, 1000));
    assert!(queued > TOTAL - MESSAGE && queued <= TOTAL, "{queued}");
    assert!(full > 0 && queued + two.queued_bytes() <= TOTAL);
    // What one gives back, the other may have.
    let kept = 1000 - usize::try_from(one.dropped()).unwrap();
    numbers(&mut first, kept);
    until("the first is empty", || one.queued_bytes() == 0);
    assert_eq!(two.push(message(0)), Ok(()));
    // And so what a connection held when it ended.
    drop(second);
    until("the second is gone", || two.is_closed());
    assert!(push_all(&one, 1000) > 0);
    assert!(one.queued_bytes() > TOTAL - MESSAGE);
    drop(first);
    post.stop();
}

/// Several threads at once do not exceed it either.
#[test]
fn the_total_is_exact_under_concurrent_pushes() {
    const TOTAL: usize = 30 * MESSAGE;
    let post = Post::new(Limits::default().outbox_total_bytes(TOTAL));
    let members: Vec<_> = (0..8).map(|_| post.open(Overflow::DropNewest)).collect();
    std::thread::scope(|scope| {
        for (_, outbox) in &members {
            scope.spawn(|| push_all(outbox, 2000));
        }
    });
    let queued: usize = members
        .iter()
        .map(|(_, outbox)| outbox.queued_bytes())
        .sum();
    assert!(queued > 0 && queued <= TOTAL, "{queued}");
    drop(members);
    post.stop();
}
