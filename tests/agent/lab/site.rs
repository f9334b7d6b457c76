//! A site: a port that nobody else on this machine uses, and addresses for its devices.

use std::cell::Cell;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

use super::{Agent, wait_for};

/// Agents find each other on equal ports only.
pub struct Site {
    /// UDP and TCP.
    pub port: u16,
    network: [u8; 2],
    devices: Cell<u8>,
}

impl Site {
    /// A port and a network of loopback addresses, both for this test alone.
    pub fn new() -> Self {
        static SITES: AtomicU16 = AtomicU16::new(0);
        let process = std::process::id();
        loop {
            let number = SITES.fetch_add(1, Ordering::Relaxed);
            // Below the ports that the kernel hands out by itself.
            let port = 10_000 + u16::try_from((process * 97 + u32::from(number)) % 20_000).unwrap();
            // An agent holds the broadcast address; whatever else has the port shows there, too.
            let udp = UdpSocket::bind((Ipv4Addr::new(127, 255, 255, 255), port));
            let tcp = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port));
            if udp.is_ok() && tcp.is_ok() {
                let [.., high, _] = process.to_be_bytes();
                return Self { port, network: [high | 1, number.to_le_bytes()[0]], devices: Cell::new(0) };
            }
        }
    }

    /// An address that nobody has yet.
    pub fn address(&self) -> Ipv4Addr {
        self.devices.set(self.devices.get() + 1);
        let [high, low] = self.network;
        Ipv4Addr::new(127, high, low, self.devices.get())
    }

    /// A device whose agent does not run yet.
    pub fn device(&self) -> Agent {
        Agent::new(self.address(), self.port)
    }

    /// So many devices whose agents know each other.
    pub fn agents<const N: usize>(&self) -> [Agent; N] {
        self.agents_with([&[]; N])
    }

    /// The same, each with more flags.
    pub fn agents_with<const N: usize>(&self, flags: [&[&str]; N]) -> [Agent; N] {
        let agents = flags.map(|flags| {
            let mut agent = self.device();
            agent.start(flags);
            agent
        });
        for agent in &agents {
            agent.wait_for_peers(N - 1);
        }
        agents
    }
}

impl Agent {
    /// Waits until the agent knows so many peers.
    #[track_caller]
    pub fn wait_for_peers(&self, count: usize) {
        let what = format!("{} knows {count} peers", self.address);
        wait_for(&what, || self.metric("p2p_peers") == count as u64);
    }
}
