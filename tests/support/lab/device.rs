//! One device: a network stack, a content directory, the daemon, and a sync client now and then.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs};

use super::api::{self, Response};
use super::namespace::Namespace;
use super::origin::Content;
use super::process::Process;
use super::{site, wait_for};

/// `0x2B67` = 11111, as the kernel's socket tables write it.
const PORT_IN_TABLES: &str = ":2B67 ";

/// Path of a daemon built as it is shipped, to run instead of the one that was built for this test.
const SHIPPED: &str = "P2P_AGENT";
/// The same for the client.
const SHIPPED_CLIENT: &str = "P2P_FETCH";

/// Whether figures of the daemon are those of the build that is shipped.
pub fn is_shipped_build() -> bool {
    env::var_os(SHIPPED).is_some()
}

/// Files are below one directory; the daemon runs until the device is dropped or the daemon killed.
pub struct Device {
    /// Its network stack.
    pub namespace: Namespace,
    /// Its port at the switch.
    pub port: String,
    /// On its first interface.
    pub address: Ipv4Addr,
    /// What its daemon is told besides, when it starts.
    pub options: Vec<&'static str>,
    root: PathBuf,
    agent: Option<Process>,
}

impl Device {
    /// With empty directories, not running.
    pub fn new(namespace: Namespace, port: String, address: Ipv4Addr, root: &Path) -> Self {
        for directory in ["content", "config"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        Self { namespace, port, address, options: Vec::new(), root: root.to_owned(), agent: None }
    }

    /// Starts the daemon and waits until its local API answers.
    pub fn start(&mut self) {
        self.switch_on();
        let agent = self.agent.as_mut().unwrap();
        wait_for("the daemon answers on its local socket", Duration::from_secs(10), || {
            assert!(agent.ended().is_none(), "the daemon ended: {}", agent.said());
            api::get(&self.root.join("agent.sock"), "/v1/status").is_ok_and(|answer| answer.status == 200)
        });
    }

    /// Starts the daemon and does not wait.
    pub fn switch_on(&mut self) {
        let agent = env::var_os(SHIPPED).unwrap_or_else(|| env!("CARGO_BIN_EXE_p2p-agent").into());
        // An ordinary user without capabilities, even in here.
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-user=1000", "--map-group=1000", "--"]).arg(agent);
        command.args(["run", "--log", "debug", "--os-version", "netns"]);
        // Two cores play the whole site: the idle class would get nothing while they are busy.
        command.args(["--priority", "low"]);
        command.args(&self.options).arg("--content").arg(self.content_directory());
        command.arg("--config-dir").arg(self.root.join("config"));
        command.arg("--socket").arg(self.socket());
        self.agent = Some(Process::start(command, &self.namespace, &self.root.join("agent.log")));
    }

    /// The daemon, if it was started and not killed.
    pub const fn agent(&self) -> Option<&Process> {
        self.agent.as_ref()
    }

    /// What programs that start from now on can find out about the speed of the first interface.
    pub fn tell_speed(&self, mbit: u32) {
        self.namespace.tell_speed(&self.root.join("speed"), mbit);
    }

    /// Memory that the daemon occupies.
    pub fn agent_bytes(&self) -> u64 {
        self.agent.as_ref().unwrap().resident_bytes()
    }

    /// `kill -9` of the daemon.
    pub fn kill_agent(&mut self) {
        self.agent.take().unwrap().kill();
    }

    /// The reference sync client for this device.
    fn client(&self) -> Command {
        let mut command =
            Command::new(env::var_os(SHIPPED_CLIENT).unwrap_or_else(|| env!("CARGO_BIN_EXE_p2p-fetch").into()));
        command.arg("--socket").arg(self.socket()).arg("--content").arg(self.content_directory());
        command
    }

    /// The client, asked for `content`.
    pub fn fetch(&self, content: &Content, url: &str) -> Process {
        let mut command = self.client();
        command.args([&content.md5, url]);
        self.run(command)
    }

    /// The same for several contents; each is summed up in a line of JSON.
    pub fn fetch_list(&self, list: &[(Arc<Content>, String)]) -> Process {
        let file = self.root.join("list");
        let lines: String = list.iter().map(|(content, url)| format!("{} {url}\n", content.md5)).collect();
        fs::write(&file, lines).unwrap();
        let mut command = self.client();
        command.args(["--quiet", "--json", "--list"]).arg(file);
        for proxy in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env_remove(proxy);
        }
        self.run(command)
    }

    /// `curl`, for what it is like without an agent and without a sync client.
    pub fn curl(&self, url: &str, output: &Path) -> Process {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--output"]).arg(output).arg(url);
        self.run(command)
    }

    /// Some program of this device, in the place of the client.
    pub fn run(&self, command: Command) -> Process {
        Process::start(command, &self.namespace, &self.path("fetch.log"))
    }

    /// A file of its own, beside the content directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// What a program of this device has said: `agent` or `fetch`.
    pub fn said(&self, program: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.root.join(format!("{program}.log"))).unwrap_or_default()).into_owned()
    }

    /// Whether the content is here, whole and right.
    pub fn holds(&self, content: &Content) -> bool {
        fs::read(self.content_directory().join(&content.md5)).is_ok_and(|bytes| bytes == content.bytes)
    }

    /// Puts a complete content into the directory, as a sync client would; where the daemon runs, waits until it has noticed.
    pub fn hold(&self, content: &Content) {
        let temporary = self.root.join("incoming");
        fs::write(&temporary, &content.bytes).unwrap();
        fs::rename(temporary, self.content_directory().join(&content.md5)).unwrap();
        let target = format!("/v1/explain/{}", content.md5);
        if self.agent.is_some() {
            wait_for("the daemon has found the content", Duration::from_secs(5), || {
                self.get(&target).text().contains("\"state\":\"complete\"")
            });
        }
    }

    /// Leaves the first `bytes` of a content there, as a power cut in the middle does.
    pub fn leave(&self, content: &Content, bytes: usize) {
        if bytes > 0 {
            fs::write(self.part(content), &content.bytes[..bytes]).unwrap();
        }
    }

    /// Asserts that the content is here, whole and right, and nothing of it is left over.
    #[track_caller]
    pub fn assert_holds(&self, content: &Content) {
        let path = self.content_directory().join(&content.md5);
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(bytes == content.bytes, "{} has {} bytes, not the right ones", path.display(), bytes.len());
        assert!(!self.part(content).exists(), "a .part is left over");
    }

    /// Bytes of the content that arrived so far.
    pub fn progress(&self, content: &Content) -> u64 {
        fs::metadata(self.part(content)).map_or(0, |data| data.len())
    }

    /// The growing file of a content.
    pub fn part(&self, content: &Content) -> PathBuf {
        self.content_directory().join(format!("{}.part", content.md5))
    }

    /// The operator's switch: present = off.
    pub fn switch_off(&self, off: bool) {
        let switch = self.root.join("config/no-p2p");
        if off { fs::write(switch, "").unwrap() } else { fs::remove_file(switch).unwrap() }
    }

    /// GET on the local API.
    pub fn get(&self, target: &str) -> Response {
        api::get(&self.socket(), target).unwrap_or_else(|error| panic!("{target}: {error}"))
    }

    /// Whether the daemon says that it knows a peer at `address`.
    pub fn knows(&self, address: Ipv4Addr) -> bool {
        self.get("/v1/peers").text().contains(&format!("\"{address}\""))
    }

    /// Waits until it does.
    #[track_caller]
    pub fn wait_for_peer(&self, address: Ipv4Addr) {
        let what = format!("{} knows {address}", self.address);
        wait_for(&what, Duration::from_secs(12), || self.knows(address));
    }

    /// Whether a UDP, and whether a TCP socket is bound to port 11111 in this device's stack.
    pub fn open_ports(&self) -> (bool, bool) {
        let bound = |table: &str| {
            let sockets = self.namespace.proc_net(table);
            sockets
                .lines()
                .any(|line| line.split_whitespace().nth(1).is_some_and(|l| format!("{l} ").ends_with(PORT_IN_TABLES)))
        };
        (bound("udp"), bound("tcp"))
    }

    /// A value of the daemon's metrics, by its name and labels.
    pub fn metric(&self, name: &str) -> u64 {
        let metrics = self.get("/metrics").text();
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no metric {name} in:\n{metrics}")).parse().unwrap()
    }

    /// Limits what this device sends.
    pub fn shape(&self, mbit: u32) {
        site::shape(&self.namespace, "eth0", mbit);
    }

    /// Bytes that this device has sent, headers included.
    pub fn sent_bytes(&self) -> u64 {
        self.namespace.sent_bytes("eth0")
    }

    /// Path of the local socket.
    pub fn socket(&self) -> PathBuf {
        self.root.join("agent.sock")
    }

    /// Where complete files are.
    pub fn content_directory(&self) -> PathBuf {
        self.root.join("content")
    }
}
