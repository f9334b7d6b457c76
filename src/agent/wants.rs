//! What the local client wants, and what comes of it.

use core::net::Ipv4Addr;

use super::{Agent, Refused};
use crate::content::{PublicId, Standing};
use crate::keys::ContentKeys;
use crate::limits::{FEW, PEERS, WIDE, WIRES_UNWILLING};
use crate::time::{Duration, Instant};
use crate::want::{Answered, Path, Round, Scope, SourceEnd, Step, Want};

impl Agent {
    /// The local client asks for the content of `keys` from byte `offset` on.
    pub fn handle_request(
        &mut self,
        now: Instant,
        keys: ContentKeys,
        offset: u64,
        size: Option<u64>,
    ) -> Result<(), Refused> {
        let _ = self.whereabouts.handle_wanted(now, &keys);
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

    /// The local client will want this content soon. True: nobody was asked about it lately, so it belongs into the next batched query.
    pub fn handle_wanted_soon(&mut self, now: Instant, keys: &ContentKeys) -> bool {
        self.whereabouts.handle_wanted(now, keys)
    }

    /// A batched query about this content goes out.
    pub fn handle_surveying(&mut self, now: Instant, id: PublicId) {
        self.whereabouts.handle_surveyed(now, id);
    }

    /// A peer's proven answer to a batched query.
    pub fn handle_surveyed(&mut self, id: PublicId, peer: Ipv4Addr, standing: &Standing) {
        self.whereabouts.handle_standing(id, peer, standing);
    }

    /// Whom a round of queries about this content, or a look, should ask now: a few of whom a source is likely, or everybody
    /// ([`crate::whereabouts`]). Hand the answers to [`Agent::handle_round`] or [`Agent::handle_look`].
    pub fn whom_to_ask(&mut self, now: Instant, id: PublicId) -> heapless::Vec<Ipv4Addr, PEERS> {
        let Self { wants, discovery, offenders, whereabouts, random, .. } = self;
        let mut want = wants.iter_mut().find(|want| want.is_called(id));
        let (peers, mut most) = (discovery.peers(), PEERS);
        if let Some(want) = want.as_deref_mut() {
            let is_there = |peer| peers.routable().any(|known| known.addr == peer) && !offenders.contains(now, peer);
            let mut few: heapless::Vec<_, FEW> = want.awaited(now, is_there);
            let likely = |peer| is_there(peer) && want.may_be_asked_first(now, peer);
            let hoped: heapless::Vec<_, FEW> = match want.may_ask_few() {
                true => whereabouts.take(id, want.offset(), random, likely),
                false => heapless::Vec::new(),
            };
            let scope = want.scope(!hoped.is_empty() || !few.is_empty());
            want.handle_asked(scope);
            for peer in hoped {
                if !few.contains(&peer) {
                    // Enough is enough.
                    let _ = few.push(peer);
                }
            }
            match scope {
                Scope::Few => return few.into_iter().collect(),
                Scope::Wide => most = WIDE,
                Scope::All => {}
            }
        }
        let asked = |peer: Ipv4Addr| {
            !offenders.contains(now, peer) && want.as_deref().is_none_or(|want| want.is_worth_asking(now, peer))
        };
        // As many as the table of peers holds.
        let mut all: heapless::Vec<_, PEERS> =
            peers.routable().map(|peer| peer.addr).filter(|peer| asked(*peer)).take(PEERS).collect();
        while all.len() > most {
            let place = random.below(all.len() as u64) as usize;
            all.swap_remove(place);
        }
        all
    }

    /// A query round for a want is over.
    pub fn handle_round(&mut self, now: Instant, id: PublicId, round: Round, answers: &[Answered]) {
        self.learn(id, answers);
        let condition = self.condition(now);
        let Self { wants, random, .. } = self;
        if let Some(want) = wants.iter_mut().find(|want| want.is_called(id)) {
            want.handle_round(now, round, answers, condition, random);
            if want.waited_in_vain_for_wire(now) {
                self.wires_unwilling_until = now + WIRES_UNWILLING;
            }
        }
    }

    /// Whether to look round for a better source of a followed content, or for another fetcher of a fetched one; to be
    /// asked after every record and heartbeat, and every [`crate::limits::FETCH_BEACON`] while fetching.
    pub fn poll_look(&mut self, now: Instant, id: PublicId) -> bool {
        let best = self.best_rate();
        let path = match self.want(id).and_then(Want::source) {
            _ if self.discovery.is_wired() => Path::Wire,
            Some(source) if self.is_station(source) => Path::Air,
            _ => Path::WireToAir,
        };
        self.want_mut(id).is_some_and(|want| want.poll_look(now, best, path))
    }

    /// What a look round showed (see [`Want::poll_look`]): whom to take the content from instead, if anybody. Take it, then tell
    /// [`Want::handle_moved`]; until one was granted the present source stays. After a refusal call it again with the same answers.
    pub fn handle_look(&mut self, now: Instant, id: PublicId, answers: &[Answered]) -> Option<Ipv4Addr> {
        self.learn(id, answers);
        let condition = self.condition_for(now, id);
        let Self { wants, random, .. } = self;
        wants.iter_mut().find(|want| want.is_called(id))?.handle_look(now, answers, condition, random)
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
        let condition = self.condition(now);
        self.want_mut(id).is_none_or(|want| {
            let goes_on = want.handle_report(now, size, condition);
            want.handle_growth(now, offset);
            goes_on
        })
    }

    /// The want of this content.
    pub fn want_mut(&mut self, id: PublicId) -> Option<&mut Want> {
        self.wants.iter_mut().find(|want| want.is_called(id))
    }

    /// The want of this content.
    pub fn want(&self, id: PublicId) -> Option<&Want> {
        self.wants.iter().find(|want| want.is_called(id))
    }

    /// Everything wanted or remembered.
    pub fn wants(&self) -> impl Iterator<Item = &Want> {
        self.wants.iter()
    }

    fn learn(&mut self, id: PublicId, answers: &[Answered]) {
        for answer in answers {
            self.whereabouts.handle_standing(id, answer.peer, &answer.standing);
        }
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
