//! Bytes that came, and how a source or the whole response ended.

use core::net::Ipv4Addr;

use super::{Phase, Reason, SourceEnd, Want};
use crate::limits::LAST_ATTEMPT;
use crate::time::Instant;

impl Want {
    /// The followed source delivered; the client has `offset` bytes now.
    pub fn handle_progress(&mut self, now: Instant, offset: u64) {
        if offset > self.offset {
            // What the own client downloads says nothing about the peers.
            if let Phase::Follow { peer, .. } = self.phase {
                self.dried = 0;
                self.handle_contributor(peer);
                if self.offset == 0 {
                    self.attempt = self.source_attempt;
                }
            }
            self.pace.handle_bytes(now, offset - self.offset);
            self.offset = offset;
            self.dry_since = now;
            (self.queued_at, self.queue_rounds) = (None, 0);
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
        if !matches!(self.phase, Phase::Hold { .. } | Phase::OwnBusiness) {
            self.enter(now, Phase::Over);
        }
    }
}
