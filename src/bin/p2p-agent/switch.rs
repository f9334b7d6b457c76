//! P2P on and off while the daemon runs, as the file `no-p2p` says: the ports are opened and closed, and what is known about the
//! network is forgotten.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use async_io::Timer;
use log::{error, info};
use p2p_agent::agent::IfIndex;
use p2p_agent::limits::{INTERFACE_CHECK, SWITCH_CHECK};
use p2p_agent::policy::{self, Marker};
use smol::future::or;

use crate::cli::exit;
use crate::device::Device;
use crate::net::interfaces::Filter;
use crate::net::ports::Ports;
use crate::notify::Notifier;
use crate::{Failure, clock, session};

/// The file that switches P2P off, and wins over everything.
pub struct Switch(PathBuf);

impl Switch {
    /// `no-p2p` in this directory.
    pub fn new(config_dir: &Path) -> Self {
        Self(config_dir.join("no-p2p"))
    }

    /// Why P2P is off, in half a sentence; None when it is on. Where the file cannot be looked for, it may be there: off.
    pub fn off(&self) -> Option<String> {
        let (marker, error) = look_for(&self.0);
        let path = self.0.display();
        policy::switched_off(marker).map(|_| match error {
            None => format!("{path} exists"),
            Some(error) => format!("{path} cannot be looked for ({error})"),
        })
    }
}

/// Whether there is anything of that name, and if that cannot be said, why.
pub fn look_for(path: &Path) -> (Marker, Option<std::io::Error>) {
    use std::io::ErrorKind;
    match std::fs::symlink_metadata(path) {
        Ok(_) => (Marker::Present, None),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => (Marker::Absent, None),
        Err(error) => (Marker::Unknown, Some(error)),
    }
}

/// P2P on and off, as the switch says.
pub async fn network(
    device: &Rc<Device>,
    mut ports: Ports,
    filter: &Filter,
    switch: &Switch,
    notifier: &Notifier,
) -> Result<(), Failure> {
    let mut first = true;
    loop {
        if let Some(why) = switch.off() {
            info!("P2P is off: {why}");
            notifier.ready(&format!("P2P is off: {why}"));
            device.off_because.replace(why);
        }
        while switch.off().is_some() {
            Timer::after(SWITCH_CHECK).await;
        }
        if ports.is_empty() {
            return Err(Failure::without_sockets(
                "P2P was switched on, or tried to be, as often as it has sockets for",
            ));
        }
        match ports.open(device.port) {
            Ok((udp, listener)) => {
                info!("P2P is on, port {}", device.port);
                notifier.ready("P2P is on");
                device.enabled.set(true);
                device.switched.notify();
                let switched_off = async {
                    while switch.off().is_none() {
                        Timer::after(SWITCH_CHECK).await;
                    }
                };
                or(session::session(device, filter, udp, listener), switched_off).await;
                leave(device);
            }
            Err(error) if first => return Err(Failure::new(exit::UNAVAILABLE, format!("{error}."))),
            Err(error) => {
                error!("P2P cannot come back: {error}; trying again");
                device.off_because.replace(error.to_string());
                Timer::after(INTERFACE_CHECK).await;
            }
        }
        first = false;
    }
}

/// Forgets everything about the network; all sockets are closed already.
fn leave(device: &Device) {
    device.enabled.set(false);
    device.switched.notify();
    device.pool.clear();
    let gone = std::mem::take(&mut *device.interfaces.borrow_mut());
    let mut agent = device.agent.borrow_mut();
    for link in gone {
        agent.handle_interface_down(clock::now(), IfIndex(link.index));
    }
}
