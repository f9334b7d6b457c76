//! The disk: full, failing, or with something else in the place of the file.

use super::*;

#[test]
fn a_full_disk_is_told_and_what_is_there_stays() {
    let (device, origin) = site(None);
    let program = device.command(&origin.url());
    let mut shell = Command::new("sh");
    // 512-byte blocks: 256 KiB. A limit on the file size fails as a full disk does, in the middle of a write.
    shell.args(["-c", "ulimit -f 512 && exec \"$0\" \"$@\""]).arg(program.get_program()).args(program.get_args());
    for (name, _) in program.get_envs() {
        shell.env_remove(name);
    }
    let fetched = Fetched::from(shell.output().unwrap());
    fetched.assert_failed(73, &device.part().display().to_string());
    device.assert_nothing();
    assert_eq!(device.part_len(), 512 * 512);
    device.fetch(&origin.url()).assert_done();
    device.assert_whole();
}

#[test]
fn lack_of_room_is_told_before_anything_is_fetched() {
    let (device, origin) = site(None);
    let size = (u64::MAX / 2).to_string();
    let api = LocalApi::start(&device.socket(), |_| fetch("elected"));
    let fetched = Fetched::from(device.command(&origin.url()).args(["--size", &size]).output().unwrap());
    fetched.assert_failed(73, "make room");
    assert_eq!((api.requests().len(), origin.sent()), (0, 0));
}

#[test]
fn a_missing_content_directory_is_told() {
    let (device, origin) = site(None);
    let fetched = device.command(&origin.url()).args(["--content", "/nonexistent"]).output().unwrap();
    Fetched::from(fetched).assert_failed(73, "/nonexistent is not a directory");
}

#[test]
fn a_second_instance_leaves_the_first_alone() {
    let (device, origin) = site(Some(1_000_000));
    let first = device.command(&origin.url()).spawn().unwrap();
    device.await_part(1);
    device.fetch(&origin.url()).assert_failed(75, "another p2p-fetch");
    Fetched::from(first.wait_with_output().unwrap()).assert_done();
    device.assert_whole();
    assert_eq!(origin.sent(), SIZE as u64);
}

/// In mounts of its own: a disk that has room for 48 MiB, it says, and fails below that at 8. Prints what is on it in the end.
const FAILING_DISK: &str = r#"
set -e
cd "$PLACE"
exec 3>&1 >&2
{ mkdir below disk && mount -t tmpfs -o size=8M none below && truncate -s 48M below/image &&
    mkfs.ext4 -q -O ^has_journal below/image && mount -o loop,errors=continue below/image disk; } || exit 77
mkdir disk/content
fetch() { "$FETCH" --quiet --content disk/content --socket none "$MD5" "$URL"; }
fetch && exit 1
mount -o remount,size=64M below # it is a good one from now on
fetch
umount disk
mount -o loop below/image disk
cat "disk/content/$MD5" >&3
"#;

#[test]
fn what_a_failing_disk_did_not_take_is_not_finished_from_the_cache() {
    let content = bytes(9, 16 << 20);
    let (device, origin) = (Device::new(&content), Origin::start(content, None));
    let mut shell = Command::new("unshare");
    shell.args(["--mount", "sh", "-c", FAILING_DISK]).env("FETCH", env!("CARGO_BIN_EXE_p2p-fetch"));
    shell.env("PLACE", device.socket().parent().unwrap()).env("MD5", &device.md5).env("URL", origin.url());
    let said = shell.output().unwrap();
    let why = String::from_utf8_lossy(&said.stderr);
    if said.status.code() == Some(77) || why.contains("unshare failed") {
        assert!(std::env::var_os("P2P_REQUIRE_ROOT").is_none(), "it has to run here, and cannot: {why}");
        return eprintln!("SKIPPED: a disk that fails is made of mounts, which takes root: {why}");
    }
    assert!(said.status.success(), "{why}");
    assert!(said.stdout == origin.content(), "what is on the disk is not the content");
}
