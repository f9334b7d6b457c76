//! The laboratory: runs a scenario in namespaces of its own, and has what scenarios are made of.
//!
//! `tests/netns` (what must hold) and `tests/lab` (how fast it is) share it.
#![allow(dead_code)] // neither uses all of it

pub mod api;
pub mod device;
pub mod namespace;
pub mod origin;
pub mod packets;
pub mod peer;
pub mod process;
pub mod ring;
pub mod site;

use std::env;
use std::fs::File;
use std::io::{self, Write};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

pub use site::Site;

/// Set for the process that is already inside.
const INSIDE: &str = "P2P_NETNS_INSIDE";
/// Fail where the namespaces cannot be had.
const REQUIRED: &str = "P2P_REQUIRE_NETNS";
/// A scenario that takes longer hangs.
const SCENARIO_TIMEOUT: Duration = Duration::from_secs(150);

/// How to become somebody who may make networks: as anybody, and where that is switched off, as root.
const WAYS_IN: [&[&str]; 2] = [&["--user", "--map-root-user", "--net", "--mount"], &["--net", "--mount"]];

/// Everything that a scenario will ask of the kernel and of iproute2.
const PROBE: &str = "ip link add name a0 type veth peer name a1 && ip link add name b0 type bridge \
    && tc qdisc add dev a0 root tbf rate 1mbit burst 32k latency 50ms && echo 1 > /proc/sys/net/ipv4/ip_forward";

/// Runs `scenario` in a site of its own; called from a `#[test]` with that test's own function as `test`.
pub fn run<T>(test: T, scenario: impl FnOnce(&mut Site)) {
    if env::var_os(INSIDE).is_some() {
        let mut site = Site::new();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| scenario(&mut site)));
        if let Err(panic) = result {
            site.print_logs();
            std::panic::resume_unwind(panic);
        }
        return;
    }
    match way_in() {
        Ok(way) => run_inside(way, name_of(&test)),
        Err(why) if env::var_os(REQUIRED).is_some_and(|value| value == "1") => {
            panic!("needs network namespaces, which {REQUIRED}=1 demands: {why}")
        }
        Err(why) => {
            // Not `eprintln!`, which the test harness swallows when a test passes.
            let mut stderr = io::stderr();
            writeln!(stderr, "SKIPPED: needs network namespaces ({}): {why}", name_of(&test)).unwrap();
        }
    }
}

/// Waits until `condition` holds; panics with `what` after `limit`.
#[track_caller]
pub fn wait_for(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < limit, "waited {limit:?} in vain: {what}");
        thread::sleep(Duration::from_millis(10));
    }
    started.elapsed()
}

fn run_inside(way: &[&str], name: &str) {
    let (status, said) =
        isolated(way, &["--exact", name, "--include-ignored", "--nocapture", "--test-threads=1"], SCENARIO_TIMEOUT);
    println!("{said}");
    let status = status.unwrap_or_else(|| panic!("{name} hangs: killed after {SCENARIO_TIMEOUT:?}"));
    assert!(status.success(), "{name} failed inside its namespaces: {status}");
    assert!(said.contains("1 passed"), "{name} did not run inside its namespaces");
}

/// Whether this process is the one inside.
pub fn is_inside() -> bool {
    env::var_os(INSIDE).is_some()
}

/// Sites at once: two cores play all their devices, which wait most of the time.
const SITES: usize = 2;
static AT_WORK: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// A site's turn; it goes with the value.
struct Turn;

impl Turn {
    fn take() -> Self {
        let (at_work, changed) = &AT_WORK;
        let at_work = at_work.lock().unwrap_or_else(PoisonError::into_inner);
        let mut at_work =
            changed.wait_while(at_work, |at_work| *at_work >= SITES).unwrap_or_else(PoisonError::into_inner);
        *at_work += 1;
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *AT_WORK.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        AT_WORK.1.notify_one();
    }
}

/// Runs this program again, with other arguments and in namespaces of its own; how it ended, if it did within `limit`, and
/// all that it said. Whatever it has started ends with it.
pub fn isolated(way: &[&str], arguments: &[&str], limit: Duration) -> (Option<ExitStatus>, String) {
    let _turn = Turn::take();

    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let file = File::options().create(true).append(true).open(&log).unwrap();
    let mut command = Command::new("unshare");
    command
        .args(way)
        .arg("--")
        .arg(env::current_exe().unwrap())
        .args(arguments)
        .env(INSIDE, "1")
        .env("TMPDIR", directory.path())
        .stdin(Stdio::null())
        .stdout(file.try_clone().unwrap())
        .stderr(file);
    process::end_with_this_thread(&mut command);
    let mut scenario = command.spawn().unwrap();
    let started = Instant::now();
    let status = loop {
        if let Some(status) = scenario.try_wait().unwrap() {
            break Some(status);
        }
        if started.elapsed() > limit {
            scenario.kill().unwrap();
            scenario.wait().unwrap();
            break None;
        }
        thread::sleep(Duration::from_millis(20));
    };
    let said = String::from_utf8_lossy(&std::fs::read(&log).unwrap()).into_owned();
    (status, said)
}

/// The first way that leads to a place where networks can be made, or why none does.
pub fn way_in() -> Result<&'static [&'static str], &'static str> {
    static WAY: OnceLock<Result<&'static [&'static str], String>> = OnceLock::new();
    let way = WAY.get_or_init(|| {
        let mut why = String::new();
        for way in WAYS_IN {
            match Command::new("unshare").args(way).args(["--", "sh", "-c", PROBE]).output() {
                Ok(Output { status, .. }) if status.success() => return Ok(way),
                Ok(Output { stderr, .. }) => why = String::from_utf8_lossy(&stderr).trim().replace('\n', "; "),
                Err(error) => why = format!("unshare: {error}"),
            }
        }
        Err(why)
    });
    way.as_ref().copied().map_err(String::as_str)
}

/// `sharing::five_devices…` from the type of the test function, which is what the harness calls it.
fn name_of<T>(_: &T) -> &'static str {
    let path = std::any::type_name::<T>();
    path.split_once("::").map_or(path, |(_crate, name)| name)
}
