//! The command line.

use std::path::PathBuf;

use lexopt::ValueExt;
use lexopt::prelude::{Long, Short};

/// What to run, and how.
#[derive(Default)]
pub struct Options {
    /// Scenarios by name; empty for all.
    pub only: Vec<String>,
    /// The few that a continuous integration enforces.
    pub ci: bool,
    /// Those that play the same with other tools.
    pub rivals: bool,
    /// How often; the median counts.
    pub runs: u32,
    /// Devices, instead of the scenario's own number.
    pub devices: Option<u8>,
    /// Bytes of a file, instead of 64 MiB.
    pub size: Option<usize>,
    /// All rates are divided by this.
    pub slower: u32,
    /// Of the first run; each further run has the next.
    pub seed: u8,
    /// Where the figures go.
    pub json: Option<PathBuf>,
    /// A bound that is not kept is a failure.
    pub enforce: bool,
    /// Print what every device did.
    pub verbose: bool,
    /// Print the names of the scenarios.
    pub list: bool,
    /// Run this scenario here: this process is already inside its namespaces.
    pub inside: Option<String>,
}

/// Printed by `--help`, and without any argument.
pub const HELP: &str = "\
The site lab: whole sites in network namespaces, with real daemons, real sync clients, a slow uplink and slow links.
It needs no root; it needs iproute2, util-linux and curl.

Usage: cargo bench --bench lab -- [OPTIONS]

      --list             the scenarios
      --only NAME        this scenario (repeatable)
      --ci               the two that CI enforces, in less than two minutes
      --rivals           10 devices that want a file, with curl, nginx, aria2 and Transmission instead
                         (apt-get install aria2 mktorrent nginx-light transmission-cli)
      --runs K           every scenario so often; medians count (default: 1)
      --devices N        other than the scenario's own number
      --size MIB         of the file (default: 64)
      --slower K         divide all rates by K: 1 (default), 2, 5 or 10. Where the cores cannot play
                         20 devices at 100 Mbit/s, their time is what is measured: see the column idle
      --seed N           contents and starting times (default: 1)
      --json FILE        all figures (default: lab.json in cargo's target directory)
      --enforce          exit status 1 when a bound is not kept
      --verbose          what every device did, and what it took from where
  -h, --help             this text
";

/// `None`: the help is wanted.
pub fn parse() -> Result<Option<Options>, lexopt::Error> {
    let mut options = Options { runs: 1, seed: 1, slower: 1, ..Options::default() };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("bench") => {} // said by cargo
            Long("list") => options.list = true,
            Long("only") => options.only.push(parser.value()?.string()?),
            Long("ci") => options.ci = true,
            Long("rivals") => options.rivals = true,
            Long("runs") => options.runs = parser.value()?.parse()?,
            Long("devices") => options.devices = Some(parser.value()?.parse()?),
            Long("size") => options.size = Some(parser.value()?.parse::<usize>()? << 20),
            Long("slower") => options.slower = parser.value()?.parse()?,
            Long("seed") => options.seed = parser.value()?.parse()?,
            Long("json") => options.json = Some(parser.value()?.into()),
            Long("enforce") => options.enforce = true,
            Long("verbose") => options.verbose = true,
            Long("inside") => options.inside = Some(parser.value()?.string()?),
            Short('h') | Long("help") => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    if options.runs == 0 || options.size == Some(0) || options.devices.is_some_and(|n| !(2..=200).contains(&n)) {
        return Err("--runs and --size must be at least 1, --devices 2 to 200".into());
    }
    if ![1, 2, 5, 10].contains(&options.slower) {
        return Err("--slower takes 1, 2, 5 or 10".into());
    }
    Ok(Some(options))
}
