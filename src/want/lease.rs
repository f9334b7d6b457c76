//! Holding the lease: told to fetch, announcing it, and yielding it.

use core::net::Ipv4Addr;

use super::source::fits;
use super::{Condition, Phase, Reason, Want};
use crate::content::{Standing, State};
use crate::limits::{CLAIM_BEACONS, FETCH_BEACON, HINT_INTERVAL, LEASE_STALL, LOST_LEASE, WAITS_IN_VAIN};
use crate::rank::{STEP_BYTES, Standpoint, relieves, steps};
use crate::time::Instant;

/// What is owed to the others, and to the client, of a lease.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    /// The client knows why it fetches: it has its 404.
    pub is_told: bool,
    /// A better fetcher was found; the own client has not heard of it yet.
    pub is_yielding: bool,
    /// A device with a better link is to fetch instead.
    pub is_stepping_back: bool,
    /// Who lost one lets others go first for a while.
    lost_at: Option<Instant>,
    /// Announcements of the present claim or fetch that went out.
    announced: u32,
    announce_at: Instant,
    /// When an announcement of somebody else may be worth a query again.
    hint_due_at: Instant,
}

impl Lease {
    pub const fn new() -> Self {
        Self {
            is_told: false,
            is_yielding: false,
            is_stepping_back: false,
            lost_at: None,
            announced: 0,
            announce_at: Instant::FAR,
            hint_due_at: Instant::ZERO,
        }
    }

    /// The first announcement of a claim or a fetch is due.
    pub fn announce(&mut self, now: Instant) {
        (self.announced, self.announce_at) = (0, now);
    }

    fn handle_announced(&mut self, now: Instant) {
        self.announced += 1;
        let next = CLAIM_BEACONS.get(self.announced as usize).zip(CLAIM_BEACONS.get(self.announced as usize - 1));
        self.announce_at = now + next.map_or(FETCH_BEACON, |(next, last)| next.saturating_sub(*last));
    }
}

impl Want {
    /// The client has been told to fetch. Its stall clock starts here: it needs a moment to begin.
    pub fn handle_told(&mut self, now: Instant, condition: Condition) {
        self.lease.is_told = true;
        self.phase = if condition.may_fetch { Phase::Hold { moved_at: now } } else { Phase::OwnBusiness };
    }

    /// A peer proved its standing, by a query of its own or by an announcement. True when a waiting task should poll.
    pub fn handle_standing(&mut self, now: Instant, peer: Ipv4Addr, standing: Standing, condition: Condition) -> bool {
        self.hear(now, peer, standing);
        let own = self.standing(now, None, condition).rank;
        match self.phase {
            // Somebody moves: look who can be followed.
            Phase::Wait { .. } | Phase::Claim { .. }
                if standing.state == State::Fetching && standing.available > self.bytes.offset =>
            {
                self.enter(now, Phase::Ask);
                true
            }
            // Of two fetchers the better placed goes on; anybody else takes over only when it is a whole step ahead.
            Phase::Hold { .. } if self.counts(now, peer, &standing) && self.dried < WAITS_IN_VAIN => {
                let ahead = standing.available >= self.bytes.offset.saturating_add(STEP_BYTES)
                    && standing.attempt >= self.bytes.attempt;
                // Whose origin is slow has no byte yet, and may never have one.
                let outranks = (standing.available > 0, standing.rank) > (self.bytes.offset > 0, own);
                let better = standing.state == State::Fetching && outranks && self.rivals.lives(now, peer);
                // A slow link or the air holds everybody up: whoever has a better one and most of the bytes takes over.
                let may_relieve = standing.state == State::Wanting || standing.state == State::Partial;
                let near = standing.available.saturating_add(STEP_BYTES) >= self.bytes.offset
                    && standing.attempt == self.bytes.attempt;
                let relieved = may_relieve
                    && near
                    && relieves(standing.rank, own)
                    && self.lease.is_told
                    && self.lease.lost_at.is_none();
                if relieved {
                    self.lease.lost_at = Some(now);
                }
                if ahead && standing.state != State::Idle || better || relieved {
                    // The followers of one that steps back have to look for another source, and so for another fetcher.
                    self.lease.is_yielding = !relieved;
                    self.lease.is_stepping_back = relieved;
                    self.enter(now, Phase::Over);
                }
                false
            }
            Phase::Lost { .. } if self.counts(now, peer, &standing) && self.dried < WAITS_IN_VAIN => {
                let anybody_ahead = standing.attempt == self.bytes.attempt && standing.available > self.bytes.offset;
                if anybody_ahead {
                    self.phase = Phase::Lost { anybody_ahead };
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
            Phase::Wait { .. } => standing.available > self.bytes.offset || standing.state != State::Fetching,
            Phase::Claim { .. } | Phase::Claimed | Phase::Hold { .. } => true,
            // Its client has not heard yet that it is to follow, and will have to know whom.
            Phase::Over => self.lease.is_yielding,
            // Somebody whom it could follow.
            Phase::Lost { .. } => standing.available > self.bytes.offset,
            _ => false,
        };
        let due = matters && now >= self.lease.hint_due_at;
        if due {
            self.lease.hint_due_at = now + HINT_INTERVAL;
        }
        due
    }

    /// The own `.part` has `available` bytes now.
    pub fn handle_growth(&mut self, now: Instant, available: u64) {
        self.bytes.handle_offset(available);
        if available > self.bytes.offset {
            match &mut self.phase {
                Phase::Hold { moved_at } => *moved_at = now,
                // It was the origin that was slow: whoever began meanwhile has less.
                Phase::Lost { .. } => {
                    self.lease.lost_at = None;
                    self.enter(now, Phase::Hold { moved_at: now });
                }
                _ => {}
            }
        }
        self.handle_progress(now, available);
    }

    /// The client reports on its download; false: it is to stop it and follow somebody.
    pub fn handle_report(&mut self, now: Instant, size: Option<u64>, condition: Condition) -> bool {
        self.bytes.handle_size(size);
        match self.phase {
            // The report itself is no progress: bytes are.
            Phase::Hold { .. } => true,
            Phase::OwnBusiness => {
                self.changed_at = now;
                true
            }
            Phase::Lost { anybody_ahead } => {
                self.enter(now, if anybody_ahead { Phase::Over } else { self.phase });
                !anybody_ahead
            }
            // A client that fetches without having asked: the only case in which nobody yields to anybody yet.
            Phase::Over if !self.lease.is_told && !self.served => {
                self.hold(now, Reason::NobodyHasIt);
                self.handle_told(now, condition);
                true
            }
            _ => false,
        }
    }

    /// The client ended its download, well or not.
    pub fn handle_release(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Hold { .. } | Phase::Lost { .. } | Phase::OwnBusiness) {
            self.enter(now, Phase::Over);
        }
    }

    /// Drops a lease whose client does not move.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now.since(self.changed_at) >= LEASE_STALL {
            self.lease.is_yielding = false;
        }
        if matches!(self.phase, Phase::Hold { moved_at } if now.since(moved_at) >= LEASE_STALL) {
            self.lease.lost_at = Some(now);
            self.enter(now, if self.lease.is_told { Phase::Lost { anybody_ahead: false } } else { Phase::Over });
        }
    }

    /// When [`Want::handle_timeout`](super::Want::handle_timeout) or [`Want::poll_announce`] is due.
    pub fn poll_timeout(&self) -> Instant {
        match self.phase {
            Phase::Hold { moved_at } => self.lease.announce_at.min(moved_at + LEASE_STALL),
            Phase::Claim { .. } | Phase::Claimed => self.lease.announce_at,
            _ => Instant::FAR,
        }
    }

    /// What to broadcast now, if anything is due.
    pub fn poll_announce(&mut self, now: Instant, condition: Condition) -> Option<Standing> {
        let claiming = matches!(self.phase, Phase::Claim { .. } | Phase::Claimed);
        if now < self.lease.announce_at || !(claiming || matches!(self.phase, Phase::Hold { .. })) {
            return None;
        }
        self.lease.handle_announced(now);
        Some(self.standing(now, None, condition))
    }

    /// What this node tells about itself. `held` is what is on disk: the bytes of the `.part`.
    pub fn standing(&self, now: Instant, held: Option<u64>, condition: Condition) -> Standing {
        let available = held.unwrap_or(self.bytes.offset);
        let state = match self.phase {
            Phase::Ask | Phase::Asked | Phase::Wait { .. } | Phase::StepBack { .. } => State::Wanting,
            Phase::Claim { .. } | Phase::Claimed => State::Claiming,
            Phase::Hold { .. } => State::Fetching,
            Phase::Follow { .. } | Phase::Lost { .. } | Phase::OwnBusiness | Phase::Over if available > 0 => {
                State::Partial
            }
            Phase::Follow { .. } | Phase::Lost { .. } | Phase::OwnBusiness | Phase::Over => State::Idle,
        };
        let lost = self.lease.lost_at.is_some_and(|at| now.since(at) < LOST_LEASE);
        let standpoint = Standpoint {
            starved: condition.starved,
            may_fetch: condition.may_fetch && !lost,
            offset: self.bytes.offset,
            wired: condition.wired,
            speed: condition.speed,
            fetching: condition.fetching,
            tie_break: self.tie_break,
        };
        // Who told a size that is too small must not make this device say what everybody refuses.
        let size = self.bytes.size().filter(|size| *size >= available);
        Standing { state, size, available, active: 0, rank: standpoint.rank(), attempt: self.bytes.attempt }
    }

    /// Whether a rival is to be waited for or yielded to. Who fell silent lately is not, nor who is far behind: it would bring nothing
    /// for a while; nor whose bytes are of another attempt; nor who claims a rank beyond its bytes, which could not be overtaken.
    pub(super) fn counts(&self, now: Instant, peer: Ipv4Addr, standing: &Standing) -> bool {
        let near = standing.available.saturating_add(STEP_BYTES) >= self.bytes.offset;
        let honest = u64::from(steps(standing.rank)) <= standing.available / STEP_BYTES;
        let fits = fits(standing, self.bytes.offset, self.bytes.attempt);
        near && fits && honest && !self.avoided.is_distrusted(now, peer)
    }
}
