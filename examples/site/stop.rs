//! Ctrl-C and its like: they end the demonstration by the ordinary way out, which switches off and cleans up.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};

use crate::Failure;

static STOP: AtomicBool = AtomicBool::new(false);

/// Call it before any thread is started: they inherit that these signals are left to one thread.
pub fn watch_signals() -> Result<(), Failure> {
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    signals.thread_block()?;
    thread::spawn(move || {
        if signals.wait().is_ok() {
            STOP.store(true, Relaxed);
        }
    });
    Ok(())
}

/// An error as soon as somebody wants it to end.
pub fn check() -> Result<(), Failure> {
    if STOP.load(Relaxed) { Err("stopped".into()) } else { Ok(()) }
}

/// Sleeps, but not through Ctrl-C.
pub fn sleep(span: Duration) -> Result<(), Failure> {
    let until = Instant::now() + span;
    while Instant::now() < until {
        check()?;
        thread::sleep(Duration::from_millis(20).min(span));
    }
    check()
}
