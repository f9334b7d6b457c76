//! The local API as a program without an HTTP library uses it, byte by byte where a test wants that.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use p2p_agent::http;

/// The longest silence in the middle of a response: the agent may wait six seconds for another device.
const SILENCE: Duration = Duration::from_secs(30);

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By its length or its last chunk.
    Clean,
    /// The connection went first.
    Cut,
}

#[derive(Clone, Copy)]
enum Framing {
    Length(u64),
    Chunks,
}

/// A response whose head is here; its body is read as the test wants.
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    head: Vec<u8>,
    framing: Framing,
    reader: BufReader<UnixStream>,
    ended: Option<End>,
}

/// Sends a GET on a connection of its own and reads the head of the answer.
pub fn try_get(socket: &Path, target: &str, fields: &str) -> io::Result<Reply> {
    request(socket, &format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{fields}Connection: close\r\n\r\n"))
}

/// Sends a POST with a form.
pub fn post(socket: &Path, target: &str, form: &str) -> io::Result<Reply> {
    let length = form.len();
    request(
        socket,
        &format!(
            "POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{form}"
        ),
    )
}

/// Sends these bytes and reads the head of the answer.
pub fn request(socket: &Path, bytes: &str) -> io::Result<Reply> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.write_all(bytes.as_bytes())?;
    Reply::read(BufReader::new(stream))
}

impl Reply {
    fn read(mut reader: BufReader<UnixStream>) -> io::Result<Self> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if reader.read_until(b'\n', &mut head)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let parsed = http::parse_response(&head).map_err(io::Error::other)?.ok_or(io::ErrorKind::InvalidData)?;
        let (status, length) = (parsed.status, parsed.content_length);
        let framing = length.map_or(Framing::Chunks, Framing::Length);
        assert!(parsed.chunked || length.is_some(), "a body without an end of its own");
        drop(parsed);
        Ok(Self { status, head, framing, reader, ended: None })
    }

    /// A field of the head.
    pub fn field(&self, name: &str) -> Option<String> {
        http::parse_response(&self.head).unwrap().unwrap().header(name).map(str::to_owned)
    }

    /// Whether it is the advice to fetch from the internet, for one of these reasons.
    #[track_caller]
    pub fn assert_fetch(&self, reasons: &[&str]) {
        let reason = self.field("P2P-Reason").unwrap_or_default();
        assert_eq!((self.status, self.field("P2P-Advice").as_deref()), (404, Some("fetch")), "{reason}");
        assert!(reasons.contains(&reason.as_str()), "{reason} is none of {reasons:?}");
    }

    /// The whole body of a small answer.
    #[track_caller]
    pub fn text(mut self) -> String {
        let (body, end) = self.rest();
        assert_eq!(end, End::Clean);
        String::from_utf8(body).unwrap()
    }

    /// The next bytes of the body, at least one unless it has ended.
    pub fn some(&mut self) -> Vec<u8> {
        if self.ended.is_some() {
            return Vec::new();
        }
        let read = match self.framing {
            Framing::Length(0) => Ok(Vec::new()),
            Framing::Length(left) => self.up_to(left.min(65_536)).inspect(|got| {
                self.framing = Framing::Length(left - got.len() as u64);
            }),
            Framing::Chunks => self.chunk(),
        };
        match read {
            Ok(bytes) if !bytes.is_empty() => bytes,
            // A silence that lasts too long is no end, it is a fault.
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                panic!("no byte for {SILENCE:?}")
            }
            Ok(_) => {
                self.ended = Some(End::Clean);
                Vec::new()
            }
            Err(_) => {
                self.ended = Some(End::Cut);
                Vec::new()
            }
        }
    }

    /// At least `bytes` bytes of the body, fewer only when it ends before.
    pub fn at_least(&mut self, bytes: usize) -> Vec<u8> {
        let mut body = Vec::new();
        while body.len() < bytes {
            let more = self.some();
            if more.is_empty() {
                break;
            }
            body.extend_from_slice(&more);
        }
        body
    }

    /// The rest of the body, and how it ended.
    pub fn rest(&mut self) -> (Vec<u8>, End) {
        let body = self.at_least(usize::MAX);
        (body, self.ended.unwrap())
    }

    /// Asserts that the body is exactly this and came to its own end.
    #[track_caller]
    pub fn assert_is(&mut self, expected: &[u8]) {
        let (body, end) = self.rest();
        assert_eq!((body.len(), end), (expected.len(), End::Clean), "status {}", self.status);
        assert!(body == expected, "other bytes");
    }

    /// A connection that has gone shows as an error: a length that is not reached is a cut.
    fn up_to(&mut self, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(limit).unwrap()];
        match self.reader.read(&mut bytes)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                bytes.truncate(count);
                Ok(bytes)
            }
        }
    }

    /// Empty for the last chunk.
    fn chunk(&mut self) -> io::Result<Vec<u8>> {
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        let length = line.strip_suffix("\r\n").and_then(|digits| usize::from_str_radix(digits, 16).ok());
        let length = length.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut chunk = vec![0; length + 2];
        self.reader.read_exact(&mut chunk)?;
        chunk.truncate(length);
        Ok(chunk)
    }
}
