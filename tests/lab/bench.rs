//! The site lab: how fast a whole site is, and how often a file crosses its uplink.
//!
//! ```text
//! cargo bench --bench lab                            every scenario once, a table, figures in target/lab.json
//! cargo bench --bench lab -- --runs 3 --enforce      medians of three; a bound that is not kept is exit status 1
//! cargo bench --bench lab -- --ci --enforce          the two that CI enforces
//! cargo bench --bench lab -- --help
//! ```
//!
//! The real programs, built as they are shipped, in network namespaces (`tests/support/lab`): devices on a switch, each
//! link shaped in both directions, a router, and an own origin behind a shaped uplink. Every run is a process of its own in
//! namespaces of its own, which end with it, and with them everything that it started. It needs no root.
//!
//! One kernel and few cores play all devices: where other work leaves them no time, the figures say more about that than
//! about the programs. The column `idle` tells how much CPU was left over during a run; below 10 % a figure is doubtful.
//! `stolen` is what a host of virtual machines gave to others meanwhile: runs in which it is more than a few per cent say nothing.
//!
//! ```text
//! bounds, options  <-  client, race  <-  trial  <-  scenarios  <-  report  <-  main
//! ```

mod bounds;
mod client;
#[path = "../support/lab/mod.rs"]
mod lab;
mod options;
mod race;
mod report;
mod scenarios;
mod trial;

use std::process::ExitCode;

use options::{HELP, Options};
use report::Report;
use scenarios::{SCENARIOS, Scenario};

fn main() -> ExitCode {
    if std::env::args_os().len() == 1 {
        // Neither by cargo bench nor with a wish: `cargo test --all-targets`.
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let options = match options::parse() {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => return wrong_usage(&error.to_string()),
    };
    if let Some(name) = options.only.iter().find(|name| scenarios::find(name).is_none()) {
        return wrong_usage(&format!("there is no scenario {name:?}; --list names them"));
    }
    if options.list {
        SCENARIOS.iter().for_each(|scenario| println!("{:<16} {}", scenario.name, scenario.about));
        return ExitCode::SUCCESS;
    }
    if let Some(scenario) = options.inside.as_deref().and_then(scenarios::find) {
        trial::run(scenario, &options);
        return ExitCode::SUCCESS;
    }
    measure(&options)
}

fn measure(options: &Options) -> ExitCode {
    if let Err(why) = lab::way_in() {
        eprintln!("lab: needs network namespaces: {why}");
        return ExitCode::from(69);
    }
    let wanted: Vec<_> = SCENARIOS.iter().filter(|scenario| is_wanted(scenario, options)).collect();
    let rivals = wanted.iter().flat_map(|scenario| scenario.rivals);
    if let Some(missing) = rivals.into_iter().find(|program| !is_installed(program)) {
        eprintln!("lab: needs {missing}, which is not installed (--help names the packages)");
        return ExitCode::from(69);
    }
    let mut report = Report::new();
    for scenario in wanted {
        report.run(scenario, options);
    }
    report.finish(options)
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // nginx is where Debian has the programs of administrators.
    std::env::split_paths(&path).chain(["/usr/sbin".into()]).any(|directory| directory.join(program).is_file())
}

fn is_wanted(scenario: &Scenario, options: &Options) -> bool {
    let own = scenario.rivals.is_empty();
    let all = options.only.is_empty() && !options.ci && !options.rivals && own;
    let by_kind = options.ci && scenario.ci || options.rivals && !own;
    all || by_kind || options.only.iter().any(|name| name == scenario.name)
}

fn wrong_usage(sentence: &str) -> ExitCode {
    eprintln!("lab: {sentence} (--help tells more)");
    ExitCode::from(64)
}
