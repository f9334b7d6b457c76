//! One HTTP/1.1 exchange over the agent's Unix socket (RFC 9112). Every exchange is a connection of its own.
//!
//! The body says how it ends, by Content-Length or by chunks: a connection that closes earlier is a cut, never an end
//! (design, section 8). An answer that leaves this open is not one of our agent's.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt};
use nix::sys::time::TimeVal;

use crate::limits::{AGENT_BODY_TIMEOUT, AGENT_HEAD_BYTES, CHUNK_BYTES};

/// The head of an answer, and the body that follows it.
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// What follows.
    pub body: Body,
    fields: Vec<(String, String)>,
}

impl Answer {
    /// The value of a header field; upper and lower case of the name do not matter.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// Sends `request` (a whole request, with its body) and waits up to `patience` for the head of the answer.
pub fn exchange(socket: &Path, request: &[u8], patience: Duration) -> io::Result<Answer> {
    let deadline = Instant::now() + patience;
    let mut stream = dial(socket, patience)?;
    stream.write_all(request)?;
    let mut reader = BufReader::with_capacity(CHUNK_BYTES, stream);
    let head = read_head(&mut reader, deadline)?;
    reader.get_ref().set_read_timeout(Some(AGENT_BODY_TIMEOUT))?;
    answer(&head, reader)
}

/// std's own connect has no time limit: it would wait for ever for an agent that accepts nobody.
fn dial(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let limit = TimeVal::new(patience.as_secs().try_into().unwrap_or(1), 0);
    setsockopt(&socket, sockopt::SendTimeout, &limit)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(UnixStream::from(socket))
}

fn read_head(reader: &mut BufReader<UnixStream>, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        reader.get_ref().set_read_timeout(Some(left))?;
        let line_at = head.len();
        let room = AGENT_HEAD_BYTES.saturating_sub(u64::try_from(line_at).unwrap_or(u64::MAX));
        reader.by_ref().take(room).read_until(b'\n', &mut head)?;
        match head.get(line_at..) {
            Some(b"\r\n") => return Ok(head),
            Some([.., b'\n']) => {}
            _ if line_at == 0 && head.is_empty() => return Err(ErrorKind::UnexpectedEof.into()),
            _ => return Err(garbage("a head that does not end")),
        }
    }
}

fn answer(head: &[u8], reader: BufReader<UnixStream>) -> io::Result<Answer> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut fields);
    match response.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) | Err(_) => return Err(garbage("something that is not HTTP")),
    }
    let status = response.code.unwrap_or(0);
    let fields: Vec<(String, String)> = response
        .headers
        .iter()
        .map(|field| (field.name.to_owned(), String::from_utf8_lossy(field.value).trim().to_owned()))
        .collect();
    let body = Body { framing: framing(&fields)?, reader };
    Ok(Answer { status, fields, body })
}

fn framing(fields: &[(String, String)]) -> io::Result<Framing> {
    let all = |name: &'static str| fields.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name));
    let mut lengths = all("content-length");
    match (all("transfer-encoding").next(), lengths.next(), lengths.next()) {
        (None, None, _) => Ok(Framing::Open),
        (None, Some((_, length)), None) if length.bytes().all(|digit| digit.is_ascii_digit()) => {
            length.parse().map(Framing::Length).map_err(|_| garbage("an unreadable Content-Length"))
        }
        (Some((_, coding)), None, _) if coding.eq_ignore_ascii_case("chunked") => {
            Ok(Framing::Chunk { left: 0, first: true })
        }
        _ => Err(garbage("an ambiguous length")),
    }
}

/// The body of an answer; `read` returns 0 at its real end only, a cut is an error.
pub struct Body {
    framing: Framing,
    reader: BufReader<UnixStream>,
}

enum Framing {
    /// So many bytes are to come.
    Length(u64),
    /// So many bytes of this chunk are to come.
    Chunk { left: u64, first: bool },
    /// The last chunk has been read.
    Ended,
    /// The answer does not say.
    Open,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Framing::Chunk { left: 0, first } = self.framing {
            self.framing = self.next_chunk(first)?;
        }
        let left = match &mut self.framing {
            Framing::Length(left) | Framing::Chunk { left, .. } => left,
            Framing::Ended => return Ok(0),
            Framing::Open => return Err(garbage("a body without a length")),
        };
        if *left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let room = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.reader.read(buffer.get_mut(..room).unwrap_or_default())?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        *left = left.saturating_sub(u64::try_from(read).unwrap_or(u64::MAX));
        Ok(read)
    }
}

impl Body {
    fn next_chunk(&mut self, first: bool) -> io::Result<Framing> {
        if !first && !self.line()?.is_empty() {
            return Err(garbage("a chunk that is longer than it said"));
        }
        let mut line = self.line()?;
        line.extend_from_slice(b"\r\n");
        let left = match httparse::parse_chunk_size(&line) {
            Ok(httparse::Status::Complete((_, left))) => left,
            Ok(httparse::Status::Partial) | Err(_) => return Err(garbage("an unreadable chunk size")),
        };
        if left > 0 {
            return Ok(Framing::Chunk { left, first: false });
        }
        while !self.line()?.is_empty() {} // trailer fields
        Ok(Framing::Ended)
    }

    /// One line without its CR LF. A line that stops in the middle is a cut.
    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        self.reader.by_ref().take(AGENT_HEAD_BYTES).read_until(b'\n', &mut line)?;
        match line.as_slice() {
            [text @ .., b'\r', b'\n'] => Ok(text.to_vec()),
            [.., b'\n'] => Err(garbage("a bare line feed")),
            _ => Err(ErrorKind::UnexpectedEof.into()),
        }
    }
}

fn garbage(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &'static [u8]) -> io::Result<(u16, Vec<u8>)> {
        let (ours, mut theirs) = UnixStream::pair()?;
        theirs.write_all(text)?;
        drop(theirs);
        let mut reader = BufReader::new(ours);
        let head = read_head(&mut reader, Instant::now() + Duration::from_secs(5))?;
        let mut answer = answer(&head, reader)?;
        let mut body = Vec::new();
        answer.body.read_to_end(&mut body)?;
        Ok((answer.status, body))
    }

    #[test]
    fn both_framings_end_cleanly() {
        let length = told(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").unwrap();
        let chunks =
            told(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n").unwrap();
        assert_eq!(length, (200, b"hello".to_vec()));
        assert_eq!(chunks, length);
    }

    #[test]
    fn a_cut_anywhere_is_an_error() {
        for whole in [
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".as_slice(),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".as_slice(),
        ] {
            for end in 0..whole.len() {
                assert!(told(&whole[..end]).is_err(), "cut at {end}");
            }
        }
    }

    #[test]
    fn an_answer_that_leaves_its_end_open_is_refused() {
        for wrong in [
            b"HTTP/1.1 200 OK\r\n\r\nhello".as_slice(),
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        ] {
            assert!(told(wrong).is_err(), "{}", String::from_utf8_lossy(wrong));
        }
    }
}
