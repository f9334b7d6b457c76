//! The README and the pages about API and operations do what they say: their curl lines run against real agents, and their tables hold
//! what the code holds.

#[path = "support/origin.rs"]
mod origin;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use md5::{Digest, Md5};
use p2p_agent::content::State;
use p2p_agent::limits as l;
use p2p_agent::random::Random;
use p2p_agent::want::Reason;

use origin::{Fault, Origin};

const README: &str = include_str!("../README.md");
const API: &str = include_str!("../docs/api.md");
const OPERATIONS: &str = include_str!("../docs/operations.md");

#[test]
fn every_curl_line_prints_what_the_readme_says() {
    let site = tempfile::tempdir().unwrap();
    let content = bytes(*b"README.md's file");
    let md5 = md5(&content);
    let port = free_port();
    let holder = Agent::start(site.path(), "holder", 1, port, Some((&md5, &content)));
    let player = Agent::start(site.path(), "player", 2, port, None);
    player.await_a_peer();

    let blocks = [marked_blocks(README), marked_blocks(API)];
    assert!(blocks[0].len() >= 2 && blocks[1].len() >= 7, "the pages have their curl blocks");
    for (commands, expected) in blocks.into_iter().flatten() {
        let script = format!("SOCKET='{}'\nMD5={md5}\n{commands}", player.socket.display());
        // On a machine that is busy with other tests an answer may come later than an agent waits.
        let mut outcome = run(&script, site.path());
        for _ in 0..2 {
            if outcome.as_ref().is_ok_and(|printed| matches(&expected, printed)) {
                break;
            }
            thread::sleep(Duration::from_secs(1));
            outcome = run(&script, site.path());
        }
        let printed = outcome.unwrap_or_else(|complaint| panic!("{commands}\n{complaint}"));
        assert!(matches(&expected, &printed), "{commands}\nprinted\n{printed}\nand the page says\n{expected}");
    }
    drop(holder);
}

#[test]
fn the_sync_client_in_shell_gets_files_from_peers_and_from_the_internet() {
    let site = tempfile::tempdir().unwrap();
    let (held, new) = (bytes(*b"what others have"), bytes(*b"and what nobody "));
    let port = free_port();
    let one = Agent::start(site.path(), "one", 4, port, Some((&md5(&held), &held)));
    let two = Agent::start(site.path(), "two", 5, port, None);
    two.await_a_peer();
    let nowhere = "http://127.0.0.1:9/";
    let origin = Origin::start(new.clone(), None);

    sync(&two.content(), &two.socket, &held, nowhere, 0);
    // What comes first is wrong, so all of it is dropped and fetched again.
    origin.fail_once(Fault::WrongBytes);
    sync(&two.content(), &two.socket, &new, &origin.url(), 0);
    assert_eq!(origin.sent(), 2 * new.len() as u64);
    assert_eq!(two.figure("p2p_bytes_total{from=\"internet\"}"), origin.sent(), "as it reports");
    assert_eq!(two.figure("p2p_corrupt_total{what=\"content\"}"), 1, "it says what failed");
    sync(&one.content(), &one.socket, &new, nowhere, 0);

    // A third one continues with what an interrupted run left.
    let three = Agent::start(site.path(), "three", 6, port, None);
    fs::write(three.content().join(md5(&held) + ".part"), &held[..100_000]).unwrap();
    three.await_a_peer();
    sync(&three.content(), &three.socket, &held, nowhere, 0);
    assert_eq!(three.figure("p2p_bytes_total{from=\"peers\"}"), 200_000);
    assert_eq!(three.figure("p2p_bytes_total{from=\"internet\"}"), 0);

    // Without an agent it downloads, goes on where it was cut, and says what went wrong.
    let (alone, nobody) = (site.path().join("alone"), site.path().join("nobody"));
    fs::create_dir(&alone).unwrap();
    sync(&alone, &nobody, &new, nowhere, 69);
    origin.fail_once(Fault::CutAfter(100_000));
    sync(&alone, &nobody, &new, &origin.url(), 0);
    origin.fail_always(Fault::WrongBytes);
    sync(&alone, &nobody, &held, &origin.url(), 65);
}

#[test]
fn the_metrics_are_those_of_the_manual() {
    let site = tempfile::tempdir().unwrap();
    let agent = Agent::start(site.path(), "device", 3, free_port(), None);
    let said = agent.answer("/metrics").replace(env!("CARGO_PKG_VERSION"), "…");
    let samples = said.lines().filter(|line| !line.starts_with('#'));
    let samples: BTreeSet<String> = samples.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect();

    let mut documented = BTreeSet::new();
    for row in rows(OPERATIONS, "## Metrics") {
        let (name, labels) = (row[0].replace('`', ""), row[1].replace('`', ""));
        if labels.is_empty() {
            documented.insert(name);
        } else {
            documented.extend(labels.split_whitespace().map(|label| format!("{name}{{{label}}}")));
        }
    }
    assert_eq!(samples, documented);
}

#[test]
fn the_keys_of_every_answer_are_those_of_the_api_page() {
    let site = tempfile::tempdir().unwrap();
    let content = bytes(*b"keys of answers.");
    let port = free_port();
    let holder = Agent::start(site.path(), "holder", 7, port, Some((&md5(&content), &content)));
    let player = Agent::start(site.path(), "player", 8, port, None);
    player.await_a_peer();
    sync(&player.content(), &player.socket, &content, "http://127.0.0.1:9/", 0);
    let explain = format!("/v1/explain/{}", md5(&content));
    for (path, heading) in [
        ("/v1/status", "### /v1/status"),
        ("/v1/peers", "### /v1/peers"),
        ("/v1/clock", "### /v1/clock"),
        (explain.as_str(), "### /v1/explain/MD5"),
        ("/v1/recent", "### /v1/recent"),
    ] {
        assert_eq!(keys(&player.answer(path)), documented_keys(heading), "{path}");
    }
    let states: BTreeSet<String> = API.split("| state |").skip(1).flat_map(first_cells).collect();
    let every = [State::Idle, State::Wanting, State::Claiming, State::Fetching, State::Partial, State::Complete];
    assert_eq!(states, BTreeSet::from(every.map(|state| state.as_str().to_owned())));
    drop(holder);
}

#[cfg(feature = "fetch")]
#[test]
fn the_keys_of_a_summary_are_those_of_the_api_page() {
    let content = bytes(*b"p2p-fetch --json");
    let site = tempfile::tempdir().unwrap();
    let origin = Origin::start(content.clone(), None);
    let output = Command::new(env!("CARGO_BIN_EXE_p2p-fetch"))
        .args(["--json", "--quiet", "--socket", "nobody", "--content", "."])
        .args([md5(&content), origin.url()])
        .env("NO_PROXY", "127.0.0.1")
        .current_dir(&site)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(keys(&String::from_utf8(output.stdout).unwrap()), documented_keys("## p2p-fetch"));
}

#[test]
fn the_variables_of_the_curl_lines_are_set_on_their_pages() {
    for (page, name) in [(README, "SOCKET"), (README, "MD5"), (API, "SOCKET"), (API, "MD5")] {
        assert!(page.lines().any(|line| line.starts_with(&format!("{name}="))), "{name}");
    }
}

#[test]
fn the_table_of_limits_is_that_of_the_code() {
    let kib = |bytes: u64| format!("{} KiB", bytes >> 10);
    let ms = |span: Duration| match span.as_millis() {
        ms if ms % 1_000 == 0 => format!("{} s", ms / 1_000),
        ms => format!("{ms} ms"),
    };
    let limits = [
        ("PORT", l::PORT.to_string()),
        ("SLOTS", l::SLOTS.to_string()),
        ("SLOTS_PER_ADDRESS", l::SLOTS_PER_ADDRESS.to_string()),
        ("RELAYS", l::RELAYS.to_string()),
        ("LOCAL_CONNECTIONS", l::LOCAL_CONNECTIONS.to_string()),
        ("QUERY_CONNECTIONS", l::QUERY_CONNECTIONS.to_string()),
        ("CONNECTIONS_PER_ADDRESS", l::CONNECTIONS_PER_ADDRESS.to_string()),
        ("PEERS", l::PEERS.to_string()),
        ("INTERFACES", l::INTERFACES.to_string()),
        ("CONTENTS", l::CONTENTS.to_string()),
        ("WANTS", l::WANTS.to_string()),
        ("DOMAIN_KEYS", l::DOMAIN_KEYS.to_string()),
        ("CONTENT_BYTES", format!("{} TiB", l::CONTENT_BYTES >> 40)),
        ("RECORD_BYTES", kib(l::RECORD_BYTES as u64)),
        ("HEAD_BYTES", kib(l::HEAD_BYTES as u64)),
        ("PROBE_INTERVAL", ms(l::PROBE_INTERVAL)),
        ("QUERY_TIMEOUT", ms(l::QUERY_TIMEOUT)),
        ("SOURCE_STALL", ms(l::SOURCE_STALL)),
        ("READER_STALL", ms(l::READER_STALL)),
        ("LEASE_STALL", ms(l::LEASE_STALL)),
        ("WAIT_WITHOUT_BYTES", ms(l::WAIT_WITHOUT_BYTES)),
        ("SWITCH_CHECK", ms(l::SWITCH_CHECK)),
        ("LOG_BYTES_PER_SECOND", kib(u64::from(l::LOG_BYTES_PER_SECOND))),
    ];
    let table: Vec<(String, String)> =
        rows(OPERATIONS, "## Limits").map(|row| (row[0].replace('`', ""), row[1].clone())).collect();
    let code: Vec<(String, String)> = limits.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    assert_eq!(table, code);
}

#[test]
fn the_table_of_reasons_is_that_of_the_code() {
    let table: Vec<String> = rows(README, "## When it does not share").map(|row| row[0].replace('`', "")).collect();
    assert_eq!(table, Reason::ALL.map(Reason::as_str));
}

/// Runs `examples/sync.sh` in the place of a sync client; `code` is how it should end.
fn sync(directory: &Path, socket: &Path, content: &[u8], url: &str, code: i32) {
    let name = md5(content);
    let output = Command::new("sh")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sync.sh"))
        .args([&name, url])
        .envs([("P2P_CONTENT", directory), ("P2P_SOCKET", socket)])
        .env("no_proxy", "127.0.0.1")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(code), "{url}: {}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read(directory.join(&name)).ok().as_deref(), (code == 0).then_some(content), "{url}");
    assert!(!directory.join(name + ".part").exists(), "nothing is left over: {url}");
}

/// A file of 300,000 bytes, another one for each seed.
fn bytes(seed: [u8; 16]) -> Vec<u8> {
    let mut content = vec![0; 300_000];
    Random::from_seed(seed).fill(&mut content);
    content
}

fn md5(content: &[u8]) -> String {
    Md5::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Keys of an object, or of the first object of an array.
fn keys(json: &str) -> BTreeSet<String> {
    let value: serde_json::Value = serde_json::from_str(json).unwrap();
    let object = value.as_array().map_or(&value, |list| &list[0]).as_object().unwrap();
    object.keys().cloned().collect()
}

fn documented_keys(heading: &str) -> BTreeSet<String> {
    rows(API, heading).map(|row| row[0].replace('`', "")).collect()
}

/// First cells of the rows of a table whose head ends here.
fn first_cells(table: &str) -> impl Iterator<Item = String> + '_ {
    let rows = table.lines().skip(2).take_while(|line| line.starts_with("| `"));
    rows.filter_map(|line| Some(line.split('`').nth(1)?.to_owned()))
}

/// What the script prints, or what went wrong.
fn run(script: &str, directory: &Path) -> Result<String, String> {
    let output = Command::new("sh").args(["-ec", script]).current_dir(directory).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap().replace('\r', "");
    if output.status.success() {
        return Ok(printed);
    }
    Err(format!("{printed}\n{}", String::from_utf8_lossy(&output.stderr)))
}

/// Cells of the rows of the first table below `heading`, without its head.
fn rows<'a>(page: &'a str, heading: &'a str) -> impl Iterator<Item = Vec<String>> + 'a {
    let below = page.lines().skip_while(move |line| *line != heading);
    let table = below.skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    table.skip(2).map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
}

/// Every fenced block of a page behind `<!-- curl -->`, with the one behind the `<!-- prints -->` that follows.
fn marked_blocks(page: &str) -> Vec<(String, String)> {
    let fenced = |text: &str| {
        let inside = text.trim_start().lines().skip(1).take_while(|line| !line.starts_with("```"));
        inside.map(|line| format!("{line}\n")).collect::<String>()
    };
    let sections = page.split("<!-- curl -->").skip(1);
    sections
        .map(|section| {
            let (commands, prints) =
                section.split_once("<!-- prints -->").expect("every curl block says what it prints");
            (fenced(commands), fenced(prints))
        })
        .collect()
}

/// Whether `text` is `pattern`, where `…` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.trim_end().split('…');
    let Some(mut rest) = text.trim_end().strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, between)) = parts.split_last() else { return rest.is_empty() };
    for part in between {
        let Some(at) = rest.find(part) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
}

/// A running agent; it ends with the value.
struct Agent {
    process: Child,
    home: PathBuf,
    socket: PathBuf,
}

impl Agent {
    fn start(site: &Path, name: &str, last: u8, port: u16, content: Option<(&str, &[u8])>) -> Self {
        let home = site.join(name);
        fs::create_dir_all(home.join("content")).unwrap();
        if let Some((md5, bytes)) = content {
            fs::write(home.join("content").join(md5), bytes).unwrap();
        }
        let socket = home.join("agent.sock");
        let process = Command::new(env!("CARGO_BIN_EXE_p2p-agent"))
            .args(["run", "--log", "warn", "--priority", "low", "--user", &own_user()])
            .args(["--address", &format!("127.111.111.{last}"), "--port", &port.to_string()])
            .arg("--content")
            .arg(home.join("content"))
            .arg("--config-dir")
            .arg(&home)
            .arg("--socket")
            .arg(&socket)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut agent = Self { process, home, socket };
        let socket = agent.socket.clone();
        agent.within(Duration::from_secs(10), || UnixStream::connect(&socket).is_ok());
        agent
    }

    fn await_a_peer(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.status().contains("\"peers\":0,") {
            assert!(Instant::now() < deadline, "no peer: {}", self.status());
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn content(&self) -> PathBuf {
        self.home.join("content")
    }

    /// A sample of its metrics.
    fn figure(&self, sample: &str) -> u64 {
        let metrics = self.answer("/metrics");
        let value = metrics.lines().find_map(|line| line.strip_prefix(sample)).expect(sample);
        value.trim().parse().unwrap()
    }

    /// What its local API says.
    fn answer(&self, path: &str) -> String {
        let output = Command::new("curl")
            .args(["-sS", "--fail", "--unix-socket"])
            .arg(&self.socket)
            .arg(format!("http://p2p{path}"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn status(&self) -> String {
        let program = env!("CARGO_BIN_EXE_p2p-agent");
        let output = Command::new(program).args(["status", "--json", "--socket"]).arg(&self.socket).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    fn within(&mut self, span: Duration, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + span;
        while !is_so() {
            assert_eq!(self.process.try_wait().unwrap(), None, "the agent ended");
            assert!(Instant::now() < deadline, "the agent does not listen");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself; the test has then failed already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Under root the agent becomes another user, who could not read this test's files.
fn own_user() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten();
    user.map_or_else(|| "p2p".to_owned(), |user| user.name)
}

/// Free for UDP and TCP at this moment, on every address.
fn free_port() -> u16 {
    (0..100)
        .find_map(|_| {
            let tcp = std::net::TcpListener::bind("0.0.0.0:0").ok()?;
            let port = tcp.local_addr().ok()?.port();
            std::net::UdpSocket::bind(("0.0.0.0", port)).ok().map(|_| port)
        })
        .expect("there is a free port")
}
