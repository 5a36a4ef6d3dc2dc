//! What we are on the network: interfaces, their addresses, and where packets go from here. Compiled once, never changed.

use crate::{
    limits::{ADDRESSES_MAX, INTERFACES_MAX, PORTS_MAX, ROUTES_MAX},
    port::Offloads,
};
use smoltcp::wire::EthernetAddress;
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// A port's place in the list of ports.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PortIndex(pub u8);

/// An interface's place in the list of interfaces.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct InterfaceIndex(pub u8);

/// An address with the length of its network's prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cidr {
    /// The address (or, for a route, the network).
    pub address: IpAddr,
    /// Bits that the network shares.
    pub prefix: u8,
}

impl Cidr {
    /// Checks the prefix length against the family.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        (prefix <= bits).then_some(Self { address, prefix })
    }

    /// Whether `other` is in the same network.
    #[inline]
    pub fn contains(&self, other: IpAddr) -> bool {
        match (self.address, other) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros() >= u32::from(self.prefix),
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros() >= u32::from(self.prefix),
            _ => false,
        }
    }

    /// The directed broadcast address, where the network has one (RFC 3021: not with a prefix of 31 or 32 bits).
    pub fn broadcast(&self) -> Option<Ipv4Addr> {
        match self.address {
            IpAddr::V4(a) if self.prefix < 31 => Some(Ipv4Addr::from_bits(a.to_bits() | u32::MAX >> self.prefix)),
            _ => None,
        }
    }
}

impl std::str::FromStr for Cidr {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is not an address with a prefix length, such as 192.0.2.10/24 or 2001:db8::10/64");
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address = address.parse().map_err(|_| wrong())?;
        if prefix.starts_with('+') {
            return Err(wrong()); // a number to the standard library, a slip to a person
        }
        Self::new(address, prefix.parse().map_err(|_| wrong())?).ok_or_else(wrong)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// A port, or a VLAN on a port.
#[derive(Clone, PartialEq, Debug)]
pub struct Interface {
    /// The port that frames come and go through.
    pub port: PortIndex,
    /// The VLAN's identifier, 1 to 4,094; `None`: untagged frames.
    pub vlan: Option<u16>,
    /// Our hardware address.
    pub mac: EthernetAddress,
    /// The longest IP packet that we send.
    pub mtu: u16,
    /// What the port computes for us.
    pub offloads: Offloads,
    /// Addresses of ours. An interface with IPv6 also has its link-local one (RFC 4291 section 2.5.6), put last.
    pub addresses: Vec<Cidr>,
}

/// Where packets to a network go.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Route {
    /// The network.
    pub to: Cidr,
    /// The interface that they leave through.
    pub interface: InterfaceIndex,
    /// The router; `None`: the network is on the link.
    pub via: Option<IpAddr>,
}

/// The next machine on the way.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NextHop {
    /// The interface that it is reached through.
    pub interface: InterfaceIndex,
    /// Its address on that link.
    pub address: IpAddr,
}

/// What an address means to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// One of our own.
    Ours,
    /// A broadcast or multicast group.
    Group,
    /// Somebody else's.
    Other,
}

/// All interfaces and routes.
#[derive(Clone, PartialEq, Debug)]
pub struct Topology {
    interfaces: Vec<Interface>,
    /// Of each interface, what every packet is compared with; then of all of them.
    own: Vec<Own>,
    own_anywhere: Own,
    /// Each family's routes, longest prefix first, so that the first match is the one.
    routes4: Vec<Compiled<u32>>,
    routes6: Vec<Compiled<u128>>,
}

/// A route whose network is a word of its family.
#[derive(Clone, PartialEq, Debug)]
struct Compiled<W> {
    network: W,
    /// As many high bits as the prefix has.
    mask: W,
    interface: InterfaceIndex,
    via: Option<IpAddr>,
}

/// Our addresses by family: plain words, compared one after the other.
#[derive(Clone, PartialEq, Default, Debug)]
struct Own {
    ipv4: Vec<Ipv4Addr>,
    /// Directed broadcasts of the IPv4 networks.
    broadcasts: Vec<Ipv4Addr>,
    ipv6: Vec<Ipv6Addr>,
}

impl Own {
    fn add(&mut self, cidr: &Cidr) {
        match cidr.address {
            IpAddr::V4(address) => self.ipv4.push(address),
            IpAddr::V6(address) => self.ipv6.push(address),
        }
        self.broadcasts.extend(cidr.broadcast());
    }
}

impl Topology {
    /// Checks interfaces and routes against each other; the error is for the operator.
    pub fn new(mut interfaces: Vec<Interface>, routes: Vec<Route>) -> Result<Self, String> {
        if interfaces.is_empty() || interfaces.len() > INTERFACES_MAX {
            return Err(format!("{} interfaces; there must be 1 to {INTERFACES_MAX}", interfaces.len()));
        }
        for interface in &mut interfaces {
            check_interface(interface)?;
            if interface.addresses.iter().any(|c| c.address.is_ipv6()) {
                let link_local = Cidr { address: link_local(interface.mac).into(), prefix: 64 };
                if !interface.addresses.contains(&link_local) {
                    interface.addresses.push(link_local);
                }
            }
        }
        for (i, a) in interfaces.iter().enumerate() {
            for b in &interfaces[..i] {
                if (a.port, a.vlan) == (b.port, b.vlan) {
                    return Err(format!("two interfaces on port {} with VLAN {:?}", a.port.0, a.vlan));
                }
                let twice = a
                    .addresses
                    .iter()
                    .find(|x| !is_link_local(x.address) && b.addresses.iter().any(|y| x.address == y.address));
                if let Some(twice) = twice {
                    return Err(format!("{} stands on two interfaces", twice.address));
                }
            }
        }
        for family in [IpAddr::is_ipv4, IpAddr::is_ipv6] {
            let count = routes.iter().filter(|r| family(&r.to.address)).count();
            if count > ROUTES_MAX {
                return Err(format!("{count} routes; at most {ROUTES_MAX} of each family"));
            }
        }
        for route in &routes {
            check_route(&interfaces, route)?;
        }
        let connected = interfaces.iter().zip(0..).flat_map(|(interface, index)| {
            interface.addresses.iter().map(move |&to| Route { to, interface: InterfaceIndex(index), via: None })
        });
        let mut all: Vec<Route> = connected.chain(routes).collect();
        all.sort_by_key(|route| std::cmp::Reverse(route.to.prefix)); // stable: connected before static
        let (mut routes4, mut routes6) = (Vec::new(), Vec::new());
        for Route { to, interface, via } in all {
            match to.address {
                IpAddr::V4(network) => {
                    let mask = u32::MAX.checked_shl(32 - u32::from(to.prefix)).unwrap_or(0);
                    routes4.push(Compiled { network: network.to_bits() & mask, mask, interface, via });
                }
                IpAddr::V6(network) => {
                    let mask = u128::MAX.checked_shl(128 - u32::from(to.prefix)).unwrap_or(0);
                    routes6.push(Compiled { network: network.to_bits() & mask, mask, interface, via });
                }
            }
        }
        let (mut own, mut own_anywhere) = (vec![Own::default(); interfaces.len()], Own::default());
        for (own, interface) in own.iter_mut().zip(&interfaces) {
            interface.addresses.iter().for_each(|cidr| own.add(cidr));
            // A link-local address is ours on its own link only.
            interface.addresses.iter().filter(|c| !is_link_local(c.address)).for_each(|cidr| own_anywhere.add(cidr));
        }
        Ok(Self { interfaces, own, own_anywhere, routes4, routes6 })
    }

    /// Every interface, in order.
    pub fn interfaces(&self) -> impl Iterator<Item = (InterfaceIndex, &Interface)> {
        self.interfaces.iter().zip(0..).map(|(interface, index)| (InterfaceIndex(index), interface))
    }
    /// One interface.
    #[inline]
    pub fn interface(&self, index: InterfaceIndex) -> &Interface {
        &self.interfaces[usize::from(index.0)]
    }
    /// The interface of a port's frames with this tag.
    #[inline]
    pub fn find(&self, port: PortIndex, vlan: Option<u16>) -> Option<InterfaceIndex> {
        self.interfaces().find(|(_, i)| i.port == port && i.vlan == vlan).map(|(index, _)| index)
    }

    /// What `address` means to a packet that came in through `interface`. Any address of ours will do (the weak host model,
    /// RFC 1122 section 3.3.4.2), but a link-local one only on its own link.
    #[inline]
    pub fn role(&self, interface: InterfaceIndex, address: IpAddr) -> Role {
        match address {
            IpAddr::V4(address) => self.role4(interface, address),
            IpAddr::V6(address) => self.role6(interface, address),
        }
    }

    #[inline(always)]
    pub(super) fn role4(&self, interface: InterfaceIndex, address: Ipv4Addr) -> Role {
        let here = &self.own[usize::from(interface.0)];
        if here.ipv4.contains(&address) {
            return Role::Ours;
        }
        if address.octets()[0] >= 224 && (address.is_multicast() || address.is_broadcast()) {
            return Role::Group;
        }
        // rfc1122 3.2.1.3: a broadcast of any of our networks, wherever the packet came in.
        if here.broadcasts.contains(&address) {
            return Role::Group;
        }
        if self.interfaces.len() == 1 {
            return Role::Other;
        }
        if self.own_anywhere.ipv4.contains(&address) {
            return Role::Ours;
        }
        if self.own_anywhere.broadcasts.contains(&address) { Role::Group } else { Role::Other }
    }

    #[inline]
    pub(super) fn role6(&self, interface: InterfaceIndex, address: Ipv6Addr) -> Role {
        if self.own[usize::from(interface.0)].ipv6.contains(&address) {
            return Role::Ours;
        }
        if address.is_multicast() {
            return Role::Group;
        }
        let ours = self.interfaces.len() > 1 && self.own_anywhere.ipv6.contains(&address);
        if ours { Role::Ours } else { Role::Other }
    }

    /// Whether an IPv6 group is one that we are in: all nodes, or the solicited-node group of one of our addresses.
    pub fn in_group(&self, interface: InterfaceIndex, group: Ipv6Addr) -> bool {
        group == ALL_NODES
            || self
                .interface(interface)
                .addresses
                .iter()
                .any(|c| matches!(c.address, IpAddr::V6(a) if solicited_node(a) == group))
    }

    /// Whether a packet from `source` that came in through `interface` cannot be genuine.
    #[inline]
    pub fn is_martian(&self, interface: InterfaceIndex, source: IpAddr) -> bool {
        match source {
            IpAddr::V4(source) => self.is_martian4(interface, source),
            IpAddr::V6(source) => self.is_martian6(interface, source),
        }
    }

    #[inline(always)]
    pub(super) fn is_martian4(&self, interface: InterfaceIndex, source: Ipv4Addr) -> bool {
        // This network, loopback, groups and what is reserved (RFC 6890).
        matches!(source.octets()[0], 0 | 127 | 224..) || self.role4(interface, source) != Role::Other
    }

    #[inline]
    pub(super) fn is_martian6(&self, interface: InterfaceIndex, source: Ipv6Addr) -> bool {
        // Unspecified, loopback and IPv4-mapped addresses all begin with eight zero bytes.
        let special = source.to_bits() >> 64 == 0
            && (source.is_unspecified() || source.is_loopback() || source.to_ipv4_mapped().is_some());
        special || self.role6(interface, source) != Role::Other
    }

    /// Whether `address` is on the link of `interface`, by our own prefixes.
    pub fn on_link(&self, interface: InterfaceIndex, address: IpAddr) -> bool {
        self.interface(interface).addresses.iter().any(|c| c.contains(address))
    }

    /// The next machine on the way to `destination`. Link-local and group destinations go out where `arrived` says.
    pub fn next_hop(&self, destination: IpAddr, arrived: Option<InterfaceIndex>) -> Option<NextHop> {
        let (interface, via) = self.route(&destination, arrived)?;
        Some(NextHop { interface, address: *via.unwrap_or(&destination) })
    }

    /// The same in parts: the interface, and the router unless the destination is on the link.
    #[inline]
    pub fn route(
        &self,
        destination: &IpAddr,
        arrived: Option<InterfaceIndex>,
    ) -> Option<(InterfaceIndex, Option<&IpAddr>)> {
        let here = || arrived.map(|interface| (interface, None));
        match destination {
            IpAddr::V4(destination) if destination.is_multicast() => here(),
            IpAddr::V4(destination) => {
                let word = destination.to_bits();
                let route = self.routes4.iter().find(|route| word & route.mask == route.network)?;
                Some((route.interface, route.via.as_ref()))
            }
            IpAddr::V6(destination) if destination.is_multicast() || destination.is_unicast_link_local() => here(),
            IpAddr::V6(destination) => {
                let word = destination.to_bits();
                let route = self.routes6.iter().find(|route| word & route.mask == route.network)?;
                Some((route.interface, route.via.as_ref()))
            }
        }
    }

    /// Our address to speak to `destination` from: one of its network if there is one, else one of its scope, else any of its family
    /// (the parts of RFC 6724 section 5 that matter when addresses are static).
    pub fn source_for(&self, interface: InterfaceIndex, destination: IpAddr) -> Option<IpAddr> {
        let same_family = |c: &&Cidr| c.address.is_ipv4() == destination.is_ipv4();
        let addresses = || self.interface(interface).addresses.iter().filter(same_family);
        let same_scope = |c: &&Cidr| is_link_local(c.address) == is_link_local(destination);
        addresses()
            .find(|c| c.contains(destination))
            .or_else(|| addresses().find(same_scope))
            .or_else(|| addresses().next())
            .map(|c| c.address)
    }
}

fn check_interface(interface: &Interface) -> Result<(), String> {
    if usize::from(interface.port.0) >= PORTS_MAX {
        return Err(format!("port {}; there are at most {PORTS_MAX}", interface.port.0));
    }
    if !interface.mac.is_unicast() || interface.mac.as_bytes() == [0; 6] {
        return Err(format!("the port's hardware address {} is not one that a host can have", interface.mac));
    }
    if matches!(interface.vlan, Some(vlan) if !(1..=4094).contains(&vlan)) {
        return Err(format!("VLAN {}; it must be 1 to 4094", interface.vlan.unwrap_or_default()));
    }
    for family in [IpAddr::is_ipv4, IpAddr::is_ipv6] {
        let count = interface.addresses.iter().filter(|c| family(&c.address)).count();
        if count > ADDRESSES_MAX {
            return Err(format!("{count} addresses on one interface; at most {ADDRESSES_MAX} of each family"));
        }
    }
    for (i, cidr) in interface.addresses.iter().enumerate() {
        let impossible = match cidr.address {
            IpAddr::V4(a) => {
                a.is_unspecified()
                    || a.is_loopback()
                    || a.is_multicast()
                    || a.is_broadcast()
                    || cidr.broadcast() == Some(a)
            }
            IpAddr::V6(a) => a.is_unspecified() || a.is_loopback() || a.is_multicast() || a.to_ipv4_mapped().is_some(),
        };
        if impossible || cidr.prefix == 0 {
            return Err(format!("{cidr} cannot be a host's address"));
        }
        if interface.addresses[..i].iter().any(|c| c.address == cidr.address) {
            return Err(format!("{} stands twice on one interface", cidr.address));
        }
    }
    Ok(())
}

fn check_route(interfaces: &[Interface], route: &Route) -> Result<(), String> {
    let Some(interface) = interfaces.get(usize::from(route.interface.0)) else {
        return Err(format!("the route to {} names an interface that does not exist", route.to));
    };
    let Some(via) = route.via else { return Ok(()) };
    if via.is_ipv4() != route.to.address.is_ipv4() {
        return Err(format!("the route to {} goes via {via}, which is of the other family", route.to));
    }
    if interface.addresses.iter().any(|c| c.address == via) {
        return Err(format!("the route to {} goes via {via}, which is our own address", route.to));
    }
    if !interface.addresses.iter().any(|c| c.contains(via)) && !is_link_local(via) {
        return Err(format!("the route to {} goes via {via}, which is in no network of its interface", route.to));
    }
    Ok(())
}

/// All nodes on the link (RFC 4291 section 2.7.1).
pub(super) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The group in which an address is asked for (RFC 4291 section 2.7.1).
pub(super) fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let low = address.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | low[6] & 0xff, low[7])
}

/// The link-local address that a hardware address gives (RFC 4291 appendix A).
pub(super) fn link_local(mac: EthernetAddress) -> Ipv6Addr {
    let m = mac.0;
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]])
}

/// The hardware address of an IPv6 group (RFC 2464 section 7).
pub(super) fn group_mac(group: Ipv6Addr) -> EthernetAddress {
    let o = group.octets();
    EthernetAddress([0x33, 0x33, o[12], o[13], o[14], o[15]])
}

/// IPv6 link-local. (IPv4 link-local addresses are like any others here.)
#[inline]
pub(super) fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(a) if a.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }
    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }
    fn interface(port: u8, addresses: &[&str]) -> Interface {
        let mac = EthernetAddress([2, 0, 0, 0, 0, port]);
        Interface {
            port: PortIndex(port),
            vlan: None,
            mac,
            mtu: 1500,
            offloads: Offloads::default(),
            addresses: addresses.iter().map(|a| cidr(a)).collect(),
        }
    }
    fn route(to: &str, interface: u8, via: &str) -> Route {
        Route { to: cidr(to), interface: InterfaceIndex(interface), via: Some(ip(via)) }
    }

    #[test]
    fn the_longest_prefix_wins() {
        let topology = Topology::new(
            vec![interface(0, &["10.0.0.1/24", "fd00::1/64"]), interface(1, &["192.0.2.1/25"])],
            vec![
                route("0.0.0.0/0", 0, "10.0.0.254"),
                route("198.51.100.0/24", 1, "192.0.2.2"),
                route("::/0", 0, "fe80::9"),
            ],
        )
        .unwrap();
        let hop = |to: &str| topology.next_hop(ip(to), None).map(|h| (h.interface.0, h.address.to_string()));
        assert_eq!(hop("10.0.0.77"), Some((0, "10.0.0.77".into())));
        assert_eq!(hop("192.0.2.126"), Some((1, "192.0.2.126".into())));
        assert_eq!(hop("192.0.2.128"), Some((0, "10.0.0.254".into())), "outside the /25");
        assert_eq!(hop("198.51.100.9"), Some((1, "192.0.2.2".into())));
        assert_eq!(hop("2001:db8::1"), Some((0, "fe80::9".into())));
        assert_eq!(hop("fe80::1"), None, "link-local without a link");
        assert_eq!(topology.next_hop(ip("fe80::1"), Some(InterfaceIndex(0))).unwrap().address, ip("fe80::1"));
    }

    #[test]
    fn addresses_have_roles() {
        let topology =
            Topology::new(vec![interface(0, &["10.0.0.1/24", "fd00::1/64"]), interface(1, &["192.0.2.1/31"])], vec![])
                .unwrap();
        let (zero, one) = (InterfaceIndex(0), InterfaceIndex(1));
        for (interface, address, role) in [
            (zero, "10.0.0.1", Role::Ours),
            (one, "10.0.0.1", Role::Ours),
            (zero, "10.0.0.255", Role::Group),
            (one, "10.0.0.255", Role::Group),
            (zero, "255.255.255.255", Role::Group),
            (zero, "224.0.0.1", Role::Group),
            (zero, "10.0.0.2", Role::Other),
            (one, "192.0.2.0", Role::Other),
            (zero, "fe80::ff:fe00:0", Role::Ours),
            (one, "fe80::ff:fe00:0", Role::Other),
            (zero, "ff02::1", Role::Group),
        ] {
            assert_eq!(topology.role(interface, ip(address)), role, "{address} through {interface:?}");
        }
        for martian in [
            "0.1.2.3",
            "127.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "224.0.0.5",
            "10.0.0.1",
            "10.0.0.255",
            "::",
            "::1",
            "ff02::1",
            "fd00::1",
            "::ffff:1.2.3.4",
        ] {
            assert!(topology.is_martian(zero, ip(martian)), "{martian}");
        }
        for genuine in ["10.0.0.2", "198.51.100.1", "fd00::2", "fe80::1"] {
            assert!(!topology.is_martian(zero, ip(genuine)), "{genuine}");
        }
        assert!(topology.in_group(zero, "ff02::1:ff00:1".parse().unwrap()));
        assert!(!topology.in_group(zero, "ff02::1:ff00:2".parse().unwrap()));
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_reason() {
        let one = |addresses: &[&str]| Topology::new(vec![interface(0, addresses)], vec![]).unwrap_err();
        assert!(one(&["10.0.0.255/24"]).contains("cannot be a host's address"));
        assert!(one(&["ff02::1/64"]).contains("cannot be a host's address"));
        assert!(one(&["10.0.0.1/24", "10.0.0.1/24"]).contains("twice"));
        let routed = |r| Topology::new(vec![interface(0, &["10.0.0.1/24"])], vec![r]).unwrap_err();
        assert!(routed(route("0.0.0.0/0", 0, "10.0.1.1")).contains("no network"));
        assert!(routed(route("0.0.0.0/0", 0, "10.0.0.1")).contains("our own"));
        assert!(routed(route("0.0.0.0/0", 0, "fd00::2")).contains("other family"));
        assert!(routed(route("0.0.0.0/0", 3, "10.0.0.2")).contains("does not exist"));
        for wrong in
            ["10.0.0.1", "10.0.0.1/", "10.0.0.1/33", "10.0.0.1/+24", "10.0.0.1/ 24", "fd00::1/129", "fe80::1%1/64"]
        {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
        }
    }
}
