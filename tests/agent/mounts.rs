//! The jail's root directory and the machine's: what is mounted, unmounted or exchanged out there while the daemon runs.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::{Child, Command, Stdio};

use crate::lab::agent::is_root_or_skips;
use crate::lab::{Content, Site, wait_for};

/// A mount namespace like that of a machine whose init shares nothing, and which stays when the daemon has left it.
struct Machine(Child);

impl Machine {
    fn new() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // It is there when it echoes.
        use std::io::{Read as _, Write as _};
        child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        Self(child)
    }

    fn command(&self, inner: &Command) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.0.id())).arg(inner.get_program()).args(inner.get_args());
        command
    }

    #[track_caller]
    fn sh(&self, script: &str) {
        let mut inner = Command::new("sh");
        inner.args(["-euc", script]);
        assert!(self.command(&inner).status().unwrap().success(), "{script}");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_is_mounted_later_appears_in_the_jail() {
    if !is_root_or_skips("mounting needs root") {
        return;
    }
    let site = Site::new();
    let mut device = site.device();
    let machine = Machine::new();
    device.spawn(machine.command(&device.command("run")));
    device.wait_until_it_answers();
    let content = Content::random(78, 1_000);
    device.hold(&content);
    let (place, config, md5) = (device.content_directory(), device.path("config"), &content.md5);
    let (place, config) = (place.display(), config.display());

    // A disk with another content over the directory, as at boot.
    let late = Content::random(79, 2_000);
    fs::write(device.path("late"), &late.bytes).unwrap();
    machine
        .sh(&format!("mount -t tmpfs tmpfs {place}; ! test -e {place}/{md5}; cp {place}/../late {place}/{}", late.md5));
    device.wait_until_known(&late.md5, "complete");
    device.get(&late.path()).assert_is(&late.bytes);
    // Lazily: the daemon has it open, in the jail as without one.
    machine.sh(&format!("umount -l {place}"));
    device.wait_until_known(md5, "complete");

    // The switch on a boot partition that comes last.
    assert_eq!(device.metric("p2p_enabled"), 1);
    machine.sh(&format!("mount -t tmpfs tmpfs {config}; touch {config}/no-p2p"));
    wait_for("P2P is off", || device.metric("p2p_enabled") == 0);
}

#[test]
fn what_was_in_the_jail_and_is_unmounted_makes_it_start_anew() {
    if !is_root_or_skips("mounting needs root") {
        return;
    }
    let site = Site::new();
    let mut device = site.device();
    let machine = Machine::new();
    let boot = tempfile::tempdir().unwrap();
    let place = boot.path().display();
    machine.sh(&format!("mount -t tmpfs tmpfs {place}; chmod 755 {place}"));
    let mut command = device.command("run");
    command.arg("--config-dir").arg(boot.path());
    device.spawn(machine.command(&command));
    device.wait_until_it_answers();
    machine.sh(&format!("umount {place}; mount -t tmpfs tmpfs {place}; touch {place}/no-p2p"));
    assert_eq!(device.wait_for_end().code(), Some(75));
}

#[test]
fn a_configuration_directory_that_is_exchanged_makes_it_start_anew() {
    if !is_root_or_skips("without a root directory of its own it sees the new one") {
        return;
    }
    let site = Site::new();
    let mut device = site.device();
    let elsewhere = tempfile::tempdir().unwrap();
    let config = elsewhere.path().join("config");
    fs::create_dir(&config).unwrap();
    fs::set_permissions(elsewhere.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let link = device.path("link");
    symlink(&config, &link).unwrap();
    device.start(&["--config-dir", link.to_str().unwrap()]);
    fs::remove_file(&link).unwrap();
    symlink(elsewhere.path(), &link).unwrap();
    assert_eq!(device.wait_for_end().code(), Some(75), "another link");

    device.start(&["--config-dir", config.to_str().unwrap()]);
    fs::rename(&config, elsewhere.path().join("old")).unwrap();
    fs::create_dir(&config).unwrap();
    fs::write(config.join("no-p2p"), "").unwrap();
    assert_eq!(device.wait_for_end().code(), Some(75));
    assert!(device.log().contains("restart it"), "{}", device.log());
}
