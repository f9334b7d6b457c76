//! The peers' half of a fetch: one response of the agent, as far as it goes.

use std::io::{ErrorKind, Read};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::agent::Reply;
use crate::directory::check_room;
use crate::failure::Failure;
use crate::fetch::{Fetch, behind};
use crate::limits::CHUNK_BYTES;
use crate::local_http::Body;
use crate::part::Part;

/// How asking the agent ended.
pub enum Asked {
    /// With the last byte.
    Ended,
    /// In the middle, or before the first byte.
    Cut,
    /// It wants to be asked later.
    Busy(Duration),
    /// The internet is next.
    Internet { agent_is_there: bool },
}

impl Fetch<'_> {
    /// Asks the agent for what is missing and appends what comes.
    pub fn ask(&mut self, part: &mut Part) -> Result<Asked, Failure> {
        self.progress.asking();
        Ok(match self.agent.ask(self.wanted.md5, part.len(), self.size.filter(|_| self.size_is_certain)) {
            Reply::Bytes { start, size, body } => {
                if !self.hear(part, size) {
                    self.outcome.reason = Some("the agent tells a size that cannot be".into());
                    return Ok(Asked::Internet { agent_is_there: false });
                }
                self.internet_alone = false;
                self.progress.source("from peers", part.len());
                self.relay(part, start, body)?
            }
            Reply::End => {
                self.internet_alone = false;
                Asked::Ended
            }
            Reply::Busy { retry_after } => Asked::Busy(retry_after),
            Reply::Fetch { reason } => {
                self.outcome.reason = Some(reason);
                Asked::Internet { agent_is_there: true }
            }
            Reply::Unusable { why } => {
                self.outcome.reason = Some(why);
                Asked::Internet { agent_is_there: false }
            }
        })
    }

    fn relay(&mut self, part: &mut Part, start: u64, mut body: Body) -> Result<Asked, Failure> {
        let mut skip = part.len().saturating_sub(start);
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = match body.read(&mut chunk) {
                Ok(0) if self.is_short(part) => return Ok(Asked::Cut),
                Ok(0) => return Ok(Asked::Ended),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                // It fails over or ends the response in less time; an agent that does neither is not asked again.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    self.outcome.reason = Some("the agent fell silent".into());
                    return Ok(Asked::Internet { agent_is_there: false });
                }
                Err(_) => return Ok(Asked::Cut),
            };
            let fresh = behind(chunk.get(..read).unwrap_or_default(), &mut skip);
            if !fresh.is_empty() {
                if self.is_too_much(part, fresh.len() as u64) {
                    self.outcome.reason = Some("the agent sends more than there is, or than there is room for".into());
                    return Ok(Asked::Internet { agent_is_there: false });
                }
                self.outcome.peers += fresh.len() as u64;
                self.append(part, fresh)?;
            }
        }
    }

    /// The size that the agent tells, which may be the word of any of its peers, is believed as far as nothing speaks against it; false:
    /// it cannot be. One that there is no room for is not believed: the bytes themselves will show.
    fn hear(&mut self, part: &Part, size: Option<u64>) -> bool {
        let Some(size) = size.filter(|size| self.size != Some(*size)) else { return true };
        let missing = size.saturating_sub(part.len());
        if self.size_is_certain || size < part.len() {
            return false;
        }
        if check_room(&self.options.content, missing).is_err() {
            return true;
        }
        self.size = Some(size);
        self.figures.size.store(size, Relaxed);
        true
    }

    /// Nobody but this bounds a relay that does not end.
    fn is_too_much(&self, part: &Part, more: u64) -> bool {
        match self.size {
            Some(size) => part.len().saturating_add(more) > size,
            None => check_room(&self.options.content, more).is_err(),
        }
    }
}
