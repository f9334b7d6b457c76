//! Sequences of commands into the mind: what the network, the local client, the disk and the clock may do, in any order.
//!
//! After every command the invariants of [`super::site`] hold, and each command's own: slots are bounded in all and per address,
//! only who is strictly ahead is followed and never this node itself, every wait ends, what the node says of itself can be, a query is answered
//! once, a hint is not taken twice at once. At the end everybody falls silent, and everything has to be forgotten.

use super::bytes::Bytes;
use super::site::{Links, address, check, drain, keys, settle};
use p2p_agent::agent::{Agent, Held, IfIndex};
use p2p_agent::content::{NodeId, PublicId, Rank, Standing, State};
use p2p_agent::exchange::PeerRequest;
use p2p_agent::handshake::{Answerer, Asker};
use p2p_agent::limits::{
    CONTENT_BYTES, DATAGRAM_BYTES, HINT_INTERVAL, SLOT_DISPLACED_AFTER, SLOTS, SLOTS_PER_ADDRESS, WAIT_WITHOUT_BYTES,
};
use p2p_agent::random::Random;
use p2p_agent::slots::{Admission, SlotId};
use p2p_agent::time::{Duration, Instant, Timestamp};
use p2p_agent::want::{Answered, Condition, Round, SourceEnd, Step};
use p2p_agent::wire::{Announce, Datagram, Echo, Flags, Probe, Reply, os_version};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

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
            if let (Some(interface), Ok(Datagram::Probe(probe))) =
                (transmit.interface, Datagram::decode(&transmit.bytes))
            {
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

    fn hear(&mut self, from: Ipv4Addr, datagram: &Datagram) {
        let mut bytes = [0; DATAGRAM_BYTES];
        datagram.encode(&mut bytes);
        let wall = self.wall();
        let hint = self.agent.handle_datagram(self.now, wall, IfIndex(1), from, &bytes);
        let Some(hint) = hint else { return };
        assert_eq!((hint.peer, hint.interface), (from, IfIndex(1)));
        let Datagram::Announce(announce) = datagram else { panic!("only an announcement hints") };
        assert_eq!(announce.id, hint.id);
        if let Some(last) = self.hinted.insert(hint.id, self.now) {
            let renewed = !self.agent.wants().any(|want| want.keys().id() == hint.id);
            assert!(renewed || self.now.since(last) >= HINT_INTERVAL, "recorded announcements cost little");
        }
    }

    fn probe(&mut self, input: &mut Bytes<'_>) {
        let from = self.stranger(input);
        let probe = Probe {
            node: NodeId([input.byte(); 8]),
            os: os_version("x"),
            nonce: [input.byte(); 16],
            origin: Timestamp::from_nanos(input.long() as i64),
            interval_ms: input.short(),
            flags: Flags::from(input.byte()),
        };
        self.hear(from, &Datagram::Probe(probe));
    }

    fn reply(&mut self, input: &mut Bytes<'_>) {
        self.timer();
        if self.probes.is_empty() {
            return;
        }
        let (_, probe) = self.probes[input.below(self.probes.len())].clone();
        let from = self.stranger(input);
        let near = input.flag();
        let skew = if near { i64::from(input.short()) * 1_000 } else { input.long() as i64 };
        let reply = Reply {
            node: NodeId([input.byte(); 8]),
            os: os_version("y"),
            interval_ms: input.short(),
            flags: Flags::from(input.byte()),
            echo: Echo::from(&probe),
            receive: Timestamp::from_nanos(probe.origin.as_nanos().saturating_add(skew)),
            transmit: Timestamp::from_nanos(probe.origin.as_nanos().saturating_add(skew)),
        };
        self.hear(from, &Datagram::Reply(reply));
        let _ = self.agent.discovery.clock(self.now);
    }

    fn announce(&mut self, input: &mut Bytes<'_>) {
        let (from, keys) = (self.stranger(input), keys(input.below(4)));
        let mut announce = Announce {
            node: NodeId([input.byte(); 8]),
            id: keys.id(),
            standing: standing(input),
            claimed_ms: 0,
            nonce: [input.byte(); 16],
            mac: [0; 16],
        };
        announce.mac = keys.announce_mac(&announce);
        if self.agent.want(keys.id()).is_none() {
            self.hinted.remove(&keys.id());
        }
        self.hear(from, &Datagram::Announce(announce));
    }

    /// A peer asks, and perhaps takes; or sends an old query again.
    fn query(&mut self, input: &mut Bytes<'_>) {
        let own = address(1, DEVICE);
        if input.flag() && !self.queries.is_empty() {
            let (content, from, query) = self.queries[input.below(self.queries.len())];
            let held = Held::Complete(9);
            let again = self.agent.handle_query(self.now, IfIndex(1), (from, own), &keys(content), &query, held);
            assert!(again.is_none(), "a query is answered once");
            return;
        }
        let (from, content) = (self.stranger(input), input.below(4));
        let keys = keys(content);
        let nonce = self.agent.random();
        let mut asker = Asker::new(&keys, from, own, standing(input), nonce);
        let query = asker.query(&keys);
        let held = match input.below(3) {
            0 => Held::Nothing,
            1 => Held::Part(input.number(CONTENT_BYTES)),
            _ => Held::Complete(input.number(CONTENT_BYTES)),
        };
        let answered = self.agent.handle_query(self.now, IfIndex(1), (from, own), &keys, &query, held);
        self.queries.push((content, from, query));
        self.queries.truncate(64);
        let Some((answerer, answer, _)) = answered else { return };
        let said = asker.handle_answer(&keys, &answer).expect("a true answer");
        assert!(said.is_plausible(), "{said:?}");
        assert!(usize::from(said.active) <= SLOTS);
        let known = match held {
            Held::Nothing => 0,
            Held::Part(bytes) | Held::Complete(bytes) => bytes,
        };
        assert!(said.available <= known, "no more than is there is promised");
        let offset = input.number(CONTENT_BYTES);
        let take = asker.take(&keys, offset, input.flag());
        let PeerRequest::Take { id, alternative, proof, .. } = take else { panic!("a take") };
        if input.flag() {
            let other = PeerRequest::Take { id, offset: offset ^ 1, alternative, proof };
            assert!(answerer.handle_take(&keys, &other).is_err(), "another range");
        } else if input.flag() {
            let other = PeerRequest::Take { id, offset, alternative: !alternative, proof };
            assert!(answerer.handle_take(&keys, &other).is_err(), "another urgency");
        } else {
            let third = Answerer::accept(&keys, from, address(1, 99), &query);
            assert!(third.is_err(), "another device");
            let granted = answerer.handle_take(&keys, &take).map_err(|_| ()).expect("a true take");
            let (given, _) = granted.give(&keys, self.agent.random());
            assert!(asker.handle_given(&keys, &given).is_ok());
        }
    }

    /// What the client has, as the mind counts it.
    fn offset(&self, id: PublicId) -> u64 {
        let condition = Condition { starved: false, may_fetch: true, wired: true, speed: 0, fetching: 0 };
        self.agent.want(id).map_or(0, |want| want.standing(self.now, None, condition).available)
    }

    /// What the mind wants to do; true: ask everybody.
    fn step(&mut self, id: PublicId) -> bool {
        for _ in 0..3 {
            match self.agent.poll_want(self.now, id) {
                None => return false,
                Some(Step::Query) => return true,
                Some(Step::Wait { until }) if until <= self.now => {}
                Some(Step::Wait { until }) => {
                    assert!(until <= self.now + WAIT_WITHOUT_BYTES, "all waits end");
                    return false;
                }
                Some(Step::Follow { peer, .. }) => {
                    assert_eq!(self.followed.get(&id), Some(&peer), "somebody who was not chosen");
                    return false;
                }
                Some(Step::Fetch { .. }) => return false,
            }
        }
        panic!("a want that cannot say what to do")
    }

    fn answers(&self, input: &mut Bytes<'_>) -> Vec<Answered> {
        let count = input.below(6);
        let mut answers: Vec<Answered> = Vec::new();
        for _ in 0..count {
            let peer = self.stranger(input);
            let (wired, delay) = (input.flag(), Duration::from_micros(u64::from(input.short())));
            let answered = Answered { peer, standing: standing(input), wired, delay };
            // One answer from each peer.
            if answers.iter().all(|other| other.peer != peer) {
                answers.push(answered);
            }
        }
        answers
    }

    fn round(&mut self, input: &mut Bytes<'_>) {
        let id = self.content(input);
        if !self.step(id) && input.flag() {
            return;
        }
        let answers = self.answers(input);
        let silent = input.below(4);
        let offset = self.offset(id);
        self.agent.handle_round(self.now, id, Round { asked: answers.len() + silent, silent }, &answers);
        if let Some(Step::Follow { peer, .. }) = self.agent.poll_want(self.now, id) {
            if self.followed.get(&id) != Some(&peer) {
                strictly_ahead(&answers, peer, offset);
                self.followed.insert(id, peer);
            }
        }
        for answer in &answers {
            let _ = self.agent.is_enough(self.now, id, answer);
            let _ = self.agent.is_worth_asking(self.now, id, answer.peer);
            assert!(self.agent.patience(answer.peer) <= Duration::from_millis(600));
        }
    }

    fn look(&mut self, input: &mut Bytes<'_>) {
        let id = self.content(input);
        let _ = self.agent.poll_look(self.now, id);
        let answers = self.answers(input);
        let offset = self.offset(id);
        let Some(better) = self.agent.handle_look(self.now, id, &answers) else { return };
        strictly_ahead(&answers, better, offset);
        assert_ne!(self.followed.get(&id), Some(&better), "to itself");
        let moved = match input.below(3) {
            0 => Ok(()),
            1 => Err(SourceEnd::Busy),
            _ => Err(SourceEnd::Cut),
        };
        if let Some(want) = self.agent.want_mut(id) {
            want.handle_moved(self.now, better, moved);
            if moved.is_ok() {
                self.followed.insert(id, better);
            }
        }
    }

    fn client(&mut self, input: &mut Bytes<'_>) {
        let (id, now) = (self.content(input), self.now);
        let bytes = input.number(CONTENT_BYTES);
        let Some(want) = self.agent.want_mut(id) else { return };
        match input.below(5) {
            0 => want.handle_content_failed(now),
            1 => want.handle_response_end(now),
            2 => want.handle_release(now),
            3 => want.handle_size_in_doubt(),
            _ => want.handle_growth(now, bytes),
        }
    }

    fn admit(&mut self, input: &mut Bytes<'_>) {
        let (peer, id, alternative) = (address(1, input.byte() % 8), self.content(input), input.flag());
        let own = self.slots.iter().filter(|(_, owner, _)| *owner == peer).count();
        match self.agent.admit(self.now, peer, id, alternative) {
            Admission::Granted(slot) => {
                assert!(own < SLOTS_PER_ADDRESS && self.slots.len() < SLOTS);
                assert!(self.slots.iter().all(|(other, ..)| other.place() != slot.place()), "two in one place");
                assert!(self.agent.slots.holds(self.now, slot));
                self.slots.push((slot, peer, self.now));
            }
            Admission::Displaces(old) => {
                let place = self.slots.iter().position(|(slot, ..)| *slot == old).expect("one that was granted");
                let (_, owner, moved_at) = self.slots.swap_remove(place);
                assert!(owner == peer && self.now.since(moved_at) >= SLOT_DISPLACED_AFTER, "only its own stalled one");
                self.agent.slots.release(old);
                assert!(!self.agent.slots.holds(self.now, old));
            }
            Admission::Full { .. } => {
                assert!(alternative || own >= SLOTS_PER_ADDRESS || self.slots.len() == SLOTS, "there was room");
            }
        }
    }

    fn upload(&mut self, input: &mut Bytes<'_>) {
        if self.slots.is_empty() {
            return;
        }
        let place = input.below(self.slots.len());
        let (slot, ..) = self.slots[place];
        if input.flag() {
            self.agent.slots.release(slot);
            self.agent.slots.release(slot);
            self.slots.swap_remove(place);
        } else {
            self.agent.slots.handle_progress(self.now, slot, input.number(u64::MAX));
            self.slots[place].2 = self.now;
        }
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
            if let (Some(interface), Ok(Datagram::Probe(probe))) =
                (transmit.interface, Datagram::decode(&transmit.bytes))
            {
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

fn strictly_ahead(answers: &[Answered], peer: Ipv4Addr, offset: u64) {
    let answer = answers.iter().find(|answer| answer.peer == peer).expect("somebody who answered");
    let Standing { state, size, available, .. } = answer.standing;
    let ahead = match state {
        State::Complete => size.is_some_and(|size| offset < size || size == 0 && offset == 0),
        State::Idle => false,
        _ => available > offset,
    };
    assert!(ahead, "{:?} is not ahead of {offset}", answer.standing);
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
    let standing = Standing { state, size, available, active: input.byte(), rank: Rank(rank), attempt: how >> 2 & 3 };
    assert!(standing.is_plausible());
    standing
}
