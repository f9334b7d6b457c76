//! Bytes on their way: every 10 ms the links are shared out ([`crate::flow`]).

use p2p_agent::slots::SlotId;

use crate::event::Event;
use crate::flow::{Demand, share};
use crate::node::{Side, Us};
use crate::world::{S, TICK, World};

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

impl World {
    pub fn start_flow(&mut self, flow: Flow) {
        if flow.source.is_none() && !self.nodes[flow.to].may_fetch {
            self.fail(&format!("device {} is metered and fetches", flow.to));
        }
        self.flows.push(flow);
        if !self.ticking {
            self.ticking = true;
            self.at((self.now / TICK + 1) * TICK, Event::Tick);
        }
    }

    pub fn tick(&mut self) {
        let n = self.nodes.len();
        let (uplink, air) = (4 * n, 4 * n + 1);
        let mut capacity = Vec::with_capacity(4 * n + 2);
        for node in &self.nodes {
            // A Wi-Fi station has only the air; its own rate bounds both directions.
            capacity.extend([node.link.up, node.link.down, node.link.disk, node.link.disk * 2.0]);
        }
        let uplink_now = if self.now < self.site.uplink_from { 0.0 } else { self.site.uplink };
        capacity.extend([uplink_now, self.site.air]);
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
            let file = &to.files[flow.content];
            // The present source waits while another one is asked for the bytes from here on.
            let strange = flow.source.is_some() && (file.stream != flow.serial || file.moving.is_some());
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
}
