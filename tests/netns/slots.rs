//! Twenty transfers, and not one more.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use p2p_agent::limits::SLOTS;

use crate::lab;
use crate::lab::namespace::Namespace;
use crate::lab::origin::Content;
use crate::lab::peer::{Asker, send_with_ttl};

const TAKES: usize = 25;
const HOSTS: u8 = 7;

#[test]
fn twenty_five_takes_at_once_are_twenty_transfers_and_five_refusals() {
    lab::run(twenty_five_takes_at_once_are_twenty_transfers_and_five_refusals, |site| {
        // More than the kernel's buffers take: a transfer that nobody reads stays a transfer.
        let content = Content::random(13, 16 << 20);
        let device = site.agents(1).pop().unwrap();
        device.hold(&content);
        let hosts: Vec<_> = (0..HOSTS)
            .map(|number| {
                let host = Namespace::new();
                site.lan.plug(&host, "eth0", 100 + number);
                send_with_ttl(&host, 255);
                host
            })
            .collect();
        // The daemon finds a new file when the kernel tells it.
        lab::wait_for("the content is known", Duration::from_secs(5), || {
            hosts[0].enter(|| Asker::connect(device.address, &content, 200).unwrap().query().unwrap().is_ok())
        });

        let (ready, all_answered) = (Barrier::new(TAKES), Barrier::new(TAKES));
        let (content, ready, all_answered, hosts) = (&content, &ready, &all_answered, &hosts);
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
                            all_answered.wait();
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
        // Refused at once, never queued: a queue would last as long as a transfer, which is until everybody is answered.
        assert!(slowest < Duration::from_secs(2), "an answer took {slowest:?}");
    });
}
