//! The internet: a web server that has every content, and counts what it gives away.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use md5::{Digest, Md5};
use nix::sys::socket::sockopt::TcpUserTimeout;
use p2p_agent::random::Random;

/// Some file that devices need.
pub struct Content {
    /// 32 hex digits.
    pub md5: String,
    /// All of it.
    pub bytes: Vec<u8>,
}

impl Content {
    /// `bytes` bytes that look like a compressed video: no two places alike. The same for the same `seed`.
    pub fn random(seed: u8, bytes: usize) -> Arc<Self> {
        let mut data = vec![0; bytes];
        Random::from_seed([seed; 16]).fill(&mut data);
        let md5 = Md5::digest(&data).iter().map(|byte| format!("{byte:02x}")).collect();
        Arc::new(Self { md5, bytes: data })
    }

    /// Its size.
    pub fn size(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// HTTP/1.1 with `Range: bytes=K-` and `bytes=K-L`; one request a connection.
pub struct Origin {
    base: String,
    shared: Arc<Shared>,
}

struct Shared {
    contents: Mutex<HashMap<String, Arc<Content>>>,
    requests: AtomicU64,
    body_bytes: AtomicU64,
    downloads: Mutex<Vec<Download>>,
    /// Before an answer.
    delay_ms: AtomicU64,
}

/// One request for a content, and what came of it.
#[derive(Clone, Debug)]
pub struct Download {
    /// Who.
    pub by: Ipv4Addr,
    /// Which.
    pub md5: String,
    /// From which byte on.
    pub from: u64,
    /// Bytes handed to the kernel so far; when it has ended, those that arrived.
    pub bytes: u64,
    /// When it was asked for.
    pub begun: Instant,
    /// When it ended, in whichever way.
    pub ended: Option<Instant>,
}

nix::ioctl_read_bad!(
    /// Bytes of a TCP socket that the other side has not acknowledged.
    unacknowledged_bytes,
    nix::libc::TIOCOUTQ,
    nix::libc::c_int
);

impl Origin {
    /// Listens at `address` in `namespace`.
    pub fn start(namespace: &super::namespace::Namespace, address: Ipv4Addr) -> Self {
        let shared = Arc::new(Shared {
            contents: Mutex::default(),
            requests: AtomicU64::new(0),
            body_bytes: AtomicU64::new(0),
            downloads: Mutex::default(),
            delay_ms: AtomicU64::new(0),
        });
        let listener = namespace.enter(|| TcpListener::bind((address, 80))).unwrap();
        let server = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = Arc::clone(&server);
                thread::spawn(move || server.serve(&stream));
            }
        });
        Self { base: format!("http://{address}"), shared }
    }

    /// From now on every answer takes so long: the origin has to get the content itself.
    pub fn set_delay(&self, delay: Duration) {
        self.shared.delay_ms.store(u64::try_from(delay.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// Publishes a content; its URL.
    pub fn publish(&self, content: &Arc<Content>) -> String {
        // The name of the MD5 is not in the URL: what a capture finds of it must have come from an agent.
        let mut contents = self.shared.contents.lock().unwrap();
        let path = format!("/video-{}.mp4", contents.len());
        contents.insert(path.clone(), Arc::clone(content));
        format!("{}{path}", self.base)
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Bytes of bodies handed to the kernel so far, without those that did not arrive because the client went away.
    pub fn body_bytes(&self) -> u64 {
        self.shared.body_bytes.load(Ordering::SeqCst)
    }

    /// Every request for a content so far.
    pub fn downloads(&self) -> Vec<Download> {
        self.shared.downloads.lock().unwrap().clone()
    }
}

impl Shared {
    /// A client that goes away in the middle is its own business.
    fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        let mut lines = BufReader::new(stream).lines();
        let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
        let mut range = None;
        for line in lines {
            let line = line?;
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':') {
                if name.eq_ignore_ascii_case("range") {
                    range = parse_range(value.trim());
                }
            }
        }
        self.requests.fetch_add(1, Ordering::SeqCst);
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let content = self.contents.lock().unwrap().get(path).map(Arc::clone);
        thread::sleep(Duration::from_millis(self.delay_ms.load(Ordering::SeqCst)));
        self.answer(stream, method, content.as_deref(), range)
    }

    fn answer(
        &self,
        mut stream: &TcpStream,
        method: &str,
        content: Option<&Content>,
        range: Option<(u64, Option<u64>)>,
    ) -> io::Result<()> {
        let Some(content) = content else {
            return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        };
        let size = content.size();
        let (from, last) = range.unwrap_or_default();
        let end = last.map_or(size, |last| last.saturating_add(1).min(size));
        if from >= end {
            return write!(
                stream,
                "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */{size}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
        }
        let status = match range {
            Some(_) => format!("206 Partial Content\r\nContent-Range: bytes {from}-{}/{size}", end - 1),
            None => "200 OK".to_owned(),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nAccept-Ranges: bytes\r\nConnection: close\r\n\r\n",
            end - from
        );
        stream.write_all(head.as_bytes())?;
        if method == "HEAD" {
            return Ok(());
        }
        // A client that lost its power says no goodbye.
        nix::sys::socket::setsockopt(&stream, TcpUserTimeout, &5_000)?;
        let number = self.note(stream, content, from);
        let sent = content.bytes[from as usize..end as usize].chunks(16 * 1024).try_for_each(|piece| {
            stream.write_all(piece)?;
            self.body_bytes.fetch_add(piece.len() as u64, Ordering::SeqCst);
            self.downloads.lock().unwrap()[number].bytes += piece.len() as u64;
            Ok(())
        });
        let mut downloads = self.downloads.lock().unwrap();
        let download = &mut downloads[number];
        download.ended = Some(Instant::now());
        if sent.is_err() {
            let mut lost = 0;
            // SAFETY: the socket is open, and the kernel writes one integer.
            unsafe { unacknowledged_bytes(stream.as_raw_fd(), &mut lost) }?;
            let lost = u64::try_from(lost).unwrap_or(0).min(download.bytes);
            download.bytes -= lost;
            self.body_bytes.fetch_sub(lost, Ordering::SeqCst);
        }
        sent
    }

    fn note(&self, stream: &TcpStream, content: &Content, from: u64) -> usize {
        let by = match stream.peer_addr().map(|address| address.ip()) {
            Ok(IpAddr::V4(address)) => address,
            _ => Ipv4Addr::UNSPECIFIED,
        };
        let mut downloads = self.downloads.lock().unwrap();
        let md5 = content.md5.clone();
        downloads.push(Download { by, md5, from, bytes: 0, begun: Instant::now(), ended: None });
        downloads.len() - 1
    }
}

/// First and last byte of what is wanted, the last one where it is said.
fn parse_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (first, last) = value.strip_prefix("bytes=")?.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()))
}
