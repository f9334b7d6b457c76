//! What the local client gets to see: heads, bodies that end cleanly only when all is well, and problems in one sentence.

use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use async_io::Async;
use p2p_agent::http::{ContentRange, Head};
use p2p_agent::limits::LOCAL_STALL;
use p2p_agent::want::Reason;
use smol::io::AsyncWriteExt as _;

use crate::stream::{Watchdog, send};

/// Why a request is not answered with what it asked for.
#[derive(Clone, Debug)]
pub enum Problem {
    /// Take it from the internet.
    Fetch(Reason),
    /// The range starts behind the end of a content of this size.
    BeyondEnd(u64),
    /// Four local responses are under way.
    AllRelaysBusy,
    /// Another client gets this content and does not keep it in the content directory.
    ServedElsewhere,
    /// The first bytes of a ranged request are not in the content directory.
    CannotVerify,
    /// The first bytes of a ranged request are those of a whole that was not the content.
    WrongPrefix,
    /// Sixteen local connections are open.
    TooManyConnections,
    /// No such resource.
    NoSuchPath,
    /// Not this method there.
    Method(&'static str),
    /// Something in the request is wrong; the sentence says what.
    Bad(&'static str),
    /// Not a request at all.
    Refused(p2p_agent::http::Refusal),
}

impl Problem {
    fn status(&self) -> u16 {
        match self {
            Self::Fetch(_) | Self::NoSuchPath => 404,
            Self::BeyondEnd(_) => 416,
            Self::AllRelaysBusy | Self::ServedElsewhere | Self::TooManyConnections => 503,
            Self::CannotVerify | Self::WrongPrefix | Self::Bad(_) => 400,
            Self::Method(_) => 405,
            Self::Refused(refusal) => refusal.status(),
        }
    }

    fn sentence(&self) -> &'static str {
        match self {
            Self::Fetch(reason) => reason.sentence(),
            Self::BeyondEnd(_) => "The range starts at or behind the end of the content; there is nothing left to get.",
            Self::AllRelaysBusy => "Four local transfers are running; ask again in a moment.",
            Self::ServedElsewhere => {
                "Another local client is getting this content outside the content directory; ask again in a moment."
            }
            Self::CannotVerify => {
                "To verify from the middle the agent needs the first bytes as <md5>.part in its content directory; \
                 put them there or add ?verify=client and check the MD5 yourself."
            }
            Self::WrongPrefix => {
                "What <md5>.part holds came whole and does not match the MD5: remove the file and begin from the first byte."
            }
            Self::TooManyConnections => "Sixteen local connections are open; ask again in a moment.",
            Self::NoSuchPath => {
                "There are /v1/content/<md5>, /v1/wanted, /v1/report, /v1/status, /v1/recent, /v1/peers, /v1/clock, /v1/explain/<md5> and /metrics."
            }
            Self::Method(allowed) => match *allowed {
                "POST" => "This takes POST.",
                _ => "This takes GET.",
            },
            Self::Bad(sentence) => sentence,
            Self::Refused(_) => "This is not a well-formed HTTP/1.1 request of at most 2 KiB.",
        }
    }
}

/// Room for the heads of this side; the longest is under 300 bytes.
type LocalHead = Head<512>;

/// Says what is wrong, and ends the connection.
pub async fn fail(stream: &mut Async<UnixStream>, problem: &Problem) -> io::Result<()> {
    let sentence = problem.sentence();
    let head = LocalHead::response(problem.status())
        .field("Content-Type", "text/plain")
        .field("Content-Length", sentence.len() + 1)
        .field("Connection", "close");
    let head = match problem {
        Problem::Fetch(reason) => head.field("P2P-Advice", "fetch").field("P2P-Reason", reason.as_str()),
        Problem::BeyondEnd(size) => head.field("Content-Range", ContentRange::Unsatisfied { size: *size }),
        Problem::AllRelaysBusy | Problem::ServedElsewhere | Problem::TooManyConnections => head.field("Retry-After", 1),
        Problem::Method(allowed) => head.field("Allow", allowed),
        _ => head,
    };
    let mut message = head.finish().map_err(|_| io::ErrorKind::InvalidInput)?.to_vec();
    message.extend_from_slice(sentence.as_bytes());
    message.push(b'\n');
    send(stream, &message, LOCAL_STALL).await
}

/// Sends a small complete answer.
pub async fn answer(
    stream: &mut Async<UnixStream>,
    content_type: &str,
    extra: Option<(&str, &str)>,
    body: &[u8],
) -> io::Result<()> {
    let head = LocalHead::response(200).field("Content-Type", content_type).field("Content-Length", body.len());
    let head = match extra {
        Some((name, value)) => head.field(name, value),
        None => head,
    };
    let mut message = head.finish().map_err(|_| io::ErrorKind::InvalidInput)?.to_vec();
    message.extend_from_slice(body);
    send(stream, &message, LOCAL_STALL).await
}

/// The body of a content: by length where the size is known, in chunks (RFC 9112 section 7.1) where not.
pub struct Body {
    offset: u64,
    ranged: bool,
    framing: Framing,
    finished: bool,
    watchdog: Watchdog,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    NotBegun,
    Length,
    Chunks,
}

impl Body {
    /// A body from `offset` on; `ranged` when the request had a Range.
    pub fn new(offset: u64, ranged: bool) -> Self {
        Self { offset, ranged, framing: Framing::NotBegun, finished: false, watchdog: Watchdog::default() }
    }

    /// Whether the head is out, so that only the connection can say what is wrong.
    pub fn is_begun(&self) -> bool {
        self.framing != Framing::NotBegun
    }

    /// Whether the body ended cleanly.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Sends the head, once.
    pub async fn begin(&mut self, stream: &mut Async<UnixStream>, size: Option<u64>) -> io::Result<()> {
        if self.is_begun() {
            return Ok(());
        }
        let range = size.and_then(|size| ContentRange::rest(self.offset, size));
        let partial = self.ranged && (range.is_some() || self.offset > 0);
        let head = LocalHead::response(if partial { 206 } else { 200 })
            .field("Content-Type", "application/octet-stream")
            .field("Connection", "close")
            .optional("Content-Range", range.filter(|_| partial));
        let head = match size {
            Some(size) => head.field("Content-Length", size.saturating_sub(self.offset)),
            None => head.field("Transfer-Encoding", "chunked"),
        };
        self.framing = if size.is_some() { Framing::Length } else { Framing::Chunks };
        let head = head.finish().map_err(|_| io::ErrorKind::InvalidInput)?;
        send(stream, &head, LOCAL_STALL).await
    }

    /// Sends some bytes of the content.
    pub async fn write(&mut self, stream: &mut Async<UnixStream>, data: &[u8]) -> io::Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        if self.framing == Framing::Chunks {
            self.send(stream, format!("{:x}\r\n", data.len()).as_bytes()).await?;
        }
        self.send(stream, data).await?;
        if self.framing == Framing::Chunks {
            self.send(stream, b"\r\n").await?;
        }
        Ok(())
    }

    /// Ends the body cleanly: the content is complete and right.
    pub async fn finish(&mut self, stream: &mut Async<UnixStream>) -> io::Result<()> {
        if self.framing == Framing::Chunks {
            self.send(stream, b"0\r\n\r\n").await?;
        }
        stream.flush().await?;
        self.finished = true;
        Ok(())
    }

    async fn send(&mut self, stream: &mut Async<UnixStream>, bytes: &[u8]) -> io::Result<()> {
        self.watchdog.limit(LOCAL_STALL, stream.write_all(bytes)).await
    }
}

/// Resolves when the client has hung up. A client that only sends more does not count.
pub async fn client_gone(stream: &Async<UnixStream>) {
    loop {
        if stream.readable().await.is_err() {
            return;
        }
        match peek(stream) {
            Ok(0) => return,
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
            // Bytes are waiting and will wait on; look again in a while instead of spinning.
            _ => _ = async_io::Timer::after(Duration::from_millis(200)).await,
        }
    }
}

fn peek(stream: &Async<UnixStream>) -> io::Result<usize> {
    use nix::sys::socket::{MsgFlags, recv};
    use std::os::fd::AsRawFd as _;
    Ok(recv(stream.as_raw_fd(), &mut [0; 1], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT)?)
}
