//! What a site is for: one download for all.

use std::time::{Duration, Instant};

use crate::lab::origin::Content;
use crate::lab::{self, Site};

#[test]
fn without_an_agent_and_alone_a_device_gets_it_from_the_internet() {
    lab::run(without_an_agent_and_alone_a_device_gets_it_from_the_internet, |site| {
        let content = Content::random(15, 8 << 20);
        let url = site.origin.publish(&content);
        let mut device = site.device(0);
        device.fetch(&content, &url).succeed_within(Duration::from_secs(10));
        device.assert_holds(&content);

        let content = Content::random(16, 8 << 20);
        let url = site.origin.publish(&content);
        device.start();
        let begun = Instant::now();
        device.fetch(&content, &url).succeed_within(Duration::from_secs(10));
        println!("alone with an agent: {:?}", begun.elapsed());
        device.assert_holds(&content);
        assert_eq!(site.origin.body_bytes(), 2 * content.size());
    });
}

#[test]
fn a_device_that_has_a_file_serves_four_that_ask_in_turn() {
    lab::run(a_device_that_has_a_file_serves_four_that_ask_in_turn, |site| {
        let content = Content::random(1, 8 << 20);
        let url = site.origin.publish(&content);
        let devices = site.agents(5);
        devices[0].hold(&content);
        for device in &devices[1..] {
            device.fetch(&content, &url).succeed_within(Duration::from_secs(20));
            device.assert_holds(&content);
        }
        assert_eq!((site.origin.requests(), site.origin.body_bytes()), (0, 0), "the origin was not needed");
    });
}

#[test]
fn five_devices_that_ask_at_once_load_the_uplink_once() {
    lab::run(five_devices_that_ask_at_once_load_the_uplink_once, |site: &mut Site| {
        let content = Content::random(2, 16 << 20);
        let url = site.origin.publish(&content);
        site.shape_uplink(40);
        let devices = site.agents(5);
        let mut clients: Vec<_> = devices.iter().map(|device| device.fetch(&content, &url)).collect();
        for (device, client) in devices.iter().zip(&mut clients) {
            client.succeed_within(Duration::from_secs(60));
            device.assert_holds(&content);
        }
        let ratio = site.origin.body_bytes() as f64 / content.size() as f64;
        println!("uplink bytes / file: {ratio:.3} for 5 devices");
        assert!(ratio <= 1.10, "the file crossed the uplink {ratio:.2} times");
    });
}
