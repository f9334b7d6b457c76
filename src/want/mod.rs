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

mod pace;
mod rival;
mod source;

use core::net::Ipv4Addr;

use crate::content::{NodeId, Standing, State};
use crate::keys::ContentKeys;
use crate::limits::{
    CLAIM_BEACONS, CONTRIBUTORS, FETCH_BEACON, HINT_INTERVAL, LAST_ATTEMPT, LEASE_STALL, LOST_LEASE, QUEUE_PATIENCE,
    QUEUE_STEP, REASON_MEMORY, WAIT_JITTER, WAIT_ROUND, WAIT_WITHOUT_BYTES, WAITS_IN_VAIN,
};
use crate::random::Random;
use crate::rank::{STEP_BYTES, Standpoint, link, steps};
use crate::time::{Duration, Instant};
use pace::Pace;
pub use rival::Rivals;
pub use source::{Answered, Avoided, SourceEnd, choose};

/// Why the bytes come from the internet and not from peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// No peer is known.
    NoPeers,
    /// Peers are there, none has or wants it.
    NobodyHasIt,
    /// This device fetches it for the site.
    Elected,
    /// Every source is at its 20 transfers.
    AllBusy,
    /// The sources or the fetcher stopped moving.
    Stalled,
    /// Records were altered on the way.
    MacFailed,
    /// The whole did not have its MD5.
    Md5Failed,
    /// Peers did not answer in time.
    Timeout,
    /// P2P is switched off.
    Disabled,
}

impl Reason {
    /// Every reason, in the order of the counters.
    pub const ALL: [Self; 9] = [
        Self::NoPeers,
        Self::NobodyHasIt,
        Self::Elected,
        Self::AllBusy,
        Self::Stalled,
        Self::MacFailed,
        Self::Md5Failed,
        Self::Timeout,
        Self::Disabled,
    ];

    /// The word in `P2P-Reason` and in the counters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoPeers => "no-peers",
            Self::NobodyHasIt => "nobody-has-it",
            Self::Elected => "elected",
            Self::AllBusy => "all-busy",
            Self::Stalled => "stalled",
            Self::MacFailed => "mac-failed",
            Self::Md5Failed => "md5-failed",
            Self::Timeout => "timeout",
            Self::Disabled => "disabled",
        }
    }

    /// One sentence for a person.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::NoPeers => "No other device of this site answers.",
            Self::NobodyHasIt => "Other devices are there, but none of them has this content.",
            Self::Elected => "This device fetches the content for the whole site.",
            Self::AllBusy => "Every device that has the content is serving as many others as it can.",
            Self::Stalled => "The devices that have the content stopped sending it.",
            Self::MacFailed => "What other devices sent was altered on the way and has been dropped.",
            Self::Md5Failed => "What other devices sent was not the content that its name promises.",
            Self::Timeout => "Other devices did not answer in time.",
            Self::Disabled => "P2P is switched off on this device.",
        }
    }
}

/// What to do next for a want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// Ask every peer, then call [`Want::handle_round`].
    Query,
    /// Take the content from this peer, from the own offset on; report [`Want::handle_progress`] and [`Want::handle_source_end`].
    Follow {
        /// Whom to ask.
        peer: Ipv4Addr,
        /// Whether this device can go elsewhere or wait. Who cannot is admitted wherever there is a slot.
        alternative: bool,
    },
    /// Nothing before this instant, unless something is heard.
    Wait {
        /// When to poll again at the latest.
        until: Instant,
    },
    /// The client takes it from the internet.
    Fetch {
        /// Told to the client and counted.
        reason: Reason,
    },
}

/// What the round found, besides the answers themselves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Round {
    /// Peers asked.
    pub asked: usize,
    /// Peers that gave no answer in time.
    pub silent: usize,
}

/// What the node is, as far as its rank goes.
#[derive(Clone, Copy, Debug)]
pub struct Condition {
    /// Its timers are late.
    pub starved: bool,
    /// It may use the uplink.
    pub may_fetch: bool,
    /// It is wired.
    pub wired: bool,
    /// The class of its link's speed, [`crate::rank::speed`].
    pub speed: u8,
    /// Contents it fetches now.
    pub fetching: u8,
}

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
    /// Waits that ended without a byte.
    dried: u8,
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

    /// What to do now. `peers` are known to discovery; `settled_at` is when it has had time to find some.
    pub fn poll(&mut self, now: Instant, peers: usize, settled_at: Instant) -> Step {
        let dry_at = self.dry_since + WAIT_WITHOUT_BYTES;
        if now >= dry_at && !matches!(self.phase, Phase::Hold { .. } | Phase::Over) {
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

    /// A query round is over; `answers` are the proven ones.
    pub fn handle_round(
        &mut self,
        now: Instant,
        round: Round,
        answers: &[Answered],
        condition: Condition,
        random: &mut Random,
    ) {
        let certain = self.size.filter(|_| self.size_is_certain);
        let fits =
            |answer: &&Answered| certain.is_none() || answer.standing.size.is_none_or(|size| Some(size) == certain);
        let answers = || answers.iter().filter(fits);
        for answer in answers() {
            self.rivals.handle_standing(now, answer.peer, answer.standing);
            if self.size.is_none() {
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
        if taken || claimant || wanter || resting || stepping_back || !condition.may_fetch && self.rivals.any(now) {
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
            if let Phase::Follow { peer, .. } = self.phase {
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

    /// The client has been told to fetch. Its stall clock starts here: it needs a moment to begin.
    pub fn handle_told(&mut self, now: Instant, condition: Condition) {
        self.told = true;
        // What a metered device's client does now is between it and its operator: no lease, no announcement.
        let phase = if condition.may_fetch { Phase::Hold { moved_at: now } } else { Phase::Over };
        self.phase = phase;
    }

    /// The local response is over: complete, aborted or answered with an advice.
    pub fn handle_response_end(&mut self, now: Instant) {
        self.served = false;
        if !matches!(self.phase, Phase::Hold { .. }) {
            self.enter(now, Phase::Over);
        }
    }

    /// A peer proved its standing, by a query of its own or by an announcement. True when a waiting task should poll.
    pub fn handle_standing(&mut self, now: Instant, peer: Ipv4Addr, standing: Standing, condition: Condition) -> bool {
        self.rivals.handle_standing(now, peer, standing);
        let own = self.standing(now, None, condition).rank;
        match self.phase {
            // Somebody moves: look who can be followed.
            Phase::Wait { .. } if standing.state == State::Fetching && standing.available > self.offset => {
                self.enter(now, Phase::Ask);
                true
            }
            // Of two fetchers the better placed goes on; anybody else takes over only when it is a whole step ahead.
            Phase::Hold { .. } if self.counts(now, peer, &standing) && self.dried < WAITS_IN_VAIN => {
                let ahead = standing.available >= self.offset + STEP_BYTES && standing.attempt >= self.attempt;
                let better = standing.state == State::Fetching && standing.rank > own && self.rivals.lives(now, peer);
                // A slow link or the air holds everybody up: whoever has a better one and most of the bytes takes over.
                let relieves = standing.state == State::Wanting || standing.state == State::Partial;
                let near = standing.available + STEP_BYTES >= self.offset && standing.attempt == self.attempt;
                let relieved =
                    relieves && near && link(standing.rank) > link(own) && self.told && self.lost_at.is_none();
                if relieved {
                    self.lost_at = Some(now);
                }
                if ahead && standing.state != State::Idle || better || relieved {
                    // The followers of one that steps back have to look for another source, and so for another fetcher.
                    self.yielding = !relieved;
                    self.stepping_back = relieved;
                    self.enter(now, Phase::Over);
                }
                false
            }
            _ => false,
        }
    }

    /// Whether an announced standing is worth a query: it could change what this node does, and the last was not just now.
    pub fn takes_hint(&mut self, now: Instant, standing: &Standing) -> bool {
        if standing.state == State::Fetching {
            self.pace.handle_front(now, standing.available);
        }
        let matters = match self.phase {
            Phase::Wait { .. } => standing.available > self.offset || standing.state != State::Fetching,
            Phase::Claim | Phase::Claimed | Phase::Hold { .. } => true,
            _ => false,
        };
        let due = matters && now >= self.hint_due_at;
        if due {
            self.hint_due_at = now + HINT_INTERVAL;
        }
        due
    }

    /// While a source is followed or the lease is held: whether to ask every peer now and hand the answers to
    /// [`Want::handle_look`]. A follower looks when it is much slower than the front, or than `best`; a fetcher looks for another
    /// one that it did not hear.
    pub fn poll_look(&mut self, now: Instant, best: u64) -> bool {
        match self.phase {
            Phase::Follow { .. } => self.pace.poll_follower(now, self.offset, best.max(self.pace.best())),
            Phase::Hold { .. } => self.told && self.pace.poll_fetcher(now),
            _ => false,
        }
    }

    /// What the look showed: whom to follow instead, if anybody. After a refusal the same answers show the next one.
    pub fn handle_look(
        &mut self,
        now: Instant,
        answers: &[Answered],
        condition: Condition,
        random: &mut Random,
    ) -> Option<Ipv4Addr> {
        let Phase::Follow { peer, .. } = self.phase else {
            for answer in answers {
                let _ = self.handle_standing(now, answer.peer, answer.standing, condition);
            }
            return None;
        };
        let others = || answers.iter().filter(|answer| answer.peer != peer);
        let offset = self.offset.saturating_add(self.pace.worth(now));
        if let Some(better) = choose(others(), offset, self.attempt, &self.avoided, now, random) {
            return Some(better.peer);
        }
        // Nobody is far ahead, but the source is crowded: behind the next one ahead that feeds fewer all go faster.
        let active = |answer: &&Answered| answer.standing.active;
        let crowd = answers.iter().find(|answer| answer.peer == peer).as_ref().map_or(0, active);
        let freer = |answer: &&Answered| answer.standing.active + 1 < crowd && self.is_known_source(answer);
        let open = others().filter(freer).filter(|answer| !self.avoided.contains(now, answer.peer));
        open.min_by_key(|answer| answer.standing.available).map(|next| next.peer)
    }

    /// The better source granted the bytes, or refused them.
    pub fn handle_moved(&mut self, now: Instant, to: Ipv4Addr, moved: Result<(), SourceEnd>) {
        let Phase::Follow { peer, .. } = self.phase else { return };
        match moved {
            Ok(()) => {
                self.avoided.handle_end(now, peer, SourceEnd::Slow);
                self.enter(now, Phase::Follow { peer: to, alternative: true });
            }
            Err(SourceEnd::Busy) => self.avoided.handle_end(now, to, SourceEnd::Slow),
            Err(end) => self.avoided.handle_end(now, to, end),
        }
    }

    /// The own `.part` has `available` bytes now.
    pub fn handle_growth(&mut self, now: Instant, available: u64) {
        if let Phase::Hold { moved_at } = &mut self.phase {
            if available > self.offset {
                *moved_at = now;
            }
        }
        self.handle_progress(now, available);
    }

    /// The client reports on its download; whether it still holds the lease.
    pub fn handle_report(&mut self, now: Instant, size: Option<u64>) -> bool {
        self.handle_size(size);
        match self.phase {
            // The report itself is no progress: bytes are.
            Phase::Hold { .. } => true,
            // A client that fetches without having asked: the only case in which nobody yields to anybody yet.
            Phase::Over if !self.told && !self.served => {
                self.hold(now, Reason::NobodyHasIt);
                self.told = true;
                true
            }
            _ => false,
        }
    }

    /// The client ended its download, well or not.
    pub fn handle_release(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Hold { .. }) {
            self.enter(now, Phase::Over);
        }
    }

    /// Drops a lease whose client does not move.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now.since(self.changed_at) >= LEASE_STALL {
            self.yielding = false;
        }
        if matches!(self.phase, Phase::Hold { moved_at } if now.since(moved_at) >= LEASE_STALL) {
            self.lost_at = Some(now);
            self.enter(now, Phase::Over);
        }
    }

    /// When [`Want::handle_timeout`] or [`Want::poll_announce`] is due.
    pub fn poll_timeout(&self) -> Instant {
        match self.phase {
            Phase::Hold { moved_at } => self.announce_at.min(moved_at + LEASE_STALL),
            Phase::Claim | Phase::Claimed => self.announce_at,
            _ => Instant::FAR,
        }
    }

    /// What to broadcast now, if anything is due.
    pub fn poll_announce(&mut self, now: Instant, condition: Condition) -> Option<Standing> {
        let claiming = matches!(self.phase, Phase::Claim | Phase::Claimed);
        if now < self.announce_at || !(claiming || matches!(self.phase, Phase::Hold { .. })) {
            return None;
        }
        self.announced += 1;
        let next = CLAIM_BEACONS.get(self.announced as usize).zip(CLAIM_BEACONS.get(self.announced as usize - 1));
        self.announce_at = now + next.map_or(FETCH_BEACON, |(next, last)| next.saturating_sub(*last));
        Some(self.standing(now, None, condition))
    }

    /// What this node tells about itself. `held` is what is on disk: the bytes of the `.part`.
    pub fn standing(&self, now: Instant, held: Option<u64>, condition: Condition) -> Standing {
        let available = held.unwrap_or(self.offset);
        let state = match self.phase {
            Phase::Ask | Phase::Asked | Phase::Wait { .. } => State::Wanting,
            Phase::Claim | Phase::Claimed => State::Claiming,
            Phase::Hold { .. } => State::Fetching,
            Phase::Follow { .. } | Phase::Over if available > 0 => State::Partial,
            Phase::Follow { .. } | Phase::Over => State::Idle,
        };
        let lost = self.lost_at.is_some_and(|at| now.since(at) < LOST_LEASE);
        let standpoint = Standpoint {
            starved: condition.starved,
            may_fetch: condition.may_fetch && !lost,
            offset: self.offset,
            wired: condition.wired,
            speed: condition.speed,
            fetching: condition.fetching,
            tie_break: self.tie_break,
        };
        Standing { state, size: self.size, available, active: 0, rank: standpoint.rank(), attempt: self.attempt }
    }

    /// Keys of the content.
    pub fn keys(&self) -> &ContentKeys {
        &self.keys
    }

    /// The best rate at which this content came, in bytes per second.
    pub fn best_rate(&self) -> u64 {
        self.pace.best()
    }

    /// Total size, once anybody told it.
    pub fn size(&self) -> Option<u64> {
        self.size
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

    /// Whether a rival is to be waited for or yielded to. Who fell silent lately is not, nor who is far behind: it would bring nothing
    /// for a while; nor who claims a rank beyond its bytes, which could not be overtaken.
    fn counts(&self, now: Instant, peer: Ipv4Addr, standing: &Standing) -> bool {
        let near = standing.available.saturating_add(STEP_BYTES) >= self.offset;
        let honest = u64::from(steps(standing.rank)) <= standing.available / STEP_BYTES;
        near && honest && !self.avoided.is_distrusted(now, peer)
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
        }
        self.phase = phase;
        self.changed_at = now;
    }
}

#[cfg(test)]
mod tests;
