//! What other devices send: announcements, queries, takes.

use core::net::Ipv4Addr;

use super::{Agent, Held, Hint, IfIndex};
use crate::content::{PublicId, Standing, State};
use crate::discovery::Heard;
use crate::exchange::{Answer, PeerRequest};
use crate::handshake::{Answerer, Asker};
use crate::keys::ContentKeys;
use crate::limits::{ADMIT_BELOW_PERCENT, FULL_PERCENT, QUERY_TIMEOUT, RETRY_AFTER};
use crate::slots::Admission;
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
        let want = self.want_mut(announce.id)?;
        let ours = announce.node == node;
        if ours || !want.keys().verify_announce(announce) || !want.takes_hint(now, &announce.standing) {
            return None;
        }
        Some(Hint { id: announce.id, interface, peer: from })
    }

    /// A peer proved its standing when it was asked after a [`Hint`]; true when a waiting local request should be polled.
    pub fn handle_standing(&mut self, now: Instant, id: PublicId, peer: Ipv4Addr, standing: Standing) -> bool {
        let condition = self.condition_for(now, id);
        self.want_mut(id).is_some_and(|want| want.handle_standing(now, peer, standing, condition))
    }

    /// A query of a peer. None means 404, whatever is held: the peer did not prove that it knows the content, or
    /// repeats somebody's old query. Otherwise the second value tells whether a waiting local request should be polled.
    pub fn handle_query(
        &mut self,
        now: Instant,
        interface: IfIndex,
        (from, to): (Ipv4Addr, Ipv4Addr),
        keys: &ContentKeys,
        query: &PeerRequest,
        held: Held,
    ) -> Option<(Answerer, Answer, bool)> {
        let mut answerer = Answerer::accept(keys, from, to, query).ok()?;
        let PeerRequest::Query { nonce, asker, .. } = query else { return None };
        if self.nonces.iter().any(|seen| seen == nonce) {
            return None;
        }
        if self.nonces.is_full() {
            self.nonces.pop_front();
        }
        // There is room now.
        let _ = self.nonces.push_back(*nonce);
        self.discovery.handle_authenticated(now, interface, from);
        let condition = self.condition_for(now, keys.id());
        let heeded = !self.offenders.contains(now, from);
        let woken = match self.want_mut(keys.id()).filter(|_| heeded) {
            Some(want) => want.handle_standing(now, from, *asker, condition),
            None => false,
        };
        let standing = self.standing(now, keys.id(), held);
        if standing.state == State::Idle && !self.wants.iter().any(|want| want.keys().id() == keys.id()) {
            return None;
        }
        let challenge = self.random.bytes();
        let answer = answerer.answer(keys, standing, challenge);
        Some((answerer, answer, woken))
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
        if !held.is_ahead_of(offset) {
            return Admission::NotAhead;
        }
        let best = self.best_rate();
        // What another station would send it crosses the air twice: better from here, as long as the wire has room.
        let station = self.wired && self.is_station(address);
        let percent = if station { FULL_PERCENT } else { ADMIT_BELOW_PERCENT };
        if alternative && !self.slots.has_bandwidth(now, id, best, percent) {
            return Admission::Full { retry_after: RETRY_AFTER };
        }
        self.slots.admit(now, address, id)
    }

    /// Whether this peer says that it is a Wi-Fi station.
    pub(super) fn is_station(&self, peer: Ipv4Addr) -> bool {
        self.discovery.peers().iter().any(|known| known.addr == peer && !known.flags.wired)
    }

    /// How long to wait for this peer's answer.
    pub fn patience(&self, peer: Ipv4Addr) -> Duration {
        let delay = self.discovery.peers().iter().find(|known| known.addr == peer).and_then(|known| known.delay());
        QUERY_TIMEOUT + delay.unwrap_or_default().min(QUERY_TIMEOUT)
    }
}
