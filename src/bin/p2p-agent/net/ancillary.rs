//! One datagram with what the kernel knows about it: interface, destination, TTL and receive time (ip(7), socket(7)).
//!
//! By hand instead of with `nix`, for two reasons: `sendmsg` there allocates, and its `timespec` is the C library's, which
//! on 32-bit ARM may not be the one the kernel wrote. Here the length of the message says which of the two it is.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};

use nix::libc::{self, c_int};

use p2p_agent::time::Timestamp;

/// A datagram taken from the socket.
#[derive(Debug)]
pub struct Received {
    /// Bytes written into the buffer; a longer datagram is cut.
    pub len: usize,
    /// The kernel had no room for what it knows about it.
    pub unknown: bool,
    pub from: Ipv4Addr,
    pub from_port: u16,
    /// Interface it came in on, and the destination in its IP header.
    pub arrived: Option<(u32, Ipv4Addr)>,
    pub ttl: Option<u8>,
    /// When the kernel got it.
    pub at: Option<Timestamp>,
}

/// Room for interface (32 bytes), TTL (24) and time (32), and for the second copy of the time that musl makes on 32 bit.
#[repr(C, align(8))]
struct Control([u8; 192]);

/// Takes one datagram; never blocks.
pub fn receive(socket: &impl AsFd, buf: &mut [u8]) -> io::Result<Received> {
    let mut control = Control([0; 192]);
    let mut name = empty_address();
    let mut part = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    let mut header = empty_header();
    header.msg_name = std::ptr::from_mut(&mut name).cast();
    header.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    header.msg_iov = &mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control.0.len() as _; // size_t or socklen_t, as the C library likes
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: every pointer in the header is to a live buffer of the length beside it, exclusively borrowed for the call.
    let len = unsafe { libc::recvmsg(fd, &mut header, libc::MSG_DONTWAIT) };
    let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
    let mut received = Received {
        len,
        unknown: header.msg_flags & libc::MSG_CTRUNC != 0,
        from: Ipv4Addr::from(name.sin_addr.s_addr.to_ne_bytes()),
        from_port: u16::from_be(name.sin_port),
        arrived: None,
        ttl: None,
        at: None,
    };
    // SAFETY: the header and its control buffer are as the kernel left them; the macros stay within msg_controllen.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(&header) };
    while !next.is_null() {
        // SAFETY: the macro gave a pointer to a whole cmsghdr inside the control buffer.
        let message = unsafe { next.read_unaligned() };
        // SAFETY: the data of a message begins behind its header, within the control buffer.
        let data = unsafe { libc::CMSG_DATA(next) };
        // SAFETY: CMSG_LEN is arithmetic.
        let head_bytes = unsafe { libc::CMSG_LEN(0) } as usize;
        let data_bytes = (message.cmsg_len as usize).saturating_sub(head_bytes);
        let offset = (data as usize).saturating_sub(control.0.as_ptr() as usize);
        // Slicing the own buffer checks the kernel's arithmetic, and what follows is safe code.
        if let Some(data) = control.0.get(offset..offset.saturating_add(data_bytes)) {
            received.on_message(message.cmsg_level, message.cmsg_type, data);
        }
        // SAFETY: as for CMSG_FIRSTHDR; null behind the last one.
        next = unsafe { libc::CMSG_NXTHDR(&header, next) };
    }
    Ok(received)
}

impl Received {
    fn on_message(&mut self, level: c_int, kind: c_int, data: &[u8]) {
        /// SCM_TIMESTAMPNS is the option's number: SO_TIMESTAMPNS_OLD and _NEW (asm-generic/socket.h).
        const TIMES: [c_int; 2] = [35, 64];
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => self.arrived = packet_info(data),
            (libc::IPPROTO_IP, libc::IP_TTL) => {
                self.ttl = data.first_chunk().and_then(|b| narrow(i32::from_ne_bytes(*b)))
            }
            (libc::SOL_SOCKET, kind) if TIMES.contains(&kind) => self.at = timestamp(data).or(self.at),
            _ => {}
        }
    }
}

/// `struct in_pktinfo`: interface, own address, destination in the header.
fn packet_info(data: &[u8]) -> Option<(u32, Ipv4Addr)> {
    let (interface, rest) = data.split_first_chunk()?;
    let (_own_address, rest) = rest.split_first_chunk::<4>()?;
    Some((u32::from_ne_bytes(*interface), Ipv4Addr::from(*rest.first_chunk::<4>()?)))
}

/// A `timespec` of two 64-bit or two 32-bit numbers.
fn timestamp(data: &[u8]) -> Option<Timestamp> {
    let (seconds, nanos) = match data.len() {
        16 => {
            let (seconds, rest) = data.split_first_chunk()?;
            (i64::from_ne_bytes(*seconds), i64::from_ne_bytes(*rest.first_chunk()?))
        }
        8 => {
            let (seconds, rest) = data.split_first_chunk()?;
            (i32::from_ne_bytes(*seconds).into(), i32::from_ne_bytes(*rest.first_chunk()?).into())
        }
        _ => return None,
    };
    Some(Timestamp::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos)))
}

fn narrow(ttl: i32) -> Option<u8> {
    u8::try_from(ttl).ok()
}

/// Sends one datagram out of `interface` from `source`, wherever the routes point; never blocks.
pub fn send(
    socket: &impl AsFd,
    interface: u32,
    source: Ipv4Addr,
    to: Ipv4Addr,
    port: u16,
    bytes: &[u8],
) -> io::Result<()> {
    let mut control = Control([0; 192]);
    let mut name = empty_address();
    name.sin_family = libc::AF_INET as libc::sa_family_t;
    name.sin_port = port.to_be();
    name.sin_addr.s_addr = in_addr(to).s_addr;
    let info = libc::in_pktinfo {
        ipi_ifindex: c_int::try_from(interface).map_err(|_| io::ErrorKind::InvalidInput)?,
        ipi_spec_dst: in_addr(source),
        ipi_addr: in_addr(Ipv4Addr::UNSPECIFIED),
    };
    let info_bytes = size_of::<libc::in_pktinfo>() as libc::c_uint;
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut header = empty_header();
    header.msg_name = std::ptr::from_mut(&mut name).cast();
    header.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    header.msg_iov = &mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    // SAFETY: CMSG_SPACE is arithmetic.
    header.msg_controllen = unsafe { libc::CMSG_SPACE(info_bytes) } as _;
    // SAFETY: the control buffer has room for one header and one in_pktinfo (32 bytes of 192) and is aligned for both;
    // CMSG_FIRSTHDR is not null because msg_controllen covers a header.
    unsafe {
        let message = libc::CMSG_FIRSTHDR(&header);
        (*message).cmsg_level = libc::IPPROTO_IP;
        (*message).cmsg_type = libc::IP_PKTINFO;
        (*message).cmsg_len = libc::CMSG_LEN(info_bytes) as _;
        libc::CMSG_DATA(message).cast::<libc::in_pktinfo>().write_unaligned(info);
    }
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: every pointer in the header is to a live buffer of the length beside it; sendmsg writes to none of them.
    let sent = unsafe { libc::sendmsg(fd, &header, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn in_addr(address: Ipv4Addr) -> libc::in_addr {
    libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) }
}

fn empty_address() -> libc::sockaddr_in {
    // SAFETY: sockaddr_in is plain numbers; all zero is a valid value.
    unsafe { std::mem::zeroed() }
}

fn empty_header() -> libc::msghdr {
    // SAFETY: msghdr is numbers and pointers (and private padding in musl); all zero is a valid value.
    unsafe { std::mem::zeroed() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receive_time_is_read_in_either_width_and_anything_else_is_no_time() {
        let wide: Vec<u8> = [5_000_000_000_i64, 7].iter().flat_map(|n| n.to_ne_bytes()).collect();
        let short: Vec<u8> = [5_i32, 7].iter().flat_map(|n| n.to_ne_bytes()).collect();
        assert_eq!(timestamp(&wide), Some(Timestamp::from_nanos(5_000_000_000_000_000_007)));
        assert_eq!(timestamp(&short), Some(Timestamp::from_nanos(5_000_000_007)));
        for len in (0..32).filter(|len| ![8, 16].contains(len)) {
            assert_eq!(timestamp(&vec![1; len]), None);
        }
    }

    #[test]
    fn packet_information_that_is_too_short_is_none() {
        for len in 0..12 {
            assert_eq!(packet_info(&vec![1; len]), None);
        }
        let mut info = vec![0; 12];
        info[..4].copy_from_slice(&3_u32.to_ne_bytes());
        info[8..].copy_from_slice(&[10, 0, 0, 255]);
        assert_eq!(packet_info(&info), Some((3, Ipv4Addr::new(10, 0, 0, 255))));
    }
}
