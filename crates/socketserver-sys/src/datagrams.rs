//! Many datagrams by one system call.
//!
//! [`Inbound`] receives them (`recvmmsg(2)`) and [`Outbound`] sends them (`sendmmsg(2)`); neither
//! waits.

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};

use rustix::net::SocketAddrAny;

/// The most datagrams that one call receives.
pub const RECEIVED_AT_ONCE: usize = 32;

/// The most datagrams that one call sends.
pub const SENT_AT_ONCE: usize = 64;

/// Bytes that an [`Outbound`] holds before it is full.
const OUTBOUND_BYTES: usize = 256 << 10;

/// A datagram that was received.
#[derive(Debug)]
pub struct Received<'a> {
    /// What was sent, cut at the size of the buffers.
    pub payload: Vec<u8>,
    /// How long it was when it was sent.
    pub length: usize,
    /// Who sent it.
    pub peer: &'a Name,
}

/// Receives datagrams, [`RECEIVED_AT_ONCE`] by a call.
///
/// It allocates when it first receives, and uses what it is [given back](Self::give_back) again.
#[derive(Debug)]
pub struct Inbound {
    /// Bytes of a buffer.
    bytes: usize,
    /// Empty buffers, used from the last one on: what was given back last is warm.
    buffers: Vec<Vec<u8>>,
    names: Vec<Name>,
}

impl Inbound {
    /// Receives datagrams of at most `bytes` bytes whole.
    pub fn new(bytes: usize) -> Self {
        Self {
            bytes,
            buffers: Vec::new(),
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
        mut each: impl FnMut(Received<'_>),
    ) -> io::Result<usize> {
        let slots = at_most.min(RECEIVED_AT_ONCE);
        self.fill(slots);
        let mut parts = [const { MaybeUninit::<libc::iovec>::uninit() }; RECEIVED_AT_ONCE];
        let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; RECEIVED_AT_ONCE];
        let memory = self.buffers.iter_mut().rev().zip(&mut self.names);
        let memory = memory.take(slots).zip(&mut parts);
        for (((buffer, name), part), slot) in memory.zip(&mut headers) {
            let part = part.write(libc::iovec {
                iov_base: buffer.as_mut_ptr().cast(),
                iov_len: self.bytes,
            });
            let storage = (&raw mut name.storage).cast();
            slot.write(header(storage, NAME_BYTES, part));
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
        for (header, name) in headers.iter().zip(&mut self.names).take(count) {
            // SAFETY: `count` is at most `slots`, and so many headers were initialized above.
            let header = unsafe { header.assume_init_ref() };
            let length = header.msg_len as usize;
            let mut payload = self.buffers.pop().unwrap_or_default();
            // SAFETY: the kernel has written the datagram to the buffer, as far as it fits; the
            // buffers are popped in the order in which the headers point to them.
            unsafe { payload.set_len(length.min(self.bytes)) };
            name.bytes = header.msg_hdr.msg_namelen.min(NAME_BYTES);
            each(Received {
                payload,
                length,
                peer: name,
            });
        }
        Ok(count)
    }

    /// Takes the buffer of a datagram back, to use it again.
    pub fn give_back(&mut self, mut payload: Vec<u8>) {
        if payload.capacity() >= self.bytes && self.buffers.len() < RECEIVED_AT_ONCE {
            payload.clear();
            self.buffers.push(payload);
        }
    }

    /// Sees to it that there are at least `slots` buffers that can hold `bytes` bytes, and names.
    fn fill(&mut self, slots: usize) {
        while self.buffers.len() < slots {
            self.buffers.push(Vec::with_capacity(self.bytes));
        }
        if self.names.len() < slots {
            self.names.resize_with(slots, Name::default);
        }
    }
}

/// The address of a peer, as the kernel has it.
pub struct Name {
    /// All its bytes are initialized, if only with zeros.
    storage: libc::sockaddr_storage,
    bytes: libc::socklen_t,
}

impl Default for Name {
    fn default() -> Self {
        Self {
            // SAFETY: numbers, all of which may be zero.
            storage: unsafe { MaybeUninit::zeroed().assume_init() },
            bytes: 0,
        }
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Name")
            .field("inet", &self.inet())
            .finish_non_exhaustive()
    }
}

impl Name {
    /// The address, if it is one of the internet.
    #[inline]
    pub fn inet(&self) -> Option<SocketAddr> {
        match libc::c_int::from(self.storage.ss_family) {
            libc::AF_INET if self.bytes >= bytes_of::<libc::sockaddr_in>() => {
                // SAFETY: the storage is large enough for every kind of address and aligned for it,
                // and any bytes are a valid value of one.
                let v4: &libc::sockaddr_in = unsafe { &*(&raw const self.storage).cast() };
                let ip = Ipv4Addr::from_bits(u32::from_be(v4.sin_addr.s_addr));
                Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
            }
            libc::AF_INET6 if self.bytes >= bytes_of::<libc::sockaddr_in6>() => {
                // SAFETY: as above.
                let v6: &libc::sockaddr_in6 = unsafe { &*(&raw const self.storage).cast() };
                let (ip, port) = (v6.sin6_addr.s6_addr.into(), u16::from_be(v6.sin6_port));
                let flow = u32::from_be(v6.sin6_flowinfo);
                Some(SocketAddrV6::new(ip, port, flow, v6.sin6_scope_id).into())
            }
            _ => None,
        }
    }

    /// The address of any kind; `None` for a Unix socket that is not bound.
    pub fn any(&self) -> Option<SocketAddrAny> {
        (self.bytes >= bytes_of::<libc::sa_family_t>()).then(|| {
            // SAFETY: the kernel has written an address of so many bytes, which is no more than there
            // is room for; this copies them.
            unsafe { SocketAddrAny::read((&raw const self.storage).cast(), self.bytes) }
        })
    }

    /// Makes it the address `peer`.
    #[inline]
    fn set(&mut self, peer: Destination<'_>) {
        let storage = &raw mut self.storage;
        match peer {
            Destination::Inet(SocketAddr::V4(peer)) => {
                let v4 = libc::sockaddr_in {
                    sin_family: family(libc::AF_INET),
                    sin_port: peer.port().to_be(),
                    sin_addr: libc::in_addr {
                        s_addr: peer.ip().to_bits().to_be(),
                    },
                    sin_zero: [0; 8],
                };
                // SAFETY: the storage is large enough for every kind of address and aligned for it.
                unsafe { storage.cast::<libc::sockaddr_in>().write(v4) };
                self.bytes = bytes_of::<libc::sockaddr_in>();
            }
            Destination::Inet(SocketAddr::V6(peer)) => {
                let v6 = libc::sockaddr_in6 {
                    sin6_family: family(libc::AF_INET6),
                    sin6_port: peer.port().to_be(),
                    sin6_flowinfo: peer.flowinfo().to_be(),
                    sin6_addr: libc::in6_addr {
                        s6_addr: peer.ip().octets(),
                    },
                    sin6_scope_id: peer.scope_id(),
                };
                // SAFETY: as above.
                unsafe { storage.cast::<libc::sockaddr_in6>().write(v6) };
                self.bytes = bytes_of::<libc::sockaddr_in6>();
            }
            Destination::Other(peer) => {
                self.bytes = peer.addr_len().min(NAME_BYTES);
                let from = peer.as_ptr().cast::<u8>();
                // SAFETY: so many bytes of an address are initialized, and there is room for them.
                unsafe { from.copy_to_nonoverlapping(storage.cast(), self.bytes as usize) };
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
    /// Whom the letters are for; those behind them are there to be used again.
    names: Vec<Name>,
}

/// Whom a datagram is for.
#[derive(Clone, Copy, Debug)]
pub enum Destination<'a> {
    /// An address of the internet.
    Inet(SocketAddr),
    /// An address of any kind.
    Other(&'a SocketAddrAny),
}

/// One datagram to be sent.
#[derive(Debug)]
struct Letter {
    start: usize,
    length: usize,
    tag: usize,
}

impl Outbound {
    /// An empty one.
    pub const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            letters: Vec::new(),
            names: Vec::new(),
        }
    }

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
    pub fn push(&mut self, payload: &[u8], peer: Destination<'_>, tag: usize) {
        let start = self.bytes.len();
        if self.names.len() == self.letters.len() {
            self.names.push(Name::default());
        }
        if let Some(name) = self.names.get_mut(self.letters.len()) {
            name.set(peer);
        }
        self.bytes.extend_from_slice(payload);
        self.letters.push(Letter {
            start,
            length: payload.len(),
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
        let letters = self.letters[first..].iter().zip(&self.names[first..]);
        let mut parts = [const { MaybeUninit::<libc::iovec>::uninit() }; SENT_AT_ONCE];
        let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; SENT_AT_ONCE];
        let mut count = 0;
        for (((letter, name), part), slot) in letters.zip(&mut parts).zip(&mut headers) {
            let payload = &self.bytes[letter.start..letter.start + letter.length];
            let part = part.write(libc::iovec {
                iov_base: payload.as_ptr().cast_mut().cast(),
                iov_len: payload.len(),
            });
            let storage = (&raw const name.storage).cast_mut().cast();
            slot.write(header(storage, name.bytes, part));
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
const NAME_BYTES: libc::socklen_t = bytes_of::<libc::sockaddr_storage>();

#[expect(
    clippy::cast_possible_truncation,
    reason = "an address has at most 128"
)]
const fn bytes_of<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}

/// The number of an address family, as an address has it.
fn family(number: libc::c_int) -> libc::sa_family_t {
    libc::sa_family_t::try_from(number).unwrap_or(0)
}

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
    use std::net::UdpSocket;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    /// A datagram that a test has received.
    struct Kept {
        payload: Vec<u8>,
        length: usize,
        inet: Option<SocketAddr>,
        any: Option<SocketAddrAny>,
    }

    /// Receives at most so many.
    fn receive(inbound: &mut Inbound, socket: impl AsFd, at_most: usize) -> Vec<Kept> {
        let mut all = Vec::new();
        let count = inbound.receive(socket, at_most, |received| {
            all.push(Kept {
                payload: received.payload,
                length: received.length,
                inet: received.peer.inet(),
                any: received.peer.any(),
            });
        });
        assert_eq!(count.unwrap(), all.len());
        all
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
                    let peer = theirs.local_addr().unwrap();
                    assert_eq!(received.inet, Some(peer));
                    assert_eq!(SocketAddr::try_from(received.any.unwrap()).unwrap(), peer);
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
                assert!(received.inet.is_none() && received.any.is_none());
                expected += 1;
            }
        }
        assert_eq!(expected, 6);
    }

    #[test]
    fn one_that_cannot_be_sent_keeps_none_behind_it_back() {
        let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
        let theirs = UdpSocket::bind("127.0.0.1:0").unwrap();
        let peer = Destination::Inet(theirs.local_addr().unwrap());
        let mut outbound = Outbound::default();
        let too_long = vec![0; 65_508];
        for (tag, payload) in [&b"a"[..], &too_long, b"b", &too_long, b"c"]
            .into_iter()
            .enumerate()
        {
            assert!(outbound.has_room(payload.len()));
            outbound.push(payload, peer, tag);
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
        let peer = Destination::Inet(SocketAddr::from(([127, 0, 0, 1], 9)));
        let mut outbound = Outbound::default();
        assert!(outbound.has_room(OUTBOUND_BYTES + 1));
        for tag in 0..SENT_AT_ONCE {
            assert!(outbound.has_room(1));
            outbound.push(b"x", peer, tag);
        }
        assert!(!outbound.has_room(1));
        let mut outbound = Outbound::default();
        outbound.push(&vec![0; OUTBOUND_BYTES - 1], peer, 0);
        assert!(outbound.has_room(1) && !outbound.has_room(2));
    }

    #[test]
    fn an_address_of_any_kind_can_be_answered() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let ours = UdpSocket::bind(host).unwrap();
            let theirs = UdpSocket::bind(host).unwrap();
            theirs.send_to(b"?", ours.local_addr().unwrap()).unwrap();
            let asked = &receive(&mut Inbound::new(8), &ours, 1)[0];
            let mut outbound = Outbound::default();
            outbound.push(b"one", Destination::Inet(asked.inet.unwrap()), 1);
            outbound.push(b"two", Destination::Other(asked.any.as_ref().unwrap()), 2);
            outbound.send(&ours, |tag, _, error| panic!("{tag}: {error}"));
            for answer in [b"one", b"two"] {
                let mut buffer = [0; 8];
                assert_eq!(theirs.recv(&mut buffer).unwrap(), 3);
                assert_eq!(&buffer[..3], answer);
            }
        }
    }
}
