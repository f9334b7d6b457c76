//! The attacker: a host on the switch with many addresses, who also forges those of others.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, bind, connect, sendto, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;
use p2p_agent::content::NodeId;
use p2p_agent::limits::{DATAGRAM_BYTES, LINK_TTL, PORT};
use p2p_agent::time::Timestamp;
use p2p_agent::wire::{Datagram, Flags, Probe, os_version};

use crate::lab::Site;
use crate::lab::namespace::Namespace;
use crate::lab::peer::send_with_ttl;
use crate::lab::site::shape;

/// First host number of the attacker.
const FIRST_HOST: u8 = 100;

/// A host with several addresses.
pub struct Attacker {
    pub namespace: Namespace,
    pub addresses: Vec<Ipv4Addr>,
}

impl Attacker {
    /// Plugs it in, with so many addresses and a link of so many Mbit/s in both directions.
    pub fn plug_in(site: &mut Site, addresses: u8, mbit: u32) -> Self {
        let namespace = Namespace::new();
        let port = site.lan.plug(&namespace, "eth0", FIRST_HOST);
        send_with_ttl(&namespace, LINK_TTL);
        let addresses: Vec<_> = (FIRST_HOST..).take(addresses.into()).map(|host| site.lan.address(host)).collect();
        for address in &addresses[1..] {
            namespace.ip(&format!("address add {address}/24 dev eth0"));
        }
        shape(&namespace, "eth0", mbit);
        shape(&site.lan.switch, &port, mbit);
        Self { namespace, addresses }
    }

    /// Connects from one of its addresses; to be called inside its namespace.
    pub fn connect(own: Ipv4Addr, to: Ipv4Addr) -> io::Result<TcpStream> {
        let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&socket, sockopt::SendTimeout, &TimeVal::new(0, 500_000))?;
        bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(own, 0)))?;
        connect(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(to, PORT)))?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.set_write_timeout(Some(Duration::from_millis(500)))?;
        Ok(stream)
    }

    /// So many connections, spread over its addresses, each with the first bytes of a head.
    pub fn crowd(&self, to: Ipv4Addr, connections: usize) -> Vec<TcpStream> {
        self.namespace.enter(|| {
            (0..connections)
                .filter_map(|number| {
                    let mut stream = Self::connect(self.addresses[number % self.addresses.len()], to).ok()?;
                    stream.write_all(b"HEAD /p2p/1/00").ok()?;
                    Some(stream)
                })
                .collect()
        })
    }
}

/// A socket for packets with any source address (raw(7)).
pub struct Forger {
    socket: OwnedFd,
}

impl Forger {
    /// To be called inside the attacker's namespace.
    pub fn open() -> Self {
        let socket =
            socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw).expect("raw sockets");
        Self { socket }
    }

    /// A datagram from port 11111 of `from` to port 11111 of `to`, as a neighbour would send it. False when the queue is full.
    pub fn send(&self, from: Ipv4Addr, to: Ipv4Addr, payload: &[u8]) -> bool {
        let mut packet = header(from, to, libc::IPPROTO_UDP, 8 + payload.len());
        for word in [PORT, PORT, u16::try_from(8 + payload.len()).unwrap(), 0] {
            packet.extend_from_slice(&word.to_be_bytes());
        }
        packet.extend_from_slice(payload);
        self.send_packet(to, &packet)
    }

    /// The first segment of a connection (RFC 9293), from `port` of `from`.
    pub fn send_syn(&self, from: Ipv4Addr, to: Ipv4Addr, port: u16) -> bool {
        let mut segment = Vec::new();
        for word in [port, PORT] {
            segment.extend_from_slice(&word.to_be_bytes());
        }
        segment.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0]);
        // Header of six words; SYN; the largest segment, as every stack tells it.
        segment.extend_from_slice(&[6 << 4, 2, 0xff, 0xff, 0, 0, 0, 0, 2, 4, 5, 0xb4]);
        let mut sum = 6 + segment.len() as u32;
        let pseudo = [from.octets(), to.octets()].concat();
        for pair in pseudo.chunks(2).chain(segment.chunks(2)) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
        }
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        segment[16..18].copy_from_slice(&(!(sum as u16)).to_be_bytes());
        let mut packet = header(from, to, libc::IPPROTO_TCP, segment.len());
        packet.extend_from_slice(&segment);
        self.send_packet(to, &packet)
    }

    fn send_packet(&self, to: Ipv4Addr, packet: &[u8]) -> bool {
        let to = SockaddrIn::from(SocketAddrV4::new(to, 0));
        sendto(self.socket.as_raw_fd(), packet, &to, MsgFlags::empty()).is_ok()
    }
}

/// An IPv4 header; the kernel fills in its length, identification and checksum.
fn header(from: Ipv4Addr, to: Ipv4Addr, protocol: i32, payload: usize) -> Vec<u8> {
    let length = u16::try_from(20 + payload).unwrap().to_be_bytes();
    let mut header = vec![0x45, 0, length[0], length[1], 0, 0, 0, 0, LINK_TTL, protocol as u8, 0, 0];
    header.extend_from_slice(&from.octets());
    header.extend_from_slice(&to.octets());
    header
}

/// A probe of this node.
pub fn probe(node: u64) -> [u8; DATAGRAM_BYTES] {
    let mut nonce = [7; 16];
    nonce[..8].copy_from_slice(&node.to_be_bytes());
    let probe = Probe {
        node: NodeId(node.to_be_bytes()),
        os: os_version("attacker"),
        nonce,
        origin: Timestamp::from_nanos(1),
        interval_ms: 3_000,
        flags: Flags::default(),
    };
    let mut bytes = [0; DATAGRAM_BYTES];
    Datagram::Probe(probe).encode(&mut bytes);
    bytes
}
