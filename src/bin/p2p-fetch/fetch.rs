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

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::agent::Agent;
use crate::backoff::Backoff;
use crate::digest::Running;
use crate::directory::check_room;
use crate::download::Downloaded;
use crate::failure::{Failure, Kind};
use crate::internet::Internet;
use crate::limits::{ATTEMPTS, BREATH, BUSY_AGENT_PATIENCE, CHUNK_BYTES, FOLLOWS_IN_VAIN, RELAYS_WITHOUT_PROGRESS};
use crate::options::{Options, Wanted};
use crate::outcome::Outcome;
use crate::part::{Opened, Part};
use crate::progress::Progress;
use crate::relay::Asked;
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
    pub(crate) size: Option<u64>,
    /// It comes from the sync file or the origin; an agent may be mistaken, or worse.
    pub(crate) size_is_certain: bool,
    /// In this attempt: all bytes came from the internet, and nobody else said where they end.
    pub(crate) internet_alone: bool,
    pub(crate) ranges: bool,
    pub(crate) generation: u32,
    backoff: Backoff,
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
            Opened::Complete { size } => {
                self.check_size(size)?;
                (self.outcome.already_there, self.outcome.size) = (true, size);
            }
            Opened::Part(part) => self.complete(*part)?,
        }
        self.outcome.elapsed = started.elapsed();
        Ok(self.outcome)
    }

    /// A file that is there is not hashed again. Its size costs nothing, and a power cut may have left none of it.
    fn check_size(&self, size: u64) -> Result<(), Failure> {
        let empty = Running::new(false).matches(self.wanted.md5, None);
        if self.wanted.size.is_none_or(|wanted| wanted == size) && (size > 0 || empty) {
            return Ok(());
        }
        let path = self.options.content.join(self.wanted.md5.to_string());
        let wanted = self.wanted.size.map_or(String::new(), |wanted| format!(" instead of {wanted}"));
        let sentence =
            format!("{} has {size} bytes{wanted}: remove it and start again, or name the right size", path.display());
        Err(Failure::new(Kind::Disk, sentence))
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
        let url = shown(&self.wanted.url);
        Err(Failure::new(
            Kind::Wrong,
            format!("{url}: the content does not match {name}: check the sync file and the origin"),
        ))
    }

    /// Fills the `.part` until somebody says that this is all of it.
    fn fill(&mut self, part: &mut Part, without_agent: bool) -> Result<(), Failure> {
        let (mut relays_in_vain, mut rounds_in_vain, mut refusals, mut follows_in_vain) = (0, 0, 0, 0);
        let mut waited = Duration::ZERO;
        self.backoff.reset();
        loop {
            if part.is_whole() || self.size.is_some_and(|size| part.len() >= size) {
                return Ok(());
            }
            let before = part.len();
            let use_agent = !without_agent && relays_in_vain < RELAYS_WITHOUT_PROGRESS && waited < BUSY_AGENT_PATIENCE;
            let asked = if use_agent {
                self.ask(part)?
            } else {
                let why = match waited < BUSY_AGENT_PATIENCE {
                    false => "the agent was busy for too long",
                    true if without_agent => "what came from peers was not the content",
                    true => "what the agent sent broke off",
                };
                self.outcome.reason = Some(why.to_owned());
                Asked::Internet { agent_is_there: !without_agent }
            };
            let pause = match asked {
                Asked::Ended => return Ok(()),
                Asked::Cut if part.len() - before >= CHUNK_BYTES as u64 => {
                    (relays_in_vain, rounds_in_vain, refusals, follows_in_vain) = (0, 0, 0, 0);
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
                    let obeys_from = match follows_in_vain {
                        0..=FOLLOWS_IN_VAIN => before,
                        n if n <= 2 * FOLLOWS_IN_VAIN => before + CHUNK_BYTES as u64,
                        _ => u64::MAX,
                    };
                    let downloaded = self.download(part, agent_is_there, obeys_from)?;
                    if part.len() > before {
                        (relays_in_vain, rounds_in_vain, refusals) = (0, 0, 0);
                        self.backoff.reset();
                    } else {
                        rounds_in_vain += 1;
                    }
                    match downloaded {
                        Downloaded::Ended => return Ok(()),
                        Downloaded::Follow => {
                            follows_in_vain += 1;
                            if part.len() > before { self.breath() } else { self.backoff.fail() }
                        }
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
        let url = shown(&self.wanted.url);
        let peers = self.outcome.reason.as_deref().unwrap_or("cut");
        Failure::new(
            Kind::Unreachable,
            format!(
                "cannot download {url}: {why}; no peer could supply it either ({peers}). {there} bytes are kept, start again to continue"
            ),
        )
    }

    fn forget_size(&mut self) {
        self.size = self.wanted.size;
        self.size_is_certain = self.size.is_some();
        self.figures.size.store(self.size.unwrap_or(0), Relaxed);
    }

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

/// A URL as it may be printed: without the password that it may hold.
fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rfind('@') {
        Some(at) => format!("{scheme}://…{}", rest.get(at..).unwrap_or_default()),
        None => url.to_owned(),
    }
}

/// What is left of `bytes` behind the first `skip` of the stream.
pub fn behind<'b>(bytes: &'b [u8], skip: &mut u64) -> &'b [u8] {
    let drop = usize::try_from(*skip).unwrap_or(usize::MAX).min(bytes.len());
    *skip -= drop as u64;
    bytes.get(drop..).unwrap_or_default()
}
