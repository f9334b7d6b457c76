//! One network namespace: the network stack of one device.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

/// Lives as long as somebody holds it or a process runs in it.
#[derive(Clone)]
pub struct Namespace {
    file: Arc<OwnedFd>,
    /// What programs in here read as the speed of `eth0`.
    speed: Arc<OnceLock<CString>>,
}

impl Namespace {
    /// An empty stack with a loopback interface; IPv4 only, so that nothing but what we send is on the wire.
    pub fn new() -> Self {
        let file = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let namespace = Self { file: Arc::new(file.join().unwrap().into()), speed: Arc::default() };
        namespace.sysctl("net/ipv6/conf/all/disable_ipv6", "1");
        namespace.sysctl("net/ipv6/conf/default/disable_ipv6", "1");
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs `work` on a thread that is in here; its sockets stay in here.
    pub fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&self.file, CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Makes `command` start in here, with a `/sys` that shows this namespace's interfaces and no others.
    pub fn confine(&self, command: &mut Command) {
        let (file, speed) = (Arc::clone(&self.file), Arc::clone(&self.speed));
        // SAFETY: between fork and exec only async-signal-safe system calls are made, on memory that exists already.
        unsafe {
            command.pre_exec(move || {
                setns(&file, CloneFlags::CLONE_NEWNET)?;
                unshare(CloneFlags::CLONE_NEWNS)?;
                mount_sysfs(speed.get().map(CString::as_c_str))
            });
        }
    }

    /// Programs that start in here from now on find the speed of `eth0` in `file`: a veth says 10 Gbit/s whatever its
    /// traffic control does, a real driver says what the cable does.
    pub fn tell_speed(&self, file: &Path, mbit: u32) {
        fs::write(file, format!("{mbit}\n")).unwrap();
        self.speed.get_or_init(|| CString::new(file.as_os_str().as_bytes()).unwrap());
    }

    /// `ip`, with its words separated by spaces.
    #[track_caller]
    pub fn ip(&self, words: &str) {
        self.tool("ip", words);
    }

    /// `tc`, with its words separated by spaces.
    #[track_caller]
    pub fn tc(&self, words: &str) {
        self.tool("tc", words);
    }

    /// Where `ip link … netns` finds this one.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// Sets a value below `/proc/sys`.
    pub fn sysctl(&self, key: &str, value: &str) {
        self.enter(|| fs::write(format!("/proc/sys/{key}"), value)).unwrap();
    }

    /// The same where the kernel has it and lets it be set.
    pub fn sysctl_if_any(&self, key: &str, value: &str) {
        // What is not there has no effect, either.
        let _ = self.enter(|| fs::write(format!("/proc/sys/{key}"), value));
    }

    /// A file of `/proc/net`, as seen in here.
    pub fn proc_net(&self, name: &str) -> String {
        self.enter(|| fs::read_to_string(format!("/proc/thread-self/net/{name}"))).unwrap()
    }

    /// Bytes that left through an interface so far, headers included.
    pub fn sent_bytes(&self, interface: &str) -> u64 {
        let table = self.proc_net("dev");
        let row = table.lines().find_map(|line| line.trim().strip_prefix(interface)?.strip_prefix(':'));
        row.unwrap().split_whitespace().nth(8).unwrap().parse().unwrap()
    }

    /// `bridge`, with its words separated by spaces.
    #[track_caller]
    pub fn bridge(&self, words: &str) {
        self.tool("bridge", words);
    }

    #[track_caller]
    fn tool(&self, tool: &str, words: &str) {
        self.run(tool, &words.split_whitespace().collect::<Vec<_>>());
    }

    /// Any command that configures something; what it printed.
    #[track_caller]
    pub fn run(&self, tool: &str, words: &[&str]) -> String {
        let output = self.enter(|| Command::new(tool).args(words).output().unwrap());
        assert!(output.status.success(), "{tool} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

fn mount_sysfs(speed: Option<&CStr>) -> std::io::Result<()> {
    let none: Option<&CStr> = None;
    mount(Some(c"sysfs"), c"/sys", Some(c"sysfs"), MsFlags::empty(), none)?;
    if speed.is_some() {
        mount(speed, c"/sys/class/net/eth0/speed", none, MsFlags::MS_BIND, none)?;
    }
    Ok(())
}
