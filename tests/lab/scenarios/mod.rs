//! What is tried.

mod links;
mod rivals;
mod sharing;
mod trouble;

use std::time::Duration;

use crate::bounds::{LAST, LAST_PER_DEVICE, ONCE, UPLINK_MBIT};
use crate::trial::{Judge, Trial};

use links::{isolated, lossy_device, metered, rates, slow_device, stations};
use sharing::{fast_uplink, holder, simultaneous, slow_origin, staggered, thirty_files, two_contents};
use trouble::{busy, killed_fetcher, leftovers, outage, power_up, returning, rotten};

/// One of them.
pub struct Scenario {
    /// For the command line and the table.
    pub name: &'static str,
    /// For people.
    pub about: &'static str,
    /// Devices, if nobody says otherwise.
    pub devices: u8,
    /// CI enforces it.
    pub ci: bool,
    /// Plays it.
    pub run: fn(&mut Trial<'_>),
    /// Programs of others that it compares with; played only when asked for.
    pub rivals: &'static [&'static str],
    /// Files of the usual size that a device ends up with.
    files: usize,
}

impl Scenario {
    /// Bytes that a device ends up with, when the file has `size`.
    pub const fn files_bytes(&self, size: usize) -> usize {
        self.files * size
    }
}

const fn scenario(name: &'static str, devices: u8, about: &'static str, run: fn(&mut Trial<'_>)) -> Scenario {
    Scenario { name, about, devices, ci: false, run, rivals: &[], files: 1 }
}

/// All of them, in the order of the table.
pub const SCENARIOS: &[Scenario] = &[
    scenario("simultaneous-2", 2, "2 devices want a file within 2 s, nobody has it", simultaneous),
    Scenario { ci: true, ..scenario("simultaneous-5", 5, "the same with 5", simultaneous) },
    scenario("simultaneous-10", 10, "the same with 10", simultaneous),
    scenario("simultaneous-20", 20, "the same with 20", simultaneous),
    scenario("staggered", 10, "one first, the rest when it has the file", staggered),
    Scenario { ci: true, ..scenario("killed-fetcher", 5, "who fetches loses its power at half time", killed_fetcher) },
    scenario("returning", 5, "a follower loses its power at half time and is back 4 s later with its .part", returning),
    scenario("slow-device", 10, "one device has a link of 10 Mbit/s", slow_device),
    scenario("lossy-device", 10, "the link of one device loses 2 % of the packets in either direction", lossy_device),
    Scenario { files: 2, ..scenario("two-contents", 10, "all want two files", two_contents) },
    scenario("holder-and-19", 20, "one has it, 19 ask at once, there is no uplink", holder),
    scenario("fast-uplink", 10, "an uplink of 200 Mbit/s, faster than the links", fast_uplink),
    scenario("slow-origin", 10, "the origin's first byte takes 4 s", slow_origin),
    Scenario { files: 2, ..scenario("isolated", 5, "devices cannot reach each other", isolated) },
    scenario("wired-and-stations", 6, "5 stations cannot reach each other, but one wired device", stations),
    scenario("metered", 10, "one device has --never-fetch and asks first", metered),
    scenario("power-up", 10, "all boot and want the file at the same moment", power_up),
    scenario("outage", 10, "the uplink comes 30 s after all began to want a file", outage),
    scenario("leftovers", 9, "60, 30 and 0 % of the file are left on 3 devices each", leftovers),
    scenario("rotten-holder", 10, "one has the file complete, with one wrong byte", rotten),
    scenario("busy", 20, "who fetches gets no CPU for 1 s", busy),
    // Near the end: a virtual machine gives its host the gigabytes that this one frees, and the next run waits for memory.
    Scenario { files: 11, ..scenario("thirty-files", 10, "all want 30 files of 3 to 40 MiB", thirty_files) },
    scenario("rates", 2, "the laboratory itself: curl through uplink and links", rates),
    Scenario { rivals: &["curl"], ..scenario("curl", 10, "all want a file within 2 s, with curl", rivals::curl) },
    Scenario {
        rivals: &["nginx"],
        files: 2,
        ..scenario("nginx", 10, "the same through a cache on the site", rivals::nginx)
    },
    Scenario { rivals: BITTORRENT, ..scenario("aria2", 10, "the same by BitTorrent and a web seed", rivals::aria2) },
    Scenario {
        rivals: BITTORRENT,
        ..scenario("transmission", 10, "the same with another client", rivals::transmission)
    },
];

const BITTORRENT: &[&str] = &["aria2c", "transmission-cli", "mktorrent"];

/// By its name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}

fn everybody(_: usize) -> bool {
    true
}

/// Over the uplink once, and everybody about as fast as that.
fn once(trial: &Trial<'_>, bytes: usize) -> Judge<'static> {
    let ideal = trial.ideal(bytes, UPLINK_MBIT);
    let last = LAST + f64::from(trial.n) * LAST_PER_DEVICE / ideal.as_secs_f64();
    Judge { ideal, from: Duration::ZERO, counts: &everybody, ratio: Some(ONCE), last: Some(last) }
}

/// Time for every device to get everything alone, one after the other.
fn limit(trial: &Trial<'_>, judge: &Judge<'_>) -> Duration {
    judge.ideal.mul_f64(1.5 + f64::from(trial.n)) + Duration::from_secs(60)
}
