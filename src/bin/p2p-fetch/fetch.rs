//! One content, from the first question to the rename.
//!
//! ```text
//!            +-> ask the agent -- bytes --> append; cut: ask again from the new end
//!   .part ---|        | 404: fetch, 503 for too long, no agent, no progress
//!            |        v
//!            +-- internet (reports twice a second) -- `follow`, or nothing works: ask the agent again
//!
//!   end: hash right -> sync, rename      hash wrong -> unlink the .part first, report, from 0 again
//! ```
//!
//! "Cut" costs nothing but the question: every byte that arrived is in the `.part`. What brings no byte is tried with
//! growing waits and a bounded number of times, so that no storm of refusals makes this program spin (design, 2.3).

use std::io::{ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::agent::{Agent, Reply};
use crate::backoff::Backoff;
use crate::directory::check_room;
use crate::download::Downloaded;
use crate::failure::{Failure, Kind};
use crate::internet::Internet;
use crate::limits::{ATTEMPTS, BREATH, BUSY_AGENT_PATIENCE, CHUNK_BYTES, RELAYS_WITHOUT_PROGRESS};
use crate::local_http::Body;
use crate::options::{Options, Wanted};
use crate::outcome::Outcome;
use crate::part::{Opened, Part};
use crate::progress::Progress;
use crate::report::Figures;

/// One content to be fetched.
pub struct Fetch<'a> {
    pub(crate) options: &'a Options,
    pub(crate) wanted: &'a Wanted,
    pub(crate) agent: Agent,
    pub(crate) internet: Internet,
    pub(crate) progress: Progress,
    pub(crate) figures: Arc<Figures>,
    pub(crate) outcome: Outcome,
    size: Option<u64>,
    /// It comes from the sync file or the origin; an agent may be mistaken, or worse.
    size_is_certain: bool,
    /// In this attempt: all bytes came from the internet, and nobody else said where they end.
    internet_alone: bool,
    pub(crate) ranges: bool,
    pub(crate) generation: u32,
    backoff: Backoff,
}

/// How asking the agent ended.
enum Asked {
    /// With the last byte.
    Ended,
    /// In the middle, or before the first byte.
    Cut,
    /// It wants to be asked later.
    Busy(Duration),
    /// The internet is next.
    Internet { agent_is_there: bool },
}

impl<'a> Fetch<'a> {
    /// Nothing happens before [`Self::run`].
    pub fn new(options: &'a Options, wanted: &'a Wanted, progress: Progress) -> Self {
        Self {
            options,
            wanted,
            progress,
            agent: Agent::new(options.socket.clone()),
            internet: Internet::new(options.roots.clone()),
            figures: Arc::default(),
            outcome: Outcome::default(),
            size: wanted.size,
            size_is_certain: wanted.size.is_some(),
            internet_alone: true,
            ranges: true,
            generation: 0,
            backoff: Backoff::new(),
        }
    }

    /// Until the content is there, or cannot be had.
    pub fn run(mut self) -> Result<Outcome, Failure> {
        let started = Instant::now();
        match Part::open(&self.options.content, self.wanted.md5, self.wanted.sha256)? {
            Opened::Complete { size } => (self.outcome.already_there, self.outcome.size) = (true, size),
            Opened::Part(part) => self.complete(*part)?,
        }
        self.outcome.elapsed = started.elapsed();
        Ok(self.outcome)
    }

    fn complete(&mut self, mut part: Part) -> Result<(), Failure> {
        let name = self.wanted.md5;
        self.outcome.resumed = part.len();
        self.internet_alone = part.len() == 0;
        self.figures.offset.store(part.len(), Relaxed);
        for attempt in 1..=ATTEMPTS {
            self.progress.at(part.len(), self.size);
            let missing = self.wanted.size.unwrap_or(0).saturating_sub(part.len());
            let room = if missing > 0 { check_room(&self.options.content, missing) } else { Ok(()) };
            let filled = room.and_then(|()| self.fill(&mut part, attempt == ATTEMPTS));
            if let Err(failure) = filled {
                if part.len() == 0 {
                    part.remove();
                }
                return Err(failure);
            }
            if part.is_whole() {
                self.outcome.size = part.len();
                part.finish()?;
                self.figures.report(&self.agent, name, "fetched");
                return Ok(());
            }
            // First the file, so that no other device gets any more of it, then the word.
            part.discard()?;
            self.figures.offset.store(0, Relaxed);
            self.figures.report(&self.agent, name, "verify-failed");
            if self.internet_alone && attempt > 1 {
                break;
            }
            self.progress.note("what came does not match the MD5: it is dropped and fetched again");
            (self.internet_alone, self.ranges) = (true, true);
            self.forget_size();
            self.outcome.resumed = 0;
            std::thread::sleep(self.backoff.fail());
        }
        part.remove();
        let url = &self.wanted.url;
        Err(Failure::new(
            Kind::Wrong,
            format!("{url}: the content does not match {name}: check the sync file and the origin"),
        ))
    }

    /// Fills the `.part` until somebody says that this is all of it.
    fn fill(&mut self, part: &mut Part, without_agent: bool) -> Result<(), Failure> {
        let (mut relays_in_vain, mut rounds_in_vain, mut refusals) = (0, 0, 0);
        let mut waited = Duration::ZERO;
        self.backoff.reset();
        loop {
            if part.is_whole() || self.size.is_some_and(|size| part.len() >= size) {
                return Ok(());
            }
            let before = part.len();
            let use_agent = !without_agent && relays_in_vain < RELAYS_WITHOUT_PROGRESS && waited < BUSY_AGENT_PATIENCE;
            let asked = if use_agent { self.ask(part)? } else { Asked::Internet { agent_is_there: !without_agent } };
            let pause = match asked {
                Asked::Ended => return Ok(()),
                Asked::Cut if part.len() - before >= CHUNK_BYTES as u64 => {
                    (relays_in_vain, rounds_in_vain, refusals) = (0, 0, 0);
                    self.backoff.reset();
                    self.breath()
                }
                Asked::Cut => {
                    relays_in_vain += 1;
                    self.backoff.fail()
                }
                Asked::Busy(retry_after) => {
                    let pause = retry_after.max(BREATH) + self.backoff.jitter(retry_after / 4);
                    waited += pause;
                    pause
                }
                Asked::Internet { agent_is_there } => {
                    if !self.size_is_certain {
                        self.forget_size();
                    }
                    let downloaded = self.download(part, agent_is_there, rounds_in_vain <= RELAYS_WITHOUT_PROGRESS)?;
                    if part.len() > before {
                        (relays_in_vain, rounds_in_vain, refusals) = (0, 0, 0);
                        self.backoff.reset();
                    } else {
                        rounds_in_vain += 1;
                    }
                    match downloaded {
                        Downloaded::Ended => return Ok(()),
                        Downloaded::Follow if part.len() > before => self.breath(),
                        Downloaded::Follow => self.backoff.fail(),
                        Downloaded::Failed { why, for_good } => {
                            refusals += u32::from(for_good);
                            // The agent may know a device that got it in another way: it is asked once more.
                            if rounds_in_vain > self.options.retries
                                || refusals > u32::from(use_agent && agent_is_there)
                            {
                                return Err(self.unreachable(&why, part.len()));
                            }
                            self.progress.note(&why);
                            relays_in_vain = 0;
                            self.backoff.fail()
                        }
                    }
                }
            };
            std::thread::sleep(pause);
        }
    }

    fn breath(&mut self) -> Duration {
        BREATH + self.backoff.jitter(BREATH)
    }

    fn unreachable(&self, why: &str, there: u64) -> Failure {
        let url = &self.wanted.url;
        let peers = self.outcome.reason.as_deref().unwrap_or("cut");
        Failure::new(
            Kind::Unreachable,
            format!(
                "cannot download {url}: {why}; no peer could supply it either ({peers}). {there} bytes are kept, start again to continue"
            ),
        )
    }

    // --- from peers ---------------------------------------------------------------------------------------------

    fn ask(&mut self, part: &mut Part) -> Result<Asked, Failure> {
        self.progress.asking();
        Ok(match self.agent.ask(self.wanted.md5, part.len(), self.size) {
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

    /// The size that the agent tells is believed as far as nothing speaks against it; false: it cannot be.
    fn hear(&mut self, part: &Part, size: Option<u64>) -> bool {
        let Some(size) = size.filter(|size| self.size != Some(*size)) else { return true };
        let missing = size.saturating_sub(part.len());
        if self.size_is_certain || size < part.len() || check_room(&self.options.content, missing).is_err() {
            return false;
        }
        self.size = Some(size);
        self.figures.size.store(size, Relaxed);
        true
    }

    fn forget_size(&mut self) {
        self.size = self.wanted.size;
        self.size_is_certain = self.size.is_some();
        self.figures.size.store(self.size.unwrap_or(0), Relaxed);
    }

    /// Nobody but this bounds a relay that does not end.
    fn is_too_much(&self, part: &Part, more: u64) -> bool {
        match self.size {
            Some(size) => part.len().saturating_add(more) > size,
            None => check_room(&self.options.content, more).is_err(),
        }
    }

    // --- both ---------------------------------------------------------------------------------------------------

    /// Bytes from anywhere.
    pub(crate) fn append(&mut self, part: &mut Part, bytes: &[u8]) -> Result<(), Failure> {
        part.append(bytes)?;
        self.figures.offset.store(part.len(), Relaxed);
        self.progress.at(part.len(), self.size);
        Ok(())
    }

    /// A response that does not tell its length ends like one that is cut; the size known otherwise tells them apart.
    pub(crate) fn is_short(&self, part: &Part) -> bool {
        self.size.is_some_and(|size| part.len() < size)
    }

    /// The size, once the origin tells it, decides whether there is room.
    pub(crate) fn learn(&mut self, part: &Part, size: Option<u64>) -> Result<(), Failure> {
        let Some(size) = size else { return Ok(()) };
        if self.size != Some(size) {
            check_room(&self.options.content, size.saturating_sub(part.len()))?;
        }
        (self.size, self.size_is_certain) = (Some(size), true);
        self.figures.size.store(size, Relaxed);
        Ok(())
    }
}

/// What is left of `bytes` behind the first `skip` of the stream.
pub fn behind<'b>(bytes: &'b [u8], skip: &mut u64) -> &'b [u8] {
    let drop = usize::try_from(*skip).unwrap_or(usize::MAX).min(bytes.len());
    *skip -= drop as u64;
    bytes.get(drop..).unwrap_or_default()
}
