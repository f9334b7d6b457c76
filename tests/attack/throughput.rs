//! What an attack costs honest devices: the same transfer without it and with it, in one run. Ignored by default, because a ratio of
//! two times says something only on a machine that does nothing else; `.ci/run` has it, and takes the better of three runs.

use std::io::Write;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use p2p_agent::random::Random;

use crate::attacker::{Attacker, Forger, probe};
use crate::floods::Before;
use crate::lab::device::Device;
use crate::lab::origin::Content;
use crate::lab::{self, Site};

/// Of honest devices, in both directions; a slow one, so that it is what limits and not two cores that play everybody.
const HONEST_MBIT: u32 = 50;
/// Of the attacker: a tenth, so that it does not simply fill the wire.
const ATTACKER_MBIT: u32 = 5;
const SIZE: usize = 24 << 20;
/// Part of its throughput that a transfer keeps.
const LEAST: f64 = 0.9;

type Attack = fn(&Attacker, Ipv4Addr, &AtomicBool);

fn keeps_its_throughput(site: &mut Site, attack: Attack) {
    let devices = site.agents(2);
    let [holder, wanting] = &devices[..] else { unreachable!() };
    devices.iter().for_each(|device| site.shape_link(device, HONEST_MBIT));
    let attacker = Attacker::plug_in(site, 64, ATTACKER_MBIT);
    let before = Before::of(holder);
    let [without, again] = [0, 2].map(|number| fetched(site, holder, wanting, number));
    let over = AtomicBool::new(false);
    let with = thread::scope(|scope| {
        for target in [holder, wanting] {
            let (attacker, over) = (&attacker, &over);
            scope.spawn(move || attacker.namespace.enter(|| attack(attacker, target.address, over)));
        }
        thread::sleep(Duration::from_secs(2));
        let took = fetched(site, holder, wanting, 4);
        over.store(true, Ordering::SeqCst);
        took
    });
    let ratio = without.min(again).as_secs_f64() / with.as_secs_f64();
    println!("{without:?} and {again:?} without, {with:?} with the attack: {ratio:.3} of the throughput");
    before.assert_again(holder, &[wanting.address]);
    assert_eq!(site.origin.body_bytes(), 0);
    assert!(ratio >= LEAST, "{ratio:.3} of the throughput is left");
}

fn fetched(site: &Site, holder: &Device, wanting: &Device, number: u8) -> Duration {
    let content = Content::random(100 + number, SIZE);
    let url = site.origin.publish(&content);
    holder.hold(&content);
    let started = Instant::now();
    wanting.fetch(&content, &url).succeed_within(Duration::from_secs(60));
    let took = started.elapsed();
    wanting.assert_holds(&content);
    took
}

#[test]
#[ignore = "measures: cargo test --test attack -- --ignored"]
fn under_slow_connections_a_transfer_keeps_nine_tenths_of_its_throughput() {
    lab::run(under_slow_connections_a_transfer_keeps_nine_tenths_of_its_throughput, |site| {
        keeps_its_throughput(site, |attacker, to, over| {
            while !over.load(Ordering::SeqCst) {
                let crowd: Vec<_> = (0..500)
                    .filter_map(|number| {
                        let mut stream =
                            Attacker::connect(attacker.addresses[number % attacker.addresses.len()], to).ok()?;
                        stream.write_all(b"HEAD /p2p/1/00").ok()?;
                        Some(stream)
                    })
                    .collect();
                for byte in 0..20u8 {
                    crowd.iter().for_each(|mut stream| _ = stream.write(&[b'0' + byte % 10]));
                    thread::sleep(Duration::from_millis(50));
                }
            }
        });
    });
}

#[test]
#[ignore = "measures: cargo test --test attack -- --ignored"]
fn under_a_flood_of_connections_a_transfer_keeps_nine_tenths_of_its_throughput() {
    lab::run(under_a_flood_of_connections_a_transfer_keeps_nine_tenths_of_its_throughput, |site| {
        keeps_its_throughput(site, |attacker, to, over| {
            let numbers = (0usize..).take_while(|_| !over.load(Ordering::SeqCst));
            numbers.for_each(|number| _ = Attacker::connect(attacker.addresses[number % attacker.addresses.len()], to));
        });
    });
}

#[test]
#[ignore = "measures: cargo test --test attack -- --ignored"]
fn under_a_flood_of_forged_probes_a_transfer_keeps_nine_tenths_of_its_throughput() {
    lab::run(under_a_flood_of_forged_probes_a_transfer_keeps_nine_tenths_of_its_throughput, |site| {
        keeps_its_throughput(site, |attacker, to, over| {
            let forger = Forger::open();
            let [a, b, c, _] = attacker.addresses[0].octets();
            for number in (0u64..).take_while(|_| !over.load(Ordering::SeqCst)) {
                forger.send(Ipv4Addr::new(a, b, c, 120 + (number % 130) as u8), to, &probe(number));
            }
        });
    });
}

#[test]
#[ignore = "measures: cargo test --test attack -- --ignored"]
fn under_a_flood_of_random_datagrams_a_transfer_keeps_nine_tenths_of_its_throughput() {
    lab::run(under_a_flood_of_random_datagrams_a_transfer_keeps_nine_tenths_of_its_throughput, |site| {
        keeps_its_throughput(site, |attacker, to, over| {
            let (forger, mut random) = (Forger::open(), Random::from_seed([4; 16]));
            while !over.load(Ordering::SeqCst) {
                let mut bytes = random.bytes::<192>();
                // Half of them are of a kind that is looked into.
                (bytes[0], bytes[1]) = (1, 2 + (bytes[1] & 1));
                forger.send(attacker.addresses[usize::from(bytes[2]) % 64], to, &bytes);
            }
        });
    });
}

#[test]
#[ignore = "measures: cargo test --test attack -- --ignored"]
fn under_a_flood_of_unproven_queries_a_transfer_keeps_nine_tenths_of_its_throughput() {
    lab::run(under_a_flood_of_unproven_queries_a_transfer_keeps_nine_tenths_of_its_throughput, |site| {
        keeps_its_throughput(site, |attacker, to, over| {
            let digits = "0123456789abcdef0123456789abcdef";
            let query = format!(
                "HEAD /p2p/1/{digits} HTTP/1.1\r\nHost: a\r\nP2P-Nonce: {digits}\r\nP2P-State: wanting\r\nP2P-Available: 0\r\n\
                 P2P-Active: 0\r\nP2P-Rank: {digits}\r\nP2P-Attempt: 1\r\nP2P-Proof: {digits}\r\n\r\n"
            );
            let together = query.repeat(16);
            for number in (0usize..).take_while(|_| !over.load(Ordering::SeqCst)) {
                let own = attacker.addresses[number % attacker.addresses.len()];
                let Ok(mut stream) = Attacker::connect(own, to) else { continue };
                while !over.load(Ordering::SeqCst) && stream.write_all(together.as_bytes()).is_ok() {}
            }
        });
    });
}
