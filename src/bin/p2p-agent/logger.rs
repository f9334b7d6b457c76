//! Log lines on standard error, where init scripts and journals pick them up: `LEVEL message`, with a budget, so that no peer can fill
//! a log partition by misbehaving.

use std::io::Write as _;
use std::sync::Mutex;
use std::time::Instant;

use log::{LevelFilter, Log, Metadata, Record};
use p2p_agent::limits::LOG_BYTES_PER_SECOND;

struct Budget {
    since: Instant,
    written: u32,
    dropped: u32,
}

struct StderrLog {
    budget: Mutex<Option<Budget>>,
}

static LOG: StderrLog = StderrLog { budget: Mutex::new(None) };

/// Starts logging at `level`. The level `off` is silent.
pub fn start(level: LevelFilter) {
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
        // A longer line is cut, not lost.
        let _ = std::fmt::write(&mut Cut(&mut line), format_args!("{:5} {}", record.level(), record.args()));
        let Ok(mut guard) = self.budget.lock() else { return };
        let budget = guard.get_or_insert_with(|| Budget { since: Instant::now(), written: 0, dropped: 0 });
        let mut stderr = std::io::stderr().lock();
        if budget.since.elapsed().as_secs() >= 1 {
            if budget.dropped > 0 {
                let _ =
                    writeln!(stderr, "WARN  {} log lines dropped: more than the budget of one second", budget.dropped);
            }
            *budget = Budget { since: Instant::now(), written: 0, dropped: 0 };
        }
        let bytes = u32::try_from(line.len()).unwrap_or(u32::MAX);
        if budget.written.saturating_add(bytes) > LOG_BYTES_PER_SECOND {
            budget.dropped += 1;
            return;
        }
        budget.written += bytes;
        // There is nobody to tell that the log is gone.
        let _ = writeln!(stderr, "{line}");
    }

    fn flush(&self) {}
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
