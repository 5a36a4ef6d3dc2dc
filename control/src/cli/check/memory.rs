//! Hugepages, swap, and what a process may lock and open.

use super::{Plan, host::Host, report::Section};
use crate::cli::human::{bytes, count};

/// Hugepages of one size.
struct Pages {
    bytes: u64,
    free: u64,
    all: u64,
}

pub(super) fn check(host: &Host, plan: &Plan<'_>) -> Section {
    let mut section = Section::new("memory");
    hugepages(host, plan, &mut section);
    if plan.dataplane.is_some() && host.nodes().len() > 1 && !plan.is_running {
        hugepages_by_node(host, plan, &mut section);
    }
    let swaps = host.text("/proc/swaps").map_or(0, |text| text.lines().skip(1).count());
    if swaps == 0 {
        section.ok("no swap");
    } else {
        section.warn(
            format!(
                "{} in use: a page that comes back from there stops a worker for milliseconds",
                count(swaps, "swap area")
            ),
            "swapoff -a, and take it out of /etc/fstab",
        );
    }
    section
}

fn pages(host: &Host, folder: &str) -> Vec<Pages> {
    let of = |name: &String| {
        let kib: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let number = |file| host.number(&format!("{folder}/{name}/{file}")).and_then(|n| u64::try_from(n).ok());
        Some(Pages { bytes: kib * 1024, free: number("free_hugepages")?, all: number("nr_hugepages")? })
    };
    host.names(folder).iter().filter_map(of).collect()
}

fn free_bytes(pages: &[Pages]) -> u64 {
    pages.iter().map(|size| size.free * size.bytes).sum()
}

fn hugepages(host: &Host, plan: &Plan<'_>, section: &mut Section) {
    let sizes = pages(host, "/sys/kernel/mm/hugepages");
    let said: Vec<_> = sizes.iter().filter(|size| size.all > 0).collect();
    let said: Vec<_> =
        said.iter().map(|size| format!("{} of {} of {} free", size.free, size.all, bytes(size.bytes))).collect();
    let said = if said.is_empty() { "none are reserved".to_owned() } else { said.join(", ") };
    let Some(dataplane) = plan.dataplane else {
        if sizes.iter().any(|size| size.all > 0) {
            section.ok(format!("hugepages: {said}"));
        } else {
            section.warn("hugepages: none are reserved", hugepages_next(1 << 30, "needed for PCI devices"));
        }
        return;
    };
    let needed = dataplane.packet_bytes() as u64;
    if plan.is_running {
        section.ok(format!("hugepages: {said}; the data plane runs, and has its own"));
    } else if free_bytes(&sizes) >= needed {
        section.ok(format!("hugepages: {said}; {} needed", bytes(needed)));
    } else {
        let needs_them =
            dataplane.ports.iter().any(|port| !port.device.kind.is_virtual() || port.device.shares_memory());
        let without = if needs_them {
            "its ports cannot do without"
        } else {
            "or start the data plane with --no-huge, for trying: it is several times slower"
        };
        section.fault(
            needs_them,
            format!("hugepages: {said}; {} needed", bytes(needed)),
            hugepages_next(needed, without),
        );
    }
}

fn hugepages_next(needed: u64, without: &str) -> String {
    let pages = needed.div_ceil(2 << 20);
    format!("./scripts/setup-host --hugepages-2m {pages}\n{without}")
}

/// Memory is wanted where the cores are: a worker whose frames are on another node pays for each.
fn hugepages_by_node(host: &Host, plan: &Plan<'_>, section: &mut Section) {
    let Some(dataplane) = plan.dataplane else { return };
    for node in host.nodes() {
        let workers = dataplane.cores.iter().filter(|&&core| host.node_of(core) == node).count();
        if workers == 0 {
            continue;
        }
        let free = free_bytes(&pages(host, &format!("/sys/devices/system/node/node{node}/hugepages")));
        let needed = (dataplane.packet_bytes() * workers / dataplane.cores.len()) as u64;
        let what = format!(
            "hugepages on NUMA node {node}: {} free, {} needed by its {}",
            bytes(free),
            bytes(needed),
            count(workers, "worker")
        );
        if free >= needed {
            section.ok(what);
        } else {
            let pages = needed.div_ceil(2 << 20);
            section.warn(what, format!("./scripts/setup-host --hugepages-2m {pages} --node {node}"));
        }
    }
}

/// What this process may do; a service may do what its unit says.
pub(super) fn limits(host: &Host, plan: &Plan<'_>) -> Section {
    let mut section = Section::new("limits (of this shell; the systemd units have their own)");
    let Some(text) = host.text("/proc/self/limits") else {
        section.skip("/proc/self/limits cannot be read");
        return section;
    };
    let soft = |name: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
        let value = rest.split_whitespace().next()?;
        Some(if value == "unlimited" { u64::MAX } else { value.parse().ok()? })
    };
    let needed = plan.dataplane.map_or(64 << 20, |dataplane| dataplane.packet_bytes() as u64);
    let is_hardware = plan.dataplane.is_some_and(|it| it.ports.iter().any(|port| !port.device.kind.is_virtual()));
    match soft("Max locked memory") {
        Some(u64::MAX) => section.ok("locked memory: unlimited"),
        Some(may) if may >= needed => section.ok(format!("locked memory: {}; {} needed", bytes(may), bytes(needed))),
        // Whoever has CAP_IPC_LOCK is not bound by it, but vfio counts DMA memory against it for everybody else.
        Some(may) => section.warn(
            format!("locked memory: {}; {} needed{}", bytes(may), bytes(needed), if is_hardware { " for DMA" } else { "" }),
            "root (CAP_IPC_LOCK) is not bound by it; for others: ulimit -l unlimited, or LimitMEMLOCK=infinity in the unit",
        ),
        None => section.skip("locked memory: not in /proc/self/limits"),
    }
    // A file for each hugepage, at worst of 2 MiB, and some hundred for everything else.
    let files = needed.div_ceil(2 << 20) + 256;
    match soft("Max open files") {
        Some(may) if may >= files => {
            section.ok(format!("open files: {}", if may == u64::MAX { "unlimited".into() } else { may.to_string() }));
        }
        Some(may) => section.fail(
            format!("open files: {may}; {files} needed, one for each hugepage among them"),
            format!("ulimit -n {}, or LimitNOFILE= in the unit", files.next_power_of_two()),
        ),
        None => section.skip("open files: not in /proc/self/limits"),
    }
    section
}
