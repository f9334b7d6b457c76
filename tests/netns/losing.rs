//! Sources that go away in the middle of a file.

use std::time::{Duration, Instant};

use crate::lab::device::Device;
use crate::lab::origin::Content;
use crate::lab::{self, Site, wait_for};

const SIZE: usize = 24 << 20;
/// Far enough into the file that a restart would show.
const ENOUGH: u64 = 8 << 20;
/// What a holder's link carries.
const MBIT: u32 = 40;
const PATIENCE: Duration = Duration::from_secs(40);

#[test]
fn a_device_whose_source_is_killed_goes_on_at_another() {
    lab::run(a_device_whose_source_is_killed_goes_on_at_another, |site| {
        goes_on_at_another(site, |_, source| source.kill_agent());
    });
}

#[test]
fn a_device_whose_source_loses_its_link_goes_on_at_another() {
    lab::run(a_device_whose_source_loses_its_link_goes_on_at_another, |site| {
        goes_on_at_another(site, |site, source| site.lan.switch.ip(&format!("link set {} down", source.port)));
    });
}

#[test]
fn a_device_whose_only_source_is_killed_gets_the_rest_from_the_internet() {
    lab::run(a_device_whose_only_source_is_killed_gets_the_rest_from_the_internet, |site| {
        let content = Content::random(4, SIZE);
        let url = site.origin.publish(&content);
        let mut devices = site.agents(2);
        devices[0].hold(&content);
        devices[0].shape(MBIT);
        let mut client = devices[1].fetch(&content, &url);
        wait_for("a part of the file", PATIENCE, || devices[1].progress(&content) >= ENOUGH);
        let had = devices[1].progress(&content);
        devices[0].kill_agent();
        client.succeed_within(PATIENCE);
        devices[1].assert_holds(&content);
        let origin = site.origin.body_bytes();
        assert!(origin > 0 && origin <= content.size() - had, "{origin} from the internet, {had} had been there");
    });
}

fn goes_on_at_another(site: &mut Site, lose: impl FnOnce(&Site, &mut Device)) {
    let content = Content::random(3, SIZE);
    let url = site.origin.publish(&content);
    let mut devices = site.agents(3);
    for holder in &devices[..2] {
        holder.hold(&content);
        holder.shape(MBIT);
    }
    let before = [devices[0].sent_bytes(), devices[1].sent_bytes()];
    let mut client = devices[2].fetch(&content, &url);
    wait_for("a part of the file", PATIENCE, || devices[2].progress(&content) >= ENOUGH);
    let sent = [0, 1].map(|number: usize| devices[number].sent_bytes() - before[number]);
    let (source, other) = if sent[0] > sent[1] { (0, 1) } else { (1, 0) };
    let had = devices[2].progress(&content);
    lose(site, &mut devices[source]);
    let lost = Instant::now();
    client.succeed_within(PATIENCE);
    let took = lost.elapsed();
    devices[2].assert_holds(&content);

    // Ethernet, IP, TCP and record headers are 5 %; a restart would be a third of the file.
    let rest = devices[other].sent_bytes() - before[other];
    let most = (content.size() - had) * 108 / 100 + (1 << 20);
    println!("{had} bytes from the source that was lost, {rest} on the wire from the other, at most {most}");
    assert!(rest <= most, "the other source sent {rest} bytes, more than what was missing");
    assert_eq!(site.origin.body_bytes(), 0, "there was another source on the site");

    // Promise 3: three seconds at most. As much again for a busy machine.
    let ideal = Duration::from_secs_f64((content.size() - had) as f64 * 8.0 / f64::from(MBIT) / 1e6);
    println!("the rest took {took:?}, the link alone needs {ideal:?}");
    assert!(took <= ideal.mul_f64(1.2) + Duration::from_secs(6), "{took:?} for what takes {ideal:?}");
}
