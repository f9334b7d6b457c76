//! One content that the local client wants: query, follow, wait, claim, and at last the advice to fetch.
//!
//! ```text
//!            +--------------------------- a source ends, a wait ends ---------------------------+
//!            v                                                                                  |
//!   Ask -> (query round) -> a source: Follow ---------------------------------------------------+
//!                        -> a better placed device wants, claims or fetches: Wait --------------+
//!                        -> nobody better: Claim -> (second round) -> still nobody: Hold = fetch from the internet
//! ```
//!
//! The lease needs no server: everybody ranks the same way ([`crate::rank`]), everybody tells its standing in every query and
//! answer, and claims and fetches are announced by broadcast besides. Two fetchers that never heard of each other merge as soon as
//! they do: the worse placed yields. Every wait is bounded: by [`WAIT_WITHOUT_BYTES`] in all, by the patience with a rival that does
//! not move, and by the stall of a source. Under a partition the worst case is a second download.
//!
//! [`Want::poll`] says what to do next; one of the `handle_*` methods says what came of it; then `poll` again.

mod lease;
mod look;
mod pace;
mod reason;
mod rival;
mod source;
mod step;

use core::net::Ipv4Addr;

use crate::content::{NodeId, State};
use crate::keys::ContentKeys;
use crate::limits::{
    CONTRIBUTORS, LAST_ATTEMPT, QUEUE_PATIENCE, QUEUE_STEP, REASON_MEMORY, WAIT_JITTER, WAIT_ROUND, WAIT_WITHOUT_BYTES,
};
use crate::random::Random;
use crate::rank::link;
use crate::time::{Duration, Instant};
use pace::Pace;
pub use reason::Reason;
pub use rival::Rivals;
pub use source::{Answered, Avoided, SourceEnd, choose};
pub use step::{Condition, Round, Step};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Ask,
    Asked,
    Follow {
        peer: Ipv4Addr,
        alternative: bool,
    },
    Wait {
        until: Instant,
    },
    Claim,
    Claimed,
    Hold {
        moved_at: Instant,
    },
    /// Nothing under way; the reason is remembered.
    Over,
}

/// The state of one wanted content.
pub struct Want {
    keys: ContentKeys,
    tie_break: [u8; 8],
    phase: Phase,
    /// A local response is attached.
    served: bool,
    offset: u64,
    size: Option<u64>,
    /// The size comes from the local client: who says another one has another file.
    size_is_certain: bool,
    attempt: u8,
    dry_since: Instant,
    changed_at: Instant,
    rivals: Rivals,
    avoided: Avoided,
    /// Whose bytes are in what the client has.
    contributors: heapless::Vec<Ipv4Addr, CONTRIBUTORS>,
    trouble: Option<Reason>,
    reason: Reason,
    /// The client knows the reason: it has its 404.
    told: bool,
    lost_at: Option<Instant>,
    hint_due_at: Instant,
    announced: u32,
    announce_at: Instant,
    pace: Pace,
    /// Since when every source is fed to its speed.
    queued_at: Option<Instant>,
    /// Waits and sources in a row that ended without a byte.
    dried: u8,
    /// Bytes that were there when the present source was found.
    followed_from: u64,
    /// A device with a better link is to fetch instead.
    stepping_back: bool,
    /// A better fetcher was found; the own client has not heard of it yet.
    yielding: bool,
}

impl Want {
    /// A want for the content of `keys`, of which the client has the first `offset` bytes.
    pub fn new(now: Instant, node: NodeId, keys: ContentKeys, offset: u64, size: Option<u64>) -> Self {
        Self {
            tie_break: keys.tie_break(node),
            keys,
            phase: Phase::Ask,
            served: true,
            offset,
            size,
            size_is_certain: size.is_some(),
            attempt: 1,
            dry_since: now,
            changed_at: now,
            rivals: Rivals::default(),
            avoided: Avoided::default(),
            contributors: heapless::Vec::new(),
            trouble: None,
            reason: Reason::NobodyHasIt,
            told: false,
            lost_at: None,
            hint_due_at: Instant::ZERO,
            announced: 0,
            announce_at: Instant::FAR,
            pace: Pace::default(),
            queued_at: None,
            dried: 0,
            followed_from: 0,
            stepping_back: false,
            yielding: false,
        }
    }

    /// The local client asks again, now from `offset`.
    pub fn handle_request(&mut self, now: Instant, offset: u64, size: Option<u64>) {
        self.served = true;
        self.yielding = false;
        self.offset = offset;
        self.handle_size(size);
        // A turn that came in mid-relay is still to be told; everything else starts with a fresh look at the site.
        if self.told || !matches!(self.phase, Phase::Hold { .. }) {
            self.restart(now);
        }
    }

    fn handle_size(&mut self, size: Option<u64>) {
        if size.is_some() {
            self.size = size;
            self.size_is_certain = true;
        }
    }

    /// Somebody's bytes do not fit the size that somebody told; it was not the client.
    pub fn handle_size_in_doubt(&mut self) {
        if !self.size_is_certain {
            self.size = None;
        }
    }

    /// What to do now. `peers` are known to discovery; `settled_at` is when it has had time to find some.
    pub fn poll(&mut self, now: Instant, peers: usize, settled_at: Instant) -> Step {
        let dry_at = self.dry_since + WAIT_WITHOUT_BYTES;
        if now >= dry_at && !matches!(self.phase, Phase::Hold { .. } | Phase::Over) {
            self.dried = self.dried.saturating_add(1);
            self.hold(now, self.trouble.unwrap_or(Reason::Timeout));
        }
        if matches!(self.phase, Phase::Wait { until } if now >= until) {
            self.enter(now, Phase::Ask);
        }
        match self.phase {
            Phase::Ask if peers == 0 && now < settled_at => Step::Wait { until: settled_at.min(dry_at) },
            Phase::Ask if peers == 0 => {
                self.hold(now, self.trouble.unwrap_or(Reason::NoPeers));
                Step::Fetch { reason: self.reason }
            }
            Phase::Ask => {
                self.enter(now, Phase::Asked);
                Step::Query
            }
            Phase::Claim => {
                self.enter(now, Phase::Claimed);
                Step::Query
            }
            Phase::Asked | Phase::Claimed => Step::Wait { until: dry_at },
            Phase::Follow { peer, alternative } => Step::Follow { peer, alternative },
            Phase::Wait { until } => Step::Wait { until: until.min(dry_at) },
            Phase::Hold { .. } => Step::Fetch { reason: self.reason },
            Phase::Over => {
                self.restart(now);
                Step::Wait { until: now }
            }
        }
    }

    /// Whether this answer alone lets the round end soon. Who fetches wants to hear from everybody.
    pub fn is_enough(&self, now: Instant, answered: &Answered) -> bool {
        let fetches = matches!(self.phase, Phase::Hold { .. });
        !fetches && self.is_known_source(answered) && !self.avoided.contains(now, answered.peer)
    }

    /// Whether to ask this peer at all: not who just fell silent, whose answer would only be waited for, or who altered what it sent.
    pub fn is_worth_asking(&self, now: Instant, peer: Ipv4Addr) -> bool {
        !self.avoided.is_distrusted(now, peer)
    }

    /// A query round is over; `answers` are the proven ones.
    pub fn handle_round(
        &mut self,
        now: Instant,
        round: Round,
        answers: &[Answered],
        condition: Condition,
        random: &mut Random,
    ) {
        let certain = self.size().filter(|_| self.size_is_certain);
        let fits =
            |answer: &&Answered| certain.is_none() || answer.standing.size.is_none_or(|size| Some(size) == certain);
        let answers = || answers.iter().filter(fits);
        for answer in answers() {
            self.rivals.handle_standing(now, answer.peer, answer.standing);
            if self.size().is_none() {
                self.size = answer.standing.size;
            }
        }
        let claimed = match self.phase {
            Phase::Asked => false,
            Phase::Claimed => true,
            // Something heard meanwhile has already decided.
            _ => return,
        };
        if let Some(source) = choose(answers(), self.offset, self.attempt, &self.avoided, now, random) {
            let others = |answer: &&Answered| answer.peer != source.peer && self.is_known_source(answer);
            // Other devices that look for a source, or have just found one: with them a chain forms.
            let company = |answer: &&Answered| matches!(answer.standing.state, State::Wanting | State::Idle);
            let elsewhere = answers().any(|answer| others(&answer) || company(&answer));
            let queued = self.queued_at.is_none_or(|at| now.since(at) < QUEUE_PATIENCE);
            let alternative = elsewhere && queued;
            self.enter(now, Phase::Follow { peer: source.peer, alternative });
            return;
        }
        let own = self.standing(now, None, condition).rank;
        // Every source is fed to its speed: one after the other, best placed first, joins whoever has got something meanwhile.
        if self.trouble == Some(Reason::AllBusy) && answers().any(|answer| self.is_known_source(answer)) {
            let ahead = |answer: &&Answered| answer.standing.state == State::Wanting && answer.standing.rank > own;
            let place = u32::try_from(answers().filter(ahead).count()).unwrap_or(u32::MAX);
            let pause = QUEUE_STEP.saturating_mul(place + 1).min(WAIT_ROUND * 4);
            let jitter = random.below(QUEUE_STEP.as_micros() as u64);
            self.enter(now, Phase::Wait { until: now + pause + Duration::from_micros(jitter) });
            return;
        }
        // A fetcher and, for who merely wants, a claimant go first whatever their rank: the lease is theirs unless they yield.
        let best = |states: &[State]| self.rivals.best(now, states, |peer, standing| self.counts(now, peer, standing));
        let taken = best(&[State::Fetching]).is_some();
        let claimant = best(&[State::Claiming]).is_some_and(|(_, s)| !claimed || s.rank > own);
        let wanter = !claimed && best(&[State::Wanting]).is_some_and(|(_, s)| s.rank > own);
        // A source that is only avoided for a moment is worth waiting for.
        let resting = answers().any(|answer| answer.is_source(self.offset, self.attempt)) && self.trouble_is_brief();
        // Those for whom this device stepped back still have to notice.
        let heirs = |answer: &Answered| link(answer.standing.rank) > link(own) && answer.standing.state != State::Idle;
        let stepping_back = self.stepping_back && answers().any(heirs);
        // Whoever may not fetch for the others gives those who may the time to ask, while anybody is there at all.
        let waiting_for_others = !condition.may_fetch && (self.rivals.any(now) || round.silent < round.asked);
        if taken || claimant || wanter || resting || stepping_back || waiting_for_others {
            let jitter = random.below(WAIT_JITTER.as_micros() as u64);
            self.enter(now, Phase::Wait { until: now + WAIT_ROUND + Duration::from_micros(jitter) });
        } else if !claimed {
            self.enter(now, Phase::Claim);
        } else {
            let alone =
                if round.asked > 0 && round.silent == round.asked { Reason::Timeout } else { Reason::NobodyHasIt };
            let reason = if self.rivals.any(now) { Reason::Elected } else { alone };
            self.hold(now, self.trouble.unwrap_or(reason));
        }
    }

    /// The followed source delivered; the client has `offset` bytes now.
    pub fn handle_progress(&mut self, now: Instant, offset: u64) {
        if offset > self.offset {
            // What the own client downloads says nothing about the peers.
            if let Phase::Follow { peer, .. } = self.phase {
                self.dried = 0;
                self.handle_contributor(peer);
            }
            self.pace.handle_bytes(now, offset - self.offset);
            self.offset = offset;
            self.dry_since = now;
            self.queued_at = None;
            self.trouble = None;
        }
    }

    fn handle_contributor(&mut self, peer: Ipv4Addr) {
        if self.contributors.contains(&peer) {
            return;
        }
        if self.contributors.is_full() {
            self.contributors.remove(0);
        }
        // There is room now.
        let _ = self.contributors.push(peer);
    }

    /// The followed source ended.
    pub fn handle_source_end(&mut self, now: Instant, peer: Ipv4Addr, end: SourceEnd) {
        self.avoided.handle_end(now, peer, end);
        self.trouble = match end {
            SourceEnd::Finished | SourceEnd::Exhausted | SourceEnd::Slow => self.trouble,
            SourceEnd::Busy => {
                self.queued_at.get_or_insert(now);
                Some(Reason::AllBusy)
            }
            SourceEnd::Cut | SourceEnd::Stalled => Some(Reason::Stalled),
            SourceEnd::Corrupt => Some(Reason::MacFailed),
        };
        if matches!(self.phase, Phase::Follow { .. }) {
            if end == SourceEnd::Stalled && self.offset == self.followed_from {
                self.dried = self.dried.saturating_add(1);
            }
            self.enter(now, if end == SourceEnd::Finished { Phase::Over } else { Phase::Ask });
        }
    }

    /// All bytes came and were not the content: the next request starts from nothing, and only who knows of the failure is a source
    /// any more. Most of those who had a part in it were deceived alike and begin anew; who has a part in a second one is
    /// not asked again for a while.
    pub fn handle_content_failed(&mut self, now: Instant) {
        if let Phase::Follow { peer, .. } = self.phase {
            self.handle_contributor(peer);
        }
        let contributors = core::mem::take(&mut self.contributors);
        for peer in contributors.into_iter().filter(|_| self.attempt >= LAST_ATTEMPT) {
            self.avoided.handle_end(now, peer, SourceEnd::Corrupt);
        }
        self.attempt = LAST_ATTEMPT;
        self.offset = 0;
        self.trouble = Some(Reason::Md5Failed);
        self.enter(now, Phase::Over);
    }

    /// The local response is over: complete, aborted or answered with an advice.
    pub fn handle_response_end(&mut self, now: Instant) {
        self.served = false;
        if !matches!(self.phase, Phase::Hold { .. }) {
            self.enter(now, Phase::Over);
        }
    }

    /// Keys of the content.
    pub fn keys(&self) -> &ContentKeys {
        &self.keys
    }

    /// Total size, once anybody told it; not one that the bytes that are there belie.
    pub fn size(&self) -> Option<u64> {
        self.size.filter(|size| *size >= self.offset)
    }

    /// Whether bytes may still come: a follower of this node's `.part` waits for them.
    pub fn is_live(&self) -> bool {
        let waits = (self.served || self.yielding) && !self.stepping_back;
        matches!(self.phase, Phase::Follow { .. } | Phase::Hold { .. }) || waits
    }

    /// Whether this node fetches the content from the internet.
    pub fn is_fetching(&self) -> bool {
        matches!(self.phase, Phase::Hold { .. })
    }

    /// Whether a local response is attached.
    pub fn is_served(&self) -> bool {
        self.served
    }

    /// The last advice, for `explain`.
    pub fn reason(&self) -> Option<Reason> {
        if self.told { Some(self.reason) } else { self.trouble }
    }

    /// Whether nothing in the entry matters any more: neither its reason nor whom to avoid.
    pub fn is_forgettable(&self, now: Instant) -> bool {
        let at_rest = !self.served && self.phase == Phase::Over && now.since(self.changed_at) >= REASON_MEMORY;
        at_rest && self.avoided.is_empty(now)
    }

    /// Since when the entry is at rest, so that it may be dropped to make room; None while it is not.
    pub fn idle_since(&self) -> Option<Instant> {
        (!self.served && self.phase == Phase::Over).then_some(self.changed_at)
    }

    fn is_known_source(&self, answer: &Answered) -> bool {
        answer.is_source(self.offset, self.attempt)
    }

    fn trouble_is_brief(&self) -> bool {
        matches!(self.trouble, Some(Reason::AllBusy) | None)
    }

    fn restart(&mut self, now: Instant) {
        self.dry_since = now;
        self.told = false;
        self.enter(now, Phase::Ask);
    }

    fn hold(&mut self, now: Instant, reason: Reason) {
        self.reason = reason;
        self.told = false;
        self.enter(now, Phase::Hold { moved_at: now });
    }

    fn enter(&mut self, now: Instant, phase: Phase) {
        if matches!(phase, Phase::Claim | Phase::Hold { .. }) && !matches!(self.phase, Phase::Claimed) {
            self.announced = 0;
            self.announce_at = now;
        }
        if matches!(phase, Phase::Follow { .. } | Phase::Hold { .. }) {
            self.pace.handle_start(now);
            self.stepping_back = false;
            self.followed_from = self.offset;
        }
        self.phase = phase;
        self.changed_at = now;
    }
}

#[cfg(test)]
mod tests;
