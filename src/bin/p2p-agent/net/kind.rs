//! Is an interface a piece of the site's network, or a tunnel, a container's bridge or something else that leads away?
//!
//! The kernel's flags and the hardware type come with the addresses and are always there. What sysfs says is taken where
//! sysfs is visible (`/sys/class/net/NAME`, Documentation/ABI/testing/sysfs-class-net); in a jail it is not, and then the
//! name is the only other sign. Names count in any case: `docker0` is an ordinary bridge to the kernel.

use std::fs;
use std::path::Path;

use nix::net::if_::InterfaceFlags;

/// Where the kernel describes its interfaces.
pub const SYSFS: &str = "/sys/class/net";

/// linux/if_arp.h ARPHRD_ETHER: Ethernet and Wi-Fi. Tunnels, modems and CAN have others.
const ETHERNET: u16 = 1;

/// What can be found out about one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Used without being named.
    pub by_default: bool,
    /// A cable, as far as can be seen.
    pub wired: bool,
    /// Speed of the link in Mbit/s, where the driver tells.
    pub link_mbit: Option<u32>,
}

impl Kind {
    /// Looks at one interface; `hardware` is its ARPHRD type.
    pub fn look(sysfs: &Path, name: &str, flags: InterfaceFlags, hardware: u16) -> Self {
        let dir = sysfs.join(name);
        let wireless = matches!(device_type(&dir).as_deref(), Some("wlan"))
            || dir.join("phy80211").exists()
            || dir.join("wireless").exists()
            || name.starts_with("wl");
        Self {
            by_default: flags.contains(InterfaceFlags::IFF_BROADCAST)
                && !flags.intersects(InterfaceFlags::IFF_LOOPBACK | InterfaceFlags::IFF_POINTOPOINT)
                && hardware == ETHERNET
                && !is_named_like_a_detour(name)
                && !is_detour(sysfs, name),
            wired: !wireless,
            // Only hardware has a speed; what a veth pair or a bridge tells is a made-up number.
            link_mbit: number(&dir, "speed").filter(|mbit| *mbit > 0 && dir.join("device").exists()),
        }
    }
}

/// What sysfs knows to lead elsewhere.
fn is_detour(sysfs: &Path, name: &str) -> bool {
    let dir = sysfs.join(name);
    // tun and tap, whatever they are called.
    if dir.join("tun_flags").exists() {
        return true;
    }
    match device_type(&dir).as_deref() {
        Some("vxlan" | "geneve" | "wireguard" | "ppp" | "wwan" | "gretap" | "ip6gretap" | "erspan") => true,
        Some("bridge") => is_inner_bridge(sysfs, &dir),
        _ => false,
    }
}

/// A bridge that joins containers or virtual machines only. One with a network card in it is the site's network.
fn is_inner_bridge(sysfs: &Path, dir: &Path) -> bool {
    let Ok(ports) = fs::read_dir(dir.join("brif")) else { return true };
    let mut names = ports.flatten().map(|port| port.file_name());
    !names.any(|port| port.to_str().is_some_and(|port| !is_named_like_a_detour(port) && !is_detour(sysfs, port)))
}

/// Names that tunnels, VPNs, modems, containers and hypervisors give to interfaces which look like Ethernet. (Those that do
/// not, from `sit0` to `gre0`, are out by their hardware type, so names as short need not be guessed at.)
fn is_named_like_a_detour(name: &str) -> bool {
    const TUNNELS: [&str; 11] =
        ["tun", "tap", "wg", "zt", "tailscale", "vxlan", "geneve", "gretap", "ip6gretap", "erspan", "ppp"];
    const MODEMS: [&str; 2] = ["wwan", "rmnet"];
    const CONTAINERS: [&str; 12] =
        ["docker", "podman", "cni", "nerdctl", "cali", "cilium", "flannel", "kube", "veth", "lxc", "lxd", "incus"];
    const VIRTUAL_MACHINES: [&str; 4] = ["virbr", "vnet", "vmnet", "vboxnet"];
    let mut prefixes = TUNNELS.iter().chain(&MODEMS).chain(&CONTAINERS).chain(&VIRTUAL_MACHINES);
    prefixes.any(|prefix| name.starts_with(prefix)) || is_docker_network(name)
}

/// Docker's own networks: `br-` and the first twelve hex digits of their id. `br-lan` is not one.
fn is_docker_network(name: &str) -> bool {
    name.strip_prefix("br-").is_some_and(|id| id.len() == 12 && id.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn device_type(dir: &Path) -> Option<String> {
    let event = fs::read_to_string(dir.join("uevent")).ok()?;
    event.lines().find_map(|line| line.strip_prefix("DEVTYPE=")).map(str::to_owned)
}

fn number(dir: &Path, file: &str) -> Option<u32> {
    fs::read_to_string(dir.join(file)).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAN: InterfaceFlags =
        InterfaceFlags::IFF_UP.union(InterfaceFlags::IFF_RUNNING).union(InterfaceFlags::IFF_BROADCAST);

    fn without_sysfs(name: &str) -> Kind {
        Kind::look(Path::new("/nowhere"), name, LAN, ETHERNET)
    }

    #[test]
    fn without_sysfs_the_name_decides() {
        for lan in ["eth0", "end0", "enp3s0", "enxb827eb000000", "br0", "br-lan", "bond0", "eth0.5", "usb0", "site"] {
            assert_eq!(without_sysfs(lan), Kind { by_default: true, wired: true, link_mbit: None }, "{lan}");
        }
        for detour in [
            "docker0",
            "br-0123456789ab",
            "veth12ab",
            "virbr0",
            "wg0",
            "tun0",
            "tap1",
            "lxcbr0",
            "podman1",
            "cni0",
            "ppp0",
            "tailscale0",
        ] {
            assert!(!without_sysfs(detour).by_default, "{detour}");
        }
        assert_eq!(without_sysfs("wlan0"), Kind { by_default: true, wired: false, link_mbit: None });
        assert!(!without_sysfs("wlp2s0").wired);
    }

    #[test]
    fn flags_and_hardware_type_need_no_sysfs() {
        let look = |flags, hardware| Kind::look(Path::new("/nowhere"), "eth0", flags, hardware).by_default;
        assert!(look(LAN, ETHERNET));
        assert!(!look(LAN | InterfaceFlags::IFF_POINTOPOINT, ETHERNET));
        assert!(!look(LAN | InterfaceFlags::IFF_LOOPBACK, ETHERNET));
        assert!(!look(LAN.difference(InterfaceFlags::IFF_BROADCAST), ETHERNET));
        assert!(!look(LAN, 65_534), "a WireGuard or tun interface under another name");
    }

    #[test]
    fn sysfs_unmasks_tunnels_and_inner_bridges_under_harmless_names() {
        let sysfs = tempfile::tempdir().unwrap();
        let file = |path: &str, text: &str| {
            let path = sysfs.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let look = |name| Kind::look(sysfs.path(), name, LAN, ETHERNET);
        file("eth0/uevent", "INTERFACE=eth0\nIFINDEX=2\n");
        file("eth0/speed", "1000\n");
        assert_eq!(look("eth0"), Kind { by_default: true, wired: true, link_mbit: None }, "no hardware behind it");
        file("eth0/device/uevent", "");
        assert_eq!(look("eth0"), Kind { by_default: true, wired: true, link_mbit: Some(1000) });
        file("eth1/speed", "-1\n");
        assert_eq!(look("eth1").link_mbit, None);
        file("office/tun_flags", "0x1802\n");
        assert!(!look("office").by_default);
        file("far/uevent", "DEVTYPE=vxlan\nINTERFACE=far\n");
        assert!(!look("far").by_default);
        file("radio/uevent", "DEVTYPE=wlan\nINTERFACE=radio\n");
        assert!(look("radio").by_default && !look("radio").wired);

        file("pods/uevent", "DEVTYPE=bridge\nINTERFACE=pods\n");
        file("pods/brif/veth7/state", "3\n");
        assert!(!look("pods").by_default);
        file("pods/brif/office/state", "3\n");
        assert!(!look("pods").by_default, "a tap of a virtual machine is no network card");
        file("pods/brif/eth0/state", "3\n");
        assert!(look("pods").by_default, "with a network card in it, it is the site's network");
    }
}
