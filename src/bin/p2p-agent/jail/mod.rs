//! The jail: what the process gives up for good, step by step, each with an error of its own.
//!
//! | step | module | needs root |
//! |---|---|---|
//! | killed first when memory ends | here | – |
//! | a root directory with nothing in it but what is read | `root`, `mounts`, `changes` | yes |
//! | no capability, for no program | `rights` | yes |
//! | its own user, no groups, no new privileges, back seat | `process` | partly |
//! | no capability left | `rights` | – |
//! | limits on memory, files, written bytes | `limits` | – |
//! | Landlock: reads in there, its own port | `landlock` | – |
//! | every socket of the network that it will have | `net` (`ports`, `outgoing`) | – |
//! | the helper thread of the event loop, then no thread any more | `limits` | – |
//! | the filter of system calls, over both threads | `filter`, `calls` | – |
//!
//! The order matters. Mounting needs root, so it comes first. The helper thread keeps what its maker had, so it is made
//! after everything that is inherited, and it needs `clone`, so before the filter. What the kernel does not have is a line in the log;
//! what it has and refuses keeps the daemon from starting.

mod calls;
mod changes;
mod filter;
mod landlock;
mod limits;
mod mounts;
mod rights;
mod root;

use std::fmt;
use std::path::{Path, PathBuf};

pub use changes::Changes;

use crate::Failure;
use crate::cli::exit;

/// Where the daemon finds its directories once it is jailed.
pub struct Places {
    /// The content directory; also outside of a jail.
    pub content: PathBuf,
    /// Holds `no-p2p`.
    pub config: PathBuf,
    /// What the jail has not, because it came or was exchanged later.
    pub changes: Changes,
}

/// What holds here, a line each: for `check --jail`.
#[derive(Default)]
pub struct Report(Vec<(&'static str, String)>);

impl Report {
    fn add(&mut self, what: &'static str, holds: impl Into<String>) {
        self.0.push((what, holds.into()));
    }

    /// The kernel does not have it.
    fn lacks(&mut self, what: &'static str, why: &str) {
        log::warn!("jail: no {what}: {why}");
        self.add(what, format!("none: {why}"));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(what, holds)| writeln!(f, "{what:<16} {holds}"))
    }
}

fn failure(step: &str, error: impl fmt::Display) -> Failure {
    Failure::new(exit::OS, format!("the jail cannot {step}: {error}; --jail off runs without it, for development."))
}

/// While still root, if ever.
pub fn before_the_user(content: &Path, config: &Path, report: &mut Report) -> Result<Places, Failure> {
    std::fs::write("/proc/self/oom_score_adj", "1000").map_err(|error| failure("set its OOM score", error))?;
    if !nix::unistd::geteuid().is_root() {
        report.add("root directory", "the machine's own: not started as root");
        return Ok(Places { content: content.to_owned(), config: config.to_owned(), changes: Changes::default() });
    }
    let places = root::enter(content, config, report)?;
    rights::empty_the_bounding_set()?;
    Ok(places)
}

/// Would the first step find its directories? Changes nothing.
pub fn check(content: &Path, config: &Path) -> Result<(), Failure> {
    if nix::unistd::geteuid().is_root() { root::check(content, config) } else { Ok(()) }
}

/// As the user, before any thread exists.
pub fn before_the_threads(places: &Places, port: u16, report: &mut Report) -> Result<(), Failure> {
    rights::drop_all(report)?;
    limits::set(report)?;
    landlock::restrict(places, port, report)
}

/// Last: starts the event loop's helper thread, and then no thread or process any more, and no call that is not in the table.
pub fn after_the_setup(report: &mut Report) -> Result<(), Failure> {
    wait_for_the_helper();
    limits::no_more_threads()?;
    filter::install(report)
}

/// The first timer starts the helper thread of async-io. It must have finished its own start, which needs calls that nothing needs
/// later, when the filter comes. This thread only sleeps here, so whoever wakes it is the helper, at work already.
fn wait_for_the_helper() {
    use std::future::Future as _;
    use std::pin::Pin;
    use std::task::Poll;
    use std::time::Duration;

    const SHORT: Duration = Duration::from_millis(1);
    let mut timer = async_io::Timer::after(SHORT);
    let mut slept = false;
    smol::future::block_on(std::future::poll_fn(|context| {
        while Pin::new(&mut timer).poll(context).is_ready() {
            if slept {
                return Poll::Ready(());
            }
            // It was over before the first look: nobody was needed for that.
            timer.set_after(SHORT);
        }
        slept = true;
        Poll::Pending
    }));
}
