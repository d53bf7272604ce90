//! Codecs that never decide, that wait for a pause, and that meet hostile input.

use std::io::Write;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socketserver::codec::{
    ByteOrder, Chunks, Codec, Decoded, Delimited, Input, LengthPrefixed, Line, Lines, Netstrings,
};
use socketserver::testing::ManualClock;
use socketserver::{Activity, Builder, Connection, EndReason, Limits, Tcp, Threading, handler_fn};

use crate::support::{HOUR, Record, ask, connect, read_line, rest, send_and_wait, until, within};

/// A codec that never decides.
struct Undecided {
    frame_bytes: Option<usize>,
}

impl Codec for Undecided {
    type Message<'a> = ();

    fn for_limits(limits: &Limits) -> Self {
        Self {
            frame_bytes: Some(limits.line_bytes),
        }
    }

    fn decode(&mut self, _: &[u8], _: Input) -> Decoded<()> {
        Decoded::Incomplete
    }

    fn frame_bytes(&self) -> Option<usize> {
        self.frame_bytes
    }
}

#[test]
fn a_codec_that_never_decides_is_cut_at_its_longest_frame_or_else_the_longest_line() {
    for (frame_bytes, limit) in [(None, 50_000), (Some(1000), 1000)] {
        let handler = move |connection: &mut Connection| {
            let codec = Undecided { frame_bytes };
            let result = connection.reader().messages(codec).next_with(|()| ());
            let error = result.unwrap_err();
            let id = connection.id();
            let received = connection.server().find(id).unwrap().bytes_in;
            writeln!(connection.writer(), "{:?} {received}", error.kind())
        };
        let server = Builder::new(Tcp::default(), Threading::default())
            .limits(Limits::default().line_bytes(50_000))
            .bind("127.0.0.1:0", handler_fn(handler))
            .unwrap()
            .start()
            .unwrap();
        let mut client = connect(&server);
        // More than fits, by far; what comes in behind the limit is thrown away at the close.
        client.write_all(&vec![b'x'; 400_000]).unwrap();
        let answer = read_line(&mut client);
        let (kind, received) = answer.trim_end().split_once(' ').unwrap();
        assert_eq!(kind, "InvalidData");
        let received: usize = received.parse().unwrap();
        assert!((limit..limit + 32_768).contains(&received), "{received}");
        drop(client);
        within(move || server.stop()).unwrap();
    }
}

/// A codec that is asked after a minute's pause, and has nothing to say.
struct Pensive(Arc<AtomicUsize>);

impl Codec for Pensive {
    type Message<'a> = ();

    fn for_limits(_: &Limits) -> Self {
        Self(Arc::default())
    }

    fn decode(&mut self, _: &[u8], why: Input) -> Decoded<()> {
        if why == Input::Quiet {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
        Decoded::Incomplete
    }

    fn quiet_after(&self) -> Option<Duration> {
        Some(Duration::from_secs(60))
    }
}

#[test]
fn a_codec_is_asked_once_a_pause_and_the_idle_timeout_still_counts() {
    let minute = Duration::from_secs(60);
    let (time, record, asked) = (
        ManualClock::new(),
        Record::default(),
        Arc::new(AtomicUsize::new(0)),
    );
    let counted = Arc::clone(&asked);
    let handler = move |connection: &mut Connection| {
        let codec = Pensive(Arc::clone(&counted));
        connection
            .reader()
            .messages(codec)
            .next_with(|()| ())
            .map(drop)
    };
    let server = Builder::new(Tcp::default(), Threading::default())
        .clock(time.clock())
        .observer(record.clone())
        .limits(
            Limits::default()
                .idle_timeout(Some(HOUR))
                .read_timeout(None),
        )
        .bind("127.0.0.1:0", handler_fn(handler))
        .unwrap()
        .start()
        .unwrap();
    let mut client = connect(&server);
    for pause in 1..=2 {
        send_and_wait(&mut client, &server, b"x");
        time.advance(minute);
        until("it is asked, and waits again", || {
            let infos = server.handle().connections();
            asked.load(Ordering::SeqCst) == pause
                && infos.iter().any(|info| info.activity == Activity::Reading)
        });
    }
    for _ in 0..60 {
        time.advance(minute);
    }
    assert_eq!(rest(&mut client).unwrap(), b"");
    drop(client);
    until("it is told", || !record.ends().is_empty());
    assert_eq!(record.ends(), [EndReason::IdleTimeout]);
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    within(move || server.stop()).unwrap();
}

/// Whether a codec, fed `input`, neither panics nor takes it for a message.
fn endures<C: Codec>(mut codec: C, input: &[u8]) -> bool {
    (1..=input.len()).all(|end| {
        [Input::More, Input::End]
            .into_iter()
            .all(|why| !matches!(codec.decode(&input[..end], why), Decoded::Message { .. }))
    })
}

#[test]
fn codecs_without_a_limit_endure_lengths_that_no_memory_has() {
    let most = usize::MAX;
    for length in [
        u64::MAX,
        u64::MAX - 1,
        u64::MAX - 20,
        i64::MAX.cast_unsigned(),
    ] {
        let netstring = format!("{length}:x");
        assert!(
            endures(Netstrings::new(most), netstring.as_bytes()),
            "{netstring}"
        );
        let prefixed = [&length.to_be_bytes()[..], b"x"].concat();
        let codec = LengthPrefixed::new(8, ByteOrder::Big, most);
        assert!(endures(codec, &prefixed), "{length}");
    }
    assert!(endures(
        Netstrings::new(most),
        b"99999999999999999999999999:x"
    ));
    let mut delimited = Delimited::new("--", most);
    assert!(matches!(
        delimited.decode(b"a-", Input::More),
        Decoded::Incomplete
    ));
    assert!(matches!(
        delimited.decode(b"a--", Input::More),
        Decoded::Message {
            message: b"a",
            used: 3
        }
    ));
    assert!(
        Lines::new(most)
            .frame_bytes()
            .is_none_or(|bytes| bytes == most)
    );
}

#[test]
fn a_hostile_length_costs_a_server_one_connection_at_most() {
    let handler = |connection: &mut Connection| {
        let (reader, mut writer) = connection.split();
        let mut messages = reader.messages(Netstrings::new(usize::MAX));
        while messages
            .next_with(|message| writer.write_all(&[message, b"\n"].concat()))?
            .transpose()?
            .is_some()
        {}
        Ok(())
    };
    let record = Record::default();
    let server = Builder::new(Tcp::default(), Threading::default())
        .observer(record.clone())
        .bind("127.0.0.1:0", handler_fn(handler))
        .unwrap()
        .start()
        .unwrap();
    let mut hostile = connect(&server);
    hostile.write_all(b"18446744073709551615:x").unwrap();
    hostile.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut hostile).unwrap(), b"");
    assert_eq!(ask(&mut connect(&server), "5:hello,"), "hello\n");
    within(move || server.stop()).unwrap();
    assert!(!record.ends().contains(&EndReason::Panicked));
}

/// The first message that a codec made for `limits` finds, and how much input it took.
fn first<C: Codec>(
    limits: &Limits,
    input: &[u8],
    own: impl Fn(C::Message<'_>) -> Vec<u8>,
) -> Option<(Vec<u8>, usize)> {
    match C::for_limits(limits).decode(input, Input::More) {
        Decoded::Message { message, used } => Some((own(message), used)),
        Decoded::Invalid { .. } => None,
        Decoded::Incomplete | Decoded::Skipped { .. } => panic!("nothing of {input:?}"),
    }
}

#[test]
fn a_codec_made_for_limits_takes_messages_as_long_as_a_line_may_be() {
    let limits = Limits::default().line_bytes(3);
    let bytes = <[u8]>::to_vec;
    let text = |line: Line<'_>| line.text().to_vec();
    let found = |message: &[u8], used| Some((message.to_vec(), used));
    assert_eq!(first::<Chunks>(&limits, b"four", bytes), found(b"four", 4));
    assert_eq!(first::<Lines>(&limits, b"ab\nc", text), found(b"ab", 3));
    assert_eq!(first::<Lines>(&limits, b"abc\n", text), None);
    assert_eq!(
        first::<Delimited>(&limits, b"a\nb\0", bytes),
        found(b"a\nb", 4)
    );
    assert_eq!(first::<Delimited>(&limits, b"abcd\0", bytes), None);
    let prefixed = first::<LengthPrefixed>;
    assert_eq!(
        prefixed(&limits, b"\0\0\0\x03abcd", bytes),
        found(b"abc", 7)
    );
    assert_eq!(prefixed(&limits, b"\0\0\0\x04abcd", bytes), None);
    assert_eq!(
        first::<Netstrings>(&limits, b"3:abc,", bytes),
        found(b"abc", 6)
    );
    assert_eq!(first::<Netstrings>(&limits, b"4:abcd,", bytes), None);
}
