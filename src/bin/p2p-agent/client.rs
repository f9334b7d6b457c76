//! `status`, `explain` and their like, and `clock-guard`: one question to the running agent over its local API.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use p2p_agent::http::parse_response;

use crate::Failure;
use crate::cli::exit;

/// Longest answer that is believed; a table of 128 peers is 30 KiB.
const ANSWER_BYTES: u64 = 256 * 1024;
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks for `target` and returns what to print.
pub fn ask(socket: &Path, target: &str, json: bool) -> Result<String, Failure> {
    let nobody = |error: std::io::Error| {
        let socket = socket.display();
        let sentence = match error.kind() {
            std::io::ErrorKind::PermissionDenied => format!(
                "this user may not ask the agent at {socket}: use sudo, or add the user to the group that the socket belongs to (p2p)."
            ),
            _ => format!(
                "no agent answers at {socket} ({error}): is its service running, and may it (p2p-agent check --policy)? Another socket is named by --socket."
            ),
        };
        Failure::new(exit::UNAVAILABLE, sentence)
    };
    let accept = if json { "application/json" } else { "text/plain" };
    let mut answer = Vec::new();
    UnixStream::connect(socket)
        .and_then(|mut stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            write!(stream, "GET {target} HTTP/1.1\r\nHost: agent\r\nAccept: {accept}\r\nConnection: close\r\n\r\n")?;
            stream.take(ANSWER_BYTES).read_to_end(&mut answer)
        })
        // Who refuses at the door does not read the question, which resets the connection behind the answer.
        .or_else(|error| if answer.is_empty() { Err(nobody(error)) } else { Ok(0) })?;
    let Ok(Some(head)) = parse_response(&answer) else { return Err(strange(socket)) };
    let body = answer.get(head.head_bytes..).unwrap_or_default();
    let body = String::from_utf8(body.to_vec()).map_err(|_| strange(socket))?;
    if head.status == 200 { Ok(body) } else { Err(Failure::new(exit::DATA, body.trim_end())) }
}

/// Somebody answers there, in another language.
pub fn strange(socket: &Path) -> Failure {
    Failure::new(exit::DATA, format!("what answers at {} is not p2p-agent.", socket.display()))
}
