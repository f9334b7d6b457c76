//! `clock-guard`: looks at the running agent's comparison of clocks, and restarts the NTP client when the own one is wrong.
//!
//! A process of its own because it needs what the agent gave up: the right to run something. It has no network; the one thing
//! that the agent's answers can bring about is the person's own command, once an hour.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use log::{info, warn};
use p2p_agent::guard::ClockGuard;
use serde::Deserialize;

use crate::Failure;
use crate::{client, clock, logger};

/// What is needed of `/v1/clock`.
#[derive(Debug, PartialEq, Deserialize)]
struct Comparison {
    peers_agreeing: u32,
    offset_us: Option<i64>,
    off: bool,
}

/// Looks every `interval`, for ever; runs `command` by `sh -c` when it is time.
pub fn run(socket: &Path, command: &str, interval: Duration, level: log::LevelFilter) -> ! {
    logger::start(level);
    let mut guard = ClockGuard::default();
    let mut complained = false;
    loop {
        std::thread::sleep(interval);
        let comparison = match look(socket) {
            Ok(comparison) => {
                complained = false;
                Some(comparison)
            }
            Err(failure) => {
                if !std::mem::replace(&mut complained, true) {
                    warn!("the clock is not watched: {}", failure.sentence);
                }
                None
            }
        };
        let off = comparison.as_ref().is_some_and(|comparison| comparison.off);
        if let (true, Some(comparison)) = (guard.handle_look(clock::now(), off), comparison) {
            restart(command, &comparison);
        }
    }
}

fn look(socket: &Path) -> Result<Comparison, Failure> {
    let body = client::ask(socket, "/v1/clock", true)?;
    Comparison::parse(&body).ok_or_else(|| client::strange(socket))
}

impl Comparison {
    fn parse(body: &str) -> Option<Self> {
        serde_json_core::from_str(body.trim_end()).ok().map(|(comparison, _)| comparison)
    }
}

fn restart(command: &str, comparison: &Comparison) {
    let offset = comparison.offset_us.unwrap_or_default() / 1_000;
    warn!("{} neighbours agree that this clock is {} ms off; running: {command}", comparison.peers_agreeing, -offset);
    let outcome =
        Command::new("/bin/sh").arg("-c").arg(command).env("P2P_CLOCK_OFFSET_MS", offset.to_string()).status();
    match outcome {
        Ok(status) if status.success() => info!("the command ended well; the next one runs in an hour at the earliest"),
        Ok(status) => warn!("the command failed: {status}"),
        Err(error) => warn!("/bin/sh cannot be run: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_comparison_is_read_from_what_the_agent_answers() {
        let body = "{\"peers_compared\":4,\"peers_agreeing\":3,\"offset_us\":-5000123,\"error_us\":90,\"off\":true}\n";
        let expected = Comparison { peers_agreeing: 3, offset_us: Some(-5_000_123), off: true };
        assert_eq!(Comparison::parse(body), Some(expected));
        let nothing_known =
            "{\"peers_compared\":0,\"peers_agreeing\":0,\"offset_us\":null,\"error_us\":0,\"off\":false}";
        assert_eq!(Comparison::parse(nothing_known).and_then(|comparison| comparison.offset_us), None);
        for strange in ["", "{}", "[1]", "{\"off\":\"yes\"}", "no"] {
            assert_eq!(Comparison::parse(strange), None, "{strange}");
        }
    }
}
