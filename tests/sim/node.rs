//! One device: its mind, its clock, its links, and what its content directory and its sync client are doing.

use std::collections::{HashSet, VecDeque};
use std::net::Ipv4Addr;

use p2p_agent::agent::Agent;
use p2p_agent::content::PublicId;
use p2p_agent::handshake::Asker;
use p2p_agent::time::{Instant, Timestamp};
use p2p_agent::want::Answered;

/// Microseconds of the simulation.
pub type Us = u64;

/// Deterministic numbers: SplitMix64.
#[derive(Clone)]
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`; 0 for 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.roll()) * u128::from(bound)) >> 64) as u64
    }

    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    pub fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && (self.roll() >> 11) as f64 / (1u64 << 53) as f64 <= probability
    }
}

/// A clock that runs too fast or too slow, and a wall clock that is set besides.
#[derive(Clone, Copy)]
pub struct Clock {
    pub ppm: i64,
    /// Local monotonic time at the start of the simulation.
    pub start_us: u64,
    /// Wall minus monotonic.
    pub wall_ns: i64,
}

impl Clock {
    pub fn local(&self, at: Us) -> Instant {
        Instant::from_micros((self.start_us as i64 + at as i64 + at as i64 * self.ppm / 1_000_000) as u64)
    }

    pub fn wall(&self, at: Us) -> Timestamp {
        Timestamp::from_nanos(self.local(at).as_micros() as i64 * 1_000 + self.wall_ns)
    }

    /// When the local clock will have reached `instant`.
    pub fn global(&self, instant: Instant) -> Us {
        let local = instant.as_micros().saturating_sub(self.start_us).min(1 << 50) as i64;
        let mut at = (local - local * self.ppm / 1_000_000).max(0) as u64;
        while self.local(at) < instant && at < 1 << 49 {
            at += 1;
        }
        at
    }
}

/// What a device is connected by; bytes per second.
#[derive(Clone, Copy)]
pub struct Link {
    pub up: f64,
    pub down: f64,
    /// It shares the air with the other stations.
    pub wifi: bool,
    /// How fast its disk writes.
    pub disk: f64,
}

/// Whom this device is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Honest,
    /// Sends again what it heard, from its own address; knows no content.
    Replays,
    /// Knows the public ids only: announces and answers in any name, with proofs that it makes up.
    Forges,
    /// Knows the contents: claims the best rank, promises everything and sends nothing.
    Stalls,
}

/// One device.
pub struct Node {
    pub address: Ipv4Addr,
    pub side: Side,
    pub on: bool,
    pub agent: Agent,
    pub link: Link,
    pub clock: Clock,
    pub may_fetch: bool,
    /// It reaches only wired devices.
    pub isolated: bool,
    /// Part of its packets that are lost.
    pub loss: f64,
    /// On which side of a partition it is.
    pub island: u8,
    /// Both cores are busy with something else until then.
    pub busy_until: Us,
    /// Its figures belong to the promise; a device on a slow link may be late itself.
    pub counted: bool,
    pub lines: HashSet<usize>,
    pub files: Vec<File>,
    pub jobs: VecDeque<usize>,
    pub timer_at: Us,
    pub epoch: u32,
    pub hints: Vec<(PublicId, usize, Asker)>,
    pub watching: bool,
    /// Entries of the peer table, when it was last looked at.
    pub known: usize,
    pub queries: u64,
    pub surveys: u64,
    pub connections: u64,
    pub datagrams: u64,
    /// Bytes flow over its link.
    pub loaded: bool,
    /// Slots that its body holds.
    pub served: usize,
    /// The most that it ever held.
    pub most_served: usize,
    /// What its link adds to every message, one way.
    pub delay: Us,
}

/// What the sync client is doing about one content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// Not its turn yet.
    Idle,
    /// It reads the agent's response, of which something came (`begun`) or nothing yet.
    Asking {
        begun: bool,
    },
    /// It downloads from the internet and reports.
    Downloading,
    /// It waits before it asks again.
    Pausing,
    Done,
}

/// What the agent is doing for the client.
pub enum Relay {
    Off,
    Round { asked: usize, unknown: usize, pending: Vec<(usize, Asker)>, answers: Vec<Answered> },
    Waiting { until: Us },
    Taking { peer: usize },
    Following,
}

/// A look round while bytes flow.
#[derive(Default)]
pub struct Look {
    pub serial: u32,
    pub pending: Vec<(usize, Asker)>,
    pub answers: Vec<Answered>,
    /// No take after this.
    pub until: Us,
}

/// One content on one device.
pub struct File {
    pub part: u64,
    pub complete: bool,
    /// The first wrong byte.
    pub rotten_at: Option<u64>,
    pub client: Client,
    pub relay: Relay,
    /// Changes with every step, so that what belongs to an earlier one is recognised.
    pub serial: u32,
    /// The transfer that is being taken or received.
    pub stream: u32,
    /// Another source that is being asked, and the transfer it would give.
    pub moving: Option<(usize, u32)>,
    pub look: Look,
    /// The same for the client's own steps.
    pub client_serial: u32,
    pub begins_at: Us,
    pub finished_at: Option<Us>,
    /// The last byte came, or the client began to wait, then.
    pub fed_at: Us,
    /// The agent has been asked and gave nothing since.
    pub dry_since: Us,
    /// Longest time without a byte, after the first.
    pub gap: Us,
    /// Longest time without a byte before the first.
    pub first: Us,
    pub got_any: bool,
    pub internet: u64,
    pub failures: u32,
    pub relays_in_vain: u32,
    /// How often it obeyed a `follow` since peers last brought something.
    pub follows_in_vain: u32,
    pub part_when_asked: u64,
    pub moves: u32,
}

impl File {
    pub fn new() -> Self {
        Self {
            part: 0,
            complete: false,
            rotten_at: None,
            client: Client::Idle,
            relay: Relay::Off,
            serial: 0,
            stream: 0,
            moving: None,
            look: Look::default(),
            client_serial: 0,
            begins_at: 0,
            finished_at: None,
            fed_at: 0,
            dry_since: 0,
            gap: 0,
            first: 0,
            got_any: false,
            internet: 0,
            failures: 0,
            relays_in_vain: 0,
            follows_in_vain: 0,
            part_when_asked: 0,
            moves: 0,
        }
    }
}
