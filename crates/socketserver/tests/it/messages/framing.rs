//! Messages are what the codec makes of the bytes, however these come in.

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socketserver::codec::{
    ByteOrder, Chunks, Codec, Decoded, Delimited, Encode, Input, LengthPrefixed, Line, Lines,
    Netstrings,
};
use socketserver::{EndReason, Limits, MessageHandler, Next, Peer};

use super::{Call, Play, Stage, ask, patient, sentences};
use crate::support::{HOUR, read_line, rest, until};

/// What was heard, in order.
type Heard = Arc<Mutex<Vec<Vec<u8>>>>;

/// Writes down each message that `C` finds.
struct Scribe<C> {
    codec: fn() -> C,
    heard: Heard,
}

impl<C> MessageHandler for Scribe<C>
where
    C: Codec,
    for<'a> C: Codec<Message<'a> = &'a [u8]>,
{
    type Codec = C;

    fn codec(&mut self, _: &Limits) -> C {
        (self.codec)()
    }

    fn handle(&mut self, message: &[u8], _: &mut Peer<'_>) -> io::Result<Next> {
        self.heard.lock().unwrap().push(message.to_vec());
        Ok(Next::Continue)
    }
}

/// Delivers `bytes` in every way, and has `messages` heard of them each time.
fn is_heard<C>(stage: Stage, codec: fn() -> C, bytes: &[u8], messages: &[&[u8]])
where
    C: Codec,
    for<'a> C: Codec<Message<'a> = &'a [u8]>,
{
    let heard = Heard::default();
    let kept = Arc::clone(&heard);
    let play = stage.serve(move || Scribe {
        codec,
        heard: Arc::clone(&kept),
    });
    for piece in [1, 2, 3, 7, bytes.len()] {
        let mut client = play.connect();
        let mut sent = 0;
        for piece in bytes.chunks(piece) {
            client.write_all(piece).unwrap();
            sent += piece.len() as u64;
            if bytes.len() < 100 {
                until("it was read", || play.only().bytes_in == sent);
            }
        }
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(&mut client).unwrap(), b"");
        drop(client);
        play.until_count(0);
        assert_eq!(
            std::mem::take(&mut *heard.lock().unwrap()),
            messages,
            "in pieces of {piece}"
        );
    }
    play.stop();
}

/// Numbers of two bytes, owned; `0xffff` is none.
struct Numbers;

#[derive(Debug, PartialEq)]
struct Number(u16);

impl Codec for Numbers {
    type Message<'a> = Number;

    fn for_limits(_: &Limits) -> Self {
        Self
    }

    fn decode(&mut self, input: &[u8], _: Input) -> Decoded<Number> {
        match *input {
            [0xff, 0xff, ..] => Decoded::Invalid {
                used: 2,
                error: io::Error::new(io::ErrorKind::InvalidData, "no number"),
            },
            [0, ..] => Decoded::Skipped { used: 1 },
            [high, low, ..] => Decoded::Message {
                message: Number(u16::from_be_bytes([high, low])),
                used: 2,
            },
            _ => Decoded::Incomplete,
        }
    }

    fn frame_bytes(&self) -> Option<usize> {
        Some(8)
    }
}

impl Encode<Number> for Numbers {
    fn encode(&self, number: &Number, output: &mut Vec<u8>) -> io::Result<()> {
        output.extend_from_slice(&number.0.to_be_bytes());
        Ok(())
    }
}

/// Answers each number with the next.
struct Counter;

impl MessageHandler for Counter {
    type Codec = Numbers;

    fn handle(&mut self, number: Number, peer: &mut Peer<'_>) -> io::Result<Next> {
        peer.send(&Numbers, &Number(number.0 + 1))?;
        Ok(Next::Continue)
    }

    fn invalid(&mut self, error: io::Error, peer: &mut Peer<'_>) -> io::Result<Next> {
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        write!(peer, "{error}\n")?;
        Ok(Next::Continue)
    }
}

/// Never decides.
struct Undecided;

impl Codec for Undecided {
    type Message<'a> = &'a [u8];

    fn for_limits(_: &Limits) -> Self {
        Self
    }

    fn decode<'a>(&mut self, _: &'a [u8], _: Input) -> Decoded<&'a [u8]> {
        Decoded::Incomplete
    }
}

struct Lost;

impl MessageHandler for Lost {
    type Codec = Undecided;

    fn handle(&mut self, _: &[u8], _: &mut Peer<'_>) -> io::Result<Next> {
        unreachable!("there are no messages")
    }

    fn invalid(&mut self, error: io::Error, peer: &mut Peer<'_>) -> io::Result<Next> {
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        peer.write(b"?\n")?;
        Ok(Next::Continue)
    }
}

/// Lines, or what a pause of a minute ends.
struct Paused;

impl MessageHandler for Paused {
    type Codec = Lines;

    fn codec(&mut self, limits: &Limits) -> Lines {
        Lines::for_limits(limits).or_pause(HOUR / 60)
    }

    fn handle(&mut self, line: Line<'_>, peer: &mut Peer<'_>) -> io::Result<Next> {
        peer.write(line.text())?;
        peer.write(b"\n")?;
        Ok(Next::Continue)
    }

    fn finish(&mut self, peer: &mut Peer<'_>) -> io::Result<()> {
        peer.write(b"bye\n")
    }
}

fn echo_or_complain(call: Call<'_>, peer: &mut Peer<'_>) -> io::Result<Next> {
    match call {
        Call::Line(line) => peer.write(line)?,
        Call::Invalid(error) => {
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            peer.write(b"too long\n")?;
        }
        _ => {}
    }
    Ok(Next::Continue)
}

/// Sends `bytes`, and waits until they were read.
fn send(client: &mut UnixStream, play: &Play, bytes: &[u8]) {
    let before = play.only().bytes_in;
    client.write_all(bytes).unwrap();
    until("it was read", || {
        play.only().bytes_in == before + bytes.len() as u64
    });
}

sentences! {
    fn each_codec_finds_its_messages_however_they_are_split(kind) {
        let stage = || Stage::new(kind);
        let wanted: [&[u8]; 4] = [b"one", b"", b"three", b"4"];
        is_heard(stage(), || Netstrings::new(80), b"3:one,0:,5:three,1:4,", &wanted);
        is_heard(stage(), || Delimited::new("\r\n", 80), b"one\r\n\r\nthree\r\n4\r\n", &wanted);
        is_heard(
            stage(),
            || LengthPrefixed::new(2, ByteOrder::Little, 80),
            b"\x03\0one\0\0\x05\0three\x01\x004",
            &wanted,
        );
    }

    fn lines_are_heard_however_they_are_split(kind) {
        let play = Stage::new(kind).talk(crate::messages::echo);
        let text = b"one\n\nthree\r\n4\n";
        for piece in [1, 2, 5, text.len()] {
            let mut client = play.connect();
            for piece in text.chunks(piece) {
                send(&mut client, &play, piece);
            }
            client.write_all(b"rest").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(rest(&mut client).unwrap(), [&text[..], b"rest"].concat());
            drop(client);
            play.until_count(0);
        }
        play.stop();
    }

    fn chunks_are_what_comes_in(kind) {
        let heard = Heard::default();
        let kept = Arc::clone(&heard);
        let play = Stage::new(kind).serve(move || Scribe { codec: || Chunks, heard: Arc::clone(&kept) });
        let mut client = play.connect();
        for piece in [&b"a"[..], b"bc", b"\n\0"] {
            send(&mut client, &play, piece);
        }
        drop(client);
        play.until_count(0);
        assert_eq!(*heard.lock().unwrap(), [&b"a"[..], b"bc", b"\n\0"]);
        play.stop();
    }

    fn a_large_message_is_heard_whole(kind) {
        const LENGTH: usize = 3 << 20;
        let heard = Heard::default();
        let kept = Arc::clone(&heard);
        let play = Stage::new(kind).serve(move || Scribe {
            codec: || LengthPrefixed::new(4, ByteOrder::Big, LENGTH),
            heard: Arc::clone(&kept),
        });
        let mut client = play.connect();
        let message = crate::messages::flushing::pattern(LENGTH);
        for _ in 0..2 {
            client.write_all(&u32::try_from(LENGTH).unwrap().to_be_bytes()).unwrap();
            client.write_all(&message).unwrap();
        }
        drop(client);
        until("it was heard", || heard.lock().unwrap().len() == 2);
        assert!(heard.lock().unwrap().iter().all(|it| *it == message), "{kind:?}");
        play.until_count(0);
        play.stop();
    }

    fn a_codec_may_make_messages_of_a_type_of_ones_own(kind) {
        let play = Stage::new(kind).serve(|| Counter);
        let mut client = play.connect();
        for piece in [&b"\0\0\x01"[..], b"\x02\xff", b"\xff\0\x03\x09\x05", b"\x01"] {
            send(&mut client, &play, piece);
        }
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(&mut client).unwrap(), b"\x01\x03no number\n\x03\x0a\x05\x02");
        drop(client);
        play.until_count(0);
        play.stop();
    }

    fn what_a_codec_never_decides_about_is_discarded_at_its_limit(kind) {
        let play = Stage::new(kind).limits(Limits::default().line_bytes(1000)).serve(|| Lost);
        let mut client = play.connect();
        for _ in 0..3 {
            send(&mut client, &play, &[b'x'; 999]);
            assert_eq!(ask(&mut client, "x"), "?\n");
        }
        drop(client);
        play.stop();
    }

    fn a_line_that_is_too_long_ends_the_connection(kind) {
        let play = Stage::new(kind).limits(Limits::default().line_bytes(10)).talk(crate::messages::echo);
        let mut client = play.connect();
        assert_eq!(ask(&mut client, "123456789\n"), "123456789\n");
        client.write_all(b"1234567890\nnext\n").unwrap();
        assert_eq!(rest(&mut client).unwrap(), b"");
        drop(client);
        until("it is told", || play.record.ends() == [EndReason::Failed]);
        let failures = play.record.failures();
        assert_eq!(failures.len(), 1, "{failures:?}");
        assert!(failures[0].contains("longer than 10 bytes"), "{failures:?}");
        play.stop();
    }

    fn a_handler_may_go_on_after_a_line_that_is_too_long(kind) {
        let play = Stage::new(kind).limits(Limits::default().line_bytes(10)).talk(echo_or_complain);
        let mut client = play.connect();
        let long = "x".repeat(300_000);
        for _ in 0..3 {
            assert_eq!(ask(&mut client, "before\n"), "before\n");
            client.write_all(long.as_bytes()).unwrap();
            assert_eq!(ask(&mut client, &long), "too long\n");
            assert_eq!(ask(&mut client, "\nafter\n"), "after\n");
        }
        drop(client);
        until("it is told", || play.record.ends() == [EndReason::Done]);
        play.stop();
    }

    fn an_unended_message_is_heard_after_the_pause_and_not_before(kind) {
        let play = Stage::new(kind).by_hand().limits(patient()).serve(|| Paused);
        let mut client = play.connect();
        send(&mut client, &play, b"hel");
        play.time.advance(HOUR / 120);
        std::thread::sleep(Duration::from_millis(5));
        send(&mut client, &play, b"lo");
        play.time.advance(HOUR / 120);
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(play.only().bytes_out, 0, "{kind:?}: the pause begins anew with each byte");
        play.time.advance(HOUR / 60);
        assert_eq!(read_line(&mut client), "hello\n");
        send(&mut client, &play, b"again");
        std::thread::sleep(Duration::from_millis(5));
        play.time.advance(HOUR / 60);
        assert_eq!(read_line(&mut client), "again\n");
        // It has ended a line: from now on pauses mean nothing.
        assert_eq!(ask(&mut client, "line\n"), "line\n");
        send(&mut client, &play, b"slow ");
        play.time.advance(HOUR);
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(ask(&mut client, "typist\n"), "slow typist\n");
        drop(client);
        play.stop();
    }

    fn an_unended_message_that_a_pause_might_end_is_heard_in_a_drain(kind) {
        let play = Stage::new(kind).by_hand().limits(patient()).serve(|| Paused);
        let mut client = play.connect();
        send(&mut client, &play, b"last words");
        play.handle().shutdown();
        assert_eq!(rest(&mut client).unwrap(), b"last words\nbye\n");
        drop(client);
        play.stop();
    }

    fn an_unended_line_is_not_heard_in_a_drain(kind) {
        let play = Stage::new(kind).talk(|call, peer| {
            match call {
                Call::Line(line) => peer.write(line)?,
                Call::Finish => peer.write(b"bye\n")?,
                _ => {}
            }
            Ok(Next::Continue)
        });
        let mut client = play.connect();
        send(&mut client, &play, b"whole\nhal");
        assert_eq!(read_line(&mut client), "whole\n");
        play.handle().shutdown();
        assert_eq!(rest(&mut client).unwrap(), b"bye\n", "{kind:?}");
        drop(client);
        play.stop();
    }

    fn the_end_of_input_ends_the_last_line(kind) {
        let play = Stage::new(kind).talk(|call, peer| {
            match call {
                Call::Line(line) => peer.write(line)?,
                Call::Finish => peer.write(b"bye\n")?,
                _ => {}
            }
            Ok(Next::Continue)
        });
        for text in ["", "one\n", "one\ntwo", "two"] {
            let mut client = play.connect();
            client.write_all(text.as_bytes()).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(rest(&mut client).unwrap(), format!("{text}bye\n").as_bytes());
        }
        play.stop();
    }
}
