//! Devices lose their power, come back, have leftovers, keep rotten files, or have no time.

use std::time::Duration;

use super::{limit, once};
use crate::bounds::{
    LAST_AFTER_OUTAGE, LAST_AFTER_ROT, LAST_WITH_LEFTOVERS, LINK_MBIT, LOST_FETCHER, ONCE_AFTER_OUTAGE, ONCE_KILLED,
    ONCE_LEFTOVERS, ONCE_UNKNOWN, UPLINK_MBIT,
};
use crate::lab::origin::Content;
use crate::race::Runner;
use crate::trial::{Judge, Trial};

pub(super) fn killed_fetcher(trial: &mut Trial<'_>) {
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

pub(super) fn returning(trial: &mut Trial<'_>) {
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

pub(super) fn power_up(trial: &mut Trial<'_>) {
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

/// The router boots longer than the devices: all try in turn, again and again, before the uplink is there.
pub(super) fn outage(trial: &mut Trial<'_>) {
    const DOWN: Duration = Duration::from_secs(30);
    trial.build();
    trial.start();
    let list = vec![trial.publish(trial.size)];
    trial.site.cut_uplink();
    let runners = trial.all_want(&list);
    let judge = once(trial, trial.size);
    // Who tries again at the wrong moment may wait for its backoff.
    let last = Some(LAST_AFTER_OUTAGE);
    let judge = Judge { from: DOWN, ratio: Some(ONCE_AFTER_OUTAGE), last, ..judge };
    let mut is_down = true;
    trial.race(runners, limit(trial, &judge), &judge, |race| {
        if is_down && race.elapsed() >= DOWN {
            race.site.restore_uplink();
            is_down = false;
        }
    });
}

/// After a power cut of the whole site: 60 %, 30 % and nothing of the file are left here and there.
pub(super) fn leftovers(trial: &mut Trial<'_>) {
    const TENTHS: [usize; 3] = [6, 3, 0];
    trial.build();
    let (content, url) = trial.publish(trial.size);
    for (device, tenths) in trial.devices.iter().zip(TENTHS.into_iter().cycle()) {
        device.leave(&content, trial.size / 10 * tenths);
    }
    trial.start();
    let runners = trial.all_want(&vec![(content, url)]);
    // What nobody has comes over the uplink; who has nothing gets the whole over its link.
    let missing = trial.size - trial.size / 10 * TENTHS[0];
    let ideal = trial.ideal(missing, UPLINK_MBIT).max(trial.ideal(trial.size, LINK_MBIT));
    let (ratio, last) = (Some(ONCE_LEFTOVERS), Some(LAST_WITH_LEFTOVERS));
    let judge = Judge { ideal, ratio, last, ..once(trial, trial.size) };
    trial.race(runners, limit(trial, &judge), &judge, |_| {});
}

/// One has the file, complete, and one byte of it is wrong: all get it from there, and once more.
pub(super) fn rotten(trial: &mut Trial<'_>) {
    trial.build();
    trial.start();
    let (content, url) = trial.publish(trial.size);
    let mut rotten = Content { md5: content.md5.clone(), bytes: content.bytes.clone() };
    rotten.bytes[trial.size / 2] ^= 0x10;
    trial.devices[0].hold(&rotten);
    let mut runners = trial.all_want(&vec![(content, url)]);
    // Its own client would find the file there and be content.
    runners[0] = Runner::absent();
    let askers = |number: usize| number != 0;
    let judge = Judge { counts: &askers, last: Some(LAST_AFTER_ROT), ..once(trial, trial.size) };
    trial.race(runners, limit(trial, &judge), &judge, |_| {});
}

/// Both cores of 5 % of the devices are busy for a second, first of all of the one that fetches. On a machine that plays all
/// devices this cannot be had by load, which would hit all of them: the agent and the client are stopped, which is what it is like
/// for a program to get no CPU. The kernel still answers for them, as it does on a busy device.
pub(super) fn busy(trial: &mut Trial<'_>) {
    const SPAN: Duration = Duration::from_secs(1);
    trial.build();
    trial.start();
    let list = vec![trial.publish(trial.size)];
    let runners = trial.all_want(&list);
    let judge = once(trial, trial.size);
    let last = judge.last.map(|last| last + SPAN.as_secs_f64() / judge.ideal.as_secs_f64());
    let judge = Judge { last, ..judge };
    let begin = judge.ideal / 2;
    let count = runners.len().div_ceil(20);
    let mut stopped: Vec<usize> = Vec::new();
    trial.race(runners, limit(trial, &judge), &judge, |race| {
        let now = race.elapsed();
        if stopped.is_empty() && now >= begin {
            let first = race.fetcher().unwrap_or(0);
            stopped = (0..count).map(|step| (first + step) % race.runners.len()).collect();
            stopped.iter().for_each(|&number| race.stop(number));
        } else if now >= begin + SPAN {
            stopped.iter().for_each(|&number| race.go_on(number));
        }
    });
}
