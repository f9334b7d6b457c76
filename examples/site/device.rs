//! One device: a directory, an agent and a sync client. What it shows of itself is what a real one would: the growing
//! file, the client's progress lines and its summary.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::options::Options;
use crate::programs::Programs;
use crate::stop;

/// What all devices have in common.
pub struct Site<'a> {
    /// The command line.
    pub options: &'a Options,
    /// The programs.
    pub programs: &'a Programs,
    /// The devices' directories are here.
    pub root: &'a Path,
    /// Name of the file.
    pub md5: &'a str,
    /// Where the internet has it.
    pub url: String,
}

impl Site<'_> {
    /// The time that the file takes through the uplink, once.
    pub fn ideal(&self) -> Duration {
        Duration::from_secs_f64(self.options.size_bytes as f64 * 8.0 / self.options.uplink_bits as f64)
    }
}

/// One device.
pub struct Device {
    /// Where its files are.
    pub content: PathBuf,
    /// Bytes it has so far.
    pub bytes: u64,
    /// When its client was done, since its start.
    pub took: Option<Duration>,
    /// The client's exit was a success.
    pub success: bool,
    home: PathBuf,
    index: usize,
    agent: Option<Child>,
    fetch: Option<Child>,
    fetch_started: Option<Instant>,
    source: Arc<Mutex<&'static str>>,
    summary: String,
}

impl Device {
    /// Switched off, with an empty content directory.
    pub fn new(site: &Site<'_>, index: usize) -> Result<Self, Failure> {
        let home = site.root.join(format!("device-{}", index + 1));
        let content = home.join("content");
        fs::create_dir_all(&content)?;
        fs::create_dir_all(home.join("config"))?;
        Ok(Self {
            content,
            bytes: 0,
            took: None,
            success: false,
            home,
            index,
            agent: None,
            fetch: None,
            fetch_started: None,
            source: Arc::new(Mutex::new("")),
            summary: String::new(),
        })
    }

    /// Its agent, on an address of its own.
    pub fn start_agent(&mut self, site: &Site<'_>, port: u16) -> Result<(), Failure> {
        let log = File::create(self.home.join("agent.log"))?;
        let agent = Command::new(&site.programs.agent)
            .arg("run")
            .arg("--content")
            .arg(&self.content)
            .arg("--socket")
            .arg(self.socket())
            .arg("--address")
            .arg(address(self.index).to_string())
            .arg("--port")
            .arg(port.to_string())
            .arg("--config-dir")
            .arg(self.home.join("config"))
            // The demo shares its machine with the origin and the clients; idle priority would mostly wait.
            .args(["--log", "warn", "--priority", "low"])
            // Started by root, the agent would look for its own user.
            .args(nix::unistd::User::from_uid(nix::unistd::geteuid())?.iter().flat_map(|user| ["--user", &user.name]))
            .args(&site.options.agent_options)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("{} cannot be started: {error}", site.programs.agent.display()))?;
        self.agent = Some(agent);
        Ok(())
    }

    /// Until it listens.
    pub fn await_agent(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while UnixStream::connect(self.socket()).is_err() {
            self.check_agent()?;
            if Instant::now() > deadline {
                return Err(format!("the agent of device {} does not listen", self.index + 1).into());
            }
            stop::sleep(Duration::from_millis(20))?;
        }
        Ok(())
    }

    /// Its sync client.
    pub fn start_fetch(&mut self, site: &Site<'_>) -> Result<(), Failure> {
        let socket = if site.options.without_agents { self.home.join("no-agent") } else { self.socket() };
        let mut fetch = Command::new(&site.programs.fetch)
            .arg("--json")
            .arg("--socket")
            .arg(socket)
            .arg("--content")
            .arg(&self.content)
            .args([site.md5, &site.url])
            .env_remove("http_proxy") // the origin is on this machine
            .env_remove("HTTP_PROXY")
            .env_remove("all_proxy")
            .env_remove("ALL_PROXY")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{} cannot be started: {error}", site.programs.fetch.display()))?;
        if let Some(lines) = fetch.stderr.take() {
            let (source, log) = (self.source.clone(), File::create(self.home.join("fetch.log"))?);
            thread::spawn(move || follow_lines(BufReader::new(lines), &source, log));
        }
        self.fetch = Some(fetch);
        self.fetch_started = Some(Instant::now());
        Ok(())
    }

    /// Looks how far it is.
    pub fn look(&mut self, site: &Site<'_>) -> Result<(), Failure> {
        self.check_agent()?;
        let whole = self.content.join(site.md5);
        let size = |path: &Path| fs::metadata(path).map(|found| found.len()).ok();
        self.bytes = size(&whole).or_else(|| size(&whole.with_extension("part"))).unwrap_or(0);
        let (Some(fetch), Some(started)) = (&mut self.fetch, self.fetch_started) else { return Ok(()) };
        let Some(status) = fetch.try_wait()? else { return Ok(()) };
        if let Some(mut summary) = fetch.stdout.take() {
            summary.read_to_string(&mut self.summary)?;
        }
        self.took = Some(started.elapsed());
        self.success = status.success();
        self.fetch = None;
        Ok(())
    }

    /// Whether its client runs or has run.
    pub const fn is_started(&self) -> bool {
        self.fetch_started.is_some()
    }

    /// Whether its client has ended.
    pub const fn is_done(&self) -> bool {
        self.took.is_some()
    }

    /// Where its bytes come from at the moment.
    pub fn source(&self) -> &'static str {
        match (self.took, self.success) {
            (Some(_), true) => "done",
            (Some(_), false) => "failed",
            _ => *self.source.lock().unwrap_or_else(|poisoned| poisoned.into_inner()),
        }
    }

    /// A number of its client's summary.
    pub fn summed_up(&self, field: &str) -> u64 {
        let digits = self.summary.split(&format!("\"{field}\":")).nth(1).unwrap_or("");
        digits.split(|letter: char| !letter.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
    }

    /// Ends whatever runs; the agent politely first.
    pub fn switch_off(&mut self) {
        if let Some(mut fetch) = self.fetch.take() {
            let _ = fetch.kill();
            let _ = fetch.wait();
        }
        let Some(mut agent) = self.agent.take() else { return };
        if let Ok(process) = i32::try_from(agent.id()) {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(process), nix::sys::signal::Signal::SIGTERM);
        }
        for _ in 0..100 {
            if !matches!(agent.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = agent.kill();
        let _ = agent.wait();
    }

    /// What agent and client had to say, for when something went wrong.
    pub fn print_log(&self) {
        for log in ["agent.log", "fetch.log"] {
            let text = fs::read_to_string(self.home.join(log)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            for line in lines.iter().skip(lines.len().saturating_sub(5)) {
                eprintln!("device {} {log}: {line}", self.index + 1);
            }
        }
    }

    fn check_agent(&mut self) -> Result<(), Failure> {
        match self.agent.as_mut().map(Child::try_wait).transpose()?.flatten() {
            Some(status) => Err(format!("the agent of device {} ended early: {status}", self.index + 1).into()),
            None => Ok(()),
        }
    }

    fn socket(&self) -> PathBuf {
        self.home.join("agent.sock")
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.switch_off();
    }
}

/// A port that is free on all devices, so that two demonstrations do not hear each other.
pub fn free_port(devices: usize) -> Result<u16, Failure> {
    for _ in 0..50 {
        let port = TcpListener::bind((address(0), 0))?.local_addr()?.port();
        let free = |index| {
            TcpListener::bind((address(index), port)).is_ok() && UdpSocket::bind((address(index), port)).is_ok()
        };
        if (0..devices).all(free) && UdpSocket::bind((Ipv4Addr::new(127, 255, 255, 255), port)).is_ok() {
            return Ok(port);
        }
    }
    Err("no port is free on all addresses".into())
}

fn address(index: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 0, 0, 10)) + u32::try_from(index).unwrap_or(0))
}

fn follow_lines(lines: impl BufRead, source: &Mutex<&'static str>, mut log: File) {
    for line in lines.lines().map_while(Result::ok) {
        let now = if line.contains(" from peers,") {
            "peers"
        } else if line.contains(" from the internet,") {
            "internet"
        } else {
            ""
        };
        if !now.is_empty() {
            *source.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = now;
        }
        let _ = std::io::Write::write_fmt(&mut log, format_args!("{line}\n"));
    }
}
