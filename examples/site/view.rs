//! What is to be seen meanwhile: a bar per device on a terminal, a line every two seconds elsewhere.

use std::io::{IsTerminal, Write, stdout};
use std::time::{Duration, Instant};

use crate::device::{Device, Site};
use crate::origin::Origin;

/// The view.
pub struct View {
    live: bool,
    lines: usize,
    shown_at: Option<Instant>,
}

impl View {
    /// As suits stdout.
    pub fn new(devices: usize) -> Self {
        Self { live: stdout().is_terminal() && devices <= 50, lines: 0, shown_at: None }
    }

    /// Shows how far everybody is, when it is time to.
    pub fn show(&mut self, site: &Site<'_>, devices: &[Device], origin: &Origin, elapsed: Duration) {
        let interval = Duration::from_millis(if self.live { 150 } else { 2_000 });
        if self.shown_at.is_some_and(|at| at.elapsed() < interval) {
            return;
        }
        self.shown_at = Some(Instant::now());
        let uplink = origin.sent() as f64 / site.options.size_bytes as f64;
        let mut text = String::new();
        if self.live {
            if self.lines > 0 {
                text.push_str(&format!("\x1b[{}A", self.lines)); // back to the first line
            }
            for (index, device) in devices.iter().enumerate() {
                let percent = percent(site, device);
                let bar = "#".repeat(percent / 3);
                text.push_str(&format!(
                    "\x1b[2Kdevice {:>3} [{bar:<33}] {percent:>3} % {}\n",
                    index + 1,
                    device.source()
                ));
            }
            let seconds = elapsed.as_secs_f64();
            text.push_str(&format!("\x1b[2K{seconds:.1} s, the uplink carried the file {uplink:.2} times\n"));
            self.lines = devices.len() + 1;
        } else {
            let all: Vec<String> = devices
                .iter()
                .take(20)
                .map(|device| format!("{} % {}", percent(site, device), device.source()))
                .collect();
            let dots = if devices.len() > 20 { " | ..." } else { "" };
            text = format!("{:>5.1} s, uplink {uplink:.2} x: {}{dots}\n", elapsed.as_secs_f64(), all.join(" | "));
        }
        let mut out = stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// The last state stays to be seen.
    pub fn finish(&mut self, site: &Site<'_>, devices: &[Device], origin: &Origin, elapsed: Duration) {
        self.shown_at = None;
        self.show(site, devices, origin, elapsed);
    }
}

fn percent(site: &Site<'_>, device: &Device) -> usize {
    usize::try_from(device.bytes.saturating_mul(100) / site.options.size_bytes as u64).unwrap_or(100).min(100)
}
