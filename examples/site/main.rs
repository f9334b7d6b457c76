//! A whole site on one machine: N devices want the same file at the same moment, through one slow uplink.
//!
//! ```text
//! cargo run --release --example site                         N real agents, N real p2p-fetch
//! cargo run --release --example site -- --without-agents     the same without p2p, for comparison
//! ```
//!
//! No root, nothing to install, loopback only: every device has an address of its own in 127.0.0.0/8, the origin is a
//! small server whose rate limit is the uplink. At the end a table says what crossed the uplink and how long it took, and
//! every copy is compared with the original.

mod device;
mod options;
#[path = "../../tests/support/origin.rs"]
mod origin;
mod programs;
mod result;
mod stop;
mod view;

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use md5::{Digest, Md5};
use p2p_agent::random::Random;

use device::{Device, Site};
use options::Options;
use origin::Origin;
use programs::Programs;

/// Anything that ends the demonstration early, as a sentence.
type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let options = match options::parse() {
        Ok(Some(options)) => options,
        Ok(None) => return ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("site: {failure} (see --help)");
            return ExitCode::from(64);
        }
    };
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("site: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all copies are right. Everything that was started ends with its owner here, also on an early return.
fn run(options: &Options) -> Result<bool, Failure> {
    stop::watch_signals()?;
    let programs = Programs::build(!options.without_agents)?;
    let mut random = Random::from_seed(*b"p2p-agent/1 site");
    let mut content = vec![0; options.size_bytes];
    random.fill(&mut content);
    let md5: String = Md5::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
    let origin = Origin::start(content, Some(options.uplink_bits / 8));

    let directory = tempfile::Builder::new().prefix("p2p-site-").tempdir()?;
    let site = Site { options, programs: &programs, root: directory.path(), md5: &md5, url: origin.url() };
    let mut devices = (0..options.devices).map(|index| Device::new(&site, index)).collect::<Result<Vec<_>, _>>()?;
    let finished = demonstrate(&site, &mut devices, &origin, &mut random);
    devices.iter_mut().for_each(Device::switch_off);
    let took = match finished {
        Ok(took) => took,
        Err(failure) => {
            if stop::check().is_ok() {
                devices.iter().for_each(Device::print_log); // who pressed Ctrl-C needs no log
            }
            keep(options, directory);
            return Err(failure);
        }
    };
    let right = result::print(&site, &devices, &origin, took);
    keep(options, directory);
    Ok(right)
}

fn keep(options: &Options, directory: tempfile::TempDir) {
    if options.keep {
        println!("everything is kept in {}", directory.keep().display());
    }
}

/// The time from the first start to the last copy in place.
fn demonstrate(
    site: &Site<'_>,
    devices: &mut [Device],
    origin: &Origin,
    random: &mut Random,
) -> Result<Duration, Failure> {
    let options = site.options;
    println!(
        "{} devices, {} MiB, uplink {} Mbit/s: {:.1} s if it crosses once",
        options.devices,
        options.size_bytes >> 20,
        options.uplink_bits / 1_000_000,
        site.ideal().as_secs_f64()
    );
    if !options.without_agents {
        let port = device::free_port(options.devices)?;
        for device in devices.iter_mut() {
            device.start_agent(site, port)?;
        }
        for device in devices.iter_mut() {
            device.await_agent()?;
        }
        stop::sleep(options.settle)?;
    }
    let mut view = view::View::new(devices.len());
    let started = Instant::now();
    let deadline =
        started + site.ideal() * u32::try_from(devices.len()).unwrap_or(u32::MAX) * 3 + Duration::from_secs(60);
    let mut due: Vec<Duration> =
        devices.iter().map(|_| Duration::from_millis(random.below(options.jitter.as_millis() as u64 + 1))).collect();
    let first = due.iter().min().copied().unwrap_or_default();
    due.iter_mut().for_each(|due| *due -= first); // the clock starts with the first request
    loop {
        stop::check()?;
        let first_is_done = devices.first().is_some_and(Device::is_done);
        for (index, (device, due)) in devices.iter_mut().zip(&due).enumerate() {
            let ready = if options.stagger_first { index == 0 || first_is_done } else { started.elapsed() >= *due };
            if ready && !device.is_started() {
                device.start_fetch(site)?;
            }
            device.look(site)?;
        }
        view.show(site, devices, origin, started.elapsed());
        if devices.iter().all(Device::is_done) {
            let took = started.elapsed();
            view.finish(site, devices, origin, took);
            return Ok(took);
        }
        if Instant::now() > deadline {
            return Err("it took far too long and was ended".into());
        }
        thread::sleep(Duration::from_millis(50));
    }
}
