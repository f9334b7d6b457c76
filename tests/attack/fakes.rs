//! Peers that are none: they answer every probe, and that is all.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt};
use p2p_agent::content::NodeId;
use p2p_agent::limits::{DATAGRAM_BYTES, PORT};
use p2p_agent::time::Timestamp;
use p2p_agent::wire::{Datagram, Echo, Flags, Reply, os_version};

use crate::attacker::Attacker;
use crate::floods::assert_shared;
use crate::lab::origin::Content;
use crate::lab::{self, wait_for};

/// A peer at every address of the attacker, whose clocks are all ahead of that of whoever asks.
pub struct Fakes {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Fakes {
    pub fn start(attacker: &Attacker, ahead: Duration) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (broadcasts, own) = attacker.namespace.enter(|| {
            let own: Vec<_> = attacker.addresses.iter().map(|address| datagrams(*address)).collect();
            (datagrams(Ipv4Addr::BROADCAST), own)
        });
        let stop = over.clone();
        let thread = thread::spawn(move || {
            let mut bytes = [0; DATAGRAM_BYTES];
            while !stop.load(Ordering::SeqCst) {
                while let Ok((length, from)) = broadcasts.recv_from(&mut bytes) {
                    let probe = bytes;
                    own.iter().enumerate().for_each(|(number, own)| answer(own, number, &probe[..length], from, ahead));
                }
                for (number, socket) in own.iter().enumerate() {
                    while let Ok((length, from)) = socket.recv_from(&mut bytes) {
                        let probe = bytes;
                        answer(socket, number, &probe[..length], from, ahead);
                    }
                }
                thread::sleep(Duration::from_millis(2));
            }
        });
        Self { over, thread: Some(thread) }
    }
}

impl Drop for Fakes {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn datagrams(address: Ipv4Addr) -> UdpSocket {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).unwrap();
    setsockopt(&socket, sockopt::ReuseAddr, &true).unwrap();
    bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(address, PORT))).unwrap();
    let socket = UdpSocket::from(socket);
    socket.set_nonblocking(true).unwrap();
    socket
}

fn answer(own: &UdpSocket, number: usize, bytes: &[u8], from: SocketAddr, ahead: Duration) {
    let Some(probe) = Datagram::decode(bytes).ok().and_then(|datagram| datagram.asked()) else { return };
    let now = Timestamp::from_nanos(probe.origin.as_nanos() + i64::try_from(ahead.as_nanos()).unwrap());
    let reply = Reply {
        node: NodeId([100 + number as u8; 8]),
        os: os_version("fake"),
        interval_ms: 3_000,
        flags: Flags { wired: true, ..Flags::default() },
        echo: Echo::from(&probe),
        receive: now,
        transmit: now,
        probe: None,
    };
    let mut bytes = [0; DATAGRAM_BYTES];
    Datagram::Reply(reply).encode(&mut bytes);
    let _ = own.send_to(&bytes, from);
}

#[test]
fn a_hundred_peers_that_are_none_and_say_nothing_do_not_hide_the_one_that_is() {
    lab::run(a_hundred_peers_that_are_none_and_say_nothing_do_not_hide_the_one_that_is, |site| {
        let content = Content::random(41, 4 << 20);
        let url = site.origin.publish(&content);
        let attacker = Attacker::plug_in(site, 110, 20);
        // Connections to them are accepted by the kernel, and nobody ever answers.
        let _silence = attacker.namespace.enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).unwrap());
        let _fakes = Fakes::start(&attacker, Duration::ZERO);
        let devices = site.agents(2);
        devices[0].hold(&content);
        let known = || devices[1].get("/v1/peers").text().matches("\"address\"").count();
        let took = wait_for("a hundred of them are in the table", Duration::from_secs(30), || known() > 100);
        println!("{} peers after {took:?}", known());
        assert!(devices[1].knows(devices[0].address));
        assert_shared(site, &devices[1], &content, &url);
        assert!(known() <= p2p_agent::limits::PEERS);
    });
}

#[test]
fn two_clocks_that_lie_alike_move_nothing_among_four_that_do_not() {
    lab::run(two_clocks_that_lie_alike_move_nothing_among_four_that_do_not, |site| {
        let attacker = Attacker::plug_in(site, 2, 20);
        let _fakes = Fakes::start(&attacker, Duration::from_secs(3_600));
        let devices = site.agents(4);
        for device in &devices {
            attacker.addresses.iter().for_each(|liar| device.wait_for_peer(*liar));
            wait_for("their clocks are compared", Duration::from_secs(15), || {
                device.get("/v1/clock").text().contains("\"peers_compared\":5")
            });
            let clock = device.get("/v1/clock").text();
            assert!(clock.contains("\"off\":false") && clock.contains("\"peers_agreeing\":3"), "{clock}");
        }
    });
}
