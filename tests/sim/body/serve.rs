//! The counterpart of `serve/` and `disk.rs`: takes, and what the two ends of a transfer notice.

use p2p_agent::limits::{HEARTBEAT, LEASE_STALL, SOURCE_STALL};
use p2p_agent::slots::Admission;
use p2p_agent::want::{SourceEnd, Want};

use super::DATA_TIMEOUT;
use crate::bytes::Flow;
use crate::event::{Event, Taken};
use crate::node::{Relay, Side, Us};
use crate::world::{MS, S, World, address};

/// Three connections that fail at once, with their pauses.
const NO_UPLINK: Us = S;

impl World {
    pub fn take(&mut self, from: usize, to: usize, content: usize, serial: u32, alternative: bool) {
        if !self.reach(from, to) {
            return;
        }
        let now = self.local(to);
        let offset = self.nodes[from].files[content].part;
        let id = self.contents[content].keys.id();
        let held = self.held(to, content);
        let device = &mut self.nodes[to];
        let taken = if device.side == Side::Stalls {
            Taken::Records(None)
        } else {
            match device.agent.admit(now, address(from), id, (offset, alternative), held) {
                Admission::Granted(slot) => {
                    device.served += 1;
                    device.most_served = device.most_served.max(device.served);
                    Taken::Records(Some(slot))
                }
                Admission::Displaces(old) => {
                    device.agent.slots.release(old);
                    device.served -= 1;
                    for flow in self.flows.iter_mut().filter(|flow| flow.source == Some(to) && flow.slot == Some(old)) {
                        (flow.slot, flow.dead) = (None, true);
                    }
                    match self.nodes[to].agent.admit(now, address(from), id, (offset, alternative), held) {
                        Admission::Granted(slot) => {
                            self.nodes[to].served += 1;
                            Taken::Records(Some(slot))
                        }
                        _ => Taken::Busy,
                    }
                }
                Admission::NotAhead => Taken::NotAhead,
                Admission::Full => Taken::Busy,
            }
        };
        let delay = self.message_delay(to, from, DATA_TIMEOUT);
        if let Taken::Records(slot) = taken {
            if offset >= self.nodes[to].files[content].part && self.nodes[to].side == Side::Honest {
                self.fail(&format!("device {from} follows {to}, which is not strictly ahead"));
            }
            // The flow exists from here on, for the server; the client knows when the head is there.
            self.start_flow(Flow {
                source: Some(to),
                to: from,
                content,
                serial,
                slot,
                begins_at: self.now + delay,
                heard_at: self.now + delay,
                grown_at: self.now + delay,
                sent_at: self.now,
                credit: 0.0,
                rate: 0.0,
                dead: false,
                over: false,
            });
        }
        self.after(delay, Event::Taken { from: to, to: from, content, serial, taken });
    }

    /// What the two ends of a flow notice besides its bytes.
    pub fn look_at(&mut self, at: usize) {
        let flow = &self.flows[at];
        if flow.over {
            return;
        }
        let (to, content, serial) = (flow.to, flow.content, flow.serial);
        let Some(source) = flow.source else {
            // It is refused at once, or nobody answers and the client waits.
            let patience = if self.site.uplink <= 0.0 { NO_UPLINK } else { Us::from(serial % 15 + 1) * S };
            let down = self.site.uplink <= 0.0 || self.now < self.site.uplink_from;
            if down && self.now >= flow.begins_at + patience {
                self.flows[at].over = true;
                self.gone_wrong(to, content);
            }
            return;
        };
        let reader_there = self.nodes[to].on
            && matches!(self.nodes[to].files[content].relay, Relay::Following | Relay::Taking { .. })
            && (self.nodes[to].files[content].stream == serial
                || self.nodes[to].files[content].moving.is_some_and(|(_, moving)| moving == serial));
        if !reader_there && (self.nodes[to].on || flow.slot.is_none()) {
            // It closed the connection, or both ends are gone.
            self.release(at);
            self.flows[at].over = true;
            return;
        }
        let id = self.contents[content].keys.id();
        let server_busy = self.nodes[source].busy_until > self.now;
        if let Some(slot) = flow.slot {
            let local = self.local(source);
            let sent_at = flow.sent_at;
            let nothing_new = self.nodes[source].files[content].part <= self.nodes[to].files[content].part;
            let live = self.nodes[source].agent.want(id).is_some_and(Want::is_live);
            if !self.nodes[source].agent.slots.holds(local, slot) {
                self.note(source, "ends a transfer whose reader stalls:", to as u64, 0);
                self.release(at);
                self.flows[at].dead = true;
            } else if nothing_new && !live && !server_busy && self.now > sent_at + 10 * MS {
                // Exhausted: the server closes.
                self.release(at);
                self.flows[at].over = true;
                if reader_there {
                    return self.end_source(to, content, source, SourceEnd::Cut);
                }
            } else if nothing_new
                && live
                && !server_busy
                && self.now >= sent_at + HEARTBEAT.as_micros() as Us
                && !self.flows[at].dead
            {
                // A heartbeat.
                self.flows[at].sent_at = self.now;
                self.flows[at].heard_at = self.now;
                self.nodes[source].agent.slots.handle_progress(local, slot, 0);
            }
        }
        if !reader_there || self.nodes[to].busy_until > self.now {
            return;
        }
        if self.nodes[to].files[content].stream != serial {
            return;
        }
        let flow = &self.flows[at];
        let silent = self.now >= flow.heard_at + SOURCE_STALL.as_micros() as Us;
        let stuck = self.now >= flow.grown_at + LEASE_STALL.as_micros() as Us;
        if silent || stuck {
            self.flows[at].over = true;
            self.release(at);
            let end = if silent { SourceEnd::Stalled } else { SourceEnd::Dry };
            return self.end_source(to, content, source, end);
        }
        self.look_round(to, content);
    }
}
