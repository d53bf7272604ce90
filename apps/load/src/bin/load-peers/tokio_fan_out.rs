//! tokio: fan-out by a broadcast channel, drained by hand.
//!
//! A task sends all whole lines of a read as one piece, and a member writes all pieces that wait for
//! it at once; the usual program, a write for each line and member, costs some ten times as much.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::broadcast::{self, Sender, error::RecvError};

/// How many pieces a member may be behind; then it is closed.
const PIECES: usize = 4096;
const SMALL: usize = 4 * 1024;

/// The lines of one read.
type Piece = Arc<[u8]>;

/// What all members share.
#[derive(Clone)]
pub(crate) struct Room(Sender<Piece>);

impl Room {
    pub(crate) fn new() -> Self {
        Self(broadcast::channel(PIECES).0)
    }
}

/// Serves one member until it leaves or is too far behind.
pub(crate) async fn member(mut stream: TcpStream, room: Room) -> io::Result<()> {
    let mut pieces = room.0.subscribe();
    let (mut reader, mut writer) = stream.split();
    let mut input = Vec::with_capacity(SMALL);
    let mut output = Vec::new();
    loop {
        tokio::select! {
            biased;
            piece = pieces.recv() => {
                match piece {
                    Ok(piece) => output.extend_from_slice(&piece),
                    Err(RecvError::Closed | RecvError::Lagged(_)) => return Ok(()),
                }
                while let Ok(piece) = pieces.try_recv() {
                    output.extend_from_slice(&piece);
                }
                writer.write_all(&output).await?;
                output.clear();
            }
            read = reader.read_buf(&mut input) => {
                if read? == 0 {
                    return Ok(());
                }
                let whole = input.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
                if whole > 0 {
                    // Nobody listens only if this member is not there either.
                    let _ = room.0.send(Piece::from(&input[..whole]));
                    input.drain(..whole);
                }
            }
        }
    }
}
