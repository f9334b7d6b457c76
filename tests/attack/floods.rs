//! Connections and datagrams in numbers: whatever they occupy is bounded, honest devices are served meanwhile, and soon after all is as before.

use std::io::Read;
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use p2p_agent::limits::{CONNECTIONS_PER_ADDRESS, DATAGRAM_BYTES, QUERY_CONNECTIONS};

use crate::attacker::{Attacker, Forger, probe};
use crate::lab::device::Device;
use crate::lab::namespace::Namespace;
use crate::lab::origin::Content;
use crate::lab::{self, Site, wait_for};

/// Long enough for whatever is to be as before.
pub const AFTERWARDS: Duration = Duration::from_secs(10);
/// What all seats may cost in memory: twice what docs/architecture.md says of a connection, and the allocator's share.
const MEMORY_BYTES: u64 = 4 << 20;
/// What a device sends by itself in six seconds: three broadcasts with their headers, and ARP.
const OWN_BYTES: u64 = 3 * (DATAGRAM_BYTES as u64 + 42) + 200;
/// Connections of a slowloris.
const SLOW: usize = 500;

/// A device that has a content, one that wants it, and the content.
pub fn pair(site: &mut Site, seed: u8, bytes: usize) -> (Device, Device, std::sync::Arc<Content>, String) {
    let content = Content::random(seed, bytes);
    let url = site.origin.publish(&content);
    let mut devices = site.agents(2);
    let (wanting, holder) = (devices.pop().unwrap(), devices.pop().unwrap());
    holder.hold(&content);
    (holder, wanting, content, url)
}

/// Connections at port 11111 of this device, in the kernel's numbers: 01 is established.
pub fn connections(device: &Device) -> usize {
    let table = device.namespace.proc_net("tcp");
    let fields = table.lines().map(|line| line.split_whitespace().skip(1).take(3).collect::<Vec<_>>());
    fields.filter(|of| of[2] == "01" && of[0].ends_with(":2B67")).count()
}

/// What an attack must leave as it was.
pub struct Before {
    connections: usize,
    memory: u64,
}

impl Before {
    pub fn of(device: &Device) -> Self {
        Self { connections: connections(device), memory: device.agent_bytes() }
    }

    /// Waits until slots, seats and table are as before.
    #[track_caller]
    pub fn assert_again(&self, device: &Device, peers: &[Ipv4Addr]) {
        let took = wait_for("all is as before", AFTERWARDS, || {
            let known = device.get("/v1/peers").text().matches("\"address\"").count();
            device.metric("p2p_transfers_active") == 0
                && connections(device) <= self.connections.max(peers.len() * 2)
                && known == peers.len()
                && peers.iter().all(|peer| device.knows(*peer))
        });
        let more = device.agent().unwrap().peak_bytes().saturating_sub(self.memory);
        println!("as before after {took:?}; {} KiB more at the peak", more / 1024);
        assert!(more <= MEMORY_BYTES, "{more} bytes more");
    }
}

/// The content arrives from the holder and from nowhere else.
#[track_caller]
pub fn assert_shared(site: &Site, wanting: &Device, content: &Content, url: &str) {
    wanting.fetch(content, url).succeed_within(Duration::from_secs(30));
    wanting.assert_holds(content);
    assert_eq!(site.origin.body_bytes(), 0, "the holder had all of it");
}

fn open(connections: &mut [TcpStream]) -> usize {
    let is_open = |stream: &mut TcpStream| {
        stream.set_nonblocking(true).unwrap();
        let open = stream.read(&mut [0; 512]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        stream.set_nonblocking(false).unwrap();
        open
    };
    connections.iter_mut().map(is_open).filter(|open| *open).count()
}

#[test]
fn five_hundred_slow_connections_of_one_address_hold_eight_seats_for_a_moment() {
    lab::run(five_hundred_slow_connections_of_one_address_hold_eight_seats_for_a_moment, |site| {
        let (holder, wanting, content, url) = pair(site, 30, 4 << 20);
        let attacker = Attacker::plug_in(site, 1, 20);
        let before = Before::of(&holder);
        let mut crowd = attacker.crowd(holder.address, SLOW);
        // Some wait in the kernel for their turn to displace others.
        wait_for("no more are open than an address may have", Duration::from_secs(2), || {
            open(&mut crowd) <= CONNECTIONS_PER_ADDRESS
        });
        assert_shared(site, &wanting, &content, &url);
        wait_for("all are closed", AFTERWARDS, || open(&mut crowd) == 0);
        before.assert_again(&holder, &[wanting.address]);
        assert!(holder.metric("p2p_connections_displaced_total") as usize >= SLOW / 2);
    });
}

#[test]
fn five_hundred_slow_connections_of_many_addresses_keep_nobody_out() {
    lab::run(five_hundred_slow_connections_of_many_addresses_keep_nobody_out, |site| {
        let (holder, wanting, content, url) = pair(site, 31, 4 << 20);
        let attacker = Attacker::plug_in(site, 64, 20);
        let before = Before::of(&holder);
        let mut crowd = attacker.crowd(holder.address, SLOW);
        assert!(open(&mut crowd) > 0, "they are let in");
        wait_for("no more are open than there are seats", Duration::from_secs(2), || {
            open(&mut crowd) <= QUERY_CONNECTIONS
        });
        assert_shared(site, &wanting, &content, &url);
        wait_for("all are closed", AFTERWARDS, || open(&mut crowd) == 0);
        before.assert_again(&holder, &[wanting.address]);
        assert!(holder.metric("p2p_connections_displaced_total") as usize >= SLOW - QUERY_CONNECTIONS - 100);
    });
}

#[test]
fn connections_that_come_and_go_by_the_thousand_keep_nobody_out() {
    lab::run(connections_that_come_and_go_by_the_thousand_keep_nobody_out, |site| {
        let (holder, wanting, content, url) = pair(site, 32, 4 << 20);
        let attacker = Attacker::plug_in(site, 16, 5);
        let before = Before::of(&holder);
        let until = Instant::now() + Duration::from_secs(6);
        let made = thread::scope(|scope| {
            let flood = scope.spawn(|| {
                attacker.namespace.enter(|| {
                    let numbers = (0usize..).take_while(|_| Instant::now() < until);
                    numbers
                        .filter(|number| {
                            Attacker::connect(attacker.addresses[number % attacker.addresses.len()], holder.address)
                                .is_ok()
                        })
                        .count()
                })
            });
            assert_shared(site, &wanting, &content, &url);
            flood.join().unwrap()
        });
        println!("{made} connections");
        assert!(made > 500, "{made} connections are no flood");
        before.assert_again(&holder, &[wanting.address]);
    });
}

#[test]
fn probes_with_forged_sources_keep_nobody_out_and_leave_nothing_behind() {
    lab::run(probes_with_forged_sources_keep_nobody_out_and_leave_nothing_behind, |site| {
        let (holder, wanting, content, url) = pair(site, 33, 4 << 20);
        let attacker = Attacker::plug_in(site, 1, 5);
        let before = Before::of(&holder);
        let until = Instant::now() + Duration::from_secs(5);
        let (to, lan) = (holder.address, &site.lan);
        let sent = thread::scope(|scope| {
            let flood = scope.spawn(|| {
                attacker.namespace.enter(|| {
                    let forger = Forger::open();
                    let numbers = (0u64..).take_while(|_| Instant::now() < until);
                    numbers
                        .filter(|number| {
                            forger.send(lan.address(120 + (number % 130) as u8), to, &probe(number * 7919))
                        })
                        .count()
                })
            });
            assert_shared(site, &wanting, &content, &url);
            flood.join().unwrap()
        });
        println!("{sent} forged probes");
        assert!(sent > 1_000, "{sent} probes are no flood");
        before.assert_again(&holder, &[wanting.address]);
        // Who comes now is taken in, however many there seemed to be.
        let mut newcomer = site.device(7);
        newcomer.start();
        holder.wait_for_peer(newcomer.address);
        newcomer.wait_for_peer(holder.address);
    });
}

/// Bytes that a device sent for those that it received, while `attack` ran.
fn reflected(device: &Device, attacker: &Attacker, attack: impl FnOnce(&Forger) + Send) -> (u64, u64) {
    let (out, came) = (device.sent_bytes(), attacker.namespace.sent_bytes("eth0"));
    attacker.namespace.enter(|| attack(&Forger::open()));
    thread::sleep(Duration::from_secs(4));
    (device.sent_bytes() - out, attacker.namespace.sent_bytes("eth0") - came)
}

#[test]
fn no_more_bytes_leave_than_came_with_forged_sources() {
    lab::run(no_more_bytes_leave_than_came_with_forged_sources, |site| {
        let device = site.agents(1).pop().unwrap();
        let attacker = Attacker::plug_in(site, 1, 20);
        // A victim that is there, because nothing is sent to an address that answers no ARP.
        let victim = Namespace::new();
        site.lan.plug(&victim, "eth0", 99);
        let (from, to) = (site.lan.address(99), device.address);

        let (out, came) = reflected(&device, &attacker, |forger| {
            for number in 0..1_000 {
                forger.send(from, to, &probe(number));
                thread::sleep(Duration::from_millis(2));
            }
        });
        println!("probes: {out} bytes out, {came} in: {:.2}", out as f64 / came as f64);
        assert!(came >= 1_000 * DATAGRAM_BYTES as u64 && out <= came / 10, "{out} bytes out for {came}");

        let (out, came) = reflected(&device, &attacker, |forger| {
            for number in 0..200 {
                forger.send_syn(from, to, 20_000 + number);
                thread::sleep(Duration::from_millis(5));
            }
        });
        println!("first segments: {out} bytes out, {came} in: {:.2}", out as f64 / came as f64);
        assert!(came >= 200 * 58 && out <= came + OWN_BYTES, "{out} bytes out for {came}");
    });
}
