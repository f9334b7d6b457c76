//! One HTTP/1.1 exchange over the agent's Unix socket (RFC 9112). Every exchange is a connection of its own.
//!
//! The body says how it ends, by Content-Length or by chunks: a connection that closes earlier is a cut, never an end
//! (design, section 8). Heads are read as strictly as the agent reads those of peers.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt};
use nix::sys::time::TimeVal;
use p2p_agent::http::{Response, chunk_size, parse_response};
use p2p_agent::limits::HEAD_BYTES;

use crate::limits::{AGENT_BODY_TIMEOUT, CHUNK_BYTES, TRAILER_LINES};

/// Sends `request` (a whole request, with its body), waits up to `patience` for the head of the answer and lets `read`
/// make something of it.
pub fn exchange<T>(
    socket: &Path,
    request: &[u8],
    patience: Duration,
    read: impl FnOnce(&Response<'_>, Body) -> T,
) -> io::Result<T> {
    let deadline = Instant::now() + patience;
    let mut stream = dial(socket, patience)?;
    stream.write_all(request)?;
    receive(stream, deadline, read)
}

fn receive<T>(stream: UnixStream, deadline: Instant, read: impl FnOnce(&Response<'_>, Body) -> T) -> io::Result<T> {
    let mut reader = BufReader::with_capacity(CHUNK_BYTES, Patient::new(stream));
    let head = read_head(&mut reader, deadline)?;
    let response = parse_response(&head).map_err(|refusal| io::Error::new(ErrorKind::InvalidData, refusal))?;
    let response = response.ok_or_else(|| garbage("an incomplete head"))?;
    let framing = match (response.chunked, response.content_length) {
        (true, _) => Framing::Chunk { left: 0, first: true },
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::Ended,
    };
    reader.get_mut().begin(AGENT_BODY_TIMEOUT);
    Ok(read(&response, Body { framing, reader }))
}

/// std's own connect has no time limit: it would wait for ever for an agent that accepts nobody.
fn dial(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let limit = TimeVal::new(patience.as_secs().try_into().unwrap_or(1), 0);
    setsockopt(&socket, sockopt::SendTimeout, &limit)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(UnixStream::from(socket))
}

/// A stream that is waited for a turn long until [`CHUNK_BYTES`] more, or all of it, have come: silence and dribble end alike.
struct Patient {
    stream: UnixStream,
    turn: Duration,
    left: Duration,
    came: usize,
}

impl Patient {
    fn new(stream: UnixStream) -> Self {
        Self { stream, turn: Duration::ZERO, left: Duration::ZERO, came: 0 }
    }

    /// A turn begins; it and those that follow are so long.
    fn begin(&mut self, turn: Duration) {
        (self.turn, self.left, self.came) = (turn, turn, 0);
    }
}

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(self.left))?;
        // Only the wait counts, not what the disk takes meanwhile.
        let asked = Instant::now();
        let read = self.stream.read(buffer)?;
        self.left = self.left.saturating_sub(asked.elapsed());
        self.came = self.came.saturating_add(read);
        if self.came >= CHUNK_BYTES {
            self.begin(self.turn);
        }
        Ok(read)
    }
}

fn read_head(reader: &mut BufReader<Patient>, deadline: Instant) -> io::Result<Vec<u8>> {
    reader.get_mut().begin(deadline.saturating_duration_since(Instant::now()));
    let mut head = Vec::new();
    loop {
        let line_at = head.len();
        let room = HEAD_BYTES.saturating_sub(line_at) as u64;
        reader.by_ref().take(room).read_until(b'\n', &mut head)?;
        match head.get(line_at..) {
            Some(b"\r\n") => return Ok(head),
            Some([.., b'\n']) => {}
            _ if line_at == 0 && head.is_empty() => return Err(ErrorKind::UnexpectedEof.into()),
            _ => return Err(garbage("a head that does not end")),
        }
    }
}

/// The body of an answer; `read` returns 0 at its real end only, a cut is an error.
pub struct Body {
    framing: Framing,
    reader: BufReader<Patient>,
}

enum Framing {
    /// So many bytes are to come.
    Length(u64),
    /// So many bytes of this chunk are to come.
    Chunk { left: u64, first: bool },
    /// Nothing is to come: the last chunk has been read, or none was announced.
    Ended,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Framing::Chunk { left: 0, first } = self.framing {
            self.framing = self.next_chunk(first)?;
        }
        let left = match &mut self.framing {
            Framing::Length(left) | Framing::Chunk { left, .. } => left,
            Framing::Ended => return Ok(0),
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
        let left = chunk_size(&self.line()?).ok_or_else(|| garbage("an unreadable chunk size"))?;
        if left > 0 {
            return Ok(Framing::Chunk { left, first: false });
        }
        for _ in 0..TRAILER_LINES {
            if self.line()?.is_empty() {
                return Ok(Framing::Ended);
            }
        }
        Err(garbage("trailer fields without an end"))
    }

    /// One line without its CR LF. A line that stops in the middle is a cut.
    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        self.reader.by_ref().take(HEAD_BYTES as u64).read_until(b'\n', &mut line)?;
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
        let (status, mut body) =
            receive(ours, Instant::now() + Duration::from_secs(5), |head, body| (head.status, body))?;
        let mut bytes = Vec::new();
        body.read_to_end(&mut bytes)?;
        Ok((status, bytes))
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
    fn an_answer_that_can_be_read_in_two_ways_is_refused() {
        for wrong in [
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello".as_slice(),
            b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        ] {
            assert!(told(wrong).is_err(), "{}", String::from_utf8_lossy(wrong));
        }
    }
}
