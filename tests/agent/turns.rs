//! One thread serves everybody: nobody who is fast enough may keep it.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::lab::neighbour::{Neighbour, fresh};
use crate::lab::{Agent, Content, Site};

/// How long the nuisance lasts.
const FLOOD: Duration = Duration::from_secs(4);

/// The longest that the local API takes to answer while `nuisance` goes on, which is told when to end.
fn slowest_answer(agent: &Agent, nuisance: impl FnOnce(&AtomicBool) + Send) -> Duration {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| nuisance(&over));
        let until = Instant::now() + FLOOD;
        let mut slowest = Duration::ZERO;
        while Instant::now() < until {
            let asked = Instant::now();
            agent.get("/v1/status");
            slowest = slowest.max(asked.elapsed());
            thread::sleep(Duration::from_millis(10));
        }
        over.store(true, Ordering::Relaxed);
        slowest
    })
}

#[test]
fn a_stranger_who_pipelines_without_end_keeps_nobody_waiting() {
    let site = Site::new();
    let [agent] = site.agents();
    let (keys, stranger) = (Content::random(1, 9).keys(), site.address());
    let slowest = slowest_answer(&agent, |over| {
        let neighbour = Neighbour::connect(stranger, &agent).unwrap();
        let one = neighbour.query_bytes(&keys, fresh()).1;
        let many = one.repeat(200);
        let (mut reader, mut writer) = (neighbour.into_stream(), None);
        let out = writer.insert(reader.try_clone().unwrap());
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) && out.write_all(&many).is_ok() {}
                let _ = out.shutdown(std::net::Shutdown::Both);
            });
            let mut buffer = vec![0; 1 << 20];
            while reader.read(&mut buffer).is_ok_and(|length| length > 0) {}
        });
    });
    // Otherwise nothing at all is answered until the flood ends.
    assert!(slowest < FLOOD * 3 / 4, "{slowest:?}");
}
