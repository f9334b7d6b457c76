//! Real links for tests: hosts in network namespaces, joined by virtual cables, made without root.
//!
//! A test function runs itself again in a new user and network namespace ([`inside`]); each [`Host`] in it is another
//! network namespace, entered by a thread of its own. Where the machine does not allow that, the test says so and is
//! skipped; with `P2P_REQUIRE_NETNS=1` it fails instead.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use async_io::{Async, Timer};
use nix::sched::{CloneFlags, setns, unshare};
use smol::future::{block_on, or};

use super::interfaces::{Filter, Interface, usable};
use super::link_watch::LinkWatch;
use super::outgoing::Outgoing;
use super::udp::{Datagram, Port};
use super::{Mode, tcp};

/// Set in the process that runs in the namespaces.
const INSIDE: &str = "P2P_TEST_INSIDE";
/// Set where the namespaces are certain to be allowed.
const REQUIRE: &str = "P2P_REQUIRE_NETNS";

/// Runs `body` in new namespaces; `test` is the path of the calling test.
fn inside(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    if let Err(reason) = permitted() {
        assert!(std::env::var_os(REQUIRE).is_none(), "{REQUIRE} is set, but {reason}");
        return eprintln!("SKIPPED: {test}: {reason}");
    }
    // The sysfs of the new namespace shows its own interfaces; the old one shows the machine's.
    let status = Command::new("unshare")
        .args(["-Urnm", "sh", "-c", "mount -t sysfs sysfs /sys; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .status();
    assert!(status.unwrap().success(), "{test} failed in its namespace");
}

fn permitted() -> Result<(), String> {
    let tried = Command::new("unshare")
        .args(["-Urnm", "sh", "-c", "ip link add p2p-a type veth peer name p2p-b"])
        .stdout(Stdio::null())
        .output()
        .map_err(|error| format!("unshare(1) cannot be run: {error}"))?;
    let reason = String::from_utf8_lossy(&tried.stderr).trim().replace('\n', "; ");
    if tried.status.success() { Ok(()) } else { Err(format!("no namespace with virtual links here: {reason}")) }
}

/// A network namespace.
struct Host(File);

impl Host {
    /// The one that the test began in.
    fn first() -> Self {
        Self(File::open("/proc/thread-self/ns/net").unwrap())
    }

    fn new() -> Self {
        let made = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            Self::first()
        });
        let host = made.join().unwrap();
        host.ip("link set lo up");
        host
    }

    /// Runs `work` as this host. Sockets that it returns stay this host's.
    fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            worker.join().unwrap()
        })
    }

    fn ip(&self, arguments: &str) {
        self.run(|| {
            assert!(Command::new("ip").args(arguments.split(' ')).status().unwrap().success(), "ip {arguments}");
        });
    }

    /// A cable between two hosts, plugged into an interface of that name and address at either end.
    fn cable(&self, name: &str, address: &str, other: &Self, other_name: &str, other_address: &str) {
        other.run(|| {
            // As root of the namespaces, `ip` reaches the other one by the id of the thread that is in it.
            let thread = nix::unistd::gettid();
            self.ip(&format!("link add {name} type veth peer name {other_name} netns {thread}"));
        });
        for (host, name, address) in [(self, name, address), (other, other_name, other_address)] {
            host.ip(&format!("addr add {address} dev {name}"));
            host.ip(&format!("link set {name} up"));
        }
        self.wait_for(name);
        other.wait_for(other_name);
    }

    /// The kernel reports a carrier a moment after the cable is plugged.
    fn wait_for(&self, name: &str) {
        let named = Filter::named([name]).unwrap();
        let start = Instant::now();
        while self.usable(&named).is_empty() {
            assert!(start.elapsed() < Duration::from_secs(5), "{name} does not come up");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// All addresses that the default choice uses, in order.
    fn usable(&self, filter: &Filter) -> Vec<Interface> {
        self.run(|| usable(filter).unwrap().into_iter().collect())
    }

    fn interface(&self, name: &str) -> Interface {
        self.usable(&Filter::named([name]).unwrap()).remove(0)
    }
}

const PORT: u16 = 11_111;
const A: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const B: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const C: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 3);

async fn within<T>(span: Duration, work: impl Future<Output = T>) -> Option<T> {
    or(async { Some(work.await) }, async {
        Timer::after(span).await;
        None
    })
    .await
}

fn hear(port: &Port) -> Option<Datagram> {
    let mut buf = [0; 64];
    block_on(within(Duration::from_millis(300), port.recv(&mut buf))).map(Result::unwrap)
}

fn listen() -> Async<TcpListener> {
    tcp::listen(tcp::make_listener().unwrap(), Mode::Links, PORT).unwrap()
}

fn open(host: &Host) -> Port {
    host.run(|| Port::open(Mode::Links, PORT).unwrap())
}

#[test]
fn a_broadcast_needs_no_route_and_a_unicast_comes_back() {
    inside("net::namespace::a_broadcast_needs_no_route_and_a_unicast_comes_back", || {
        let (a, b) = (Host::first(), Host::new());
        a.cable("eth0", "10.1.0.1/24", &b, "eth0", "10.1.0.2/24");
        let (port_a, port_b) = (open(&a), open(&b));
        port_a.send_broadcast(&a.interface("eth0"), b"everybody").unwrap();
        let heard = hear(&port_b).unwrap();
        assert_eq!((heard.from, heard.to, heard.from_port), (A, Ipv4Addr::BROADCAST, PORT));
        assert_eq!(heard.interface, b.interface("eth0").index);
        let own = hear(&port_a).unwrap();
        assert_eq!((own.from, own.to), (A, Ipv4Addr::BROADCAST), "the kernel lets a sender hear itself");
        port_b.send_to(&b.interface("eth0"), heard.from, b"you").unwrap();
        let reply = hear(&port_a).unwrap();
        assert_eq!((reply.from, reply.to), (B, A));
        assert_eq!((hear(&port_a), hear(&port_b)), (None, None));
    });
}

#[test]
fn each_of_two_interfaces_has_its_own_broadcast_even_with_the_same_subnet() {
    inside("net::namespace::each_of_two_interfaces_has_its_own_broadcast_even_with_the_same_subnet", || {
        let (a, b, c) = (Host::first(), Host::new(), Host::new());
        a.cable("eth0", "10.1.0.1/24", &b, "eth0", "10.1.0.2/24");
        a.cable("eth1", "10.1.0.9/24", &c, "eth0", "10.1.0.3/24");
        let (port_a, port_b, port_c) = (open(&a), open(&b), open(&c));
        let eth1 = a.interface("eth1");
        port_a.send_broadcast(&eth1, b"over eth1").unwrap();
        assert_eq!(hear(&port_c).unwrap().from, eth1.addr);
        assert_eq!(hear(&port_b), None);
        port_a.send_to(&eth1, C, b"over eth1").unwrap();
        assert_eq!(hear(&port_c).unwrap().from, eth1.addr);
        port_c.send_broadcast(&c.interface("eth0"), b"to eth1").unwrap();
        assert_eq!(hear(&port_a).unwrap().interface, eth1.index);
    });
}

#[test]
fn a_connection_goes_out_of_its_interface_and_a_closed_port_is_refused_across_the_link() {
    inside(
        "net::namespace::a_connection_goes_out_of_its_interface_and_a_closed_port_is_refused_across_the_link",
        || {
            let (a, b) = (Host::first(), Host::new());
            a.cable("eth0", "10.1.0.1/24", &b, "eth0", "10.1.0.2/24");
            let eth0 = a.interface("eth0");
            let sockets = Rc::new(a.run(|| Outgoing::new(Mode::Links, 1).unwrap()));
            let connect = |to| {
                let start = Instant::now();
                let result =
                    block_on(sockets.connect(&eth0, SocketAddrV4::new(to, PORT), Duration::from_millis(600), || false));
                (result.map_err(|error| error.kind()), start.elapsed())
            };
            let (refused, after) = connect(B);
            assert_eq!(refused.map(drop).unwrap_err(), std::io::ErrorKind::ConnectionRefused);
            assert!(after < Duration::from_millis(300), "{after:?}");

            let listener = b.run(listen);
            let client = connect(B).0.unwrap();
            let (server, _) = block_on(listener.accept()).unwrap();
            tcp::prepare_accepted(server.get_ref()).unwrap();
            let (local, peer) = tcp::addresses(server.get_ref()).unwrap();
            let interfaces = b.usable(&Filter::Default);
            assert_eq!(tcp::on_link(*local.ip(), *peer.ip(), &interfaces).unwrap().name, "eth0");
            drop((client, server));

            let (nobody, after) = connect(C);
            let nobody = nobody.map(drop);
            assert!(
                nobody.is_err() && after < Duration::from_secs(1),
                "an address that nobody has: {nobody:?}, {after:?}"
            );
        },
    );
}

#[test]
fn a_socket_belongs_to_the_device_that_it_was_first_used_on_and_is_taken_for_no_other() {
    inside(
        "net::namespace::a_socket_belongs_to_the_device_that_it_was_first_used_on_and_is_taken_for_no_other",
        || {
            let (a, b, c) = (Host::first(), Host::new(), Host::new());
            // Both have the same address, and only the device tells them apart.
            a.cable("eth0", "10.1.0.1/24", &b, "eth0", "10.1.0.2/24");
            a.cable("eth1", "10.1.0.1/24", &c, "eth0", "10.1.0.2/24");
            let listeners = [b.run(listen), c.run(listen)];
            let [eth0, eth1] = ["eth0", "eth1"].map(|name| a.interface(name));
            let sockets = Rc::new(a.run(|| Outgoing::new(Mode::Links, 3).unwrap()));
            let connect = |interface| {
                let to = SocketAddrV4::new(B, PORT);
                block_on(sockets.connect(interface, to, Duration::from_millis(300), || false))
                    .map_err(|error| error.kind())
            };
            for _ in 0..3 {
                for (interface, listener) in [&eth0, &eth1].into_iter().zip(&listeners) {
                    let connected = connect(interface).map(drop);
                    assert_eq!(connected, Ok(()), "{}", interface.name);
                    assert!(
                        block_on(within(Duration::from_millis(300), listener.accept())).is_some(),
                        "{}",
                        interface.name
                    );
                }
            }
            // What is plugged in again is another device. One socket is left that belongs to none.
            let replug = || {
                a.ip("link del eth0");
                a.cable("eth0", "10.1.0.1/24", &b, "eth0", "10.1.0.2/24");
                a.interface("eth0")
            };
            let second = replug();
            assert_eq!(connect(&second).map(drop), Ok(()));
            assert!(!sockets.is_worn_out(&[second.clone(), eth1.clone()]));
            let third = replug();
            assert_eq!(connect(&third).map(drop), Err(std::io::ErrorKind::TimedOut), "none that is free is of use");
            assert!(sockets.is_worn_out(&[third.clone(), eth1.clone()]));
            assert_eq!(connect(&eth1).map(drop), Ok(()), "the other device has its own");
        },
    );
}

#[test]
fn nothing_passes_a_router_in_either_direction() {
    inside("net::namespace::nothing_passes_a_router_in_either_direction", || {
        let (a, router, b) = (Host::first(), Host::new(), Host::new());
        a.cable("eth0", "10.1.0.1/24", &router, "eth0", "10.1.0.254/24");
        router.cable("eth1", "10.2.0.254/24", &b, "eth0", "10.2.0.1/24");
        router
            .run(|| assert!(Command::new("sysctl").args(["-qw", "net.ipv4.ip_forward=1"]).status().unwrap().success()));
        a.ip("route add default via 10.1.0.254");
        b.ip("route add default via 10.2.0.254");
        let far = Ipv4Addr::new(10, 2, 0, 1);
        let reaches = a.run(|| {
            let listener = b.run(|| std::net::TcpListener::bind("0.0.0.0:7000").unwrap());
            let reached = std::net::TcpStream::connect_timeout(&(far, 7000).into(), Duration::from_secs(1)).is_ok();
            drop(listener);
            reached
        });
        assert!(reaches, "the router works for others");

        let (port_a, port_b) = (open(&a), open(&b));
        let listener = b.run(listen);
        let eth0 = a.interface("eth0");
        let _ = port_a.send_to(&eth0, far, b"out");
        assert_eq!(hear(&port_b), None, "not routed on the way out");
        let sockets = Rc::new(a.run(|| Outgoing::new(Mode::Links, 1).unwrap()));
        let far_port = SocketAddrV4::new(far, PORT);
        let out = block_on(sockets.connect(&eth0, far_port, Duration::from_millis(300), || false));
        assert!(out.is_err());

        // A sender that does route, with the largest TTL there is.
        let routed = a.run(|| std::net::UdpSocket::bind("0.0.0.0:0").unwrap());
        routed.set_ttl(255).unwrap();
        routed.send_to(b"in", (far, PORT)).unwrap();
        assert_eq!(hear(&port_b), None, "not accepted on the way in");
        let within_ttl =
            a.run(|| std::net::TcpStream::connect_timeout(&(far, PORT).into(), Duration::from_millis(400)));
        assert!(within_ttl.is_err());
        drop(listener);
    });
}

#[test]
fn an_address_and_a_pulled_cable_wake_the_watcher_and_change_what_is_usable() {
    inside("net::namespace::an_address_and_a_pulled_cable_wake_the_watcher_and_change_what_is_usable", || {
        let (a, b) = (Host::first(), Host::new());
        a.cable("eth0", "169.254.7.7/16", &b, "eth0", "169.254.8.8/16");
        let watch = a.run(|| LinkWatch::open().unwrap());
        let wakes = || block_on(within(Duration::from_secs(1), watch.changed())).is_some();
        let addresses = || a.usable(&Filter::Default).iter().map(|eth0| (eth0.addr, eth0.prefix)).collect::<Vec<_>>();
        while block_on(within(Duration::from_millis(100), watch.changed())).is_some() {}
        assert_eq!(addresses(), [(Ipv4Addr::new(169, 254, 7, 7), 16)], "link-local is as good as any");

        a.ip("addr add 10.1.0.1/20 dev eth0");
        assert!(wakes());
        assert_eq!(addresses(), [(A, 20)], "once per interface, the routable address first");

        b.ip("link set eth0 down");
        assert!(wakes());
        assert_eq!(addresses(), [], "no carrier");

        b.ip("link set eth0 up");
        assert!(wakes());
        a.wait_for("eth0");
        while block_on(within(Duration::from_millis(100), watch.changed())).is_some() {}
        assert_eq!(addresses(), [(A, 20)]);

        // More changes than the socket holds messages: one wake-up, no error.
        for _ in 0..300 {
            a.ip("addr add 10.9.0.1/24 dev eth0");
            a.ip("addr del 10.9.0.1/24 dev eth0");
        }
        assert!(wakes());
        assert!(!wakes());
    });
}

#[test]
fn tunnels_and_the_bridges_of_containers_are_used_only_by_name() {
    inside("net::namespace::tunnels_and_the_bridges_of_containers_are_used_only_by_name", || {
        let (a, b) = (Host::first(), Host::new());
        a.cable("eth0", "10.1.0.1/24", &b, "eth0", "10.1.0.2/24");
        a.ip("link set lo up");
        let detours = ["docker0", "site", "veth7", "far"];
        for (subnet, bridge) in ["docker0", "site"].into_iter().enumerate() {
            a.ip(&format!("link add {bridge} type bridge"));
            a.ip(&format!("link add vnet{subnet} type veth peer name peer{subnet}"));
            for up in [format!("vnet{subnet} up master {bridge}"), format!("peer{subnet} up"), format!("{bridge} up")] {
                a.ip(&format!("link set {up}"));
            }
            a.ip(&format!("addr add 172.1{subnet}.0.1/16 dev {bridge}"));
            a.wait_for(bridge);
        }
        a.cable("veth7", "10.7.0.1/24", &b, "eth7", "10.7.0.2/24");
        a.ip("link add far type vxlan id 7 remote 10.1.0.2 dstport 4789 dev eth0");
        a.ip("addr add 10.8.0.1/24 dev far");
        a.ip("link set far up");

        let names = |filter: &Filter| a.usable(filter).iter().map(|found| found.name.to_string()).collect::<Vec<_>>();
        assert_eq!(names(&Filter::Default), ["eth0"]);
        for detour in detours {
            assert_eq!(names(&Filter::named([detour]).unwrap()), [detour]);
        }
        // A bridge that has a card of the site in it is the site's network.
        a.cable("eth1", "10.9.0.1/24", &b, "eth1", "10.9.0.2/24");
        a.ip("addr flush dev eth1");
        a.ip("link set eth1 master site");
        assert_eq!(names(&Filter::Default), ["eth0", "site"]);
    });
}
