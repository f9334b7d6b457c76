//! The behaviour of `p2p-fetch`, the real program, against a real little origin and a scripted local API.
//!
//! Behaviours 3, 4, 16, 27, 35, 36 and promises 3 and 4 of the design, as far as they are the sync client's.
#![cfg(feature = "fetch")]

mod agent;
mod disk;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use support::client::{Device, Fetched, Running};
use support::local_api::{LocalApi, Say, advice, fetch, relay, relay_chunked, text};
use support::origin::{Fault, Origin};
use support::{bytes, tls};

const SIZE: usize = 1 << 20;

/// A device that wants 1 MiB, and the origin that has it.
fn site(bytes_per_second: Option<u64>) -> (Device, Origin) {
    let content = bytes(1, SIZE);
    (Device::new(&content), Origin::start(content, bytes_per_second))
}

// --- without an agent -------------------------------------------------------------------------------------------

#[test]
fn without_an_agent_it_is_a_plain_downloader() {
    let (device, origin) = site(None);
    let fetched = device.fetch(&origin.url());
    fetched.assert_done();
    device.assert_whole();
    assert_eq!(fetched.number("bytes_from_internet"), SIZE as u64);
    assert_eq!(fetched.number("bytes_from_peers"), 0);
    assert!(fetched.out.contains("\"reason\":\"no agent at "), "{fetched:?}");
}

#[test]
fn what_is_already_there_is_not_fetched_again() {
    let (device, origin) = site(None);
    device.fetch(&origin.url()).assert_done();
    device.fetch(&origin.url()).assert_done();
    assert_eq!(origin.sent(), SIZE as u64);
}

#[test]
fn a_cut_download_goes_on_where_it_was_cut() {
    let (device, origin) = site(None);
    for _ in 0..5 {
        origin.fail_once(Fault::CutAfter(100_000));
    }
    device.fetch(&origin.url()).assert_done();
    device.assert_whole();
    assert_eq!(origin.sent(), SIZE as u64, "no byte was sent twice");
}

#[test]
fn the_bytes_of_an_earlier_run_are_not_fetched_again() {
    let (device, origin) = site(None);
    let device = device.with_part(700_001);
    let fetched = device.fetch(&origin.url());
    fetched.assert_done();
    device.assert_whole();
    assert_eq!(fetched.number("bytes_resumed"), 700_001);
    assert_eq!(origin.ranges(), [Some(700_001)]);
    assert_eq!(origin.sent(), SIZE as u64 - 700_001);
}

#[test]
fn an_earlier_run_that_ended_before_the_rename_costs_nothing() {
    let (device, origin) = site(None);
    let device = device.with_part(SIZE);
    device.fetch(&origin.url()).assert_done();
    device.assert_whole();
    assert_eq!(origin.ranges(), []);
}

#[test]
fn an_empty_content_needs_no_network() {
    let device = Device::new(b"");
    device.fetch("http://127.0.0.1:9/").assert_done();
    device.assert_whole();
}

#[test]
fn an_origin_without_ranges_is_read_up_to_the_place() {
    for fault in [Fault::NoRange, Fault::WrongRange] {
        let (device, origin) = site(None);
        let device = device.with_part(300_000);
        origin.fail_always(fault);
        device.fetch(&origin.url()).assert_done();
        device.assert_whole();
    }
}

#[test]
fn an_https_origin_is_fetched_from_and_resumed() {
    let (device, origin) = site(None);
    let url = format!("https://{}/content.bin", tls::serve(origin.address()));
    origin.fail_once(Fault::CutAfter(400_000));
    let fetched = device.command(&url).arg("--ca").arg(tls::ca()).output().unwrap();
    Fetched::from(fetched).assert_done();
    device.assert_whole();
    assert_eq!(origin.ranges(), [None, Some(400_000)]);
}

#[test]
fn an_https_origin_of_unknown_provenance_gets_no_request() {
    let (device, origin) = site(None);
    let url = format!("https://{}/content.bin", tls::serve(origin.address()));
    let fetched = device.command(&url).args(["--retries", "0"]).output().unwrap();
    Fetched::from(fetched).assert_failed(69, "certificate");
    assert_eq!(origin.ranges(), []);
}

#[test]
fn redirects_and_passing_errors_are_followed() {
    let (device, origin) = site(None);
    for fault in [Fault::Redirect, Fault::Status(503), Fault::Status(500), Fault::Redirect] {
        origin.fail_once(fault);
    }
    device.fetch(&origin.url()).assert_done();
    device.assert_whole();
}

#[test]
fn a_kill_at_any_moment_leaves_no_wrong_content_and_the_next_run_goes_on() {
    let (device, origin) = site(Some(4_000_000));
    let mut kills = 0;
    for step in [1, 60_000, 300_000, 500_000, 900_000, SIZE as u64 - 1] {
        let mut running = Running(device.command(&origin.url()).spawn().unwrap());
        device.await_part(step);
        running.0.kill().unwrap(); // SIGKILL
        running.0.wait().unwrap();
        kills += 1;
        if device.whole().exists() {
            break;
        }
    }
    device.fetch(&origin.url()).assert_done();
    device.assert_whole();
    // What was on the way at a kill is lost, nothing else.
    assert!(origin.sent() < SIZE as u64 + kills * 400_000, "{} bytes were sent", origin.sent());
}

#[test]
fn wrong_content_is_told_and_never_gets_its_name() {
    let (device, origin) = site(None);
    origin.fail_always(Fault::WrongBytes);
    device.fetch(&origin.url()).assert_failed(65, "does not match");
    device.assert_nothing();
    assert!(!device.part().exists());
    assert_eq!(origin.ranges(), [None, None], "once more from the start, no oftener");
}

#[test]
fn a_damaged_part_costs_one_new_download() {
    let (device, origin) = site(None);
    fs::write(device.part(), vec![0; 500_000]).unwrap(); // what a power cut may leave
    device.fetch(&origin.url()).assert_done();
    device.assert_whole();
    assert_eq!(origin.ranges(), [Some(500_000), None]);
}

#[test]
fn a_part_that_is_longer_than_the_content_is_dropped() {
    for fault in [Fault::None, Fault::NoRange] {
        let (device, origin) = site(None);
        fs::write(device.part(), bytes(1, SIZE + 10)).unwrap();
        origin.fail_once(fault);
        device.fetch(&origin.url()).assert_done();
        device.assert_whole();
    }
}

#[test]
fn a_page_in_the_place_of_the_content_costs_nothing_of_what_is_there() {
    for fault in [Fault::Page, Fault::PageWithoutLength, Fault::ShorterSaid(100)] {
        let (device, origin) = site(None);
        let device = device.with_part(700_001);
        origin.fail_always(fault);
        device.fetch(&origin.url()).assert_failed(69, "shorter than what is there");
        assert_eq!(device.part_len(), 700_001);
        origin.fail_always(Fault::None);
        device.fetch(&origin.url()).assert_done();
        device.assert_whole();
        assert_eq!(origin.ranges().last(), Some(&Some(700_001)));
    }
}

#[test]
fn an_answer_without_a_length_continues_what_is_there() {
    let (device, origin) = site(None);
    let device = device.with_part(700_001);
    origin.fail_always(Fault::NoLengthNoRange);
    device.fetch(&origin.url()).assert_done();
    device.assert_whole();
}

#[test]
fn more_than_there_is_is_not_written() {
    let (device, origin) = site(None);
    origin.fail_always(Fault::TooMuch);
    let fetched = device.command(&origin.url()).args(["--size", &SIZE.to_string()]).output().unwrap();
    Fetched::from(fetched).assert_failed(69, "sends more than 1048576 bytes");
    assert!(device.part_len() <= SIZE as u64);
}

#[test]
fn a_password_in_an_address_is_not_printed() {
    let (device, origin) = site(None);
    origin.fail_always(Fault::Status(404));
    let fetched = device.fetch(&origin.url().replace("http://", "http://user:secret@"));
    fetched.assert_failed(69, "http://…@127.0.0.1");
    assert!(!fetched.err.contains("secret"), "{fetched:?}");
}

#[test]
fn a_complete_file_of_another_size_is_not_taken_for_the_content() {
    let (device, origin) = site(None);
    fs::write(device.whole(), "").unwrap();
    device.fetch(&origin.url()).assert_failed(74, "remove it and start again");
    fs::write(device.whole(), "abc").unwrap();
    let fetched = device.command(&origin.url()).args(["--size", &SIZE.to_string()]).output().unwrap();
    Fetched::from(fetched).assert_failed(74, "has 3 bytes instead of 1048576");
    fs::remove_file(device.whole()).unwrap();
    device.fetch(&origin.url()).assert_done();
    device.assert_whole();
}

#[test]
fn a_wrong_sha256_counts_although_the_md5_is_right() {
    let (device, origin) = site(None);
    let fetched = device.command(&origin.url()).args(["--sha256", &"0".repeat(64)]).output().unwrap();
    Fetched::from(fetched).assert_failed(65, "does not match");
    device.assert_nothing();
}

#[test]
fn an_origin_that_is_not_there_is_unavailable() {
    let (device, origin) = site(None);
    let url = origin.url();
    let device = device.with_part(1_000);
    drop(origin);
    let fetched = device.command("http://127.0.0.1:9/x").args(["--retries", "1"]).output().unwrap();
    Fetched::from(fetched).assert_failed(69, "cannot download");
    assert_eq!(device.part_len(), 1_000, "{url}: what is there stays");
}

#[test]
fn a_file_that_the_origin_does_not_have_is_unavailable_at_once() {
    let (device, origin) = site(None);
    origin.fail_always(Fault::Status(404));
    device.fetch(&origin.url()).assert_failed(69, "status 404");
    assert_eq!(origin.ranges().len(), 1);
    assert!(!device.part().exists(), "an empty .part is of no use");
}

#[test]
fn a_response_without_a_length_that_ends_early_is_not_taken_for_the_whole() {
    let (device, origin) = site(None);
    origin.fail_once(Fault::NoLengthCutAfter(400_000));
    let size = SIZE.to_string();
    Fetched::from(device.command(&origin.url()).args(["--size", &size]).output().unwrap()).assert_done();
    device.assert_whole();
    assert_eq!(origin.ranges(), [None, Some(400_000)]);
}

// --- the command line -------------------------------------------------------------------------------------------

#[test]
fn wrong_usage_is_told_in_a_sentence() {
    let device = Device::new(b"");
    for (arguments, sentence) in [
        (vec!["xyz", "http://127.0.0.1/"], "not an MD5"),
        (vec![&*device.md5, "ftp://127.0.0.1/"], "neither an https:// nor an http://"),
        (vec![&*device.md5], "MD5 and URL are needed"),
        (vec![&*device.md5, "https:///clip.mp4"], "names no host"),
        (vec![&*device.md5, "http://127.0.0.1/a b"], "a character that no address has"),
        (vec![&*device.md5, "http://127.0.0.1/", "more"], "\"more\""),
        (vec!["--jobs", "5"], "--jobs must be 1 to 4"),
        (vec!["--size", "much"], "--size takes a whole number, not \"much\""),
        (vec!["--list", "/nonexistent"], "/nonexistent cannot be read"),
        (vec!["--ca", "/dev/null"], "no certificate in /dev/null"),
        (vec!["--frobnicate"], "--frobnicate"),
    ] {
        Fetched::from(device.bare_command().args(arguments).output().unwrap()).assert_failed(64, sentence);
    }
}

/// As where the reader of its log is gone, or the disk of it full.
#[test]
fn two_lines_of_one_file_are_one_with_the_checks_of_both() {
    let (device, origin) = site(None);
    let (url, list, none) = (origin.url(), device.socket().with_file_name("list"), "0".repeat(64));
    let fetch = |lines: String| {
        fs::write(&list, lines).unwrap();
        Fetched::from(device.bare_command().arg("--list").arg(&list).output().unwrap())
    };
    let md5 = &device.md5;
    fetch(format!("{md5} {url}\n{md5} {url} {none}\n")).assert_failed(65, "does not match");
    fetch(format!("{md5} {url} {}\n{md5} {url} {none}\n", "1".repeat(64))).assert_failed(64, "another SHA-256");
}

#[test]
fn who_cannot_write_what_it_says_does_what_it_does_all_the_same() {
    let deaf = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (device, origin) = site(None);
    let done = device.command(&origin.url()).stderr(deaf()).stdout(deaf()).status().unwrap();
    assert_eq!(done.code(), Some(0));
    device.assert_whole();
    let wrong = device.bare_command().arg("--frobnicate").stderr(deaf()).status().unwrap();
    assert_eq!(wrong.code(), Some(64));
}

#[test]
fn help_teaches_and_version_tells() {
    let said = |option| Command::new(env!("CARGO_BIN_EXE_p2p-fetch")).arg(option).output().unwrap().stdout;
    assert!(String::from_utf8(said("--help")).unwrap().contains("Example: "));
    assert!(String::from_utf8(said("--version")).unwrap().starts_with("p2p-fetch 0."));
}

#[test]
fn a_list_is_fetched_as_a_whole_and_one_failure_does_not_stop_it() {
    let (device, origin) = site(None);
    let wrong = "0".repeat(32);
    let list = device.socket().with_file_name("list");
    let url = origin.url();
    fs::write(&list, format!("# a sync file\n\n{wrong} {url}\n{} {url} # twice\n{} {url}\n", device.md5, device.md5))
        .unwrap();
    let fetched = Fetched::from(device.bare_command().arg("--list").arg(&list).output().unwrap());
    fetched.assert_failed(65, &wrong);
    device.assert_whole();
    assert_eq!(fetched.out.lines().count(), 1);
}
