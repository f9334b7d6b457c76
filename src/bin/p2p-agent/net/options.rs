//! Socket options, each a safe function of one system call. Numbers that `nix` does not name come from the kernel's
//! asm-generic headers, which x86, ARM (32 and 64 bit) and RISC-V share.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::libc::{self, c_int, sock_filter, sock_fprog};
use nix::sys::socket::{setsockopt, sockopt};

use p2p_agent::limits::{BULK_PRIORITY, GONE_AFTER, LINK_TTL, LOWER_EFFORT_TOS};

/// asm-generic/socket.h. libc has it, but not on every target and version.
const SO_MAX_PACING_RATE: c_int = 47;
/// asm-generic/socket.h: 64-bit seconds on every architecture, Linux 5.1.
const SO_TIMESTAMPNS_NEW: c_int = 64;
/// asm-generic/socket.h: seconds of the kernel's own word size.
const SO_TIMESTAMPNS_OLD: c_int = 35;
/// asm-generic/socket.h, Linux 5.1.
const SO_BINDTOIFINDEX: c_int = 62;
/// "As fast as it can": the value that every socket starts with.
const UNPACED: u32 = u32::MAX;

/// What every socket of the agent has, UDP and TCP: sends with TTL 255, off the queue's end, to the own link only.
pub fn stay_on_link(socket: &impl AsFd) -> io::Result<()> {
    setsockopt(socket, sockopt::Ipv4Ttl, &c_int::from(LINK_TTL))?;
    setsockopt(socket, sockopt::DontRoute, &true)?;
    lower_effort(socket)
}

/// Lower effort on the wire and in the device's own queue. The priority last, because IP_TOS sets it too.
pub fn lower_effort(socket: &impl AsFd) -> io::Result<()> {
    setsockopt(socket, sockopt::Ipv4Tos, &c_int::from(LOWER_EFFORT_TOS))?;
    setsockopt(socket, sockopt::Priority, &c_int::from(BULK_PRIORITY))?;
    Ok(())
}

/// Fixed send and receive buffers. The kernel lowers what is more than its administrator allows.
pub fn buffers(socket: &impl AsFd, bytes: u32) -> io::Result<()> {
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    setsockopt(socket, sockopt::SndBuf, &bytes)?;
    setsockopt(socket, sockopt::RcvBuf, &bytes)?;
    Ok(())
}

/// A neighbour that is gone is forgotten soon, also by sockets that are closed already. Its resets carry the ordinary TTL and are dropped
/// here, so without this the kernel would keep such a connection for minutes, and refuse the next one from the same port.
pub fn forget_soon(socket: &impl AsFd) -> io::Result<()> {
    let millis = u32::try_from(GONE_AFTER.as_millis()).unwrap_or(u32::MAX);
    setsockopt(socket, sockopt::TcpUserTimeout, &millis)?;
    let seconds = c_int::try_from(GONE_AFTER.as_secs()).unwrap_or(c_int::MAX);
    set_int(socket, libc::IPPROTO_TCP, libc::TCP_LINGER2, seconds)
}

/// TCP segments with a lesser TTL are dropped by the kernel. Without effect on UDP.
pub fn require_link_ttl(socket: &impl AsFd) -> io::Result<()> {
    set_int(socket, libc::IPPROTO_IP, libc::IP_MINTTL, c_int::from(LINK_TTL))
}

/// Takes the demand of [`require_link_ttl`] back.
pub fn accept_any_ttl(socket: &impl AsFd) -> io::Result<()> {
    set_int(socket, libc::IPPROTO_IP, libc::IP_MINTTL, 0)
}

/// Every datagram comes with its kernel receive time, wall clock.
pub fn receive_timestamps(socket: &impl AsFd) -> io::Result<()> {
    match set_int(socket, libc::SOL_SOCKET, SO_TIMESTAMPNS_NEW, 1) {
        Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => {
            set_int(socket, libc::SOL_SOCKET, SO_TIMESTAMPNS_OLD, 1)
        }
        result => result,
    }
}

/// Sends only out of this interface, for as long as the socket lives. EPERM where the kernel wants privileges for it, and for a second time.
pub fn bind_to_device(socket: &impl AsFd, interface: u32) -> io::Result<()> {
    let interface = c_int::try_from(interface).map_err(|_| io::ErrorKind::InvalidInput)?;
    set_int(socket, libc::SOL_SOCKET, SO_BINDTOIFINDEX, interface)
}

/// An address without a port takes none before it is known where to connect; a connection that comes to nothing then leaves none taken.
pub fn bind_to_address_alone(socket: &impl AsFd) -> io::Result<()> {
    set_int(socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)
}

/// Dissolves a connection (connect(2)): what is under way either way is thrown away, the other side is told by a reset, and the
/// socket is as new but for its options.
pub fn disconnect(socket: &impl AsFd) -> io::Result<()> {
    // SAFETY: sockaddr_in is plain numbers; all zero is a valid value, its family is AF_UNSPEC.
    let nowhere: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    let length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is borrowed for the call, pointer and length describe `nowhere`.
    let result = unsafe { libc::connect(fd, (&raw const nowhere).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Upper bound on what the socket sends; `None` takes it away.
pub fn pacing(socket: &impl AsFd, bytes_per_second: Option<u32>) -> io::Result<()> {
    let rate = bytes_per_second.unwrap_or(UNPACED);
    set_int(socket, libc::SOL_SOCKET, SO_MAX_PACING_RATE, c_int::from_ne_bytes(rate.to_ne_bytes()))
}

/// Datagrams with another TTL than 255 never reach the socket: classic BPF on the IP header's TTL byte, because
/// IP_MINTTL does nothing for UDP.
pub fn filter_link_ttl(socket: &impl AsFd) -> io::Result<()> {
    /// linux/filter.h SKF_NET_OFF: offsets from here on count from the network header.
    const NETWORK_HEADER: u32 = 0xfff0_0000;
    /// RFC 791: the TTL is the ninth byte.
    const TTL_BYTE: u32 = NETWORK_HEADER + 8;
    const LOAD_BYTE: u16 = 0x30; // BPF_LD | BPF_B | BPF_ABS
    const JUMP_IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    let mut program = [
        sock_filter { code: LOAD_BYTE, jt: 0, jf: 0, k: TTL_BYTE },
        sock_filter { code: JUMP_IF_EQUAL, jt: 0, jf: 1, k: LINK_TTL as u32 },
        sock_filter { code: RETURN, jt: 0, jf: 0, k: u32::MAX },
        sock_filter { code: RETURN, jt: 0, jf: 0, k: 0 },
    ];
    let program = sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the kernel reads one `sock_fprog` and the instructions that it points to; both outlive the call, which copies them.
    unsafe { set_raw(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program) }
}

fn set_int(socket: &impl AsFd, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    // SAFETY: every option that is set through here takes exactly one int, which has no padding.
    unsafe { set_raw(socket, level, name, &value) }
}

/// # Safety
///
/// `T` is what the kernel expects for the option, without padding that it would read, and what it points to is alive.
unsafe fn set_raw<T>(socket: &impl AsFd, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is borrowed for the call, pointer and length describe one `T`; the rest is the caller's promise.
    let result = unsafe { libc::setsockopt(fd, level, name, std::ptr::from_ref(value).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What the kernel made of an option, for tests.
#[cfg(test)]
pub fn get_int(socket: &impl AsFd, level: c_int, name: c_int) -> io::Result<c_int> {
    let (mut value, mut length) = (0, size_of::<c_int>() as libc::socklen_t);
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the pointers are to a live int and its length.
    let result = unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &mut length) };
    if result == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

/// Takes the TTL filter away, for the test of the second check.
#[cfg(test)]
pub fn without_filter(socket: &impl AsFd) -> io::Result<()> {
    set_int(socket, libc::SOL_SOCKET, libc::SO_DETACH_FILTER, 0)
}
