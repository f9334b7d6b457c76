//! What the running daemon has given up, as the kernel tells it of every thread. By default: no flag asks for it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use nix::unistd::geteuid;

use crate::lab::agent::program;
use crate::lab::{Agent, local, wait_for};

fn field<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name} in {text}")).trim()
}

#[test]
fn every_thread_is_without_capabilities_groups_and_new_privileges_and_has_its_limits() {
    let device = Agent::new([127, 0, 92, 2].into(), 21_920);
    fs::set_permissions(device.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(program());
    command.args(["run", "--address", "127.0.92.2", "--port", "21920", "--user", "nobody", "--priority", "low"]);
    command.arg("--content").arg(device.content_directory()).arg("--config-dir").arg(device.path("config"));
    command.arg("--socket").arg(device.socket()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    wait_for("the agent answers on its socket", || {
        assert!(child.try_wait().unwrap().is_none(), "the agent ended");
        local::try_get(&device.socket(), "/v1/status", "").is_ok_and(|reply| reply.status == 200)
    });
    let proc = format!("/proc/{}", child.id());
    let threads: Vec<_> = fs::read_dir(format!("{proc}/task")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let statuses: Vec<_> = threads.iter().map(|thread| fs::read_to_string(thread.join("status")).unwrap()).collect();
    let limits = fs::read_to_string(format!("{proc}/limits")).unwrap();
    let score = fs::read_to_string(format!("{proc}/oom_score_adj")).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();

    assert_eq!(statuses.len(), 2, "its own thread and the event loop's helper");
    for status in &statuses {
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            assert_eq!(field(status, set), "0000000000000000", "{set} {status}");
        }
        assert_eq!(field(status, "NoNewPrivs:"), "1");
        if geteuid().is_root() {
            assert_eq!(field(status, "CapBnd:"), "0000000000000000");
            assert_eq!(field(status, "Groups:"), "");
            for ids in ["Uid:", "Gid:"] {
                assert!(field(status, ids).split_whitespace().all(|id| id == "65534"), "{status}");
            }
        }
    }
    for (name, most) in [
        ("Max file size", "0"),
        ("Max core file size", "0"),
        ("Max locked memory", "0"),
        ("Max processes", "0"),
        ("Max open files", "1024"),
    ] {
        let both: Vec<_> = field(&limits, name).split_whitespace().take(2).collect();
        assert_eq!(both, [most, most], "{name}");
    }
    assert_eq!(score.trim(), "1000");
}
