//! One side of the peer protocol in blocking calls: a device that does exactly what a scenario wants.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use p2p_agent::content::{ContentMd5, Standing, State};
use p2p_agent::exchange::{Answer, Given, PeerRequest};
use p2p_agent::http::{self, Response};
use p2p_agent::keys::{ContentKeys, DomainKey, Role, Transcript};
use p2p_agent::limits::{HEAD_BYTES, PORT};
use p2p_agent::record::{Opener, RECORD_HEADER};

use super::namespace::Namespace;
use super::origin::Content;

/// A connection to an agent that has been asked about one content.
pub struct Asker {
    stream: TcpStream,
    keys: ContentKeys,
    said: Transcript,
    server: Ipv4Addr,
    buffer: Vec<u8>,
}

/// Makes everything that this namespace sends leave with this TTL; agents listen to 255 only.
pub fn send_with_ttl(namespace: &Namespace, ttl: u8) {
    namespace.sysctl("net/ipv4/ip_default_ttl", &ttl.to_string());
}

impl Asker {
    /// Connects from the caller's namespace.
    pub fn connect(server: Ipv4Addr, content: &Content, nonce: u8) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&SocketAddr::from((server, PORT)), Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.set_nodelay(true)?;
        let IpAddr::V4(client) = stream.local_addr()?.ip() else { return Err(io::ErrorKind::Unsupported.into()) };
        let keys = ContentKeys::derive(&DomainKey::open(), &ContentMd5::parse(&content.md5).unwrap());
        let said = Transcript {
            client: client.octets(),
            server: server.octets(),
            id: keys.id(),
            client_nonce: [nonce; 16],
            asker: Standing { state: State::Wanting, ..Standing::default() },
            ..Transcript::default()
        };
        Ok(Self { stream, keys, said, server, buffer: Vec::new() })
    }

    /// HEAD; what the agent says about itself once its proof was checked, or the status.
    pub fn query(&mut self) -> io::Result<Result<Standing, u16>> {
        let Transcript { id, client_nonce: nonce, asker, .. } = self.said;
        let proof = self.keys.proof(Role::Query, &self.said);
        self.send(&PeerRequest::Query { id, nonce, asker, proof })?;
        match self.head(Answer::parse)? {
            Answer::Known { standing, challenge, proof } => {
                (self.said.answer, self.said.challenge) = (standing, challenge);
                assert!(self.keys.verify(Role::Answer, &self.said, &proof), "the answer's proof is wrong");
                Ok(Ok(standing))
            }
            Answer::Refused(status) => Ok(Err(status)),
        }
    }

    /// GET from `offset`, after a query; the status when refused.
    pub fn take(&mut self, offset: u64) -> io::Result<Result<Opener, u16>> {
        (self.said.offset, self.said.alternative) = (offset, false);
        let proof = self.keys.proof(Role::Take, &self.said);
        self.send(&PeerRequest::Take { id: self.said.id, offset, alternative: false, proof })?;
        match self.head(Given::parse)? {
            Given::Records { nonce, proof } => {
                self.said.server_nonce = nonce;
                assert!(self.keys.verify(Role::Give, &self.said, &proof), "the proof of who gives is wrong");
                Ok(Ok(Opener::new(&self.keys.transfer(&self.said))))
            }
            Given::Refused(status) => Ok(Err(status)),
        }
    }

    /// All records to the last.
    pub fn receive(&mut self, mut opener: Opener) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        loop {
            let mut header = [0; RECORD_HEADER];
            self.read(&mut header)?;
            let mut data = vec![0; opener.header(&header).map_err(io::Error::other)?.length];
            self.read(&mut data)?;
            let last = opener.open(&header, &mut data).map_err(io::Error::other)?;
            content.extend_from_slice(&data);
            if last {
                return Ok(content);
            }
        }
    }

    /// Takes so many bytes out of the stream and forgets them.
    pub fn sip(&mut self, bytes: usize) -> io::Result<()> {
        let mut sip = vec![0; bytes];
        self.read(&mut sip)
    }

    /// Takes whatever comes until the end; how much it was.
    pub fn rest(&mut self) -> io::Result<usize> {
        let mut bytes = std::mem::take(&mut self.buffer);
        self.stream.read_to_end(&mut bytes)?;
        Ok(bytes.len())
    }

    fn send(&mut self, request: &PeerRequest) -> io::Result<()> {
        let head = request.head::<HEAD_BYTES>(self.server).map_err(io::Error::other)?;
        self.stream.write_all(&head)
    }

    fn head<T, E>(&mut self, read: impl Fn(&Response<'_>) -> Result<T, E>) -> io::Result<T>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        loop {
            let response = http::parse_response(&self.buffer).map_err(io::Error::other)?;
            let said = response.map(|response| (read(&response).map_err(io::Error::other), response.head_bytes));
            if let Some((result, length)) = said {
                self.buffer.drain(..length);
                return result;
            }
            let mut more = [0; HEAD_BYTES];
            match self.stream.read(&mut more)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => self.buffer.extend_from_slice(&more[..length]),
            }
        }
    }

    /// Fills `out`: first with what came along with a head.
    fn read(&mut self, out: &mut [u8]) -> io::Result<()> {
        let ready = self.buffer.len().min(out.len());
        out[..ready].copy_from_slice(&self.buffer[..ready]);
        self.buffer.drain(..ready);
        self.stream.read_exact(&mut out[ready..])
    }
}
