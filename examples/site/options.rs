//! The command line.

use std::ffi::OsString;
use std::time::Duration;

use lexopt::ValueExt;
use lexopt::prelude::{Long, Short};

use crate::Failure;

/// What to demonstrate.
pub struct Options {
    /// Players behind the uplink.
    pub devices: usize,
    /// Size of the file.
    pub size_bytes: usize,
    /// Rate of the uplink, payload, for all together.
    pub uplink_bits: u64,
    /// The devices start within this.
    pub jitter: Duration,
    /// The agents know each other for so long before.
    pub settle: Duration,
    /// The first device starts alone, the others when it is done.
    pub stagger_first: bool,
    /// Plain downloads.
    pub without_agents: bool,
    /// Leave directories and logs.
    pub keep: bool,
    /// Further options of the agents.
    pub agent_options: Vec<OsString>,
}

const HELP: &str = "\
A site on one machine: N devices fetch the same file through one uplink, with real agents and real p2p-fetch.

Usage: cargo run --release --example site -- [OPTIONS] [-- OPTIONS OF p2p-agent run]

      --devices N          players (default: 5, at most 200)
      --size SIZE          of the file: 64MiB, 500KiB, 1GiB (default: 64MiB)
      --uplink RATE        of the uplink in all: 40Mbit, 1Gbit, 500kbit (default: 40Mbit)
      --jitter SECONDS     they start within this (default: 2)
      --settle SECONDS     agents run this long before; 0 = all have just booted (default: 2)
      --stagger first      one device first, the others when it has the file
      --without-agents     what it is like without p2p
      --keep               keep the devices' directories and logs
  -h, --help               this text

Exit status: 0 when every copy is right, 1 when not.
";

/// `None`: the help was printed.
pub fn parse() -> Result<Option<Options>, Failure> {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let split = arguments.iter().position(|argument| argument == "--").unwrap_or(arguments.len());
    let agent_options = arguments.split_off(split).into_iter().skip(1).collect();
    parse_own(arguments, agent_options)
}

fn parse_own(arguments: Vec<OsString>, agent_options: Vec<OsString>) -> Result<Option<Options>, Failure> {
    let mut options = Options {
        devices: 5,
        size_bytes: 64 << 20,
        uplink_bits: 40_000_000,
        jitter: Duration::from_secs(2),
        settle: Duration::from_secs(2),
        stagger_first: false,
        without_agents: false,
        keep: false,
        agent_options,
    };
    let mut parser = lexopt::Parser::from_iter(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("devices") => options.devices = parser.value()?.parse()?,
            Long("size") => options.size_bytes = usize::try_from(quantity(&parser.value()?.string()?, SIZES)?)?,
            Long("uplink") => options.uplink_bits = quantity(&parser.value()?.string()?, RATES)?,
            Long("jitter") => options.jitter = Duration::try_from_secs_f64(parser.value()?.parse()?)?,
            Long("settle") => options.settle = Duration::try_from_secs_f64(parser.value()?.parse()?)?,
            Long("stagger") => match parser.value()?.string()?.as_str() {
                "first" => options.stagger_first = true,
                other => return Err(format!("--stagger {other}: only `first` is known").into()),
            },
            Long("without-agents") => options.without_agents = true,
            Long("keep") => options.keep = true,
            Short('h') | Long("help") => {
                print!("{HELP}");
                return Ok(None);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    if !(1..=200).contains(&options.devices) || options.size_bytes == 0 || options.uplink_bits < 8_000 {
        return Err("1 to 200 devices, a file of at least a byte and an uplink of at least 8 kbit/s are needed".into());
    }
    Ok(Some(options))
}

const SIZES: &[(&str, u64)] = &[("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("", 1)];
const RATES: &[(&str, u64)] = &[("Gbit", 1_000_000_000), ("Mbit", 1_000_000), ("kbit", 1_000), ("", 1)];

fn quantity(text: &str, units: &[(&str, u64)]) -> Result<u64, Failure> {
    units
        .iter()
        .find_map(|(unit, factor)| text.strip_suffix(unit)?.trim().parse::<u64>().ok()?.checked_mul(*factor))
        .ok_or_else(|| format!("{text:?} is not understood").into())
}
