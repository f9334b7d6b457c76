//! What the targets that hold a mind share: who is on the link, and what must be true of a mind at any moment.

use p2p_agent::agent::{Agent, IfIndex, Transmit};
use p2p_agent::content::{ContentMd5, PublicId};
use p2p_agent::discovery::To;
use p2p_agent::keys::{ContentKeys, DomainKey};
use p2p_agent::limits::{INTERFACES, OUTBOX, PEERS, SLOTS, SLOTS_PER_ADDRESS, WANTS};
use p2p_agent::time::{Instant, Timestamp};
use p2p_agent::wire::Datagram;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// A device of the link 192.168.`link`.0/24.
pub fn address(link: u32, device: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, link as u8, device)
}

/// Addresses and prefixes of the own interfaces, as the driver of a mind knows them.
pub type Links = BTreeMap<IfIndex, (Ipv4Addr, u8)>;

/// Keys of a few contents, made once: deriving them is most of the cost otherwise.
pub fn keys(content: usize) -> ContentKeys {
    use std::sync::OnceLock;
    static ALL: OnceLock<Vec<ContentKeys>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        (0..WANTS + 8).map(|n| ContentKeys::derive(&DomainKey::open(), &ContentMd5([n as u8; 16]))).collect()
    });
    all[content % all.len()].clone()
}

/// Drains what the mind wants to send now and checks each datagram.
pub fn drain(agent: &mut Agent, now: Instant, wall: Timestamp, links: &Links) -> Vec<Transmit> {
    let mut all = Vec::new();
    while let Some(transmit) = agent.poll_transmit(now, wall) {
        let said = Datagram::decode(&transmit.bytes).expect("others can read what is sent");
        let node = match &said {
            Datagram::Probe(probe) => probe.node,
            Datagram::Reply(reply) => reply.node,
            Datagram::Announce(announce) => announce.node,
        };
        assert_eq!(node, agent.node());
        match (transmit.interface, transmit.to) {
            (Some(interface), To::Unicast(to)) => {
                let (own, prefix) = links.get(&interface).expect("an interface that is up");
                let hosts = u32::MAX.checked_shr(u32::from(*prefix)).unwrap_or(0);
                assert_ne!(to, *own, "to itself");
                assert_eq!(to.to_bits() & !hosts, own.to_bits() & !hosts, "off the link");
                assert!(hosts <= 1 || to.to_bits() & hosts != hosts, "to everybody");
            }
            (Some(interface), To::Broadcast) => assert!(links.contains_key(&interface)),
            (None, to) => {
                assert_eq!(to, To::Broadcast);
                assert!(matches!(said, Datagram::Announce(_)));
            }
        }
        all.push(transmit);
        assert!(all.len() <= OUTBOX + WANTS, "endless");
    }
    all
}

/// What holds at any moment.
pub fn check(agent: &Agent, links: &Links) {
    assert!(links.len() <= INTERFACES);
    let mut seen: Vec<(IfIndex, Ipv4Addr)> = Vec::new();
    for peer in agent.discovery.peers().iter() {
        let (own, _) = links.get(&peer.interface).expect("no peer without its interface");
        assert_ne!(peer.addr, *own, "a node never lists itself");
        assert_ne!(peer.node, Some(agent.node()), "a node never lists itself");
        seen.push((peer.interface, peer.addr));
    }
    assert!(seen.len() <= PEERS);
    seen.sort_unstable();
    assert!(seen.windows(2).all(|two| two[0] != two[1]), "one entry for an address");
    let mut wanted: Vec<PublicId> = agent.wants().map(|want| want.keys().id()).collect();
    assert!(wanted.len() <= WANTS);
    wanted.sort_unstable();
    assert!(wanted.windows(2).all(|two| two[0] != two[1]), "one want for a content");
    assert!(usize::from(agent.slots.active()) <= SLOTS && SLOTS_PER_ADDRESS < SLOTS);
}

/// A timer that is due is handled, and then it is not due any more: the driver never spins.
pub fn settle(agent: &mut Agent, now: Instant, wall: Timestamp, links: &Links) -> Vec<Transmit> {
    let mut all = drain(agent, now, wall, links);
    // A full outbox holds the rest up until it is drained.
    for _ in 0..=PEERS / OUTBOX + 2 {
        if agent.poll_timeout() > now {
            return all;
        }
        let due = agent.poll_timeout();
        agent.handle_timeout(now, wall, due);
        all.extend(drain(agent, now, wall, links));
    }
    assert!(agent.poll_timeout() > now, "a timer that stays due");
    all
}
