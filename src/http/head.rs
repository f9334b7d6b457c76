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

#[cfg(test)]
mod tests {
    use std::string::String;

    use proptest::prelude::*;

    use super::*;
    use crate::http::{parse_request, parse_response};

    #[test]
    fn a_response_is_these_bytes() {
        let head = Head::<99>::response(206).field("Content-Length", 5).optional("P2P-Size", None::<u64>).finish();
        assert_eq!(head.unwrap(), b"HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\n\r\n");
    }

    #[test]
    fn a_request_is_these_bytes() {
        let head = Head::<99>::request("GET", "/a?b").field("Host", "x").finish();
        assert_eq!(head.unwrap(), b"GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n");
    }

    #[test]
    fn a_line_break_in_a_value_is_refused() {
        let with = |name, value| Head::<200>::response(200).field(name, value).finish();
        for value in ["a\r\nSet: b", "a\n", "\r", "\0", "\u{7f}", "ä"] {
            assert_eq!(with("Name", value), Err(HeadError::Forbidden), "{value:?}");
        }
        for name in ["", "A B", "A:", "A\r\nB", "Ä"] {
            assert_eq!(with(name, "a"), Err(HeadError::Forbidden), "{name:?}");
        }
        for target in ["", "/a b", "/a\r\n", "/ä"] {
            assert_eq!(Head::<200>::request("GET", target).finish(), Err(HeadError::Forbidden), "{target:?}");
        }
        assert_eq!(Head::<200>::request("G ET", "/").finish(), Err(HeadError::Forbidden));
        assert_eq!(Head::<200>::response(42).finish(), Err(HeadError::Forbidden));
    }

    #[test]
    fn a_head_that_is_a_byte_too_long_is_an_error_and_not_a_shorter_head() {
        fn short<const N: usize>() -> Result<usize, HeadError> {
            Head::<N>::response(200).field("A", "b").finish().map(|bytes| bytes.len())
        }
        assert_eq!(short::<25>(), Ok(25));
        assert_eq!(short::<24>(), Err(HeadError::Full));
        assert_eq!(short::<20>(), Err(HeadError::Full));
        assert_eq!(short::<0>(), Err(HeadError::Full));
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_back_as_one_head(name in "\\PC{0,8}|[a-z-]{1,8}", value in "[\\PC\r\n\t]{0,20}|[ -~]{0,20}") {
            let name: String = std::format!("X{name}");
            if let Ok(bytes) = Head::<200>::response(200).field(&name, &value).finish() {
                let response = parse_response(&bytes).unwrap().unwrap();
                prop_assert_eq!(response.header(&name), Some(value.trim_matches([' ', '\t'])));
                prop_assert_eq!(response.head_bytes, bytes.len());
            }
            if let Ok(bytes) = Head::<200>::request("GET", "/").field("Host", "a").field(&name, &value).finish() {
                prop_assert_eq!(parse_request(&bytes).unwrap().unwrap().head_bytes, bytes.len());
            }
        }
    }
}
