//! HTTP/1.1 heads (RFC 9110, RFC 9112), for peers and for the local interface: a strict layer over `httparse`.
//!
//! Where two readers of one head could disagree about where it ends or what follows it, it is refused: bare CR or LF, folded
//! lines, control characters, anything but ASCII, repeated fields that may stand only once, a length next to a transfer
//! coding, transfer codings on requests. An incomplete head consumes nothing; a complete one says how many bytes it was, and
//! the next one is parsed from there.

mod chunk;
mod fields;
mod head;
mod range;

use core::fmt;

use crate::limits::{HEAD_BYTES, HEADER_FIELDS};
pub use chunk::chunk_size;
use fields::Fields;
pub use fields::decimal;
pub use head::{Head, HeadError};
pub use range::{ContentRange, Range, RangeError};

/// Why a head was refused. After any of these the connection cannot be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not an HTTP/1 head, or one that could be read in two ways.
    Malformed,
    /// More than [`HEAD_BYTES`] or [`HEADER_FIELDS`].
    TooLarge,
    /// A transfer coding that is not understood here.
    Coding,
    /// Another major version.
    Version,
}

impl Refusal {
    /// The status to answer with.
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::TooLarge => 431,
            Self::Coding => 501,
            Self::Version => 505,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "not a well-formed HTTP/1.1 head",
            Self::TooLarge => "a head of too many bytes or fields",
            Self::Coding => "a transfer coding that is not understood",
            Self::Version => "not HTTP/1.0 or HTTP/1.1",
        })
    }
}

impl core::error::Error for Refusal {}

impl From<httparse::Error> for Refusal {
    fn from(error: httparse::Error) -> Self {
        match error {
            httparse::Error::TooManyHeaders => Self::TooLarge,
            httparse::Error::Version => Self::Version,
            _ => Self::Malformed,
        }
    }
}

/// Head of a request.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// As sent; methods are case-sensitive.
    pub method: &'a str,
    /// Path and query; of a target in absolute form the part behind the authority.
    pub target: &'a str,
    /// Bytes from the start of the buffer to the end of the head.
    pub head_bytes: usize,
    /// Bytes of body that follow, where said; none otherwise.
    pub content_length: Option<u64>,
    /// Whether the connection may be used for another request.
    pub keep_alive: bool,
    fields: Fields<'a>,
}

impl<'a> Request<'a> {
    /// Value of the first field of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.fields.first(name)
    }

    /// What the request's `Range` asks for; `None` without one.
    pub fn range(&self) -> Option<Result<Range, RangeError>> {
        self.header("range").map(Range::parse)
    }
}

/// Head of a response.
#[derive(Clone, Debug)]
pub struct Response<'a> {
    /// 100 to 599.
    pub status: u16,
    /// Bytes from the start of the buffer to the end of the head.
    pub head_bytes: usize,
    /// Bytes of body, where said (for a response to HEAD: of the body that is not sent).
    pub content_length: Option<u64>,
    /// Whether the body comes in chunks (RFC 9112 section 7.1). Neither this nor a length: it ends with the connection.
    pub chunked: bool,
    /// Whether the connection may be used for another request.
    pub keep_alive: bool,
    fields: Fields<'a>,
}

impl<'a> Response<'a> {
    /// Value of the first field of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.fields.first(name)
    }
}

/// Reads the first request head in `buf`; `None` when it is still incomplete.
pub fn parse_request(buf: &[u8]) -> Result<Option<Request<'_>>, Refusal> {
    // RFC 9112 section 2.2: one empty line in front of a request is forgiven. Half of one may become one.
    if buf == b"\r" {
        return Ok(None);
    }
    let (skipped, rest) = buf.strip_prefix(b"\r\n").map_or((0, buf), |rest| (2, rest));
    let Some(head) = complete_head(rest)? else { return Ok(None) };
    let mut slots = [httparse::EMPTY_HEADER; HEADER_FIELDS];
    let mut raw = httparse::Request::new(&mut slots);
    if raw.parse(head)? != httparse::Status::Complete(head.len()) {
        return Err(Refusal::Malformed);
    }
    let (Some(method), Some(target), Some(minor)) = (raw.method, raw.path, raw.version) else {
        return Err(Refusal::Malformed);
    };
    let fields = Fields::new(raw.headers)?;
    if fields.has("transfer-encoding") {
        return Err(Refusal::Coding);
    }
    // RFC 9112 section 3.2: exactly one in HTTP/1.1 (a second one is refused with all repeated fields).
    match fields.first("host") {
        Some(host) if host.contains([' ', '\t', ',', '/', '?', '#', '@']) => return Err(Refusal::Malformed),
        None if minor > 0 => return Err(Refusal::Malformed),
        _ => {}
    }
    Ok(Some(Request {
        method,
        target: origin_form(target).ok_or(Refusal::Malformed)?,
        head_bytes: skipped + head.len(),
        content_length: fields.content_length()?,
        keep_alive: minor > 0 && !fields.asks_to_close(),
        fields,
    }))
}

/// Reads the response head at the start of `buf`; `None` when it is still incomplete.
pub fn parse_response(buf: &[u8]) -> Result<Option<Response<'_>>, Refusal> {
    let Some(head) = complete_head(buf)? else { return Ok(None) };
    let mut slots = [httparse::EMPTY_HEADER; HEADER_FIELDS];
    let mut raw = httparse::Response::new(&mut slots);
    if raw.parse(head)? != httparse::Status::Complete(head.len()) {
        return Err(Refusal::Malformed);
    }
    let (Some(status @ 100..=599), Some(minor)) = (raw.code, raw.version) else { return Err(Refusal::Malformed) };
    let fields = Fields::new(raw.headers)?;
    let content_length = fields.content_length()?;
    let chunked = match fields.first("transfer-encoding") {
        None => false,
        Some(coding) if coding.eq_ignore_ascii_case("chunked") && minor > 0 => true,
        Some(_) => return Err(Refusal::Coding),
    };
    if chunked && content_length.is_some() {
        return Err(Refusal::Malformed);
    }
    let keep_alive = minor > 0 && !fields.asks_to_close();
    Ok(Some(Response { status, head_bytes: head.len(), content_length, chunked, keep_alive, fields }))
}

/// The bytes up to and with the first empty line, once it is there.
fn complete_head(buf: &[u8]) -> Result<Option<&[u8]>, Refusal> {
    let within = buf.get(..HEAD_BYTES).unwrap_or(buf);
    let end = within.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
    let head = end.and_then(|end| within.get(..end));
    check_lines(head.unwrap_or(within))?;
    if head.is_none() && buf.len() >= HEAD_BYTES {
        return Err(Refusal::TooLarge);
    }
    Ok(head)
}

/// Lines end in CR LF and nothing else, none is folded or in front empty, and all of it is printable ASCII. Holds for every
/// prefix of a good head, so that nonsense is refused before its end.
fn check_lines(head: &[u8]) -> Result<(), Refusal> {
    // As if a line had ended here.
    let mut before = b'\n';
    for &byte in head {
        let good = match (before, byte) {
            (b'\r', _) => byte == b'\n',
            (_, b'\n') | (b'\n', b' ' | b'\t') => false,
            (_, b'\r' | b'\t' | b' '..=b'~') => true,
            _ => false,
        };
        if !good {
            return Err(Refusal::Malformed);
        }
        before = byte;
    }
    if head.first() == Some(&b'\r') { Err(Refusal::Malformed) } else { Ok(()) }
}

/// RFC 9112 section 3.2: origin form as it is, absolute form without its authority, `*` for OPTIONS.
fn origin_form(target: &str) -> Option<&str> {
    if target.starts_with('/') || target == "*" {
        return Some(target);
    }
    let scheme = target.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://"))?;
    let rest = target.get(scheme.len()..)?;
    match rest.find(['/', '?']) {
        Some(at) if rest.get(at..)?.starts_with('/') => rest.get(at..),
        Some(_) => None,
        None => Some("/"),
    }
}

#[cfg(test)]
mod tests;
