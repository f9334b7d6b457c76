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

mod bytes;
mod lease;
mod look;
mod pace;
mod reason;
mod rival;
mod round;
mod source;
mod step;

use core::net::Ipv4Addr;

use crate::content::{NodeId, PublicId};
use crate::keys::ContentKeys;
use crate::limits::{CONTRIBUTORS, FEW_IN_A_ROW, REASON_MEMORY, WAIT_WITHOUT_BYTES};
use crate::time::Instant;
use pace::Pace;
pub use pace::Path;
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
    /// Another follower of the same source is to go ahead, whatever is heard.
    StepBack {
        until: Instant,
    },
    Claim {
        until: Instant,
    },
    Claimed,
    Hold {
        moved_at: Instant,
    },
    /// The client fetches, and the lease is lost because nothing came for a while: others may try, too, and the client goes on until
    /// somebody is ahead whom it can follow.
    Lost {
        anybody_ahead: bool,
    },
    /// The client of a device that may not fetch for the others fetches for itself: no lease, no announcement.
    OwnBusiness,
    /// Nothing under way; the reason is remembered.
    Over,
}

impl Phase {
    /// No response of this device has anything to wait for.
    fn is_at_rest(self) -> bool {
        matches!(self, Self::Lost { .. } | Self::OwnBusiness | Self::Over)
    }
}

/// Whom a round asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those of whom a source is likely.
    Few,
    /// Some by chance: there are sources, and room is looked for.
    Wide,
    /// Everybody: whether to claim is decided only so.
    All,
}

/// The state of one wanted content.
pub struct Want {
    keys: ContentKeys,
    /// By which devices with the other domain key know it, while keys are rotated.
    other_keys: Option<ContentKeys>,
    tie_break: [u8; 8],
    phase: Phase,
    /// A local response is attached.
    served: bool,
    offset: u64,
    size: Option<u64>,
    /// The size comes from the local client: who says another one has another file.
    size_is_certain: bool,
    attempt: u8,
    /// The attempt of the present source: its first byte makes it this device's.
    source_attempt: u8,
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
    /// Rounds that may ask a few before one has to ask everybody.
    few_left: u8,
    /// Whom the round that is under way asks.
    scope: Scope,
    /// More than one device has the content or wants it, as far as was last asked widely.
    elsewhere: bool,
    /// Only a part was asked where there had been sources, and there was none.
    must_ask_all: bool,
    /// Everybody has been asked since the request.
    asked_all: bool,
    /// Better placed devices that waited, too, when everybody was asked.
    queue_place: u32,
    /// Rounds since every source is fed to its speed.
    queue_rounds: u32,
    /// Waits and sources in a row that ended without a byte.
    dried: u8,
    /// Bytes that were there when the present source was found.
    followed_from: u64,
    /// A device with a better link is to fetch instead.
    stepping_back: bool,
    /// When this station first let the wired devices go first.
    wire_awaited_since: Option<Instant>,
    /// Answers of the present look, by their place, whose devices were asked already.
    tried: u128,
    /// At the last look of a fetcher: who is furthest without fetching, and how far.
    fed: Option<(Ipv4Addr, u64)>,
    /// A better fetcher was found; the own client has not heard of it yet.
    yielding: bool,
}

impl Want {
    /// A want for the content of `keys`, of which the client has the first `offset` bytes.
    pub fn new(now: Instant, node: NodeId, keys: ContentKeys, offset: u64, size: Option<u64>) -> Self {
        Self {
            tie_break: keys.tie_break(node),
            keys,
            other_keys: None,
            phase: Phase::Ask,
            served: true,
            offset,
            size,
            size_is_certain: size.is_some(),
            attempt: 1,
            source_attempt: 1,
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
            few_left: FEW_IN_A_ROW,
            scope: Scope::All,
            elsewhere: true,
            must_ask_all: false,
            asked_all: false,
            queue_place: 0,
            queue_rounds: 0,
            dried: 0,
            followed_from: 0,
            stepping_back: false,
            wire_awaited_since: None,
            tried: 0,
            fed: None,
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
        let dry_at = self.dry_at();
        if now >= dry_at && !matches!(self.phase, Phase::Hold { .. }) && !self.phase.is_at_rest() {
            self.dried = self.dried.saturating_add(1);
            self.hold(now, self.trouble.unwrap_or(Reason::Timeout));
        }
        if matches!(self.phase, Phase::Wait { until } | Phase::StepBack { until } if now >= until) {
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
            Phase::Claim { until } if now < until => Step::Wait { until: until.min(dry_at) },
            Phase::Claim { .. } => {
                self.enter(now, Phase::Claimed);
                Step::Query
            }
            Phase::Asked | Phase::Claimed => Step::Wait { until: dry_at },
            Phase::Follow { peer, alternative } => Step::Follow { peer, alternative },
            Phase::Wait { until } | Phase::StepBack { until } => Step::Wait { until: until.min(dry_at) },
            Phase::Hold { .. } => Step::Fetch { reason: self.reason },
            Phase::Lost { .. } | Phase::OwnBusiness | Phase::Over => {
                self.restart(now);
                Step::Wait { until: now }
            }
        }
    }

    /// Bytes that the client has.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Devices with the other domain key know the content by these.
    pub fn handle_other_keys(&mut self, other: ContentKeys) {
        self.other_keys = Some(other);
    }

    /// Whether this is one of the content's names on the wire.
    pub fn is_called(&self, id: PublicId) -> bool {
        self.keys_of(id).is_some()
    }

    /// The keys that go with this name of the content.
    pub fn keys_of(&self, id: PublicId) -> Option<&ContentKeys> {
        [Some(&self.keys), self.other_keys.as_ref()].into_iter().flatten().find(|keys| keys.id() == id)
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

    /// Whose bytes come now.
    pub fn source(&self) -> Option<Ipv4Addr> {
        if let Phase::Follow { peer, .. } = self.phase { Some(peer) } else { None }
    }

    /// Whether this node fetches the content from the internet for the site.
    pub fn is_fetching(&self) -> bool {
        matches!(self.phase, Phase::Hold { .. })
    }

    /// Whether the growth of the client's file says something: it keeps the lease, or brings it back.
    pub fn is_watched(&self) -> bool {
        matches!(self.phase, Phase::Hold { .. } | Phase::Lost { .. })
    }

    /// Until when bytes have to come; then the client is sent to the internet.
    pub fn dry_at(&self) -> Instant {
        self.dry_since + WAIT_WITHOUT_BYTES
    }

    /// Whether a local response is attached.
    pub fn is_served(&self) -> bool {
        self.served
    }

    /// Whether nothing in the entry matters any more: neither its reason nor whom to avoid.
    pub fn is_forgettable(&self, now: Instant) -> bool {
        let at_rest = self.idle_since().is_some_and(|since| now.since(since) >= REASON_MEMORY);
        at_rest && self.avoided.is_empty(now)
    }

    /// Since when the entry is at rest, so that it may be dropped to make room; None while it is not.
    pub fn idle_since(&self) -> Option<Instant> {
        (!self.served && self.phase.is_at_rest()).then_some(self.changed_at)
    }

    fn restart(&mut self, now: Instant) {
        self.dry_since = now;
        self.told = false;
        (self.few_left, self.asked_all, self.queue_place, self.elsewhere) = (FEW_IN_A_ROW, false, 0, true);
        self.enter(now, Phase::Ask);
    }

    fn hold(&mut self, now: Instant, reason: Reason) {
        self.reason = reason;
        self.told = false;
        self.enter(now, Phase::Hold { moved_at: now });
    }

    fn enter(&mut self, now: Instant, phase: Phase) {
        if matches!(phase, Phase::Claim { .. } | Phase::Hold { .. }) && !matches!(self.phase, Phase::Claimed) {
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
