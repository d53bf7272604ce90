//! Many datagrams by one system call.
//!
//! [`Inbound`] receives them (`recvmmsg(2)`) and [`Outbound`] sends them (`sendmmsg(2)`); neither
//! waits.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};

use rustix::net::SocketAddrAny;
use rustix::net::addr::SocketAddrStorage;

/// The most datagrams that one call receives.
pub const RECEIVED_AT_ONCE: usize = 32;

/// The most datagrams that one call sends.
pub const SENT_AT_ONCE: usize = 64;

/// Bytes that an [`Outbound`] holds before it is full.
const OUTBOUND_BYTES: usize = 256 << 10;

/// A datagram that was received.
#[derive(Debug)]
pub struct Received {
    /// What was sent, cut at the size of the buffers.
    pub payload: Vec<u8>,
    /// How long it was when it was sent.
    pub length: usize,
    /// Who sent it; `None` for a Unix socket that is not bound.
    pub peer: Option<SocketAddrAny>,
}

/// Receives datagrams, [`RECEIVED_AT_ONCE`] by a call.
///
/// It allocates when it first receives, and uses what it is [given back](Self::give_back) again.
#[derive(Debug)]
pub struct Inbound {
    /// Bytes of a buffer.
    bytes: usize,
    /// A buffer for each datagram of a call; one that was handed out is empty.
    buffers: Vec<Vec<u8>>,
    spare: Vec<Vec<u8>>,
    names: Vec<MaybeUninit<SocketAddrStorage>>,
}

impl Inbound {
    /// Receives datagrams of at most `bytes` bytes whole.
    pub fn new(bytes: usize) -> Self {
        Self {
            bytes,
            buffers: Vec::new(),
            spare: Vec::new(),
            names: Vec::new(),
        }
    }

    /// Takes what `socket` has received, at most so many datagrams, and calls `each` with them in
    /// order; never waits. Tells how many there were.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] if there is none; else the error of `recvmmsg(2)`.
    pub fn receive(
        &mut self,
        socket: impl AsFd,
        at_most: usize,
        mut each: impl FnMut(Received),
    ) -> io::Result<usize> {
        let slots = at_most.min(RECEIVED_AT_ONCE);
        self.fill(slots);
        let mut parts = [const { MaybeUninit::<libc::iovec>::uninit() }; RECEIVED_AT_ONCE];
        let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; RECEIVED_AT_ONCE];
        let memory = self.buffers.iter_mut().zip(&mut self.names).take(slots);
        for ((buffer, name), (part, slot)) in memory.zip(parts.iter_mut().zip(&mut headers)) {
            let part = part.write(libc::iovec {
                iov_base: buffer.as_mut_ptr().cast(),
                iov_len: self.bytes,
            });
            slot.write(header(name.as_mut_ptr().cast(), NAME_BYTES, part));
        }
        // SAFETY: the first `slots` headers are initialized; each points to a name and a part of its
        // own, and the part to a buffer of which `fill` made sure that it can hold `bytes` bytes.
        // Nothing else uses any of them during the call.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_fd().as_raw_fd(),
                headers.as_mut_ptr().cast(),
                as_count(slots),
                libc::MSG_DONTWAIT | libc::MSG_TRUNC,
                std::ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for (nth, header) in headers.iter().enumerate().take(count) {
            // SAFETY: `count` is at most `slots`, and so many headers were initialized above.
            let header = unsafe { header.assume_init_ref() };
            let length = header.msg_len as usize;
            let mut payload = std::mem::take(&mut self.buffers[nth]);
            // SAFETY: the kernel has written the datagram to the buffer, as far as it fits.
            unsafe { payload.set_len(length.min(self.bytes)) };
            let name_bytes = header.msg_hdr.msg_namelen.min(NAME_BYTES);
            let peer = (name_bytes as usize >= size_of::<libc::sa_family_t>()).then(|| {
                // SAFETY: the kernel has written an address of `name_bytes` bytes.
                unsafe { SocketAddrAny::read(self.names[nth].as_ptr(), name_bytes) }
            });
            each(Received {
                payload,
                length,
                peer,
            });
        }
        Ok(count)
    }

    /// Takes the buffer of a datagram back, to use it again.
    pub fn give_back(&mut self, mut payload: Vec<u8>) {
        if payload.capacity() >= self.bytes && self.spare.len() < RECEIVED_AT_ONCE {
            payload.clear();
            self.spare.push(payload);
        }
    }

    /// Sees to it that each of the first `slots` slots has a buffer that can hold `bytes` bytes.
    fn fill(&mut self, slots: usize) {
        if self.buffers.len() < slots {
            self.buffers.resize_with(slots, Vec::new);
            self.names.resize_with(slots, MaybeUninit::uninit);
        }
        for buffer in &mut self.buffers[..slots] {
            if buffer.capacity() < self.bytes {
                *buffer = self.spare.pop().unwrap_or_default();
                buffer.reserve_exact(self.bytes);
            }
        }
    }
}

/// Datagrams to be sent, at most [`SENT_AT_ONCE`] of them.
///
/// It allocates when something is first put into it, and keeps that.
#[derive(Debug, Default)]
pub struct Outbound {
    /// The payloads, one behind another.
    bytes: Vec<u8>,
    letters: Vec<Letter>,
}

/// One datagram to be sent.
#[derive(Debug)]
struct Letter {
    start: usize,
    length: usize,
    peer: SocketAddrAny,
    tag: usize,
}

impl Outbound {
    /// Whether a datagram of `bytes` bytes fits; into an empty one any does.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.letters.is_empty()
            || (self.letters.len() < SENT_AT_ONCE && self.bytes.len() + bytes <= OUTBOUND_BYTES)
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// Puts a datagram for `peer` into it; `tag` is what [`send`](Self::send) calls it by.
    ///
    /// Where there is no [room](Self::has_room) it grows beyond its bounds.
    pub fn push(&mut self, payload: &[u8], peer: SocketAddrAny, tag: usize) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(payload);
        self.letters.push(Letter {
            start,
            length: payload.len(),
            peer,
            tag,
        });
    }

    /// Sends everything by `socket`, in order and without waiting, and is empty then. What could not
    /// be sent is told by its tag, its length and why.
    ///
    /// One that cannot be sent keeps none behind it back.
    pub fn send(&mut self, socket: impl AsFd, mut failed: impl FnMut(usize, usize, io::Error)) {
        let mut sent = 0;
        while sent < self.letters.len() {
            match self.send_from(sent, &socket) {
                // It always sends one or fails; a kernel that did neither would be asked for ever.
                Ok(count) => sent += count.max(1),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let letter = &self.letters[sent];
                    failed(letter.tag, letter.length, error);
                    sent += 1;
                }
            }
        }
        self.letters.clear();
        self.bytes.clear();
    }

    /// Sends what stands at `first` and behind it, up to one that fails; tells how many were sent. An
    /// error is that of the first.
    fn send_from(&mut self, first: usize, socket: &impl AsFd) -> io::Result<usize> {
        let letters = &self.letters[first..];
        let mut parts = [const { MaybeUninit::<libc::iovec>::uninit() }; SENT_AT_ONCE];
        let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; SENT_AT_ONCE];
        let mut count = 0;
        for ((letter, part), slot) in letters.iter().zip(&mut parts).zip(&mut headers) {
            let payload = &self.bytes[letter.start..letter.start + letter.length];
            let part = part.write(libc::iovec {
                iov_base: payload.as_ptr().cast_mut().cast(),
                iov_len: payload.len(),
            });
            let name = letter.peer.as_ptr().cast_mut().cast();
            slot.write(header(name, letter.peer.addr_len(), part));
            count += 1;
        }
        // SAFETY: the first `count` headers are initialized; each points to an address and, by its
        // part, to a payload, both of the length that it says. They live throughout the call, and
        // sending writes to none of them but the headers.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_fd().as_raw_fd(),
                headers.as_mut_ptr().cast(),
                as_count(count),
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

/// Bytes that an address may have.
#[expect(clippy::cast_possible_truncation, reason = "it is 128")]
const NAME_BYTES: libc::socklen_t = size_of::<SocketAddrStorage>() as libc::socklen_t;

/// The header of a message with one part.
fn header(
    name: *mut libc::c_void,
    name_bytes: libc::socklen_t,
    part: *mut libc::iovec,
) -> libc::mmsghdr {
    // SAFETY: pointers and numbers, all of which may be zero.
    let mut header: libc::mmsghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    header.msg_hdr.msg_name = name;
    header.msg_hdr.msg_namelen = name_bytes;
    header.msg_hdr.msg_iov = part;
    header.msg_hdr.msg_iovlen = 1;
    header
}

/// How many messages, as the system calls take it; never more than a few.
fn as_count(messages: usize) -> libc::c_uint {
    libc::c_uint::try_from(messages).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, UdpSocket};
    use std::os::unix::net::UnixDatagram;

    use super::*;

    /// Receives at most so many.
    fn receive(inbound: &mut Inbound, socket: impl AsFd, at_most: usize) -> Vec<Received> {
        let mut all = Vec::new();
        let count = inbound.receive(socket, at_most, |received| all.push(received));
        assert_eq!(count.unwrap(), all.len());
        all
    }

    fn inet(peer: Option<&SocketAddrAny>) -> SocketAddr {
        SocketAddr::try_from(peer.unwrap().clone()).unwrap()
    }

    #[test]
    fn datagrams_come_in_order_with_their_lengths_and_peers() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let ours = UdpSocket::bind(host).unwrap();
            let theirs = UdpSocket::bind(host).unwrap();
            let mut inbound = Inbound::new(8);
            for round in 0..3 {
                for payload in [&b"one"[..], b"", b"12345678", b"123456789"] {
                    theirs.send_to(payload, ours.local_addr().unwrap()).unwrap();
                }
                let all = receive(&mut inbound, &ours, RECEIVED_AT_ONCE);
                let payloads: Vec<&[u8]> = all.iter().map(|one| &one.payload[..]).collect();
                assert_eq!(payloads, [&b"one"[..], b"", b"12345678", b"12345678"]);
                let lengths: Vec<usize> = all.iter().map(|one| one.length).collect();
                assert_eq!(lengths, [3, 0, 8, 9], "round {round}");
                for received in all {
                    assert_eq!(inet(received.peer.as_ref()), theirs.local_addr().unwrap());
                    inbound.give_back(received.payload);
                }
            }
            let error = inbound.receive(&ours, 1, |_| ()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        }
    }

    #[test]
    fn no_more_are_taken_than_were_asked_for() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        for byte in 0..40 {
            theirs.set_nonblocking(true).unwrap();
            // A Unix queue may hold fewer.
            if theirs.send(&[byte]).is_err() {
                break;
            }
        }
        let mut inbound = Inbound::new(1);
        let mut expected = 0;
        for at_most in [1, 3, 2] {
            for received in receive(&mut inbound, &ours, at_most) {
                assert_eq!(received.payload, [expected]);
                assert!(received.peer.is_none());
                expected += 1;
            }
        }
        assert_eq!(expected, 6);
    }

    #[test]
    fn one_that_cannot_be_sent_keeps_none_behind_it_back() {
        let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
        let theirs = UdpSocket::bind("127.0.0.1:0").unwrap();
        let peer = SocketAddrAny::from(theirs.local_addr().unwrap());
        let mut outbound = Outbound::default();
        let too_long = vec![0; 65_508];
        for (tag, payload) in [&b"a"[..], &too_long, b"b", &too_long, b"c"]
            .into_iter()
            .enumerate()
        {
            assert!(outbound.has_room(payload.len()));
            outbound.push(payload, peer.clone(), tag);
        }
        let mut failed = Vec::new();
        outbound.send(&ours, |tag, length, error| {
            failed.push((tag, length, error.raw_os_error()));
        });
        let reason = Some(libc::EMSGSIZE);
        assert_eq!(failed, [(1, 65_508, reason), (3, 65_508, reason)]);
        assert!(outbound.is_empty());
        let mut inbound = Inbound::new(8);
        let all = receive(&mut inbound, &theirs, RECEIVED_AT_ONCE);
        let payloads: Vec<_> = all.into_iter().map(|one| one.payload).collect();
        assert_eq!(payloads, [b"a", b"b", b"c"]);
    }

    #[test]
    fn an_outbound_is_full_at_its_count_and_at_its_bytes() {
        let peer = SocketAddrAny::from(SocketAddr::from(([127, 0, 0, 1], 9)));
        let mut outbound = Outbound::default();
        assert!(outbound.has_room(OUTBOUND_BYTES + 1));
        for tag in 0..SENT_AT_ONCE {
            assert!(outbound.has_room(1));
            outbound.push(b"x", peer.clone(), tag);
        }
        assert!(!outbound.has_room(1));
        let mut outbound = Outbound::default();
        outbound.push(&vec![0; OUTBOUND_BYTES - 1], peer, 0);
        assert!(outbound.has_room(1) && !outbound.has_room(2));
    }
}
