//! What a person sees meanwhile: a bar on a terminal, a line now and then elsewhere, nothing with `--quiet`.

use std::fmt::Arguments;
use std::io::{IsTerminal, Write as _, stderr};
use std::time::Instant;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use p2p_agent::content::ContentMd5;

use crate::limits::LINE_INTERVAL;

/// A line on stderr. Whoever reads it may be gone, or its disk full: that is no reason to end (`eprintln!` would).
pub fn say(line: Arguments) {
    let _ = writeln!(stderr(), "{line}");
}

/// Where the progress of all files goes.
pub enum Screen {
    /// One bar per file.
    Bars(MultiProgress),
    /// Lines on stderr.
    Lines,
    /// Nowhere.
    Quiet,
}

impl Screen {
    /// As suits stderr.
    pub fn new(quiet: bool) -> Self {
        match (quiet, stderr().is_terminal()) {
            (true, _) => Self::Quiet,
            (false, true) => Self::Bars(MultiProgress::new()),
            (false, false) => Self::Lines,
        }
    }

    /// Says something on stdout or stderr without tearing the bars.
    pub fn aside(&self, say: impl FnOnce()) {
        match self {
            Self::Bars(bars) => bars.suspend(say),
            Self::Lines | Self::Quiet => say(),
        }
    }

    /// The progress of one file.
    pub fn progress(&self, name: ContentMd5) -> Progress {
        let view = match self {
            Self::Quiet => View::Quiet,
            Self::Lines => View::Lines { tenth: 0, told_at: Instant::now() },
            Self::Bars(bars) => {
                let bar = bars.add(ProgressBar::new_spinner());
                bar.set_prefix(name.to_string().chars().take(8).collect::<String>());
                View::Bar { bar, sized: false }
            }
        };
        Progress { name, size: None, source: "", view }
    }
}

/// The progress of one file.
pub struct Progress {
    name: ContentMd5,
    size: Option<u64>,
    source: &'static str,
    view: View,
}

enum View {
    Bar { bar: ProgressBar, sized: bool },
    Lines { tenth: u64, told_at: Instant },
    Quiet,
}

impl Progress {
    /// The bytes come from there from now on.
    pub fn source(&mut self, source: &'static str, offset: u64) {
        let known = std::mem::replace(&mut self.source, source) == source;
        match &self.view {
            View::Bar { bar, .. } => bar.set_message(source),
            View::Lines { .. } if !known => say(format_args!("{} {source}, from byte {offset} on", self.name)),
            View::Lines { .. } | View::Quiet => {}
        }
    }

    /// The agent is asked; that may take a few seconds.
    pub fn asking(&self) {
        if let View::Bar { bar, .. } = &self.view {
            bar.set_message("asking the agent");
        }
    }

    /// Something that a person may want to know.
    pub fn note(&self, sentence: &str) {
        match &self.view {
            View::Bar { bar, .. } => bar.println(format!("{}: {sentence}", self.name)),
            View::Lines { .. } => say(format_args!("{}: {sentence}", self.name)),
            View::Quiet => {}
        }
    }

    /// The file has so many bytes now.
    pub fn at(&mut self, offset: u64, size: Option<u64>) {
        self.size = size.or(self.size);
        match &mut self.view {
            View::Bar { bar, sized } => {
                if let (Some(size), false) = (self.size, *sized) {
                    bar.set_length(size);
                    bar.set_style(style());
                    bar.reset_eta();
                    *sized = true;
                }
                bar.set_position(offset);
            }
            View::Lines { tenth, told_at } => {
                let now_tenth = match self.size {
                    Some(size) if size > 0 => offset.saturating_mul(10) / size,
                    _ => 0,
                };
                *tenth = now_tenth.min(*tenth); // it begins again after a failed verification
                if now_tenth > *tenth || told_at.elapsed() >= LINE_INTERVAL {
                    (*tenth, *told_at) = (now_tenth, Instant::now());
                    match self.size {
                        Some(size) => {
                            say(format_args!("{} {} % ({offset} of {size} bytes)", self.name, now_tenth * 10));
                        }
                        None => say(format_args!("{} {offset} bytes", self.name)),
                    }
                }
            }
            View::Quiet => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let View::Bar { bar, .. } = &self.view {
            bar.finish_and_clear();
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{prefix} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}
