//! A process that ends when nobody holds it any more.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, setsid};

use super::namespace::Namespace;

/// Killed on drop, and by the kernel when the scenario's process goes first.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` in `namespace`; what it says goes to the file `log`.
    pub fn start(mut command: Command, namespace: &Namespace, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        namespace.confine(&mut command);
        end_with_this_thread(&mut command);
        // Where the kernel groups processes by session, a program's niceness is now a matter of its device, and the other
        // work of this machine gets no more than its share.
        // SAFETY: one system call, between fork and exec.
        unsafe { command.pre_exec(|| Ok(setsid().map(drop)?)) };
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, log: log.to_owned() }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        nix::sys::signal::kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Memory that it occupies, shared libraries included.
    pub fn resident_bytes(&self) -> u64 {
        self.status_kilobytes("VmRSS:") * 1024
    }

    /// The most memory that it has occupied so far, shared libraries included.
    pub fn peak_bytes(&self) -> u64 {
        self.status_kilobytes("VmHWM:") * 1024
    }

    /// CPU time that it has used so far, in itself and in the kernel.
    pub fn cpu(&self) -> Duration {
        // Nanoseconds on a CPU; the times in `stat` are sampled.
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let nanos = threads.filter_map(|thread| {
            let said = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            said.split(' ').next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanos.sum())
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for a clean end.
    #[track_caller]
    pub fn succeed_within(&mut self, limit: Duration) {
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.ended() {
                break status;
            }
            assert!(started.elapsed() < limit, "still running after {limit:?}: {}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        };
        assert!(status.success(), "{status}: {}", self.said());
    }

    /// All it has said so far.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap()).into_owned()
    }
}

impl Process {
    fn status_kilobytes(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let row = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        row.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

/// The kernel kills what `command` becomes when the thread that starts it is gone, for whatever reason.
pub fn end_with_this_thread(command: &mut Command) {
    // SAFETY: one system call, between fork and exec.
    unsafe { command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?)) };
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
