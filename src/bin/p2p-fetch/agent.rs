//! What this program says to the agent and what the answers mean (design, section 8).
//!
//! Nothing that the agent does can make a fetch fail: no answer, a strange answer and a dead agent all mean "internet".

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};
use p2p_agent::content::ContentMd5;
use p2p_agent::http::{ContentRange, Response};
use p2p_agent::limits::SURVEY_IDS;

use crate::limits::{AGENT_HEAD_TIMEOUT, REPORT_TIMEOUT, RETRY_AFTER_MAX};
use crate::local_http::{Body, exchange};

/// The agent behind its socket.
#[derive(Clone)]
pub struct Agent {
    socket: PathBuf,
}

/// Its answer to a request for a content.
pub enum Reply {
    /// The bytes from `start` on are coming.
    Bytes {
        /// Offset of the first one; not larger than what was asked for.
        start: u64,
        /// Size of the whole content, when the agent knows it.
        size: Option<u64>,
        /// The bytes.
        body: Body,
    },
    /// The content is no longer than this: there is nothing to be had from the offset on.
    End,
    /// All local transfers are running.
    Busy {
        /// When to ask again.
        retry_after: Duration,
    },
    /// Take it from the internet, and why.
    Fetch {
        /// One word, for the summary.
        reason: String,
    },
    /// There is no agent, or it is none of ours, and why.
    Unusable {
        /// A few words, for the summary.
        why: String,
    },
}

/// What the agent wants after a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Go on downloading.
    Continue,
    /// Stop the download and ask for the content: another device fetches it already.
    Follow,
}

/// What is reported.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// `fetching`, `fetched`, `verify-failed` or `gone-wrong`.
    pub event: &'static str,
    /// End of the `.part`.
    pub offset: u64,
    /// Bytes from the internet since the last report.
    pub internet_bytes: u64,
    /// Size of the whole content, when known.
    pub size: Option<u64>,
}

/// The agent's socket is there, and this user may not use it: what a person has to mend, for it would cost the site a download each time.
pub fn is_forbidden(socket: &Path) -> bool {
    access(socket, AccessFlags::W_OK) == Err(Errno::EACCES)
}

impl Agent {
    /// The agent that listens there, if it does.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Asks for `name` from byte `offset` on.
    pub fn ask(&self, name: ContentMd5, offset: u64, size: Option<u64>) -> Reply {
        let size = size.map(|size| format!("&size={size}")).unwrap_or_default();
        let range = if offset > 0 { format!("Range: bytes={offset}-\r\n") } else { String::new() };
        let request = format!(
            "GET /v1/content/{name}?verify=client{size} HTTP/1.1\r\nHost: localhost\r\n{range}Connection: close\r\n\r\n"
        );
        let read = |head: &Response<'_>, body| read_reply(head, body, offset);
        exchange(&self.socket, request.as_bytes(), AGENT_HEAD_TIMEOUT, read)
            .unwrap_or_else(|error| Reply::Unusable { why: self.trouble(&error) })
    }

    /// Reports; `None` when the agent did not take it.
    pub fn report(&self, name: ContentMd5, report: &Report) -> Option<Advice> {
        let Report { event, offset, internet_bytes, size } = report;
        let size = size.map(|size| format!("&size={size}")).unwrap_or_default();
        let form = format!("content={name}&event={event}&offset={offset}&internet={internet_bytes}{size}");
        let request = format!(
            "POST /v1/report HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{form}",
            form.len()
        );
        let read = |head: &Response<'_>, _| match (head.status, head.header("P2P-Advice")) {
            (200, Some("follow")) => Some(Advice::Follow),
            (200, _) => Some(Advice::Continue),
            _ => None,
        };
        exchange(&self.socket, request.as_bytes(), REPORT_TIMEOUT, read).ok().flatten()
    }

    /// Names what will be wanted, so that the agent asks its neighbours about all of it at once. Without effect on the outcome.
    pub fn wanted(&self, names: impl Iterator<Item = ContentMd5>) {
        let form = names.take(SURVEY_IDS).map(|name| format!("content={name}")).collect::<Vec<_>>().join("&");
        let request = format!(
            "POST /v1/wanted HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{form}",
            form.len()
        );
        // Whoever does not know this is an older agent, or none.
        let _ = exchange(&self.socket, request.as_bytes(), REPORT_TIMEOUT, |_, _| ());
    }

    fn trouble(&self, error: &io::Error) -> String {
        let socket = self.socket.display();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => format!("no agent at {socket}"),
            io::ErrorKind::PermissionDenied => format!("no permission to use {socket}"),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => format!("the agent at {socket} does not answer"),
            io::ErrorKind::InvalidData => format!("the agent at {socket} sent {error}"),
            _ => format!("the agent at {socket} failed: {error}"),
        }
    }
}

fn read_reply(head: &Response<'_>, body: Body, offset: u64) -> Reply {
    let range = head.header("Content-Range").map(ContentRange::parse);
    let ends = head.chunked || head.content_length.is_some();
    match (head.status, range) {
        (200, _) if ends => Reply::Bytes { start: 0, size: head.content_length, body },
        // Without Content-Range: a chunked answer while the size is not known yet.
        (206, None) if ends => Reply::Bytes { start: offset, size: None, body },
        (206, Some(Some(ContentRange::Part { first, size, .. }))) if ends && first == offset => {
            Reply::Bytes { start: first, size, body }
        }
        (404, _) => Reply::Fetch { reason: word(head.header("P2P-Reason").unwrap_or("unknown")) },
        (416, Some(Some(ContentRange::Unsatisfied { size }))) if size <= offset => Reply::End,
        (503, _) => {
            let seconds = head.header("Retry-After").and_then(|seconds| seconds.parse().ok()).unwrap_or(1);
            Reply::Busy { retry_after: Duration::from_secs(seconds).min(RETRY_AFTER_MAX) }
        }
        (status, _) => {
            Reply::Unusable { why: format!("the agent gave an answer of status {status} that makes no sense") }
        }
    }
}

/// A word from outside that is fit for the terminal and for JSON.
fn word(text: &str) -> String {
    text.chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '-').take(32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_can_carry_no_control_characters() {
        assert_eq!(word("nobody-has-it"), "nobody-has-it");
        assert_eq!(word("\"},\x1b[2J"), "2J");
    }
}
