//! What the daemon and the sync client do with the mind's decisions: the counterparts of `src/bin/p2p-agent/{run, ask, relay,
//! serve, disk}.rs` and of `src/bin/p2p-fetch/{fetch, download, report}.rs`, without sockets.

use p2p_agent::agent::{Agent, Held, Hint, Refused};
use p2p_agent::content::PublicId;
use p2p_agent::exchange::{Answer, PeerRequest};
use p2p_agent::handshake::Answerer;
use p2p_agent::keys::Proof;
use p2p_agent::limits::{DATAGRAM_BYTES, FETCH_BEACON, HEARTBEAT, LEASE_STALL, RELAYS, ROUND_GRACE, SOURCE_STALL};
use p2p_agent::random::Random;
use p2p_agent::slots::Admission;
use p2p_agent::time::Instant;
use p2p_agent::want::{Answered, Round, SourceEnd, Step};

use crate::node::{Client, Look, Relay, Side, Us};
use crate::world::{Ask, ETH, Event, Flow, MS, S, Taken, World, address, bytes, place};

/// Prefix length of the site's subnet.
const PREFIX: u8 = 16;
/// From the advice to the first byte: name, connection, TLS.
const INTERNET_DELAY: (Us, Us) = (60 * MS, 160 * MS);
/// From `p2p-fetch`'s limits.
const REPORT_INTERVAL: Us = 500 * MS;
const BREATH: Us = 50 * MS;
const BACKOFF_FIRST: Us = 250 * MS;
const BACKOFF_MAX: Us = 15 * S;
const RELAYS_WITHOUT_PROGRESS: u32 = 4;
/// Three connections that fail at once, with their pauses.
const NO_UPLINK: Us = S;
/// The kernel's first retransmission of a connection, and of data on a fast link.
const SYN_TIMEOUT: Us = S;
const DATA_TIMEOUT: Us = 200 * MS;

impl World {
    fn local(&self, node: usize) -> Instant {
        self.nodes[node].clock.local(self.now)
    }

    fn held(&self, node: usize, content: usize) -> Held {
        let file = &self.nodes[node].files[content];
        match (file.complete, file.part) {
            (true, size) => Held::Complete(size),
            (false, 0) => Held::Nothing,
            (false, part) => Held::Part(part),
        }
    }

    fn content_of(&self, id: p2p_agent::content::PublicId) -> Option<usize> {
        self.contents.iter().position(|content| content.keys.id() == id)
    }

    // --- run.rs ---------------------------------------------------------------------------------------------------

    pub fn boot(&mut self, node: usize) {
        self.coming -= 1;
        let seed = bytes(&mut self.dice);
        let now = self.local(node);
        let device = &mut self.nodes[node];
        device.on = true;
        device.epoch += 1;
        device.timer_at = Us::MAX;
        device.served = 0;
        device.lines.clear();
        device.hints.clear();
        device.watching = false;
        device.agent = Agent::new("sim", Random::from_seed(seed));
        device.agent.set_may_fetch(device.may_fetch);
        if !device.link.wifi {
            // The driver knows what a wire can carry.
            device.agent.set_link_rate(device.link.down as u64);
        }
        device.agent.handle_interface_up(now, ETH, device.address, PREFIX, !device.link.wifi);
        if device.side == Side::Honest {
            self.begin_sync(node);
        } else {
            self.at(self.now, Event::Hostile(node));
        }
        self.note(node, "boots", 0, 0);
        self.settle(node);
    }

    /// The sync client starts `RELAYS` jobs, each at its time.
    fn begin_sync(&mut self, node: usize) {
        let device = &mut self.nodes[node];
        device.jobs = (0..device.files.len()).filter(|at| device.files[*at].client == Client::Idle).collect();
        let wanted = device.jobs.iter().filter(|at| !device.files[**at].complete).count();
        self.unfinished += wanted;
        for _ in 0..RELAYS {
            self.next_job(node);
        }
    }

    fn next_job(&mut self, node: usize) {
        while let Some(content) = self.nodes[node].jobs.pop_front() {
            let file = &mut self.nodes[node].files[content];
            if file.complete {
                file.client = Client::Done;
                continue;
            }
            file.client = Client::Pausing;
            let (at, serial) = (file.begins_at.max(self.now), file.client_serial);
            return self.at(at, Event::Client { node, content, serial });
        }
    }

    pub fn datagram(&mut self, node: usize, from: usize, bytes: &std::rc::Rc<[u8; DATAGRAM_BYTES]>) {
        if !self.nodes[node].on {
            return;
        }
        if self.nodes[node].side != Side::Honest {
            self.overhear(node, bytes);
        }
        let (now, wall) = (self.local(node), self.nodes[node].clock.wall(self.now));
        let hint = self.nodes[node].agent.handle_datagram(now, wall, ETH, address(from), &bytes[..]);
        if let Some(hint) = hint {
            self.follow_hint(node, hint);
        }
        self.stir(node);
    }

    pub fn timer(&mut self, node: usize, epoch: u32) {
        if epoch != self.nodes[node].epoch || !self.nodes[node].on {
            return;
        }
        let (now, wall) = (self.local(node), self.nodes[node].clock.wall(self.now));
        let due = self.nodes[node].clock.local(self.nodes[node].timer_at);
        self.nodes[node].timer_at = Us::MAX;
        let at = self.nodes[node].agent.poll_timeout();
        if at <= now {
            self.nodes[node].agent.handle_timeout(now, wall, due.min(now));
        }
        self.stir(node);
    }

    /// Sends what the mind has to say and sets its timer.
    pub fn settle(&mut self, node: usize) {
        let wall = self.nodes[node].clock.wall(self.now);
        let now = self.local(node);
        for _ in 0..4 {
            while let Some(transmit) = self.nodes[node].agent.poll_transmit(now, wall) {
                self.send(node, transmit.to, transmit.bytes);
            }
            if self.nodes[node].agent.poll_timeout() > now {
                break;
            }
            self.nodes[node].agent.handle_timeout(now, wall, Instant::ZERO);
        }
        let due = self.nodes[node].agent.poll_timeout();
        if due == Instant::FAR {
            return;
        }
        let at = self.nodes[node].clock.global(due).max(self.now + 1);
        if at < self.nodes[node].timer_at {
            self.nodes[node].timer_at = at;
            let epoch = self.nodes[node].epoch;
            self.at(at, Event::Timer { node, epoch });
        }
    }

    /// The mind may have something new to say to whoever waits.
    fn stir(&mut self, node: usize) {
        for content in 0..self.contents.len() {
            if matches!(self.nodes[node].files[content].relay, Relay::Waiting { .. }) {
                self.drive(node, content);
            }
        }
        self.settle(node);
    }

    /// Watches the growth of what the client downloads.
    pub fn watch(&mut self, node: usize, epoch: u32) {
        if epoch != self.nodes[node].epoch {
            return;
        }
        let now = self.local(node);
        let mut any = false;
        for content in 0..self.contents.len() {
            let id = self.contents[content].keys.id();
            let held = self.held(node, content);
            let Some(want) = self.nodes[node].agent.want_mut(id) else { continue };
            if !want.is_fetching() {
                continue;
            }
            any = true;
            self.look_round(node, content);
            let Some(want) = self.nodes[node].agent.want_mut(id) else { continue };
            match held {
                Held::Nothing => {}
                Held::Part(bytes) => want.handle_growth(now, bytes),
                Held::Complete(_) => want.handle_release(now),
            }
        }
        self.nodes[node].watching = any;
        if any {
            self.after(FETCH_BEACON.as_micros() as Us, Event::Watch { node, epoch });
        }
        self.settle(node);
    }

    fn watch_soon(&mut self, node: usize) {
        if !self.nodes[node].watching {
            self.nodes[node].watching = true;
            let epoch = self.nodes[node].epoch;
            self.at(self.now, Event::Watch { node, epoch });
        }
    }

    // --- ask.rs ---------------------------------------------------------------------------------------------------

    fn worth_asking(&self, node: usize, now: Instant, id: PublicId) -> Vec<usize> {
        let agent = &self.nodes[node].agent;
        let asked = agent.discovery.peers().routable().filter(|peer| agent.is_worth_asking(now, id, peer.addr));
        asked.filter_map(|peer| place(peer.addr)).collect()
    }

    fn round(&mut self, node: usize, content: usize) {
        let (now, id) = (self.local(node), self.contents[content].keys.id());
        let targets = self.worth_asking(node, now, id);
        self.nodes[node].files[content].serial += 1;
        let ask = Ask::Round(self.nodes[node].files[content].serial);
        let pending = targets.iter().map(|peer| (*peer, self.ask(node, *peer, content, ask))).collect();
        self.nodes[node].files[content].relay =
            Relay::Round { asked: targets.len(), unknown: 0, pending, answers: Vec::new() };
        if targets.is_empty() {
            self.end_round(node, content);
        }
    }

    fn ask(&mut self, node: usize, peer: usize, content: usize, ask: Ask) -> p2p_agent::handshake::Asker {
        let (now, held) = (self.local(node), self.held(node, content));
        let keys = &self.contents[content].keys;
        let device = &mut self.nodes[node];
        device.queries += 1;
        let asker = device.agent.ask(now, keys, device.address, address(peer), held);
        let patience = device.agent.patience(address(peer)).as_micros() as Us;
        let request = asker.query(keys);
        self.after(patience, Event::Patience { node, peer, content, ask });
        if self.reach(node, peer) {
            let connected = !self.nodes[node].lines.insert(peer);
            let mut delay = self.message_delay(node, peer, DATA_TIMEOUT);
            if !connected {
                delay += self.message_delay(node, peer, SYN_TIMEOUT) + self.message_delay(peer, node, SYN_TIMEOUT);
            }
            self.after(delay, Event::Query { from: node, to: peer, content, ask, request });
        }
        asker
    }

    fn follow_hint(&mut self, node: usize, hint: Hint) {
        let (Some(peer), Some(content)) = (place(hint.peer), self.content_of(hint.id)) else { return };
        self.nodes[node].hints.retain(|(id, other, _)| (*id, *other) != (hint.id, peer));
        let epoch = self.nodes[node].epoch;
        let asker = self.ask(node, peer, content, Ask::Hint(hint.id, epoch));
        self.nodes[node].hints.push((hint.id, peer, asker));
    }

    pub fn query(&mut self, from: usize, to: usize, content: usize, ask: Ask, request: &PeerRequest) {
        if !self.reach(from, to) {
            return;
        }
        let (now, held) = (self.local(to), self.held(to, content));
        let device = &mut self.nodes[to];
        let keys = &self.contents[content].keys;
        let (answer, woken) = match device.side {
            Side::Honest => {
                let known = held != Held::Nothing || device.agent.want(keys.id()).is_some();
                let addresses = (address(from), device.address);
                let answered =
                    if known { device.agent.handle_query(now, ETH, addresses, keys, request, held) } else { None };
                answered.map_or((Answer::Refused(404), false), |(_, answer, woken)| (answer, woken))
            }
            Side::Replays => (Answer::Refused(404), false),
            Side::Forges => {
                let standing = self.lie(content);
                let (challenge, proof) = (bytes(&mut self.dice), Proof(bytes(&mut self.dice)));
                (Answer::Known { standing, challenge, proof }, false)
            }
            Side::Stalls => {
                let own = device.address;
                let lie = self.lie(content);
                let challenge = bytes(&mut self.dice);
                let keys = &self.contents[content].keys;
                let answerer = Answerer::accept(keys, address(from), own, request);
                (answerer.map_or(Answer::Refused(404), |mut it| it.answer(keys, lie, challenge)), false)
            }
        };
        let delay = self.message_delay(to, from, DATA_TIMEOUT);
        self.after(delay, Event::Answer { from: to, to: from, content, ask, answer: Some(answer) });
        let known = self.nodes[to].agent.discovery.peers().len();
        if woken {
            self.stir(to);
        } else if known != std::mem::replace(&mut self.nodes[to].known, known) {
            // Somebody new; everything else about a query moves no timer.
            self.settle(to);
        }
    }

    /// An answer, or none in time.
    pub fn answer(&mut self, node: usize, peer: usize, content: usize, ask: Ask, answer: Option<Answer>) {
        match ask {
            Ask::Hint(id, epoch) => {
                let place = self.nodes[node].hints.iter().position(|(known, from, _)| (*known, *from) == (id, peer));
                let Some(place) = place.filter(|_| epoch == self.nodes[node].epoch) else { return };
                let Some(answer) = answer else { return };
                let (_, _, mut asker) = self.nodes[node].hints.swap_remove(place);
                let Ok(standing) = asker.handle_answer(&self.contents[content].keys, &answer) else { return };
                let now = self.local(node);
                let agent = &mut self.nodes[node].agent;
                agent.discovery.handle_authenticated(now, ETH, address(peer));
                if agent.handle_standing(now, id, address(peer), standing) {
                    self.stir(node);
                }
                self.settle(node);
            }
            Ask::Look(serial) => {
                let (wired, delay) = {
                    let peers = self.nodes[node].agent.discovery.peers();
                    let known = peers.get(ETH, address(peer));
                    known.map(|peer| (peer.flags.wired, peer.delay().unwrap_or_default())).unwrap_or_default()
                };
                let look = &mut self.nodes[node].files[content].look;
                let place = look.pending.iter().position(|(asked, _)| *asked == peer);
                let Some(place) = place.filter(|_| look.serial == serial) else { return };
                let (_, mut asker) = look.pending.remove(place);
                if let Some(Ok(standing)) =
                    answer.map(|answer| asker.handle_answer(&self.contents[content].keys, &answer))
                {
                    let answered = Answered { peer: address(peer), standing, wired, delay };
                    look.answers.push(answered);
                    self.hurry(node, content, ask, &answered);
                }
                let look = &self.nodes[node].files[content].look;
                if look.pending.is_empty() {
                    self.end_look(node, content);
                }
            }
            Ask::Round(serial) => {
                let wired_and_delay = {
                    let peers = self.nodes[node].agent.discovery.peers();
                    peers.get(ETH, address(peer)).map(|peer| (peer.flags.wired, peer.delay().unwrap_or_default()))
                };
                let mut proven = None;
                let file = &mut self.nodes[node].files[content];
                if file.serial != serial {
                    return;
                }
                let Relay::Round { pending, answers, unknown, .. } = &mut file.relay else { return };
                let Some(place) = pending.iter().position(|(asked, _)| *asked == peer) else { return };
                match answer {
                    // Still pending: it is silent when the round ends by patience.
                    None => {
                        pending.remove(place);
                        self.nodes[node].lines.remove(&peer);
                    }
                    Some(answer) => {
                        let (_, mut asker) = pending.remove(place);
                        if let Ok(standing) = asker.handle_answer(&self.contents[content].keys, &answer) {
                            let (wired, delay) = wired_and_delay.unwrap_or_default();
                            let answered = Answered { peer: address(peer), standing, wired, delay };
                            answers.push(answered);
                            proven = Some(answered);
                        } else {
                            *unknown += 1;
                        }
                    }
                }
                let done = matches!(&self.nodes[node].files[content].relay, Relay::Round { pending, .. } if pending.is_empty());
                if done {
                    self.end_round(node, content);
                } else if let Some(answered) = proven {
                    self.hurry(node, content, ask, &answered);
                }
            }
        }
    }

    /// A source has answered: the round does not wait long for the others.
    fn hurry(&mut self, node: usize, content: usize, ask: Ask, answered: &Answered) {
        let id = self.contents[content].keys.id();
        if self.nodes[node].agent.is_enough(self.local(node), id, answered) {
            self.after(ROUND_GRACE.as_micros() as Us, Event::Enough { node, content, ask });
        }
    }

    pub fn enough(&mut self, node: usize, content: usize, ask: Ask) {
        let file = &mut self.nodes[node].files[content];
        match ask {
            Ask::Round(serial) if file.serial == serial && matches!(file.relay, Relay::Round { .. }) => {
                self.end_round(node, content);
            }
            Ask::Look(serial) if file.look.serial == serial && !file.look.pending.is_empty() => {
                file.look.pending.clear();
                self.end_look(node, content);
            }
            _ => {}
        }
    }

    fn end_round(&mut self, node: usize, content: usize) {
        let now = self.local(node);
        let relay = std::mem::replace(&mut self.nodes[node].files[content].relay, Relay::Off);
        let Relay::Round { asked, unknown, answers, .. } = relay else { return };
        let round = Round { asked, silent: asked - unknown - answers.len() };
        let id = self.contents[content].keys.id();
        self.nodes[node].agent.handle_round(now, id, round, &answers);
        self.drive(node, content);
        self.settle(node);
    }

    // --- serve.rs, disk.rs ----------------------------------------------------------------------------------------

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
                Admission::Full { .. } => Taken::Busy,
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
            if self.site.uplink <= 0.0 && self.now >= flow.begins_at + NO_UPLINK {
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
            let live = self.nodes[source].agent.want(id).is_some_and(p2p_agent::want::Want::is_live);
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
            return self.end_source(to, content, source, SourceEnd::Stalled);
        }
        self.look_round(to, content);
    }

    /// Asks everybody while the present source goes on.
    fn look_round(&mut self, node: usize, content: usize) {
        let (now, id) = (self.local(node), self.contents[content].keys.id());
        let file = &self.nodes[node].files[content];
        if !file.look.pending.is_empty() || file.moving.is_some() || !self.nodes[node].agent.poll_look(now, id) {
            return;
        }
        self.note(node, "looks round", content as u64, self.nodes[node].files[content].part);
        let targets = self.worth_asking(node, now, id);
        let serial = self.serial();
        let pending = targets.iter().map(|peer| (*peer, self.ask(node, *peer, content, Ask::Look(serial)))).collect();
        self.nodes[node].files[content].look = Look { serial, pending, answers: Vec::new() };
    }

    fn end_look(&mut self, node: usize, content: usize) {
        let (now, id) = (self.local(node), self.contents[content].keys.id());
        let answers = self.nodes[node].files[content].look.answers.clone();
        let better = self.nodes[node].agent.handle_look(now, id, &answers);
        let following = matches!(self.nodes[node].files[content].relay, Relay::Following);
        let Some(peer) = better.and_then(place).filter(|_| following) else { return };
        let serial = self.serial();
        self.nodes[node].files[content].moving = Some((peer, serial));
        self.send_take(node, peer, content, serial, true);
    }

    fn send_take(&mut self, node: usize, peer: usize, content: usize, serial: u32, alternative: bool) {
        let patience = 2 * self.nodes[node].agent.patience(address(peer)).as_micros() as Us;
        if self.reach(node, peer) {
            let delay = self.message_delay(node, peer, DATA_TIMEOUT);
            self.after(delay, Event::Take { from: node, to: peer, content, serial, alternative });
        }
        self.after(patience, Event::Taken { from: peer, to: node, content, serial, taken: Taken::TimedOut });
    }

    // --- relay.rs -------------------------------------------------------------------------------------------------

    fn drive(&mut self, node: usize, content: usize) {
        let id = self.contents[content].keys.id();
        for _ in 0..8 {
            let now = self.local(node);
            let step = self.nodes[node].agent.poll_want(now, id);
            match step {
                Some(Step::Query) => {
                    self.note(node, "asks everybody", content as u64, 0);
                    self.round(node, content);
                    return self.settle(node);
                }
                Some(Step::Follow { peer, alternative }) => return self.follow(node, content, peer, alternative),
                Some(Step::Wait { until }) if until <= now => {}
                Some(Step::Wait { until }) => {
                    let at = self.nodes[node].clock.global(until);
                    let file = &mut self.nodes[node].files[content];
                    if !matches!(file.relay, Relay::Waiting { until } if until == at) {
                        file.relay = Relay::Waiting { until: at };
                        file.serial += 1;
                        let serial = file.serial;
                        self.at(at, Event::Relay { node, content, serial });
                    }
                    return;
                }
                Some(Step::Fetch { .. }) | None => return self.respond_fetch(node, content),
            }
        }
        self.fail("the mind turns in a circle");
    }

    pub fn wake(&mut self, node: usize, content: usize, serial: u32) {
        let file = &self.nodes[node].files[content];
        if file.serial == serial && matches!(file.relay, Relay::Waiting { .. }) {
            self.nodes[node].files[content].relay = Relay::Off;
            self.drive(node, content);
            self.settle(node);
        }
    }

    fn follow(&mut self, node: usize, content: usize, peer: std::net::Ipv4Addr, alternative: bool) {
        let Some(peer) = place(peer) else { self.fail("follows nobody") };
        let serial = self.serial();
        let file = &mut self.nodes[node].files[content];
        file.serial += 1;
        file.relay = Relay::Taking { peer };
        (file.stream, file.moving) = (serial, None);
        self.send_take(node, peer, content, serial, alternative);
    }

    pub fn taken(&mut self, peer: usize, node: usize, content: usize, serial: u32, taken: Taken) {
        if self.nodes[node].files[content].moving == Some((peer, serial)) {
            return self.moved(peer, node, content, serial, taken);
        }
        let file = &mut self.nodes[node].files[content];
        if file.stream != serial || !matches!(file.relay, Relay::Taking { peer: asked } if asked == peer) {
            return;
        }
        match taken {
            Taken::Records(_) => {
                file.relay = Relay::Following;
                file.client = Client::Asking { begun: true };
                file.moves += 1;
                let part = file.part;
                self.note(node, "follows", peer as u64, part);
                self.check_cycle(node, content);
            }
            Taken::Busy => self.end_source(node, content, peer, SourceEnd::Busy),
            Taken::NotAhead => self.end_source(node, content, peer, SourceEnd::Exhausted),
            Taken::TimedOut => self.end_source(node, content, peer, SourceEnd::Cut),
        }
    }

    /// The answer of another source, while the present one goes on.
    fn moved(&mut self, peer: usize, node: usize, content: usize, serial: u32, taken: Taken) {
        let (now, id) = (self.local(node), self.contents[content].keys.id());
        let file = &mut self.nodes[node].files[content];
        file.moving = None;
        if !matches!(file.relay, Relay::Following) {
            return;
        }
        let moved = match taken {
            Taken::Records(_) => Ok(()),
            Taken::Busy => Err(SourceEnd::Busy),
            Taken::NotAhead => Err(SourceEnd::Exhausted),
            Taken::TimedOut => Err(SourceEnd::Cut),
        };
        let part = file.part;
        if moved.is_ok() {
            file.stream = serial;
            file.moves += 1;
        }
        self.note(node, if moved.is_ok() { "moves to" } else { "may not move to" }, peer as u64, part);
        if let Some(want) = self.nodes[node].agent.want_mut(id) {
            want.handle_moved(now, address(peer), moved);
        }
        if moved.is_err() {
            return self.end_look(node, content);
        }
        for at in 0..self.flows.len() {
            let flow = &self.flows[at];
            if moved.is_ok() && (flow.to, flow.content) == (node, content) && flow.serial != serial {
                self.release(at);
                self.flows[at].over = true;
            }
        }
        self.check_cycle(node, content);
    }

    fn end_source(&mut self, node: usize, content: usize, peer: usize, end: SourceEnd) {
        self.note(node, end_word(end), peer as u64, self.nodes[node].files[content].part);
        let (now, id) = (self.local(node), self.contents[content].keys.id());
        let file = &mut self.nodes[node].files[content];
        file.relay = Relay::Off;
        file.serial += 1;
        self.nodes[node].agent.handle_source_end(now, id, address(peer), end);
        self.drive(node, content);
        self.settle(node);
    }

    /// The bytes have to come from the internet: a 404 before the first byte, a cut after it.
    fn respond_fetch(&mut self, node: usize, content: usize) {
        let (now, id) = (self.local(node), self.contents[content].keys.id());
        let file = &mut self.nodes[node].files[content];
        file.relay = Relay::Off;
        file.serial += 1;
        let begun = file.client == Client::Asking { begun: true };
        if !begun {
            self.nodes[node].agent.handle_told(now, id);
        }
        if let Some(want) = self.nodes[node].agent.want_mut(id) {
            want.handle_response_end(now);
        }
        self.settle(node);
        if begun {
            self.cut(node, content)
        } else {
            self.download(node, content)
        }
        self.watch_soon(node);
    }

    // --- p2p-fetch ------------------------------------------------------------------------------------------------

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

    fn cut(&mut self, node: usize, content: usize) {
        let file = &mut self.nodes[node].files[content];
        let pause = if file.part > file.part_when_asked {
            (file.failures, file.relays_in_vain) = (0, 0);
            BREATH + self.dice.below(BREATH)
        } else {
            file.relays_in_vain += 1;
            self.backoff(node, content)
        };
        self.pause(node, content, pause);
    }

    fn download(&mut self, node: usize, content: usize) {
        let part = self.nodes[node].files[content].part;
        self.note(node, "downloads", content as u64, part);
        let begins_at = self.now + self.dice.between(INTERNET_DELAY.0, INTERNET_DELAY.1);
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
        if goes_on || self.nodes[node].files[content].relays_in_vain > RELAYS_WITHOUT_PROGRESS {
            self.watch_soon(node);
            return self.after(REPORT_INTERVAL, Event::Report { node, content, serial });
        }
        self.note(node, "is told to follow", content as u64, part);
        for flow in &mut self.flows {
            flow.over |= flow.source.is_none() && flow.to == node && flow.content == content;
        }
        self.cut(node, content);
    }

    fn gone_wrong(&mut self, node: usize, content: usize) {
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

fn end_word(end: SourceEnd) -> &'static str {
    match end {
        SourceEnd::Finished => "has all of it from",
        SourceEnd::Busy => "finds no slot at",
        SourceEnd::Exhausted => "has had all of",
        SourceEnd::Cut => "is cut off by",
        SourceEnd::Stalled => "hears nothing from",
        SourceEnd::Corrupt => "gets altered records from",
        SourceEnd::Slow => "leaves",
    }
}
