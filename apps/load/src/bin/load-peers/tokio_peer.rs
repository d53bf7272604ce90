//! tokio: echo, lines and datagrams; a runtime of one thread for each loop, or one of many threads.
//!
//! On one thread the tasks are spawned on a `LocalSet`, which was found cheaper than `spawn`.

use std::future::Future;
use std::io;
use std::net;
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Builder;
use tokio::task::LocalSet;

use super::tokio_fan_out::{Room, member};
use super::{Service, listening};

/// The buffer of a connection at first.
const SMALL: usize = 4 * 1024;
/// The buffer of a connection that has filled its buffers.
const LARGE: usize = 256 * 1024;
/// More than any datagram of the benchmark.
const DATAGRAM: usize = 2048;

/// A runtime of its own for each of `loops` threads; they share the port.
pub(crate) fn run_current(service: Service, loops: usize) -> io::Result<()> {
    let on_a_runtime = |work: Work| -> io::Result<()> {
        let runtime = Builder::new_current_thread().enable_io().build()?;
        LocalSet::new().block_on(&runtime, work.run(service, Spawner::Local))
    };
    let mut works = Work::bind(service, loops)?;
    let Some(last) = works.pop() else {
        return Ok(());
    };
    thread::scope(|scope| {
        for work in works {
            scope.spawn(|| on_a_runtime(work));
        }
        on_a_runtime(last)
    })
}

/// One runtime of `loops` threads, which share the connections among them.
pub(crate) fn run_multi(service: Service, loops: usize) -> io::Result<()> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(loops)
        .enable_io()
        .build()?;
    let works = Work::bind(service, 1)?;
    runtime.block_on(async {
        for work in works {
            // On a worker, where accepting needs no other thread to be woken.
            let served = tokio::spawn(work.run(service, Spawner::Shared));
            served.await.map_err(io::Error::other)??;
        }
        Ok(())
    })
}

/// A socket to be served.
enum Work {
    Datagrams(net::UdpSocket),
    Streams(net::TcpListener),
}

/// Where the tasks of connections run.
#[derive(Clone, Copy)]
enum Spawner {
    Local,
    Shared,
}

impl Spawner {
    fn spawn(self, task: impl Future<Output = io::Result<()>> + Send + 'static) {
        match self {
            Self::Local => drop(tokio::task::spawn_local(task)),
            Self::Shared => drop(tokio::spawn(task)),
        }
    }
}

impl Work {
    fn bind(service: Service, count: usize) -> io::Result<Vec<Self>> {
        Ok(if service == Service::Datagrams {
            listening::udp(count)?
                .into_iter()
                .map(Self::Datagrams)
                .collect()
        } else {
            listening::tcp(count)?
                .into_iter()
                .map(Self::Streams)
                .collect()
        })
    }

    async fn run(self, service: Service, spawner: Spawner) -> io::Result<()> {
        match self {
            Self::Datagrams(socket) => datagrams(UdpSocket::from_std(socket)?).await,
            Self::Streams(listener) => {
                streams(TcpListener::from_std(listener)?, service, spawner).await
            }
        }
    }
}

async fn streams(listener: TcpListener, service: Service, spawner: Spawner) -> io::Result<()> {
    let room = Room::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: a moment's rest instead of a busy loop.
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        stream.set_nodelay(true)?;
        match service {
            Service::FanOut => spawner.spawn(member(stream, room.clone())),
            Service::Lines => spawner.spawn(lines(stream)),
            Service::Echo | Service::Datagrams => spawner.spawn(echo(stream)),
        }
    }
}

/// Sends back what comes; a buffer that is filled is followed by a larger one.
async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; SMALL];
    loop {
        let bytes = stream.read(&mut buffer).await?;
        if bytes == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..bytes]).await?;
        if bytes == buffer.len() && bytes < LARGE {
            buffer = vec![0; LARGE];
        }
    }
}

/// Answers each line with itself, those of one read in one write.
async fn lines(mut stream: TcpStream) -> io::Result<()> {
    let mut input = Vec::with_capacity(SMALL);
    let mut output = Vec::with_capacity(SMALL);
    while stream.read_buf(&mut input).await? > 0 {
        for line in whole_lines(&input) {
            output.extend_from_slice(line);
        }
        stream.write_all(&output).await?;
        input.drain(..output.len());
        output.clear();
    }
    Ok(())
}

/// The lines that have an end, their ends included.
pub(crate) fn whole_lines(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    input
        .split_inclusive(|&byte| byte == b'\n')
        .filter(|line| line.ends_with(b"\n"))
}

async fn datagrams(socket: UdpSocket) -> io::Result<()> {
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let (bytes, peer) = socket.recv_from(&mut buffer).await?;
        socket.send_to(&buffer[..bytes], peer).await?;
    }
}
