//! The sites of the table, with what each of them promises.

use crate::scenario::{Kind, Scenario};
use crate::world::{MS, S};

/// The promises of design section 2 are the bounds; where a scenario has others, they say what its kind of trouble may cost.
pub const PLAIN: Scenario = Scenario {
    name: "",
    n: 10,
    uplink: 40,
    lan: 100,
    jitter: 2 * S,
    weight: 10,
    kind: Kind::Plain,
    ratio_max: 1.02,
    slowness_max: 1.10,
    gap_max: 3 * S,
    first_max: 3 * S,
    slots_max: 4,
    doubles_max: 5,
};

/// Where a second fetch is part of the trouble, the ratio is the bound.
const ANY: usize = 1_000;

/// All of them, in the order of `table.txt`.
pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario { name: "together-2", n: 2, weight: 20, ..PLAIN },
        Scenario { name: "together-5", n: 5, weight: 20, ..PLAIN },
        Scenario { name: "together-10", n: 10, weight: 20, ..PLAIN },
        Scenario { name: "together-20", n: 20, ..PLAIN },
        Scenario { name: "together-50", n: 50, weight: 5, slowness_max: 1.19, ..PLAIN },
        Scenario { name: "same-instant-10", n: 10, jitter: 0, ..PLAIN },
        Scenario { name: "same-instant-20", n: 20, jitter: 0, ..PLAIN },
        Scenario { name: "fast-uplink-5", n: 5, uplink: 200, ..PLAIN },
        // Two chains behind one fetcher take a while to become one.
        Scenario { name: "fast-uplink-20", n: 20, uplink: 200, slowness_max: 1.35, ..PLAIN },
        Scenario { name: "fast-uplink-50", n: 50, uplink: 200, weight: 3, slowness_max: 1.35, ..PLAIN },
        // A `.part` grows by a MiB between two looks at it, and who reads it knows.
        Scenario { name: "fast-lan-20", n: 20, uplink: 200, lan: 1_000, ..PLAIN },
        Scenario { name: "staggered-10", kind: Kind::Staggered, ..PLAIN },
        Scenario { name: "fetcher-dies-10", kind: Kind::FetcherDies, ratio_max: 1.05, slowness_max: 1.22, ..PLAIN },
        Scenario { name: "slow-device-20", n: 20, kind: Kind::SlowDevice, slowness_max: 1.15, ..PLAIN },
        Scenario {
            name: "slow-device-fast-uplink-20",
            n: 20,
            uplink: 200,
            kind: Kind::SlowDevice,
            slowness_max: 1.75,
            ..PLAIN
        },
        Scenario { name: "holder-20", n: 20, uplink: 0, jitter: 0, kind: Kind::Holder, slowness_max: 1.25, ..PLAIN },
        Scenario { name: "power-up-10", kind: Kind::PowerUp, ratio_max: 1.10, ..PLAIN },
        Scenario {
            name: "power-up-50",
            n: 50,
            weight: 3,
            kind: Kind::PowerUp,
            ratio_max: 1.10,
            slowness_max: 1.19,
            ..PLAIN
        },
        Scenario { name: "leftovers-9", n: 9, kind: Kind::Leftovers, ratio_max: 0.42, slowness_max: 1.55, ..PLAIN },
        Scenario { name: "isolated-6", n: 6, kind: Kind::Isolated, slowness_max: 1.15, slots_max: 8, ..PLAIN },
        Scenario {
            name: "isolated-metered-6",
            n: 6,
            kind: Kind::IsolatedMetered,
            // Until the wired device asks nobody can know of anybody.
            ratio_max: 1.25,
            slowness_max: 1.15,
            doubles_max: ANY,
            slots_max: 8,
            ..PLAIN
        },
        Scenario {
            name: "wifi-10",
            kind: Kind::Wifi { wired: 2, air: 150 },
            slowness_max: 1.5,
            slots_max: 10,
            ..PLAIN
        },
        Scenario {
            name: "wifi-one-wire-10",
            kind: Kind::Wifi { wired: 1, air: 150 },
            slowness_max: 1.55,
            slots_max: 10,
            ..PLAIN
        },
        Scenario {
            name: "wifi-fast-air-10",
            kind: Kind::Wifi { wired: 1, air: 600 },
            // Four that came first may keep a wire to themselves that would do for all, with the rest fed through the air.
            slowness_max: 1.65,
            slots_max: 10,
            ..PLAIN
        },
        Scenario { name: "wifi-only-10", kind: Kind::Wifi { wired: 0, air: 150 }, slowness_max: 1.1, ..PLAIN },
        Scenario { name: "metered-10", kind: Kind::Metered, ..PLAIN },
        Scenario { name: "lossy-10", kind: Kind::Lossy, ratio_max: 1.10, slowness_max: 1.25, doubles_max: 30, ..PLAIN },
        Scenario {
            name: "lossy-20",
            n: 20,
            kind: Kind::Lossy,
            ratio_max: 1.10,
            slowness_max: 1.30,
            // A lost first packet of a connection costs a second.
            first_max: 3_500 * MS,
            doubles_max: 30,
            ..PLAIN
        },
        Scenario { name: "lossy-device-10", kind: Kind::LossyDevice, ..PLAIN },
        Scenario { name: "alone-1", n: 1, kind: Kind::Alone, first_max: 800 * MS, ..PLAIN },
        Scenario { name: "apart-5", n: 5, kind: Kind::Apart, ratio_max: 5.0, slowness_max: 1.02, ..PLAIN },
        Scenario { name: "thirty-files-10", weight: 3, kind: Kind::ManyFiles, slots_max: 10, ..PLAIN },
        Scenario { name: "thirty-files-50", n: 50, weight: 1, kind: Kind::ManyFiles, slots_max: 20, ..PLAIN },
        Scenario { name: "busy-20", n: 20, kind: Kind::Busy, slowness_max: 1.20, ..PLAIN },
        Scenario {
            name: "rough-10",
            kind: Kind::Rough,
            ratio_max: 1.10,
            slowness_max: 1.35,
            gap_max: 7 * S,
            first_max: 7 * S,
            ..PLAIN
        },
        Scenario {
            name: "split-10",
            kind: Kind::Split,
            ratio_max: 1.30,
            slowness_max: 1.40,
            gap_max: 5 * S,
            doubles_max: ANY,
            ..PLAIN
        },
        Scenario { name: "replays-10", kind: Kind::Replays, slowness_max: 1.25, ..PLAIN },
        Scenario { name: "rotten-holder-10", kind: Kind::Rotten, slowness_max: 1.60, ..PLAIN },
        Scenario {
            name: "stalls-with-keys-10",
            kind: Kind::Stalls,
            ratio_max: 1.10,
            slowness_max: 1.40,
            // Two seconds until the liar is seen through, and then the queue.
            first_max: 5 * S,
            ..PLAIN
        },
        Scenario { name: "forges-10", kind: Kind::Forges, ..PLAIN },
        Scenario { name: "size-unknown-10", kind: Kind::SizeUnknown, ..PLAIN },
        Scenario {
            name: "slow-origin-10",
            kind: Kind::SlowOrigin,
            // With the 4 to 5 s until its first byte the least is 1.34; who loses the lease once more has to wait for them again.
            slowness_max: 2.0,
            gap_max: 11 * S,
            first_max: 7 * S,
            ..PLAIN
        },
        Scenario {
            name: "outage-10",
            kind: Kind::Outage,
            // Several try at the same moment, and get something until the next report.
            ratio_max: 1.05,
            first_max: 90 * S,
            doubles_max: ANY,
            ..PLAIN
        },
        // The table of peers holds 128: who cannot ask everybody may start a second fetch, which ends with the first report.
        Scenario {
            name: "together-200",
            n: 200,
            weight: 1,
            ratio_max: 1.05,
            slowness_max: 1.47,
            doubles_max: ANY,
            ..PLAIN
        },
        Scenario {
            name: "together-500",
            n: 500,
            weight: 0,
            ratio_max: 1.05,
            slowness_max: 2.0,
            doubles_max: ANY,
            ..PLAIN
        },
    ]
}
