//! Links and devices are well: how fast, and how often over the uplink.

use std::time::Duration;

use super::{limit, once};
use crate::bounds::{LAST_AT_LINK_RATE, LAST_OF_MANY_FILES, LINK_MBIT, ONCE_STAGGERED, SHARE_OF_ONE_DEVICE};
use crate::race::Runner;
use crate::trial::{Judge, Trial, measure};

pub(super) fn simultaneous(trial: &mut Trial<'_>) {
    trial.build();
    trial.start();
    let list = vec![trial.publish(trial.size)];
    let runners = trial.all_want(&list);
    let judge = once(trial, trial.size);
    trial.race(runners, limit(trial, &judge), &judge, |_| {});
}

pub(super) fn slow_origin(trial: &mut Trial<'_>) {
    const FIRST_BYTE: Duration = Duration::from_secs(4);
    trial.build();
    trial.start();
    trial.slow_origin(FIRST_BYTE);
    let list = vec![trial.publish(trial.size)];
    let runners = trial.all_want(&list);
    let judge = once(trial, trial.size);
    // Whoever takes over has to wait for the first byte as well.
    let last = judge.last.map(|last| last + 2.0 * FIRST_BYTE.as_secs_f64() / judge.ideal.as_secs_f64());
    let judge = Judge { last, ..judge };
    trial.race(runners, limit(trial, &judge), &judge, |_| {});
}

pub(super) fn staggered(trial: &mut Trial<'_>) {
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

pub(super) fn two_contents(trial: &mut Trial<'_>) {
    let sizes = [trial.size, trial.size];
    many_files(trial, &sizes);
}

pub(super) fn thirty_files(trial: &mut Trial<'_>) {
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

pub(super) fn holder(trial: &mut Trial<'_>) {
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

pub(super) fn fast_uplink(trial: &mut Trial<'_>) {
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
