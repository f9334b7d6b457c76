//! The kinds of site in the table, and one run of one of them.

use crate::event::Event;
use crate::fault::Fault;
use crate::node::{Dice, Link, Side, Us};
use crate::outcome::{Outcome, check, first_start, ideal, missing, outcome};
use crate::world::{MS, S, Site, World};

const MIB: u64 = 1 << 20;
/// The size of the lab's content.
pub const SIZE: u64 = 64 * MIB;
/// When the sync file tells everybody, on a site that has been up for a while.
const TOLD_AT: Us = 10 * S;

/// One line of the table.
pub struct Scenario {
    pub name: &'static str,
    pub n: usize,
    /// Mbit/s of payload.
    pub uplink: u64,
    pub lan: u64,
    pub jitter: Us,
    /// Runs out of a thousand or so.
    pub weight: usize,
    pub kind: Kind,
    /// What must hold in every run.
    pub ratio_max: f64,
    pub slowness_max: f64,
    pub gap_max: Us,
    pub first_max: Us,
    /// Transfers that one device serves at once.
    pub slots_max: usize,
    /// In so many of a thousand runs two devices may fetch the same.
    pub doubles_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Plain,
    /// One first, the rest once it has the content.
    Staggered,
    FetcherDies,
    SlowDevice,
    /// A complete holder, and no uplink.
    Holder,
    PowerUp,
    /// 60, 30 and 0 % in `.part` files.
    Leftovers,
    /// Stations that reach only the one wired device.
    Isolated,
    /// The same, and the wired one may not fetch.
    IsolatedMetered,
    /// Wired devices, the rest stations of one cell, whose air carries so many Mbit/s.
    Wifi {
        wired: usize,
        air: u64,
    },
    Metered,
    Lossy,
    /// One device whose link loses every tenth packet.
    LossyDevice,
    /// A device without neighbours, right after its boot.
    Alone,
    /// Devices that cannot reach each other.
    Apart,
    /// 30 contents of 3 to 40 MiB.
    ManyFiles,
    Rotten,
    /// A twentieth of the devices is busy for a second, at random moments.
    Busy,
    /// Clocks are set, discs and one link are slow, packets come twice and out of order, a device loses its power and boots again.
    Rough,
    /// The site falls in two and heals.
    Split,
    Replays,
    Stalls,
    Forges,
    /// A short content, for many starts.
    Start,
    /// The same, and one packet of twenty is lost.
    LossyStart,
    SizeUnknown,
    /// The origin has to get the content itself before its first byte.
    SlowOrigin,
    /// The uplink comes when the devices have tried for a while: the router boots longer than they do.
    Outage,
}

fn mbit(rate: u64) -> f64 {
    rate as f64 * 1e6 / 8.0
}

/// Builds and runs the site of `seed`.
pub fn run(scenario: &Scenario, seed: u64) -> Outcome {
    let kind = scenario.kind;
    // The runs of two scenarios have nothing in common.
    let name = scenario.name.bytes().fold(0, |hash: u64, byte| Dice(hash ^ u64::from(byte)).roll());
    let mut dice = Dice(name ^ seed);
    let sizes: Vec<u64> = match kind {
        Kind::ManyFiles => (0..30).map(|_| dice.between(3 * MIB, 40 * MIB)).collect(),
        Kind::Start | Kind::LossyStart => vec![SIZE / 4],
        _ => vec![SIZE],
    };
    let site = Site {
        uplink: mbit(scenario.uplink),
        uplink_from: if kind == Kind::Outage { TOLD_AT + dice.between(15 * S, 60 * S) } else { 0 },
        air: if let Kind::Wifi { air, .. } = kind { mbit(air) } else { mbit(150) },
        loss: if matches!(kind, Kind::Lossy | Kind::LossyStart) { 0.05 } else { 0.0 },
        duplicates: if matches!(kind, Kind::Rough | Kind::Lossy) { 0.02 } else { 0.0 },
        late: if matches!(kind, Kind::Rough | Kind::Lossy) { 0.05 } else { 0.0 },
        size_known: kind != Kind::SizeUnknown,
        origin: if kind == Kind::SlowOrigin { (4 * S, 5 * S) } else { (60 * MS, 160 * MS) },
    };
    let mut world = World::new(scenario.name, seed, Dice(dice.roll()), site, &sizes);
    let lan = Link { up: mbit(scenario.lan), down: mbit(scenario.lan), wifi: false, disk: mbit(400) };
    for _ in 0..scenario.n {
        world.add(lan);
    }
    let fresh = matches!(kind, Kind::PowerUp | Kind::Alone);
    for node in 0..scenario.n {
        let boots_at = if fresh { dice.below(500 * MS) } else { dice.below(3 * S) };
        let told_at = if fresh { boots_at + 200 * MS } else { TOLD_AT };
        for content in 0..sizes.len() {
            world.nodes[node].files[content].begins_at = told_at + dice.below(scenario.jitter + 1);
        }
        world.at(boots_at, Event::Boot(node));
    }
    arrange(&mut world, kind, &mut dice);
    let ideal = ideal(&world, kind);
    let started = first_start(&world);
    world.missing = missing(&world, kind);
    world.run(400 * S);
    check(&world, kind);
    outcome(&world, ideal, started)
}

fn arrange(world: &mut World, kind: Kind, dice: &mut Dice) {
    let n = world.nodes.len();
    let any = |dice: &mut Dice| dice.below(n as u64) as usize;
    match kind {
        Kind::Plain
        | Kind::PowerUp
        | Kind::Lossy
        | Kind::ManyFiles
        | Kind::SizeUnknown
        | Kind::SlowOrigin
        | Kind::Outage => {}
        Kind::Start | Kind::LossyStart | Kind::Alone => {}
        Kind::LossyDevice => {
            let lossy = any(dice);
            world.nodes[lossy].loss = 0.1;
        }
        Kind::Apart => world.nodes.iter_mut().for_each(|node| node.isolated = true),
        Kind::Staggered => {
            // The second wave begins when the first device has had time for all of it.
            let alone = (SIZE as f64 / world.site.uplink * S as f64) as Us + 2 * S;
            for node in &mut world.nodes[1..] {
                node.files[0].begins_at += alone;
            }
        }
        Kind::FetcherDies => world.faults.push((0, Fault::OffFetcherAtHalf)),
        Kind::SlowDevice => {
            let slow = any(dice);
            let node = &mut world.nodes[slow];
            (node.link.up, node.link.down, node.counted) = (mbit(10), mbit(10), false);
        }
        Kind::Holder | Kind::Rotten => {
            let holder = any(dice);
            let file = &mut world.nodes[holder].files[0];
            (file.part, file.complete) = (SIZE, true);
            if kind == Kind::Rotten {
                file.rotten_at = Some(dice.below(SIZE));
            }
        }
        Kind::Leftovers => {
            for (at, node) in world.nodes.iter_mut().enumerate() {
                node.files[0].part = SIZE / 10 * [6, 3, 0][at % 3];
            }
        }
        Kind::Isolated | Kind::IsolatedMetered => {
            world.nodes[0].may_fetch = kind == Kind::Isolated;
            for node in &mut world.nodes[1..] {
                node.isolated = true;
                node.link.wifi = true;
            }
        }
        Kind::Wifi { wired, .. } => {
            for node in &mut world.nodes[wired..] {
                node.link.wifi = true;
            }
        }
        Kind::Metered => {
            let metered = any(dice);
            world.nodes[metered].may_fetch = false;
        }
        Kind::Busy => {
            for _ in 0..n.div_ceil(20) {
                let at = TOLD_AT + dice.below(15 * S);
                world.faults.push((at, Fault::Busy(any(dice), S)));
            }
        }
        Kind::Rough => {
            for _ in 0..n {
                let step = dice.below(20_000_000_000) as i64 - 10_000_000_000;
                world.faults.push((dice.below(25 * S), Fault::Step(any(dice), step)));
            }
            let slow = any(dice);
            world.nodes[slow].link.disk = mbit(60);
            let far = any(dice);
            world.nodes[far].delay = 15 * MS;
            let off = any(dice);
            let at = TOLD_AT + dice.below(10 * S);
            world.faults.push((at, Fault::Off(off)));
            world.faults.push((at + 4 * S, Fault::On(off)));
        }
        Kind::Split => {
            let at = TOLD_AT + dice.below(8 * S);
            world.faults.push((at, Fault::Split(1 + dice.below(n as u64 - 1) as usize)));
            world.faults.push((at + 5 * S, Fault::Heal));
        }
        Kind::Replays => world.nodes[n - 1].side = Side::Replays,
        Kind::Stalls => world.nodes[n - 1].side = Side::Stalls,
        Kind::Forges => world.nodes[n - 1].side = Side::Forges,
    }
    world.nodes.iter_mut().filter(|node| node.side != Side::Honest).for_each(|node| node.counted = false);
}
