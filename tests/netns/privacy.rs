//! Somebody on the wire: what they see, and what they can do.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use p2p_agent::limits::{PORT, RECORD_BYTES};

use crate::lab;
use crate::lab::namespace::Namespace;
use crate::lab::origin::Content;
use crate::lab::packets::{Capture, Flipper};
use crate::lab::peer::{Asker, send_with_ttl};

/// The link of a bad peer.
const SLOW_MBIT: u32 = 10;
/// One record, and what was under way behind it on a link that slow, until a busy machine has found it bad.
const WASTE: u64 = 4 * RECORD_BYTES as u64;
const CORRUPT_RECORDS: &str = "p2p_corrupt_total{what=\"record\"}";

#[test]
fn a_capture_of_a_whole_run_contains_neither_the_md5_nor_plaintext() {
    lab::run(a_capture_of_a_whole_run_contains_neither_the_md5_nor_plaintext, |site| {
        let content = Content::random(8, 4 << 20);
        let url = site.origin.publish(&content);
        let capture = Capture::start(&site.lan.switch);
        let devices = site.agents(4);
        devices[0].hold(&content);
        let mut clients: Vec<_> = devices[1..].iter().map(|device| device.fetch(&content, &url)).collect();
        for (device, client) in devices[1..].iter().zip(&mut clients) {
            client.succeed_within(Duration::from_secs(30));
            device.assert_holds(&content);
        }
        let frames = capture.stop();
        assert_eq!(site.origin.requests(), 0, "all of it came from peers");
        assert!(frames.bytes() as u64 > 3 * content.size(), "three transfers are in the capture");
        assert!(frames.with(b"/p2p/1/") >= 6, "each of them with its query and its take");

        let md5: Vec<u8> = content.md5.as_bytes().chunks(2).map(digits).collect();
        assert_eq!(frames.with(content.md5.as_bytes()), 0, "the MD5 in hex");
        assert_eq!(frames.with(content.md5.to_uppercase().as_bytes()), 0, "the MD5 in upper-case hex");
        assert_eq!(frames.with(&md5), 0, "the MD5 in binary");
        assert_eq!(frames.with_piece_of(&content.bytes), 0, "plaintext");
    });
}

#[test]
fn what_a_capture_must_not_contain_would_be_found_in_it() {
    lab::run(what_a_capture_must_not_contain_would_be_found_in_it, |site| {
        let content = Content::random(9, 1 << 20);
        let url = site.origin.publish(&content);
        let device = site.device(0);
        let capture = Capture::start(&site.lan.switch);
        let path = url.rsplit_once('/').unwrap().1.to_owned();
        let mut body = Vec::new();
        device.namespace.enter(|| {
            let mut stream = TcpStream::connect("10.78.0.2:80").unwrap();
            write!(stream, "GET /{path} HTTP/1.1\r\nX-Content: {}\r\n\r\n", content.md5).unwrap();
            stream.read_to_end(&mut body).unwrap();
        });
        assert!(body.ends_with(&content.bytes));
        let frames = capture.stop();
        assert_eq!(frames.with(content.md5.as_bytes()), 1);
        assert!(frames.with_piece_of(&content.bytes) > 0);
        assert_eq!(frames.with_piece_of(&Content::random(10, 1 << 20).bytes), 0);
    });
}

#[test]
fn what_is_flipped_on_the_wire_arrives_with_a_right_checksum() {
    lab::run(what_is_flipped_on_the_wire_arrives_with_a_right_checksum, |site| {
        let content = Content::random(14, 1 << 20);
        let device = site.device(0);
        let flipper = Flipper::insert(&device, &mut site.lan);
        let listener = device.namespace.enter(|| TcpListener::bind((device.address, PORT))).unwrap();
        let mut received = Vec::new();
        thread::scope(|scope| {
            scope.spawn(|| listener.accept().unwrap().0.write_all(&content.bytes).unwrap());
            site.router.enter(|| {
                let mut stream = TcpStream::connect((device.address, PORT)).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                stream.read_to_end(&mut received).unwrap();
            });
        });
        assert_eq!(received.len(), content.bytes.len());
        let changed = received.iter().zip(&content.bytes).filter(|(got, sent)| got != sent).count();
        assert!(changed >= content.bytes.len() / 1_500, "{changed} bytes changed, {} sent", flipper.flipped());
        assert!(changed as u64 <= flipper.flipped());
    });
}

#[test]
fn bytes_flipped_on_the_wire_never_reach_a_client() {
    lab::run(bytes_flipped_on_the_wire_never_reach_a_client, |site| {
        let content = Content::random(11, 8 << 20);
        let url = site.origin.publish(&content);
        let mut bad = site.device(0);
        let flipper = Flipper::insert(&bad, &mut site.lan);
        bad.shape(SLOW_MBIT);
        let mut device = site.device(1);
        bad.hold(&content);
        bad.start();
        device.start();
        device.wait_for_peer(bad.address);

        // Straight from the local API: whatever arrives there is a right beginning of the content, and is not all of it.
        let answer = device.get(&format!("/v1/content/{}?size={}&verify=client", content.md5, content.size()));
        if answer.status == 200 {
            assert!(!answer.whole, "a clean end of a content that nobody sent unchanged");
            assert!(content.bytes.starts_with(&answer.body), "a wrong byte reached a client");
        } else {
            assert_eq!((answer.status, answer.field("P2P-Reason").as_deref()), (404, Some("mac-failed")));
        }
        assert_eq!(device.metric(CORRUPT_RECORDS), 1, "the bad peer was asked, and left after one record");
        let first = flipper.passed();
        assert!((1..=WASTE).contains(&first), "one bad record cost {first} bytes on the wire");

        device.fetch(&content, &url).succeed_within(Duration::from_secs(40));
        device.assert_holds(&content);
        assert_eq!(site.origin.body_bytes(), content.size(), "nothing of a bad peer is of use");
        let (records, wasted) = (device.metric(CORRUPT_RECORDS), flipper.passed());
        println!("{first} bytes wasted at the first request, {wasted} bytes and {records} records in all");
        assert!(records <= 2, "each request may meet the bad peer once");
        assert!(wasted <= 2 * WASTE, "a bad peer cost {wasted} bytes on the wire");
    });
}

#[test]
fn a_peer_with_a_bad_cable_costs_one_record_when_there_is_a_good_one() {
    lab::run(a_peer_with_a_bad_cable_costs_one_record_when_there_is_a_good_one, |site| {
        let content = Content::random(12, 8 << 20);
        let url = site.origin.publish(&content);
        let mut bad = site.device(0);
        let flipper = Flipper::insert(&bad, &mut site.lan);
        bad.shape(SLOW_MBIT);
        let (mut good, mut device) = (site.device(1), site.device(2));
        for holder in [&mut bad, &mut good] {
            holder.hold(&content);
            holder.start();
        }
        device.start();
        device.wait_for_peer(bad.address);
        device.wait_for_peer(good.address);

        // The least busy is asked first, so the good one is given something to do: a transfer that nobody reads.
        let reader = Namespace::new();
        site.lan.plug(&reader, "eth0", 99);
        send_with_ttl(&reader, 255);
        let busy = reader.enter(|| {
            let mut asker = Asker::connect(good.address, &content, 1).unwrap();
            asker.query().unwrap().unwrap();
            asker.take(0).unwrap().unwrap();
            asker
        });
        device.fetch(&content, &url).succeed_within(Duration::from_secs(30));
        drop(busy);
        device.assert_holds(&content);
        assert_eq!(site.origin.body_bytes(), 0, "the good peer had all of it");
        assert_eq!(device.metric(CORRUPT_RECORDS), 1, "the bad peer was asked, and left after one record");
        let wasted = flipper.passed();
        println!("the bad peer cost {wasted} bytes on the wire");
        assert!(wasted <= WASTE, "the bad peer cost {wasted} bytes on the wire");
    });
}

fn digits(pair: &[u8]) -> u8 {
    u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()
}
