//! How a device gets its files.

use crate::lab::device::Device;
use crate::lab::process::Process;
use crate::race::List;

/// Some sync client.
pub trait Client {
    /// Starts it on this device.
    fn start(&self, device: &Device, list: &List) -> Process;

    /// Whether it has everything although it has not ended, because it goes on for others.
    fn has_all(&self, _device: &Device) -> bool {
        false
    }
}

/// The project's own.
pub struct Fetch;

/// `curl`, whose file the daemon must not see.
pub struct CurlAside;

impl Client for Fetch {
    fn start(&self, device: &Device, list: &List) -> Process {
        device.fetch_list(list)
    }
}

impl Client for CurlAside {
    fn start(&self, device: &Device, list: &List) -> Process {
        device.curl(&list[0].1, &device.path("curl"))
    }
}
