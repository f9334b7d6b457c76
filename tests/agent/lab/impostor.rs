//! A peer that takes part in everything, up to the point where it lies.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt};
use p2p_agent::content::{NodeId, Rank, Standing, State};
use p2p_agent::exchange::{Answer, PeerRequest};
use p2p_agent::handshake::Answerer;
use p2p_agent::http;
use p2p_agent::keys::{ContentKeys, Proof};
use p2p_agent::limits::{DATAGRAM_BYTES, HEAD_BYTES, LINK_TTL, PROBE_INTERVAL, RECORD_BYTES, RECORD_TIMEOUT};
use p2p_agent::time::Timestamp;
use p2p_agent::wire::{Datagram, Echo, Flags, Reply, os_version};

use super::{Content, SOON};

/// What it does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Nothing.
    None,
    /// It says that it has the content and cannot prove that it knows it.
    WrongProof,
    /// It accepts connections and never says a word.
    Silence,
    /// It answers every question, and never the wish for bytes.
    GrantsNothing,
    /// None, but from its 33rd record on it is slow.
    SlowsDown,
    /// The same, and it says that somebody else gets it from there, too.
    IsShared,
    /// It says that it has just as much as who asks.
    KeepsStep,
    /// One bit of its second record is altered on the way.
    AlteredRecord,
    /// It sends heartbeats and nothing else.
    OnlyHeartbeats,
    /// It gives more than it said it had.
    TooMuch,
    /// It breaks off in the middle of the second record.
    BreaksOff,
    /// It gives a few bytes now and then: enough never to be silent.
    Trickles,
    /// It gives its first record a few bytes at a time.
    RecordTrickles,
    /// The same, and the header before it a byte at a time.
    HeaderTrickles,
    /// It says that it is about to fetch, better placed than anybody, and does not.
    Claims,
    /// The same, and that it fetches.
    Fetches,
}

/// The peer; it goes with the value.
pub struct Impostor {
    takes: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Clone)]
struct Part {
    address: Ipv4Addr,
    port: u16,
    lie: Lie,
    contents: Arc<Vec<(ContentKeys, Vec<u8>)>>,
    takes: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
}

impl Impostor {
    /// A peer at `address` that claims to have `content`.
    pub fn start(address: Ipv4Addr, port: u16, content: &Content, lie: Lie) -> Self {
        Self::start_with(address, port, std::slice::from_ref(content), lie)
    }

    /// The same for several contents.
    pub fn start_with(address: Ipv4Addr, port: u16, contents: &[Content], lie: Lie) -> Self {
        let (takes, over): (Arc<AtomicUsize>, Arc<AtomicBool>) = Default::default();
        let contents = Arc::new(contents.iter().map(|content| (content.keys(), content.bytes.clone())).collect());
        let part = Part { address, port, lie, contents, takes: takes.clone(), over: over.clone() };
        let listener = TcpListener::bind((address, port)).unwrap();
        setsockopt(&listener, sockopt::Ipv4Ttl, &i32::from(LINK_TTL)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (own, everybody) = (datagrams(address, port), datagrams(Ipv4Addr::new(127, 255, 255, 255), port));
        let threads = vec![
            thread::spawn({
                let part = part.clone();
                move || part.accept(&listener)
            }),
            thread::spawn(move || part.reply(&own, &everybody)),
        ];
        Self { takes, over, threads }
    }

    /// How often somebody tried to take bytes.
    pub fn takes(&self) -> usize {
        self.takes.load(Ordering::Relaxed)
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// As an agent on one loopback address has them.
fn datagrams(address: Ipv4Addr, port: u16) -> UdpSocket {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).unwrap();
    setsockopt(&socket, sockopt::ReuseAddr, &true).unwrap();
    bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(address, port))).unwrap();
    let socket = UdpSocket::from(socket);
    socket.set_ttl(LINK_TTL.into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

impl Part {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Answers probes, so that it becomes a peer.
    fn reply(&self, own: &UdpSocket, everybody: &UdpSocket) {
        let mut bytes = [0; DATAGRAM_BYTES];
        while !self.is_over() {
            let heard = everybody.recv_from(&mut bytes).or_else(|_| own.recv_from(&mut bytes));
            let Ok((length, SocketAddr::V4(from))) = heard else {
                thread::sleep(Duration::from_millis(2));
                continue;
            };
            let asked = Datagram::decode(&bytes[..length]).ok().and_then(|datagram| datagram.asked());
            let Some(probe) = asked else { continue };
            let reply = Reply {
                node: NodeId([self.address.octets()[3]; 8]),
                os: os_version("impostor"),
                interval_ms: u16::try_from(PROBE_INTERVAL.as_millis()).unwrap(),
                flags: Flags { wired: true, ..Flags::default() },
                echo: Echo::from(&probe),
                receive: probe.origin,
                transmit: Timestamp::from_nanos(probe.origin.as_nanos()),
                probe: None,
            };
            Datagram::Reply(reply).encode(&mut bytes);
            let _ = own.send_to(&bytes, (*from.ip(), self.port));
        }
    }

    fn accept(&self, listener: &TcpListener) {
        while !self.is_over() {
            let Ok((stream, SocketAddr::V4(from))) = listener.accept() else {
                thread::sleep(Duration::from_millis(2));
                continue;
            };
            stream.set_nonblocking(false).unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(SOON)).unwrap();
            let part = self.clone();
            // An end in whatever way is an end.
            thread::spawn(move || part.serve(stream, *from.ip()).ok());
        }
    }

    fn serve(&self, mut stream: TcpStream, from: Ipv4Addr) -> io::Result<()> {
        let mut answerer = None;
        let mut pending = Vec::new();
        loop {
            let request = loop {
                let head = http::parse_request(&pending).map_err(io::Error::other)?;
                let found = head.map(|head| (PeerRequest::parse(&head), head.head_bytes));
                if let Some((request, length)) = found {
                    pending.drain(..length);
                    break request.map_err(io::Error::other)?;
                }
                let mut more = [0; HEAD_BYTES];
                match stream.read(&mut more)? {
                    0 => return Ok(()),
                    length => pending.extend_from_slice(&more[..length]),
                }
            };
            if self.lie == Lie::Silence {
                continue;
            }
            match (&request, answerer.take()) {
                (PeerRequest::Query { .. }, _) => {
                    let (known, answer) = self.answer(from, &request);
                    answerer = known;
                    stream.write_all(&answer.head::<HEAD_BYTES>().unwrap())?;
                }
                (PeerRequest::Take { offset, .. }, Some(answerer)) => {
                    self.takes.fetch_add(1, Ordering::Relaxed);
                    while self.lie == Lie::GrantsNothing && !self.is_over() {
                        thread::sleep(Duration::from_millis(10));
                    }
                    return self.give(stream, answerer, &request, usize::try_from(*offset).unwrap());
                }
                _ => return Ok(()),
            }
        }
    }

    /// The content that a request is about.
    fn content(&self, request: &PeerRequest) -> Option<&(ContentKeys, Vec<u8>)> {
        let (PeerRequest::Query { id, .. } | PeerRequest::Take { id, .. }) = request;
        self.contents.iter().find(|(keys, _)| keys.id() == *id)
    }

    fn answer(&self, from: Ipv4Addr, request: &PeerRequest) -> (Option<Answerer>, Answer) {
        let Some((keys, bytes)) = self.content(request) else { return (None, Answer::Refused(404)) };
        let Ok(mut answerer) = Answerer::accept(keys, from, self.address, request) else {
            return (None, Answer::Refused(404));
        };
        let size = bytes.len() as u64 - u64::from(self.lie == Lie::TooMuch);
        let (state, available) = match self.lie {
            Lie::Claims => (State::Claiming, 0),
            Lie::Fetches => (State::Fetching, 0),
            Lie::KeepsStep => (State::Partial, asked_with(request)),
            _ => (State::Complete, size),
        };
        // Neither starved nor metered, nothing of it yet, and then as well placed as can be.
        let mut rank = [0xff; 16];
        rank[..6].copy_from_slice(&[1, 1, 0, 0, 0, 0]);
        // So that an honest one is taken first.
        let active = match self.lie {
            Lie::GrantsNothing => 5,
            Lie::IsShared => 2,
            Lie::KeepsStep => 1,
            _ => 0,
        };
        let size = Some(size);
        let standing = Standing { state, size, available, active, rank: Rank(rank), attempt: 1 };
        let answer = match answerer.answer(keys, standing, super::neighbour::fresh()) {
            Answer::Known { standing, challenge, .. } if self.lie == Lie::WrongProof => {
                Answer::Known { standing, challenge, proof: Proof([1; 16]) }
            }
            answer => answer,
        };
        (Some(answerer), answer)
    }

    fn give(&self, mut stream: TcpStream, answerer: Answerer, take: &PeerRequest, offset: usize) -> io::Result<()> {
        let (keys, bytes) = self.content(take).ok_or(io::ErrorKind::NotFound)?;
        let granted = answerer.handle_take(keys, take).map_err(|_| io::ErrorKind::InvalidData)?;
        let (given, mut sealer) = granted.give(keys, super::neighbour::fresh());
        let size = Some(bytes.len() as u64);
        stream.write_all(&given.head::<HEAD_BYTES>(offset as u64, size).unwrap())?;
        while self.lie == Lie::OnlyHeartbeats && !self.is_over() {
            stream.write_all(&sealer.seal(&mut [], false).map_err(io::Error::other)?)?;
            thread::sleep(Duration::from_millis(100));
        }
        let piece = if self.lie == Lie::Trickles { 10 } else { RECORD_BYTES };
        let records = bytes[offset..].chunks(piece);
        let last = records.len().saturating_sub(1);
        for (number, record) in records.enumerate() {
            let mut data = record.to_vec();
            let header = sealer.seal(&mut data, number == last).map_err(io::Error::other)?;
            if number == 1 && self.lie == Lie::AlteredRecord {
                data[100] ^= 4;
            }
            for few in header.chunks(if self.lie == Lie::HeaderTrickles { 1 } else { header.len() }) {
                stream.write_all(few)?;
                if self.lie == Lie::HeaderTrickles {
                    // All of it in just less than a record may take.
                    thread::sleep(RECORD_TIMEOUT * 9 / 10 / header.len() as u32);
                }
            }
            if number > 32 && matches!(self.lie, Lie::SlowsDown | Lie::IsShared) {
                thread::sleep(Duration::from_millis(100));
            }
            if number == 1 && self.lie == Lie::BreaksOff {
                return stream.write_all(&data[..100]);
            }
            if matches!(self.lie, Lie::RecordTrickles | Lie::HeaderTrickles) {
                for few in data.chunks(10) {
                    stream.write_all(few)?;
                    thread::sleep(Duration::from_millis(100));
                }
            }
            stream.write_all(&data)?;
            if self.lie == Lie::Trickles {
                thread::sleep(Duration::from_millis(100));
            }
        }
        Ok(())
    }
}

/// What the asker has.
fn asked_with(request: &PeerRequest) -> u64 {
    if let PeerRequest::Query { asker, .. } = request { asker.available } else { 0 }
}
