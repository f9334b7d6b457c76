//! Domain keys: who has another one does not exist, and a rotation interrupts nothing.

use std::fs;
use std::net::TcpListener;

use p2p_agent::content::{NodeId, Rank, Standing, State};
use p2p_agent::keys::DomainKey;
use p2p_agent::limits::DATAGRAM_BYTES;
use p2p_agent::wire::{Announce, Datagram};

use crate::lab::neighbour::{self, Neighbour};
use crate::lab::{Agent, Content, Site, wait_for};

const OLD: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const NEW: &str = "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100";

fn start_with_keys(site: &Site, keys: &[&str]) -> Agent {
    let mut agent = site.device();
    let file = agent.path("domain-key");
    fs::write(&file, keys.join("\n") + "\n").unwrap();
    agent.start(&["--domain-key", file.to_str().unwrap()]);
    agent
}

#[test]
fn devices_with_different_domain_keys_share_nothing() {
    let site = Site::new();
    let (holder, stranger) = (start_with_keys(&site, &[OLD]), start_with_keys(&site, &[NEW]));
    let [open] = [site.device()].map(|mut device| {
        device.start(&[]);
        device
    });
    let content = Content::random(80, 10_000);
    holder.hold(&content);
    for device in [&stranger, &open] {
        device.wait_for_peers(2);
        device.get(&content.path()).assert_fetch(&["nobody-has-it"]);
    }
    assert_eq!(holder.metric("p2p_queries_total{kind=\"answered\"}"), 0);
    assert_eq!(holder.metric("p2p_bytes_total{to=\"peers\"}"), 0);
}

#[test]
fn devices_with_the_same_domain_key_share() {
    let site = Site::new();
    let (holder, client) = (start_with_keys(&site, &[OLD]), start_with_keys(&site, &[OLD]));
    let content = Content::random(81, 100_000);
    holder.hold(&content);
    client.wait_for_peers(1);
    client.get(&content.path()).assert_is(&content.bytes);
}

#[test]
fn during_a_rotation_devices_with_the_old_the_new_and_both_keys_share() {
    let site = Site::new();
    let both = start_with_keys(&site, &[NEW, OLD]);
    let (not_yet, already) = (start_with_keys(&site, &[OLD]), start_with_keys(&site, &[NEW]));
    let content = Content::random(82, 100_000);
    both.hold(&content);
    for device in [&not_yet, &already] {
        device.wait_for_peers(2);
        device.get(&content.path()).assert_is(&content.bytes);
    }
}

#[test]
fn during_a_rotation_who_has_both_keys_asks_with_both() {
    let site = Site::new();
    let (not_yet, already) = (start_with_keys(&site, &[OLD]), start_with_keys(&site, &[NEW]));
    let both = start_with_keys(&site, &[NEW, OLD]);
    both.wait_for_peers(2);
    for (seed, holder) in [(84, &not_yet), (85, &already)] {
        let content = Content::random(seed, 300_000);
        holder.hold(&content);
        both.get(&content.path()).assert_is(&content.bytes);
    }
}

#[test]
fn during_a_rotation_a_device_with_the_old_key_waits_for_who_fetches_with_both() {
    let site = Site::new();
    let both = start_with_keys(&site, &[NEW, OLD]);
    let not_yet = start_with_keys(&site, &[OLD]);
    both.wait_for_peers(1);
    not_yet.wait_for_peers(1);
    let content = Content::random(86, 400_000);
    both.get(&content.path()).assert_fetch(&["nobody-has-it"]);
    both.report(&format!("content={}&event=fetching&offset=0&internet=0", content.md5));
    // Nothing is on disk there yet, and still it is known by its old name.
    let follower = std::thread::spawn({
        let (socket, path) = (not_yet.socket(), content.path());
        move || crate::lab::local::try_get(&socket, &path, "").unwrap()
    });
    std::thread::sleep(std::time::Duration::from_millis(600));
    let mut part = both.begin_part(&content, 100_000);
    part.grow_to(&content, content.bytes.len());
    part.finish();
    follower.join().unwrap().assert_is(&content.bytes);
}

#[test]
fn during_a_rotation_who_has_both_keys_looks_into_what_is_announced_under_the_old_one() {
    let site = Site::new();
    let both = start_with_keys(&site, &[NEW, OLD]);
    let content = Content::random(87, 400_000);
    both.get(&content.path()).assert_fetch(&["no-peers"]);
    both.report(&format!("content={}&event=fetching&offset=0&internet=0", content.md5));
    // Nobody that it knows, and so nobody whom it asks of its own accord.
    let own = site.address();
    let neighbour = TcpListener::bind((own, site.port)).unwrap();
    neighbour.set_nonblocking(true).unwrap();
    let keys = content.keys_in(&DomainKey::parse_file(OLD.as_bytes()).unwrap().remove(0));
    let (size, rank) = (Some(content.bytes.len() as u64), Rank([0; 16]));
    let standing = Standing { state: State::Fetching, size, available: 100_000, active: 0, rank, attempt: 1 };
    let (node, nonce) = (NodeId([7; 8]), neighbour::fresh());
    let mut announce = Announce { node, id: keys.id(), standing, claimed_ms: 1_000, nonce, mac: [0; 16] };
    announce.mac = keys.announce_mac(&announce);
    let mut bytes = [0; DATAGRAM_BYTES];
    Datagram::Announce(announce).encode(&mut bytes);
    neighbour::datagrams(own, site.port).send_to(&bytes, (both.address, both.port)).unwrap();
    wait_for("a question to who announced it", || neighbour.accept().is_ok());
}

#[test]
fn a_guess_at_the_content_is_not_confirmed_without_the_domain_key() {
    let site = Site::new();
    let holder = start_with_keys(&site, &[OLD]);
    let content = Content::random(83, 10_000);
    holder.hold(&content);
    let mut neighbour = Neighbour::connect(site.address(), &holder).unwrap();
    assert_eq!(neighbour.query(&content.keys()).unwrap().err(), Some(404));
    let domain = DomainKey::parse_file(OLD.as_bytes()).unwrap().remove(0);
    assert!(neighbour.query(&content.keys_in(&domain)).unwrap().is_ok());
}
