//! The whole mind: discovery, slots and wants behind one type.
//!
//! The body calls a `handle_*` method for everything that happens (a datagram, a proven query, bytes, a timer), then drains
//! [`Agent::poll_transmit`] until it is empty and sleeps until [`Agent::poll_timeout`]. Nothing here waits, and nothing
//! here reads a clock: `now` is monotonic, `wall` the wall clock.

use core::net::Ipv4Addr;

pub use crate::content::Held;
use crate::content::{NodeId, PublicId, Standing, State};
use crate::discovery::{Discovery, Heard, InterfaceUp, To};
use crate::exchange::{Answer, PeerRequest};
use crate::handshake::{Answerer, Asker};
use crate::keys::ContentKeys;
use crate::limits::{
    DATAGRAM_BYTES, LINK_UP_PROBES, NONCES_REMEMBERED, QUERY_TIMEOUT, RETRY_AFTER, STARVED, STARVED_MEMORY, WANTS,
};
use crate::offenders::Offenders;
pub use crate::peer::IfIndex;
use crate::random::Random;
use crate::slots::{Admission, Slots};
use crate::time::{Duration, Instant, Timestamp};
use crate::want::{Answered, Condition, Reason, Round, SourceEnd, Step, Want};
use crate::wire::{Announce, Datagram};

/// Somebody announced something about a wanted content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The content.
    pub id: PublicId,
    /// Where it was heard.
    pub interface: IfIndex,
    /// Who announced it.
    pub peer: Ipv4Addr,
}

/// Why a request of the local client cannot be taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Another local response for the same content is under way: follow the own `.part`.
    AlreadyServed,
    /// As many contents are wanted as the table holds.
    Full,
}

/// The mind of one node.
pub struct Agent {
    node: NodeId,
    random: Random,
    /// Peers and their clocks.
    pub discovery: Discovery,
    /// Transfers to peers.
    pub slots: Slots,
    wants: heapless::Vec<Want, WANTS>,
    nonces: heapless::Deque<[u8; 16], NONCES_REMEMBERED>,
    offenders: Offenders,
    late_at: Option<Instant>,
    may_fetch: bool,
    /// The link that came up last is a wire.
    wired: bool,
    /// Bytes per second that the link can carry, where the body knows it.
    link_rate: u64,
    /// By then whoever is there has answered the first probes.
    settled_at: Instant,
}

/// A datagram to send now, to the agent's port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Through this interface; through each when None.
    pub interface: Option<IfIndex>,
    /// To whom.
    pub to: To,
    /// The whole datagram.
    pub bytes: [u8; DATAGRAM_BYTES],
}

impl Agent {
    /// A node that knows nobody yet. `os` is carried in its probes.
    pub fn new(os: &str, mut random: Random) -> Self {
        let node = NodeId(random.bytes());
        Self {
            node,
            discovery: Discovery::new(node, os),
            slots: Slots::default(),
            wants: heapless::Vec::new(),
            nonces: heapless::Deque::new(),
            offenders: Offenders::default(),
            late_at: None,
            may_fetch: true,
            wired: true,
            link_rate: 0,
            settled_at: Instant::ZERO,
            random,
        }
    }

    /// This node's name for this run.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Fresh unpredictable bytes.
    pub fn random<const N: usize>(&mut self) -> [u8; N] {
        self.random.bytes()
    }

    /// Whether this device may use its uplink for the site (not metered).
    pub fn set_may_fetch(&mut self, may_fetch: bool) {
        self.may_fetch = may_fetch;
    }

    /// An interface is there with this address.
    pub fn handle_interface_up(&mut self, now: Instant, index: IfIndex, address: Ipv4Addr, prefix: u8, wired: bool) {
        if self.discovery.handle_interface_up(now, index, address, prefix, wired) == InterfaceUp::Started {
            self.discovery.handle_metered(index, !self.may_fetch);
            let [.., last] = LINK_UP_PROBES;
            self.settled_at = now + last + QUERY_TIMEOUT;
            self.wired = wired;
        }
    }

    /// What the link carries at best, in bytes per second, as its driver says; 0 where it does not. A device on a slow link leaves the
    /// uplink to others.
    pub fn set_link_rate(&mut self, bytes_per_second: u64) {
        self.link_rate = bytes_per_second;
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
        if alternative && !self.slots.has_bandwidth(now, id, best) {
            return Admission::Full { retry_after: RETRY_AFTER };
        }
        self.slots.admit(now, address, id)
    }

    /// An interface is gone, with everybody behind it.
    pub fn handle_interface_down(&mut self, now: Instant, index: IfIndex) {
        self.discovery.handle_interface_down(now, index);
    }

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
        let condition = self.condition(now);
        self.want_mut(id).is_some_and(|want| want.handle_standing(now, peer, standing, condition))
    }

    /// A timer fired; `due` is when it should have.
    pub fn handle_timeout(&mut self, now: Instant, wall: Timestamp, due: Instant) {
        if due != Instant::ZERO && now.since(due) > STARVED {
            self.late_at = Some(now);
        }
        let starved = self.condition(now).starved;
        self.discovery.handle_starved(starved);
        self.discovery.handle_timeout(now, wall, &mut self.random);
        for want in &mut self.wants {
            want.handle_timeout(now);
        }
        self.wants.retain(|want| !want.is_forgettable(now));
    }

    /// When [`Agent::handle_timeout`] and [`Agent::poll_transmit`] are due.
    pub fn poll_timeout(&self) -> Instant {
        self.wants.iter().map(Want::poll_timeout).fold(self.discovery.poll_timeout(), Instant::min)
    }

    /// The next datagram to send, if any.
    pub fn poll_transmit(&mut self, now: Instant, wall: Timestamp) -> Option<Transmit> {
        if let Some(transmit) = self.discovery.poll_transmit(now, wall) {
            return Some(Transmit { interface: Some(transmit.interface), to: transmit.to, bytes: transmit.bytes });
        }
        let condition = self.condition(now);
        let Self { node, random, wants, .. } = self;
        let announce = wants.iter_mut().find_map(|want| {
            let standing = want.poll_announce(now, condition)?;
            let id = want.keys().id();
            let mut announce =
                Announce { node: *node, id, standing, claimed_ms: 0, nonce: random.bytes(), mac: [0; 16] };
            announce.mac = want.keys().announce_mac(&announce);
            Some(announce)
        })?;
        let mut bytes = [0; DATAGRAM_BYTES];
        Datagram::Announce(announce).encode(&mut bytes);
        Some(Transmit { interface: None, to: To::Broadcast, bytes })
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
        let condition = self.condition(now);
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

    /// What this node tells about itself and one content.
    pub fn standing(&self, now: Instant, id: PublicId, held: Held) -> Standing {
        let active = self.slots.active();
        let want = self.wants.iter().find(|want| want.keys().id() == id);
        if let Held::Complete(size) = held {
            let attempt = want.map_or(1, |want| want.standing(now, None, self.condition(now)).attempt);
            let state = State::Complete;
            return Standing { state, size: Some(size), available: size, active, attempt, ..Standing::default() };
        }
        let part = if let Held::Part(bytes) = held { bytes } else { 0 };
        match want {
            Some(want) => Standing { active, ..want.standing(now, Some(part), self.condition(now)) },
            None if part > 0 => {
                Standing { state: State::Partial, available: part, active, attempt: 1, ..Standing::default() }
            }
            None => Standing::default(),
        }
    }

    /// The local client asks for the content of `keys` from byte `offset` on.
    pub fn handle_request(
        &mut self,
        now: Instant,
        keys: ContentKeys,
        offset: u64,
        size: Option<u64>,
    ) -> Result<(), Refused> {
        if let Some(want) = self.want_mut(keys.id()) {
            if want.is_served() {
                return Err(Refused::AlreadyServed);
            }
            want.handle_request(now, offset, size);
            return Ok(());
        }
        self.make_room();
        let want = Want::new(now, self.node, keys, offset, size);
        self.wants.push(want).map_err(|_| Refused::Full)
    }

    /// What to do next for a want; None when it is not known (any more).
    pub fn poll_want(&mut self, now: Instant, id: PublicId) -> Option<Step> {
        let peers = self.discovery.peers().routable().count();
        let settled_at = self.settled_at;
        Some(self.want_mut(id)?.poll(now, peers, settled_at))
    }

    /// Whether a round of queries need not wait long for further answers: this one comes from a source.
    pub fn is_enough(&self, now: Instant, id: PublicId, answered: &Answered) -> bool {
        self.want(id).is_some_and(|want| want.is_enough(now, answered))
    }

    /// Whether a round of queries about this content should ask this peer.
    pub fn is_worth_asking(&self, now: Instant, id: PublicId, peer: Ipv4Addr) -> bool {
        !self.offenders.contains(now, peer) && self.want(id).is_none_or(|want| want.is_worth_asking(now, peer))
    }

    /// A query round for a want is over.
    pub fn handle_round(&mut self, now: Instant, id: PublicId, round: Round, answers: &[Answered]) {
        let condition = self.condition(now);
        let Self { wants, random, .. } = self;
        if let Some(want) = wants.iter_mut().find(|want| want.keys().id() == id) {
            want.handle_round(now, round, answers, condition, random);
        }
    }

    /// Whether to look round for a better source of a followed content, or for another fetcher of a fetched one; to be
    /// asked after every record and heartbeat, and every [`crate::limits::FETCH_BEACON`] while fetching.
    pub fn poll_look(&mut self, now: Instant, id: PublicId) -> bool {
        let (best, wired) = (self.best_rate(), self.wired);
        self.want_mut(id).is_some_and(|want| want.poll_look(now, best, wired))
    }

    /// What a look round showed (see [`Want::poll_look`]): whom to take the content from instead, if anybody. Take it, then tell
    /// [`Want::handle_moved`]; until one was granted the present source stays. After a refusal call it again with the same answers.
    pub fn handle_look(&mut self, now: Instant, id: PublicId, answers: &[Answered]) -> Option<Ipv4Addr> {
        let condition = self.condition(now);
        let Self { wants, random, .. } = self;
        wants.iter_mut().find(|want| want.keys().id() == id)?.handle_look(now, answers, condition, random)
    }

    /// The followed source ended. Some: it failed with so many contents that it is left alone for all of them for so long.
    pub fn handle_source_end(
        &mut self,
        now: Instant,
        id: PublicId,
        peer: Ipv4Addr,
        end: SourceEnd,
    ) -> Option<Duration> {
        if let Some(want) = self.want_mut(id) {
            want.handle_source_end(now, peer, end);
        }
        self.offenders.handle_end(now, peer, id, end)
    }

    /// The client was told to fetch; from here on the lease is this node's.
    pub fn handle_told(&mut self, now: Instant, id: PublicId) {
        let condition = self.condition(now);
        if let Some(want) = self.want_mut(id) {
            want.handle_told(now, condition);
        }
    }

    /// The client reports on its own download of `keys`; false means: stop it and ask again.
    pub fn handle_report(&mut self, now: Instant, keys: ContentKeys, offset: u64, size: Option<u64>) -> bool {
        let id = keys.id();
        if self.want_mut(id).is_none() {
            self.make_room();
            let mut want = Want::new(now, self.node, keys, offset, size);
            want.handle_response_end(now);
            if self.wants.push(want).is_err() {
                return true;
            }
        }
        self.want_mut(id).is_none_or(|want| {
            let goes_on = want.handle_report(now, size);
            want.handle_growth(now, offset);
            goes_on
        })
    }

    /// The want of this content.
    pub fn want_mut(&mut self, id: PublicId) -> Option<&mut Want> {
        self.wants.iter_mut().find(|want| want.keys().id() == id)
    }

    /// The want of this content.
    pub fn want(&self, id: PublicId) -> Option<&Want> {
        self.wants.iter().find(|want| want.keys().id() == id)
    }

    /// Everything wanted or remembered.
    pub fn wants(&self) -> impl Iterator<Item = &Want> {
        self.wants.iter()
    }

    /// Reason last given for a content.
    pub fn reason(&self, id: PublicId) -> Option<Reason> {
        self.want(id)?.reason()
    }

    /// How long to wait for this peer's answer.
    pub fn patience(&self, peer: Ipv4Addr) -> Duration {
        let delay = self.discovery.peers().iter().find(|known| known.addr == peer).and_then(|known| known.delay());
        QUERY_TIMEOUT + delay.unwrap_or_default().min(QUERY_TIMEOUT)
    }

    fn condition(&self, now: Instant) -> Condition {
        let fetching = self.wants.iter().filter(|want| want.is_fetching()).count();
        Condition {
            starved: self.late_at.is_some_and(|at| now.since(at) < STARVED_MEMORY),
            may_fetch: self.may_fetch,
            wired: self.wired,
            speed: crate::rank::speed(self.link_rate),
            fetching: u8::try_from(fetching).unwrap_or(u8::MAX),
        }
    }

    /// The fastest that anything came, in bytes per second, or what the link's driver says.
    fn best_rate(&self) -> u64 {
        self.wants.iter().map(Want::best_rate).fold(self.link_rate, u64::max)
    }

    fn make_room(&mut self) {
        if !self.wants.is_full() {
            return;
        }
        let idle = self.wants.iter().enumerate().filter_map(|(place, want)| Some((place, want.idle_since()?)));
        if let Some((oldest, _)) = idle.min_by_key(|(_, since)| *since) {
            self.wants.swap_remove(oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::ContentMd5;
    use crate::keys::DomainKey;
    use crate::limits::OFFENCES;
    use std::boxed::Box;

    const NOW: Instant = Instant::from_micros(5_000_000);
    const LINK: IfIndex = IfIndex(2);
    const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    fn node(seed: u8, address: Ipv4Addr) -> Box<Agent> {
        let mut agent = Box::new(Agent::new("test", Random::from_seed([seed; 16])));
        agent.handle_interface_up(NOW, LINK, address, 24, true);
        agent
    }

    fn keys() -> ContentKeys {
        ContentKeys::derive(&DomainKey::open(), &ContentMd5([7; 16]))
    }

    #[test]
    fn a_proven_query_makes_a_peer_and_its_replay_makes_nothing() {
        let (mut a, mut b) = (node(1, A), node(2, B));
        let query = a.ask(NOW, &keys(), A, B, Held::Nothing).query(&keys());
        let answered = b.handle_query(NOW, LINK, (A, B), &keys(), &query, Held::Complete(9));
        assert!(answered.is_some());
        assert!(b.discovery.peers().routable().any(|peer| peer.addr == A));
        assert!(b.handle_query(NOW, LINK, (A, B), &keys(), &query, Held::Complete(9)).is_none());
    }

    #[test]
    fn nothing_is_known_of_what_is_neither_held_nor_wanted() {
        let (mut a, mut b) = (node(1, A), node(2, B));
        let query = a.ask(NOW, &keys(), A, B, Held::Nothing).query(&keys());
        assert!(b.handle_query(NOW, LINK, (A, B), &keys(), &query, Held::Nothing).is_none());
    }

    #[test]
    fn a_second_local_client_is_told_that_the_first_is_served() {
        let mut a = node(1, A);
        assert_eq!(a.handle_request(NOW, keys(), 0, None), Ok(()));
        assert_eq!(a.handle_request(NOW, keys(), 0, None), Err(Refused::AlreadyServed));
    }

    #[test]
    fn idle_entries_make_room_and_busy_ones_do_not() {
        let mut a = node(1, A);
        let content = |n: usize| ContentKeys::derive(&DomainKey::open(), &ContentMd5([n as u8; 16]));
        for n in 0..WANTS {
            assert_eq!(a.handle_request(NOW, content(n), 0, None), Ok(()));
        }
        assert_eq!(a.handle_request(NOW, content(WANTS), 0, None), Err(Refused::Full));
        let id = content(3).id();
        a.want_mut(id).expect("it is there").handle_response_end(NOW);
        assert_eq!(a.handle_request(NOW, content(WANTS), 0, None), Ok(()));
        assert!(a.want(id).is_none());
    }

    #[test]
    fn a_claim_is_announced_and_only_believed_after_a_query() {
        let (mut a, mut b) = (node(1, A), node(2, B));
        for (agent, peer) in [(&mut a, B), (&mut b, A)] {
            agent.discovery.handle_authenticated(NOW, LINK, peer);
            agent.handle_request(NOW, keys(), 0, None).expect("room");
            assert_eq!(agent.poll_want(NOW, keys().id()), Some(Step::Query));
            agent.handle_round(NOW, keys().id(), Round { asked: 1, silent: 0 }, &[]);
        }
        let claim = core::iter::from_fn(|| a.poll_transmit(NOW, Timestamp::default()))
            .find(|transmit| transmit.interface.is_none())
            .expect("a claim is broadcast");
        let hint = b.handle_datagram(NOW, Timestamp::default(), LINK, A, &claim.bytes);
        assert_eq!(hint, Some(Hint { id: keys().id(), interface: LINK, peer: A }));
        // Another one right behind it costs no second query.
        assert_eq!(b.handle_datagram(NOW, Timestamp::default(), LINK, A, &claim.bytes), None);
        // An own announcement that comes back is nothing, nor is a forged one.
        assert_eq!(a.handle_datagram(NOW, Timestamp::default(), LINK, B, &claim.bytes), None);
        let mut forged = claim.bytes;
        forged[100] ^= 1;
        assert_eq!(b.handle_datagram(NOW + Duration::from_secs(1), Timestamp::default(), LINK, A, &forged), None);
    }

    #[test]
    fn a_peer_that_is_left_altogether_is_neither_asked_nor_heeded_but_still_served() {
        let (mut a, mut b) = (node(1, A), node(2, B));
        let other = ContentKeys::derive(&DomainKey::open(), &ContentMd5([8; 16]));
        b.handle_request(NOW, keys(), 0, None).expect("room");
        assert!(b.is_worth_asking(NOW, other.id(), A));
        for number in 0..OFFENCES {
            let id = PublicId([number as u8; 16]);
            let left = b.handle_source_end(NOW, id, A, SourceEnd::Corrupt);
            assert_eq!(left.is_some(), number + 1 == OFFENCES);
        }
        assert!(!b.is_worth_asking(NOW, other.id(), A) && !b.is_worth_asking(NOW, keys().id(), A));
        assert!(b.is_worth_asking(NOW, other.id(), Ipv4Addr::new(10, 0, 0, 3)));
        // Its word that it fetches would keep this device waiting.
        a.handle_report(NOW, keys(), 0, None);
        let query = a.ask(NOW, &keys(), A, B, Held::Part(5_000_000)).query(&keys());
        let PeerRequest::Query { asker, .. } = query else { panic!() };
        assert_eq!(asker.state, State::Fetching);
        let answered = b.handle_query(NOW, LINK, (A, B), &keys(), &query, Held::Nothing);
        assert!(answered.is_some(), "it may take what it asks for");
        b.poll_want(NOW, keys().id());
        b.handle_round(NOW, keys().id(), Round { asked: 0, silent: 0 }, &[]);
        let standing = b.standing(NOW, keys().id(), Held::Nothing);
        assert_eq!(standing.state, State::Claiming, "nobody else counts");
    }

    #[test]
    fn a_late_timer_makes_the_device_rank_last_for_a_while() {
        let mut a = node(1, A);
        a.handle_request(NOW, keys(), 0, None).expect("room");
        let rested = a.standing(NOW, keys().id(), Held::Nothing).rank;
        a.handle_timeout(NOW, Timestamp::default(), Instant::from_micros(NOW.as_micros() - 500_000));
        assert!(a.standing(NOW, keys().id(), Held::Nothing).rank < rested);
        let later = NOW + STARVED_MEMORY;
        assert_eq!(a.standing(later, keys().id(), Held::Nothing).rank, rested);
    }
}
