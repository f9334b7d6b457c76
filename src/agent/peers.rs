//! What other devices send: announcements, queries, takes.

use core::net::Ipv4Addr;

use super::{Agent, Held, Hint, IfIndex};
use crate::content::{PublicId, Standing, State};
use crate::discovery::Heard;
use crate::exchange::{Answer, PeerRequest};
use crate::handshake::{Answerer, Asker};
use crate::keys::ContentKeys;
use crate::limits::{ADMIT_BELOW_PERCENT, FULL_PERCENT, QUERY_TIMEOUT};
use crate::peer::Peer;
use crate::slots::Admission;
use crate::survey::{Frame, SURVEY_BYTES, Survey, TOLD_BYTES};
use crate::time::{Duration, Instant, Timestamp};
use crate::wire::Announce;

impl Agent {
    /// A datagram arrived. Some: a device that knows a wanted content announces something about it; an announcement can be
    /// recorded and sent again, so ask that device and hand its answer to [`Agent::handle_standing`].
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        received: Timestamp,
        interface: IfIndex,
        from: Ipv4Addr,
        bytes: &[u8],
    ) -> Option<Hint> {
        let heard = self.discovery.handle_datagram(now, received, interface, from, bytes, &mut self.random)?;
        let Heard::Announce { interface, from, announce } = heard;
        self.handle_announce(now, interface, from, &announce)
    }

    fn handle_announce(
        &mut self,
        now: Instant,
        interface: IfIndex,
        from: Ipv4Addr,
        announce: &Announce,
    ) -> Option<Hint> {
        let node = self.node;
        if self.offenders.contains(now, from) {
            return None;
        }
        let wanted = self.want(announce.id).and_then(|want| want.keys_of(announce.id));
        let keys = wanted.or_else(|| self.whereabouts.keys(announce.id))?;
        if announce.node == node || !keys.verify_announce(announce) {
            return None;
        }
        self.whereabouts.handle_standing(announce.id, from, &announce.standing);
        if !self.want_mut(announce.id)?.takes_hint(now, &announce.standing) {
            return None;
        }
        Some(Hint { id: announce.id, interface, peer: from })
    }

    /// A peer proved its standing when it was asked after a [`Hint`]; true when a waiting local request should be polled.
    pub fn handle_standing(&mut self, now: Instant, id: PublicId, peer: Ipv4Addr, standing: Standing) -> bool {
        self.whereabouts.handle_standing(id, peer, &standing);
        let condition = self.condition_for(now, id);
        self.want_mut(id).is_some_and(|want| want.handle_standing(now, peer, standing, condition))
    }

    /// A query of a peer. None means 404, whatever is held: the peer did not prove that it knows the content, or
    /// repeats somebody's old query; `held` is only looked at for who did, or the time of a 404 would tell what is here. Otherwise the second value tells whether a waiting local request should be polled.
    pub fn handle_query(
        &mut self,
        now: Instant,
        interface: IfIndex,
        (from, to): (Ipv4Addr, Ipv4Addr),
        keys: &ContentKeys,
        query: &PeerRequest,
        held: impl FnOnce() -> Held,
    ) -> Option<(Answerer, Answer, bool)> {
        let mut answerer = Answerer::accept(keys, from, to, query).ok()?;
        let PeerRequest::Query { nonce, asker, .. } = query else { return None };
        if self.nonces.iter().any(|seen| seen == nonce) {
            return None;
        }
        self.remember(*nonce);
        self.discovery.handle_authenticated(now, interface, from);
        self.whereabouts.handle_standing(keys.id(), from, asker);
        let condition = self.condition_for(now, keys.id());
        let heeded = !self.offenders.contains(now, from);
        let held = held();
        // Who reads the own `.part` knows better how far it is than what was seen of it lately: a reader is no rival ahead.
        if let (Some(want), Held::Part(bytes)) = (self.want_mut(keys.id()).filter(|want| want.is_watched()), held) {
            want.handle_growth(now, bytes);
        }
        let woken = match self.want_mut(keys.id()).filter(|_| heeded) {
            Some(want) => want.handle_standing(now, from, *asker, condition),
            None => false,
        };
        if let Held::Complete(_) = held {
            self.blame.handle_query(now, keys.id(), from, asker.attempt);
        }
        let standing = self.standing(now, keys.id(), held);
        if standing.state == State::Idle && !self.wants.iter().any(|want| want.is_called(keys.id())) {
            return None;
        }
        let challenge = self.random.bytes();
        let answer = answerer.answer(keys, standing, challenge);
        Some((answerer, answer, woken))
    }

    /// A query about a content that is neither held nor wanted yet, so that its answer is 404: if the client wants the content soon, and the
    /// peer proved that it knows it, what it says about itself is kept.
    pub fn handle_query_in_vain(&mut self, (from, to): (Ipv4Addr, Ipv4Addr), query: &PeerRequest) {
        let PeerRequest::Query { id, asker, .. } = query else { return };
        let proven = |keys| Answerer::accept(keys, from, to, query).is_ok();
        if self.whereabouts.keys(*id).is_some_and(proven) {
            self.whereabouts.handle_standing(*id, from, asker);
        }
    }

    /// A batched query of a peer. `find` gives the keys of an id, and a way to see what is held of it, which is only looked at for who
    /// proved that it knows the content. None: 404, nothing is told.
    pub fn handle_survey<H: FnOnce() -> Held>(
        &mut self,
        now: Instant,
        interface: IfIndex,
        (from, to): (Ipv4Addr, Ipv4Addr),
        survey: &Survey,
        mut find: impl FnMut(&PublicId) -> Option<(ContentKeys, H)>,
    ) -> Option<heapless::Vec<u8, SURVEY_BYTES>> {
        if self.nonces.iter().any(|seen| *seen == survey.nonce) {
            return None;
        }
        let frame = Frame { client: from, server: to, nonce: survey.nonce };
        let (mut told, mut any) = (heapless::Vec::new(), false);
        for (id, proof) in &survey.asked {
            let known = find(id).filter(|(keys, _)| frame.is_proven(keys, proof)).and_then(|(keys, held)| {
                let standing = self.standing(now, *id, held());
                let is_known = standing.state != State::Idle || self.want(*id).is_some();
                is_known.then(|| frame.tell(&keys, standing))
            });
            any |= known.is_some();
            // It holds the longest answer.
            let _ = told.extend_from_slice(&known.unwrap_or([0; TOLD_BYTES]));
        }
        if !any {
            return None;
        }
        self.remember(survey.nonce);
        self.discovery.handle_authenticated(now, interface, from);
        Some(told)
    }

    fn remember(&mut self, nonce: [u8; 16]) {
        if self.nonces.is_full() {
            self.nonces.pop_front();
        }
        // There is room now.
        let _ = self.nonces.push_back(nonce);
    }

    /// A query of ours about `keys` to a peer.
    pub fn ask(&mut self, now: Instant, keys: &ContentKeys, from: Ipv4Addr, to: Ipv4Addr, held: Held) -> Asker {
        let standing = self.standing(now, keys.id(), held);
        Asker::new(keys, from, to, standing, self.random.bytes())
    }

    /// A proven take of `id` from `address`, which has `offset` bytes, where `held` is here. `alternative` is what it says about
    /// itself: it can still go elsewhere or wait.
    pub fn admit(
        &mut self,
        now: Instant,
        address: Ipv4Addr,
        id: PublicId,
        (offset, alternative): (u64, bool),
        held: Held,
    ) -> Admission {
        // Who came here on an older answer may have caught up since.
        if !self.offered(id, held).is_ahead_of(offset) {
            return Admission::NotAhead;
        }
        let best = self.upload_limit.unwrap_or(u64::MAX).min(self.best_rate());
        // What another station would send it crosses the air twice: better from here, as long as the wire has room.
        let station = self.discovery.is_wired() && self.is_station(address);
        let percent = if station { FULL_PERCENT } else { ADMIT_BELOW_PERCENT };
        if alternative && !self.slots.has_bandwidth(now, id, best, percent) {
            return Admission::Full;
        }
        let admission = self.slots.admit(now, address, id);
        if let (Admission::Granted(_), Held::Complete(_)) = (&admission, held) {
            self.blame.handle_served(now, id, address);
        }
        admission
    }

    /// A content whose complete file somebody blamed, to be hashed now; [`Agent::handle_rehashed`] when that is over.
    pub fn poll_rehash(&mut self, now: Instant) -> Option<PublicId> {
        self.blame.poll(now)
    }

    /// The hashing is over, however it ended.
    pub fn handle_rehashed(&mut self) {
        self.blame.handle_hashed();
    }

    /// Whether this peer says that it is a Wi-Fi station.
    pub(super) fn is_station(&self, peer: Ipv4Addr) -> bool {
        self.discovery.peers().iter().any(|known| known.addr == peer && !known.flags.wired)
    }

    /// How long to wait for this peer's answer.
    pub fn patience(&self, peer: Ipv4Addr) -> Duration {
        self.discovery.peers().iter().find(|known| known.addr == peer).map_or(QUERY_TIMEOUT, Peer::patience)
    }
}
