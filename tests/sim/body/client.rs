//! The counterpart of `p2p-fetch`.

use p2p_agent::agent::Refused;
use p2p_agent::want::SourceEnd;

use crate::bytes::Flow;
use crate::event::Event;
use crate::node::{Client, Relay, Us};
use crate::world::{MS, S, World, address};

/// From `p2p-fetch`'s limits.
const REPORT_INTERVAL: Us = 500 * MS;
const BREATH: Us = 50 * MS;
const BACKOFF_FIRST: Us = 250 * MS;
const BACKOFF_MAX: Us = 15 * S;
const RELAYS_WITHOUT_PROGRESS: u32 = 4;
const FOLLOWS_IN_VAIN: u32 = 4;
const CHUNK: u64 = 64 << 10;

impl World {
    pub fn client(&mut self, node: usize, content: usize, serial: u32) {
        let file = &self.nodes[node].files[content];
        if file.client_serial != serial || !self.nodes[node].on || file.client != Client::Pausing {
            return;
        }
        self.client_asks(node, content);
        self.settle(node);
    }

    fn client_asks(&mut self, node: usize, content: usize) {
        let now = self.local(node);
        let keys = self.contents[content].keys.clone();
        let size = self.site.size_known.then_some(self.contents[content].size);
        let at = self.now;
        let file = &mut self.nodes[node].files[content];
        if file.relays_in_vain >= RELAYS_WITHOUT_PROGRESS {
            return self.download(node, content);
        }
        if file.fed_at == 0 {
            file.fed_at = at;
        }
        file.dry_since = at;
        file.part_when_asked = file.part;
        let part = file.part;
        match self.nodes[node].agent.handle_request(now, keys, part, size) {
            Ok(()) => {
                self.nodes[node].files[content].client = Client::Asking { begun: false };
                self.drive(node, content);
            }
            Err(Refused::Full | Refused::AlreadyServed) => self.pause(node, content, S),
        }
    }

    fn pause(&mut self, node: usize, content: usize, span: Us) {
        let file = &mut self.nodes[node].files[content];
        file.client = Client::Pausing;
        file.client_serial += 1;
        let serial = file.client_serial;
        self.after(span, Event::Client { node, content, serial });
    }

    fn backoff(&mut self, node: usize, content: usize) -> Us {
        let file = &mut self.nodes[node].files[content];
        let step = (BACKOFF_FIRST << file.failures.min(16)).min(BACKOFF_MAX);
        file.failures += 1;
        step / 2 + self.dice.below(step / 2)
    }

    pub fn cut(&mut self, node: usize, content: usize) {
        let file = &mut self.nodes[node].files[content];
        let pause = if file.part > file.part_when_asked {
            (file.failures, file.relays_in_vain, file.follows_in_vain) = (0, 0, 0);
            BREATH + self.dice.below(BREATH)
        } else {
            file.relays_in_vain += 1;
            self.backoff(node, content)
        };
        self.pause(node, content, pause);
    }

    pub fn download(&mut self, node: usize, content: usize) {
        let part = self.nodes[node].files[content].part;
        self.note(node, "downloads", content as u64, part);
        let (least, most) = self.site.origin;
        let begins_at = self.now + self.dice.between(least, most);
        let file = &mut self.nodes[node].files[content];
        file.client = Client::Downloading;
        file.client_serial += 1;
        file.part_when_asked = part;
        let serial = file.client_serial;
        self.at(self.now, Event::Report { node, content, serial });
        self.start_flow(Flow {
            source: None,
            to: node,
            content,
            serial,
            slot: None,
            begins_at,
            heard_at: self.now,
            grown_at: self.now,
            sent_at: self.now,
            credit: 0.0,
            rate: 0.0,
            dead: false,
            over: false,
        });
    }

    pub fn report(&mut self, node: usize, content: usize, serial: u32) {
        let file = &self.nodes[node].files[content];
        if file.client_serial != serial || file.client != Client::Downloading {
            return;
        }
        let (now, keys, part) = (self.local(node), self.contents[content].keys.clone(), file.part);
        let size = Some(self.contents[content].size);
        let goes_on = self.nodes[node].agent.handle_report(now, keys, part, size);
        self.settle(node);
        let file = &self.nodes[node].files[content];
        let obeys = match file.follows_in_vain {
            0..=FOLLOWS_IN_VAIN => true,
            n => n <= 2 * FOLLOWS_IN_VAIN && part >= file.part_when_asked + CHUNK,
        };
        if goes_on || !obeys {
            self.watch_soon(node);
            return self.after(REPORT_INTERVAL, Event::Report { node, content, serial });
        }
        self.note(node, "is told to follow", content as u64, part);
        for flow in &mut self.flows {
            flow.over |= flow.source.is_none() && flow.to == node && flow.content == content;
        }
        self.nodes[node].files[content].follows_in_vain += 1;
        let brought = part > self.nodes[node].files[content].part_when_asked;
        let pause = if brought { BREATH + self.dice.below(BREATH) } else { self.backoff(node, content) };
        self.pause(node, content, pause);
    }

    pub fn gone_wrong(&mut self, node: usize, content: usize) {
        let (now, id) = (self.local(node), self.contents[content].keys.id());
        if let Some(want) = self.nodes[node].agent.want_mut(id) {
            want.handle_release(now);
        }
        self.nodes[node].files[content].relays_in_vain = 0;
        let pause = self.backoff(node, content);
        self.pause(node, content, pause);
    }

    /// The last byte is there.
    pub fn whole(&mut self, node: usize, content: usize, source: Option<usize>) {
        let (now, id) = (self.local(node), self.contents[content].keys.id());
        let file = &mut self.nodes[node].files[content];
        file.relay = Relay::Off;
        file.serial += 1;
        file.client_serial += 1;
        let rotten = file.rotten_at.take().is_some();
        if rotten {
            file.part = 0;
        }
        file.complete = !rotten;
        let device = &mut self.nodes[node];
        if let Some(source) = source {
            device.agent.handle_source_end(now, id, address(source), SourceEnd::Finished);
        }
        if let Some(want) = device.agent.want_mut(id) {
            if source.is_some() {
                want.handle_response_end(now);
            }
            if rotten { want.handle_content_failed(now) } else { want.handle_release(now) }
        }
        if rotten {
            self.note(node, "drops a wrong content", content as u64, 0);
            for flow in self.flows.iter_mut().filter(|flow| flow.source == Some(node) && flow.content == content) {
                flow.dead = true;
            }
            let pause = self.backoff(node, content);
            return self.pause(node, content, pause);
        }
        self.note(node, "has it", content as u64, 0);
        self.nodes[node].files[content].finished_at = Some(self.now);
        self.nodes[node].files[content].client = Client::Done;
        self.unfinished -= 1;
        self.next_job(node);
    }
}
