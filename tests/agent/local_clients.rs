//! Several local clients at once.

use std::thread;

use crate::lab::local::End;
use crate::lab::{Agent, Content, Site, wait_for};

#[test]
fn a_second_client_of_one_content_reads_along_behind_the_first() {
    let site = Site::new();
    let [holder, device] = site.agents_with([&["--max-upload", "1MB"], &[]]);
    let content = Content::random(50, 1_500_000);
    holder.hold(&content);
    let mut first = device.get(&content.path());
    let mut part = device.begin_part(&content, 0);
    let body = first.at_least(200_000);
    part.grow_to(&content, body.len());
    let mut second = device.get(&format!("{}?size=1500000", content.path()));
    assert_eq!(second.status, 200);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut have = body.len();
            loop {
                let more = first.some();
                have += more.len();
                part.grow_to(&content, have);
                if more.is_empty() {
                    break;
                }
            }
            assert_eq!(have, content.bytes.len());
            part.finish();
        });
        second.assert_is(&content.bytes);
    });
    let sent = holder.metric("p2p_bytes_total{to=\"peers\"}");
    assert_eq!(sent, 1_500_000, "the content crossed the link once");
}

#[test]
fn a_second_client_that_finds_nothing_to_read_along_is_asked_to_wait_not_to_fetch() {
    let site = Site::new();
    let [holder, device] = site.agents_with([&["--max-upload", "500kB"], &[]]);
    let content = Content::random(51, 4 << 20);
    holder.hold(&content);
    let mut first = device.get(&content.path());
    assert_eq!(first.status, 200);
    first.at_least(1);
    let second = device.get(&content.path());
    assert_eq!((second.status, second.field("P2P-Advice")), (503, None));
    assert!(second.field("Retry-After").is_some());
}

#[test]
fn a_fifth_local_transfer_is_asked_to_wait_not_to_fetch() {
    let site = Site::new();
    let [holder, device] = site.agents();
    // More than the buffers between two programs of one device take.
    let contents: Vec<_> = (60..65).map(|seed| Content::random(seed, 4 << 20)).collect();
    contents.iter().for_each(|content| holder.hold(content));
    let mut four: Vec<_> = contents[..4].iter().map(|content| device.get(&content.path())).collect();
    assert!(four.iter().all(|reply| reply.status == 200));
    let fifth = device.get(&contents[4].path());
    assert_eq!((fifth.status, fifth.field("P2P-Advice")), (503, None));
    assert_eq!(fifth.field("Retry-After").as_deref(), Some("1"));
    for (reply, content) in four.iter_mut().zip(&contents) {
        // A slow client delays nobody and loses nothing.
        reply.assert_is(&content.bytes);
    }
    device.get(&contents[4].path()).assert_is(&contents[4].bytes);
}

#[test]
fn a_client_that_hangs_up_frees_its_place_and_the_peers_slot() {
    let site = Site::new();
    let [holder, device] = site.agents();
    let content = Content::random(66, 4 << 20);
    holder.hold(&content);
    for _ in 0..6 {
        let mut reply = device.get(&content.path());
        assert_eq!(reply.status, 200);
        reply.at_least(100_000);
        drop(reply);
        crate::lab::wait_for("the relay is free", || {
            device.get("/v1/status").text().contains("\"relays_free\":4") && holder.metric("p2p_transfers_active") == 0
        });
    }
    device.get(&content.path()).assert_is(&content.bytes);
}

#[test]
fn wrong_bytes_under_a_right_name_never_end_cleanly_and_lead_to_the_internet() {
    for size in ["", "?size=150000"] {
        let site = Site::new();
        let [poisoned, device] = site.agents();
        let mut content = Content::random(67, 150_000);
        let name = content.md5.clone();
        content.bytes[149_999] ^= 1;
        poisoned.hold_as(&name, &content.bytes);
        poisoned.wait_until_known(&name, "complete");
        let target = format!("{}{size}", content.path());
        let (body, end) = device.get(&target).rest();
        assert_eq!(end, End::Cut);
        assert!(body.len() < 150_000, "the last byte is held back");
        let body_of_device = body.len();
        // Also to the own client, from the own directory.
        let (body, end) = poisoned.get(&target).rest();
        assert!(body.len() < 150_000 && end == End::Cut);
        // Nor are they continued, by a client that takes this for an ordinary cut.
        let part = device.begin_part(&content, body_of_device);
        assert_eq!(device.resume(&target, body_of_device).status, 400);
        drop(part);
        std::fs::remove_file(device.content_directory().join(format!("{name}.part"))).unwrap();
        device.get(&target).assert_fetch(&["md5-failed"]);
        assert_eq!(device.metric("p2p_corrupt_total{what=\"content\"}"), 1);
    }
}

#[test]
fn a_holder_of_a_wrong_file_is_told_hashes_it_again_and_offers_it_no_more_until_it_is_replaced() {
    let site = Site::new();
    let [holder, device, another] = site.agents();
    let mut content = Content::random(69, 300_000);
    content.bytes[7] ^= 1;
    holder.hold_as(&content.md5, &content.bytes);
    holder.wait_until_known(&content.md5, "complete");
    let target = content.path();
    assert_eq!(device.get(&target).rest().1, End::Cut);
    assert!(!holder.log().contains("does not match its MD5"));
    // Asking again is the blame.
    device.get(&target).assert_fetch(&["md5-failed"]);
    wait_for("the holder has found out", || holder.log().contains("does not match its MD5"));
    // Who knows the MD5 can take part: logs go to places that many read.
    assert!(!holder.log().contains(&content.md5) && !device.log().contains(&content.md5));
    assert_eq!(holder.metric("p2p_corrupt_total{what=\"content\"}"), 1);
    assert!(!holder.get(&format!("/v1/explain/{}", content.md5)).text().contains("complete"));
    content.bytes[7] ^= 1;
    holder.hold_as(&content.md5, &content.bytes);
    holder.wait_until_known(&content.md5, "complete");
    another.get(&target).assert_is(&content.bytes);
}

#[test]
fn a_part_with_wrong_bytes_poisons_its_follower_once_and_no_more() {
    let site = Site::new();
    let [fetcher, follower] = site.agents();
    let mut wrong = Content::random(68, 150_000);
    wrong.bytes[0] ^= 1;
    let mut part = fetcher.begin_part(&wrong, 100_000);
    fetcher.report(&format!("content={}&event=fetching&offset=100000&internet=0&size=150000", wrong.md5));
    fetcher.wait_until_known(&wrong.md5, "fetching");
    let mut reply = follower.get(&wrong.path());
    assert_eq!(reply.status, 200);
    reply.at_least(100_000);
    part.grow_to(&wrong, 150_000);
    let (_, end) = reply.rest();
    assert_eq!(end, End::Cut);
    // The fetcher finds out, too, and drops its part.
    std::fs::remove_file(part.path()).unwrap();
    let told = fetcher.report(&format!("content={}&event=verify-failed&offset=0&internet=150000", wrong.md5));
    assert_eq!(told.status, 200);
    follower.get(&wrong.path()).assert_fetch(&["md5-failed", "elected"]);
}

/// Sets how many files the agent may have open, and returns how many it was.
fn limit_files(agent: &Agent, files: u64) -> u64 {
    use nix::libc;
    let new = libc::rlimit { rlim_cur: files, rlim_max: libc::RLIM_INFINITY };
    let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let pid = libc::pid_t::try_from(agent.pid()).unwrap();
    // SAFETY: reads the one limit and writes the other; both outlive the calls.
    unsafe {
        assert_eq!(libc::prlimit(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut old), 0);
        let new = libc::rlimit { rlim_max: old.rlim_max, ..new };
        assert_eq!(libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const new, std::ptr::null_mut()), 0);
    }
    old.rlim_cur
}

#[test]
fn a_directory_that_cannot_be_listed_for_a_moment_loses_no_content() {
    let site = Site::new();
    let mut agent = site.device();
    // Who may set limits of another user's process is not everywhere the one who runs tests.
    agent.start(&["--user", nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name.as_str()]);
    let content = Content::random(58, 1_000);
    agent.hold(&content);
    let files = limit_files(&agent, 3);
    // Asks for a scan.
    agent.hold_as("MD5SUMS", b"");
    std::thread::sleep(std::time::Duration::from_secs(1));
    limit_files(&agent, files);
    assert!(agent.log().contains("cannot be read to its end"));
    assert!(agent.get("/v1/status").text().contains("\"contents\":1"), "{}", agent.log());
}
