//! The site: an event queue in (time, id) order, the links between the devices, and the flows over them.
//!
//! Everything follows from one seed. An event is handled by one device's mind and body (`body.rs`); what comes of it are
//! further events. While bytes flow, a tick every 10 ms shares the links out and moves the bytes: a device can pass on in one
//! tick what it got in the last, which is about what the real body's batches and wake-ups cost per hop.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::Ipv4Addr;
use std::rc::Rc;

use p2p_agent::agent::{Agent, IfIndex};
use p2p_agent::content::{ContentMd5, NodeId, PublicId, Rank, Standing, State};
use p2p_agent::discovery::To;
use p2p_agent::exchange::{Answer, PeerRequest};
use p2p_agent::keys::{ContentKeys, DomainKey};
use p2p_agent::limits::{DATAGRAM_BYTES, READER_STALL, SLOTS};
use p2p_agent::random::Random;
use p2p_agent::slots::SlotId;
use p2p_agent::wire::{Announce, Datagram};

use crate::flow::{Demand, share};
use crate::node::{Client, Clock, Dice, File, Link, Node, Relay, Side, Us};

pub const MS: Us = 1_000;
pub const S: Us = 1_000_000;
/// Between two shares of the links.
pub const TICK: Us = 10 * MS;
/// The only interface of every device.
pub const ETH: IfIndex = IfIndex(2);
/// Events kept for the report of a failure.
const REMEMBERED: usize = 60;
const HOSTILE_PAUSE: Us = 100 * MS;

/// What happens, to whom.
pub enum Event {
    Boot(usize),
    Fault(usize),
    Datagram { to: usize, from: usize, bytes: Rc<[u8; DATAGRAM_BYTES]> },
    Timer { node: usize, epoch: u32 },
    Query { from: usize, to: usize, content: usize, ask: Ask, request: PeerRequest },
    Answer { from: usize, to: usize, content: usize, ask: Ask, answer: Option<Answer> },
    Patience { node: usize, peer: usize, content: usize, ask: Ask },
    Enough { node: usize, content: usize, ask: Ask },
    Take { from: usize, to: usize, content: usize, serial: u32, alternative: bool },
    Taken { from: usize, to: usize, content: usize, serial: u32, taken: Taken },
    Relay { node: usize, content: usize, serial: u32 },
    Client { node: usize, content: usize, serial: u32 },
    Report { node: usize, content: usize, serial: u32 },
    Watch { node: usize, epoch: u32 },
    Hostile(usize),
    Tick,
}

/// Which question an answer belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    Round(u32),
    Look(u32),
    Hint(PublicId, u32),
}

/// What a take led to.
#[derive(Clone, Copy)]
pub enum Taken {
    Records(Option<SlotId>),
    Busy,
    NotAhead,
    TimedOut,
}

struct Entry {
    at: Us,
    id: u64,
    /// Boxed: the heap moves its entries about.
    event: Box<Event>,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.id) == (other.at, other.id)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.id).cmp(&(other.at, other.id))
    }
}

/// What goes wrong, when.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Power fails; the sync starts again after a boot.
    Off(usize),
    On(usize),
    /// Power fails on whoever downloads, once it has half of the content.
    OffFetcherAtHalf,
    /// The wall clock is set.
    Step(usize, i64),
    /// Both cores are busy.
    Busy(usize, Us),
    /// Only devices of the same island reach each other.
    Split(usize),
    Heal,
}

/// One content of the sync.
pub struct Content {
    pub keys: ContentKeys,
    pub size: u64,
}

/// What all devices share.
#[derive(Clone, Copy)]
pub struct Site {
    /// Bytes per second; 0 = none.
    pub uplink: f64,
    /// Air of the Wi-Fi cell, bytes per second.
    pub air: f64,
    pub loss: f64,
    pub duplicates: f64,
    /// The size stands in the sync file.
    pub size_known: bool,
}

/// Bytes on their way.
pub struct Flow {
    /// None: the internet.
    pub source: Option<usize>,
    pub to: usize,
    pub content: usize,
    pub serial: u32,
    pub slot: Option<SlotId>,
    /// Where it began.
    pub begins_at: Us,
    pub heard_at: Us,
    pub grown_at: Us,
    /// Last time that the server got anything off its hands.
    pub sent_at: Us,
    pub credit: f64,
    pub rate: f64,
    /// The other end is gone without a word.
    pub dead: bool,
    /// To be dropped.
    pub over: bool,
}

/// One line of the story.
struct Note {
    at: Us,
    node: usize,
    what: &'static str,
    a: u64,
    b: u64,
}

/// The whole site.
pub struct World {
    pub now: Us,
    pub seed: u64,
    pub name: String,
    id: u64,
    queue: BinaryHeap<Reverse<Entry>>,
    pub nodes: Vec<Node>,
    pub contents: Vec<Content>,
    pub site: Site,
    pub flows: Vec<Flow>,
    pub faults: Vec<(Us, Fault)>,
    pub dice: Dice,
    pub half: bool,
    ticking: bool,
    notes: VecDeque<Note>,
    heard: Vec<Rc<[u8; DATAGRAM_BYTES]>>,
    /// Contents that devices lack; those that are still off will count theirs when they boot.
    pub unfinished: usize,
    /// Devices that will boot.
    pub coming: usize,
    /// Bytes that no device has at first.
    pub missing: u64,
}

impl World {
    pub fn new(name: &str, seed: u64, mut dice: Dice, site: Site, sizes: &[u64]) -> Self {
        let contents = sizes
            .iter()
            .map(|size| {
                let md5 = ContentMd5(bytes(&mut dice));
                Content { keys: ContentKeys::derive(&DomainKey::open(), &md5), size: *size }
            })
            .collect();
        Self {
            now: 0,
            seed,
            name: name.to_owned(),
            id: 0,
            queue: BinaryHeap::new(),
            nodes: Vec::new(),
            contents,
            site,
            flows: Vec::new(),
            faults: Vec::new(),
            dice,
            half: false,
            ticking: false,
            notes: VecDeque::new(),
            heard: Vec::new(),
            unfinished: 0,
            coming: 0,
            missing: 0,
        }
    }

    /// One more device, off at first.
    pub fn add(&mut self, link: Link) -> usize {
        let at = self.nodes.len();
        let clock = Clock {
            ppm: self.dice.below(101) as i64 - 50,
            start_us: self.dice.between(S, 1_000 * S),
            wall_ns: self.dice.below(4_000_000_000) as i64,
        };
        self.nodes.push(Node {
            address: address(at),
            side: Side::Honest,
            on: false,
            agent: Agent::new("sim", Random::from_seed(bytes(&mut self.dice))),
            link,
            clock,
            may_fetch: true,
            isolated: false,
            loss: 0.0,
            island: 0,
            busy_until: 0,
            counted: true,
            lines: Default::default(),
            files: self.contents.iter().map(|_| File::new()).collect(),
            jobs: VecDeque::new(),
            timer_at: Us::MAX,
            epoch: 0,
            hints: Vec::new(),
            watching: false,
            known: 0,
            queries: 0,
            datagrams: 0,
            loaded: false,
            served: 0,
        });
        at
    }

    pub fn at(&mut self, at: Us, event: Event) {
        self.coming += usize::from(matches!(event, Event::Boot(_)));
        self.id += 1;
        self.queue.push(Reverse(Entry { at: at.max(self.now), id: self.id, event: Box::new(event) }));
    }

    pub fn after(&mut self, span: Us, event: Event) {
        self.at(self.now + span, event);
    }

    pub fn note(&mut self, node: usize, what: &'static str, a: u64, b: u64) {
        if self.notes.len() == REMEMBERED {
            self.notes.pop_front();
        }
        if crate::tracing() {
            eprintln!("{:>12.6} node {node:>3} {what} {a} {b}", self.now as f64 / 1e6);
        }
        self.notes.push_back(Note { at: self.now, node, what, a, b });
    }

    /// Ends the test with the seed and what happened last.
    pub fn fail(&self, why: &str) -> ! {
        let mut story = String::new();
        for Note { at, node, what, a, b } in &self.notes {
            story += &format!("{:>12.6} node {node:>3} {what} {a} {b}\n", *at as f64 / 1e6);
        }
        panic!(
            "{why}\n{story}at {:.6} s of `{}`; again with P2P_SIM_SCENARIO='{}' P2P_SIM_SEED={}",
            self.now as f64 / 1e6,
            self.name,
            self.name,
            self.seed
        );
    }

    /// Runs until every client has finished.
    pub fn run(&mut self, until: Us) {
        for at in 0..self.faults.len() {
            self.coming += usize::from(matches!(self.faults[at].1, Fault::On(_)));
            self.at(self.faults[at].0, Event::Fault(at));
        }
        while self.unfinished + self.coming > 0 {
            let Some(Reverse(Entry { at, event, .. })) = self.queue.pop() else { self.fail("nothing more happens") };
            if at > until {
                self.fail("not everybody finished in time");
            }
            self.now = at;
            self.handle(*event);
        }
        self.come_to_rest();
    }

    /// Lets transfers to who is gone run out, then looks that every slot is back.
    fn come_to_rest(&mut self) {
        let until = self.now + READER_STALL.as_micros() as Us + S;
        while let Some(Reverse(Entry { at, event, .. })) = self.queue.pop() {
            if at > until {
                break;
            }
            self.now = at;
            self.handle(*event);
        }
        for node in 0..self.nodes.len() {
            if self.nodes[node].on && self.nodes[node].agent.slots.active() != 0 {
                self.fail("a slot was never given back");
            }
        }
    }

    fn handle(&mut self, event: Event) {
        let node = match &event {
            Event::Boot(node) | Event::Hostile(node) => *node,
            Event::Datagram { to, .. }
            | Event::Query { to, .. }
            | Event::Answer { to, .. }
            | Event::Take { to, .. }
            | Event::Taken { to, .. } => *to,
            Event::Timer { node, .. }
            | Event::Patience { node, .. }
            | Event::Enough { node, .. }
            | Event::Relay { node, .. }
            | Event::Client { node, .. }
            | Event::Report { node, .. }
            | Event::Watch { node, .. } => *node,
            Event::Fault(fault) => return self.fault(self.faults[*fault].1),
            Event::Tick => return self.tick(),
        };
        // Whoever has no time looks at it later.
        if self.nodes[node].busy_until > self.now {
            let at = self.nodes[node].busy_until;
            if let Event::Timer { node, .. } = event {
                // Its own due time tells the mind how late it is.
                self.nodes[node].timer_at = self.nodes[node].timer_at.min(self.now);
            }
            return self.at(at, event);
        }
        match event {
            Event::Boot(node) => self.boot(node),
            Event::Hostile(node) => self.hostile(node),
            Event::Datagram { to, from, bytes } => self.datagram(to, from, &bytes),
            Event::Timer { node, epoch } => self.timer(node, epoch),
            Event::Query { from, to, content, ask, request } => self.query(from, to, content, ask, &request),
            Event::Answer { from, to, content, ask, answer } => self.answer(to, from, content, ask, answer),
            Event::Patience { node, peer, content, ask } => self.answer(node, peer, content, ask, None),
            Event::Enough { node, content, ask } => self.enough(node, content, ask),
            Event::Take { from, to, content, serial, alternative } => self.take(from, to, content, serial, alternative),
            Event::Taken { from, to, content, serial, taken } => self.taken(from, to, content, serial, taken),
            Event::Relay { node, content, serial } => self.wake(node, content, serial),
            Event::Client { node, content, serial } => self.client(node, content, serial),
            Event::Report { node, content, serial } => self.report(node, content, serial),
            Event::Watch { node, epoch } => self.watch(node, epoch),
            Event::Fault(_) | Event::Tick => {}
        }
        self.check(node);
    }

    // --- links ----------------------------------------------------------------------------------------------------

    pub fn reach(&self, a: usize, b: usize) -> bool {
        let (a, b) = (&self.nodes[a], &self.nodes[b]);
        a.on && b.on && !(a.isolated && b.isolated) && a.island == b.island
    }

    pub fn loss(&self, a: usize, b: usize) -> f64 {
        self.site.loss + self.nodes[a].loss + self.nodes[b].loss
    }

    /// One way, once.
    pub fn delay(&mut self, a: usize, b: usize) -> Us {
        let mut delay = self.dice.between(150, 400);
        for node in [a, b] {
            if self.nodes[node].link.wifi {
                delay += self.dice.between(MS, 6 * MS);
            }
            if self.nodes[node].loaded {
                delay += self.dice.below(4 * MS);
            }
        }
        delay
    }

    /// One message over TCP: lost segments come again after the kernel's time-out, which doubles.
    pub fn message_delay(&mut self, a: usize, b: usize, first_timeout: Us) -> Us {
        let (mut total, mut again) = (0, first_timeout);
        let loss = self.loss(a, b);
        while self.dice.chance(loss) {
            total += again;
            again *= 2;
        }
        total + self.delay(a, b)
    }

    pub fn send(&mut self, from: usize, to: To, bytes: [u8; DATAGRAM_BYTES]) {
        self.nodes[from].datagrams += 1;
        let bytes = Rc::new(bytes);
        match to {
            To::Broadcast => (0..self.nodes.len()).for_each(|to| self.send_to(from, to, &bytes, true)),
            To::Unicast(address) => {
                if let Some(to) = place(address).filter(|to| *to < self.nodes.len()) {
                    self.send_to(from, to, &bytes, false);
                }
            }
        }
    }

    fn send_to(&mut self, from: usize, to: usize, bytes: &Rc<[u8; DATAGRAM_BYTES]>, broadcast: bool) {
        if from == to || !self.reach(from, to) {
            return;
        }
        // Over the air nobody acknowledges a broadcast.
        let wifi = broadcast && (self.nodes[from].link.wifi || self.nodes[to].link.wifi);
        let loss = self.loss(from, to) + if wifi { 0.02 } else { 0.0 };
        let duplicate = self.dice.chance(self.site.duplicates);
        for _ in 0..1 + usize::from(duplicate) {
            if !self.dice.chance(loss) {
                let delay = self.delay(from, to);
                self.after(delay, Event::Datagram { to, from, bytes: bytes.clone() });
            }
        }
    }

    // --- faults ---------------------------------------------------------------------------------------------------

    fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::Off(node) => self.power_off(node),
            Fault::On(node) => {
                self.coming -= 1;
                self.at(self.now, Event::Boot(node));
            }
            Fault::OffFetcherAtHalf => self.half = true,
            Fault::Step(node, ns) => self.nodes[node].clock.wall_ns += ns,
            Fault::Busy(node, span) => {
                self.note(node, "is busy for µs", span, 0);
                self.nodes[node].busy_until = self.now + span;
            }
            Fault::Split(half) => {
                for (at, node) in self.nodes.iter_mut().enumerate() {
                    node.island = u8::from(at >= half);
                }
                for flow in &mut self.flows {
                    let apart = flow.source.is_some_and(|s| self.nodes[s].island != self.nodes[flow.to].island);
                    flow.dead |= apart;
                }
            }
            Fault::Heal => self.nodes.iter_mut().for_each(|node| node.island = 0),
        }
    }

    pub fn power_off(&mut self, node: usize) {
        self.note(node, "loses power", 0, 0);
        let device = &mut self.nodes[node];
        device.on = false;
        device.epoch += 1;
        let counted = device.files.iter().filter(|file| file.client != Client::Done).count();
        self.unfinished -= counted;
        for file in &mut self.nodes[node].files {
            file.serial += 1;
            file.client_serial += 1;
            file.relay = Relay::Off;
            (file.stream, file.moving, file.look) = (0, None, Default::default());
            if file.client != Client::Done {
                file.client = Client::Idle;
            }
        }
        for flow in &mut self.flows {
            if flow.source == Some(node) {
                flow.dead = true;
                flow.slot = None;
                self.nodes[node].served = 0;
            }
            if flow.to == node {
                flow.dead = true;
                flow.over |= flow.source.is_none();
            }
        }
    }

    fn hostile(&mut self, node: usize) {
        match self.nodes[node].side {
            Side::Honest => return,
            Side::Replays => {
                if !self.heard.is_empty() {
                    let at = self.dice.below(self.heard.len() as u64) as usize;
                    let bytes = *self.heard[at];
                    self.send(node, To::Broadcast, bytes);
                }
            }
            side @ (Side::Stalls | Side::Forges) => {
                let standing = self.lie(0);
                let mut announce = Announce {
                    node: NodeId(bytes(&mut self.dice)),
                    id: self.contents[0].keys.id(),
                    standing,
                    claimed_ms: u32::MAX,
                    nonce: bytes(&mut self.dice),
                    mac: bytes(&mut self.dice),
                };
                if side == Side::Stalls {
                    announce.mac = self.contents[0].keys.announce_mac(&announce);
                }
                let mut bytes = [0; DATAGRAM_BYTES];
                Datagram::Announce(announce).encode(&mut bytes);
                self.send(node, To::Broadcast, bytes);
            }
        }
        self.after(HOSTILE_PAUSE, Event::Hostile(node));
    }

    /// What a hostile device with keys says: it is about to fetch, better placed than anybody, and has a little more each time.
    pub fn lie(&mut self, content: usize) -> Standing {
        let size = self.contents[content].size;
        let state = if self.seed % 2 == 0 { State::Fetching } else { State::Claiming };
        let available = if state == State::Fetching { (self.now / 1_000).min(size) } else { 0 };
        Standing { state, size: Some(size), available, active: 0, rank: Rank([0xff; 16]), attempt: 1 }
    }

    pub fn overhear(&mut self, node: usize, bytes: &Rc<[u8; DATAGRAM_BYTES]>) {
        let _ = node;
        if matches!(Datagram::decode(&bytes[..]), Ok(Datagram::Announce(_))) && self.heard.len() < 1_000 {
            self.heard.push(bytes.clone());
        }
    }

    // --- bytes ----------------------------------------------------------------------------------------------------

    pub fn start_flow(&mut self, flow: Flow) {
        self.flows.push(flow);
        if !self.ticking {
            self.ticking = true;
            self.at((self.now / TICK + 1) * TICK, Event::Tick);
        }
    }

    fn tick(&mut self) {
        let n = self.nodes.len();
        let (uplink, air) = (4 * n, 4 * n + 1);
        let mut capacity = Vec::with_capacity(4 * n + 2);
        for node in &self.nodes {
            // A Wi-Fi station has only the air; its own rate bounds both directions.
            capacity.extend([node.link.up, node.link.down, node.link.disk, node.link.disk * 2.0]);
        }
        capacity.extend([self.site.uplink, self.site.air]);
        let dt = TICK as f64 / S as f64;
        let mut demands: Vec<Demand> = Vec::with_capacity(self.flows.len());
        for flow in &self.flows {
            let to = &self.nodes[flow.to];
            let part = to.files[flow.content].part;
            let size = self.contents[flow.content].size;
            let there = match flow.source {
                None => size,
                Some(source) if self.nodes[source].side == Side::Stalls => part,
                Some(source) => {
                    let file = &self.nodes[source].files[flow.content];
                    if self.nodes[source].busy_until > self.now { part } else { file.part.max(part) }
                }
            };
            let strange = flow.source.is_some() && to.files[flow.content].stream != flow.serial;
            let stopped = strange || flow.dead || flow.over || to.busy_until > self.now || flow.begins_at > self.now;
            let limit = if stopped { 0.0 } else { (there - part) as f64 / dt };
            let mut demand = Demand::new(limit);
            match flow.source {
                None => demand.cross(uplink),
                Some(source) => {
                    demand.cross(4 * source);
                    demand.cross(4 * source + 3);
                    if self.nodes[source].link.wifi {
                        demand.cross(air);
                    }
                }
            }
            demand.cross(4 * flow.to + 1);
            demand.cross(4 * flow.to + 2);
            if to.link.wifi {
                demand.cross(air);
            }
            demands.push(demand);
        }
        share(&mut demands, &capacity);
        for (at, demand) in demands.iter().enumerate() {
            self.advance(at, demand.rate, dt);
        }
        if self.half {
            self.power_off_fetcher();
        }
        for at in 0..self.flows.len() {
            self.look_at(at);
        }
        self.flows.retain(|flow| !flow.over);
        for node in 0..n {
            if self.nodes[node].on {
                self.settle(node);
                self.check(node);
            }
        }
        self.nodes.iter_mut().for_each(|node| node.loaded = false);
        for flow in &self.flows {
            self.nodes[flow.to].loaded = true;
            if let Some(source) = flow.source {
                self.nodes[source].loaded = true;
            }
        }
        self.ticking = !self.flows.is_empty();
        if self.ticking {
            self.after(TICK, Event::Tick);
        }
    }

    fn advance(&mut self, at: usize, rate: f64, dt: f64) {
        let flow = &mut self.flows[at];
        flow.rate = rate;
        flow.credit += rate * dt;
        let bytes = flow.credit.floor();
        flow.credit -= bytes;
        let bytes = bytes as u64;
        if bytes == 0 {
            return;
        }
        let (to, content, source, slot) = (flow.to, flow.content, flow.source, flow.slot);
        (flow.heard_at, flow.grown_at, flow.sent_at) = (self.now, self.now, self.now);
        let rotten = match source {
            None => None,
            Some(source) => self.nodes[source].files[content].rotten_at,
        };
        let size = self.contents[content].size;
        let file = &mut self.nodes[to].files[content];
        let before = file.part;
        file.part = (before + bytes).min(size);
        if let Some(rotten) = rotten.filter(|rotten| (before..file.part).contains(rotten)) {
            file.rotten_at.get_or_insert(rotten);
        }
        if source.is_none() {
            file.internet += file.part - before;
        }
        self.fed(to, content);
        let now = self.nodes[to].clock.local(self.now);
        let id = self.contents[content].keys.id();
        let part = self.nodes[to].files[content].part;
        if let Some(source) = source {
            if let Some(want) = self.nodes[to].agent.want_mut(id) {
                want.handle_progress(now, part);
            }
            if let Some(slot) = slot {
                let now = self.nodes[source].clock.local(self.now);
                self.nodes[source].agent.slots.handle_progress(now, slot, bytes);
            }
        }
        if part == size {
            self.flows[at].over = true;
            self.release(at);
            self.whole(to, content, source);
        }
    }

    fn power_off_fetcher(&mut self) {
        let half = |flow: &&Flow| {
            flow.source.is_none()
                && self.nodes[flow.to].files[flow.content].part * 2 >= self.contents[flow.content].size
        };
        if let Some(node) = self.flows.iter().filter(|flow| !flow.over).find(half).map(|flow| flow.to) {
            self.half = false;
            self.power_off(node);
        }
    }

    /// Gives back the slot behind a flow.
    pub fn release(&mut self, at: usize) {
        let flow = &mut self.flows[at];
        if let (Some(source), Some(slot)) = (flow.source, flow.slot.take()) {
            self.nodes[source].agent.slots.release(slot);
            self.nodes[source].served -= 1;
        }
    }

    pub fn fed(&mut self, node: usize, content: usize) {
        let now = self.now;
        let file = &mut self.nodes[node].files[content];
        let dry = now - file.fed_at;
        if file.got_any {
            file.gap = file.gap.max(dry)
        } else {
            file.first = dry
        }
        file.got_any = true;
        file.fed_at = now;
        file.dry_since = now;
    }

    // --- promises -------------------------------------------------------------------------------------------------

    fn check(&self, node: usize) {
        let device = &self.nodes[node];
        if !device.on {
            return;
        }
        let active = usize::from(device.agent.slots.active());
        if active > SLOTS {
            self.fail("more than twenty slots");
        }
        if device.served != active {
            self.fail(&format!("device {node} counts {active} transfers and has {}", device.served));
        }
        for file in &device.files {
            let asking = matches!(file.client, Client::Asking { .. });
            // A query round may be under way when the time is up.
            if asking && device.busy_until + S < self.now && self.now - file.dry_since > 6 * S + 700 * MS {
                self.fail(&format!("device {node} waits for more than 6 s without bytes"));
            }
        }
    }

    pub fn serial(&mut self) -> u32 {
        self.id += 1;
        self.id as u32
    }

    /// Follows the sources of `node` from a new transfer on; whoever comes back to it has found a cycle.
    pub fn check_cycle(&self, node: usize, content: usize) {
        let mut at = node;
        for _ in 0..=self.nodes.len() {
            let up = self.flows.iter().find(|flow| flow.to == at && flow.content == content && !flow.over);
            match up.and_then(|flow| flow.source) {
                None => return,
                Some(source) => at = source,
            }
        }
        self.fail("devices follow each other in a circle");
    }
}

pub fn bytes<const N: usize>(dice: &mut Dice) -> [u8; N] {
    std::array::from_fn(|_| dice.roll() as u8)
}

pub fn address(at: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, (at / 250) as u8, (at % 250 + 1) as u8)
}

pub fn place(address: Ipv4Addr) -> Option<usize> {
    let [_, _, high, low] = address.octets();
    (low > 0 && low <= 250).then(|| usize::from(high) * 250 + usize::from(low) - 1)
}
