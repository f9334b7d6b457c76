//! Readers that know the content and take their time.

use std::thread;
use std::time::{Duration, Instant};

use crate::attacker::Attacker;
use crate::floods::pair;
use crate::lab::peer::Asker;
use crate::lab::{self, wait_for};

#[test]
fn a_reader_that_dribbles_loses_its_slot_and_one_that_is_slow_keeps_it() {
    lab::run(a_reader_that_dribbles_loses_its_slot_and_one_that_is_slow_keeps_it, |site| {
        let (holder, _wanting, content, _) = pair(site, 90, 8 << 20);
        let attacker = Attacker::plug_in(site, 1, 100);
        // The bytes are in the middle of records: what counts is how fast they are taken.
        let reader = |nonce| {
            let mut asker = Asker::connect(holder.address, &content, nonce).unwrap();
            asker.query().unwrap().unwrap();
            asker.take(0).unwrap().unwrap();
            asker
        };
        attacker.namespace.enter(|| {
            let started = Instant::now();
            let (mut dribbling, mut slow) = (reader(1), reader(2));
            let mut sip = |slow: &mut Asker| {
                // 4 and 40 kB a second.
                thread::sleep(Duration::from_millis(500));
                let _ = dribbling.sip(2_000);
                slow.sip(20_000).unwrap();
            };
            let (mut at, mut most, mut sips) = (None, 0, 0);
            while started.elapsed() < Duration::from_secs(30) {
                sip(&mut slow);
                sips += 20_000;
                most = most.max(holder.metric("p2p_transfers_active"));
                if at.is_none() && holder.metric("p2p_transfers_active") == 1 {
                    at = Some(started.elapsed());
                }
            }
            println!("the dribbling one was left after {at:?}");
            assert_eq!((most, holder.metric("p2p_transfers_active")), (2, 1));
            assert!(at.is_some_and(|at| at < Duration::from_secs(20)), "{at:?}");
            // The other one gets all of it.
            assert!(slow.rest().unwrap() + sips >= content.bytes.len());
        });
        wait_for("all slots are free", Duration::from_secs(10), || holder.metric("p2p_transfers_active") == 0);
    });
}
