//! The jail: what the running daemon has given up, as the kernel tells it of every thread, and as every thread finds out when
//! it tries. By default: no flag asks for it.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use nix::unistd::geteuid;

use crate::lab::agent::{is_root_or_skips, program};
use crate::lab::{Agent, Content, Site, local, wait_for};

fn field<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name} in {text}")).trim()
}

#[test]
fn every_thread_is_without_capabilities_groups_and_new_privileges_and_has_its_limits_and_filter() {
    let device = Agent::new([127, 0, 92, 2].into(), 21_920);
    let mut command = Command::new(program());
    command.args(["run", "--address", "127.0.92.2", "--port", "21920", "--user", "nobody", "--priority", "low"]);
    command.arg("--content").arg(device.content_directory()).arg("--config-dir").arg(device.path("config"));
    command.arg("--socket").arg(device.socket()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = crate::lab::agent::with_own_mounts(command).spawn().unwrap();
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
        assert_eq!(field(status, "Seccomp:"), "2", "a filter");
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
        ("Max address space", "67108864"),
    ] {
        let both: Vec<_> = field(&limits, name).split_whitespace().take(2).collect();
        assert_eq!(both, [most, most], "{name}");
    }
    assert_eq!(score.trim(), "1000");
}

#[test]
fn its_root_directory_has_only_what_it_reads_and_nothing_in_it_can_be_written() {
    if !is_root_or_skips("a root directory of its own needs root") {
        return;
    }
    let site = Site::new();
    let [device] = site.agents();
    let table = fs::read_to_string(format!("/proc/{}/mountinfo", device.pid())).unwrap();
    let mut points = Vec::new();
    for line in table.lines() {
        let fields: Vec<_> = line.split(' ').collect();
        for option in ["ro", "nosuid", "nodev", "noexec"] {
            assert!(fields[5].split(',').any(|given| given == option), "{option}: {line}");
        }
        points.push(fields[4]);
    }
    points.sort_unstable();
    let root = device.path("");
    let root = root.to_str().unwrap().trim_end_matches('/');
    assert_eq!(points, ["/", "/sys/class/net", "/sys/devices", root]);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn started_without_root_it_reads_nothing_beside_its_contents() {
    use crate::lab::inside::{HERE, Inside, threads};
    use nix::errno::Errno::EACCES;
    use nix::libc::{O_RDONLY, SYS_openat};

    if landlock_version() < 1 {
        assert!(std::env::var_os("P2P_REQUIRE_ROOT").is_none(), "it has to run here: this kernel has no Landlock");
        eprintln!("SKIPPED: this kernel has no Landlock");
        return;
    }
    let site = Site::new();
    let mut device = site.device();
    let content = Content::random(76, 1_000);
    device.hold_as(&content.md5, &content.bytes);
    // By a link, as images have it whose contents lie on a partition of their own.
    let elsewhere = device.path("partition");
    fs::create_dir(&elsewhere).unwrap();
    fs::rename(device.content_directory(), elsewhere.join("content")).unwrap();
    symlink(elsewhere.join("content"), device.content_directory()).unwrap();
    let mut command = device.command("run");
    if geteuid().is_root() {
        std::os::unix::fs::chown(device.path(""), Some(65_534), Some(65_534)).unwrap();
        let mut as_nobody = Command::new("setpriv");
        as_nobody
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(command.get_program())
            .args(command.get_args());
        command = as_nobody;
    }
    device.spawn(command);
    device.wait_until_it_answers();
    for thread in threads(device.pid()) {
        let mut inside = Inside::stop(thread);
        let file = elsewhere.join("content").join(&content.md5);
        let file = inside.path(file.to_str().unwrap());
        inside.call(SYS_openat, &[HERE, file, O_RDONLY as u64]).unwrap();
        for path in ["/etc/passwd", "/proc/self/status", "/dev/null", "../../../../etc/passwd", "/usr/bin"] {
            let outside = inside.path(path);
            assert_eq!(inside.call(SYS_openat, &[HERE, outside, O_RDONLY as u64]), Err(EACCES), "{path}");
        }
    }
}

/// On another processor the registers have other names; there `tests/boot` looks at the filter.
#[cfg(target_arch = "x86_64")]
#[test]
fn every_thread_is_refused_what_the_jail_forbids() {
    use crate::lab::inside::{HERE, Inside, sockets, threads};
    use nix::errno::Errno::{EACCES, ENOENT, EPERM};
    use nix::libc::*;

    let site = Site::new();
    let [device] = site.agents();
    let content = Content::random(77, 1_000);
    device.hold(&content);
    let file = device.content_directory().join(&content.md5).to_str().unwrap().to_owned();
    let new = device.content_directory().join("new").to_str().unwrap().to_owned();
    // Of the one who listens there, an ordinary one would not even notice.
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let other_port = other.local_addr().unwrap().port();
    let threads = threads(device.pid());
    assert_eq!(threads.len(), 2);
    for thread in threads {
        let mut inside = Inside::stop(thread);
        let (file, new) = (inside.path(&file), inside.path(&new));

        // That it can be asked, and that reading is what it may do.
        let fd = inside.call(SYS_openat, &[HERE, file, (O_RDONLY | O_NOFOLLOW) as u64]).unwrap() as u64;

        // Writing, creating, linking, removing.
        for flags in [O_WRONLY, O_RDWR, O_RDONLY | O_TRUNC, O_RDONLY | O_CREAT, O_RDONLY | O_APPEND, O_TMPFILE | O_RDWR]
        {
            assert_eq!(inside.call(SYS_openat, &[HERE, file, flags as u64, 0o600]), Err(EPERM), "{flags:#o}");
        }
        let how = inside.memory(&[O_WRONLY as u64, 0, 0].map(u64::to_ne_bytes).concat());
        for (name, number, arguments) in [
            ("open", SYS_open, [file, O_RDONLY as u64, 0, 0, 0]),
            ("creat", SYS_creat, [new, 0o600, 0, 0, 0]),
            ("openat2", SYS_openat2, [HERE, file, how, 24, 0]),
            ("mkdirat", SYS_mkdirat, [HERE, new, 0o700, 0, 0]),
            ("mknodat", SYS_mknodat, [HERE, new, u64::from(S_IFIFO), 0, 0]),
            ("linkat", SYS_linkat, [HERE, file, HERE, new, 0]),
            ("symlinkat", SYS_symlinkat, [file, HERE, new, 0, 0]),
            ("renameat2", SYS_renameat2, [HERE, file, HERE, new, 0]),
            ("unlinkat", SYS_unlinkat, [HERE, file, 0, 0, 0]),
            ("fchmodat", SYS_fchmodat, [HERE, file, 0o777, 0, 0]),
            ("fchownat", SYS_fchownat, [HERE, file, 0, 0, 0]),
            ("truncate", SYS_truncate, [file, 0, 0, 0, 0]),
            ("ftruncate", SYS_ftruncate, [fd, 0, 0, 0, 0]),
            ("fallocate", SYS_fallocate, [fd, 0, 0, 1, 0]),
            ("utimensat", SYS_utimensat, [HERE, file, 0, 0, 0]),
            ("setxattr", SYS_setxattr, [file, file, file, 1, 0]),
            ("memfd_create", SYS_memfd_create, [file, 0, 0, 0, 0]),
            // Executing, multiplying.
            ("execve", SYS_execve, [file, 0, 0, 0, 0]),
            ("execveat", SYS_execveat, [HERE, file, 0, 0, 0]),
            ("fork", SYS_fork, [0; 5]),
            ("vfork", SYS_vfork, [0; 5]),
            ("clone", SYS_clone, [SIGCHLD as u64, 0, 0, 0, 0]),
            ("clone3", SYS_clone3, [how, 24, 0, 0, 0]),
            (
                "mmap",
                SYS_mmap,
                [0, 4_096, (PROT_READ | PROT_EXEC) as u64, (MAP_PRIVATE | MAP_ANONYMOUS) as u64, u64::MAX],
            ),
            ("mprotect", SYS_mprotect, [file & !4_095, 4_096, (PROT_READ | PROT_EXEC) as u64, 0, 0]),
            // Rights, priority, limits.
            ("setuid", SYS_setuid, [0; 5]),
            ("setgid", SYS_setgid, [0; 5]),
            ("setgroups", SYS_setgroups, [0; 5]),
            ("capset", SYS_capset, [how, how, 0, 0, 0]),
            ("prctl", SYS_prctl, [PR_SET_DUMPABLE as u64, 1, 0, 0, 0]),
            ("seccomp", SYS_seccomp, [1, 0, how, 0, 0]),
            ("setpriority", SYS_setpriority, [PRIO_PROCESS as u64, 0, 0, 0, 0]),
            ("sched_setscheduler", SYS_sched_setscheduler, [0, SCHED_OTHER as u64, how, 0, 0]),
            ("sched_setattr", SYS_sched_setattr, [0, how, 0, 0, 0]),
            ("ioprio_set", SYS_ioprio_set, [1, 0, 0, 0, 0]),
            ("setrlimit", SYS_setrlimit, [u64::from(RLIMIT_CORE), how, 0, 0, 0]),
            ("prlimit64", SYS_prlimit64, [0, u64::from(RLIMIT_CORE), how, 0, 0]),
            // Other processes, the kernel.
            ("ptrace", SYS_ptrace, [u64::from(PTRACE_ATTACH), 1, 0, 0, 0]),
            ("process_vm_readv", SYS_process_vm_readv, [1, how, 1, how, 1]),
            ("process_vm_writev", SYS_process_vm_writev, [1, how, 1, how, 1]),
            ("pidfd_open", SYS_pidfd_open, [1, 0, 0, 0, 0]),
            ("kill", SYS_kill, [u64::from(std::process::id()), 0, 0, 0, 0]),
            ("tkill", SYS_tkill, [u64::from(std::process::id()), 0, 0, 0, 0]),
            ("tgkill", SYS_tgkill, [u64::from(std::process::id()), u64::from(std::process::id()), 0, 0, 0]),
            ("bpf", SYS_bpf, [0; 5]),
            ("io_uring_setup", SYS_io_uring_setup, [1, how, 0, 0, 0]),
            ("perf_event_open", SYS_perf_event_open, [how, 0, 0, 0, 0]),
            ("keyctl", SYS_keyctl, [0; 5]),
            ("userfaultfd", SYS_userfaultfd, [0; 5]),
            // Another root, other mounts.
            ("chroot", SYS_chroot, [file, 0, 0, 0, 0]),
            ("chdir", SYS_chdir, [file, 0, 0, 0, 0]),
            ("mount", SYS_mount, [file, file, file, 0, 0]),
            ("umount2", SYS_umount2, [file, 0, 0, 0, 0]),
            ("pivot_root", SYS_pivot_root, [file, file, 0, 0, 0]),
            ("unshare", SYS_unshare, [CLONE_NEWUSER as u64, 0, 0, 0, 0]),
            ("setns", SYS_setns, [fd, 0, 0, 0, 0]),
        ] {
            assert_eq!(inside.call(number, &arguments), Err(EPERM), "{name}");
        }

        // Whatever is outside. As root there is nothing else; otherwise Landlock has it.
        for path in ["/etc/passwd", "/proc/self/status", "/dev/null", "../../../../etc/passwd", "/usr/bin"] {
            let outside = inside.path(path);
            let refused = inside.call(SYS_openat, &[HERE, outside, O_RDONLY as u64]).unwrap_err();
            let expected = if nix::unistd::geteuid().is_root() { ENOENT } else { EACCES };
            assert_eq!(refused, expected, "{path}");
        }

        // Sockets that could reach anybody. With those that it has nobody off the link can be reached: tests/netns/jailed.rs.
        inside.is_refused_new_sockets();
        let diagnosis = [AF_NETLINK as u64, SOCK_RAW as u64, NETLINK_SOCK_DIAG as u64];
        assert_eq!(inside.call(SYS_socket, &diagnosis), Err(EPERM));
        let own = sockets(&mut inside, device.pid());
        let is_new = |inside: &mut Inside, socket| {
            let (name, length) = (inside.memory(&[0; 16]), inside.memory(&16_u64.to_ne_bytes()));
            inside.call(SYS_getpeername, &[socket, name, length]).is_err()
                && inside.option(socket, SOL_SOCKET, SO_ACCEPTCONN) == Ok(0)
        };
        let streams = own.iter().filter(|(_, flow)| *flow == SOCK_STREAM);
        let socket = streams.map(|(socket, _)| *socket).find(|socket| is_new(&mut inside, *socket)).unwrap();
        inside.is_refused_options(socket);

        // Connections to or on other ports.
        if landlock_version() >= 4 {
            for (call, port) in [(SYS_connect, other_port), (SYS_bind, other_port.wrapping_add(1).max(1_024))] {
                let [high, low] = port.to_be_bytes();
                let address = inside.memory(&[AF_INET as u8, 0, high, low, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
                assert_eq!(inside.call(call, &[socket, address, 16]), Err(EACCES), "port {port}");
            }
        }
        // What Landlock does not see: connecting while sending.
        let [high, low] = other_port.to_be_bytes();
        let address = inside.memory(&[AF_INET as u8, 0, high, low, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        let message = inside.memory(&[address, 16, 0, 0, 0, 0, 0].map(u64::to_ne_bytes).concat());
        for (number, arguments) in [
            (SYS_sendto, [socket, file, 1, MSG_FASTOPEN as u64, address, 16]),
            (SYS_sendmsg, [socket, message, MSG_FASTOPEN as u64, 0, 0, 0]),
        ] {
            assert_eq!(inside.call(number, &arguments), Err(EPERM));
        }
        inside.call(SYS_close, &[fd]).unwrap();
    }
    // And it goes on as if nothing had been.
    device.get(&content.path()).assert_is(&content.bytes);
}

#[cfg(target_arch = "x86_64")]
fn landlock_version() -> i64 {
    use nix::libc;
    // SAFETY: asked for its version, the kernel reads no memory.
    unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0_usize, 1_u32) }
}

#[test]
fn check_jail_says_what_holds_on_this_board() {
    let site = Site::new();
    let device = site.device();
    let output = crate::lab::agent::finish(device.command("check --jail"));
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for line in ["root directory", "user", "limits", "Landlock", "system calls"] {
        assert!(said.lines().any(|said| said.starts_with(line)), "{line}: {said}");
    }
    assert!(said.contains("epoll_pwait") && !said.contains("execve"), "{said}");
    assert_eq!(said.contains("its own, read-only"), geteuid().is_root(), "{said}");
}

#[test]
fn a_content_directory_that_can_never_come_is_named_by_check_as_by_run() {
    if !is_root_or_skips("without a root directory of its own it would see it come") {
        return;
    }
    let site = Site::new();
    let device = site.device();
    for verb in ["check", "run"] {
        let mut command = device.command(verb);
        command.args(["--content", "/no-such-mount/content"]);
        let output = crate::lab::agent::finish(command);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(69), "{verb}: {said}");
        assert!(said.contains("create /no-such-mount."), "{verb}: {said}");
    }
}

#[test]
fn limits_that_were_handed_down_and_are_lower_than_its_own_are_kept() {
    let site = Site::new();
    let device = site.device();
    let mut command = Command::new("prlimit");
    let check = device.command("check --jail");
    command.args(["--nofile=512:512"]).arg(check.get_program()).args(check.get_args());
    let output = crate::lab::agent::finish(crate::lab::agent::with_own_mounts(command));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}
