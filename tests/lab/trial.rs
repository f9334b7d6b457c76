//! One run of one scenario, inside its namespaces. It says what it found in lines that `report` reads:
//! `MEASURE name value [most]`, `FAILED why`, and one `RUN {…}` with everything as JSON.

use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use p2p_agent::random::Random;

use crate::bounds::{FILE_BYTES, LINK_MBIT, UPLINK_MBIT};
use crate::client::{Client, CurlAside, Fetch};
use crate::lab::device::Device;
use crate::lab::origin::{Content, Download};
use crate::lab::process::Process;
use crate::lab::{Site, wait_for};
use crate::options::Options;
use crate::race::{List, Race, Runner};
use crate::scenarios::Scenario;

/// What a scenario works with.
pub struct Trial<'a> {
    /// Devices.
    pub n: u8,
    /// Bytes of a file.
    pub size: usize,
    /// Where it takes place.
    pub site: Site,
    /// All of them.
    pub devices: Vec<Device>,
    /// Starting times.
    pub random: Random,
    options: &'a Options,
    contents: u8,
}

/// Runs `scenario` here, where this process is already inside.
pub fn run(scenario: &Scenario, options: &Options) {
    let n = options.devices.unwrap_or(scenario.devices);
    let size = options.size.unwrap_or(FILE_BYTES);
    keep_files_in_memory(scenario.files_bytes(size) * (usize::from(n) + 1));
    let mut seed = *b"p2p-agent/1 lab.";
    seed[15] = options.seed;
    let (site, random) = (Site::new(), Random::from_seed(seed));
    let mut trial = Trial { n, size, site, devices: Vec::new(), random, options, contents: 0 };
    (scenario.run)(&mut trial);
}

/// Many devices on one disk would wait for each other. The memory goes with the mount namespace.
fn keep_files_in_memory(bytes: usize) {
    let told = fs::read_to_string("/proc/meminfo").unwrap();
    let row = told.lines().find_map(|line| line.strip_prefix("MemAvailable:")).unwrap();
    let available = row.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024;
    if bytes > available / 2 {
        println!("{} MiB of files are kept on disk", bytes >> 20);
        return;
    }
    mount(Some("tmpfs"), &std::env::temp_dir(), Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
}

/// How a scenario's race is judged.
pub struct Judge<'a> {
    /// What it would take at least.
    pub ideal: Duration,
    /// When the clock starts, after the first start.
    pub from: Duration,
    /// Devices whose time counts.
    pub counts: &'a dyn Fn(usize) -> bool,
    /// The most that may cross the uplink, files.
    pub ratio: Option<f64>,
    /// When the last one must have finished, ideals.
    pub last: Option<f64>,
}

impl Trial<'_> {
    /// Time that `bytes` take at `mbit`, as fast as rates are in this run.
    pub fn ideal(&self, bytes: usize, mbit: u32) -> Duration {
        Duration::from_secs_f64(bytes as f64 * 8e-6 / f64::from(self.rate(mbit)))
    }

    /// What `mbit` are in this run.
    pub const fn rate(&self, mbit: u32) -> u32 {
        mbit / self.options.slower
    }

    /// The uplink.
    pub fn shape_uplink(&self, mbit: u32) {
        self.site.shape_uplink(self.rate(mbit));
    }

    /// The link of one device.
    pub fn shape_link(&self, number: usize, mbit: u32) {
        self.site.shape_link(&self.devices[number], self.rate(mbit));
    }

    /// A new content of this size, where the origin has it.
    pub fn publish(&mut self, bytes: usize) -> (std::sync::Arc<Content>, String) {
        self.contents += 1;
        let content = Content::random(self.options.seed.wrapping_mul(64).wrapping_add(self.contents), bytes);
        let url = self.site.origin.publish(&content);
        (content, url)
    }

    /// The time until the first byte of every download.
    pub fn slow_origin(&self, delay: Duration) {
        self.site.origin.set_delay(delay);
    }

    /// All devices, with links and uplink as usual, not running.
    pub fn build(&mut self) {
        self.shape_uplink(UPLINK_MBIT);
        self.devices = (0..self.n).map(|number| self.site.device(number)).collect();
        for number in 0..self.devices.len() {
            self.shape_link(number, LINK_MBIT);
        }
    }

    /// One more device, on a link like the others', which wants nothing.
    pub fn add_device(&mut self) -> Device {
        let device = self.site.device(self.n);
        self.site.shape_link(&device, self.rate(LINK_MBIT));
        device
    }

    /// Starts all agents, and waits until they know each other.
    pub fn start(&mut self) {
        self.devices.iter_mut().for_each(Device::start);
        let others = format!("\"peers\":{},", self.n - 1);
        for device in &self.devices {
            wait_for("all know each other", Duration::from_secs(60), || {
                device.get("/v1/status").text().contains(&others)
            });
        }
    }

    /// A moment for each device within `seconds`, the first of them 0.
    pub fn jitter(&mut self, seconds: u64) -> Vec<Duration> {
        let millis: Vec<u64> = (0..self.n).map(|_| self.random.below(seconds * 1_000 + 1)).collect();
        let first = millis.iter().min().copied().unwrap_or(0);
        millis.iter().map(|at| Duration::from_millis(at - first)).collect()
    }

    /// Everybody wants the same, two seconds apart at most.
    pub fn all_want(&mut self, list: &List) -> Vec<Runner> {
        self.jitter(2).into_iter().map(|due| Runner::new(list.clone(), Some(due))).collect()
    }

    /// Runs the race and says how it went.
    pub fn race(&mut self, runners: Vec<Runner>, limit: Duration, judge: &Judge<'_>, hook: impl FnMut(&mut Race<'_>)) {
        self.race_of(&Fetch, runners, limit, judge, hook);
    }

    /// The same with another client.
    pub fn race_of(
        &mut self,
        client: &dyn Client,
        runners: Vec<Runner>,
        limit: Duration,
        judge: &Judge<'_>,
        hook: impl FnMut(&mut Race<'_>),
    ) {
        let (ticks, before) = (Ticks::so_far(), self.site.origin.downloads().len());
        let mut race = Race::new(&mut self.site, &mut self.devices, client, runners);
        race.run(limit, self.options.verbose, hook);
        let (took, spent) = (race.elapsed(), Ticks::so_far());
        std::thread::sleep(Duration::from_millis(300)); // the origin notices who has gone
        // Hundredths of a second are per cent of a second.
        let percent = |from: u64, to: u64| to.saturating_sub(from) as f64 / took.as_secs_f64() / cores();
        measure("idle_percent", percent(ticks.idle, spent.idle), None);
        measure("stolen_percent", percent(ticks.stolen, spent.stolen), None);
        say(&race, judge, &race.site.origin.downloads()[before..], self.options.verbose);
    }

    /// How long every device takes with `curl`, all at their moments; the last of them.
    pub fn plain(&mut self, runners: Vec<Runner>, limit: Duration) -> Duration {
        let mut race = Race::new(&mut self.site, &mut self.devices, &CurlAside, runners);
        race.run(limit, false, |_| {});
        race.runners.iter().filter_map(|runner| runner.finished).max().unwrap_or(limit)
    }
}

/// A figure, with what it may be at most.
pub fn measure(name: &str, value: f64, most: Option<f64>) {
    match most {
        Some(most) => println!("MEASURE {name} {value:.4} {most:.4}"),
        None => println!("MEASURE {name} {value:.4}"),
    }
}

fn say(race: &Race<'_>, judge: &Judge<'_>, downloads: &[Download], verbose: bool) {
    let ideal = judge.ideal.as_secs_f64();
    let finished = |number: usize| race.runners[number].finished;
    let mut times: Vec<f64> = (0..race.runners.len())
        .filter(|&number| (judge.counts)(number))
        .map(|number| finished(number).map_or(f64::INFINITY, |at| at.saturating_sub(judge.from).as_secs_f64()))
        .collect();
    times.sort_by(f64::total_cmp);
    let (last, median) = (times.last().copied().unwrap_or(f64::NAN), times.get(times.len() / 2).copied());

    let mut files: Vec<_> = race.runners.iter().flat_map(|runner| &runner.list).map(|(content, _)| content).collect();
    files.sort_by(|a, b| a.md5.cmp(&b.md5));
    files.dedup_by(|a, b| a.md5 == b.md5);
    let site_bytes: u64 = files.iter().map(|content| content.size()).sum();
    let origin_bytes: u64 = downloads.iter().map(|download| download.bytes).sum();
    measure("ratio", origin_bytes as f64 / site_bytes as f64, judge.ratio);
    measure("last", last / ideal, judge.last);
    measure("median", median.unwrap_or(f64::NAN) / ideal, None);
    measure("last_seconds", last, None);

    let mut lines = Vec::new();
    let (mut cpu, mut memory, mut from_peers, mut delivered) = (0.0, 0, 0, 0);
    for (number, (runner, device)) in race.runners.iter().zip(race.devices.iter()).enumerate() {
        let said = device.said("fetch");
        let (peers, internet) = (sum(&said, "bytes_from_peers"), sum(&said, "bytes_from_internet"));
        let used = runner.earlier_cpu + device.agent().map_or(Duration::ZERO, Process::cpu);
        let occupied = device.agent().map_or(0, Process::peak_bytes);
        let (mut served, mut refused, mut sent) = (0, 0, 0);
        if device.agent().is_some() {
            served = device.metric("p2p_transfers_total{result=\"started\"}");
            refused = device.metric("p2p_transfers_total{result=\"refused\"}");
            sent = device.metric("p2p_bytes_total{to=\"peers\"}");
        }
        if runner.finished.is_some() {
            let wrong = runner.list.iter().filter(|(content, _)| !device.holds(content)).count();
            if wrong > 0 {
                println!("FAILED {} has {wrong} files that are not right", device.address);
            }
            delivered += runner.list.iter().map(|(content, _)| content.size()).sum::<u64>();
        }
        (cpu, memory, from_peers) = (cpu + used.as_secs_f64(), memory.max(occupied), from_peers + peers);
        let at = |moment: Option<Duration>| moment.map_or("null".into(), |at| format!("{:.3}", at.as_secs_f64()));
        lines.push(format!(
            "{{\"device\":{number},\"address\":\"{}\",\"started\":{},\"finished\":{},\"bytes_from_peers\":{peers},\
             \"bytes_from_internet\":{internet},\"bytes_to_peers\":{sent},\"transfers_served\":{served},\
             \"transfers_refused\":{refused},\"agent_cpu_seconds\":{:.3},\"agent_peak_bytes\":{occupied}}}",
            device.address,
            at(runner.started),
            at(runner.finished),
            used.as_secs_f64(),
        ));
    }
    measure("from_peers_mib", from_peers as f64 / f64::from(1 << 20), None);
    measure("cpu_seconds", cpu, None);
    measure("cpu_seconds_per_gb", cpu / (delivered as f64 / 1e9), None);
    measure("peak_mib", memory as f64 / f64::from(1 << 20), None);

    let taken: Vec<String> = downloads.iter().map(|download| taken(download, race.begun)).collect();
    let flows = race.flows.iter().map(|flow| {
        let (at, from, to) = (flow.at.as_secs_f64(), flow.from, race.devices[flow.to].address);
        format!("{{\"at\":{at:.1},\"from\":\"{from}\",\"to\":\"{to}\",\"mbit\":{:.1}}}", flow.mbit)
    });
    let flows: Vec<String> = flows.collect();
    if verbose {
        lines.iter().chain(&taken).for_each(|line| println!("  {line}"));
        print_flows(race);
    }
    println!(
        "RUN {{\"devices\":[{}],\"downloads\":[{}],\"flows\":[{}]}}",
        lines.join(","),
        taken.join(","),
        flows.join(",")
    );
}

fn taken(download: &Download, begun: Instant) -> String {
    let at = |moment: Instant| moment.saturating_duration_since(begun).as_secs_f64();
    format!(
        "{{\"by\":\"{}\",\"content\":\"{}\",\"from\":{},\"bytes\":{},\"at\":{:.3},\"until\":{}}}",
        download.by,
        download.md5,
        download.from,
        download.bytes,
        at(download.begun),
        download.ended.map_or("null".into(), |ended| format!("{:.3}", at(ended))),
    )
}

/// Second by second: who received from whom, Mbit/s.
fn print_flows(race: &Race<'_>) {
    let host = |address: Ipv4Addr| u32::from(address.octets()[3]).wrapping_sub(10);
    let mut at = Duration::MAX;
    for flow in &race.flows {
        if flow.at != at {
            at = flow.at;
            print!("\n  {:5.1} s ", at.as_secs_f64());
        }
        print!(" {}>{}:{:.0}", host(flow.from), flow.to, flow.mbit);
    }
    println!();
}

/// The sum of a field over lines of JSON.
fn sum(said: &str, field: &str) -> u64 {
    let name = format!("\"{field}\":");
    said.split(&name).skip(1).filter_map(|rest| rest.split([',', '}']).next()?.parse::<u64>().ok()).sum()
}

/// Hundredths of a second of all CPUs together.
struct Ticks {
    /// Nothing to do.
    idle: u64,
    /// The machine is one of several on another, which gave the time to them.
    stolen: u64,
}

impl Ticks {
    /// Since the start of the machine (proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal).
    fn so_far() -> Self {
        let said = fs::read_to_string("/proc/stat").unwrap();
        let fields = said.lines().next().unwrap().split_whitespace().skip(1);
        let fields: Vec<u64> = fields.filter_map(|field| field.parse().ok()).collect();
        Self { idle: fields[3] + fields[4], stolen: fields[7] }
    }
}

fn cores() -> f64 {
    std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64)
}
