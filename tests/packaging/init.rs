//! The init script of the images, driven by what drives it there: BusyBox's shell and start-stop-daemon in a root directory with
//! nothing else, and dash with Debian's. Each scenario is a small machine of its own: namespaces, a fresh root, a syslogd.
//!
//! Needs root and busybox-static; without them it skips itself, or fails with `P2P_REQUIRE_PACKAGING=1` (`.ci/packaging`).

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The two worlds: what makes the tools of a root directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum World {
    BusyBox,
    Debian,
}

/// What a scenario printed, and what its syslog holds.
struct Told {
    world: World,
    text: String,
    log: String,
}

/// Runs inside, after the scenario: what the log is told before this is in it then.
const POSTLUDE: &str = "
busybox logger -t scenario over; until_true grep -q 'scenario: over' /var/messages
exit 0
";

/// Runs inside, before the scenario: `does COMMAND` prints what COMMAND says and how it ends.
const PRELUDE: &str = r#"
PATH=/usr/sbin:/usr/bin:/sbin:/bin
INIT=/etc/init.d/S60p2p-agent
does() { "$@"; echo "= $?"; }
init() { does "$INIT" "$1"; }
daemon() { cat /var/run/p2p-agent.daemon.pid; }
options() { echo "P2P_AGENT_ARGS=\"$*\"" >/etc/default/p2p-agent; }
until_true() { for _ in $(busybox seq 300); do "$@" >/dev/null 2>&1 && return; busybox sleep 0.1; done; echo "never: $*"; }
busybox syslogd -n -O /var/messages & until_true test -S /dev/log
options --start always --priority low
"#;

fn scenario(script: &str) -> Vec<Told> {
    [World::BusyBox, World::Debian].into_iter().filter_map(|world| in_world(world, script)).collect()
}

fn in_world(world: World, script: &str) -> Option<Told> {
    let missing = !nix::unistd::geteuid().is_root() || busybox().is_none();
    if missing {
        assert!(std::env::var_os("P2P_REQUIRE_PACKAGING").is_none(), "these tests need root and busybox-static");
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    make_root(world, root);
    fs::write(root.join("scenario"), format!("{PRELUDE}{script}{POSTLUDE}")).unwrap();
    // PID 1 of that machine waits for everybody, as an init does; when it ends, all end. Its root directory is a mount, as in a
    // machine, and not only a directory: the jail moves away from it.
    let enter = format!(
        "set -e; mount --make-rprivate /; mount --bind {0} {0}; cd {0}; mount -t proc proc proc; mount -t tmpfs run run; mount -t tmpfs dev dev
        mkdir run/shm; for d in {1}; do mkdir -p $d; mount --bind /$d $d; done; mount --rbind /sys sys
        : >dev/null; mount --bind /dev/null dev/null; : >dev/urandom; mount --bind /dev/urandom dev/urandom
        ip link set lo up 2>/dev/null || true
        mkdir tmp/old; pivot_root . tmp/old; PATH=/bin; busybox umount -l /tmp/old; busybox rmdir /tmp/old
        exec /bin/sh -c 'sh /scenario & wait $!' 2>&1",
        root.display(),
        match world {
            World::BusyBox => "lib lib64",
            World::Debian => "lib lib64 usr/lib usr/sbin usr/share",
        }
    );
    let output = Command::new("unshare")
        .args(["--mount", "--pid", "--net", "--fork", "--kill-child", "sh", "-c", &enter])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let log = fs::read_to_string(root.join("var/messages")).unwrap_or_default();
    assert!(output.status.success(), "{world:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    Some(Told { world, text, log })
}

fn busybox() -> Option<PathBuf> {
    ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from).into_iter().find(|path| path.exists())
}

fn make_root(world: World, root: &Path) {
    for directory in [
        "bin",
        "sbin",
        "usr/bin",
        "usr/sbin",
        "etc/init.d",
        "etc/default",
        "proc",
        "sys",
        "dev",
        "run",
        "var/lib/p2p/content",
        "tmp",
        "config",
    ] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    symlink("../run", root.join("var/run")).unwrap();
    fs::copy(busybox().unwrap(), root.join("bin/busybox")).unwrap();
    match world {
        World::BusyBox => {
            for tool in
                "sh cat chmod echo grep head kill killall logger mkdir mkfifo mount ps rm sleep start-stop-daemon touch tr".split(' ')
            {
                symlink("busybox", root.join("bin").join(tool)).unwrap();
            }
        }
        World::Debian => {
            for (name, from) in [("sh", "/bin/dash")].into_iter().chain(
                "cat chmod grep head kill logger mkdir mkfifo mount rm sleep touch tr"
                    .split(' ')
                    .map(|tool| (tool, tool)),
            ) {
                let found = ["/bin", "/usr/bin"]
                    .map(|place| Path::new(place).join(from))
                    .into_iter()
                    .find(|path| path.exists());
                fs::copy(found.unwrap_or_else(|| panic!("{from}")), root.join("bin").join(name)).unwrap();
            }
        }
    }
    let program = root.join("usr/bin/p2p-agent");
    fs::copy(env!("CARGO_BIN_EXE_p2p-agent"), &program).unwrap();
    let script = root.join("etc/init.d/S60p2p-agent");
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/debian/p2p-agent.init"), &script).unwrap();
    fs::set_permissions(script, Permissions::from_mode(0o755)).unwrap();
    fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\np2p:x:777:777::/:/bin/false\n").unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\np2p:x:777:\n").unwrap();
    // So that every directory on the way can be passed by that user.
    for ancestor in ["", "var", "var/lib", "var/lib/p2p", "config"] {
        fs::set_permissions(root.join(ancestor), Permissions::from_mode(0o755)).unwrap();
    }
}

/// Everything that a scenario printed, line by line; `*` at the end of a line stands for anything.
#[track_caller]
fn prints(script: &str, lines: &[&str]) -> Vec<Told> {
    let told = scenario(script);
    for told in &told {
        let Told { world, text, log } = told;
        assert_eq!(text.lines().count(), lines.len(), "{world:?} said\n{text}\nand logged\n{log}");
        for (line, expected) in text.lines().zip(lines) {
            let fits = match expected.strip_suffix('*') {
                Some(start) => line.starts_with(start),
                None => line == *expected,
            };
            assert!(fits, "{world:?} said {line:?} where {expected:?} was expected, in\n{text}\nand logged\n{log}");
        }
    }
    told
}

#[test]
fn the_init_script_starts_and_stops_and_says_how_it_stands() {
    prints(
        "init status; init start; until_true p2p-agent status; init status
        init start; init stop; init status; init stop; init dance; busybox ls /run",
        &[
            "p2p-agent is not running",
            "= 3",
            "Starting p2p-agent: OK",
            "= 0",
            "p2p-agent is running (*",
            "= 0",
            "Starting p2p-agent: OK, it is running",
            "= 0",
            "Stopping p2p-agent: OK",
            "= 0",
            "p2p-agent is not running",
            "= 3",
            "Stopping p2p-agent: OK, it was not running",
            "= 0",
            "Usage: /etc/init.d/S60p2p-agent {*",
            "= 2",
            "p2p-agent",
            "shm",
            "syslogd.pid",
        ],
    );
}

#[test]
fn a_killed_daemon_comes_back_and_a_killed_logger_costs_no_daemon() {
    let told = prints(
        "init start >/dev/null; until_true p2p-agent status; first=$(daemon); kill -9 $first
        again() { p2p-agent status && [ $(daemon) != $first ]; }
        until_true again; init status >/dev/null; p2p-agent status >/dev/null; echo back $?
        second=$(daemon); busybox killall -9 logger; busybox sleep 0.3
        busybox touch /config/no-p2p; busybox sleep 1; busybox rm /config/no-p2p; busybox sleep 1
        p2p-agent status >/dev/null; echo alive $?; [ $second = $(daemon) ] && echo the same; init stop",
        &["back 0", "alive 0", "the same", "Stopping p2p-agent: OK", "= 0"],
    );
    for told in told {
        assert!(told.log.contains("p2p-agent: ended with 137, starting it again in 1 s"), "{}", told.log);
        assert!(told.log.contains("P2P is on"), "what the daemon says is in syslog: {}", told.log);
    }
}

#[test]
fn restart_and_reload_take_new_options_and_leave_one_daemon() {
    prints(
        "init start >/dev/null; until_true p2p-agent status; first=$(daemon)
        for verb in restart reload force-reload; do
            init $verb; until_true p2p-agent status; [ $(daemon) != $first ] && echo another; first=$(daemon)
        done
        busybox ps | grep -c '[p]2p-agent run'; init stop",
        &[
            "Stopping p2p-agent: OK",
            "Starting p2p-agent: OK",
            "= 0",
            "another",
            "Stopping p2p-agent: OK",
            "Starting p2p-agent: OK",
            "= 0",
            "another",
            "Stopping p2p-agent: OK",
            "Starting p2p-agent: OK",
            "= 0",
            "another",
            "1",
            "Stopping p2p-agent: OK",
            "= 0",
        ],
    );
}

#[test]
fn a_pid_file_of_another_process_stops_nothing_and_is_replaced() {
    prints(
        "busybox sleep 600 & other=$!; echo $other >/var/run/p2p-agent.pid; echo $other >/var/run/p2p-agent.daemon.pid
        init status; init stop; kill -0 $other && echo untouched
        echo $other >/var/run/p2p-agent.pid; init start; until_true p2p-agent status; init stop; kill -0 $other && echo untouched
        echo garbage >/var/run/p2p-agent.pid; init start; until_true p2p-agent status; init stop",
        &[
            "p2p-agent is not running, but /var/run/p2p-agent.pid exists", "= 1",
            "Stopping p2p-agent: OK, it was not running", "= 0", "untouched",
            "Starting p2p-agent: OK", "= 0", "Stopping p2p-agent: OK", "= 0", "untouched",
            "Starting p2p-agent: OK", "= 0", "Stopping p2p-agent: OK", "= 0",
        ],
    );
}

/// As one that the kernel does not let go: the first process of a PID namespace cannot be killed by those in it.
#[test]
fn a_daemon_that_cannot_be_killed_does_not_hold_up_a_shutdown() {
    prints(
        "busybox sed -i 's/^STOP_MAX=.*/STOP_MAX=1/' $INIT
        busybox unshare --mount --pid --fork sh -c '
            mount -t proc proc /proc; echo 1 >/var/run/p2p-agent.daemon.pid
            /etc/init.d/S60p2p-agent stop; echo $?; cat /var/run/p2p-agent.daemon.pid' 'p2p-agent run '",
        &["Stopping p2p-agent: FAIL, it does not end*", "1", "1"],
    );
}

#[test]
fn a_daemon_whose_loop_was_killed_is_replaced_and_stopped() {
    prints(
        "init start >/dev/null; until_true p2p-agent status; kill -9 $(cat /var/run/p2p-agent.pid); busybox sleep 0.2
        init status | grep -o 'nobody will start it again'; init start; until_true p2p-agent status
        busybox ps | grep -c '[p]2p-agent run'
        kill -9 $(cat /var/run/p2p-agent.pid); busybox sleep 0.2; init stop; busybox ps | grep -c '[p]2p-agent run'",
        &["nobody will start it again", "Starting p2p-agent: OK", "= 0", "1", "Stopping p2p-agent: OK", "= 0", "0"],
    );
}

#[test]
fn off_by_policy_is_no_failure_and_says_why() {
    let told = prints(
        "touch /config/no-p2p; init start; init status; rm /config/no-p2p
        options; echo 0 >/cores; mount --bind /cores /sys/devices/system/cpu/online; init start
        touch /config/p2p; init start; until_true p2p-agent status; init stop; touch /config/no-p2p; init start
        rm /config/no-p2p /config/p2p; echo 0-3 >/cores; init start; until_true p2p-agent status; init stop
        options --start never; init start",
        &[
            "Starting p2p-agent: no, P2P is off because /config/no-p2p exists; *",
            "= 0",
            "p2p-agent is not running",
            "= 3",
            "Starting p2p-agent: no, P2P is off because there is one core and no p2p; create /config/p2p *",
            "= 0",
            "Starting p2p-agent: OK",
            "= 0",
            "Stopping p2p-agent: OK",
            "= 0",
            "Starting p2p-agent: no, P2P is off because /config/no-p2p exists; *",
            "= 0",
            "Starting p2p-agent: OK",
            "= 0",
            "Stopping p2p-agent: OK",
            "= 0",
            "Starting p2p-agent: no, P2P is off because of --start never.",
            "= 0",
        ],
    );
    for told in told {
        assert!(told.log.contains("p2p-agent: P2P is off because there is one core"), "{}", told.log);
    }
}

#[test]
fn what_is_wrong_is_one_line_on_the_console_and_in_syslog_and_a_failure() {
    let told = prints(
        "options --colour; init start; options --content /etc/passwd; init start; options --user nobody-there; init start
        options --port 0; init restart; options --start always; mount -o remount,ro /run; init start; mount -o remount,rw /run
        echo 'P2P_AGENT_ARGS=\"--start always' >/etc/default/p2p-agent; init start; init status
        echo 'P2P_AGENT_ARGS=--start always' >/etc/default/p2p-agent; init start
        options --start always; busybox rm /usr/bin/p2p-agent; init start; busybox ps | grep -c '[p]2p-agent [rs]u'",
        &[
            "Starting p2p-agent: FAIL, invalid option '--colour'*", "= 64",
            "Starting p2p-agent: FAIL, content directory /etc/passwd is not a directory; name another.", "= 69",
            "Starting p2p-agent: FAIL, there is no user \"nobody-there\"; *", "= 67",
            "Stopping p2p-agent: OK, it was not running", "Starting p2p-agent: FAIL, --port takes *", "= 64",
            "Starting p2p-agent: FAIL, the socket /run/p2p-agent/agent.sock cannot be made: /run is not writable; *", "= 69",
            "Starting p2p-agent: FAIL, /etc/default/p2p-agent is not as it must be, *", "= 64",
            "p2p-agent is not running", "= 3",
            "Starting p2p-agent: FAIL, /etc/default/p2p-agent is not as it must be, *", "= 64",
            "Starting p2p-agent: FAIL, *", "= 127", "0",
        ],
    );
    for told in told {
        for (words, times) in [
            ("cannot start: ", 8),
            ("cannot start: invalid option '--colour'", 1),
            ("cannot start: content directory /etc/passwd is not a directory", 1),
            ("cannot start: there is no user \"nobody-there\"", 1),
            ("cannot start: --port takes", 1),
            ("cannot start: the socket /run/p2p-agent/agent.sock cannot be made: /run is not writable", 1),
            ("cannot start: /etc/default/p2p-agent is not as it must be", 2),
            ("not found", 2),
        ] {
            let log = told.log.to_lowercase();
            assert_eq!(log.matches(&words.to_lowercase()).count(), times, "{:?}: {words}: {}", told.world, told.log);
        }
    }
}

#[test]
fn a_content_directory_that_is_mounted_late_is_waited_for_and_then_read() {
    let told = prints(
        "busybox mkdir /data; options --start always --content /data/content; init start; until_true p2p-agent status
        p2p-agent status --json | grep -o '\"contents\":0,'; mount -t tmpfs data /data; chmod 755 /data
        busybox mkdir /data/content; echo a file >/data/content/0123456789abcdef0123456789abcdef
        chmod 755 /data/content; chmod 644 /data/content/*
        read_in() { p2p-agent status --json | grep '\"contents\":1,'; }; until_true read_in
        init status | grep -o 'is running'; init stop; busybox ps | grep -c '[p]2p-agent run'",
        &["Starting p2p-agent: OK", "= 0", "\"contents\":0,", "is running", "Stopping p2p-agent: OK", "= 0", "0"],
    );
    for told in told {
        for words in ["/data/content does not exist; waiting for it", "content directory: 1 complete"] {
            assert_eq!(told.log.matches(words).count(), 1, "{:?}: {words}: {}", told.world, told.log);
        }
    }
}

#[test]
fn a_mistake_that_appears_while_it_runs_ends_the_loop_without_a_storm() {
    let told = prints(
        "init start >/dev/null; until_true p2p-agent status; busybox sed -i /p2p/d /etc/passwd; kill -9 $(daemon)
        gone() { ! test -e /var/run/p2p-agent.pid; }; until_true gone; init status",
        &["p2p-agent is not running", "= 3"],
    );
    for told in told {
        assert!(told.log.contains("ended with 67, a mistake in its options: not started again"), "{}", told.log);
        assert!(told.log.contains("there is no user"), "{}", told.log);
    }
}
