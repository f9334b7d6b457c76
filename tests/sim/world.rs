//! The site: an event queue in (time, id) order, the devices, and what is under way between them.
//!
//! Everything follows from one seed. An event is handled by one device's mind and body (`body/`); what comes of it are
//! further events. While bytes flow, a tick every 10 ms shares the links out and moves the bytes: a device can pass on in one
//! tick what it got in the last, which is about what the real body's batches and wake-ups cost per hop.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::Ipv4Addr;
use std::rc::Rc;

use p2p_agent::agent::{Agent, IfIndex};
use p2p_agent::content::ContentMd5;
use p2p_agent::keys::{ContentKeys, DomainKey};
use p2p_agent::limits::{DATAGRAM_BYTES, READER_STALL};
use p2p_agent::random::Random;

use crate::bytes::Flow;
use crate::event::{Entry, Event};
use crate::fault::Fault;
use crate::node::{Clock, Dice, File, Link, Node, Side, Us};

pub const MS: Us = 1_000;
pub const S: Us = 1_000_000;
/// Between two shares of the links.
pub const TICK: Us = 10 * MS;
/// The only interface of every device.
pub const ETH: IfIndex = IfIndex(2);
/// Events kept for the report of a failure.
const REMEMBERED: usize = 60;

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
    /// Until then it is down.
    pub uplink_from: Us,
    /// Air of the Wi-Fi cell, bytes per second.
    pub air: f64,
    pub loss: f64,
    pub duplicates: f64,
    /// Part of the datagrams that others overtake.
    pub late: f64,
    /// The size stands in the sync file.
    pub size_known: bool,
    /// From the advice to the first byte: name, connection, TLS, and what the origin needs; least and most.
    pub origin: (Us, Us),
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
    pub id: u64,
    queue: BinaryHeap<Reverse<Entry>>,
    pub nodes: Vec<Node>,
    pub contents: Vec<Content>,
    pub site: Site,
    pub flows: Vec<Flow>,
    pub faults: Vec<(Us, Fault)>,
    pub dice: Dice,
    pub half: bool,
    pub ticking: bool,
    notes: VecDeque<Note>,
    pub heard: Vec<Rc<[u8; DATAGRAM_BYTES]>>,
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
            surveys: 0,
            connections: 0,
            datagrams: 0,
            loaded: false,
            served: 0,
            most_served: 0,
            delay: 0,
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
            | Event::Survey { to, .. }
            | Event::Answer { to, .. }
            | Event::Take { to, .. }
            | Event::Taken { to, .. } => *to,
            Event::Timer { node, .. }
            | Event::Patience { node, .. }
            | Event::Enough { node, .. }
            | Event::Relay { node, .. }
            | Event::Client { node, .. }
            | Event::Report { node, .. }
            | Event::Named { node, .. }
            | Event::Surveyed { node, .. }
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
            Event::Named { node, epoch } => self.named(node, epoch),
            Event::Survey { from, to, survey } => self.survey(from, to, survey),
            Event::Surveyed { node, peer, survey, told } => self.surveyed(node, peer, &survey, &told),
            Event::Fault(_) | Event::Tick => {}
        }
        self.check(node);
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
