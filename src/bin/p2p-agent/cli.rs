//! The command line: flags into [`Options`], mistakes into one sentence.

mod values;

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;
use p2p_agent::content::ContentMd5;
use p2p_agent::hex;
use p2p_agent::limits::{CLOCK_GUARD_INTERVAL, PORT};
use p2p_agent::policy::Start;

use values::{choice, has_value, loopback, path, port, rate, seconds, sentence, text};

/// Exit codes of sysexits.h that the daemon uses.
pub mod exit {
    /// `check`: off by the start policy. Nothing is wrong.
    pub const OFF: u8 = 1;
    /// The command line is wrong.
    pub const USAGE: u8 = 64;
    /// A file of the person's is wrong.
    pub const DATA: u8 = 65;
    /// No such user.
    pub const NO_USER: u8 = 67;
    /// Something it needs is not there.
    pub const UNAVAILABLE: u8 = 69;
    /// The system refused.
    pub const OS: u8 = 71;
    /// Start it again: something has changed that a running daemon cannot see.
    pub const AGAIN: u8 = 75;
}

/// Shown by `--help`.
pub const HELP: &str = "\
p2p-agent - lets the devices of a site get large files from each other

Usage: p2p-agent run [OPTIONS]        share and fetch until stopped; stays in the foreground
       p2p-agent check [OPTIONS]      is it allowed to start at boot here, and would it succeed? one sentence
       p2p-agent check --policy       only whether it may: what its start depends on, not whether that works
       p2p-agent check --jail         enters the jail as `run` does, and says what holds on this board
       p2p-agent status [--json]      what the running agent does: links, peers, bytes
       p2p-agent recent [--json]      the last 64 files asked for: bytes from where, and why not from peers
       p2p-agent explain MD5          the same of one file, and how much of it is here
       p2p-agent peers | clock        the neighbours; this device's clock against theirs (JSON)
       p2p-agent metrics              all counters (OpenMetrics)
       p2p-agent clock-guard --exec CMD   runs CMD when three or more neighbours agree that this device's clock is
                                          wrong, three looks in a row: to restart the NTP client. Needs the right to do so

Options of run and check (all have defaults that work on a fresh device):
  --content DIR        files to share, only read: <md5>, growing <md5>.part, MD5SUMS  [/var/lib/p2p/content]
  --socket PATH        local API for sync clients and curl  [/run/p2p-agent/agent.sock]
  --interface NAME     use this interface, whatever it is (repeatable)
                       [every LAN interface; not tunnels, VPNs, container bridges, loopback]
  --address A.B.C.D    use this loopback address instead: several agents on one machine, for tests
  --port N             UDP and TCP port, the same on all devices of a site  [11111]
  --config-dir DIR     while DIR/no-p2p exists, P2P is off: ports closed, nothing sent  [/config]
  --start WHEN         what `check` says of a device without no-p2p: auto (yes with several cores or the file
                       DIR/p2p), always, never; `run` started by hand does not ask  [auto]
  --user NAME          become this user when started as root; otherwise without effect  [p2p]
  --jail on|off        a root directory of its own, no capabilities, few system calls, limits  [on]
  --priority idle|low  idle: only when nobody else wants the CPU; low: nice 10  [idle]
  --domain-key FILE    share only with devices that hold this key: one line of 64 hex digits, or two
                       while the first replaces the second  [share with whoever has the same file]
  --os-version TEXT    told to peers  [PRETTY_NAME of /etc/os-release]
  --max-upload RATE    limit for all uploads together, as 20Mbit, 2.5MB or 1GB (per second)  [none]
  --never-fetch        never download for the others: a device on a metered uplink
  --log LEVEL          off, error, warn, info, debug; to standard error  [info]
Options of status, recent, explain, peers, clock and metrics:
  --socket PATH        as above
  --json               the raw answer; metrics has only one
Options of clock-guard:
  --exec CMD           run by sh -c, at most once an hour; P2P_CLOCK_OFFSET_MS in its environment says how
                       far the neighbours' clocks are ahead of this one
  --interval SECONDS   between two looks, 1 to 3600  [20]
  --socket, --log      as above

  -h, --help           this text
  -V, --version        the version

Try it:  mkdir files && p2p-agent run --content files --socket agent.sock --address 127.0.0.2 &
         sleep 1; p2p-agent status --socket agent.sock

Exit status: 0 good; 1 check: off, and nothing is wrong; 64 wrong usage, 65 wrong key file or answer, 67 no such user, 69 something is
not available (directory, socket, port, agent), 71 the system refused, 75 start it again: its directories were replaced or its sockets used up
";

const VERBS: &str = "run, check, status, recent, explain, peers, clock, metrics or clock-guard";

/// Options of `run` and `check` beside `--socket` and `--log`.
const SET_UP: [&str; 13] = [
    "content",
    "interface",
    "address",
    "port",
    "config-dir",
    "start",
    "user",
    "jail",
    "priority",
    "domain-key",
    "os-version",
    "max-upload",
    "never-fetch",
];

/// Whether a verb takes an option.
fn takes(verb: &str, option: &str) -> bool {
    match verb {
        "run" => SET_UP.contains(&option) || matches!(option, "socket" | "log"),
        "check" => SET_UP.contains(&option) || matches!(option, "socket" | "log" | "policy"),
        "clock-guard" => matches!(option, "exec" | "interval" | "socket" | "log"),
        "status" | "recent" | "explain" | "peers" | "clock" => matches!(option, "socket" | "json"),
        "metrics" => option == "socket",
        // What is no verb is a mistake of its own.
        _ => true,
    }
}

/// How the process asks for CPU time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// SCHED_IDLE, nice 19, idle I/O.
    Idle,
    /// nice 10.
    Low,
}

/// Everything `run` and `check` can be told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Files to share.
    pub content: PathBuf,
    /// Local API.
    pub socket: PathBuf,
    /// Only these interfaces; empty for every usable one.
    pub interfaces: Vec<String>,
    /// One loopback address instead of interfaces.
    pub address: Option<Ipv4Addr>,
    /// UDP and TCP.
    pub port: u16,
    /// Holds `no-p2p`.
    pub config_dir: PathBuf,
    /// What the image says about starting by itself; for `check`.
    pub start: Start,
    /// Whom to become when started as root.
    pub user: String,
    /// Confine the process.
    pub jail: bool,
    /// CPU time.
    pub priority: Priority,
    /// File with one or two keys.
    pub domain_key: Option<PathBuf>,
    /// Told to peers.
    pub os_version: Option<String>,
    /// Bytes per second for all uploads.
    pub max_upload: Option<u64>,
    /// Never hold a lease.
    pub never_fetch: bool,
    /// How much is said.
    pub log: log::LevelFilter,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            content: "/var/lib/p2p/content".into(),
            socket: "/run/p2p-agent/agent.sock".into(),
            interfaces: Vec::new(),
            address: None,
            port: PORT,
            config_dir: "/config".into(),
            start: Start::Auto,
            user: "p2p".into(),
            jail: true,
            priority: Priority::Idle,
            domain_key: None,
            os_version: None,
            max_upload: None,
            never_fetch: false,
            log: log::LevelFilter::Info,
        }
    }
}

/// What the person wants.
#[derive(Debug)]
pub enum Command {
    /// Serve until stopped.
    Run(Options),
    /// Would it start?
    Check(Options),
    /// May it start by itself?
    CheckPolicy(Options),
    /// What does the jail come to here?
    CheckJail(Options),
    /// Ask the running one.
    Ask {
        /// Its local API.
        socket: PathBuf,
        /// Path and query to ask for.
        target: String,
        /// JSON instead of text.
        json: bool,
    },
    /// Restart the NTP client of a wrong clock.
    GuardClock {
        /// Local API of the running agent.
        socket: PathBuf,
        /// For `sh -c`.
        command: String,
        /// Between two looks.
        interval: Duration,
        /// How much is said.
        log: log::LevelFilter,
    },
    /// Print the help.
    Help,
    /// Print the version.
    Version,
}

/// Reads the command line. The error is one sentence.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut options = Options::default();
    let (mut verb, mut md5, mut json, mut policy) = (None::<String>, None::<String>, false, false);
    let (mut command, mut interval, mut show_jail) = (None::<String>, CLOCK_GUARD_INTERVAL, false);
    let mut given: Vec<String> = Vec::new();
    while let Some(argument) = parser.next().map_err(sentence)? {
        if let Long(name) = argument {
            given.push(name.to_owned());
        }
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Short('V') | Long("version") => return Ok(Command::Version),
            Long("content") => options.content = path(&mut parser, "--content")?,
            Long("socket") => options.socket = path(&mut parser, "--socket")?,
            Long("interface") => options.interfaces.push(text(&mut parser, "--interface")?),
            Long("address") => options.address = Some(loopback(&text(&mut parser, "--address")?)?),
            Long("port") => options.port = port(&text(&mut parser, "--port")?)?,
            Long("config-dir") => options.config_dir = path(&mut parser, "--config-dir")?,
            Long("start") => {
                let names = [("auto", Start::Auto), ("always", Start::Always), ("never", Start::Never)];
                options.start = choice(&mut parser, "--start", &names)?;
            }
            Long("policy") => policy = true,
            Long("user") => options.user = text(&mut parser, "--user")?,
            Long("jail") => {
                // Alone it is a question to `check`.
                if verb.as_deref() == Some("check") && !has_value(&mut parser) {
                    show_jail = true;
                } else {
                    options.jail = choice(&mut parser, "--jail", &[("on", true), ("off", false)])?;
                }
            }
            Long("priority") => {
                let names = [("idle", Priority::Idle), ("low", Priority::Low)];
                options.priority = choice(&mut parser, "--priority", &names)?;
            }
            Long("domain-key") => options.domain_key = Some(path(&mut parser, "--domain-key")?),
            Long("os-version") => options.os_version = Some(text(&mut parser, "--os-version")?),
            Long("max-upload") => options.max_upload = Some(rate(&text(&mut parser, "--max-upload")?)?),
            Long("never-fetch") => options.never_fetch = true,
            Long("log") => {
                let text = text(&mut parser, "--log")?;
                options.log = text
                    .parse()
                    .map_err(|_| format!("--log takes off, error, warn, info or debug, not \"{text}\"."))?;
            }
            Long("json") => json = true,
            Long("exec") => command = Some(text(&mut parser, "--exec")?),
            Long("interval") => interval = seconds(&text(&mut parser, "--interval")?)?,
            Value(word) if verb.is_none() => verb = Some(word.to_string_lossy().into_owned()),
            Value(word) if verb.as_deref() == Some("explain") && md5.is_none() => {
                md5 = Some(word.to_string_lossy().into_owned());
            }
            other => return Err(sentence(other.unexpected())),
        }
    }
    if options.address.is_some() && !options.interfaces.is_empty() {
        return Err("--address and --interface exclude each other; give one of them.".into());
    }
    let verb = verb.as_deref();
    if let Some((verb, option)) = verb.and_then(|verb| Some((verb, given.iter().find(|option| !takes(verb, option))?)))
    {
        return Err(format!("--{option} is no option of {verb}. See p2p-agent --help."));
    }
    let ask = |target: String| Command::Ask { socket: options.socket.clone(), target, json };
    match verb {
        Some("run") => Ok(Command::Run(options)),
        Some("check") if policy && show_jail => Err("--policy and --jail are two questions; give one of them.".into()),
        Some("check") if policy => Ok(Command::CheckPolicy(options)),
        Some("check") if show_jail => Ok(Command::CheckJail(options)),
        Some("check") => Ok(Command::Check(options)),
        Some(verb @ ("status" | "recent" | "peers" | "clock")) => Ok(ask(format!("/v1/{verb}"))),
        Some("metrics") => Ok(ask("/metrics".into())),
        Some("explain") => match md5.and_then(|text| hex::parse_any_case(text.as_bytes())).map(ContentMd5) {
            Some(md5) => Ok(ask(format!("/v1/explain/{md5}"))),
            None => Err("explain takes the content's MD5 as 32 hexadecimal digits.".into()),
        },
        Some("clock-guard") => match command.filter(|command| !command.trim().is_empty()) {
            Some(command) => Ok(Command::GuardClock { socket: options.socket, command, interval, log: options.log }),
            None => Err("clock-guard takes --exec CMD, such as --exec '/etc/init.d/S49ntp restart'.".into()),
        },
        Some(other) => Err(format!("\"{other}\" is no command; the commands are {VERBS}. See p2p-agent --help.")),
        None => Err(format!("A command is missing: {VERBS}. See p2p-agent --help.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn a_fresh_device_needs_no_flags() {
        let Ok(Command::Run(options)) = parsed("run") else { panic!() };
        assert_eq!(options.port, 11_111);
        assert_eq!(options.config_dir, PathBuf::from("/config"));
        assert_eq!(options.user, "p2p");
    }

    #[test]
    fn every_mistake_is_one_sentence_that_names_the_flag() {
        for (line, word) in [
            ("run --address 192.168.0.5", "--address"),
            ("run --port 0", "--port"),
            ("run --port 70000", "--port"),
            ("run --log loud", "--log"),
            ("run --jail maybe", "--jail"),
            ("run --max-upload 3", "--max-upload"),
            ("status --content x", "--content"),
            ("run --json", "--json"),
            ("run --policy", "--policy"),
            ("check --exec true", "--exec"),
            ("run --address 127.0.0.2 --interface eth0", "--interface"),
            ("explain XYZ", "MD5"),
            ("clock-guard", "--exec"),
            ("clock-guard --exec true --interval 0", "--interval"),
            ("dance", "dance"),
            ("", "run"),
            ("run --content", "--content"),
            ("check --socket=", "--socket"),
            ("check --policy --jail", "--policy"),
            ("metrics --json", "--json"),
            ("clock-guard --exec=", "--exec"),
            ("run extra", "extra"),
        ] {
            let message = parsed(line).expect_err(line);
            assert!(message.contains(word), "{line}: {message}");
            assert!(message.ends_with('.') && !message.contains('\n'), "{line}: {message}");
        }
    }
}
