//! Twenty transfers, and not one more.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use p2p_agent::limits::{RELAYS, SLOTS};

use crate::lab;
use crate::lab::device::{Device, is_shipped_build};
use crate::lab::namespace::Namespace;
use crate::lab::origin::Content;
use crate::lab::peer::{Asker, send_with_ttl};

const TAKES: usize = 25;
const HOSTS: u8 = 7;
/// Promise 8, for the build that is shipped; CI runs this scenario with it.
const MEMORY_BYTES: u64 = 6 << 20;

#[test]
fn twenty_five_takes_at_once_are_twenty_transfers_and_five_refusals() {
    lab::run(twenty_five_takes_at_once_are_twenty_transfers_and_five_refusals, |site| {
        // More than the kernel's buffers take: a transfer that nobody reads stays a transfer.
        let content = Content::random(13, 16 << 20);
        let devices = site.agents(2);
        let device = &devices[0];
        device.hold(&content);
        let relays = relays_that_nobody_reads(device, &devices[1]);
        let hosts: Vec<_> = (0..HOSTS)
            .map(|number| {
                let host = Namespace::new();
                site.lan.plug(&host, "eth0", 100 + number);
                send_with_ttl(&host, 255);
                host
            })
            .collect();
        let memory = &AtomicU64::new(0);
        let [ready, all_answered, measured] = &[(); 3].map(|()| Barrier::new(TAKES));
        let (content, hosts) = (&content, &hosts);
        let address = device.address;
        let answers: Vec<(Option<u16>, Duration)> = thread::scope(|scope| {
            let takes: Vec<_> = (0..TAKES)
                .map(|number| {
                    scope.spawn(move || {
                        hosts[number % hosts.len()].enter(|| {
                            let mut asker = Asker::connect(address, content, number as u8).unwrap();
                            asker.query().unwrap().unwrap();
                            ready.wait();
                            let asked = Instant::now();
                            let given = asker.take(0).unwrap();
                            let answered = asked.elapsed();
                            // Nobody reads, and so nobody is done, before everybody has an answer.
                            if all_answered.wait().is_leader() {
                                memory.store(device.agent_bytes(), Ordering::SeqCst);
                            }
                            measured.wait();
                            match given {
                                Ok(opener) => {
                                    assert!(asker.receive(opener).unwrap() == content.bytes, "transfer {number}");
                                    (None, answered)
                                }
                                Err(status) => (Some(status), answered),
                            }
                        })
                    })
                })
                .collect();
            takes.into_iter().map(|take| take.join().unwrap()).collect()
        });

        let slowest = answers.iter().map(|(_, answered)| *answered).max().unwrap();
        let refused: Vec<u16> = answers.iter().filter_map(|(status, _)| *status).collect();
        println!("{} transfers, refused: {refused:?}, slowest answer after {slowest:?}", TAKES - refused.len());
        assert_eq!(refused, vec![503; TAKES - SLOTS]);
        drop(relays);
        let memory = memory.load(Ordering::SeqCst);
        println!("the daemon occupies {memory} bytes with {SLOTS} transfers and {RELAYS} relays at work");
        // A build for debugging has megabytes more of code alone.
        assert!(memory <= MEMORY_BYTES || !is_shipped_build(), "{memory} bytes are more than {MEMORY_BYTES}");
        // Refused at once, never queued: a queue would last as long as a transfer, which is until everybody is answered.
        assert!(slowest < Duration::from_secs(2), "an answer took {slowest:?}");
    });
}

/// As many local requests as the device relays at once, from `source`; begun, and then left alone.
fn relays_that_nobody_reads(device: &Device, source: &Device) -> Vec<UnixStream> {
    let contents: Vec<_> = (0..RELAYS).map(|number| Content::random(20 + number as u8, 16 << 20)).collect();
    contents.iter().for_each(|content| source.hold(content));
    let begin = |content: &Content| {
        let mut stream = UnixStream::connect(device.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(stream, "GET /v1/content/{}?verify=client HTTP/1.1\r\nHost: localhost\r\n\r\n", content.md5).unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).unwrap();
        assert_eq!(&start, b"HTTP/1.1 200");
        stream
    };
    contents.iter().map(|content| begin(content)).collect()
}
