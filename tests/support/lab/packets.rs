//! Frames on the wire: watched at the switch, or changed on their way by somebody in the cable.

use std::collections::HashSet;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use nix::sys::socket::{MsgFlags, recv, send};

use super::device::Device;
use super::namespace::Namespace;
use super::ring::{Ring, open};
use super::site::Lan;

const ETHERNET: usize = 14;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Where agents serve content.
const PORT: u16 = 11_111;
/// A segment with more than this is content; heads are shorter.
const CONTENT_SEGMENT: usize = 1_000;

/// Everything that passes through a switch, from `start` to `stop`.
pub struct Capture {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Vec<u8>>>,
}

impl Capture {
    /// Starts to listen at all ports.
    pub fn start(switch: &Namespace) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ring = switch.enter(|| Ring::new(open(None)));
        let stop = Arc::clone(&over);
        let thread = std::thread::spawn(move || ring.collect(&stop));
        Self { over, thread }
    }

    /// All frames.
    pub fn stop(self) -> Frames {
        self.over.store(true, Ordering::SeqCst);
        Frames(self.thread.join().unwrap())
    }
}

/// What was captured.
pub struct Frames(Vec<Vec<u8>>);

impl Frames {
    /// Bytes in all of them.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// How many contain these bytes.
    pub fn with(&self, bytes: &[u8]) -> usize {
        self.0.iter().filter(|frame| frame.windows(bytes.len()).any(|window| window == bytes)).count()
    }

    /// How many contain 32 consecutive bytes of `content`, from anywhere in it (and some with as few as 16).
    pub fn with_piece_of(&self, content: &[u8]) -> usize {
        // Any 32 consecutive bytes cover one whole block of 16.
        let blocks: HashSet<&[u8]> = content.chunks_exact(16).collect();
        // A table of block beginnings sorts out nearly all windows without hashing them.
        let beginning = |bytes: &[u8]| usize::from(bytes[0]) << 16 | usize::from(bytes[1]) << 8 | usize::from(bytes[2]);
        let mut begins = vec![false; 1 << 24];
        blocks.iter().for_each(|block| begins[beginning(block)] = true);
        let holds =
            |frame: &&Vec<u8>| frame.windows(16).any(|window| begins[beginning(window)] && blocks.contains(window));
        self.0.iter().filter(holds).count()
    }
}

/// Somebody in the cable of a device who changes one byte of every large segment that comes from port 11111 of it, and
/// puts the checksum right.
pub struct Flipper {
    flipped: Arc<AtomicU64>,
    passed: Arc<AtomicU64>,
}

impl Flipper {
    /// Cuts the cable between `device` and `lan` and gets in between.
    pub fn insert(device: &Device, lan: &mut Lan) -> Self {
        let wire = Namespace::new();
        lan.switch.ip(&format!("link delete {}", device.port));
        let port = lan.socket();
        let host = device.address.octets()[3];
        device.namespace.ip(&format!("link add name eth0 type veth peer name device netns {}", wire.path()));
        lan.switch.ip(&format!("link add name {port} type veth peer name switch netns {}", wire.path()));
        // Whole segments, not the 64 KiB that the stack would hand over.
        device.namespace.ip("link set eth0 gso_max_segs 1");
        lan.switch.ip(&format!("link set {port} gso_max_segs 1"));
        wire.ip("link set device up");
        wire.ip("link set switch up");
        lan.connect(&port);

        let (flipped, passed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let counters = (Arc::clone(&flipped), Arc::clone(&passed));
        let (out_of_device, into_device) = wire.enter(|| {
            let [device, switch] = ["device", "switch"].map(|name| Arc::new(open(Some(name))));
            ((Arc::clone(&device), Arc::clone(&switch)), (switch, device))
        });
        std::thread::spawn(move || {
            forward(&out_of_device.0, &out_of_device.1, |frame| {
                if let Some(payload) = content_of(frame) {
                    counters.1.fetch_add(payload.len() as u64, Ordering::SeqCst);
                    payload[payload.len() / 2] ^= 0x10;
                    counters.0.fetch_add(1, Ordering::SeqCst);
                }
            });
        });
        std::thread::spawn(move || forward(&into_device.0, &into_device.1, |_| {}));

        device.namespace.ip(&format!("address add {}/24 broadcast + dev eth0", lan.address(host)));
        device.namespace.ip("link set eth0 up");
        device.namespace.ip(&format!("route replace default via {}", lan.address(1)));
        Self { flipped, passed }
    }

    /// Bytes changed so far.
    pub fn flipped(&self) -> u64 {
        self.flipped.load(Ordering::SeqCst)
    }

    /// Bytes of the segments in which one was changed.
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::SeqCst)
    }
}

fn forward(from: &OwnedFd, to: &OwnedFd, mut change: impl FnMut(&mut [u8])) {
    let mut buffer = vec![0; 1 << 17];
    loop {
        match recv(from.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(length) => {
                let frame = &mut buffer[..length];
                change(frame);
                finish_checksum(frame);
                // A full queue loses frames, as queues do.
                let _ = send(to.as_raw_fd(), frame, MsgFlags::empty());
            }
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => {}
            // The link goes away when the scenario ends.
            Err(_) => return,
        }
    }
}

/// The payload of a large TCP segment from port 11111.
fn content_of(frame: &mut [u8]) -> Option<&mut [u8]> {
    let (start, protocol) = transport(frame)?;
    let end = ETHERNET + usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    let segment = frame.get_mut(start..end)?;
    if protocol != TCP || u16::from_be_bytes([*segment.first()?, *segment.get(1)?]) != PORT {
        return None;
    }
    let header = usize::from(*segment.get(12)? >> 4) * 4;
    segment.get_mut(header..).filter(|payload| payload.len() >= CONTENT_SEGMENT)
}

/// Where an IPv4 frame's TCP or UDP header starts, and which of them it is.
fn transport(frame: &[u8]) -> Option<(usize, u8)> {
    let &protocol = frame.get(ETHERNET + 9)?;
    let is_ipv4 = frame[12..14] == [8, 0];
    (is_ipv4 && matches!(protocol, TCP | UDP)).then_some((ETHERNET + usize::from(frame[ETHERNET] & 15) * 4, protocol))
}

/// Computes the checksum that the sender's stack left to its network card (RFC 9293 section 3.1, RFC 768).
fn finish_checksum(frame: &mut [u8]) {
    let Some((start, protocol)) = transport(frame) else { return };
    let end = ETHERNET + usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    let at = start + if protocol == TCP { 16 } else { 6 };
    if end > frame.len() || at + 2 > end {
        return;
    }
    frame[at..at + 2].fill(0);
    let mut sum = u64::from(protocol) + (end - start) as u64;
    for range in [ETHERNET + 12..ETHERNET + 20, start..end] {
        for pair in frame[range].chunks(2) {
            sum += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    frame[at..at + 2].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}
