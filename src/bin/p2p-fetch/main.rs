//! The reference sync client: gets one content, from the other devices of the site where it can, from the internet where
//! it must, and puts it into the content directory only when it is right.
//!
//! The agent (`p2p-agent run`) never writes; this program does (design, section 1). Rules that it keeps:
//!
//! - `<md5>.part` only grows: the agent serves it to other devices while it is written. It is never preallocated.
//! - `<md5>` appears by one rename, after the whole content hashed to its name and was synced to disk (behaviour 16).
//!   Whatever happens before, `kill -9` and power cuts included, leaves at most a `.part`, and the next start resumes it.
//! - Without an agent, or with one that misbehaves, it is a plain downloader (behaviour 27).
//!
//! ```text
//! digest, limits, failure, backoff  <-  part, directory, local_http  <-  agent, internet, progress  <-  report, outcome  <-  fetch, download  <-  options, main
//! ```
// They panic where nobody reads any more.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

mod agent;
mod backoff;
mod digest;
mod directory;
mod download;
mod failure;
mod fetch;
mod internet;
mod limits;
mod local_http;
mod options;
mod outcome;
mod part;
mod progress;
mod relay;
mod report;

use std::io::Write;
use std::iter::Enumerate;
use std::process::ExitCode;
use std::sync::Mutex;

use failure::Failure;
use fetch::Fetch;
use options::{Command, Options, Wanted};
use outcome::Outcome;
use progress::Screen;

fn main() -> ExitCode {
    ignore_file_size_signal();
    let options = match options::parse(std::env::args_os()) {
        Ok(Command::Run(options)) => options,
        Ok(Command::Say(text)) => {
            let _ = std::io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(failure) => return complain(&failure),
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => ExitCode::from(failure.exit_code()),
    }
}

/// Gets everything that was asked for; the error is the first one that occurred, all of them have been said.
fn run(options: &Options) -> Result<(), Failure> {
    directory::check(&options.content).inspect_err(say)?;
    directory::clean_up(&options.content, options.keep_parts, &options.wanted);
    if agent::is_forbidden(&options.socket) {
        progress::say(format_args!(
            "p2p-fetch: this user may not ask the agent at {}, so everything comes from the internet: use sudo, or add the user to the \
             group that the socket belongs to (p2p)",
            options.socket.display()
        ));
    }
    let screen = Screen::new(options.quiet);
    let queue = Mutex::new(options.wanted.iter().enumerate());
    let first_failure = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.min(options.wanted.len()) {
            scope.spawn(|| {
                while let Some((place, wanted)) = next(&queue) {
                    if place % limits::NAMED_EVERY == 0 && options.wanted.len() > place + 1 {
                        // Nobody waits for the answer.
                        let names = options.wanted.iter().skip(place).map(|wanted| wanted.md5);
                        let agent = agent::Agent::new(options.socket.clone());
                        scope.spawn(move || agent.wanted(names));
                    }
                    let result = Fetch::new(options, wanted, screen.progress(wanted.md5)).run();
                    match result {
                        Ok(outcome) => screen.aside(|| tell(options, wanted, &outcome)),
                        Err(failure) => {
                            screen.aside(|| say(&failure));
                            first_failure
                                .lock()
                                .unwrap_or_else(|poisoned| poisoned.into_inner())
                                .get_or_insert(failure);
                        }
                    }
                }
            });
        }
    });
    match first_failure.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
        None => Ok(()),
        Some(failure) => Err(failure),
    }
}

fn next<'a>(queue: &Mutex<Enumerate<std::slice::Iter<'a, Wanted>>>) -> Option<(usize, &'a Wanted)> {
    queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next()
}

fn tell(options: &Options, wanted: &Wanted, outcome: &Outcome) {
    let line = match (options.json, options.quiet) {
        (true, _) => outcome.json(wanted.md5),
        (false, false) => outcome.sentence(wanted.md5),
        (false, true) => return,
    };
    let _ = writeln!(std::io::stdout(), "{line}"); // a reader that left does not undo the file
}

fn say(failure: &Failure) {
    progress::say(format_args!("p2p-fetch: {failure}"));
}

fn complain(failure: &Failure) -> ExitCode {
    say(failure);
    ExitCode::from(failure.exit_code())
}

/// A file size limit (`ulimit -f`) is then an ordinary write error with a sentence, not a silent death.
fn ignore_file_size_signal() {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: SIG_IGN installs no handler, so that no code runs in signal context.
    let _ = unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) };
}
