//! Foreign code in the daemon, and the ways off the link: every thread of the real process is made to try them, with every socket
//! that it has.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use nix::errno::Errno::{EINPROGRESS, ENETUNREACH, EPERM};
use nix::libc::*;
use p2p_agent::limits::{CONNECTING_SOCKETS, PORT, PORT_SETS};

use crate::inside::{self, Inside, threads};
use crate::lab;
use crate::lab::namespace::Namespace;
use crate::lab::origin::Content;
use crate::lab::packets::Capture;
use crate::lab::peer::{Asker, send_with_ttl};

const OUTSIDE: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 2);
/// asm-generic/socket.h
const SO_BINDTOIFINDEX: i32 = 62;

/// What a socket of the daemon is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Datagrams,
    Listener,
    Accepted,
    Free,
}

#[test]
fn foreign_code_in_the_jail_gets_nothing_past_a_router() {
    lab::run(foreign_code_in_the_jail_gets_nothing_past_a_router, |site| {
        let content = Content::random(15, 1 << 10);
        let device = site.agents(1).pop().unwrap();
        device.hold(&content);
        let neighbour = Namespace::new();
        site.lan.plug(&neighbour, "eth0", 99);
        send_with_ttl(&neighbour, 255);
        let _connected = neighbour.enter(|| {
            let mut asker = Asker::connect(device.address, &content, 1).unwrap();
            asker.query().unwrap().unwrap();
            asker
        });
        let _outside = site.outside.enter(|| {
            let any = (Ipv4Addr::UNSPECIFIED, PORT);
            (UdpSocket::bind(any).unwrap(), TcpListener::bind(any).unwrap())
        });

        // Another program of the device gets there, and it shows.
        let capture = Capture::start(&site.outside);
        device.namespace.enter(|| {
            UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap().send_to(b"secret", (OUTSIDE, PORT)).unwrap();
            TcpStream::connect((OUTSIDE, PORT)).unwrap();
        });
        std::thread::sleep(Duration::from_millis(300));
        assert!(capture.stop().with(&device.address.octets()) >= 4, "the router routes");

        let (outside, link) = (Capture::start(&site.outside), Capture::start(&site.lan.switch));
        let interface = device.namespace.enter(|| nix::net::if_::if_nametoindex("eth0")).unwrap();
        let agent = device.agent().unwrap().id();
        let threads = threads(agent);
        assert_eq!(threads.len(), 2);
        // All of them stand still, so that none tidies up behind another.
        let stopped: Vec<_> = threads.into_iter().map(Inside::stop).collect();
        for (number, mut inside) in stopped.into_iter().enumerate() {
            let mut sockets = sockets(&mut inside, agent);
            let count = |kind| sockets.values().filter(|found| **found == kind).count();
            // The first thread has spoilt the listener and the accepted one.
            let of_ports = usize::from(number == 0);
            assert_eq!((count(Kind::Datagrams), count(Kind::Listener)), (PORT_SETS, of_ports));
            assert_eq!(count(Kind::Accepted), of_ports);
            assert_eq!(count(Kind::Free), CONNECTING_SOCKETS + PORT_SETS - 1 + 2 * (1 - of_ports));
            // One of the free ones is as good as another.
            let mut left = 3;
            sockets.retain(|_, kind| {
                let keep = *kind != Kind::Free || left > 0;
                left -= usize::from(keep && *kind == Kind::Free);
                keep
            });
            inside.is_refused_new_sockets();
            for (&socket, kind) in &sockets {
                try_to_leave(&mut inside, socket, *kind, interface, device.address);
            }
        }
        // Connections are tried again after a second.
        std::thread::sleep(Duration::from_millis(1_500));
        assert_eq!(outside.stop().with(&device.address.octets()), 0, "something has left the link");
        assert!(link.stop().with(&OUTSIDE.octets()) > 0, "it is looked for on the link");
    });
}

/// By descriptor; each of them stays on the link.
fn sockets(inside: &mut Inside, process: u32) -> BTreeMap<u64, Kind> {
    let mut found = BTreeMap::new();
    let (name, length) = (inside.memory(&[0; 16]), inside.memory(&16_u64.to_ne_bytes()));
    for (socket, flow) in inside::sockets(inside, process) {
        assert_eq!(inside.option(socket, SOL_SOCKET, SO_DONTROUTE), Ok(1), "{socket}");
        let kind = if flow == SOCK_DGRAM {
            Kind::Datagrams
        } else if inside.option(socket, SOL_SOCKET, SO_ACCEPTCONN) == Ok(1) {
            Kind::Listener
        } else if inside.call(SYS_getpeername, &[socket, name, length]).is_ok() {
            Kind::Accepted
        } else {
            Kind::Free
        };
        found.insert(socket, kind);
    }
    found
}

fn try_to_leave(inside: &mut Inside, socket: u64, kind: Kind, interface: u32, own: Ipv4Addr) {
    let address = |inside: &mut Inside, family: i32, host: Ipv4Addr, port: u16| {
        let mut name = [0; 16];
        name[..2].copy_from_slice(&(family as u16).to_ne_bytes());
        name[2..4].copy_from_slice(&port.to_be_bytes());
        name[4..8].copy_from_slice(&host.octets());
        inside.memory(&name)
    };
    let outside = address(inside, AF_INET, OUTSIDE, PORT);
    let nowhere = address(inside, AF_UNSPEC, Ipv4Addr::UNSPECIFIED, 0);
    let own = address(inside, AF_INET, own, 0);
    let secret = inside.memory(b"secret");

    inside.is_refused_options(socket);
    if kind == Kind::Datagrams {
        let plain = inside.call(SYS_sendto, &[socket, secret, 6, 0, outside, 16]);
        assert_eq!(plain, Err(ENETUNREACH), "{kind:?}");
        // Out of an interface, whatever the routes say: then it is looked for on that link.
        let head = size_of::<cmsghdr>() as u64;
        let mut control = [(head + 12).to_ne_bytes(), [0; 8], [0; 8], [0; 8]].concat();
        control[8..12].copy_from_slice(&IPPROTO_IP.to_ne_bytes());
        control[12..16].copy_from_slice(&IP_PKTINFO.to_ne_bytes());
        control[16..20].copy_from_slice(&interface.to_ne_bytes());
        let control = inside.memory(&control);
        let part = inside.memory(&[secret, 6].map(u64::to_ne_bytes).concat());
        let message = inside.memory(&[outside, 16, part, 1, control, 32, 0].map(u64::to_ne_bytes).concat());
        assert_eq!(inside.call(SYS_sendmsg, &[socket, message, 0]), Ok(6), "{kind:?}");
        assert_eq!(inside.call(SYS_connect, &[socket, outside, 16]), Err(ENETUNREACH), "{kind:?}");
        return;
    }
    let connect = |inside: &mut Inside| {
        // Whatever it was, it is a fresh socket then.
        inside.call(SYS_connect, &[socket, nowhere, 16]).unwrap();
        inside.call(SYS_connect, &[socket, outside, 16])
    };
    // One that belongs to an interface already, by a try of the other thread, gets as far as that link.
    let belongs = inside.option(socket, SOL_SOCKET, SO_BINDTOIFINDEX) != Ok(0);
    let no_route = if belongs { EINPROGRESS } else { ENETUNREACH };
    assert_eq!(connect(inside), Err(no_route), "{kind:?}");
    assert_ne!(inside.call(SYS_sendto, &[socket, secret, 6, MSG_NOSIGNAL as u64, outside, 16]), Ok(6), "{kind:?}");
    // From the own address, and then out of the interface.
    let _ = inside.call(SYS_bind, &[socket, own, 16]);
    assert_eq!(connect(inside), Err(no_route), "{kind:?}");
    let index = inside.memory(&interface.to_ne_bytes());
    let bound = inside.call(SYS_setsockopt, &[socket, SOL_SOCKET as u64, SO_BINDTOIFINDEX as u64, index, 4]);
    assert!(matches!(bound, Ok(0) | Err(EPERM)), "{kind:?} {bound:?}");
    assert_eq!(connect(inside), Err(EINPROGRESS), "{kind:?}");
}
