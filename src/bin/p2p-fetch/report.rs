//! Reports to the agent while the download runs: at once, then twice a second.
//!
//! The agent holds the site's lease on our behalf and needs to know that we are alive; its answer tells whether another
//! device fetches the same and we should follow it (design, section 7). A thread of its own, so that an agent that is
//! slow or gone costs the download nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel};
use std::thread::JoinHandle;

use p2p_agent::content::ContentMd5;

use crate::agent::{Advice, Agent, Report};
use crate::internet::Event;
use crate::limits::REPORT_INTERVAL;

/// What is known about the download, for whoever reports it.
#[derive(Default)]
pub struct Figures {
    /// End of the `.part`.
    pub offset: AtomicU64,
    /// Bytes from the internet in all.
    pub internet: AtomicU64,
    /// Size of the content; 0 while it is unknown.
    pub size: AtomicU64,
    reported: AtomicU64,
}

impl Figures {
    /// Sends one report with the figures as they are now.
    pub fn report(&self, agent: &Agent, name: ContentMd5, event: &'static str) -> Option<Advice> {
        let internet = self.internet.load(Relaxed);
        let internet_bytes = internet.saturating_sub(self.reported.load(Relaxed));
        let size = Some(self.size.load(Relaxed)).filter(|size| *size > 0);
        let advice = agent.report(name, &Report { event, offset: self.offset.load(Relaxed), internet_bytes, size })?;
        self.reported.store(internet, Relaxed); // only what the agent has taken
        Some(advice)
    }
}

/// Reports until it is stopped.
pub struct Reporter {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Reporter {
    /// Starts; `follow` hears of [`Advice::Follow`], once, when `obeys_from` bytes are there.
    pub fn start(
        agent: Agent,
        name: ContentMd5,
        figures: Arc<Figures>,
        follow: SyncSender<(u32, Event)>,
        obeys_from: u64,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = channel();
        let follows = move || {
            let advice = figures.report(&agent, name, "fetching");
            advice == Some(Advice::Follow) && figures.offset.load(Relaxed) >= obeys_from
        };
        let thread = std::thread::Builder::new()
            .name("report".into())
            .spawn(move || report_until(&stopped, follows, &follow))?;
        Ok(Self { stop, thread })
    }

    /// Returns when the last report is through. The receiver of `follow` must be gone or be read.
    pub fn stop(self) {
        drop(self.stop);
        let _ = self.thread.join();
    }
}

fn report_until(stopped: &Receiver<()>, follows: impl Fn() -> bool, follow: &SyncSender<(u32, Event)>) {
    loop {
        if follows() {
            let _ = follow.send((0, Event::Follow));
            return;
        }
        match stopped.recv_timeout(REPORT_INTERVAL) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
