//! Proofs that were made for somebody else.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use p2p_agent::limits::PORT;

use crate::attacker::Attacker;
use crate::fakes::Fakes;
use crate::lab;
use crate::lab::origin::Content;

/// Passes on every byte between whoever connects and `to`, in both directions; counts what came from the former.
fn pass_on(listener: &TcpListener, own: Ipv4Addr, to: Ipv4Addr, passed: &Arc<AtomicUsize>) {
    for stream in listener.incoming().flatten() {
        let Ok(onward) = Attacker::connect(own, to) else { continue };
        let copies = [(stream.try_clone(), onward.try_clone(), Some(passed.clone())), (Ok(onward), Ok(stream), None)];
        for (from, to, counter) in copies {
            let (Ok(from), Ok(to)) = (from, to) else { continue };
            thread::spawn(move || copy(from, to, counter.as_deref()));
        }
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, counter: Option<&AtomicUsize>) -> io::Result<()> {
    let mut bytes = [0; 4096];
    loop {
        let count = from.read(&mut bytes)?;
        if count == 0 {
            return to.shutdown(Shutdown::Write);
        }
        counter.inspect(|counter| _ = counter.fetch_add(count, Ordering::SeqCst));
        to.write_all(&bytes[..count])?;
    }
}

#[test]
fn proofs_passed_on_between_two_honest_devices_are_worth_nothing() {
    lab::run(proofs_passed_on_between_two_honest_devices_are_worth_nothing, |site| {
        let content = Content::random(40, 2 << 20);
        let url = site.origin.publish(&content);
        let mut devices = [site.device(0), site.device(1)];
        // They see each other only through the attacker.
        site.isolate(&devices);
        devices.iter_mut().for_each(|device| device.start());
        let [holder, wanting] = devices;
        holder.hold(&content);
        let attacker = Attacker::plug_in(site, 1, 100);
        let own = attacker.addresses[0];
        let passed = Arc::new(AtomicUsize::new(0));
        let _fakes = Fakes::start(&attacker, Duration::ZERO);
        attacker.namespace.enter(|| {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).unwrap();
            let (passed, to) = (passed.clone(), holder.address);
            thread::spawn(move || pass_on(&listener, own, to, &passed));
        });
        wanting.wait_for_peer(own);
        holder.wait_for_peer(own);
        assert!(!wanting.knows(holder.address));

        wanting.fetch(&content, &url).succeed_within(Duration::from_secs(30));
        wanting.assert_holds(&content);
        println!("{} bytes passed on", passed.load(Ordering::SeqCst));
        assert!(passed.load(Ordering::SeqCst) > 200, "queries were passed on");
        assert!(holder.metric("p2p_queries_total{kind=\"refused\"}") > 0, "and refused");
        assert_eq!(holder.metric("p2p_transfers_total{result=\"started\"}"), 0);
        assert_eq!(site.origin.body_bytes(), content.size());
    });
}
