//! A site: devices on a switch, a router, and the origin behind its uplink.
//!
//! ```text
//! device 0 … device n    10.77.0.10+i ─┬─ switch ── router 10.77.0.1 │ 10.78.0.1 ══ uplink ══ 10.78.0.2 origin
//! ```

use std::net::Ipv4Addr;
use std::path::Path;

use tempfile::TempDir;

use super::device::Device;
use super::namespace::Namespace;
use super::origin::Origin;

/// One Ethernet segment.
pub struct Lan {
    /// Where the bridge is; every frame of the segment passes through here.
    pub switch: Namespace,
    network: [u8; 3],
    ports: usize,
}

impl Lan {
    fn new(network: [u8; 3]) -> Self {
        let switch = Namespace::new();
        switch.ip("link add name br0 type bridge");
        // A switch has no packet filter; where the kernel has one for bridges, its time would be counted as the site's.
        for filter in ["arptables", "iptables", "ip6tables"] {
            switch.sysctl_if_any(&format!("net/bridge/bridge-nf-call-{filter}"), "0");
        }
        switch.ip("link set br0 up");
        Self { switch, network, ports: 0 }
    }

    /// Address of host `host`.
    pub fn address(&self, host: u8) -> Ipv4Addr {
        let [a, b, c] = self.network;
        Ipv4Addr::new(a, b, c, host)
    }

    /// A cable from a new port of the switch to a new `interface` of `namespace`; the name of the port.
    pub fn plug(&mut self, namespace: &Namespace, interface: &str, host: u8) -> String {
        let port = self.socket();
        namespace.ip(&format!("link add name {interface} type veth peer name {port} netns {}", self.switch.path()));
        self.connect(&port);
        namespace.ip(&format!("address add {}/24 broadcast + dev {interface}", self.address(host)));
        namespace.ip(&format!("link set {interface} up"));
        port
    }

    /// The name of the next port.
    pub fn socket(&mut self) -> String {
        self.ports += 1;
        format!("port{}", self.ports)
    }

    /// Makes an interface in the switch's namespace one of its ports.
    pub fn connect(&self, port: &str) {
        self.switch.ip(&format!("link set {port} master br0"));
        self.switch.ip(&format!("link set {port} up"));
    }
}

/// Everything at one customer's place.
pub struct Site {
    /// The segment that all devices are on.
    pub lan: Lan,
    /// Between the site and the origin.
    pub router: Namespace,
    /// The host outside, where the origin is.
    pub outside: Namespace,
    /// The web server that has everything.
    pub origin: Origin,
    directory: TempDir,
}

impl Site {
    /// The switch, the router and the origin; no devices yet.
    pub fn new() -> Self {
        let mut lan = Lan::new([10, 77, 0]);
        let (router, outside) = (Namespace::new(), Namespace::new());
        lan.plug(&router, "lan", 1);
        router.ip(&format!("link add name wan type veth peer name eth0 netns {}", outside.path()));
        router.ip("address add 10.78.0.1/24 dev wan");
        router.ip("link set wan up");
        router.sysctl("net/ipv4/ip_forward", "1");
        outside.ip("address add 10.78.0.2/24 dev eth0");
        outside.ip("link set eth0 up");
        outside.ip("route add default via 10.78.0.1");
        let origin = Origin::start(&outside, Ipv4Addr::new(10, 78, 0, 2));
        Self { lan, router, outside, origin, directory: tempfile::tempdir().unwrap() }
    }

    /// Limits what comes in over the uplink.
    pub fn shape_uplink(&self, mbit: u32) {
        shape(&self.outside, "eth0", mbit);
    }

    /// Takes the uplink away.
    pub fn cut_uplink(&self) {
        self.outside.ip("link set eth0 down");
    }

    /// Gives it back.
    pub fn restore_uplink(&self) {
        self.outside.ip("link set eth0 up");
        self.outside.ip("route add default via 10.78.0.1");
    }

    /// Another segment, not connected to the first.
    pub fn another_lan(&self) -> Lan {
        Lan::new([10, 79, 0])
    }

    /// A device on the switch, not running anything yet.
    pub fn device(&mut self, number: u8) -> Device {
        let device = plug_in(&mut self.lan, number, self.directory.path());
        self.route(&device);
        device
    }

    /// Both directions of a device's link, as its cable has them; its programs that start later can look it up.
    pub fn shape_link(&self, device: &Device, mbit: u32) {
        shape(&device.namespace, "eth0", mbit);
        shape(&self.lan.switch, &device.port, mbit);
        device.tell_speed(mbit);
    }

    /// A bad cable: of every packet in either direction, so many in a thousand are lost at random.
    pub fn lose_packets(&self, device: &Device, per_mille: u32) {
        // Where everything ends that is lost.
        device.namespace.ip("link add name lost type veth peer name nowhere");
        self.lan.switch.ip("link add name lost type veth peer name nowhere");
        lose_packets(&device.namespace, "eth0", per_mille);
        lose_packets(&self.lan.switch, &device.port, per_mille);
    }

    /// Wireless client isolation: the ports of devices reach the router and not each other.
    pub fn isolate(&self, devices: &[Device]) {
        for device in devices {
            self.lan.switch.bridge(&format!("link set dev {} isolated on", device.port));
        }
    }

    /// The link of a device that loses its power.
    pub fn unplug(&self, device: &Device) {
        self.lan.switch.ip(&format!("link set {} down", device.port));
        device.namespace.ip("link set eth0 down");
    }

    /// The same when it has power again.
    pub fn plug_again(&self, device: &Device) {
        self.lan.switch.ip(&format!("link set {} up", device.port));
        device.namespace.ip("link set eth0 up");
        self.route(device);
    }

    fn route(&self, device: &Device) {
        device.namespace.ip(&format!("route add default via {}", self.lan.address(1)));
    }

    /// A device on another segment, where there is no router.
    pub fn device_at(&self, lan: &mut Lan, number: u8) -> Device {
        plug_in(lan, number, self.directory.path())
    }

    /// `count` devices whose agents run and have all heard of each other.
    pub fn agents(&mut self, count: u8) -> Vec<Device> {
        let mut devices: Vec<_> = (0..count).map(|number| self.device(number)).collect();
        devices.iter_mut().for_each(Device::start);
        for device in &devices {
            for other in devices.iter().filter(|other| other.address != device.address) {
                device.wait_for_peer(other.address);
            }
        }
        devices
    }

    /// What the programs have said; for a scenario that failed.
    pub fn print_logs(&self) {
        let logs = std::fs::read_dir(self.directory.path()).unwrap().map(|entry| entry.unwrap().path());
        for log in logs.flat_map(|device| ["agent.log", "fetch.log"].map(|name| device.join(name))) {
            if let Ok(said) = std::fs::read(&log) {
                let said = String::from_utf8_lossy(&said);
                let from = said.len().saturating_sub(6_000);
                let tail = (from..said.len()).find(|&at| said.is_char_boundary(at)).map_or("", |at| &said[at..]);
                println!("--- {}\n{tail}", log.display());
            }
        }
    }
}

fn plug_in(lan: &mut Lan, number: u8, directory: &Path) -> Device {
    let host = 10 + number;
    let namespace = Namespace::new();
    let port = lan.plug(&namespace, "eth0", host);
    Device::new(namespace, port, lan.address(host), &directory.join(format!("device{number}")))
}

/// Limits what leaves through an interface. The burst holds the largest packet that a stack hands over, 64 KiB with the headers
/// of all its segments: a larger one would be cut into 45 on the way, at each of the two shapers of a link, and the machine's cores would
/// be the limit long before the links.
pub fn shape(namespace: &Namespace, interface: &str, mbit: u32) {
    namespace.tc(&format!("qdisc replace dev {interface} root tbf rate {mbit}mbit burst 80k latency 50ms"));
}

/// Loses packets that come in through an interface. Not by netem, which few kernels have: a classic BPF program draws a
/// random number, and the packets that it picks go to an interface that leads nowhere.
fn lose_packets(namespace: &Namespace, interface: &str, per_mille: u32) {
    /// `SKF_AD_OFF + SKF_AD_RANDOM`.
    const RANDOM: u32 = 0xFFFF_F038;
    let least = u32::MAX - u32::MAX / 1_000 * per_mille;
    namespace.tc(&format!("qdisc add dev {interface} handle ffff: ingress"));
    // Load the number; below `least` return 0 (no match), else -1 (match).
    let program =
        ["4", &format!("32 0 0 {RANDOM}"), &format!("53 0 1 {least}"), "6 0 0 4294967295", "6 0 0 0"].join(",");
    let filter = format!("filter add dev {interface} parent ffff: protocol all bpf bytecode");
    let mut words: Vec<&str> = filter.split(' ').collect();
    words.push(&program);
    words.extend(["action", "mirred", "egress", "redirect", "dev", "lost"]);
    namespace.run("tc", &words);
}
