//! The internet half of a fetch: one connection after the other, each from where the last one broke, until the end, the
//! agent's `follow`, or too many that bring nothing.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::digest::Running;
use crate::directory::check_room;
use crate::failure::Failure;
use crate::fetch::{Fetch, behind};
use crate::internet::{End, Event};
use crate::limits::{
    CONNECT_TIMEOUT, CONNECTIONS_WITHOUT_PROGRESS, QUEUED_CHUNKS, READ_TIMEOUT, RESPONSE_TIMEOUT, SYNC_BYTES,
};
use crate::part::Part;
use crate::report::Reporter;

/// How the internet ended.
pub enum Downloaded {
    /// With the last byte.
    Ended,
    /// The agent wants to be asked again.
    Follow,
    /// Not to be had, at present or for good.
    Failed {
        /// For a person.
        why: String,
        /// The origin refuses: trying again makes no sense.
        for_good: bool,
    },
}

impl Fetch<'_> {
    /// Downloads from the end of the `.part` on, and reports meanwhile. A `follow` is obeyed once `obeys_from` bytes are there.
    pub fn download(&mut self, part: &mut Part, report: bool, obeys_from: u64) -> Result<Downloaded, Failure> {
        self.progress.source("from the internet", part.len());
        self.figures.offset.store(part.len(), Relaxed);
        let (sender, receiver) = sync_channel(QUEUED_CHUNKS);
        // An agent that is not there now may be there in a second: reports are tried in any case.
        let (figures, follow) = (self.figures.clone(), sender.clone());
        let reporter = Reporter::start(self.agent.clone(), self.wanted.md5, figures, follow, obeys_from).ok();
        let downloaded = self.connections(part, &sender, &receiver);
        drop((sender, receiver));
        if let Some(reporter) = reporter {
            reporter.stop();
        }
        if report && matches!(downloaded, Ok(Downloaded::Failed { .. }) | Err(_)) {
            self.figures.report(&self.agent, self.wanted.md5, "gone-wrong");
        }
        downloaded
    }

    /// One connection after the other, each from where the last one broke.
    fn connections(
        &mut self,
        part: &mut Part,
        sender: &SyncSender<(u32, Event)>,
        receiver: &Receiver<(u32, Event)>,
    ) -> Result<Downloaded, Failure> {
        let mut in_vain = 0;
        let mut backoff = Backoff::new();
        loop {
            let before = part.len();
            self.generation += 1;
            let started = self.internet.start(&self.wanted.url, before, self.ranges, self.generation, sender.clone());
            let end = match started {
                Ok(()) => match self.drain(part, receiver)? {
                    Some(end) => end,
                    None => return Ok(Downloaded::Follow),
                },
                Err(error) => End::Cut { why: error.to_string(), retry_after: None },
            };
            if part.len() > before {
                in_vain = 0;
                backoff.reset();
            } else {
                in_vain += 1;
            }
            let (why, retry_after) = match end {
                End::Clean | End::Short => return Ok(Downloaded::Ended),
                End::Refused { why } => return Ok(Downloaded::Failed { why, for_good: true }),
                End::BadRange => {
                    self.ranges = false;
                    ("the origin does not resume".to_owned(), None)
                }
                End::Cut { why, retry_after } => (why, retry_after),
            };
            if in_vain >= CONNECTIONS_WITHOUT_PROGRESS {
                return Ok(Downloaded::Failed { why, for_good: false });
            }
            let pause = backoff.fail().max(retry_after.unwrap_or_default());
            if follow_within(receiver, pause) {
                return Ok(Downloaded::Follow);
            }
        }
    }

    /// Takes what the current connection brings; `None`: the agent wants it stopped.
    fn drain(&mut self, part: &mut Part, receiver: &Receiver<(u32, Event)>) -> Result<Option<End>, Failure> {
        let mut skip = 0;
        // The hash of an answer from the beginning that may be shorter than what is there: only if it is the content is the
        // file the wrong one.
        let mut shorter = None;
        loop {
            // ureq has its own limits; this one is for whatever they do not cover.
            let event = match receiver.recv_timeout(CONNECT_TIMEOUT * 3 + RESPONSE_TIMEOUT + READ_TIMEOUT) {
                Ok((_, Event::Follow)) => return Ok(None),
                Ok((generation, event)) if generation == self.generation => event,
                Ok(_) => continue, // of a connection that was given up
                Err(_) => return Ok(Some(End::Cut { why: "the origin fell silent".into(), retry_after: None })),
            };
            match event {
                Event::Head { start, size } => {
                    skip = part.len().saturating_sub(start);
                    if size.is_none_or(|size| size < part.len()) && start == 0 && skip > 0 {
                        shorter = Some(Running::new(self.wanted.sha256.is_some()));
                    } else {
                        self.learn(part, size)?;
                    }
                }
                Event::Bytes(bytes) => {
                    self.outcome.internet += bytes.len() as u64;
                    self.figures.internet.store(self.outcome.internet, Relaxed);
                    if let Some(answer) = &mut shorter {
                        answer.update(&bytes);
                    }
                    let fresh = behind(&bytes, &mut skip);
                    if skip == 0 {
                        shorter = None;
                    }
                    let end = part.len() + fresh.len() as u64;
                    match self.size {
                        Some(size) if end > size => {
                            return Ok(Some(End::Refused { why: format!("the origin sends more than {size} bytes") }));
                        }
                        // What does not tell its size is looked at on the way.
                        None if end / SYNC_BYTES > part.len() / SYNC_BYTES => {
                            check_room(&self.options.content, SYNC_BYTES)?;
                        }
                        _ => {}
                    }
                    if !fresh.is_empty() {
                        self.append(part, fresh)?;
                    }
                }
                Event::End(End::Clean)
                    if shorter.as_ref().is_some_and(|it| !it.matches(self.wanted.md5, self.wanted.sha256)) =>
                {
                    let why = "the origin answers with something shorter than what is there, and it is not the content";
                    return Ok(Some(End::Refused { why: why.into() }));
                }
                Event::End(End::Clean) if self.is_short(part) => {
                    return Ok(Some(End::Cut { why: "it ended too early".into(), retry_after: None }));
                }
                Event::End(end) => return Ok(Some(end)),
                Event::Follow => return Ok(None),
            }
        }
    }
}

fn follow_within(receiver: &Receiver<(u32, Event)>, pause: Duration) -> bool {
    let until = Instant::now() + pause;
    loop {
        match receiver.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok((_, Event::Follow)) => return true,
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return false,
        }
    }
}
