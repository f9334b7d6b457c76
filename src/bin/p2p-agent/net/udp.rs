//! The datagram port: probes, replies and announcements, to and from the own links only.
//!
//! One socket on all addresses. A datagram that did not leave its sender with TTL 255 and arrive with it is dropped twice:
//! by a filter in the kernel, and here by what IP_RECVTTL says. Each datagram is sent out of the interface that the caller
//! names (IP_PKTINFO), so 255.255.255.255 needs no route and reaches every link.
//!
//! On one loopback address (`--address 127.0.0.N`) that socket hears no broadcast; there a second one on 127.255.255.255
//! does, shared by all agents of the machine. Every agent hears itself, on loopback and on any network that echoes: node
//! ids tell.

use std::cell::Cell;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

use async_io::Async;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt};
use smol::future;

use p2p_agent::limits::{DATAGRAMS_IN_A_ROW, LINK_TTL, UDP_BUFFER_BYTES};
use p2p_agent::time::Timestamp;

use super::interfaces::Interface;
use super::{LOOPBACK_BROADCAST, Mode, ancillary, bind_error, options};

/// A datagram from the link. Whether its source belongs to the interface's subnet is the caller's question
/// ([`Interface::is_on_link`]), as is whether that interface is in use at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Bytes written into the buffer.
    pub len: usize,
    /// Sender.
    pub from: Ipv4Addr,
    /// Sender's port.
    pub from_port: u16,
    /// Index of the interface that it came in on.
    pub interface: u32,
    /// Destination in its IP header: an own address or a broadcast address.
    pub to: Ipv4Addr,
    /// When the kernel received it.
    pub received: Timestamp,
}

/// The open port. Dropping it closes it at once.
#[derive(Debug)]
pub struct Port {
    mode: Mode,
    port: u16,
    /// Sends, and hears what is sent to the own address or, with [`Mode::Links`], to everybody.
    socket: Async<UdpSocket>,
    /// Hears what is sent to everybody on loopback.
    broadcasts: Option<Async<UdpSocket>>,
    /// Datagrams taken since other tasks had their turn.
    in_a_row: Cell<u8>,
}

impl Port {
    /// Opens the port; an error says in one sentence what is in the way.
    pub fn open(mode: Mode, port: u16) -> io::Result<Self> {
        let open = |address, shared| {
            open_socket(address, port, shared).map_err(|error| bind_error(error, "UDP", address, port))
        };
        let socket = open(mode.bind_address(), false)?;
        let broadcasts = match mode {
            Mode::Links => None,
            Mode::Loopback(_) => Some(open(LOOPBACK_BROADCAST, true)?),
        };
        Ok(Self { mode, port, socket, broadcasts, in_a_row: Cell::new(0) })
    }

    /// The next datagram from the link. Longer ones than `buf` and ones that a router passed on are left out. Safe to cancel.
    pub async fn recv(&self, buf: &mut [u8]) -> io::Result<Datagram> {
        loop {
            if self.in_a_row.get() >= DATAGRAMS_IN_A_ROW {
                self.in_a_row.set(0);
                future::yield_now().await;
            }
            self.in_a_row.set(self.in_a_row.get().saturating_add(1));
            match self.take(buf) {
                Ok(Some(datagram)) => return Ok(datagram),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.in_a_row.set(0);
                    self.readable().await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends `bytes` to everybody on the interface's link, at the own port number.
    pub fn send_broadcast(&self, interface: &Interface, bytes: &[u8]) -> io::Result<()> {
        self.send_to(interface, self.mode.broadcast_address(), bytes)
    }

    /// Sends `bytes` to one address on the interface's link, at the own port number. Never waits: what does not fit into
    /// the socket's buffer is an error of kind `WouldBlock` and lost, as it could be on the wire.
    pub fn send_to(&self, interface: &Interface, to: Ipv4Addr, bytes: &[u8]) -> io::Result<()> {
        ancillary::send(&self.socket, interface.index, interface.addr, to, self.port, bytes)
    }

    /// One datagram that is there; none when it is not for us.
    fn take(&self, buf: &mut [u8]) -> io::Result<Option<Datagram>> {
        let received = match (ancillary::receive(&self.socket, buf), &self.broadcasts) {
            (Err(error), Some(other)) if error.kind() == io::ErrorKind::WouldBlock => ancillary::receive(other, buf)?,
            (result, _) => result?,
        };
        let Some((interface, to)) = received.arrived else { return Ok(None) };
        if received.cut || received.ttl != Some(LINK_TTL) {
            return Ok(None);
        }
        let ancillary::Received { len, from, from_port, at, .. } = received;
        Ok(Some(Datagram { len, from, from_port, interface, to, received: at.unwrap_or_else(wall_clock) }))
    }

    async fn readable(&self) -> io::Result<()> {
        match &self.broadcasts {
            None => self.socket.readable().await,
            Some(other) => future::or(self.socket.readable(), other.readable()).await,
        }
    }
}

/// A socket with everything set before it hears the first datagram.
fn open_socket(address: Ipv4Addr, port: u16, shared: bool) -> io::Result<Async<UdpSocket>> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
    options::filter_link_ttl(&socket)?;
    options::stay_on_link(&socket)?;
    options::buffers(&socket, UDP_BUFFER_BYTES)?;
    options::receive_timestamps(&socket)?;
    setsockopt(&socket, sockopt::Broadcast, &true)?;
    setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    setsockopt(&socket, sockopt::Ipv4RecvTtl, &true)?;
    // Only there: on other addresses it would let a second agent steal the first one's datagrams.
    setsockopt(&socket, sockopt::ReuseAddr, &shared)?;
    bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(address, port)))?;
    Async::new_nonblocking(UdpSocket::from(socket))
}

/// For a kernel that stamps nothing.
fn wall_clock() -> Timestamp {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_nanos(i64::try_from(since_1970.as_nanos()).unwrap_or(i64::MAX))
}
