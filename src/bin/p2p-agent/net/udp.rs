//! The datagram port: probes, replies and announcements, to and from the own links only.
//!
//! One socket on all addresses. A datagram that did not leave its sender with TTL 255 and arrive with it is dropped twice:
//! by a filter in the kernel, and here by what IP_RECVTTL says. Each datagram is sent out of the interface that the caller
//! names (IP_PKTINFO), so 255.255.255.255 needs no route and reaches every link.
//!
//! On one loopback address (`--address 127.0.0.N`) that socket hears no broadcast; there a second one on 127.255.255.255
//! does, shared by all agents of the machine.
//!
//! Every agent hears its own broadcasts, in either mode: the caller tells by the node id.

use std::cell::Cell;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};

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

/// What a port is made of, with no address yet: nobody hears of it.
#[derive(Debug)]
pub struct Sockets {
    mode: Mode,
    socket: OwnedFd,
    broadcasts: Option<OwnedFd>,
}

impl Sockets {
    /// With all options that they need.
    pub fn new(mode: Mode) -> io::Result<Self> {
        let broadcasts = match mode {
            Mode::Links => None,
            Mode::Loopback(_) => Some(make_socket(true)?),
        };
        Ok(Self { mode, socket: make_socket(false)?, broadcasts })
    }

    /// Opens the port; an error says in one sentence what is in the way.
    pub fn open(self, port: u16) -> io::Result<Port> {
        let open =
            |socket, address| open_at(socket, address, port).map_err(|error| bind_error(error, "UDP", address, port));
        let socket = open(self.socket, self.mode.bind_address())?;
        let broadcasts = self.broadcasts.map(|socket| open(socket, LOOPBACK_BROADCAST)).transpose()?;
        Ok(Port { mode: self.mode, port, socket, broadcasts, in_a_row: Cell::new(0) })
    }
}

impl Port {
    #[cfg(test)]
    pub fn open(mode: Mode, port: u16) -> io::Result<Self> {
        Sockets::new(mode)?.open(port)
    }

    /// The next datagram from the link; ones that a router passed on are left out. One that is longer than `buf` fills it and
    /// is cut. Safe to cancel.
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
        if received.unknown || received.ttl != Some(LINK_TTL) {
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
fn make_socket(shared: bool) -> io::Result<OwnedFd> {
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
    Ok(socket)
}

fn open_at(socket: OwnedFd, address: Ipv4Addr, port: u16) -> io::Result<Async<UdpSocket>> {
    bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(address, port)))?;
    Async::new_nonblocking(UdpSocket::from(socket))
}

/// For a kernel that stamps nothing.
fn wall_clock() -> Timestamp {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_nanos(i64::try_from(since_1970.as_nanos()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use async_io::Timer;
    use smol::future::block_on;

    use super::super::interfaces::loopback;
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
    const B: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

    fn free_port() -> u16 {
        UdpSocket::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port()
    }

    fn pair(port: u16) -> (Port, Port) {
        (Port::open(Mode::Loopback(A), port).unwrap(), Port::open(Mode::Loopback(B), port).unwrap())
    }

    /// The next datagram, or none after a while that is long on loopback.
    fn hear(port: &Port) -> Option<(Datagram, Vec<u8>)> {
        let mut buf = [0; 64];
        let heard = block_on(future::or(async { Some(port.recv(&mut buf).await.unwrap()) }, async {
            Timer::after(Duration::from_millis(200)).await;
            None
        }))?;
        Some((heard, buf[..heard.len].to_vec()))
    }

    #[test]
    fn two_agents_on_one_machine_hear_each_others_broadcasts_and_themselves() {
        let port = free_port();
        let (a, b) = pair(port);
        let lo = loopback(A).unwrap();
        a.send_broadcast(&lo, b"everybody").unwrap();
        for hearer in [&a, &b] {
            let (heard, bytes) = hear(hearer).unwrap();
            assert_eq!(bytes, b"everybody");
            assert_eq!((heard.from, heard.from_port, heard.interface), (A, port, lo.index));
            assert_eq!(heard.to, LOOPBACK_BROADCAST);
            assert_eq!(hear(hearer), None);
        }
    }

    #[test]
    fn a_unicast_reaches_one_agent_only() {
        let (a, b) = pair(free_port());
        a.send_to(&loopback(A).unwrap(), B, b"you").unwrap();
        let (heard, bytes) = hear(&b).unwrap();
        assert_eq!((heard.from, heard.to, bytes.as_slice()), (A, B, b"you".as_slice()));
        assert_eq!(hear(&a), None);
    }

    #[test]
    fn the_receive_time_is_the_kernels_and_not_that_of_the_reader() {
        let (a, b) = pair(free_port());
        let before = wall_clock();
        a.send_to(&loopback(A).unwrap(), B, b"tick").unwrap();
        let after = wall_clock();
        std::thread::sleep(Duration::from_millis(50));
        let received = hear(&b).unwrap().0.received;
        assert!(before <= received && received <= after, "{before:?} {received:?} {after:?}");
    }

    #[test]
    fn a_datagram_with_a_lesser_ttl_never_arrives() {
        let port = free_port();
        let (a, b) = pair(port);
        let routed = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 4), 0)).unwrap();
        routed.set_broadcast(true).unwrap();
        for ttl in [1, 64, 254] {
            routed.set_ttl(ttl).unwrap();
            routed.send_to(b"far", (B, port)).unwrap();
            routed.send_to(b"far", (LOOPBACK_BROADCAST, port)).unwrap();
        }
        for socket in [&a.socket, &b.socket, b.broadcasts.as_ref().unwrap()] {
            let nothing = ancillary::receive(socket, &mut [0; 64]).unwrap_err();
            assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock, "the kernel's filter already keeps it out");
        }
        assert_eq!((hear(&a), hear(&b)), (None, None));
        routed.set_ttl(255).unwrap();
        routed.send_to(b"near", (B, port)).unwrap();
        assert_eq!(hear(&b).unwrap().1, b"near");
    }

    #[test]
    fn without_the_kernels_filter_the_received_ttl_is_a_second_check() {
        let (a, b) = pair(free_port());
        for socket in [&b.socket, b.broadcasts.as_ref().unwrap()] {
            options::without_filter(socket).unwrap();
        }
        setsockopt(&a.socket, sockopt::Ipv4Ttl, &64).unwrap();
        a.send_to(&loopback(A).unwrap(), B, b"far").unwrap();
        a.send_broadcast(&loopback(A).unwrap(), b"far").unwrap();
        assert_eq!(hear(&b), None);
        setsockopt(&a.socket, sockopt::Ipv4Ttl, &255).unwrap();
        a.send_to(&loopback(A).unwrap(), B, b"near").unwrap();
        assert_eq!(hear(&b).unwrap().1, b"near");
    }

    #[test]
    fn a_datagram_that_is_longer_than_the_buffer_is_cut_and_the_next_one_is_whole() {
        let (a, b) = pair(free_port());
        let lo = loopback(A).unwrap();
        a.send_to(&lo, B, &[1; 165]).unwrap();
        a.send_to(&lo, B, &[2; 63]).unwrap();
        assert_eq!(hear(&b).unwrap().1, [1; 64]);
        assert_eq!(hear(&b).unwrap().1, [2; 63]);
    }

    #[test]
    fn a_port_in_use_is_one_clear_sentence_and_free_again_after_a_drop() {
        let port = free_port();
        let first = Port::open(Mode::Loopback(A), port).unwrap();
        for mode in [Mode::Loopback(A), Mode::Links] {
            let error = Port::open(mode, port).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
            let sentence = error.to_string();
            assert!(
                sentence.contains(&format!("UDP port {port}")) && sentence.contains("already in use"),
                "{sentence}"
            );
        }
        drop(first);
        drop(Port::open(Mode::Links, port).unwrap());
        Port::open(Mode::Loopback(A), port).unwrap();
    }

    #[test]
    fn a_flood_leaves_other_tasks_their_turn() {
        let (a, b) = pair(free_port());
        let lo = loopback(A).unwrap();
        let local = smol::LocalExecutor::new();
        let turns = Cell::new(0);
        block_on(local.run(async {
            let flooded = async {
                let mut buf = [0; 64];
                for _ in 0..100 {
                    a.send_to(&lo, B, b"flood").unwrap();
                    b.recv(&mut buf).await.unwrap();
                }
            };
            let other = async {
                loop {
                    turns.set(turns.get() + 1);
                    future::yield_now().await;
                }
            };
            future::or(flooded, other).await;
        }));
        assert!(turns.get() >= 5, "{} turns in 100 datagrams", turns.get());
    }
}
