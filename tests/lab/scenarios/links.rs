//! Links that are slow, lossy, one-sided or paid for; and whether links are what they are said to be.

use std::time::Duration;

use super::{everybody, limit, once};
use crate::bounds::{
    LAST_AROUND_ONE_WIRED, LAST_BESIDE_A_BAD_LINK, LIKE_CURL, LINE, LINK_MBIT, ONCE, ONCE_AROUND_ONE_WIRED,
    ONCE_UNKNOWN, RATE_ERROR, UPLINK_MBIT,
};
use crate::lab::device::Device;
use crate::lab::origin::Origin;
use crate::race::{List, Runner};
use crate::trial::{Judge, Trial, measure};

pub(super) fn slow_device(trial: &mut Trial<'_>) {
    const SLOW_MBIT: u32 = 10;
    trial.build();
    let slow = trial.devices.len() / 2;
    trial.shape_link(slow, SLOW_MBIT);
    beside_a_bad_link(trial, slow, ONCE);
}

pub(super) fn lossy_device(trial: &mut Trial<'_>) {
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

pub(super) fn isolated(trial: &mut Trial<'_>) {
    trial.build();
    trial.site.isolate(&trial.devices);
    trial.devices.iter_mut().for_each(Device::start);
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

/// Client isolation at an access point, with one device on its cable: what stations have they can give to that one only, and
/// it to all.
pub(super) fn stations(trial: &mut Trial<'_>) {
    trial.build();
    let stations = trial.devices.split_off(1);
    trial.site.isolate(&stations);
    trial.devices.extend(stations);
    trial.devices.iter_mut().for_each(Device::start);
    let wired = &trial.devices[0];
    for station in &trial.devices[1..] {
        wired.wait_for_peer(station.address);
        station.wait_for_peer(wired.address);
    }
    let list = vec![trial.publish(trial.size)];
    let runners = trial.all_want(&list);
    // One station may fetch; what all others get passes the one wired link.
    let ideal = trial.ideal(trial.size * (usize::from(trial.n) - 2), LINK_MBIT);
    let ideal = ideal.max(trial.ideal(trial.size, UPLINK_MBIT));
    let (ratio, last) = (Some(ONCE_AROUND_ONE_WIRED), Some(LAST_AROUND_ONE_WIRED));
    let judge = Judge { ideal, from: Duration::ZERO, counts: &everybody, ratio, last };
    trial.race(runners, limit(trial, &judge), &judge, |_| {});
}

/// It asks first, when nobody else wants the file yet: fetching would be its turn.
pub(super) fn metered(trial: &mut Trial<'_>) {
    trial.build();
    trial.devices[0].options.push("--never-fetch");
    trial.start();
    let list = vec![trial.publish(trial.size)];
    let mut runners = trial.all_want(&list);
    runners.iter_mut().skip(1).for_each(|runner| runner.due = runner.due.map(|at| at + Duration::from_millis(200)));
    runners[0].due = Some(Duration::ZERO);
    let judge = once(trial, trial.size);
    trial.race(runners, limit(trial, &judge), &judge, |_| {});
    let downloads = trial.site.origin.downloads();
    let own = downloads.iter().filter(|download| download.by == trial.devices[0].address);
    let bytes: u64 = own.map(|download| download.bytes).sum();
    measure("metered_mib", bytes as f64 / f64::from(1 << 20), Some(0.0));
}

/// The laboratory itself: `curl`, alone, through the uplink, a device's link inwards and a device's link outwards.
pub(super) fn rates(trial: &mut Trial<'_>) {
    const OUTWARDS_MBIT: u32 = LINK_MBIT / 2;
    trial.build();
    let by_uplink = vec![trial.publish(trial.size)];
    error(trial, "uplink_error", &by_uplink, UPLINK_MBIT);
    trial.shape_uplink(LINK_MBIT * 2);
    error(trial, "inwards_error", &by_uplink, LINK_MBIT);
    trial.shape_link(0, OUTWARDS_MBIT);
    let neighbour = Origin::start(&trial.devices[0].namespace, trial.devices[0].address);
    let (content, _) = &by_uplink[0];
    let by_neighbour = vec![(content.clone(), neighbour.publish(content))];
    error(trial, "outwards_error", &by_neighbour, OUTWARDS_MBIT);
}

/// How far from what it should be is the time that device 1 takes for this list?
fn error(trial: &mut Trial<'_>, name: &str, list: &List, mbit: u32) {
    let mut runners: Vec<Runner> = (0..trial.n).map(|_| Runner::absent()).collect();
    runners[1] = Runner::new(list.clone(), Some(Duration::ZERO));
    let ideal = trial.ideal(trial.size, mbit).mul_f64(LINE);
    let took = trial.plain(runners, ideal * 5);
    measure(name, (took.as_secs_f64() / ideal.as_secs_f64() - 1.0).abs(), Some(RATE_ERROR));
}
