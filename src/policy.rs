//! Whether an image starts the agent by itself: the one place that decides it. `p2p-agent check` looks at the device, asks
//! here, and every init system asks `check`.
//!
//! In this order, the first that applies:
//!
//! 1. `no-p2p` exists, or nobody can tell: off. It also switches off an agent that is running.
//! 2. The image says `--start never`: off. `--start always`: on.
//! 3. `p2p` exists: on.
//! 4. The device has several cores: on. It has one, which belongs to the player: off.
//!
//! Where the number of cores is unknown, one is assumed: a screen that stutters is worse than a download that is slow.

use core::fmt;

/// What the image says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// The device decides.
    #[default]
    Auto,
    /// On, whatever the device is.
    Always,
    /// Off, whatever the device is.
    Never,
}

/// A file whose existence says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// It is not there.
    Absent,
    /// It is there.
    Present,
    /// It cannot be looked for.
    Unknown,
}

/// What there is to go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// The file `no-p2p`.
    pub no_p2p: Marker,
    /// The file `p2p`.
    pub p2p: Marker,
    /// Processors that work now; `None` where nothing tells.
    pub cores: Option<u32>,
}

/// The decision and its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Start.
    On(Reason),
    /// Do not start; nothing is wrong.
    Off(Reason),
}

/// Why. Its text completes "P2P is on because" or "P2P is off because", with the names of the files alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// `no-p2p` exists.
    SwitchedOff,
    /// It may exist.
    SwitchUnknown,
    /// `--start never`
    Never,
    /// `--start always`
    Always,
    /// `p2p` exists.
    AskedFor,
    /// So many.
    SeveralCores(u32),
    /// And nobody asked.
    OneCore,
    /// And nobody asked.
    UnknownCores,
}

/// The first rule alone: an agent that runs obeys it, too.
pub const fn switched_off(no_p2p: Marker) -> Option<Reason> {
    match no_p2p {
        Marker::Present => Some(Reason::SwitchedOff),
        Marker::Unknown => Some(Reason::SwitchUnknown),
        Marker::Absent => None,
    }
}

/// Applies the rules.
pub const fn decide(start: Start, device: &Device) -> Decision {
    use Decision::{Off, On};
    if let Some(reason) = switched_off(device.no_p2p) {
        return Off(reason);
    }
    match (start, device.p2p, device.cores) {
        (Start::Never, ..) => Off(Reason::Never),
        (Start::Always, ..) => On(Reason::Always),
        (Start::Auto, Marker::Present, _) => On(Reason::AskedFor),
        (Start::Auto, _, Some(cores)) if cores > 1 => On(Reason::SeveralCores(cores)),
        (Start::Auto, _, Some(_)) => Off(Reason::OneCore),
        (Start::Auto, _, None) => Off(Reason::UnknownCores),
    }
}

/// Number of processors in the kernel's notation, as in `/sys/devices/system/cpu/online`: `0-3`, `0`, `0,2-3`.
pub fn count_cores(list: &str) -> Option<u32> {
    let mut cores = 0_u32;
    for range in list.trim_end().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        cores = cores.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(cores)
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SwitchedOff => f.write_str("no-p2p exists"),
            Self::SwitchUnknown => f.write_str("no-p2p cannot be looked for"),
            Self::Never => f.write_str("of --start never"),
            Self::Always => f.write_str("of --start always"),
            Self::AskedFor => f.write_str("p2p exists"),
            Self::SeveralCores(cores) => write!(f, "there are {cores} cores"),
            Self::OneCore => f.write_str("there is one core and no p2p"),
            Self::UnknownCores => f.write_str("the number of cores is unknown and there is no p2p"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    const MARKERS: [Marker; 3] = [Marker::Absent, Marker::Present, Marker::Unknown];
    const STARTS: [Start; 3] = [Start::Auto, Start::Always, Start::Never];
    const CORES: [Option<u32>; 4] = [None, Some(1), Some(2), Some(4)];

    fn device(no_p2p: Marker, p2p: Marker, cores: Option<u32>) -> Device {
        Device { no_p2p, p2p, cores }
    }

    #[test]
    fn no_p2p_wins_over_everything_also_where_it_cannot_be_looked_for() {
        for start in STARTS {
            for p2p in MARKERS {
                for cores in CORES {
                    let decided = |no_p2p| decide(start, &device(no_p2p, p2p, cores));
                    assert_eq!(decided(Marker::Present), Decision::Off(Reason::SwitchedOff));
                    assert_eq!(decided(Marker::Unknown), Decision::Off(Reason::SwitchUnknown));
                }
            }
        }
    }

    #[test]
    fn several_cores_are_on_and_one_is_off_unless_p2p_asks_for_it() {
        let decided = |p2p, cores| decide(Start::Auto, &device(Marker::Absent, p2p, cores));
        assert_eq!(decided(Marker::Absent, Some(4)), Decision::On(Reason::SeveralCores(4)));
        assert_eq!(decided(Marker::Absent, Some(2)), Decision::On(Reason::SeveralCores(2)));
        assert_eq!(decided(Marker::Absent, Some(1)), Decision::Off(Reason::OneCore));
        assert_eq!(decided(Marker::Absent, None), Decision::Off(Reason::UnknownCores));
        // Whoever cannot be understood has not asked.
        assert_eq!(decided(Marker::Unknown, Some(1)), Decision::Off(Reason::OneCore));
        for cores in CORES {
            assert_eq!(decided(Marker::Present, cores), Decision::On(Reason::AskedFor));
        }
    }

    #[test]
    fn an_image_may_decide_for_its_devices() {
        for p2p in MARKERS {
            for cores in CORES {
                let decided = |start| decide(start, &device(Marker::Absent, p2p, cores));
                assert_eq!(decided(Start::Always), Decision::On(Reason::Always));
                assert_eq!(decided(Start::Never), Decision::Off(Reason::Never));
            }
        }
    }

    #[test]
    fn cores_are_counted_as_the_kernel_lists_them() {
        for (list, cores) in [("0-3\n", 4), ("0\n", 1), ("0,2-3", 3), ("0-127,129", 129)] {
            assert_eq!(count_cores(list), Some(cores), "{list}");
        }
        for wrong in ["", "\n", "x", "3-0", "0-", "-1", "0,,1", "0-4294967295", "0 1"] {
            assert_eq!(count_cores(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_reason_names_what_to_look_at() {
        assert_eq!(format!("{}", Reason::SeveralCores(4)), "there are 4 cores");
        assert_eq!(format!("{}", Reason::SwitchedOff), "no-p2p exists");
        assert!(format!("{}", Reason::OneCore).contains("one core"));
    }
}
