//! Where an agent is to be found, and where not.

use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use p2p_agent::content::NodeId;
use p2p_agent::limits::{DATAGRAM_BYTES, PORT};
use p2p_agent::time::Timestamp;
use p2p_agent::wire::{Datagram, Flags, Probe, os_version};

use crate::lab::namespace::Namespace;
use crate::lab::origin::Content;
use crate::lab::peer::{Asker, send_with_ttl};
use crate::lab::{self, wait_for};

#[test]
fn touching_no_p2p_closes_both_ports_and_removing_it_opens_them() {
    lab::run(touching_no_p2p_closes_both_ports_and_removing_it_opens_them, |site| {
        let content = Content::random(5, 1 << 20);
        let url = site.origin.publish(&content);
        let devices = site.agents(2);
        devices[0].hold(&content);
        assert_eq!(devices[0].open_ports(), (true, true));

        devices[0].switch_off(true);
        let limit = Duration::from_secs(1);
        let took = wait_for("both ports closed", limit, || devices[0].open_ports() == (false, false));
        println!("both ports closed after {took:?}");
        let silent = devices[0].sent_bytes();
        devices[1].fetch(&content, &url).succeed_within(Duration::from_secs(20));
        devices[1].assert_holds(&content);
        assert_eq!(site.origin.body_bytes(), content.size(), "a device that is off gives nothing");
        // ARP answers are the kernel's.
        assert!(devices[0].sent_bytes() - silent < 1_000, "a device that is off sends nothing");

        devices[0].switch_off(false);
        let took = wait_for("both ports open", Duration::from_secs(5), || devices[0].open_ports() == (true, true));
        println!("both ports open after {took:?}");
        devices[0].wait_for_peer(devices[1].address);
        devices[1].wait_for_peer(devices[0].address);
    });
}

#[test]
fn a_device_on_two_networks_finds_and_serves_its_peers_on_both() {
    lab::run(a_device_on_two_networks_finds_and_serves_its_peers_on_both, |site| {
        let content = Content::random(6, 4 << 20);
        let url = site.origin.publish(&content);
        let mut second = site.another_lan();
        let mut between = site.device(0);
        second.plug(&between.namespace, "eth1", 10);
        let mut here = site.device(1);
        let mut there = site.device_at(&mut second, 2);
        for device in [&mut between, &mut here, &mut there] {
            device.start();
        }
        between.wait_for_peer(here.address);
        between.wait_for_peer(there.address);
        here.wait_for_peer(between.address);
        there.wait_for_peer(second.address(10));
        assert!(!here.knows(there.address) && !here.knows(second.address(10)), "networks do not mix");
        assert!(!there.knows(here.address) && !there.knows(between.address), "networks do not mix");

        between.hold(&content);
        for device in [&here, &there] {
            device.fetch(&content, &url).succeed_within(Duration::from_secs(20));
            device.assert_holds(&content);
        }
        assert_eq!(site.origin.requests(), 0);
    });
}

#[test]
fn a_device_without_a_link_waits_for_one_says_so_once_and_follows_its_address() {
    lab::run(a_device_without_a_link_waits_for_one_says_so_once_and_follows_its_address, |site| {
        const SENTENCE: &str = "no usable network interface (eth0 is down)";
        let content = Content::random(7, 1 << 20);
        let url = site.origin.publish(&content);
        let (mut late, mut here) = (site.device(0), site.device(1));
        late.namespace.ip("link set eth0 down");
        late.start();
        here.start();
        let limit = Duration::from_secs(10);
        wait_for("the agent says what it waits for", limit, || late.said("agent").contains(SENTENCE));
        late.namespace.ip("link set eth0 up");
        here.wait_for_peer(late.address);
        late.wait_for_peer(here.address);
        assert_eq!(late.said("agent").matches(SENTENCE).count(), 1);

        let moved = site.lan.address(200);
        late.namespace.ip("address flush dev eth0 scope global");
        late.namespace.ip(&format!("address add {moved}/24 dev eth0"));
        here.wait_for_peer(moved);
        here.hold(&content);
        late.wait_for_peer(here.address);
        late.fetch(&content, &url).succeed_within(Duration::from_secs(20));
        late.assert_holds(&content);
        assert_eq!(site.origin.requests(), 0);
    });
}

#[test]
fn a_host_behind_a_router_gets_nothing() {
    lab::run(a_host_behind_a_router_gets_nothing, |site| {
        let content = Content::random(7, 1 << 20);
        let device = site.agents(1).pop().unwrap();
        device.hold(&content);

        // The same asker, by the same code, on the link: first as agents do, then as a router would pass it on.
        let neighbour = Namespace::new();
        site.lan.plug(&neighbour, "eth0", 99);
        send_with_ttl(&neighbour, 255);
        assert!(is_answered_by_udp(&neighbour, device.address), "a neighbour's probe is answered");
        assert!(gets_the_content(&neighbour, device.address, &content), "a neighbour gets the content");
        send_with_ttl(&neighbour, 254);
        assert!(!is_answered_by_udp(&neighbour, device.address), "a probe with TTL 254 is not answered");
        assert!(!is_reached_by_tcp(&neighbour, device.address), "a connection with TTL 254 is not accepted");

        send_with_ttl(&site.outside, 255);
        let origin = SocketAddr::from((Ipv4Addr::new(10, 78, 0, 2), 80));
        let routed = device.namespace.enter(|| TcpStream::connect_timeout(&origin, Duration::from_secs(2)));
        assert!(routed.is_ok(), "the router routes");
        assert!(!is_answered_by_udp(&site.outside, device.address), "a probe from behind the router is not answered");
        assert!(!is_reached_by_tcp(&site.outside, device.address), "a connection from behind it is not accepted");
    });
}

/// The rules of docs/operations.md; all programs of a device here are of one user.
#[test]
fn two_routing_rules_forbid_a_user_to_leave_the_link_and_sharing_goes_on() {
    lab::run(two_routing_rules_forbid_a_user_to_leave_the_link_and_sharing_goes_on, |site| {
        let content = Content::random(8, 1 << 20);
        let url = site.origin.publish(&content);
        let devices = site.agents(2);
        let outside = SocketAddr::from((Ipv4Addr::new(10, 78, 0, 2), 80));
        let leaves = || {
            devices[0].namespace.enter(|| {
                let datagram = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap().send_to(b"secret", outside);
                let connection = TcpStream::connect_timeout(&outside, Duration::from_secs(2));
                (datagram.err().map(|error| error.kind()), connection.err().map(|error| error.kind()))
            })
        };
        assert_eq!(leaves(), (None, None), "the router routes");
        devices[0].namespace.ip("rule add pref 100 uidrange 0-0 lookup main suppress_prefixlength 0");
        devices[0].namespace.ip("rule add pref 101 uidrange 0-0 prohibit");
        let denied = Some(std::io::ErrorKind::PermissionDenied);
        assert_eq!(leaves(), (denied, denied));

        devices[0].hold(&content);
        devices[1].fetch(&content, &url).succeed_within(Duration::from_secs(20));
        devices[1].assert_holds(&content);
        let back = Content::random(9, 1 << 20);
        devices[1].hold(&back);
        devices[0].fetch(&back, &url).succeed_within(Duration::from_secs(20));
        devices[0].assert_holds(&back);
        assert_eq!(site.origin.body_bytes(), 0);
    });
}

fn is_answered_by_udp(from: &Namespace, agent: Ipv4Addr) -> bool {
    from.enter(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let probe = Probe {
            node: NodeId([9; 8]),
            os: os_version("test"),
            nonce: [9; 16],
            origin: Timestamp::from_nanos(1),
            interval_ms: 3_000,
            flags: Flags::default(),
        };
        let mut bytes = [0; DATAGRAM_BYTES];
        Datagram::Probe(probe).encode(&mut bytes);
        socket.send_to(&bytes, (agent, PORT)).unwrap();
        // A broadcast probe of the agent's own may come first.
        (0..4).any(|_| match socket.recv(&mut bytes) {
            Ok(length) => matches!(Datagram::decode(&bytes[..length]), Ok(Datagram::Reply(_))),
            Err(_) => false,
        })
    })
}

fn is_reached_by_tcp(from: &Namespace, agent: Ipv4Addr) -> bool {
    from.enter(|| TcpStream::connect_timeout(&SocketAddr::from((agent, PORT)), Duration::from_secs(2)).is_ok())
}

fn gets_the_content(from: &Namespace, agent: Ipv4Addr, content: &Content) -> bool {
    from.enter(|| {
        let mut asker = Asker::connect(agent, content, 1).unwrap();
        asker.query().unwrap().unwrap();
        let opener = asker.take(0).unwrap().unwrap();
        asker.receive(opener).unwrap() == content.bytes
    })
}
