//! What is tried.

use std::time::Duration;

use crate::bounds::{
    LAST, LAST_AT_LINK_RATE, LAST_BESIDE_A_BAD_LINK, LAST_OF_MANY_FILES, LAST_PER_DEVICE, LIKE_CURL, LINK_MBIT,
    LOST_FETCHER, ONCE, ONCE_KILLED, ONCE_STAGGERED, ONCE_UNKNOWN, SHARE_OF_ONE_DEVICE, UPLINK_MBIT,
};
use crate::race::Runner;
use crate::trial::{Judge, Trial, measure};

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
    Scenario { name, about, devices, ci: false, run, files: 1 }
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
    Scenario { files: 11, ..scenario("thirty-files", 10, "all want 30 files of 3 to 40 MiB", thirty_files) },
    scenario("holder-and-19", 20, "one has it, 19 ask at once, there is no uplink", holder),
    scenario("fast-uplink", 10, "an uplink of 200 Mbit/s, faster than the links", fast_uplink),
    Scenario { files: 2, ..scenario("isolated", 5, "devices cannot reach each other", isolated) },
    scenario("power-up", 10, "all boot and want the file at the same moment", power_up),
];

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

fn simultaneous(trial: &mut Trial<'_>) {
    trial.build();
    trial.start();
    let list = vec![trial.publish(trial.size)];
    let runners = trial.all_want(&list);
    let judge = once(trial, trial.size);
    trial.race(runners, limit(trial, &judge), &judge, |_| {});
}

fn staggered(trial: &mut Trial<'_>) {
    trial.build();
    trial.start();
    let list = vec![trial.publish(trial.size)];
    let first = once(trial, trial.size);
    let rest = trial.ideal(trial.size, LINK_MBIT);
    let runners = (0..trial.n).map(|number| Runner::new(list.clone(), (number == 0).then_some(Duration::ZERO)));
    let runners = runners.collect();
    // The clock of the rest starts when the first one has it, which is not known before.
    let mut from = Duration::ZERO;
    let judge = Judge { ratio: Some(ONCE_STAGGERED), last: None, ..first };
    let mut last = Duration::ZERO;
    trial.race(runners, limit(trial, &judge), &judge, |race| {
        let now = race.elapsed();
        let done = race.runners[0].finished;
        for runner in race.runners.iter_mut().skip(1) {
            if runner.due.is_none() && done.is_some() {
                runner.due = Some(now);
                from = now;
            }
            last = last.max(runner.finished.unwrap_or_default());
        }
    });
    let last = last.saturating_sub(from);
    measure("rest_last", last.as_secs_f64() / rest.as_secs_f64(), Some(LAST_AT_LINK_RATE));
}

fn killed_fetcher(trial: &mut Trial<'_>) {
    trial.build();
    trial.start();
    let list = vec![trial.publish(trial.size)];
    let runners = trial.all_want(&list);
    let ideal = trial.ideal(trial.size, UPLINK_MBIT);
    let last = 1.0 + LOST_FETCHER / ideal.as_secs_f64();
    let killed = std::cell::Cell::new(usize::MAX);
    let others = |number: usize| number != killed.get();
    let judge = Judge { ideal, from: Duration::ZERO, counts: &others, ratio: Some(ONCE_KILLED), last: Some(last) };
    trial.race(runners, limit(trial, &judge), &judge, |race| {
        if killed.get() == usize::MAX && race.elapsed() >= ideal / 2 {
            if let Some(fetcher) = race.fetcher() {
                race.kill(fetcher);
                killed.set(fetcher);
                println!("device {fetcher} lost its power after {:?}", race.elapsed());
            }
        }
    });
}

fn returning(trial: &mut Trial<'_>) {
    const AWAY: Duration = Duration::from_secs(4);
    trial.build();
    trial.start();
    let list = vec![trial.publish(trial.size)];
    let runners = trial.all_want(&list);
    let judge = once(trial, trial.size);
    let ideal = judge.ideal;
    let judge = Judge { last: Some(1.0 + LOST_FETCHER / ideal.as_secs_f64()), ..judge };
    let mut away = None;
    trial.race(runners, limit(trial, &judge), &judge, |race| {
        let now = race.elapsed();
        match away {
            None if now >= ideal / 2 => {
                let fetcher = race.fetcher();
                let number = (0..race.runners.len()).find(|&number| Some(number) != fetcher).unwrap_or(0);
                race.kill(number);
                race.runners[number].is_dead = false; // it will be back
                away = Some((number, now));
            }
            Some((number, since)) if now >= since + AWAY && race.devices[number].agent().is_none() => {
                race.revive(number);
            }
            _ => {}
        }
    });
}

fn slow_device(trial: &mut Trial<'_>) {
    const SLOW_MBIT: u32 = 10;
    trial.build();
    let slow = trial.devices.len() / 2;
    trial.shape_link(slow, SLOW_MBIT);
    beside_a_bad_link(trial, slow, ONCE);
}

fn lossy_device(trial: &mut Trial<'_>) {
    const PER_MILLE: u32 = 20;
    trial.build();
    let lossy = trial.devices.len() / 2;
    trial.site.lose_packets(&trial.devices[lossy], PER_MILLE);
    beside_a_bad_link(trial, lossy, ONCE_UNKNOWN);
}

fn beside_a_bad_link(trial: &mut Trial<'_>, bad: usize, ratio: f64) {
    trial.start();
    let list = vec![trial.publish(trial.size)];
    let runners = trial.all_want(&list);
    let others = |number: usize| number != bad;
    let judge = once(trial, trial.size);
    let judge = Judge { counts: &others, ratio: Some(ratio), last: Some(LAST_BESIDE_A_BAD_LINK), ..judge };
    let mut bad_seconds = f64::NAN;
    trial.race(runners, limit(trial, &judge), &judge, |race| {
        bad_seconds = race.runners[bad].finished.map_or(f64::NAN, |at| at.as_secs_f64());
    });
    measure("bad_device_seconds", bad_seconds, None);
}

fn two_contents(trial: &mut Trial<'_>) {
    let sizes = [trial.size, trial.size];
    many_files(trial, &sizes);
}

fn thirty_files(trial: &mut Trial<'_>) {
    // 3 to 40 MiB when a file has 64 MiB.
    let unit = trial.size / 64;
    let sizes: Vec<usize> = (0..30).map(|_| unit * 3 + trial.random.below(unit as u64 * 37 + 1) as usize).collect();
    many_files(trial, &sizes);
}

fn many_files(trial: &mut Trial<'_>, sizes: &[usize]) {
    trial.build();
    trial.start();
    let list = sizes.iter().map(|&size| trial.publish(size)).collect();
    let runners = trial.all_want(&list);
    let bytes = sizes.iter().sum();
    let judge = Judge { last: Some(LAST_OF_MANY_FILES), ..once(trial, bytes) };
    let before = trial.site.origin.downloads().len();
    trial.race(runners, limit(trial, &judge), &judge, |_| {});
    let downloads = trial.site.origin.downloads().split_off(before);
    let share = |device: &crate::lab::device::Device| {
        let own = downloads.iter().filter(|download| download.by == device.address);
        own.map(|download| download.bytes).sum::<u64>() as f64 / bytes as f64
    };
    let most = trial.devices.iter().map(share).fold(0.0, f64::max);
    measure("most_by_one", most, (sizes.len() > 10).then_some(SHARE_OF_ONE_DEVICE));
}

fn holder(trial: &mut Trial<'_>) {
    trial.build();
    trial.start();
    let (content, url) = trial.publish(trial.size);
    trial.devices[0].hold(&content);
    trial.site.cut_uplink();
    let list = vec![(content, url)];
    let runners = (0..trial.n).map(|_| Runner::new(list.clone(), Some(Duration::ZERO))).collect();
    let ideal = trial.ideal(trial.size, LINK_MBIT);
    let askers = |number: usize| number != 0;
    let judge = Judge { ideal, from: Duration::ZERO, counts: &askers, ratio: None, last: Some(LAST_AT_LINK_RATE) };
    trial.race(runners, limit(trial, &judge), &judge, |_| {});
}

fn fast_uplink(trial: &mut Trial<'_>) {
    const FAST_MBIT: u32 = 200;
    trial.build();
    trial.shape_uplink(FAST_MBIT);
    trial.start();
    let list = vec![trial.publish(trial.size)];
    let runners = trial.jitter(0).into_iter().map(|due| Runner::new(list.clone(), Some(due))).collect();
    let ideal = trial.ideal(trial.size, LINK_MBIT);
    let judge = Judge { ideal, last: Some(LAST_AT_LINK_RATE), ..once(trial, trial.size) };
    trial.race(runners, limit(trial, &judge), &judge, |_| {});
}

fn isolated(trial: &mut Trial<'_>) {
    trial.build();
    trial.site.isolate(&trial.devices);
    trial.devices.iter_mut().for_each(crate::lab::device::Device::start);
    let list = vec![trial.publish(trial.size)];
    let due = trial.jitter(2);
    let again = || due.iter().map(|&due| Runner::new(list.clone(), Some(due))).collect();
    let ideal = trial.ideal(trial.size, UPLINK_MBIT) * u32::from(trial.n);
    let times = f64::from(trial.n);
    let judge = Judge { ideal, from: Duration::ZERO, counts: &everybody, ratio: Some(times * ONCE), last: None };
    let plain = trial.plain(again(), limit(trial, &judge));
    let mut last = Duration::ZERO;
    trial.race(again(), limit(trial, &judge), &judge, |race| {
        last = race.runners.iter().filter_map(|runner| runner.finished).max().unwrap_or_default();
    });
    measure("like_curl", last.as_secs_f64() / plain.as_secs_f64(), Some(LIKE_CURL));
}

fn power_up(trial: &mut Trial<'_>) {
    trial.build();
    let list = vec![trial.publish(trial.size)];
    let runners = (0..trial.n).map(|_| Runner::new(list.clone(), None)).collect();
    let judge = Judge { ratio: Some(ONCE_UNKNOWN), ..once(trial, trial.size) };
    trial.devices.iter_mut().for_each(crate::lab::device::Device::switch_on);
    trial.race(runners, limit(trial, &judge), &judge, |race| {
        let now = race.elapsed();
        for (runner, device) in race.runners.iter_mut().zip(race.devices.iter()) {
            // A client starts after its agent, as init has it.
            if runner.due.is_none() && std::os::unix::net::UnixStream::connect(device.socket()).is_ok() {
                runner.due = Some(now);
            }
        }
    });
}
