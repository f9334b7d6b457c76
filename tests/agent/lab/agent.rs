//! One device: its directories and the daemon, killed when the value goes.

use std::fs::{self, File};
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

use super::local::{self, Reply};
use super::{Content, SOON, wait_for};

/// The daemon under test; another build of it where the environment names one.
pub fn program() -> PathBuf {
    std::env::var_os("P2P_RELEASE_BIN").map_or_else(|| env!("CARGO_BIN_EXE_p2p-agent").into(), PathBuf::from)
}

/// A device.
pub struct Agent {
    /// Its one address.
    pub address: Ipv4Addr,
    /// UDP and TCP.
    pub port: u16,
    root: tempfile::TempDir,
    child: Option<Child>,
}

impl Agent {
    /// Empty directories, and no daemon yet.
    pub fn new(address: Ipv4Addr, port: u16) -> Self {
        let root = tempfile::tempdir().unwrap();
        // For the user that the daemon becomes.
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for directory in ["content", "config"] {
            fs::create_dir(root.path().join(directory)).unwrap();
        }
        Self { address, port, root, child: None }
    }

    /// `p2p-agent VERB` with this device's directories and address.
    pub fn command(&self, verb: &str) -> Command {
        let mut command = with_own_mounts(Command::new(program()));
        command.args(verb.split(' ')).stdin(Stdio::null());
        command.args(["--address", &self.address.to_string(), "--port", &self.port.to_string()]);
        command.arg("--content").arg(self.content_directory());
        command.arg("--config-dir").arg(self.path("config"));
        command.arg("--socket").arg(self.socket());
        // The idle class gets nothing while the machine compiles something.
        command.args(["--user", "nobody", "--priority", "low", "--log", "debug"]);
        command
    }

    /// Starts the daemon with more flags and waits until its local API answers.
    pub fn start(&mut self, flags: &[&str]) {
        let mut command = self.command("run");
        command.args(flags);
        self.spawn(command);
        self.wait_until_it_answers();
    }

    /// Waits until the local API of the daemon that was spawned answers.
    #[track_caller]
    pub fn wait_until_it_answers(&mut self) {
        wait_for("the agent answers on its socket", || {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the agent ended: {}", self.log());
            local::try_get(&self.socket(), "/v1/status", "").is_ok_and(|reply| reply.status == 200)
        });
    }

    /// Runs `command` as this device's daemon.
    pub fn spawn(&mut self, mut command: Command) {
        assert!(self.child.is_none(), "the agent runs already");
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    /// `p2p-agent run` that is expected to give up by itself.
    pub fn run_to_the_end(&self, flags: &[&str]) -> Output {
        let mut command = self.command("run");
        command.args(flags);
        finish(command)
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM; how it ended, and after how long.
    pub fn terminate(&mut self) -> (ExitStatus, Duration) {
        let started = Instant::now();
        kill(Pid::from_raw(i32::try_from(self.pid()).unwrap()), Signal::SIGTERM).unwrap();
        let mut child = self.child.take().unwrap();
        (wait(&mut child), started.elapsed())
    }

    /// How it ends by itself.
    #[track_caller]
    pub fn wait_for_end(&mut self) -> ExitStatus {
        wait(&mut self.child.take().unwrap())
    }

    /// The daemon's process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Everything it has said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Path of the local socket.
    pub fn socket(&self) -> PathBuf {
        self.path("agent.sock")
    }

    /// A path among this device's files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// What it shares.
    pub fn content_directory(&self) -> PathBuf {
        self.path("content")
    }

    /// Puts a complete content into the directory, as a sync client would, and waits until the daemon has seen it.
    #[track_caller]
    pub fn hold(&self, content: &Content) {
        self.hold_as(&content.md5, &content.bytes);
        self.wait_until_known(&content.md5, "complete");
    }

    /// Puts a file into the directory at once.
    pub fn hold_as(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path("incoming"), bytes).unwrap();
        fs::rename(self.path("incoming"), self.content_directory().join(name)).unwrap();
    }

    /// Waits until the daemon says this about a content.
    #[track_caller]
    pub fn wait_until_known(&self, md5: &str, state: &str) {
        let state = format!("\"state\":\"{state}\"");
        wait_for(&state, || self.get(&format!("/v1/explain/{md5}")).text().contains(&state));
    }

    /// Makes `<md5>.part` of the content's first bytes.
    pub fn begin_part(&self, content: &Content, bytes: usize) -> Part {
        let path = self.content_directory().join(format!("{}.part", content.md5));
        let mut part = Part { file: File::create(&path).unwrap(), path, written: 0 };
        part.grow_to(content, bytes);
        part
    }

    /// `touch no-p2p`, or its removal.
    pub fn switch_off(&self, off: bool) {
        let switch = self.path("config").join("no-p2p");
        if off { fs::write(switch, "").unwrap() } else { fs::remove_file(switch).unwrap() }
    }

    /// GET on the local API.
    #[track_caller]
    pub fn get(&self, target: &str) -> Reply {
        self.get_with(target, "")
    }

    /// GET with more header lines, each with its line end.
    #[track_caller]
    pub fn get_with(&self, target: &str, fields: &str) -> Reply {
        local::try_get(&self.socket(), target, fields).unwrap_or_else(|error| panic!("{target}: {error}"))
    }

    /// The content from byte `offset` on.
    #[track_caller]
    pub fn resume(&self, target: &str, offset: usize) -> Reply {
        self.get_with(target, &format!("Range: bytes={offset}-\r\n"))
    }

    /// `POST /v1/report` with this form.
    #[track_caller]
    pub fn report(&self, form: &str) -> Reply {
        local::post(&self.socket(), "/v1/report", form).unwrap()
    }

    /// One value of `/metrics`, by its name with labels.
    #[track_caller]
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.get("/metrics").text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }

    /// Value in kB of a line of `/proc/PID/status`.
    pub fn memory_kb(&self, line: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let value = status.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(':')).unwrap();
        value.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            println!("--- {} said:\n{}", self.address, self.log());
        }
    }
}

/// A growing file.
pub struct Part {
    file: File,
    path: PathBuf,
    written: usize,
}

impl Part {
    /// Appends up to byte `bytes` of the content.
    pub fn grow_to(&mut self, content: &Content, bytes: usize) {
        self.file.write_all(&content.bytes[self.written..bytes]).unwrap();
        self.written = bytes;
    }

    /// The content is complete and verified: it gets its own name.
    pub fn finish(self) {
        fs::rename(&self.path, self.path.with_extension("")).unwrap();
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether this is root. If not, the test says why it is skipped; where CI demands that it runs, that is a failure.
#[track_caller]
pub fn is_root_or_skips(why: &str) -> bool {
    let root = geteuid().is_root();
    assert!(root || std::env::var_os("P2P_REQUIRE_ROOT").is_none(), "it has to run here, and cannot: {why}");
    if !root {
        eprintln!("SKIPPED: {why}");
    }
    root
}

/// What a daemon started as root changes of the machine's mounts stays within a copy of them.
pub fn with_own_mounts(mut command: Command) -> Command {
    use std::os::unix::process::CommandExt as _;
    if geteuid().is_root() {
        // SAFETY: two system calls, nothing else, between fork and exec.
        unsafe {
            command.pre_exec(|| {
                unshare(CloneFlags::CLONE_NEWNS)?;
                let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
                mount(None::<&Path>, "/", None::<&Path>, private, None::<&Path>)?;
                Ok(())
            });
        }
    }
    command
}

/// Runs a command that is expected to end by itself.
#[track_caller]
pub fn finish(mut command: Command) -> Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    wait(&mut child);
    child.wait_with_output().unwrap()
}

#[track_caller]
fn wait(child: &mut Child) -> ExitStatus {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if started.elapsed() > SOON {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("it does not end by itself");
        }
        thread::sleep(Duration::from_millis(5));
    }
}
