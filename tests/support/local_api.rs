//! A scripted local API: it says to the sync client what a test wants said, at the edges of the protocol. It is a fault
//! injector, no agent.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What the client asked.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `GET /v1/content/…` without the version.
    pub line: String,
    /// The first byte of its Range.
    pub first: Option<usize>,
    /// The form of a report.
    pub body: String,
}

impl Asked {
    /// Whether it is a report of this event.
    pub fn reports(&self, event: &str) -> bool {
        self.line.starts_with("POST /v1/report") && self.body.contains(&format!("&event={event}&"))
    }

    /// A number of a report.
    pub fn number(&self, field: &str) -> u64 {
        self.body.split('&').find_map(|pair| pair.strip_prefix(field)?.strip_prefix('=')?.parse().ok()).unwrap_or(0)
    }
}

/// A piece of an answer.
#[allow(dead_code)] // not every test says everything
pub enum Say {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Silence.
    Pause(Duration),
    /// These bytes again and again, with a pause behind each time, until the client has enough.
    Endless(Vec<u8>, Duration),
}

/// The answers; they end with the closing of the connection.
pub type Script = dyn Fn(&Asked) -> Vec<Say> + Send + Sync;

/// The server.
pub struct LocalApi {
    asked: Arc<Mutex<Vec<Asked>>>,
    socket: PathBuf,
}

impl LocalApi {
    /// Answers at `socket` according to the script.
    pub fn start(socket: &Path, script: impl Fn(&Asked) -> Vec<Say> + Send + Sync + 'static) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, script): (_, Arc<Script>) = (asked.clone(), Arc::new(script));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, script) = (log.clone(), script.clone());
                thread::spawn(move || serve(&stream, &log, &script));
            }
        });
        Self { asked, socket: socket.to_owned() }
    }

    /// Everything that was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The requests for content.
    pub fn requests(&self) -> Vec<Asked> {
        self.asked().into_iter().filter(|asked| asked.line.starts_with("GET /v1/content/")).collect()
    }

    /// The reports of an event.
    pub fn reports(&self, event: &str) -> Vec<Asked> {
        self.asked().into_iter().filter(|asked| asked.reports(event)).collect()
    }
}

impl Drop for LocalApi {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn serve(stream: &UnixStream, log: &Mutex<Vec<Asked>>, script: &Arc<Script>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut asked = Asked { line: String::new(), first: None, body: String::new() };
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let line = line.trim_end();
        match line.split_once(": ") {
            _ if asked.line.is_empty() => asked.line = line.trim_end_matches(" HTTP/1.1").to_owned(),
            _ if line.is_empty() => break,
            Some(("Range", range)) => {
                asked.first = range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok();
            }
            Some(("Content-Length", text)) => length = text.parse().ok()?,
            _ => {}
        }
    }
    reader.take(length).read_to_string(&mut asked.body).ok()?;
    log.lock().unwrap().push(asked.clone());
    for say in script(&asked) {
        match say {
            Say::Pause(span) => thread::sleep(span),
            Say::Endless(bytes, pause) => loop {
                (&*stream).write_all(&bytes).ok()?;
                thread::sleep(pause);
            },
            Say::Bytes(bytes) => (&*stream).write_all(&bytes).ok()?,
        }
    }
    Some(())
}

/// `404`, `P2P-Advice: fetch`.
pub fn fetch(reason: &str) -> Vec<Say> {
    text(&format!("HTTP/1.1 404 Not Found\r\nP2P-Advice: fetch\r\nP2P-Reason: {reason}\r\nContent-Length: 0\r\n\r\n"))
}

/// `200` to a report.
pub fn advice(advice: &str) -> Vec<Say> {
    text(&format!("HTTP/1.1 200 OK\r\nP2P-Advice: {advice}\r\nContent-Length: 0\r\n\r\n"))
}

/// Anything.
pub fn text(text: &str) -> Vec<Say> {
    vec![Say::Bytes(text.as_bytes().to_vec())]
}

/// `content` from the asked offset on, the connection cut after `bytes` of it.
pub fn relay(asked: &Asked, content: &[u8], bytes: usize) -> Vec<Say> {
    let (first, size) = (asked.first.unwrap_or(0), content.len());
    let body = &content[first..];
    let mut say = match asked.first {
        None => format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n"),
        Some(_) => format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {first}-{}/{size}\r\n\r\n",
            body.len(),
            size - 1
        ),
    }
    .into_bytes();
    say.extend_from_slice(&body[..bytes.min(body.len())]);
    vec![Say::Bytes(say)]
}

/// The same in chunks, without saying how much it is.
pub fn relay_chunked(asked: &Asked, content: &[u8]) -> Vec<Say> {
    let body = &content[asked.first.unwrap_or(0)..];
    let status = if asked.first.is_some() { "206 Partial Content" } else { "200 OK" };
    let mut say = format!("HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes();
    for chunk in body.chunks(10_000) {
        say.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        say.extend_from_slice(chunk);
        say.extend_from_slice(b"\r\n");
    }
    say.extend_from_slice(b"0\r\n\r\n");
    vec![Say::Bytes(say)]
}
