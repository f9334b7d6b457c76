//! Sequences of commands into the mind: what the network, the local client, the disk and the clock may do, in any order.
//!
//! After every command the invariants of [`super::site`] hold, and each command's own: slots are bounded in all and per address,
//! only who is strictly ahead is followed and never this node itself, every wait ends, what the node says of itself can be, a query is answered
//! once, a hint is not taken twice at once. At the end everybody falls silent, and everything has to be forgotten.

mod network;
mod uploads;
mod wants;

use p2p_agent::agent::{Agent, Held, IfIndex};
use p2p_agent::content::{PublicId, Rank, Standing, State};
use p2p_agent::exchange::PeerRequest;
use p2p_agent::limits::{CONTENT_BYTES, DATAGRAM_BYTES, LAST_ATTEMPT};
use p2p_agent::random::Random;
use p2p_agent::slots::SlotId;
use p2p_agent::time::{Duration, Instant, Timestamp};
use p2p_agent::want::SourceEnd;
use p2p_agent::wire::{Datagram, Probe};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::bytes::Bytes;
use super::site::{Links, address, check, drain, keys, settle};

/// Commands of one input, at most: longer ones show nothing new and take their time.
const COMMANDS: usize = 400;
const DEVICE: u8 = 20;

/// One input: a seed for the mind's own dice, then commands.
pub fn mind(data: &[u8]) {
    let mut input = Bytes(data);
    let mut driver = Driver::new(input.byte());
    for _ in 0..COMMANDS {
        if input.is_empty() {
            break;
        }
        driver.command(&mut input);
        driver.check();
    }
    driver.silence();
}

struct Driver {
    agent: Box<Agent>,
    links: Links,
    now: Instant,
    /// Wall minus monotonic.
    wall_ns: i64,
    /// Probes that were sent, for replies to them.
    probes: Vec<(IfIndex, Probe)>,
    slots: Vec<(SlotId, Ipv4Addr, Instant)>,
    followed: BTreeMap<PublicId, Ipv4Addr>,
    hinted: BTreeMap<PublicId, Instant>,
    queries: Vec<(usize, Ipv4Addr, PeerRequest)>,
}

impl Driver {
    fn new(seed: u8) -> Self {
        let mut driver = Self {
            agent: Box::new(Agent::new("fuzz", Random::from_seed([seed; 16]))),
            links: Links::new(),
            now: Instant::from_micros(5_000_000),
            wall_ns: 1_700_000_000_000_000_000,
            probes: Vec::new(),
            slots: Vec::new(),
            followed: BTreeMap::new(),
            hinted: BTreeMap::new(),
            queries: Vec::new(),
        };
        driver.interface_up(1, DEVICE, 24);
        driver
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_nanos(self.wall_ns.saturating_add(self.now.as_micros() as i64 * 1_000))
    }

    fn command(&mut self, input: &mut Bytes<'_>) {
        match input.byte() % 32 {
            0 | 1 => self.pass(input),
            2 => self.timer(),
            3 => {
                let (link, device) = (1 + input.below(10) as u32, input.byte());
                self.interface_up(link, device, [24, 31, 30, 8, 32, 0][input.below(6)]);
            }
            4 => {
                let link = IfIndex(1 + input.below(10) as u32);
                self.agent.handle_interface_down(self.now, link);
                self.links.remove(&link);
            }
            5 => self.wall_ns = self.wall_ns.wrapping_add((input.long() >> input.below(64)) as i64),
            6 | 7 => self.probe(input),
            8 | 9 => self.reply(input),
            10 => self.announce(input),
            11 => {
                let from = self.stranger(input);
                let bytes = input.slice(DATAGRAM_BYTES);
                let wall = self.wall();
                assert_eq!(self.agent.handle_datagram(self.now, wall, IfIndex(1), from, bytes), None);
            }
            12 | 13 => self.query(input),
            14 => {
                let known = self.agent.want(keys(0).id()).is_some();
                let content = input.below(if known { 40 } else { 2 });
                let (offset, size) = (input.number(CONTENT_BYTES), self.size(input));
                let taken = self.agent.handle_request(self.now, keys(content), offset, size);
                let id = keys(content).id();
                if taken.is_ok() {
                    assert!(self.agent.want(id).is_some_and(|want| want.is_served()));
                    self.followed.remove(&id);
                }
            }
            15 | 16 => {
                let id = self.content(input);
                self.step(id);
            }
            17..=19 => self.round(input),
            20 => {
                let (id, offset) = (self.content(input), input.number(CONTENT_BYTES));
                if let Some(want) = self.agent.want_mut(id) {
                    want.handle_progress(self.now, offset);
                }
            }
            21 => {
                let ends = [
                    SourceEnd::Finished,
                    SourceEnd::Busy,
                    SourceEnd::Exhausted,
                    SourceEnd::Cut,
                    SourceEnd::Dry,
                    SourceEnd::Stalled,
                    SourceEnd::Corrupt,
                    SourceEnd::Slow,
                ];
                let (id, end) = (self.content(input), ends[input.below(ends.len())]);
                let peer = self.followed.remove(&id).unwrap_or_else(|| self.stranger(input));
                self.agent.handle_source_end(self.now, id, peer, end);
            }
            22 => {
                let id = self.content(input);
                self.agent.handle_told(self.now, id);
            }
            23 => {
                let content = input.below(4);
                let (offset, size) = (input.number(CONTENT_BYTES), self.size(input));
                self.agent.handle_report(self.now, keys(content), offset, size);
            }
            24 => self.look(input),
            25 | 26 => self.client(input),
            27 | 28 => self.admit(input),
            29 => self.upload(input),
            30 => {
                let (id, peer, standing) = (self.content(input), self.stranger(input), standing(input));
                self.agent.handle_standing(self.now, id, peer, standing);
            }
            _ => match input.byte() % 3 {
                0 => self.agent.set_link_rate(input.number(u64::MAX)),
                1 => self.agent.set_may_fetch(input.flag()),
                _ => self.agent.discovery.handle_metered(IfIndex(1), input.flag()),
            },
        }
    }

    fn pass(&mut self, input: &mut Bytes<'_>) {
        let span = match input.byte() {
            0 => self.agent.poll_timeout().since(self.now).min(Duration::from_secs(100)),
            micros @ 1..=63 => Duration::from_micros(u64::from(micros)),
            millis @ 64..=191 => Duration::from_millis(u64::from(millis - 63) * 5),
            seconds @ 192..=223 => Duration::from_secs(u64::from(seconds - 191)),
            many => Duration::from_secs(u64::from(many - 223) * 100),
        };
        self.now = self.now + span;
    }

    fn timer(&mut self) {
        let wall = self.wall();
        let due = self.agent.poll_timeout().min(self.now);
        self.agent.handle_timeout(self.now, wall, due);
        let sent = settle(&mut self.agent, self.now, wall, &self.links);
        for transmit in sent {
            let asked = Datagram::decode(&transmit.bytes).ok().and_then(|datagram| datagram.asked());
            if let (Some(interface), Some(probe)) = (transmit.interface, asked) {
                self.probes.push((interface, probe));
            }
        }
        let many = self.probes.len().saturating_sub(16);
        self.probes.drain(..many);
    }

    fn interface_up(&mut self, link: u32, device: u8, prefix: u8) {
        use p2p_agent::discovery::InterfaceUp;
        let own = address(link, device);
        // What Agent::handle_interface_up says is what discovery says; asked twice it is unchanged.
        let usable = prefix <= 31;
        self.agent.handle_interface_up(self.now, IfIndex(link), own, prefix, device % 2 == 0);
        match self.agent.discovery.handle_interface_up(self.now, IfIndex(link), own, prefix, device % 2 == 0) {
            InterfaceUp::Unchanged => _ = self.links.insert(IfIndex(link), (own, prefix)),
            InterfaceUp::Unusable => assert!(!usable),
            InterfaceUp::Full => assert!(!self.links.contains_key(&IfIndex(link))),
            InterfaceUp::Started => panic!("it had been handed in before"),
        }
    }

    /// Some device of the first link that is not this one.
    fn stranger(&self, input: &mut Bytes<'_>) -> Ipv4Addr {
        let device = input.byte();
        let own = self.links.values().any(|(own, _)| *own == address(1, device));
        if own { address(1, 19) } else { address(1, device) }
    }

    fn content(&self, input: &mut Bytes<'_>) -> PublicId {
        keys(input.below(4)).id()
    }

    fn size(&self, input: &mut Bytes<'_>) -> Option<u64> {
        input.flag().then(|| input.number(CONTENT_BYTES))
    }

    fn check(&mut self) {
        check(&self.agent, &self.links);
        assert_eq!(usize::from(self.agent.slots.active()), self.slots.len());
        for content in 0..4 {
            let id = keys(content).id();
            let said = self.agent.standing(self.now, id, Held::Part(self.offset(id)));
            assert!(said.is_plausible(), "{said:?}");
        }
        let followed = &mut self.followed;
        followed.retain(|id, _| self.agent.want(*id).is_some());
        let wall = self.wall();
        let sent = drain(&mut self.agent, self.now, wall, &self.links);
        for transmit in sent {
            let asked = Datagram::decode(&transmit.bytes).ok().and_then(|datagram| datagram.asked());
            if let (Some(interface), Some(probe)) = (transmit.interface, asked) {
                self.probes.push((interface, probe));
            }
        }
    }

    /// Everybody is gone: after a while nothing is left of them.
    fn silence(&mut self) {
        for (slot, ..) in self.slots.drain(..) {
            self.agent.slots.release(slot);
        }
        assert_eq!(self.agent.slots.active(), 0);
        let served: Vec<PublicId> = self.agent.wants().map(|want| want.keys().id()).collect();
        for id in served {
            if let Some(want) = self.agent.want_mut(id) {
                want.handle_response_end(self.now);
            }
        }
        for _ in 0..20 {
            self.now = self.now + Duration::from_secs(40);
            let wall = self.wall();
            // Without an interface there is no timer that would be due.
            self.agent.handle_timeout(self.now, wall, self.now);
            settle(&mut self.agent, self.now, wall, &self.links);
            check(&self.agent, &self.links);
        }
        assert!(self.agent.discovery.peers().is_empty(), "a peer that is gone for minutes");
        assert_eq!(self.agent.wants().count(), 0, "a want that nobody has");
    }
}

/// What a peer may say about itself without being refused when it is read.
fn standing(input: &mut Bytes<'_>) -> Standing {
    let states = [State::Idle, State::Wanting, State::Claiming, State::Fetching, State::Partial, State::Complete];
    let state = states[input.below(states.len())];
    let (one, other) = (input.number(CONTENT_BYTES), input.number(CONTENT_BYTES));
    let how = input.byte();
    let whole = state == State::Complete;
    let available = if whole { one.max(other) } else { one.min(other) };
    let size = (whole || how & 1 == 1).then_some(one.max(other));
    let mut rank = [input.byte(); 16];
    if how & 2 == 2 {
        // As an honest device ranks: not starved, may fetch, whole steps.
        rank[..2].fill(1);
        rank[2..6].copy_from_slice(&u32::try_from(available >> 20).unwrap_or(u32::MAX).to_be_bytes());
    }
    let attempt = (how >> 2 & 3).min(LAST_ATTEMPT);
    let standing = Standing { state, size, available, active: input.byte(), rank: Rank(rank), attempt };
    assert!(standing.is_plausible());
    standing
}
