//! The bytes that the client has and what is known of the whole; and how a source or the whole response ended.

use core::net::Ipv4Addr;

use super::{Phase, Reason, SourceEnd, Want};
use crate::limits::{CONTRIBUTORS, LAST_ATTEMPT};
use crate::time::Instant;

/// What the client has of the content.
#[derive(Clone, Debug)]
pub(super) struct Bytes {
    /// How many.
    pub offset: u64,
    /// In which attempt: after a whole that was not the content everything begins anew.
    pub attempt: u8,
    size: Option<u64>,
    /// The size comes from the local client: who says another one has another file.
    size_is_certain: bool,
    /// So many bytes, all that came of a whole that was not the content: who has as many still has them. 0: there was none.
    wrong: u64,
    /// Whose they are.
    contributors: heapless::Vec<Ipv4Addr, CONTRIBUTORS>,
}

impl Bytes {
    pub fn new(offset: u64, size: Option<u64>) -> Self {
        Self { offset, attempt: 1, size, size_is_certain: size.is_some(), wrong: 0, contributors: heapless::Vec::new() }
    }

    /// The size, once anybody told it; not one that the bytes that are there belie.
    pub fn size(&self) -> Option<u64> {
        self.size.filter(|size| *size >= self.offset)
    }

    /// The size, if the client told it.
    pub fn certain_size(&self) -> Option<u64> {
        self.size().filter(|_| self.size_is_certain)
    }

    /// The word of the source that is followed from now on, taken where there is none of the client. Not that of anybody who answers: a
    /// wrong one would go from device to device, and stay.
    pub fn handle_source(&mut self, size: Option<u64>) {
        if !self.size_is_certain {
            self.size = size;
        }
    }

    /// The client has so many bytes; fewer than were wrong are others.
    pub fn handle_offset(&mut self, offset: u64) {
        if offset < self.wrong {
            self.wrong = 0;
        }
    }

    /// The client's word.
    pub fn handle_size(&mut self, size: Option<u64>) {
        if size.is_some() {
            (self.size, self.size_is_certain) = (size, true);
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
}

impl Want {
    /// Whether a client that has `offset` bytes has those of a whole that was wrong.
    pub fn is_known_to_be_wrong(&self, offset: u64) -> bool {
        self.bytes.wrong > 0 && offset >= self.bytes.wrong
    }

    /// Whether the client got all of it, and has only to write the last bytes.
    pub fn has_all(&self) -> bool {
        matches!(self.phase, Phase::Over) && self.bytes.size() == Some(self.bytes.offset)
    }

    /// Somebody's bytes do not fit the size that somebody told; it was not the client.
    pub fn handle_size_in_doubt(&mut self) {
        if !self.bytes.size_is_certain {
            self.bytes.size = None;
        }
    }

    /// The followed source delivered; the client has `offset` bytes now.
    pub fn handle_progress(&mut self, now: Instant, offset: u64) {
        if offset > self.bytes.offset {
            // What the own client downloads says nothing about the peers.
            if let Phase::Follow { peer, attempt, .. } = self.phase {
                self.dried = 0;
                self.bytes.handle_contributor(peer);
                if self.bytes.offset == 0 {
                    self.bytes.attempt = attempt;
                }
            }
            self.pace.handle_bytes(now, offset - self.bytes.offset);
            self.bytes.offset = offset;
            (self.dry_since, self.promised) = (now, false);
            self.queue.handle_progress();
            self.trouble = None;
        }
    }

    /// The followed source ended.
    pub fn handle_source_end(&mut self, now: Instant, peer: Ipv4Addr, end: SourceEnd) {
        self.avoided.handle_end(now, peer, end);
        self.trouble = match end {
            SourceEnd::Finished | SourceEnd::Exhausted | SourceEnd::Slow => self.trouble,
            SourceEnd::Busy => {
                self.queue.handle_refusal(now);
                Some(Reason::AllBusy)
            }
            SourceEnd::Cut | SourceEnd::Dry | SourceEnd::Stalled => Some(Reason::Stalled),
            SourceEnd::Corrupt => Some(Reason::MacFailed),
        };
        if end == SourceEnd::Finished {
            // For those who follow this device.
            self.bytes.handle_source(Some(self.bytes.offset));
        }
        if let Phase::Follow { from, .. } = self.phase {
            if matches!(end, SourceEnd::Dry | SourceEnd::Stalled) && self.bytes.offset == from {
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
            self.bytes.handle_contributor(peer);
        }
        let contributors = core::mem::take(&mut self.bytes.contributors);
        for peer in contributors.into_iter().filter(|_| self.bytes.attempt >= LAST_ATTEMPT) {
            self.avoided.handle_end(now, peer, SourceEnd::Corrupt);
        }
        self.bytes.wrong = self.bytes.offset;
        (self.bytes.offset, self.bytes.attempt) = (0, LAST_ATTEMPT);
        // Where it ended is as doubtful as all of it.
        self.bytes.handle_source(None);
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
