//! A little origin server: one file, HTTP/1.1 with Range, a rate limit shared by all connections (the uplink), and faults.
//!
//! The tests and `examples/site` share it.
#![allow(dead_code)] // neither uses all of it

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// What goes wrong with one response; they are used up in the order in which they were given.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Nothing.
    None,
    /// The connection ends after so many bytes of the body.
    CutAfter(usize),
    /// After so many bytes of the body nothing more comes.
    StallAfter(usize),
    /// Range is ignored: 200 and everything.
    NoRange,
    /// 206 with another range than the one asked for.
    WrongRange,
    /// Neither Content-Length nor chunks; the connection ends after so many bytes of the body.
    NoLengthCutAfter(usize),
    /// 200 and a page of a few words, whatever was asked for.
    Page,
    /// The same, neither with Content-Length nor in chunks.
    PageWithoutLength,
    /// To a Range: 416, as if the file had only so many bytes. Without one: a page.
    ShorterSaid(usize),
    /// Range is ignored: 200 and everything, neither with Content-Length nor in chunks.
    NoLengthNoRange,
    /// The file twice, neither with Content-Length nor in chunks.
    TooMuch,
    /// This status and nothing else.
    Status(u16),
    /// Redirected to the same file under another name.
    Redirect,
    /// The bytes of another file of the same size.
    WrongBytes,
}

/// The server; it ends with the value.
pub struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    content: Vec<u8>,
    bucket: Option<Bucket>,
    faults: Mutex<VecDeque<Fault>>,
    always: Mutex<Fault>,
    ranges: Mutex<Vec<Option<u64>>>,
    sent: AtomicU64,
    open: AtomicU32,
    stop: AtomicBool,
}

impl Origin {
    /// Serves `content` on a free port of the loopback, in all at `bytes_per_second` at most.
    pub fn start(content: Vec<u8>, bytes_per_second: Option<u64>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            content,
            bucket: bytes_per_second.map(Bucket::new),
            faults: Mutex::default(),
            always: Mutex::new(Fault::None),
            ranges: Mutex::default(),
            sent: AtomicU64::new(0),
            open: AtomicU32::new(0),
            stop: AtomicBool::new(false),
        });
        let server = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if server.stop.load(Relaxed) {
                    return;
                }
                let server = server.clone();
                thread::spawn(move || {
                    server.open.fetch_add(1, Relaxed);
                    let _ = server.serve(&stream); // a client that leaves is no error here
                    server.open.fetch_sub(1, Relaxed);
                });
            }
        });
        Self { address, shared }
    }

    /// Where the server is.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the file is.
    pub fn url(&self) -> String {
        format!("http://{}/content.bin", self.address)
    }

    /// The file.
    pub fn content(&self) -> &[u8] {
        &self.shared.content
    }

    /// Bytes of bodies sent so far.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Relaxed)
    }

    /// Connections that are open now.
    pub fn open(&self) -> u32 {
        self.shared.open.load(Relaxed)
    }

    /// The first byte that each request asked for; `None` without Range.
    pub fn ranges(&self) -> Vec<Option<u64>> {
        lock(&self.shared.ranges).clone()
    }

    /// The next response fails like this.
    pub fn fail_once(&self, fault: Fault) {
        lock(&self.shared.faults).push_back(fault);
    }

    /// All responses fail like this, when no other fault is due.
    pub fn fail_always(&self, fault: Fault) {
        *lock(&self.shared.always) = fault;
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        let _ = TcpStream::connect(self.address); // wakes the listener
    }
}

impl Shared {
    fn serve(&self, mut stream: &TcpStream) -> std::io::Result<()> {
        let mut first = None;
        for line in BufReader::new(stream).lines() {
            let line = line?.to_ascii_lowercase();
            if let Some(range) = line.strip_prefix("range: bytes=") {
                first = range.strip_suffix('-').and_then(|first| first.parse().ok());
            }
            if line.is_empty() {
                break;
            }
        }
        lock(&self.ranges).push(first);
        let fault = lock(&self.faults).pop_front().unwrap_or_else(|| lock(&self.always).clone());
        let start = match (&fault, first) {
            (Fault::NoRange | Fault::NoLengthNoRange, _) | (_, None) => 0,
            (Fault::WrongRange, Some(first)) => usize::try_from(first).unwrap_or(usize::MAX) / 2,
            (_, Some(first)) => usize::try_from(first).unwrap_or(usize::MAX),
        };
        let size = match fault {
            Fault::ShorterSaid(size) if start > 0 => size,
            _ => self.content.len(),
        };
        let Some(body) = self.content.get(start..size).filter(|body| start == 0 || !body.is_empty()) else {
            let head = format!("HTTP/1.1 416 No\r\nContent-Range: bytes */{size}\r\nContent-Length: 0\r\n");
            return write!(stream, "{head}Connection: close\r\n\r\n");
        };
        let page = b"<p>Please accept our terms.</p>".as_slice();
        let paged = matches!(fault, Fault::Page | Fault::PageWithoutLength | Fault::ShorterSaid(_));
        let (start, body) = if paged { (0, page) } else { (start, body) };
        let length = format!("Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        let head = match &fault {
            Fault::Status(status) => {
                return write!(stream, "HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
            Fault::Redirect => {
                let head = "HTTP/1.1 302 Found\r\nLocation: /elsewhere.bin\r\nContent-Length: 0\r\n";
                return write!(stream, "{head}Connection: close\r\n\r\n");
            }
            Fault::NoLengthCutAfter(_) | Fault::PageWithoutLength | Fault::NoLengthNoRange | Fault::TooMuch => {
                "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_owned()
            }
            _ if start > 0 => {
                format!("HTTP/1.1 206 Partial\r\nContent-Range: bytes {start}-{}/{size}\r\n{length}", size - 1)
            }
            _ => format!("HTTP/1.1 200 OK\r\n{length}"),
        };
        stream.write_all(head.as_bytes())?;
        match fault {
            Fault::CutAfter(bytes) | Fault::NoLengthCutAfter(bytes) => {
                self.send(stream, body.get(..bytes).unwrap_or(body))
            }
            Fault::StallAfter(bytes) => {
                self.send(stream, body.get(..bytes).unwrap_or(body))?;
                while !self.stop.load(Relaxed) && stream.peek(&mut [0]).is_err() {
                    thread::sleep(Duration::from_millis(50));
                }
                Ok(())
            }
            Fault::TooMuch => {
                self.send(stream, body)?;
                self.send(stream, &self.content)
            }
            Fault::WrongBytes => self.send(stream, &body.iter().map(|byte| !byte).collect::<Vec<_>>()),
            _ => self.send(stream, body),
        }
    }

    fn send(&self, mut stream: &TcpStream, body: &[u8]) -> std::io::Result<()> {
        for chunk in body.chunks(16 * 1024) {
            if let Some(bucket) = &self.bucket {
                bucket.take(chunk.len());
            }
            stream.write_all(chunk)?;
            self.sent.fetch_add(chunk.len() as u64, Relaxed);
        }
        Ok(())
    }
}

/// A token bucket in the form of the time at which the line is free again; who comes first is served first.
struct Bucket {
    bytes_per_second: u64,
    free_at: Mutex<Instant>,
}

impl Bucket {
    /// A late wake-up may be made up for to this extent: about what a modem buffers.
    const BURST: Duration = Duration::from_millis(30);

    fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), free_at: Mutex::new(Instant::now()) }
    }

    fn take(&self, bytes: usize) {
        let span = Duration::from_nanos(bytes as u64 * 1_000_000_000 / self.bytes_per_second);
        let sent_at = {
            let mut free_at = lock(&self.free_at);
            let earliest = Instant::now().checked_sub(Self::BURST).unwrap_or(*free_at);
            *free_at = (*free_at).max(earliest) + span;
            *free_at
        };
        thread::sleep(sent_at.saturating_duration_since(Instant::now()));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
