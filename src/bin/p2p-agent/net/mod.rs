//! The network edge: sockets that reach the own link and nothing else (design section 2, promise 6).
//!
//! What holds for every socket made here:
//!
//! - it sends with TTL 255 and takes nothing that arrives with less, so nothing that passed a router counts (RFC 5082);
//! - it routes nothing (SO_DONTROUTE) and sends out of the interface that the caller names;
//! - it is marked lower effort (RFC 8622) and queued last on the device itself;
//! - its buffers are bounded, and dropping the value closes its port or connection at once: that is what `no-p2p` does;
//! - it is made before the jail, where none can be made and none of this be changed.
//!
//! ```text
//! options, ancillary  <-  interfaces (kind)  <-  udp, tcp  <-  ports, outgoing        link_watch
//! ```
//!
//! This is the only part of the daemon's networking with `unsafe`: in `options` and `ancillary`, around single system calls.

mod ancillary;
pub mod interfaces;
mod kind;
pub mod link_watch;
#[cfg(test)]
mod namespace;
mod options;
pub mod outgoing;
pub mod ports;
pub mod tcp;
pub mod udp;

use std::io;
use std::net::Ipv4Addr;

use interfaces::{Filter, Interfaces};

/// Where the agent lives: on the links of this device, or on one loopback address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Every usable interface; the ordinary way.
    Links,
    /// One address of 127.0.0.0/8, so that several agents run on one machine without root.
    Loopback(Ipv4Addr),
}

impl Mode {
    /// The mode for `--address`; an address that is not a loopback address is refused.
    pub fn for_address(address: Option<Ipv4Addr>) -> io::Result<Self> {
        let Some(address) = address else { return Ok(Self::Links) };
        if address.is_loopback() && address != LOOPBACK_BROADCAST && address != Ipv4Addr::new(127, 0, 0, 0) {
            return Ok(Self::Loopback(address));
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "{address} is not a loopback address of one agent: --address takes 127.0.0.1 to 127.255.255.254, other \
                 interfaces are chosen by name"
            ),
        ))
    }

    /// The interfaces of this mode at this moment.
    pub fn interfaces(self, filter: &Filter) -> io::Result<Interfaces> {
        match self {
            Self::Links => interfaces::usable(filter),
            Self::Loopback(address) => {
                let mut only = Interfaces::new();
                // Room for one is certain.
                let _ = only.push(interfaces::loopback(address)?);
                Ok(only)
            }
        }
    }

    /// What the ports are bound to.
    fn bind_address(self) -> Ipv4Addr {
        match self {
            Self::Links => Ipv4Addr::UNSPECIFIED,
            Self::Loopback(address) => address,
        }
    }

    /// Where a datagram to everybody on a link goes.
    fn broadcast_address(self) -> Ipv4Addr {
        match self {
            Self::Links => Ipv4Addr::BROADCAST,
            Self::Loopback(_) => LOOPBACK_BROADCAST,
        }
    }
}

/// The broadcast address of 127.0.0.0/8.
const LOOPBACK_BROADCAST: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 255);

/// One clear sentence for the error that people meet: somebody else has the port.
fn bind_error(error: io::Error, protocol: &str, address: Ipv4Addr, port: u16) -> io::Error {
    let sentence = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("{protocol} port {port} on {address} is already in use, perhaps by another p2p-agent")
        }
        io::ErrorKind::AddrNotAvailable => format!("{address} is not an address of this device"),
        _ => format!("cannot open {protocol} port {port} on {address}: {error}"),
    };
    io::Error::new(error.kind(), sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_loopback_address_selects_loopback() {
        assert_eq!(Mode::for_address(None).unwrap(), Mode::Links);
        let address = Ipv4Addr::new(127, 0, 0, 9);
        assert_eq!(Mode::for_address(Some(address)).unwrap(), Mode::Loopback(address));
        for refused in ["192.168.1.2", "0.0.0.0", "127.255.255.255", "127.0.0.0", "255.255.255.255"] {
            let error = Mode::for_address(Some(refused.parse().unwrap())).unwrap_err().to_string();
            assert!(error.starts_with(refused) && error.contains("loopback") && !error.contains('\n'), "{error}");
        }
    }
}
