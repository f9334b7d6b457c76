//! The table at the end.

use std::fs;
use std::time::Duration;

use crate::device::{Device, Site};
use crate::origin::Origin;

/// Prints it; whether every copy equals the original.
pub fn print(site: &Site<'_>, devices: &[Device], origin: &Origin, took: Duration) -> bool {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!("\n device   from peers  from internet   seconds   copy");
    let mut all_right = true;
    let (mut from_peers, mut from_internet) = (0, 0);
    for (index, device) in devices.iter().enumerate() {
        let (peers, internet) = (device.summed_up("bytes_from_peers"), device.summed_up("bytes_from_internet"));
        let right =
            device.success && fs::read(device.content.join(site.md5)).is_ok_and(|copy| copy == origin.content());
        all_right &= right;
        from_peers += peers;
        from_internet += internet;
        println!(
            "{:>7} {:>8.1} MiB   {:>8.1} MiB {:>9.2}   {}",
            index + 1,
            mib(peers),
            mib(internet),
            device.took.unwrap_or_default().as_secs_f64(),
            if right { "right" } else { "WRONG" }
        );
    }
    let file = site.options.size_bytes as f64;
    println!("    all {:>8.1} MiB   {:>8.1} MiB {:>9.2}\n", mib(from_peers), mib(from_internet), took.as_secs_f64());
    println!("over the uplink     {:.3} x the file", origin.sent() as f64 / file);
    println!(
        "time to all         {:.2} x the least possible ({:.2} s: the file once through the uplink)",
        took.as_secs_f64() / site.ideal().as_secs_f64(),
        site.ideal().as_secs_f64()
    );
    if !all_right {
        println!("some copies are missing or differ from the original");
    }
    all_right
}
