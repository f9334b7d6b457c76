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
mod search;
mod source;
mod step;

use core::net::Ipv4Addr;

use crate::content::{NodeId, PublicId, Standing};
use crate::keys::ContentKeys;
use crate::limits::{REASON_MEMORY, WAIT_WITHOUT_BYTES};
use crate::time::Instant;
use bytes::Bytes;
use lease::Lease;
use look::Look;
use pace::Pace;
pub use pace::Path;
pub use reason::Reason;
pub use rival::Rivals;
use round::Queue;
pub use search::Scope;
use search::Search;
pub use source::{Answered, Avoided, SourceEnd, choose};
pub use step::{Condition, Round, Step};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Ask,
    Asked,
    Follow {
        peer: Ipv4Addr,
        alternative: bool,
        /// The first byte makes it this device's.
        attempt: u8,
        /// Bytes that were there when it was found.
        from: u64,
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

/// The state of one wanted content.
pub struct Want {
    keys: ContentKeys,
    /// By which devices with the other domain key know it, while keys are rotated.
    other_keys: Option<ContentKeys>,
    tie_break: [u8; 8],
    phase: Phase,
    changed_at: Instant,
    /// A local response is attached.
    served: bool,
    bytes: Bytes,
    search: Search,
    queue: Queue,
    lease: Lease,
    look: Look,
    pace: Pace,
    rivals: Rivals,
    avoided: Avoided,
    /// How the last source failed.
    trouble: Option<Reason>,
    /// Why the client was last sent to the internet.
    reason: Reason,
    /// Since when no byte came.
    dry_since: Instant,
    /// Somebody has said since then that it has bytes that the client lacks.
    promised: bool,
    /// Waits for whoever had promised some, and sources, in a row that ended without a byte.
    dried: u8,
    /// When this station first let the wired devices go first.
    wire_awaited_since: Option<Instant>,
}

impl Want {
    /// A want for the content of `keys`, of which the client has the first `offset` bytes.
    pub fn new(now: Instant, node: NodeId, keys: ContentKeys, offset: u64, size: Option<u64>) -> Self {
        Self {
            tie_break: keys.tie_break(node),
            keys,
            other_keys: None,
            phase: Phase::Ask,
            changed_at: now,
            served: true,
            bytes: Bytes::new(offset, size),
            search: Search::new(),
            queue: Queue::default(),
            lease: Lease::new(),
            look: Look::default(),
            pace: Pace::default(),
            rivals: Rivals::default(),
            avoided: Avoided::default(),
            trouble: None,
            reason: Reason::NobodyHasIt,
            dry_since: now,
            promised: false,
            dried: 0,
            wire_awaited_since: None,
        }
    }

    /// The local client asks again, now from `offset`.
    pub fn handle_request(&mut self, now: Instant, offset: u64, size: Option<u64>) {
        self.served = true;
        self.lease.is_yielding = false;
        self.bytes.handle_offset(offset);
        self.bytes.offset = offset;
        self.bytes.handle_size(size);
        // A turn that came in mid-relay is still to be told; everything else starts with a fresh look at the site.
        if self.lease.is_told || !matches!(self.phase, Phase::Hold { .. }) {
            self.restart(now);
        }
    }

    /// What to do now. `peers` are known to discovery; `settled_at` is when it has had time to find some.
    pub fn poll(&mut self, now: Instant, peers: usize, settled_at: Instant) -> Step {
        let dry_at = self.dry_at();
        if now >= dry_at && !matches!(self.phase, Phase::Hold { .. }) && !self.phase.is_at_rest() {
            // Where nobody has anything, because the uplink is down, nobody has lied.
            self.dried = self.dried.saturating_add(u8::from(self.promised));
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
            Phase::Follow { peer, alternative, .. } => Step::Follow { peer, alternative },
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
        self.bytes.offset
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
        self.bytes.size()
    }

    /// Whether bytes may still come: a follower of this node's `.part` waits for them.
    pub fn is_live(&self) -> bool {
        let waits = (self.served || self.lease.is_yielding) && !self.lease.is_stepping_back;
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
        (self.dry_since, self.promised) = (now, false);
        self.lease.is_told = false;
        self.search.restart();
        self.queue.restart();
        self.enter(now, Phase::Ask);
    }

    /// What `peer` proved about itself.
    fn hear(&mut self, now: Instant, peer: Ipv4Addr, standing: Standing) {
        self.promised |= standing.available > self.bytes.offset;
        self.rivals.handle_standing(now, peer, standing);
    }

    fn follow(&mut self, now: Instant, peer: Ipv4Addr, alternative: bool, standing: &Standing) {
        self.bytes.handle_source(standing.size);
        self.enter(now, Phase::Follow { peer, alternative, attempt: standing.attempt, from: self.bytes.offset });
    }

    fn hold(&mut self, now: Instant, reason: Reason) {
        self.reason = reason;
        self.lease.is_told = false;
        self.enter(now, Phase::Hold { moved_at: now });
    }

    fn enter(&mut self, now: Instant, phase: Phase) {
        if matches!(phase, Phase::Claim { .. } | Phase::Hold { .. }) && !matches!(self.phase, Phase::Claimed) {
            self.lease.announce(now);
        }
        if matches!(phase, Phase::Follow { .. } | Phase::Hold { .. }) {
            self.pace.handle_start(now);
            self.lease.is_stepping_back = false;
        }
        self.phase = phase;
        self.changed_at = now;
    }
}

#[cfg(test)]
mod tests;
