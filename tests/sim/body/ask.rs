//! The counterpart of `ask.rs`: rounds of queries, looks round, answers.

use p2p_agent::agent::{Held, Hint};
use p2p_agent::content::PublicId;
use p2p_agent::exchange::{Answer, PeerRequest};
use p2p_agent::handshake::{Answerer, Asker};
use p2p_agent::keys::Proof;
use p2p_agent::limits::{QUERY_TIMEOUT, ROUND_GRACE, SURVEY_IDS};
use p2p_agent::survey::{Frame, Survey, TOLD_BYTES};
use p2p_agent::time::Instant;
use p2p_agent::want::{Answered, Round};

use super::DATA_TIMEOUT;
use crate::event::{Ask, Event, Taken};
use crate::node::{Look, Relay, Side, Us};
use crate::world::{ETH, S, World, address, bytes, place};

/// The kernel's first retransmission of a connection.
const SYN_TIMEOUT: Us = S;

impl World {
    fn worth_asking(&mut self, node: usize, now: Instant, id: PublicId) -> Vec<usize> {
        self.nodes[node].agent.whom_to_ask(now, id).into_iter().filter_map(place).collect()
    }

    pub fn round(&mut self, node: usize, content: usize) {
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

    fn ask(&mut self, node: usize, peer: usize, content: usize, ask: Ask) -> Asker {
        let (now, held) = (self.local(node), self.held(node, content));
        let keys = &self.contents[content].keys;
        let device = &mut self.nodes[node];
        device.queries += 1;
        let asker = device.agent.ask(now, keys, device.address, address(peer), held);
        let patience = device.agent.patience(address(peer)).as_micros() as Us;
        let request = asker.query(keys);
        self.after(patience, Event::Patience { node, peer, content, ask });
        if self.reach(node, peer) {
            let delay = self.message_delay(node, peer, DATA_TIMEOUT) + self.connect_delay(node, peer);
            self.after(delay, Event::Query { from: node, to: peer, content, ask, request });
        }
        asker
    }

    /// The counterpart of `POST /v1/wanted`: everybody is asked about all of it at once.
    pub fn named(&mut self, node: usize, epoch: u32) {
        if epoch != self.nodes[node].epoch || !self.nodes[node].on {
            return;
        }
        let now = self.local(node);
        let device = &mut self.nodes[node];
        let lacks = |at: &usize| !device.files[*at].complete;
        let wanted: Vec<usize> = (0..self.contents.len()).filter(lacks).take(SURVEY_IDS).collect();
        for keys in wanted.iter().map(|at| &self.contents[*at].keys) {
            let _ = device.agent.handle_wanted_soon(now, keys);
            device.agent.handle_surveying(now, keys.id());
        }
        let peers: Vec<usize> = device.agent.discovery.peers().routable().filter_map(|peer| place(peer.addr)).collect();
        for peer in peers {
            let device = &mut self.nodes[node];
            let frame = Frame { client: device.address, server: address(peer), nonce: device.agent.random() };
            let survey = frame.ask(wanted.iter().map(|at| &self.contents[*at].keys));
            device.surveys += 1;
            if self.reach(node, peer) {
                let delay = self.message_delay(node, peer, DATA_TIMEOUT) + self.connect_delay(node, peer);
                self.after(delay, Event::Survey { from: node, to: peer, survey });
            }
        }
    }

    pub fn survey(&mut self, from: usize, to: usize, survey: Survey) {
        if !self.reach(from, to) || self.nodes[to].side != Side::Honest {
            return;
        }
        let now = self.local(to);
        let held: Vec<Held> = (0..self.contents.len()).map(|content| self.held(to, content)).collect();
        let device = &mut self.nodes[to];
        let wants: Vec<PublicId> = device.agent.wants().map(|want| want.keys().id()).collect();
        let contents = &self.contents;
        let find = |id: &PublicId| {
            let at = contents.iter().position(|content| content.keys.id() == *id)?;
            let known = held[at] != Held::Nothing || wants.contains(id);
            let held = held[at];
            known.then(|| (contents[at].keys.clone(), move || held))
        };
        let addresses = (address(from), device.address);
        let Some(told) = device.agent.handle_survey(now, ETH, addresses, &survey, find) else { return };
        let delay = self.message_delay(to, from, DATA_TIMEOUT);
        self.after(delay, Event::Surveyed { node: from, peer: to, survey, told: told.to_vec() });
        self.settle(to);
    }

    pub fn surveyed(&mut self, node: usize, peer: usize, survey: &Survey, told: &[u8]) {
        let device = &mut self.nodes[node];
        let frame = Frame { client: device.address, server: address(peer), nonce: survey.nonce };
        for ((id, _), told) in survey.asked.iter().zip(told.chunks(TOLD_BYTES)) {
            let Some(content) = self.contents.iter().find(|content| content.keys.id() == *id) else { continue };
            if let Some(standing) = frame.read(&content.keys, told) {
                device.agent.handle_surveyed(*id, address(peer), &standing);
            }
        }
    }

    fn connect_delay(&mut self, node: usize, peer: usize) -> Us {
        if !self.nodes[node].lines.insert(peer) {
            return 0;
        }
        self.nodes[node].connections += 1;
        self.message_delay(node, peer, SYN_TIMEOUT) + self.message_delay(peer, node, SYN_TIMEOUT)
    }

    pub fn follow_hint(&mut self, node: usize, hint: Hint) {
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
                if !known {
                    device.agent.handle_query_in_vain(addresses, request);
                }
                let answered =
                    if known { device.agent.handle_query(now, ETH, addresses, keys, request, || held) } else { None };
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

    /// Asks everybody while the present source goes on.
    pub fn look_round(&mut self, node: usize, content: usize) {
        let (now, id) = (self.local(node), self.contents[content].keys.id());
        let file = &self.nodes[node].files[content];
        if !file.look.pending.is_empty() || file.moving.is_some() || !self.nodes[node].agent.poll_look(now, id) {
            return;
        }
        self.note(node, "looks round", content as u64, self.nodes[node].files[content].part);
        let targets = self.worth_asking(node, now, id);
        let serial = self.serial();
        let pending = targets.iter().map(|peer| (*peer, self.ask(node, *peer, content, Ask::Look(serial)))).collect();
        self.nodes[node].files[content].look = Look { serial, pending, answers: Vec::new(), until: Us::MAX };
    }

    pub fn end_look(&mut self, node: usize, content: usize) {
        let (now, id) = (self.local(node), self.contents[content].keys.id());
        let answers = self.nodes[node].files[content].look.answers.clone();
        let better = self.nodes[node].agent.handle_look(now, id, &answers);
        let following = matches!(self.nodes[node].files[content].relay, Relay::Following);
        if following && self.nodes[node].agent.want_mut(id).is_some_and(|want| want.source().is_none()) {
            return self.leave(node, content);
        }
        let look = &mut self.nodes[node].files[content].look;
        look.until = look.until.min(self.now + QUERY_TIMEOUT.as_micros() as Us);
        let left = look.until - self.now.min(look.until);
        let Some(peer) = better.and_then(place).filter(|_| following && left > 0) else { return };
        let serial = self.serial();
        self.nodes[node].files[content].moving = Some((peer, serial));
        self.send_take(node, peer, content, (serial, true), left);
    }

    /// Asks for the bytes and waits so long for the answer.
    pub fn send_take(
        &mut self,
        node: usize,
        peer: usize,
        content: usize,
        (serial, alternative): (u32, bool),
        patience: Us,
    ) {
        if self.reach(node, peer) {
            let delay = self.message_delay(node, peer, DATA_TIMEOUT);
            self.after(delay, Event::Take { from: node, to: peer, content, serial, alternative });
        }
        self.after(patience, Event::Taken { from: peer, to: node, content, serial, taken: Taken::TimedOut });
    }
}
