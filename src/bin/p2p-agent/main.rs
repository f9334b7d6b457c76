//! `p2p-agent`: the daemon around the mind in the library, and the small commands that look at it.
// They panic where nobody reads any more.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

mod api;
mod ask;
mod check;
mod cli;
mod client;
mod clock;
mod device;
mod disk;
mod guard;
mod guests;
mod heap;
mod history;
mod jail;
mod logger;
mod net;
mod notify;
mod pace;
mod process;
mod rehash;
mod relay;
mod run;
mod serve;
mod session;
mod store;
mod stream;
mod switch;
mod tally;

use std::process::ExitCode;

use cli::{Command, exit};

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

fn main() -> ExitCode {
    match cli::parse(std::env::args_os().skip(1)) {
        Ok(Command::Help) => print(cli::HELP),
        Ok(Command::Version) => print(concat!("p2p-agent ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(Command::Run(options)) => finish(run::run(&options).map(|()| String::new())),
        Ok(Command::Check(options)) => finish(check::check(&options).map(|sentence| format!("{sentence}\n"))),
        Ok(Command::CheckPolicy(options)) => {
            finish(check::policy(&options).map(|why| format!("P2P is on because {why}.\n")))
        }
        Ok(Command::CheckJail(options)) => finish(check::jail(&options)),
        Ok(Command::Ask { socket, target, json }) => finish(client::ask(&socket, &target, json)),
        Ok(Command::GuardClock { socket, command, interval, log }) => guard::run(&socket, &command, interval, log),
        Err(sentence) => complain(&sentence, exit::USAGE),
    }
}

/// Why the program cannot go on: one sentence, and the exit code that goes with it.
#[derive(Debug)]
pub struct Failure {
    /// What is wrong, where, and how to mend it.
    pub sentence: String,
    /// After sysexits.h.
    pub code: u8,
}

impl Failure {
    /// A failure with this exit code.
    pub fn new(code: u8, sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), code }
    }

    /// No socket can be made in the jail, and those of the start are used up.
    pub fn without_sockets(why: &str) -> Self {
        Self::new(exit::AGAIN, format!("{why}; start again to have new ones."))
    }
}

fn finish(outcome: Result<String, Failure>) -> ExitCode {
    match outcome {
        Ok(text) => print(&text),
        Err(failure) => complain(&failure.sentence, failure.code),
    }
}

fn print(text: &str) -> ExitCode {
    use std::io::Write as _;
    // A reader that closed the pipe has seen enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn complain(sentence: &str, code: u8) -> ExitCode {
    use std::io::Write as _;
    // The exit code counts, also where nobody reads: `eprintln!` would end the process with another.
    let _ = writeln!(std::io::stderr(), "p2p-agent: {sentence}");
    ExitCode::from(code)
}
