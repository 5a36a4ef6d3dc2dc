//! Devices: what the data plane needs of each before it can take it.

use super::{Plan, host::Host, report::Section};
use std::path::Path;
use weirgate_dataplane::snapshot::{DeviceKind, PortConfig};

pub(super) fn check(host: &Host, plan: &Plan<'_>) -> Section {
    let mut section = Section::new("ports");
    let Some(dataplane) = plan.dataplane else { return section };
    for port in &dataplane.ports {
        match port.device.kind {
            DeviceKind::Pci => pci(host, port, &mut section),
            DeviceKind::AfPacket | DeviceKind::AfXdp => {
                interface(host, port, dataplane.cores.len(), plan, &mut section);
            }
            DeviceKind::Tap => tap(host, port, plan, &mut section),
            DeviceKind::Memif | DeviceKind::VirtioUser | DeviceKind::Vhost => socket(host, port, &mut section),
            DeviceKind::Pcap => pcap(host, port, &mut section),
            DeviceKind::Null => section.ok(format!("port {}: null needs nothing", port.name)),
        }
    }
    section
}

/// Drivers that leave a device to the kernel and give queues to DPDK beside it.
const BIFURCATED: [&str; 3] = ["mlx5_core", "mlx4_core", "mana"];

fn pci(host: &Host, port: &PortConfig, section: &mut Section) {
    let (name, address) = (&port.name, &port.device.target);
    let folder = format!("/sys/bus/pci/devices/{address}");
    if !host.exists(&folder) {
        let next = "lspci -D | grep -i net shows what is there";
        section.fail(format!("port {name}: there is no PCI device {address}"), next);
        return;
    }
    let class = host.text(&format!("{folder}/class")).unwrap_or_default();
    if !class.starts_with("0x02") {
        section.fail(
            format!("port {name}: {address} is no network device (class {class})"),
            "lspci -D | grep -i net shows those that are",
        );
        return;
    }
    let bind = format!("./scripts/setup-host --device {address}");
    match host.link(&format!("{folder}/driver")).as_deref() {
        Some("vfio-pci") => vfio(host, port, &folder, section),
        Some(driver) if BIFURCATED.contains(&driver) => {
            section.ok(format!("port {name}: {address} has {driver}, which shares the device with DPDK"));
        }
        Some(driver @ ("uio_pci_generic" | "igb_uio")) => section.warn(
            format!("port {name}: {address} has {driver}: no IOMMU stands between the device and all of memory"),
            bind,
        ),
        Some(driver) => section.fail(
            format!("port {name}: {address} has the kernel's driver {driver}; DPDK needs vfio-pci"),
            format!("{bind}\nit refuses a device that carries your ssh session"),
        ),
        None => section.fail(format!("port {name}: {address} has no driver; DPDK needs vfio-pci"), bind),
    }
}

fn vfio(host: &Host, port: &PortConfig, folder: &str, section: &mut Section) {
    let (name, address) = (&port.name, &port.device.target);
    let group = host.link(&format!("{folder}/iommu_group"));
    let without_iommu =
        host.text("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode").is_some_and(|mode| mode == "Y");
    match group {
        Some(group) => {
            let others = host.names(&format!("/sys/kernel/iommu_groups/{group}/devices"));
            let driven = |other: &&String| {
                let driver = host.link(&format!("/sys/bus/pci/devices/{other}/driver"));
                *other != address && !matches!(driver.as_deref(), None | Some("vfio-pci" | "pci-stub" | "pcieport"))
            };
            match others.iter().find(driven) {
                None => section.ok(format!("port {name}: {address} has vfio-pci, IOMMU group {group}")),
                Some(other) => section.fail(
                    format!("port {name}: IOMMU group {group} holds {other} too, which the kernel drives"),
                    "bind it to vfio-pci as well, put the NIC in another slot, or enable ACS in the firmware",
                ),
            }
        }
        None if without_iommu => section.warn(
            format!("port {name}: {address} has vfio-pci without an IOMMU: a fault of the NIC can write anywhere"),
            "enable the IOMMU: intel_iommu=on iommu=pt on the kernel's command line, VT-d or AMD-Vi in the firmware",
        ),
        None => section.fail(
            format!("port {name}: {address} has vfio-pci, but no IOMMU group"),
            "enable the IOMMU: intel_iommu=on iommu=pt on the kernel's command line\n\
             or do without: ./scripts/setup-host --no-iommu",
        ),
    }
}

fn interface(host: &Host, port: &PortConfig, workers: usize, plan: &Plan<'_>, section: &mut Section) {
    let (name, interface, kind) = (&port.name, &port.device.target, port.device.kind.name());
    let folder = format!("/sys/class/net/{interface}");
    if !host.exists(&folder) {
        section.fail(
            format!("port {name}: there is no interface {interface} in this network namespace"),
            "ip link shows those that are; ip netns exec NAMESPACE weirgate check .. looks in another namespace",
        );
        return;
    }
    let flags = host.text(&format!("{folder}/flags")).unwrap_or_default();
    let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).unwrap_or(1);
    if flags & 1 == 0 {
        section.fail(format!("port {name}: {interface} is down"), format!("ip link set {interface} up"));
    } else {
        section.ok(format!("port {name}: {interface} is there, and up"));
    }
    let mtu = host.number(&format!("{folder}/mtu")).unwrap_or(i64::from(port.mtu));
    if mtu < i64::from(port.mtu) {
        section.fail(
            format!("port {name}: {interface} has an MTU of {mtu}, the configuration says {}", port.mtu),
            format!("ip link set {interface} mtu {}, or mtu: {mtu} in the configuration", port.mtu),
        );
    }
    let queues = host.names(&format!("{folder}/queues")).iter().filter(|queue| queue.starts_with("rx-")).count();
    if kind == DeviceKind::AfXdp.name() && queues > 0 && queues < workers {
        section.fail(
            format!("port {name}: {interface} has fewer queues ({queues}) than there are workers ({workers})"),
            format!("ethtool -L {interface} combined {workers}, or fewer dataplane.cores"),
        );
    }
    if has_kernel_addresses(host, interface) {
        section.warn(
            format!("port {name}: the kernel has addresses on {interface} too, and answers beside the gateway"),
            format!("ip addr flush dev {interface}"),
        );
    }
    offloads(host, port, plan, section);
}

/// Whether the kernel routes over it.
fn has_kernel_addresses(host: &Host, interface: &str) -> bool {
    let routes = host.text("/proc/net/route").unwrap_or_default();
    routes.lines().any(|line| line.split_whitespace().next() == Some(interface))
}

/// What a driver does to frames on their way, as `ethtool -k` calls it, and what comes of it here.
const OFFLOADS_OWN: [&str; 3] = ["generic-receive-offload", "large-receive-offload", "rx-vlan-offload"];
const OFFLOADS_PEER: [&str; 4] =
    ["tx-checksumming", "tcp-segmentation-offload", "generic-segmentation-offload", "tx-vlan-offload"];

/// Frames must come whole: merged ones exceed the MTU, and nobody finishes the checksums that a virtual link's peer leaves half made.
fn offloads(host: &Host, port: &PortConfig, plan: &Plan<'_>, section: &mut Section) {
    let interface = &port.device.target;
    let mut asked = vec![(interface.clone(), &OFFLOADS_OWN[..])];
    asked.extend(peer(host, interface).map(|peer| (peer, &OFFLOADS_PEER[..])));
    for (interface, unwanted) in asked {
        let features = match (plan.offloads)(&interface) {
            Ok(features) => features,
            Err(why) => {
                section.skip(format!("port {}: offloads of {interface}: {why}", port.name));
                continue;
            }
        };
        let is_on = |feature: &str| {
            let line = features.lines().find_map(|line| line.trim().strip_prefix(feature)?.strip_prefix(':'));
            line.is_some_and(|state| state.trim().starts_with("on"))
        };
        let on: Vec<_> = unwanted.iter().copied().filter(|feature| is_on(feature)).collect();
        if on.is_empty() {
            section.ok(format!("port {}: {interface} leaves frames as they are", port.name));
        } else {
            section.warn(
                format!("port {}: {interface} has {} on: frames come merged, or half made", port.name, on.join(", ")),
                format!("ethtool -K {interface} tx off sg off tso off gso off gro off rxvlan off txvlan off"),
            );
        }
    }
}

/// The other end of a veth pair, if it is in this namespace: each says the other's number.
fn peer(host: &Host, interface: &str) -> Option<String> {
    let numbers = |name: &str| {
        let number = |file| host.number(&format!("/sys/class/net/{name}/{file}"));
        Some((number("ifindex")?, number("iflink")?))
    };
    let (own, other) = numbers(interface)?;
    let is_it = |name: &String| own != other && numbers(name) == Some((other, own));
    host.names("/sys/class/net").into_iter().find(is_it)
}

fn tap(host: &Host, port: &PortConfig, plan: &Plan<'_>, section: &mut Section) {
    let (name, interface) = (&port.name, &port.device.target);
    if !host.exists("/dev/net/tun") {
        section.fail(format!("port {name}: there is no /dev/net/tun"), "modprobe tun");
    } else if host.exists(&format!("/sys/class/net/{interface}")) && !plan.is_running {
        section.fail(
            format!("port {name}: there is an interface {interface} already; the data plane makes it"),
            format!("ip link del {interface}, or another name in the configuration"),
        );
    } else {
        section.ok(format!("port {name}: the data plane makes {interface}"));
    }
}

fn socket(host: &Host, port: &PortConfig, section: &mut Section) {
    let (name, path, kind) = (&port.name, &port.device.target, port.device.kind);
    let is_server = match kind {
        DeviceKind::Memif => port.device.arguments.iter().any(|it| it == "role=server"),
        kind => kind == DeviceKind::Vhost,
    };
    let folder = Path::new(path).parent().and_then(Path::to_str).unwrap_or("/");
    if !host.exists(folder) {
        section.fail(format!("port {name}: there is no folder {folder} for its socket"), format!("mkdir -p {folder}"));
    } else if !is_server && !host.exists(path) {
        section.fail(
            format!("port {name}: nobody has made the socket {path}"),
            "start the process at its other end first; for memif, role=server makes it here",
        );
    } else {
        section.ok(format!(
            "port {name}: {}",
            if is_server { "its socket's folder is there" } else { "its socket is there" }
        ));
    }
}

fn pcap(host: &Host, port: &PortConfig, section: &mut Section) {
    let read = port.device.arguments.iter().filter_map(|it| it.strip_prefix("rx_pcap="));
    let missing: Vec<_> = read.filter(|file| !host.exists(file)).collect();
    if missing.is_empty() {
        section.ok(format!("port {}: its files are there", port.name));
    } else {
        let next = "mend rx_pcap in the configuration";
        section.fail(format!("port {}: there is no {}", port.name, missing.join(", ")), next);
    }
}

/// What `ethtool -k` says.
pub(super) fn ethtool(interface: &str) -> Result<String, String> {
    let output = std::process::Command::new("ethtool").args(["-k", interface]).output();
    let output = output.map_err(|_| "ethtool is not installed, so nobody can tell".to_owned())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or("ethtool says nothing").to_owned())
}
