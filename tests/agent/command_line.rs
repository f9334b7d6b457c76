//! Starting, not starting, and ending: each reason is one sentence and an exit code of sysexits.

use std::fs::{self, Permissions};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::{Command, Output};
use std::time::Duration;

use nix::unistd::geteuid;

use crate::lab::agent::{finish, program};
use crate::lab::{Agent, Content, Site, wait_for};

fn bare(arguments: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.args(arguments);
    finish(command)
}

/// The sentence it ended with, after the log.
#[track_caller]
fn last_words(output: &Output) -> String {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    let words: Vec<_> = said.lines().filter_map(|line| line.strip_prefix("p2p-agent: ")).collect();
    assert_eq!(words.len(), 1, "{said}");
    assert!(!said.contains("panicked"));
    words[0].to_owned()
}

#[track_caller]
fn assert_ends(output: &Output, code: i32, hints: &[&str]) {
    let words = last_words(output);
    assert_eq!(output.status.code(), Some(code), "{words}");
    for hint in hints {
        assert!(words.contains(hint), "{words:?} does not say {hint:?}");
    }
    assert!(words.ends_with('.') && !words.ends_with("?."), "{words}");
}

/// `run` gives up with this, and `check` says the same.
#[track_caller]
fn assert_does_not_start(device: &Agent, flags: &[&str], code: i32, hints: &[&str]) {
    assert_ends(&device.run_to_the_end(flags), code, hints);
    let mut check = device.command("check");
    check.args(flags);
    assert_ends(&finish(check), code, hints);
}

#[test]
fn mistakes_on_the_command_line_end_with_64_and_name_the_flag() {
    for (arguments, hint) in [
        (&[][..], "run"),
        (&["dance"], "dance"),
        (&["run", "--colour"], "--colour"),
        (&["run", "--port", "0"], "--port"),
        (&["run", "--port", "65536"], "--port"),
        (&["run", "--address", "192.168.1.1"], "--address"),
        (&["run", "--address", "127.255.255.255"], "127.255.255.255"),
        (&["run", "--max-upload", "fast"], "--max-upload"),
        (&["run", "--log", "loud"], "--log"),
        (&["run", "--jail", "perhaps"], "--jail"),
        (&["run", "--priority", "high"], "--priority"),
        (&["check", "--start", "sometimes"], "--start"),
        (&["run", "--policy"], "--policy"),
        (&["run", "--interface", "averyveryverylongname"], "averyveryverylongname"),
        (&["explain", "abc"], "32"),
    ] {
        assert_ends(&bare(arguments), 64, &[hint]);
    }
}

#[test]
fn help_and_version_are_answers_and_not_mistakes() {
    let help = bare(&["--help"]);
    assert!(help.status.success() && help.stderr.is_empty());
    let text = String::from_utf8(help.stdout).unwrap();
    for flag in [
        "--content",
        "--socket",
        "--interface",
        "--address",
        "--port",
        "--config-dir",
        "--start",
        "--policy",
        "--user",
        "--jail",
        "--domain-key",
        "--os-version",
        "--max-upload",
        "--log",
        "--json",
    ] {
        assert!(text.contains(flag), "{flag}");
    }
    let version = bare(&["--version"]);
    assert_eq!(version.stdout, format!("p2p-agent {}\n", env!("CARGO_PKG_VERSION")).into_bytes());
}

#[test]
fn the_exit_code_is_the_same_where_nobody_reads_the_sentence() {
    let deaf = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    assert_eq!(Command::new(program()).arg("dance").stderr(deaf).status().unwrap().code(), Some(64));
}

#[test]
fn a_content_directory_that_cannot_be_used_is_named() {
    let site = Site::new();
    let device = site.device();
    let directory = device.content_directory();
    let name = directory.to_str().unwrap().to_owned();
    fs::remove_dir(&directory).unwrap();
    fs::write(&directory, "a file").unwrap();
    assert_does_not_start(&device, &[], 69, &[&name, "not a directory"]);
    fs::remove_file(&directory).unwrap();
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, Permissions::from_mode(0o000)).unwrap();
    // Root may read everything, its agent's user may not.
    let flags: &[&str] = if geteuid().is_root() { &["--user", "nobody"] } else { &[] };
    assert_does_not_start(&device, flags, 69, &[&name, "not accessible"]);
}

#[test]
fn a_content_directory_that_cannot_be_written_is_all_the_agent_needs() {
    let site = Site::new();
    let mut device = site.device();
    let content = Content::random(140, 1_000);
    device.hold_as(&content.md5, &content.bytes);
    let directory = device.content_directory();
    fs::set_permissions(directory.join(&content.md5), Permissions::from_mode(0o444)).unwrap();
    fs::set_permissions(&directory, Permissions::from_mode(0o555)).unwrap();
    device.start(&[]);
    device.get(&content.path()).assert_is(&content.bytes);
    fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_socket_in_use_stays_with_its_owner_and_a_dead_one_is_replaced() {
    let site = Site::new();
    let mut first = site.device();
    first.start(&[]);
    let mut second = site.device();
    let socket = first.socket();
    let flags = ["--socket", socket.to_str().unwrap()];
    assert_does_not_start(&second, &flags, 69, &[socket.to_str().unwrap(), "in use"]);
    assert_eq!(first.get("/v1/status").status, 200, "the first is not disturbed");
    first.kill();
    assert!(socket.exists(), "a killed agent leaves its socket behind");
    let mut command = second.command("run");
    command.args(flags);
    second.spawn(command);
    wait_for("the second agent answers there", || {
        crate::lab::local::try_get(&socket, "/v1/status", "").is_ok_and(|reply| reply.status == 200)
    });
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
}

#[test]
fn a_file_where_the_socket_should_be_is_not_removed() {
    let site = Site::new();
    let device = site.device();
    fs::write(device.socket(), "precious").unwrap();
    assert_does_not_start(&device, &[], 69, &[device.socket().to_str().unwrap()]);
    assert_eq!(fs::read(device.socket()).unwrap(), b"precious");
    // A directory neither.
    fs::remove_file(device.socket()).unwrap();
    fs::create_dir(device.socket()).unwrap();
    assert_does_not_start(&device, &[], 69, &[device.socket().to_str().unwrap()]);
}

#[test]
fn a_port_in_use_is_named() {
    let site = Site::new();
    let device = site.device();
    let port = device.port.to_string();
    let udp = UdpSocket::bind((device.address, device.port)).unwrap();
    assert_does_not_start(&device, &[], 69, &["UDP", &port, "in use"]);
    drop(udp);
    let tcp = TcpListener::bind((device.address, device.port)).unwrap();
    assert_does_not_start(&device, &[], 69, &["TCP", &port, "in use"]);
    drop(tcp);
    let mut check = device.command("check");
    check.args(["--port", &port]);
    assert!(finish(check).status.success());
}

#[test]
fn a_domain_key_that_is_none_is_not_ignored() {
    let site = Site::new();
    let device = site.device();
    let file = device.path("key");
    let name = file.to_str().unwrap();
    assert_does_not_start(&device, &["--domain-key", name], 69, &[name]);
    for wrong in ["", "abc", &"0g".repeat(32), &"00".repeat(33), &format!("{0}\n{0}\n{0}\n", "11".repeat(32))] {
        fs::write(&file, wrong).unwrap();
        assert_does_not_start(&device, &["--domain-key", name], 65, &[name, "openssl rand"]);
    }
}

#[test]
fn as_root_it_becomes_its_user_and_refuses_one_that_does_not_exist() {
    if !geteuid().is_root() {
        // Nothing to become: --user is for root only.
        let site = Site::new();
        let mut device = site.device();
        return device.start(&["--user", "no-such-user"]);
    }
    let site = Site::new();
    let mut device = site.device();
    assert_does_not_start(&device, &["--user", "no-such-user"], 67, &["no-such-user", "useradd"]);
    fs::set_permissions(device.path("."), Permissions::from_mode(0o755)).unwrap();
    device.start(&["--user", "nobody"]);
    let status = fs::read_to_string(format!("/proc/{}/status", device.pid())).unwrap();
    let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let four_times = |id: String| [id.as_str(); 4].join("\t");
    assert_eq!(line("Uid:"), four_times(nobody.uid.to_string()));
    assert_eq!(line("Gid:"), four_times(nobody.gid.to_string()));
    assert_eq!(line("Groups:"), "");
    for capabilities in ["CapPrm:", "CapEff:"] {
        assert_eq!(line(capabilities), "0000000000000000");
    }
}

#[test]
fn it_takes_a_back_seat_with_one_working_thread_and_can_gain_no_rights() {
    let site = Site::new();
    let mut device = site.device();
    device.start(&["--priority", "idle"]);
    let status = fs::read_to_string(format!("/proc/{}/status", device.pid())).unwrap();
    assert!(status.contains("NoNewPrivs:\t1\n"), "{status}");
    for task in fs::read_dir(format!("/proc/{}/task", device.pid())).unwrap() {
        let stat = fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
        // Fields of proc(5) from the third on: the second may contain anything.
        let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let (nice, policy) = (fields[19 - 3], fields[41 - 3]);
        assert_eq!((nice, policy), ("19", "5"), "SCHED_IDLE, also the reactor's helper");
    }
    let threads = fs::read_dir(format!("/proc/{}/task", device.pid())).unwrap().count();
    assert!(threads <= 2, "one thread that works, and the reactor's helper: {threads}");
}

#[test]
fn check_says_in_one_sentence_whether_run_would_start_and_leaves_nothing_behind() {
    let site = Site::new();
    let mut device = site.device();
    let check = |device: &Agent| finish(device.command("check"));
    let good = check(&device);
    assert!(good.status.success(), "{good:?}");
    let said = String::from_utf8(good.stdout).unwrap();
    assert!(said.contains(&device.address.to_string()) && said.trim_end().ends_with('.'), "{said}");
    assert_eq!(said.lines().count(), 1);
    assert!(!device.socket().exists());
    device.switch_off(true);
    assert_ends(&check(&device), 1, &["no-p2p"]);
    device.switch_off(false);
    device.start(&[]);
    assert_ends(&check(&device), 69, &["another p2p-agent is running"]);
}

#[test]
fn check_says_what_the_start_policy_decides_and_why_and_run_by_hand_does_not_ask() {
    let site = Site::new();
    let mut device = site.device();
    // Whatever this machine has, a device with one core has the file or does not.
    let check = |device: &Agent, flags: &[&str]| {
        let mut command = device.command("check");
        command.args(flags);
        finish(command)
    };
    let says = |output: &Output, hint: &str| {
        let said = String::from_utf8(output.stdout.clone()).unwrap();
        assert!(output.status.success() && said.contains(hint), "{output:?}");
        assert_eq!(said.lines().count(), 1, "{said}");
    };
    for flags in [&["--policy"][..], &[]] {
        let check = |device: &Agent, more: &[&str]| check(device, &[flags, more].concat());
        says(&check(&device, &["--start", "always"]), "--start always");
        assert_ends(&check(&device, &["--start", "never"]), 1, &["P2P is off", "--start never"]);
        let opt_in = device.path("config").join("p2p");
        fs::write(&opt_in, "").unwrap();
        says(&check(&device, &[]), opt_in.to_str().unwrap());
        assert_ends(&check(&device, &["--start", "never"]), 1, &["--start never"]);
        device.switch_off(true);
        for start in ["auto", "always", "never"] {
            assert_ends(&check(&device, &["--start", start]), 1, &["P2P is off", "no-p2p exists"]);
        }
        device.switch_off(false);
        fs::remove_file(&opt_in).unwrap();
    }
    // What does not work is not what the policy is about, and what is off needs not work.
    fs::write(device.socket(), "in the way").unwrap();
    says(&check(&device, &["--policy", "--start", "always"]), "P2P is on");
    assert_ends(&check(&device, &["--start", "always"]), 69, &[device.socket().to_str().unwrap()]);
    assert_ends(&check(&device, &["--start", "never"]), 1, &["--start never"]);
    fs::remove_file(device.socket()).unwrap();
    device.start(&["--start", "never"]);
}

#[test]
fn a_content_directory_that_is_not_mounted_yet_is_waited_for_with_one_line() {
    let site = Site::new();
    let mut device = site.device();
    let directory = device.content_directory();
    fs::remove_dir(&directory).unwrap();
    let check = finish(device.command("check"));
    let said = String::from_utf8(check.stdout).unwrap();
    assert!(check.status.success() && said.contains("wait for the content directory"), "{said}");
    device.start(&[]);
    let content = Content::random(142, 100_000);
    device.get(&content.path()).assert_fetch(&["no-peers", "nobody-has-it"]);
    fs::create_dir(&directory).unwrap();
    device.hold(&content);
    device.get(&content.path()).assert_is(&content.bytes);
    let log = device.log();
    let lines = |words: &str| log.lines().filter(|line| line.contains(words)).count();
    assert_eq!((lines("does not exist; waiting for it"), lines("is there")), (1, 1), "{log}");
}

#[test]
fn sigterm_ends_it_promptly_even_in_the_middle_of_transfers() {
    let site = Site::new();
    let slow: &[&str] = &["--max-upload", "500kB"];
    let [mut holder, mut client] = site.agents_with([slow, &[]]);
    let content = Content::random(141, 4 << 20);
    holder.hold(&content);
    let mut reply = client.get(&content.path());
    reply.at_least(1);
    for agent in [&mut holder, &mut client] {
        let (_, after) = agent.terminate();
        assert!(after < Duration::from_secs(3), "{after:?}");
    }
    assert_eq!(reply.rest().1, crate::lab::local::End::Cut);
    // And it starts again over what is left.
    holder.start(&[]);
}

#[test]
fn a_socket_of_a_program_that_does_not_answer_is_still_in_use() {
    let site = Site::new();
    let device = site.device();
    let _other = UnixListener::bind(device.socket()).unwrap();
    assert_does_not_start(&device, &[], 69, &["in use"]);
}
