//! The other end of the agent's port, in blocking calls: a peer that keeps to the protocol, or does not.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt};
use nix::sys::time::TimeVal;
use p2p_agent::content::{Standing, State};
use p2p_agent::exchange::{Answer, Given};
use p2p_agent::handshake::Asker;
use p2p_agent::http;
use p2p_agent::keys::ContentKeys;
use p2p_agent::limits::{HEAD_BYTES, LINK_TTL};
use p2p_agent::random::Random;
use p2p_agent::record::{Opener, RECORD_HEADER};

use super::{Agent, SOON};

/// A connection to an agent.
pub struct Neighbour {
    stream: TcpStream,
    own: Ipv4Addr,
    agent: Ipv4Addr,
    pending: Vec<u8>,
}

/// A response, the head only: a peer's answers have no body but records.
pub struct Head {
    /// HTTP status.
    pub status: u16,
    /// As it came.
    pub bytes: Vec<u8>,
}

impl Neighbour {
    /// Connects from the address `own` as somebody on the same link does: with TTL 255.
    ///
    /// A port that an earlier connection used may be in doubt at the agent for some seconds; another one is not.
    pub fn connect(own: Ipv4Addr, agent: &Agent) -> io::Result<Self> {
        let mut outcome = Self::try_connect(own, agent);
        for _ in 0..5 {
            if !outcome.as_ref().is_err_and(|error| error.raw_os_error() == Some(nix::libc::EINPROGRESS)) {
                break;
            }
            outcome = Self::try_connect(own, agent);
        }
        outcome
    }

    fn try_connect(own: Ipv4Addr, agent: &Agent) -> io::Result<Self> {
        let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&socket, sockopt::Ipv4Ttl, &i32::from(LINK_TTL))?;
        // Bounds connect(2), too: EINPROGRESS.
        setsockopt(&socket, sockopt::SendTimeout, &TimeVal::new(2, 0))?;
        bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(own, 0)))?;
        connect(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(agent.address, agent.port)))?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(SOON))?;
        stream.set_write_timeout(Some(SOON))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, own, agent: agent.address, pending: Vec::new() })
    }

    /// Sends these bytes.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The bare connection.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Says that nothing more comes.
    pub fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// The next response.
    pub fn head(&mut self) -> io::Result<Head> {
        loop {
            let found = http::parse_response(&self.pending).map_err(io::Error::other)?;
            if let Some((status, length)) = found.map(|found| (found.status, found.head_bytes)) {
                return Ok(Head { status, bytes: self.pending.drain(..length).collect() });
            }
            let mut more = [0; HEAD_BYTES];
            match self.stream.read(&mut more)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => self.pending.extend_from_slice(&more[..length]),
            }
        }
    }

    /// How long the agent takes to close the connection; panics when it does not.
    #[track_caller]
    pub fn closed_after(&mut self) -> Duration {
        let started = Instant::now();
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "it stays open"),
        }
        started.elapsed()
    }

    /// The bytes of a query about the content of `keys`.
    pub fn query_bytes(&self, keys: &ContentKeys, nonce: [u8; 16]) -> (Asker, Vec<u8>) {
        let standing = Standing { state: State::Wanting, attempt: 1, ..Standing::default() };
        let asker = Asker::new(keys, self.own, self.agent, standing, nonce);
        let head = asker.query(keys).head::<HEAD_BYTES>(self.agent).unwrap();
        (asker, head.to_vec())
    }

    /// Asks; what the agent has proved to know, or the status.
    pub fn query(&mut self, keys: &ContentKeys) -> io::Result<Result<(Asker, Standing), u16>> {
        let (mut asker, query) = self.query_bytes(keys, fresh());
        self.send(&query)?;
        let head = self.head()?;
        let parsed = http::parse_response(&head.bytes).unwrap().unwrap();
        match Answer::parse(&parsed).map_err(io::Error::other)? {
            Answer::Refused(status) => Ok(Err(status)),
            known => {
                let standing = asker.handle_answer(keys, &known).expect("the answer's proof is right");
                Ok(Ok((asker, standing)))
            }
        }
    }

    /// Takes from `offset` on, after a query, and says that it knows no other source; the status when refused.
    pub fn take(&mut self, keys: &ContentKeys, mut asker: Asker, offset: u64) -> io::Result<Result<Opener, u16>> {
        let take = asker.take(keys, offset, false).head::<HEAD_BYTES>(self.agent).unwrap();
        self.send(&take)?;
        let head = self.head()?;
        let parsed = http::parse_response(&head.bytes).unwrap().unwrap();
        match Given::parse(&parsed).map_err(io::Error::other)? {
            Given::Refused(status) => Ok(Err(status)),
            given => Ok(Ok(asker.handle_given(keys, &given).expect("the proof of who gives is right"))),
        }
    }

    /// Asks and takes at once.
    pub fn ask_and_take(&mut self, keys: &ContentKeys, offset: u64) -> io::Result<Result<Opener, u16>> {
        match self.query(keys)? {
            Ok((asker, _)) => self.take(keys, asker, offset),
            Err(status) => Ok(Err(status)),
        }
    }

    /// All records to the last.
    pub fn receive(&mut self, mut opener: Opener) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        loop {
            let mut header = [0; RECORD_HEADER];
            self.fill(&mut header)?;
            let mut data = vec![0; opener.header(&header).map_err(io::Error::other)?.length];
            self.fill(&mut data)?;
            let last = opener.open(&header, &mut data).map_err(io::Error::other)?;
            content.extend_from_slice(&data);
            if last {
                return Ok(content);
            }
        }
    }

    /// The body of a response.
    pub fn body(&mut self, bytes: usize) -> io::Result<Vec<u8>> {
        let mut body = vec![0; bytes];
        self.fill(&mut body)?;
        Ok(body)
    }

    /// Every byte that comes until the agent closes the connection.
    pub fn everything(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.pending);
        self.stream.read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// Bytes that come until the connection ends in whatever way.
    pub fn everything_or_reset(&mut self) -> usize {
        let mut bytes = Vec::new();
        let _ = self.stream.read_to_end(&mut bytes);
        bytes.len()
    }

    /// Reads so many bytes and forgets them.
    pub fn sip(&mut self, bytes: usize) {
        self.stream.read_exact(&mut vec![0; bytes]).unwrap();
    }

    fn fill(&mut self, out: &mut [u8]) -> io::Result<()> {
        let ready = self.pending.len().min(out.len());
        out[..ready].copy_from_slice(&self.pending[..ready]);
        self.pending.drain(..ready);
        self.stream.read_exact(&mut out[ready..])
    }
}

/// A socket for datagrams to agents, from somebody on their link.
pub fn datagrams(own: Ipv4Addr, port: u16) -> UdpSocket {
    let socket = UdpSocket::bind((own, port)).unwrap();
    socket.set_ttl(LINK_TTL.into()).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket
}

/// A nonce that was never used before.
pub fn fresh() -> [u8; 16] {
    use std::sync::Mutex;
    static RANDOM: Mutex<Option<Random>> = Mutex::new(None);
    let mut random = RANDOM.lock().unwrap();
    random.get_or_insert_with(|| Random::from_seed([7; 16])).bytes()
}
