//! Writes heads. Whatever would not fit, or would end a line early, makes the whole head an error.

use core::fmt::{self, Write};

use heapless::Vec;

/// Why a head could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// It is longer than its buffer.
    Full,
    /// A name, target or value holds a byte that must not stand there: CR and LF first of all.
    Forbidden,
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "a head that does not fit its buffer",
            Self::Forbidden => "a head with a forbidden character",
        })
    }
}

impl core::error::Error for HeadError {}

/// A head of at most `N` bytes in the making; errors show in [`Head::finish`].
#[must_use]
#[derive(Debug)]
pub struct Head<const N: usize> {
    bytes: Vec<u8, N>,
    error: Option<HeadError>,
}

impl<const N: usize> Head<N> {
    /// Starts a response with its status line.
    pub fn response(status: u16) -> Self {
        let mut head = Self { bytes: Vec::new(), error: None };
        if !(100..=599).contains(&status) {
            head.fail(HeadError::Forbidden);
        }
        head.push(format_args!("HTTP/1.1 {status} {}", reason(status)), is_text);
        head.end_line()
    }

    /// Starts a request with its request line.
    pub fn request(method: &str, target: impl fmt::Display) -> Self {
        let mut head = Self { bytes: Vec::new(), error: None };
        head.push_token(method);
        head.push(' ', is_text);
        let start = head.bytes.len();
        head.push(target, |byte| byte.is_ascii_graphic());
        if head.bytes.len() == start {
            head.fail(HeadError::Forbidden);
        }
        head.push(" HTTP/1.1", is_text);
        head.end_line()
    }

    /// Adds a field.
    pub fn field(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.push_token(name);
        self.push(": ", is_text);
        self.push(value, is_text);
        self.end_line()
    }

    /// Adds a field when there is a value for it.
    pub fn optional(self, name: &str, value: Option<impl fmt::Display>) -> Self {
        match value {
            Some(value) => self.field(name, value),
            None => self,
        }
    }

    /// Ends the head: its bytes, or the first thing that went wrong.
    pub fn finish(self) -> Result<Vec<u8, N>, HeadError> {
        let done = self.end_line();
        done.error.map_or(Ok(done.bytes), Err)
    }

    fn push_token(&mut self, token: &str) {
        if token.is_empty() {
            self.fail(HeadError::Forbidden);
        }
        self.push(token, is_token);
    }

    fn push(&mut self, text: impl fmt::Display, is_allowed: fn(u8) -> bool) {
        if write!(Checked { head: self, is_allowed }, "{text}").is_err() {
            // Only a `Display` that fails by itself comes here without an error of ours.
            self.fail(HeadError::Forbidden);
        }
    }

    fn end_line(mut self) -> Self {
        if self.bytes.extend_from_slice(b"\r\n").is_err() {
            self.fail(HeadError::Full);
        }
        self
    }

    fn fail(&mut self, error: HeadError) {
        self.error.get_or_insert(error);
    }
}

struct Checked<'a, const N: usize> {
    head: &'a mut Head<N>,
    is_allowed: fn(u8) -> bool,
}

impl<const N: usize> fmt::Write for Checked<'_, N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if !text.bytes().all(self.is_allowed) {
            self.head.fail(HeadError::Forbidden);
            return Err(fmt::Error);
        }
        self.head.bytes.extend_from_slice(text.as_bytes()).map_err(|_| {
            self.head.fail(HeadError::Full);
            fmt::Error
        })
    }
}

fn is_text(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~')
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The usual words for the statuses that are sent; readers ignore them.
const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        416 => "Range Not Satisfiable",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
