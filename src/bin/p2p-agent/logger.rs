//! Log lines on standard error, where init scripts and journals pick them up: `LEVEL message`, or `<priority>message` for the journal, with a budget, so that no peer can fill
//! a log partition by misbehaving.

use std::io::Write as _;
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

use log::{Level, LevelFilter, Log, Metadata, Record};
use p2p_agent::limits::LOG_BYTES_PER_SECOND;

/// What may be written in one second.
struct Budget {
    since: Instant,
    written: u32,
    dropped: u32,
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self { since: now, written: 0, dropped: 0 }
    }

    /// Begins a new second when it is time; how many lines the last one dropped.
    fn turn(&mut self, now: Instant) -> u32 {
        if now.saturating_duration_since(self.since).as_secs() < 1 {
            return 0;
        }
        std::mem::replace(self, Self::new(now)).dropped
    }

    /// Whether a line of so many bytes may be written. The second half is for warnings and errors, so that no chatter that a
    /// peer provokes can drown them.
    fn take(&mut self, level: Level, bytes: usize) -> bool {
        let limit = if level <= Level::Warn { LOG_BYTES_PER_SECOND } else { LOG_BYTES_PER_SECOND / 2 };
        let after = self.written.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        let granted = after <= limit;
        if granted {
            self.written = after;
        } else {
            self.dropped = self.dropped.saturating_add(1);
        }
        granted
    }
}

struct StderrLog {
    budget: Mutex<Option<Budget>>,
    to_journal: OnceLock<bool>,
}

static LOG: StderrLog = StderrLog { budget: Mutex::new(None), to_journal: OnceLock::new() };

/// Starts logging at `level`. The level `off` is silent.
pub fn start(level: LevelFilter) {
    LOG.to_journal.get_or_init(is_journal);
    // Fails only when called twice; the first level then stays.
    if log::set_logger(&LOG).is_ok() {
        log::set_max_level(level);
    }
}

impl Log for StderrLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // The reactor's own debug lines are about file descriptors, not about us.
        metadata.target().starts_with("p2p_agent")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut line = heapless::String::<512>::new();
        let level = Prefix(record.level(), self.to_journal.get() == Some(&true));
        // A longer line is cut, not lost.
        let _ = std::fmt::write(&mut Cut(&mut line), format_args!("{level}{}", record.args()));
        let Ok(mut guard) = self.budget.lock() else { return };
        let now = Instant::now();
        let budget = guard.get_or_insert_with(|| Budget::new(now));
        let mut stderr = std::io::stderr().lock();
        let dropped = budget.turn(now);
        if dropped > 0 {
            let warning = Prefix(Level::Warn, self.to_journal.get() == Some(&true));
            let _ = writeln!(stderr, "{warning}{dropped} log lines dropped: more than the budget of one second");
        }
        // With its line end.
        if budget.take(record.level(), line.len() + 1) {
            // There is nobody to tell that the log is gone.
            let _ = writeln!(stderr, "{line}");
        }
    }

    fn flush(&self) {}
}

/// Whether standard error is the journal's, systemd.exec(5): what a program started from a shell inherits in JOURNAL_STREAM is about
/// another one.
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    nix::sys::stat::fstat(std::io::stderr()).is_ok_and(|found| stream == format!("{}:{}", found.st_dev, found.st_ino))
}

/// How a line begins: for people, or for the journal (sd-daemon(3)), which shows it by its priority.
struct Prefix(Level, bool);

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let priority = match self.0 {
            Level::Error => 3,
            Level::Warn => 4,
            Level::Info => 6,
            Level::Debug | Level::Trace => 7,
        };
        if self.1 { write!(f, "<{priority}>") } else { write!(f, "{:5} ", self.0) }
    }
}

/// Writes as much as fits.
struct Cut<'a>(&'a mut heapless::String<512>);

impl std::fmt::Write for Cut<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for character in text.chars() {
            // Line breaks from outside must not forge log lines.
            let character = if character.is_control() { ' ' } else { character };
            if self.0.push(character).is_err() {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_line_for_the_journal_begins_with_its_priority() {
        assert_eq!(format!("{}x", Prefix(Level::Warn, true)), "<4>x");
        assert_eq!(format!("{}x", Prefix(Level::Info, false)), "INFO  x");
    }

    #[test]
    fn chatter_leaves_half_of_the_log_to_warnings_and_a_new_second_is_a_new_budget() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        let chatter = (0..1_000).filter(|_| budget.take(Level::Debug, 100)).count();
        assert_eq!(chatter, LOG_BYTES_PER_SECOND as usize / 200);
        assert!(!budget.take(Level::Info, 100));
        let warnings = (0..1_000).filter(|_| budget.take(Level::Warn, 100)).count();
        assert_eq!(warnings, LOG_BYTES_PER_SECOND as usize / 100 - chatter);
        assert!(!budget.take(Level::Error, 100));
        assert_eq!(budget.turn(now), 0, "the second is not over");
        assert_eq!(budget.turn(now + Duration::from_secs(1)), 2_002 - (chatter + warnings) as u32);
        assert!(budget.take(Level::Debug, 100));
    }
}
