//! Datagrams: read, and handled by a mind that has just sent its first probe and wants one content.
//!
//! - What is read can be written and reads back as the same.
//! - Nothing from off the link, and nothing unasked, makes a peer; one datagram makes at most one be sent.
//! - The same again as if it were the answer to what was asked, and with the right MAC: past the checks the rest must hold, too.

use super::site::{Links, address, check, drain, keys, settle};
use p2p_agent::agent::{Agent, Held, IfIndex, Transmit};
use p2p_agent::discovery::To;
use p2p_agent::limits::DATAGRAM_BYTES;
use p2p_agent::random::Random;
use p2p_agent::time::{Duration, Instant, Timestamp};
use p2p_agent::wire::{Datagram, Echo, Probe};
use std::net::Ipv4Addr;

const LINK: IfIndex = IfIndex(1);
const NOW: Instant = Instant::from_micros(5_000_000);
const WALL: Timestamp = Timestamp::from_nanos(1_700_000_000_000_000_000);
const LATER: Instant = Instant::from_micros(5_004_000);

/// One received datagram.
pub fn datagram(data: &[u8]) {
    let said = Datagram::decode(data);
    let (mut agent, links, asked) = node();
    let from = address(1, 7);
    assert_eq!(agent.handle_datagram(LATER, WALL, IfIndex(2), from, data), None, "no such interface");
    for stranger in [address(2, 7), address(1, 255), address(1, 0), address(1, 20), Ipv4Addr::BROADCAST] {
        assert_eq!(agent.handle_datagram(LATER, WALL, LINK, stranger, data), None, "not of this link");
    }
    assert!(agent.discovery.peers().is_empty());
    assert!(drain(&mut agent, LATER, WALL, &links).is_empty());
    // Nobody can say anything of a content whose MD5 it does not know.
    assert_eq!(heard(&mut agent, &links, from, data), 0, "a forged announcement");
    assert_eq!(agent.discovery.peers().routable().count(), 0, "nobody is a peer for having sent something");

    let Ok(said) = said else { return };
    let mut bytes = [0; DATAGRAM_BYTES];
    said.encode(&mut bytes);
    assert_eq!(Datagram::decode(&bytes), Ok(said.clone()));

    let (mut agent, links, _) = node();
    match said {
        Datagram::Probe(_) => {}
        Datagram::Reply(mut reply) => {
            reply.echo = Echo::from(&asked);
            Datagram::Reply(reply).encode(&mut bytes);
            heard(&mut agent, &links, from, &bytes);
            // It was one to a broadcast, so the stranger is asked alone; that answer makes it a peer.
            assert_eq!(agent.discovery.peers().routable().count(), 0);
        }
        Datagram::Announce(mut announce) => {
            announce.id = keys(0).id();
            announce.mac = keys(0).announce_mac(&announce);
            Datagram::Announce(announce).encode(&mut bytes);
            heard(&mut agent, &links, from, &bytes);
        }
    }
}

/// Hands one datagram in and follows what comes of it for a few seconds; the hints that it made.
fn heard(agent: &mut Agent, links: &Links, from: Ipv4Addr, bytes: &[u8]) -> usize {
    let hint = agent.handle_datagram(LATER, WALL, LINK, from, bytes);
    check(agent, links);
    let sent = drain(agent, LATER, WALL, links);
    assert!(sent.len() <= 1, "more than was received");
    assert!(sent.iter().all(|transmit| transmit.to == To::Unicast(from) && transmit.bytes.len() <= bytes.len()));
    // The answer to the one that was asked alone.
    for transmit in sent {
        if let Some(probe) = probe(&transmit) {
            if let Ok(Datagram::Reply(mut reply)) = Datagram::decode(bytes) {
                reply.echo = Echo::from(&probe);
                let mut answer = [0; DATAGRAM_BYTES];
                Datagram::Reply(reply).encode(&mut answer);
                assert_eq!(agent.handle_datagram(LATER, WALL, LINK, address(1, 8), &answer), None);
                assert_eq!(agent.discovery.peers().routable().count(), 0, "from another address");
                let mut later = Agent::new("x", Random::from_seed([3; 16]));
                std::mem::swap(agent, &mut later);
                let after = LATER + Duration::from_millis(3);
                let _ = later.handle_datagram(after, WALL, LINK, from, &answer);
                check(&later, links);
                let _ = later.discovery.clock(after);
                for seconds in [1, 3, 60, 600] {
                    let now = after + Duration::from_secs(seconds);
                    settle(&mut later, now, WALL, links);
                    check(&later, links);
                }
            }
        }
    }
    usize::from(hint.is_some())
}

/// A mind with one interface that wants one content, and the first probe that it sent.
fn node() -> (Box<Agent>, Links, Probe) {
    let mut agent = Box::new(Agent::new("fuzz", Random::from_seed([1; 16])));
    agent.handle_interface_up(NOW, LINK, address(1, 20), 24, true);
    let links = Links::from([(LINK, (address(1, 20), 24))]);
    agent.handle_request(NOW, keys(0), 0, None).expect("room");
    assert_eq!(agent.standing(NOW, keys(0).id(), Held::Nothing).available, 0);
    let sent = settle(&mut agent, NOW, WALL, &links);
    let first = sent.iter().find_map(probe).expect("a new link is probed at once");
    (agent, links, first)
}

fn probe(transmit: &Transmit) -> Option<Probe> {
    Datagram::decode(&transmit.bytes).ok()?.asked()
}
