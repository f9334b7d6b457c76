//! What a run must come to whatever its site, and what it came to.

use crate::node::{File, Node, Side, Us};
use crate::scenario::{Kind, SIZE};
use crate::world::{S, TICK, World};

/// What a run came to.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    pub ratio: f64,
    /// Time until the last device has it, over the least time that the links allow.
    pub slowness: f64,
    pub double: bool,
    /// Longest time without a byte after the first, µs.
    pub gap: Us,
    /// Longest time from the client's request to its first byte, µs.
    pub first: Us,
    /// Most transfers that one device served at once.
    pub slots: usize,
    pub queries: f64,
    /// Of queries, batched ones, connections for them, and datagrams.
    pub packets: f64,
    pub datagrams: f64,
    /// Largest part of all bytes from the internet that one device fetched.
    pub largest: f64,
    pub follows: f64,
}

/// What must be true of every site in the end, and of some.
pub fn check(world: &World, kind: Kind) {
    let honest = || world.nodes.iter().enumerate().filter(|(_, node)| node.side == Side::Honest);
    for (at, node) in honest().filter(|(_, node)| node.on) {
        let right = |file: &File| file.finished_at.is_none() || file.complete && file.rotten_at.is_none();
        if !node.files.iter().all(right) {
            world.fail(&format!("device {at} took a wrong content for the right one"));
        }
    }
    let fetched = |at: usize| world.nodes[at].files.iter().map(|file| file.internet).sum::<u64>();
    for (at, node) in honest().filter(|(at, _)| fetched(*at) > 0) {
        if !node.may_fetch {
            world.fail(&format!("device {at} is metered and fetched"));
        }
        // Whoever leads has what the furthest had, its own or meanwhile got from that one.
        if kind == Kind::Leftovers && fetched(at) > world.missing {
            world.fail(&format!("device {at} fetched what others had"));
        }
    }
}

/// When the first client asks.
pub fn first_start(world: &World) -> Us {
    let wanted = world.nodes.iter().filter(|node| node.side == Side::Honest);
    wanted.flat_map(|node| &node.files).filter(|file| !file.complete).map(|file| file.begins_at).min().unwrap_or(0)
}

/// When the last device can have everything at the earliest: the uplink brings what nobody has, every link what its device
/// lacks, the air what its stations lack.
pub fn ideal(world: &World, kind: Kind) -> Us {
    let started = first_start(world);
    let honest = || world.nodes.iter().filter(|node| node.side == Side::Honest);
    let span = |bytes: u64, rate: f64| (bytes as f64 / rate * S as f64) as Us;
    let mut end = started;
    let missing = missing(world, kind);
    if missing > 0 && world.site.uplink > 0.0 {
        let link = honest().map(|node| node.link.down).fold(0.0, f64::max);
        // Several devices can share the work of several files.
        let rate = if world.contents.len() > 1 { world.site.uplink } else { world.site.uplink.min(link) };
        end = end.max(started.max(world.site.uplink_from) + span(missing, rate));
    }
    let (mut over_air, mut most) = (0, 0);
    for node in honest().filter(|node| node.counted) {
        let lacks: u64 = node.files.iter().zip(&world.contents).map(|(file, content)| content.size - file.part).sum();
        let begins = node.files.iter().map(|file| file.begins_at).min().unwrap_or(0);
        end = end.max(begins + span(lacks, node.link.down.min(node.link.disk)));
        over_air += if node.link.wifi { lacks } else { 0 };
        most = most.max(lacks);
    }
    if honest().all(|node| node.link.wifi) {
        // What one of them has got from the internet the others get through the air twice.
        over_air = 2 * over_air - most;
    }
    if matches!(kind, Kind::Isolated | Kind::IsolatedMetered) {
        // All of it goes through the one device that they all reach.
        end = end.max(started + span(over_air, world.nodes[0].link.up));
    }
    end.max(started + span(over_air, world.site.air)).max(started + TICK)
}

/// What no device of the site has, so that it has to come over the uplink once.
pub fn missing(world: &World, kind: Kind) -> u64 {
    let lacks = |content: usize| {
        let parts = world.nodes.iter().map(|node| node.files[content].part);
        world.contents[content].size - parts.max().unwrap_or(0)
    };
    match kind {
        Kind::Rotten => world.contents[0].size,
        Kind::Apart => world.contents[0].size * world.nodes.len() as u64,
        _ => (0..world.contents.len()).map(lacks).sum(),
    }
}

/// What a device sends and causes to be sent when it asks: a query, its answer and an acknowledgement; two packets each way for thirty contents, and an
/// acknowledgement; three to connect.
fn packets(node: &Node) -> u64 {
    3 * node.queries + 5 * node.surveys + 3 * node.connections + node.datagrams
}

/// The figures of a run that has ended.
pub fn outcome(world: &World, ideal: Us, started: Us) -> Outcome {
    let nodes = world.nodes.len() as f64;
    let all: u64 = world.contents.iter().map(|content| content.size).sum();
    let fetched = |node: &Node| node.files.iter().map(|file| file.internet).sum::<u64>();
    let internet: u64 = world.nodes.iter().map(fetched).sum();
    let counted = || world.nodes.iter().filter(|node| node.counted && node.on).flat_map(|node| &node.files);
    let ended = counted().filter_map(|file| file.finished_at).max().unwrap_or(started);
    Outcome {
        ratio: internet as f64 / all as f64,
        slowness: (ended - started) as f64 / (ideal - started) as f64,
        double: internet as f64 > world.missing as f64 + 0.02 * all.max(SIZE) as f64,
        gap: counted().map(|file| file.gap).max().unwrap_or(0),
        first: counted().map(|file| file.first).max().unwrap_or(0),
        slots: world.nodes.iter().map(|node| node.most_served).max().unwrap_or(0),
        packets: world.nodes.iter().map(packets).sum::<u64>() as f64 / nodes,
        queries: world.nodes.iter().map(|node| node.queries).sum::<u64>() as f64 / nodes,
        datagrams: world.nodes.iter().map(|node| node.datagrams).sum::<u64>() as f64 / nodes,
        largest: world.nodes.iter().map(fetched).max().unwrap_or(0) as f64 / internet.max(1) as f64,
        follows: world.nodes.iter().flat_map(|node| &node.files).map(|file| f64::from(file.moves)).sum::<f64>() / nodes,
    }
}
