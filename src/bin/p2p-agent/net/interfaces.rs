//! The interfaces that the agent uses, as they are now. Asked for at the start and after every wake-up of
//! [`LinkWatch`](super::link_watch::LinkWatch); the caller compares with what it had.
//!
//! An interface counts while it is up, running (its cable is plugged, its Wi-Fi associated) and has an IPv4 address;
//! link-local addresses (RFC 3927) are as good as others. It counts once: with several addresses the first one that is not
//! link-local is taken.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;

use p2p_agent::discovery::is_on_link;
use p2p_agent::limits::{INTERFACE_NAME_BYTES, INTERFACES};

use super::kind::{Kind, SYSFS};

/// Name of an interface, as the kernel bounds it.
pub type Name = heapless::String<INTERFACE_NAME_BYTES>;

/// The interfaces in use.
pub type Interfaces = heapless::Vec<Interface, INTERFACES>;

/// One interface with the address that it is used with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// As in `ip link`.
    pub name: Name,
    /// The kernel's number for it; a device that is unplugged and plugged again gets a new one.
    pub index: u32,
    /// The own address on it.
    pub addr: Ipv4Addr,
    /// Length of the subnet's prefix, 0 to 32.
    pub prefix: u8,
    /// Not Wi-Fi, as far as can be seen.
    pub wired: bool,
    /// Speed of the link in Mbit/s, where known.
    pub link_mbit: Option<u32>,
}

impl Interface {
    /// Is `peer` a neighbour's address?
    pub fn is_on_link(&self, peer: Ipv4Addr) -> bool {
        is_on_link(self.addr, self.prefix, peer)
    }
}

/// Which interfaces are wanted.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Filter {
    /// What looks like the site's network: no loopback, point-to-point, tunnel, VPN, modem, container or hypervisor.
    #[default]
    Default,
    /// Exactly these, also ones that the default would leave out.
    Named(heapless::Vec<Name, INTERFACES>),
}

impl Filter {
    /// The interfaces with these names; an error that says which one cannot be a name, or that they are too many.
    pub fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> io::Result<Self> {
        let refused = |sentence| io::Error::new(io::ErrorKind::InvalidInput, sentence);
        let mut list = heapless::Vec::new();
        for text in names {
            let name = Name::try_from(text).ok().filter(|name| !name.is_empty() && !name.contains(['/', ' ', '\0']));
            let name = name.ok_or_else(|| refused(format!("{text:?} cannot be the name of an interface")))?;
            list.push(name).map_err(|_| refused(format!("more than {INTERFACES} interfaces are named")))?;
        }
        Ok(Self::Named(list))
    }

    fn names(&self, name: &Name) -> bool {
        matches!(self, Self::Named(names) if names.contains(name))
    }
}

/// The usable interfaces, the kernel's oldest first; never more than [`INTERFACES`].
pub fn usable(filter: &Filter) -> io::Result<Interfaces> {
    let entries: Vec<_> = getifaddrs()?.collect();
    let candidates = entries.iter().filter_map(|entry| candidate(entry, &entries, filter));
    // Full: the others are left out.
    Ok(candidates.filter_map(Result::ok).take(INTERFACES).collect())
}

/// Why none is usable, for a person: in parentheses behind the word that there is none. Empty where nothing else is there either.
pub fn why_none(filter: &Filter) -> String {
    let entries: Vec<_> = getifaddrs().map(Iterator::collect).unwrap_or_default();
    let candidates = entries.iter().filter_map(|entry| candidate(entry, &entries, filter));
    let mut said: Vec<String> = candidates.filter_map(Result::err).collect();
    if let Filter::Named(names) = filter {
        let is_there = |name: &Name| entries.iter().any(|entry| entry.interface_name == name.as_str());
        said.extend(names.iter().filter(|name| !is_there(name)).map(|name| format!("{name} does not exist")));
    }
    // As many as can be used: a host of containers has hundreds.
    said.truncate(INTERFACES);
    if said.is_empty() { String::new() } else { format!(" ({})", said.join(", ")) }
}

/// The loopback interface with one of its addresses, for several agents on one machine.
pub fn loopback(addr: Ipv4Addr) -> io::Result<Interface> {
    let is_up = |entry: &InterfaceAddress| entry.flags.contains(InterfaceFlags::IFF_LOOPBACK | InterfaceFlags::IFF_UP);
    let found = getifaddrs()?.filter(is_up).find_map(|entry| Some((link(&entry)?.0, entry)));
    let (index, lo) = found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the loopback interface is down"))?;
    let name = Name::try_from(lo.interface_name.as_str()).unwrap_or_default();
    Ok(Interface { name, index, addr, prefix: 8, wired: true, link_mbit: None })
}

/// One interface, by its entry with the hardware address; or why it is not used. None of any other entry, and of an interface that nobody
/// would expect to be used: loopback, or another than those that are named.
fn candidate(
    entry: &InterfaceAddress,
    entries: &[InterfaceAddress],
    filter: &Filter,
) -> Option<Result<Interface, String>> {
    let (index, hardware) = link(entry)?;
    let name = Name::try_from(entry.interface_name.as_str()).ok()?;
    let named = filter.names(&name);
    if !named && (*filter != Filter::Default || entry.flags.contains(InterfaceFlags::IFF_LOOPBACK)) {
        return None;
    }
    // An alias label ("eth0:1") is an address of the interface before the colon.
    let of_it = |other: &&InterfaceAddress| other.interface_name.split(':').next() == Some(&name);
    let addresses = || entries.iter().filter(of_it).filter_map(ipv4);
    let address = addresses().find(|(addr, _)| !addr.is_link_local()).or_else(|| addresses().next());
    let kind = Kind::look(Path::new(SYSFS), &name, entry.flags, hardware);
    Some(match address {
        _ if !named && !kind.by_default => Err(format!("{name} does not look like the site's network")),
        _ if !entry.flags.contains(InterfaceFlags::IFF_UP) => Err(format!("{name} is down")),
        _ if !entry.flags.contains(InterfaceFlags::IFF_RUNNING) => Err(format!("{name} has no link")),
        None => Err(format!("{name} has no IPv4 address")),
        Some((addr, prefix)) => {
            Ok(Interface { name, index, addr, prefix, wired: kind.wired, link_mbit: kind.link_mbit })
        }
    })
}

fn ipv4(entry: &InterfaceAddress) -> Option<(Ipv4Addr, u8)> {
    let addr = entry.address.as_ref()?.as_sockaddr_in()?.ip();
    let mask = entry.netmask.as_ref()?.as_sockaddr_in()?.ip();
    Some((addr, mask.to_bits().leading_ones() as u8)) // at most 32
}

/// Number and hardware type, from the entry of an interface that carries its hardware address.
fn link(entry: &InterfaceAddress) -> Option<(u32, u16)> {
    let link = entry.address.as_ref()?.as_link_addr()?;
    Some((u32::try_from(link.ifindex()).ok()?, link.hatype()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(addr: [u8; 4], prefix: u8) -> Interface {
        let name = Name::try_from("eth0").unwrap();
        Interface { name, index: 2, addr: addr.into(), prefix, wired: true, link_mbit: None }
    }

    #[test]
    fn a_neighbour_is_in_the_subnet_and_no_special_address() {
        let eth0 = interface([192, 168, 4, 9], 22);
        for near in [[192, 168, 4, 1], [192, 168, 7, 254], [192, 168, 5, 0], [192, 168, 5, 255]] {
            assert!(eth0.is_on_link(near.into()), "{near:?}");
        }
        let own = [192, 168, 4, 9];
        for other in [own, [192, 168, 8, 1], [192, 168, 4, 0], [192, 168, 7, 255], [255; 4], [0; 4], [224, 0, 0, 1]] {
            assert!(!eth0.is_on_link(other.into()), "{other:?}");
        }
    }

    #[test]
    fn prefixes_at_both_ends_are_ordinary() {
        assert!(interface([10, 0, 0, 0], 31).is_on_link([10, 0, 0, 1].into()));
        assert!(!interface([10, 0, 0, 1], 32).is_on_link([10, 0, 0, 2].into()));
        assert!(interface([10, 0, 0, 1], 0).is_on_link([11, 0, 0, 2].into()));
        assert!(!interface([10, 0, 0, 1], 200).is_on_link([10, 0, 0, 2].into()));
    }

    #[test]
    fn a_name_that_cannot_be_one_is_refused_by_name() {
        let error = Filter::named(["eth0", "an-interface-with-a-long-name"]).unwrap_err();
        assert!(error.to_string().contains("an-interface-with-a-long-name"));
        assert!(Filter::named(["a/b"]).is_err() && Filter::named([""]).is_err());
        assert!(Filter::named(["e"; INTERFACES + 1]).is_err());
    }

    #[test]
    fn an_interface_that_is_not_there_is_told_by_name() {
        let filter = Filter::named(["nosuch0", "nosuch1"]).unwrap();
        assert_eq!(why_none(&filter), " (nosuch0 does not exist, nosuch1 does not exist)");
    }

    #[test]
    fn loopback_is_never_used_by_default_but_can_be_named() {
        assert!(usable(&Filter::Default).unwrap().iter().all(|interface| !interface.addr.is_loopback()));
        let named = usable(&Filter::named(["lo"]).unwrap()).unwrap();
        assert!(named.iter().all(|interface| interface.name == "lo"));
        let address = Ipv4Addr::new(127, 0, 0, 7);
        let lo = loopback(address).unwrap();
        assert_eq!((lo.addr, lo.prefix), (address, 8));
        assert!(lo.index > 0 && lo.is_on_link(Ipv4Addr::new(127, 0, 0, 8)));
    }
}
