//! Packet sockets (packet(7)), and the ring of frames that one shares with the kernel: a plain socket's queue is smaller than
//! what two busy cores need to lose nothing.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, setsockopt, socket, sockopt};
use nix::sys::time::TimeVal;

/// Holds what the stack hands over before it is cut into segments: 64 KiB and headers. A multiple of the page size.
const FRAME: usize = 68 << 10;
const FRAMES: usize = 1_024;

/// Frames that the kernel has written and nobody has read, oldest first.
pub struct Ring {
    socket: OwnedFd,
    memory: *mut u8,
}

// SAFETY: the memory belongs to this value alone; the kernel's side of it is synchronised by each frame's status.
unsafe impl Send for Ring {}

impl Ring {
    /// Gives a packet socket its ring.
    pub fn new(socket: OwnedFd) -> Self {
        let (size, number) = (FRAME as u32, FRAMES as u32);
        let request =
            libc::tpacket_req { tp_block_size: size, tp_block_nr: number, tp_frame_size: size, tp_frame_nr: number };
        set(&socket, libc::PACKET_RX_RING, &request);
        // SAFETY: a new mapping, of the size just asked for, of a descriptor that is open.
        let memory = unsafe {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(std::ptr::null_mut(), FRAME * FRAMES, access, libc::MAP_SHARED, socket.as_raw_fd(), 0)
        };
        assert_ne!(memory, libc::MAP_FAILED, "{}", io::Error::last_os_error());
        Self { socket, memory: memory.cast() }
    }

    /// All frames until `over` is set and no more come; panics when the kernel had to drop one.
    pub fn collect(self, over: &AtomicBool) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        loop {
            match self.take(frames.len() % FRAMES) {
                Some(frame) => frames.push(frame),
                None => {
                    let was_over = over.load(Ordering::SeqCst);
                    let mut ready = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
                    if poll(&mut ready, PollTimeout::from(100u8)).unwrap() == 0 && was_over {
                        break;
                    }
                }
            }
        }
        assert_eq!(dropped(&self.socket), 0, "the capture missed frames");
        frames
    }

    fn take(&self, index: usize) -> Option<Vec<u8>> {
        let user = libc::c_ulong::from(libc::TP_STATUS_USER);
        // SAFETY: `index` is inside the ring. A frame whose status says so is ours until its status is set back: its
        // header and the bytes that its header tells of are initialised and inside the frame.
        unsafe {
            let start = self.memory.add(index * FRAME);
            let header: *mut libc::tpacket_hdr = start.cast();
            let status = &raw mut (*header).tp_status;
            if status.read_volatile() & user == 0 {
                return None;
            }
            fence(Ordering::Acquire);
            let (from, length) = (usize::from((*header).tp_mac), (*header).tp_snaplen as usize);
            assert!(length == (*header).tp_len as usize && from + length <= FRAME, "a frame of {length} bytes was cut");
            let frame = std::slice::from_raw_parts(start.add(from), length).to_vec();
            fence(Ordering::Release);
            status.write_volatile(libc::c_ulong::from(libc::TP_STATUS_KERNEL));
            Some(frame)
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this size, and no reference into it is left.
        unsafe { libc::munmap(self.memory.cast(), FRAME * FRAMES) };
    }
}

/// A packet socket at one interface, or at all.
pub fn open(interface: Option<&str>) -> OwnedFd {
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll).unwrap();
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(0, 100_000)).unwrap();
    // Each frame once: where it enters.
    let one: libc::c_int = 1;
    set(&socket, libc::PACKET_IGNORE_OUTGOING, &one);
    if let Some(interface) = interface {
        bind(&socket, interface);
    }
    socket
}

fn set<T: Copy>(socket: &OwnedFd, option: libc::c_int, value: &T) {
    // SAFETY: the kernel reads the value's own size from it, while it is borrowed.
    let set = unsafe {
        let length = size_of_val(value) as libc::socklen_t;
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, option, (&raw const *value).cast(), length)
    };
    assert_eq!(set, 0, "packet socket option {option}: {}", io::Error::last_os_error());
}

fn bind(socket: &OwnedFd, interface: &str) {
    let index = nix::net::if_::if_nametoindex(interface).unwrap();
    // SAFETY: all zeros is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = index as i32;
    // SAFETY: the address is a sockaddr_ll of the length given, and lives as long as the call.
    let bound = unsafe {
        let length = size_of_val(&address) as libc::socklen_t;
        libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length)
    };
    assert_eq!(bound, 0, "{interface}: {}", io::Error::last_os_error());
}

/// Frames that did not fit the socket's queue.
fn dropped(socket: &OwnedFd) -> u32 {
    let mut statistics = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let mut length = size_of_val(&statistics) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into the structure that this option is for.
    let got = unsafe {
        let value = (&raw mut statistics).cast();
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_STATISTICS, value, &mut length)
    };
    assert_eq!(got, 0, "PACKET_STATISTICS: {}", io::Error::last_os_error());
    statistics.tp_drops
}
