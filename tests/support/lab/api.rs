//! The local API, as a program without an HTTP library would use it.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use p2p_agent::http;

/// One answer.
pub struct Response {
    /// HTTP status.
    pub status: u16,
    head: Vec<u8>,
    /// As far as it came, chunks joined.
    pub body: Vec<u8>,
    /// Whether the body came to its own end.
    pub whole: bool,
}

impl Response {
    /// A field of the head.
    pub fn field(&self, name: &str) -> Option<String> {
        http::parse_response(&self.head).unwrap().unwrap().header(name).map(str::to_owned)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

/// One GET over a connection of its own.
pub fn get(socket: &Path, target: &str) -> io::Result<Response> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(stream, "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut bytes = Vec::new();
    let ended = stream.read_to_end(&mut bytes);
    parse(bytes, ended.is_ok()).ok_or_else(|| io::Error::other("no HTTP response"))
}

fn parse(mut bytes: Vec<u8>, ended: bool) -> Option<Response> {
    let (status, length, chunked, at) = {
        let head = http::parse_response(&bytes).ok()??;
        (head.status, head.content_length, head.chunked, head.head_bytes)
    };
    let rest = bytes.split_off(at);
    let (body, whole) = match length {
        _ if chunked => unchunk(&rest),
        Some(length) => {
            let whole = rest.len() as u64 == length;
            (rest, whole)
        }
        None => (rest, ended),
    };
    Some(Response { status, head: bytes, body, whole })
}

fn unchunk(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
        let Some(length) = std::str::from_utf8(&rest[..end]).ok().and_then(|n| usize::from_str_radix(n, 16).ok())
        else {
            return (body, false);
        };
        if length == 0 {
            return (body, true);
        }
        let Some(chunk) = rest.get(end + 2..end + 2 + length) else {
            body.extend_from_slice(&rest[end + 2..]);
            return (body, false);
        };
        body.extend_from_slice(chunk);
        rest = rest.get(end + 4 + length..).unwrap_or_default();
    }
    (body, false)
}
