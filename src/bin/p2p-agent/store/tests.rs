//! What the sync client does in the directory, and what the store makes of it.
use super::*;
use p2p_agent::limits::CONTENTS;
use proptest::prelude::*;
use smol::LocalExecutor;
use smol::future::{block_on, or};
use std::fs;
use std::future::Future;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const A: &str = "0123456789abcdef0123456789abcdef";
const B: &str = "fedcba9876543210fedcba9876543210";

fn md5(text: &str) -> ContentMd5 {
    ContentMd5::parse(text).expect("hex")
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn open(directory: &TempDir) -> Rc<Store> {
    Rc::new(Store::open(directory.path(), &[]).expect("the store"))
}

fn append(path: &Path, bytes: &[u8]) {
    fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .expect("append");
}

fn read(opened: &Opened) -> Vec<u8> {
    let mut buffer = vec![0; 1 << 16];
    let length = block_on(opened.read_at(0, &mut buffer)).expect("read");
    buffer.truncate(length);
    buffer
}

fn opened(store: &Store, name: &str) -> Opened {
    store.open_content(&md5(name)).expect("readable").expect("there")
}

/// Runs `test` while the store watches its directory; panics after a minute.
fn watching<T>(store: &Rc<Store>, test: impl Future<Output = T>) -> T {
    let executor = LocalExecutor::new();
    let watched = store.clone();
    let _watch = executor.spawn(async move { watched.watch().await });
    let scans = store.stats().scans;
    block_on(executor.run(or(
        async {
            until(|| store.stats().scans > scans).await;
            test.await
        },
        async {
            async_io::Timer::after(Duration::from_secs(60)).await;
            panic!("nothing happened")
        },
    )))
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        async_io::Timer::after(Duration::from_millis(2)).await;
    }
}

#[test]
fn a_complete_content_is_found_by_both_its_names() {
    let directory = directory();
    fs::write(directory.path().join(A), b"video").expect("write");
    let keys = [DomainKey::from_bytes([1; 32]), DomainKey::from_bytes([2; 32])];
    let store = Store::open(directory.path(), &keys).expect("the store");
    for (key, domain) in keys.iter().enumerate() {
        let id = ContentKeys::derive(domain, &md5(A)).id();
        assert_eq!(store.find(&id), Some(Found { md5: md5(A), key }));
    }
    assert_eq!(store.find(&ContentKeys::derive(&DomainKey::open(), &md5(A)).id()), None);
    assert_eq!(store.state(&md5(A)), Some(Kind::Complete));
    let mut content = opened(&store, A);
    assert_eq!(content.available(), Ok(Extent { available: 5, complete: true }));
    assert_eq!(read(&content), b"video");
}

#[test]
fn of_a_complete_content_and_its_part_the_complete_one_counts() {
    let directory = directory();
    append(&directory.path().join(format!("{A}.part")), b"vi");
    let store = open(&directory);
    assert_eq!((store.state(&md5(A)), opened(&store, A).kind()), (Some(Kind::Part), Kind::Part));
    append(&directory.path().join(A), b"video");
    store.rescan();
    assert_eq!((store.state(&md5(A)), opened(&store, A).kind()), (Some(Kind::Complete), Kind::Complete));
    assert_eq!(store.stats().contents, 1);
}

#[test]
fn a_symlink_is_not_content() {
    let (directory, outside) = (directory(), directory());
    fs::write(outside.path().join("secret"), b"secret").expect("write");
    symlink(outside.path().join("secret"), directory.path().join(A)).expect("symlink");
    fs::write(directory.path().join("plain"), b"x").expect("write");
    symlink("plain", directory.path().join(B)).expect("symlink");
    let store = open(&directory);
    for name in [A, B] {
        assert_eq!(store.state(&md5(name)), None);
        assert!(matches!(store.open_content(&md5(name)), Ok(None)));
    }
}

#[test]
fn a_fifo_is_not_content_and_does_not_block() {
    let directory = directory();
    nix::unistd::mkfifo(&directory.path().join(A), nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
    let store = open(&directory);
    assert_eq!(store.state(&md5(A)), None);
    assert!(matches!(store.open_content(&md5(A)), Ok(None)));
}

#[test]
fn a_directory_is_not_content() {
    let directory = directory();
    fs::create_dir(directory.path().join(A)).expect("mkdir");
    let store = open(&directory);
    assert_eq!(store.state(&md5(A)), None);
    assert!(matches!(store.open_content(&md5(A)), Ok(None)));
}

#[test]
fn growth_wakes_a_follower() {
    let directory = directory();
    let part = directory.path().join(format!("{A}.part"));
    append(&part, b"vi");
    let mut client = fs::OpenOptions::new().append(true).open(&part).expect("open");
    let store = open(&directory);
    watching(&store, async {
        let mut content = opened(&store, A);
        let seen = store.growth();
        let changes = store.changes().generation();
        assert_eq!(content.available(), Ok(Extent { available: 2, complete: false }));
        client.write_all(b"deo").expect("write");
        store.shared.growth.past(seen).await;
        assert_eq!(store.changes().generation(), changes, "no name has changed");
        assert_eq!(content.available(), Ok(Extent { available: 5, complete: false }));
        assert_eq!(read(&content), b"video");
    });
}

#[test]
fn growth_without_events_is_seen_a_quarter_of_a_second_later() {
    let directory = directory();
    append(&directory.path().join(format!("{A}.part")), b"vi");
    let store = open(&directory);
    let started = Instant::now();
    block_on(store.grown(store.growth(), &mut Watchdog::default(), Duration::MAX));
    assert!(started.elapsed() >= GROWTH_POLL && started.elapsed() < 20 * GROWTH_POLL);
}

#[test]
fn a_renamed_part_is_complete_without_reopening() {
    let directory = directory();
    let part = directory.path().join(format!("{A}.part"));
    append(&part, b"video");
    let store = open(&directory);
    watching(&store, async {
        let mut content = opened(&store, A);
        assert_eq!(content.available(), Ok(Extent { available: 5, complete: false }));
        append(&part, b"!");
        fs::rename(&part, directory.path().join(A)).expect("rename");
        while content.kind() == Kind::Part {
            let seen = store.growth();
            content.available().expect("still there");
            store.grown(seen, &mut Watchdog::default(), Duration::MAX).await;
        }
        assert_eq!(content.available(), Ok(Extent { available: 6, complete: true }));
        until(|| store.state(&md5(A)) == Some(Kind::Complete)).await;
    });
}

#[test]
fn a_renamed_part_is_noticed_without_events() {
    let directory = directory();
    let part = directory.path().join(format!("{A}.part"));
    append(&part, b"video");
    let store = open(&directory);
    let mut content = opened(&store, A);
    content.available().expect("there");
    fs::rename(&part, directory.path().join(A)).expect("rename");
    std::thread::sleep(GROWTH_POLL);
    assert_eq!(content.available(), Ok(Extent { available: 5, complete: true }));
}

#[test]
fn a_shrunk_part_ends_its_readers() {
    let directory = directory();
    let part = directory.path().join(format!("{A}.part"));
    append(&part, b"video");
    let store = open(&directory);
    let mut content = opened(&store, A);
    content.available().expect("there");
    fs::write(&part, b"vi").expect("write");
    assert_eq!(content.available(), Err(Gone::Shrunk));
}

#[test]
fn a_deleted_part_ends_its_readers() {
    let directory = directory();
    let part = directory.path().join(format!("{A}.part"));
    append(&part, b"video");
    let store = open(&directory);
    let mut content = opened(&store, A);
    content.available().expect("there");
    fs::remove_file(&part).expect("remove");
    assert_eq!(content.available(), Err(Gone::Removed));
}

#[test]
fn a_replaced_part_ends_its_readers() {
    let directory = directory();
    let part = directory.path().join(format!("{A}.part"));
    append(&part, b"video");
    // Another link keeps the first file alive, so that only its name tells.
    fs::hard_link(&part, directory.path().join("kept")).expect("link");
    let store = open(&directory);
    let mut content = opened(&store, A);
    content.available().expect("there");
    append(&directory.path().join("new"), b"other video");
    fs::rename(directory.path().join("new"), &part).expect("rename");
    std::thread::sleep(GROWTH_POLL);
    assert_eq!(content.available(), Err(Gone::Replaced));
}

#[test]
fn a_complete_content_that_is_written_to_ends_its_readers() {
    let directory = directory();
    append(&directory.path().join(A), b"video");
    let store = open(&directory);
    let mut content = opened(&store, A);
    content.available().expect("there");
    append(&directory.path().join(A), b"!");
    assert_eq!(content.available(), Err(Gone::Changed));
}

#[test]
fn contents_come_and_go_with_their_files() {
    let directory = directory();
    let store = open(&directory);
    watching(&store, async {
        let scans = store.stats().scans;
        append(&directory.path().join(format!("{A}.part")), b"");
        until(|| store.state(&md5(A)) == Some(Kind::Part)).await;
        append(&directory.path().join(B), b"video");
        until(|| store.state(&md5(B)) == Some(Kind::Complete)).await;
        fs::remove_file(directory.path().join(B)).expect("remove");
        until(|| store.state(&md5(B)).is_none()).await;
        assert_eq!(store.stats().scans, scans, "single names need no scan");
    });
}

#[test]
fn md5sums_offers_files_under_their_own_names() {
    let directory = directory();
    fs::create_dir(directory.path().join("sub")).expect("mkdir");
    fs::write(directory.path().join("sub/a video.mp4"), b"video").expect("write");
    fs::write(directory.path().join("MD5SUMS"), format!("{A} *sub/a video.mp4\n{B}  missing.mp4\n")).expect("write");
    let store = open(&directory);
    assert_eq!(store.state(&md5(A)), Some(Kind::Complete));
    assert_eq!(read(&opened(&store, A)), b"video");
    assert_eq!(store.state(&md5(B)), None);
    assert!(matches!(store.open_content(&md5(B)), Ok(None)));
    assert_eq!(store.stats().listed, 2);
}

#[test]
fn a_changed_md5sums_is_read_again() {
    let directory = directory();
    fs::write(directory.path().join("video.mp4"), b"video").expect("write");
    let store = open(&directory);
    watching(&store, async {
        fs::write(directory.path().join("MD5SUMS"), format!("{A}  video.mp4\n")).expect("write");
        until(|| store.state(&md5(A)) == Some(Kind::Complete)).await;
        fs::write(directory.path().join("MD5SUMS"), format!("{B}  video.mp4\n")).expect("write");
        until(|| store.state(&md5(B)) == Some(Kind::Complete) && store.state(&md5(A)).is_none()).await;
        fs::remove_file(directory.path().join("MD5SUMS")).expect("remove");
        until(|| store.stats().contents == 0).await;
    });
}

#[test]
fn a_path_in_md5sums_cannot_leave_the_directory() {
    let outside = directory();
    fs::write(outside.path().join("secret"), b"secret").expect("write");
    let inside = outside.path().join("inside");
    fs::create_dir(&inside).expect("mkdir");
    symlink(outside.path(), inside.join("link")).expect("symlink");
    let secret = outside.path().join("secret");
    fs::write(
        inside.join("MD5SUMS"),
        format!("{A}  {}\n{A}  ../secret\n{A}  link/../secret\n{B}  link/secret\n", secret.display()),
    )
    .expect("write");
    let store = Store::open(&inside, &[]).expect("the store");
    for name in [A, B] {
        assert_eq!(store.state(&md5(name)), None);
        assert!(matches!(store.open_content(&md5(name)), Ok(None)));
    }
    assert_eq!(store.stats().refused_lines, 3);
    assert_eq!(store.stats().warnings, 1);
}

#[test]
fn garbage_in_md5sums_is_one_warning_until_it_changes() {
    let directory = directory();
    fs::write(directory.path().join("video.mp4"), b"video").expect("write");
    fs::write(directory.path().join("MD5SUMS"), format!("# by hand\n\n{A}  video.mp4\r\nrubbish\n")).expect("write");
    let store = open(&directory);
    store.rescan();
    assert_eq!(store.stats().refused_lines, 2);
    assert_eq!(store.stats().warnings, 1);
    assert_eq!(store.state(&md5(A)), Some(Kind::Complete));
}

#[test]
fn more_contents_than_the_limit_is_one_warning_that_names_the_number() {
    let directory = directory();
    let name = |number: usize| format!("{:032x}", number * 7);
    for number in 0..CONTENTS + 3 {
        fs::write(directory.path().join(name(number)), b"").expect("write");
    }
    let store = open(&directory);
    store.rescan();
    let stats = store.stats();
    assert_eq!((stats.contents, stats.found, stats.warnings), (CONTENTS, CONTENTS + 3, 1));
    watching(&store, async {
        for number in 0..CONTENTS + 3 {
            if number % 1000 == 0 {
                fs::remove_file(directory.path().join(name(number))).expect("remove");
            }
        }
        // There is room for those that were left out.
        until(|| store.stats().found == CONTENTS + 3 - 9 && store.stats().contents == CONTENTS + 3 - 9).await;
        assert_eq!(store.stats().warnings, 1);
    });
}

#[test]
fn an_unreadable_file_is_left_out_with_a_warning() {
    let directory = directory();
    for (name, mode) in [(A, 0o000), (B, 0o644)] {
        fs::write(directory.path().join(name), b"video").expect("write");
        fs::set_permissions(directory.path().join(name), fs::Permissions::from_mode(mode)).expect("chmod");
    }
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    // As root every file is readable; this thread is somebody else for the kernel's file checks.
    let somebody = nix::unistd::Uid::from_raw(65_534);
    let before = nix::unistd::geteuid();
    if before.is_root() {
        nix::unistd::setfsuid(somebody);
        if fs::read(directory.path().join(A)).is_ok() {
            // In a user namespace there may be nobody else to be.
            return;
        }
    }
    let store = open(&directory);
    store.rescan();
    let (stats, opened) = (store.stats(), store.open_content(&md5(A)).map(|found| found.is_some()));
    if before.is_root() {
        nix::unistd::setfsuid(before);
    }
    assert_eq!((stats.contents, stats.unreadable, stats.warnings), (1, 1, 1));
    assert_eq!(opened, Err(OpenError::NotReadable));
    assert_eq!(store.state(&md5(A)), None);
}

/// What the sync client, or a person, does in the directory.
#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Truncate(usize),
    Finish(usize),
    Remove(usize),
    List(Vec<usize>),
    Unlist,
    Obstruct(usize),
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    let number = || 0..4usize;
    prop_oneof![
        number().prop_map(Step::Append),
        number().prop_map(Step::Truncate),
        number().prop_map(Step::Finish),
        number().prop_map(Step::Remove),
        prop::collection::vec(number(), 0..4).prop_map(Step::List),
        Just(Step::Unlist),
        number().prop_map(Step::Obstruct),
        Just(Step::Wait),
    ]
}

/// Steps that cannot be taken are no steps.
fn take(step: &Step, path: &Path) {
    let name = |number: usize| path.join(format!("{number:032x}"));
    let part = |number: usize| path.join(format!("{number:032x}.part"));
    let _ = match step {
        Step::Append(number) => fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(part(*number))
            .and_then(|mut file| file.write_all(b"x")),
        Step::Truncate(number) => fs::write(part(*number), b""),
        Step::Finish(number) => fs::rename(part(*number), name(*number)),
        Step::Remove(number) => fs::remove_file(name(*number)).or_else(|_| fs::remove_dir(part(*number))),
        Step::List(numbers) => fs::write(
            path.join("MD5SUMS"),
            numbers.iter().map(|number| format!("{number:032x}  video\n")).collect::<String>(),
        ),
        Step::Unlist => fs::remove_file(path.join("MD5SUMS")),
        Step::Obstruct(number) => fs::create_dir(part(*number)),
        Step::Wait => {
            std::thread::sleep(Duration::from_millis(10));
            Ok(())
        }
    };
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn after_any_events_the_store_knows_what_a_fresh_one_finds(
        steps in prop::collection::vec(step(), 0..40),
        pauses in prop::collection::vec(any::<bool>(), 40),
    ) {
        let directory = directory();
        fs::write(directory.path().join("video"), b"video").expect("write");
        let store = open(&directory);
        watching(&store, async {
            for (step, pause) in steps.iter().zip(pauses) {
                take(step, directory.path());
                if pause {
                    smol::future::yield_now().await;
                }
            }
            let fresh = open(&directory);
            let states = |store: &Store| -> Vec<_> {
                (0..4).map(|number| store.state(&md5(&format!("{number:032x}")))).collect()
            };
            until(|| states(&store) == states(&fresh) && store.stats().contents == fresh.stats().contents).await;
        });
    }
}

#[test]
fn a_queue_that_ran_over_loses_nothing() {
    let limit =
        fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").ok().and_then(|text| text.trim().parse().ok());
    let Some(limit @ 0..200_000usize) = limit else { return };
    let directory = directory();
    let store = open(&directory);
    watching(&store, async {
        // The store does not run in the meantime.
        let (one, other) = (directory.path().join("one"), directory.path().join("other"));
        fs::write(&one, b"").expect("write");
        for _ in 0..limit / 4 + 1 {
            fs::rename(&one, &other).and_then(|()| fs::rename(&other, &one)).expect("rename");
        }
        append(&directory.path().join(A), b"video");
        until(|| store.state(&md5(A)) == Some(Kind::Complete)).await;
    });
}

#[test]
fn a_directory_that_goes_takes_its_contents_along_and_brings_them_back() {
    let parent = directory();
    let (path, aside) = (parent.path().join("content"), parent.path().join("aside"));
    fs::create_dir(&path).expect("mkdir");
    append(&path.join(format!("{A}.part")), b"video");
    let store = Rc::new(Store::open(&path, &[]).expect("the store"));
    watching(&store, async {
        let mut content = opened(&store, A);
        fs::rename(&path, &aside).expect("rename");
        until(|| !store.stats().present).await;
        assert_eq!((store.stats().contents, store.stats().warnings), (0, 1));
        assert_eq!(store.state(&md5(A)), None);
        assert_eq!(store.find(&ContentKeys::derive(&DomainKey::open(), &md5(A)).id()), None);
        assert_eq!(content.available(), Err(Gone::Directory));
        fs::rename(&aside, &path).expect("rename");
        until(|| store.state(&md5(A)) == Some(Kind::Part)).await;
        assert_eq!(opened(&store, A).available(), Ok(Extent { available: 5, complete: false }));
        assert_eq!(store.stats().warnings, 1);
    });
}

#[test]
fn a_directory_that_cannot_be_used_is_one_clear_sentence() {
    let parent = directory();
    let file = parent.path().join("file");
    fs::write(&file, b"").expect("write");
    assert_eq!(
        Store::open(&file, &[]).map(drop).expect_err("no store").to_string(),
        format!("content directory {} is not a directory; name another", file.display())
    );
}

#[test]
fn a_directory_that_is_not_mounted_yet_is_waited_for() {
    let parent = directory();
    let path = parent.path().join("content");
    let store = Rc::new(Store::open(&path, &[]).expect("a store that waits"));
    assert_eq!((store.stats().present, store.stats().contents, store.stats().warnings), (false, 0, 1));
    assert_eq!(store.state(&md5(A)), None);
    assert!(store.open_content(&md5(A)).expect("no error").is_none());
    let other = parent.path().join("other");
    fs::create_dir(&other).expect("create");
    fs::write(other.join(A), b"video").expect("write");
    fs::rename(&other, &path).expect("rename");
    watching(&store, async {
        until(|| store.state(&md5(A)) == Some(Kind::Complete)).await;
        assert_eq!((store.stats().present, store.stats().warnings), (true, 1));
    });
}
