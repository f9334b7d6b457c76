//! A race: every device starts its sync client at its moment, and the clock runs until all have what they want.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::client::Client;
use crate::lab::Site;
use crate::lab::device::Device;
use crate::lab::origin::Content;
use crate::lab::process::Process;

/// What a client is told to get.
pub type List = Vec<(Arc<Content>, String)>;

/// One device in the race. Times count from the first start.
pub struct Runner {
    /// What it wants.
    pub list: List,
    /// When it starts; `None` while that is not known.
    pub due: Option<Duration>,
    /// When it did, last.
    pub started: Option<Duration>,
    /// When it had everything.
    pub finished: Option<Duration>,
    /// It lost its power, and the race does not wait for it.
    pub is_dead: bool,
    /// CPU time of agents of this device that are no more.
    pub earlier_cpu: Duration,
    client: Option<Process>,
}

/// Who got how much from whom until then.
pub struct Flow {
    /// The number of the device that received.
    pub to: usize,
    /// Who sent.
    pub from: Ipv4Addr,
    /// Mean rate since the sample before.
    pub mbit: f64,
    /// When.
    pub at: Duration,
}

/// The devices, and how they are doing.
pub struct Race<'a> {
    /// Where it takes place.
    pub site: &'a mut Site,
    /// Who takes part.
    pub devices: &'a mut [Device],
    /// In the same order.
    pub runners: Vec<Runner>,
    /// When the first started.
    pub begun: Instant,
    /// Where the bytes went, where somebody wants to know.
    pub flows: Vec<Flow>,
    client: &'a dyn Client,
    sampled: Duration,
    received: HashMap<(usize, String), u64>,
}

/// A sample of the flows is taken so often.
const SAMPLE: Duration = Duration::from_secs(1);

impl<'a> Race<'a> {
    /// Before the start.
    pub fn new(site: &'a mut Site, devices: &'a mut [Device], client: &'a dyn Client, runners: Vec<Runner>) -> Self {
        let (flows, received) = (Vec::new(), HashMap::new());
        let begun = Instant::now();
        Self { site, devices, runners, begun, flows, client, sampled: Duration::ZERO, received }
    }

    /// Time since the first start.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Runs until all have finished, with `hook` again and again; panics after `limit`.
    pub fn run(&mut self, limit: Duration, sample: bool, mut hook: impl FnMut(&mut Self)) {
        self.begun = Instant::now();
        loop {
            let now = self.elapsed();
            for (runner, device) in self.runners.iter_mut().zip(self.devices.iter()) {
                runner.step(device, now, self.client);
            }
            hook(self);
            if self.runners.iter().all(|runner| runner.finished.is_some() || runner.is_dead) {
                return;
            }
            if sample && now >= self.sampled + SAMPLE {
                self.sample(now);
            }
            if now > limit {
                let late: Vec<usize> =
                    (0..self.runners.len()).filter(|&n| self.runners[n].finished.is_none()).collect();
                println!("FAILED devices {late:?} have nothing after {limit:?}");
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Power loss: agent, client and link, at the same moment.
    pub fn kill(&mut self, number: usize) {
        let (runner, device) = (&mut self.runners[number], &mut self.devices[number]);
        self.site.unplug(device);
        runner.earlier_cpu += device.agent().map_or(Duration::ZERO, Process::cpu);
        device.kill_agent();
        runner.client = None;
        runner.is_dead = true;
    }

    /// Power is back: the agent runs, the client follows.
    pub fn revive(&mut self, number: usize) {
        let device = &mut self.devices[number];
        self.site.plug_again(device);
        device.start();
        let runner = &mut self.runners[number];
        runner.is_dead = false;
        runner.started = None;
        runner.due = Some(self.begun.elapsed());
    }

    /// Agent and client get no CPU any more.
    pub fn stop(&self, number: usize) {
        self.signal(number, Signal::SIGSTOP);
    }

    /// They get it again.
    pub fn go_on(&self, number: usize) {
        self.signal(number, Signal::SIGCONT);
    }

    fn signal(&self, number: usize, signal: Signal) {
        let programs = [self.devices[number].agent(), self.runners[number].client.as_ref()];
        programs.into_iter().flatten().for_each(|program| program.signal(signal));
    }

    /// The device that takes most from the origin just now.
    pub fn fetcher(&self) -> Option<usize> {
        let downloads = self.site.origin.downloads();
        let open = downloads.iter().filter(|download| download.ended.is_none());
        let by = open.max_by_key(|download| download.bytes)?.by;
        self.devices.iter().position(|device| device.address == by)
    }

    fn sample(&mut self, now: Duration) {
        let seconds = (now - self.sampled).as_secs_f64();
        self.sampled = now;
        for (number, device) in self.devices.iter().enumerate() {
            for (socket, from, bytes) in received(device) {
                let before = self.received.insert((number, socket), bytes).unwrap_or(0);
                let mbit = bytes.saturating_sub(before) as f64 * 8e-6 / seconds;
                if mbit >= 0.5 {
                    self.flows.push(Flow { to: number, from, mbit, at: now });
                }
            }
        }
    }
}

impl Runner {
    /// Starts when it is due.
    pub fn new(list: List, due: Option<Duration>) -> Self {
        let (started, finished, client) = (None, None, None);
        Self { list, due, started, finished, is_dead: false, earlier_cpu: Duration::ZERO, client }
    }

    /// Its device takes no part but for what its agent does.
    pub fn absent() -> Self {
        Self { is_dead: true, ..Self::new(List::new(), None) }
    }

    fn step(&mut self, device: &Device, now: Duration, client: &dyn Client) {
        if self.started.is_none() && self.due.is_some_and(|due| due <= now) {
            self.started = Some(now);
            self.client = Some(client.start(device, &self.list));
        }
        if self.finished.is_none() && client.has_all(device) {
            self.finished = Some(now);
        }
        let Some(status) = self.client.as_mut().and_then(Process::ended) else { return };
        self.client = None;
        if status.success() {
            self.finished = self.finished.or(Some(now));
        } else {
            println!("FAILED client of {}: {status}: {}", device.address, device.said("fetch"));
            self.is_dead = true;
        }
    }
}

/// Connections of this device to others' agents: the own port, the other, bytes received.
fn received(device: &Device) -> Vec<(String, Ipv4Addr, u64)> {
    let said = device.namespace.run("ss", &["-Htinp", "state", "established", "( dport = :11111 )"]);
    let mut found = Vec::new();
    let mut ends = None;
    for line in said.lines() {
        if line.starts_with(char::is_whitespace) {
            let bytes = line.split_whitespace().find_map(|word| word.strip_prefix("bytes_received:")?.parse().ok());
            if let (Some((own, other)), Some(bytes)) = (ends.take(), bytes) {
                found.push((own, other, bytes));
            }
        } else {
            let mut words = line.split_whitespace().skip(2);
            ends = words.next().zip(words.next()).and_then(|(own, other)| {
                let other = other.rsplit_once(':')?.0.parse().ok()?;
                Some((own.to_owned(), other))
            });
        }
    }
    found
}
