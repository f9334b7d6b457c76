//! The simulator (design, section 10): N real minds, driven from one seed, with the body and the sync client reduced to what
//! they do (`body/`), on a site of fluid links (`flow.rs`, `bytes.rs`), lossy messages (`link.rs`), drifting clocks and failing
//! devices (`fault.rs`).
//!
//! After every event it checks: nobody follows who is not strictly ahead, nobody follows itself through others, no more than
//! twenty slots, every slot accounted for, nobody waits for more than 6 s without bytes. At the end everybody has the right
//! bytes, every slot is back and a metered device fetched nothing. A failure prints the seed and the last events.
//!
//! ```text
//! cargo test --test sim                                        the default, compared with table.txt
//! P2P_SIM_BLESS=1 cargo test --test sim                        writes table.txt anew, to be reviewed
//! P2P_SIM_SEEDS=10000 cargo test --release --test sim          so many runs over all scenarios, and starts
//! P2P_SIM_SCENARIO=name P2P_SIM_SEED=7 cargo test --test sim -- --nocapture     one run, with every event
//! ```

mod body;
mod bytes;
mod event;
mod fault;
mod flow;
mod link;
mod node;
mod outcome;
mod promise;
mod scenario;
mod sites;
mod world;

use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use node::Us;
use outcome::Outcome;
use scenario::{Kind, Scenario};
use sites::{PLAIN, scenarios};
use world::S;

/// Runs in all when nothing else is asked for; the table is compared for this number alone.
const SEEDS: usize = 240;

/// So many runs are for whoever has time for the largest sites, too.
const LONG: usize = 1_000;

impl Scenario {
    /// How many of so many runs are of this one. The largest are left to the long runs.
    fn runs(&self, runs: usize, weights: usize) -> usize {
        match self.weight {
            0 => usize::from(runs >= LONG || weights == 0),
            weight => (runs * weight / weights).max(1),
        }
    }
}

/// Whether every event is printed.
fn tracing() -> bool {
    static TRACING: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *TRACING.get_or_init(|| std::env::var_os("P2P_SIM_SEED").is_some())
}

fn number(name: &str) -> Option<usize> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} takes a number")))
}

#[test]
fn the_promises_hold_on_every_site_of_the_table() {
    let only = std::env::var("P2P_SIM_SCENARIO").ok();
    let scenarios: Vec<Scenario> =
        scenarios().into_iter().filter(|one| only.as_deref().is_none_or(|only| one.name == only)).collect();
    assert!(!scenarios.is_empty(), "no scenario is called that");
    if let Some(seed) = number("P2P_SIM_SEED") {
        for scenario in &scenarios {
            eprintln!("{:?}", scenario::run(scenario, seed as u64));
        }
        return;
    }
    let runs = number("P2P_SIM_SEEDS").unwrap_or(SEEDS);
    let whole: usize = scenarios.iter().map(|scenario| scenario.weight).sum();
    let jobs: Vec<(usize, u64)> = scenarios
        .iter()
        .enumerate()
        .flat_map(|(at, one)| (0..one.runs(runs, whole)).map(move |run| (at, run)))
        .map(|(at, run)| (at, run as u64))
        .collect();
    let outcomes = run_all(&scenarios, &jobs);
    let table = table(&scenarios, &outcomes);
    println!("{table}");
    check_bounds(&scenarios, &outcomes);
    if only.is_none() && runs == SEEDS {
        compare(&table);
    }
}

/// Every job is a scenario's place and a seed.
fn run_all(scenarios: &[Scenario], jobs: &[(usize, u64)]) -> Vec<(usize, u64, Outcome)> {
    let outcomes = Mutex::new(vec![None; jobs.len()]);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                // The large ones stand last; they start first.
                while let Some(job) = jobs.len().checked_sub(1 + next.fetch_add(1, Ordering::Relaxed)) {
                    let (at, seed) = jobs[job];
                    let started = std::time::Instant::now();
                    let outcome = scenario::run(&scenarios[at], seed);
                    if std::env::var_os("P2P_SIM_TIMES").is_some() {
                        eprintln!("{} {seed}: {:?} {outcome:?}", scenarios[at].name, started.elapsed());
                    }
                    outcomes.lock().expect("no panic")[job] = Some((at, seed, outcome));
                }
            });
        }
    });
    outcomes.into_inner().expect("no panic").into_iter().flatten().collect()
}

/// Devices that are told within two seconds, or at once, and that nothing troubles but loss: how often two of them fetch the same.
#[test]
fn simultaneous_starts_are_fetched_twice_in_less_than_one_of_two_hundred_and_with_loss_in_three_of_a_hundred() {
    let runs = number("P2P_SIM_SEEDS").unwrap_or(SEEDS);
    let sites: Vec<Scenario> = (2..=20)
        .flat_map(|n| [0, 2 * S].map(|jitter| (n, jitter)))
        .flat_map(|start| [Kind::Start, Kind::LossyStart].map(|kind| (start, kind)))
        .map(|((n, jitter), kind)| Scenario { n, jitter, kind, ..PLAIN })
        .collect();
    for (kind, allowed) in [(Kind::Start, 5), (Kind::LossyStart, 30)] {
        let of: Vec<usize> = (0..sites.len()).filter(|at| sites[*at].kind == kind).collect();
        let jobs: Vec<(usize, u64)> = (0..runs).map(|run| (of[run % of.len()], run as u64)).collect();
        let double: Vec<(usize, u64, Us)> = run_all(&sites, &jobs)
            .into_iter()
            .filter(|(.., outcome)| outcome.double)
            .map(|(at, seed, _)| (sites[at].n, seed, sites[at].jitter))
            .collect();
        println!("{kind:?}: {} doubles in {runs} starts", double.len());
        assert!(double.len() * 1_000 < allowed * runs, "{kind:?} (devices, seed, jitter): {double:?}");
    }
}

fn table(scenarios: &[Scenario], outcomes: &[(usize, u64, Outcome)]) -> String {
    let mut out = String::from(
        "scenario                     N uplink LAN jitter runs | ratio median worst | t/ideal median worst | longest gap s first byte s | most slots | doubles/1000 | most by one | follows | queries | datagrams | packets per node\n",
    );
    for (at, scenario) in scenarios.iter().enumerate() {
        if !outcomes.iter().any(|(of, ..)| *of == at) {
            continue;
        }
        let of: Vec<&Outcome> = outcomes.iter().filter(|(of, ..)| *of == at).map(|(.., outcome)| outcome).collect();
        let sorted = |value: fn(&Outcome) -> f64| {
            let mut all: Vec<f64> = of.iter().map(|outcome| value(outcome)).collect();
            all.sort_by(f64::total_cmp);
            all
        };
        let median = |value: fn(&Outcome) -> f64| sorted(value)[of.len() / 2];
        let worst = |value: fn(&Outcome) -> f64| sorted(value)[of.len() - 1];
        let doubles = of.iter().filter(|outcome| outcome.double).count() * 1_000 / of.len();
        let Scenario { name, n, uplink, lan, jitter, .. } = scenario;
        let _ = writeln!(
            out,
            "{name:<27} {n:>3} {uplink:>6} {lan:>3} {:>5.1}s {:>4} | {:>12.3} {:>5.3} | {:>14.3} {:>5.2} | {:>13.2} {:>12.2} | {:>10} | {doubles:>12} | {:>11.2} | {:>7.1} | {:>7.0} | {:>9.0} | {:>7.0}",
            *jitter as f64 / S as f64,
            of.len(),
            median(|o| o.ratio),
            worst(|o| o.ratio),
            median(|o| o.slowness),
            worst(|o| o.slowness),
            worst(|o| o.gap as f64 / S as f64),
            worst(|o| o.first as f64 / S as f64),
            worst(|o| o.slots as f64),
            median(|o| o.largest),
            median(|o| o.follows),
            median(|o| o.queries),
            median(|o| o.datagrams),
            median(|o| o.packets),
        );
    }
    out
}

fn check_bounds(scenarios: &[Scenario], outcomes: &[(usize, u64, Outcome)]) {
    let mut broken = String::new();
    for (at, seed, outcome) in outcomes {
        let Scenario { name, ratio_max, slowness_max, gap_max, first_max, slots_max, .. } = &scenarios[*at];
        let slow = outcome.slowness > *slowness_max || outcome.gap > *gap_max || outcome.first > *first_max;
        if outcome.ratio > *ratio_max || slow || outcome.slots > *slots_max {
            let _ = writeln!(broken, "P2P_SIM_SCENARIO={name} P2P_SIM_SEED={seed}: {outcome:?}");
        }
    }
    for (at, Scenario { name, doubles_max, .. }) in scenarios.iter().enumerate() {
        let of = || outcomes.iter().filter(|(of, ..)| *of == at);
        let doubles = of().filter(|(.., outcome)| outcome.double).count();
        if doubles * 1_000 > doubles_max * of().count() {
            let _ = writeln!(broken, "{name}: {doubles} doubles in {} runs", of().count());
        }
    }
    assert!(broken.is_empty(), "a promise was broken in these runs:\n{broken}");
}

fn compare(table: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sim/table.txt");
    if std::env::var_os("P2P_SIM_BLESS").is_some() {
        return std::fs::write(&path, table).expect("table.txt can be written");
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    let changed: String = known
        .lines()
        .zip(table.lines())
        .filter(|(old, new)| old != new)
        .map(|(old, new)| format!("-{old}\n+{new}\n"))
        .collect();
    assert!(
        known == table,
        "tests/sim/table.txt says otherwise; look at this, then run with P2P_SIM_BLESS=1:\n{changed}"
    );
}
