//! The processor, and the cores that workers are to have.

use super::{
    Plan,
    host::{Host, cpu_list, listed},
    report::Section,
};
use std::collections::BTreeSet;
use weirgate_dataplane::snapshot::{Dataplane, Polling};

/// What /proc/cpuinfo calls the features of x86-64-v3 (and of the levels below it). OSXSAVE is shown as xsave, LZCNT as abm.
const LEVEL_3: [&str; 13] =
    ["cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"];

pub(super) fn check(host: &Host, plan: &Plan<'_>) -> Section {
    let mut section = Section::new("processor");
    features(host, &mut section);
    clock(host, &mut section);
    let Some(dataplane) = plan.dataplane else { return section };
    let cores: BTreeSet<u16> = dataplane.cores.iter().copied().collect();
    if !online(host, &cores, &mut section) {
        return section;
    }
    if cores.len() < dataplane.cores.len() {
        section.warn(
            "a core stands twice in dataplane.cores: its workers take turns",
            "give each worker a core of its own, but for trying",
        );
    }
    let is_dedicated =
        dataplane.polling == Polling::Busy || dataplane.ports.iter().any(|port| !port.device.kind.is_virtual());
    if is_dedicated {
        isolation(host, &cores, &mut section);
        interrupts(host, &cores, &mut section);
        siblings(host, &cores, &mut section);
        governors(host, &cores, &mut section);
    } else {
        section.skip("isolated cores, interrupts, SMT, governor: virtual ports and adaptive polling do without");
    }
    locality(host, dataplane, &mut section);
    section
}

fn features(host: &Host, section: &mut Section) {
    let info = host.text("/proc/cpuinfo").unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags")).unwrap_or_default();
    let flags: BTreeSet<&str> = flags.split_whitespace().collect();
    if flags.is_empty() {
        section.skip("x86-64-v3: /proc/cpuinfo has no flags");
        return;
    }
    let mut missing: Vec<_> = LEVEL_3.into_iter().filter(|flag| !flags.contains(flag)).collect();
    missing.extend((!flags.contains("abm") && !flags.contains("lzcnt")).then_some("lzcnt"));
    missing.extend((!flags.contains("xsave")).then_some("xsave"));
    if missing.is_empty() {
        section.ok("x86-64-v3");
    } else {
        let next = "in a virtual machine, give it the host's CPU model; or build for this CPU (.cargo/config.toml)";
        section.fail(format!("the CPU is below x86-64-v3: it has no {}", missing.join(", ")), next);
    }
    for (flag, without) in [("constant_tsc", "changes with the frequency"), ("nonstop_tsc", "stops in deep sleep")] {
        if !flags.contains(flag) {
            section.warn(
                format!("no {flag}: the time stamp counter, which is the workers' clock, {without}"),
                "in a virtual machine, pass an invariant TSC through; or keep the frequency and sleep states fixed",
            );
        }
    }
}

fn clock(host: &Host, section: &mut Section) {
    let folder = "/sys/devices/system/clocksource/clocksource0";
    match host.text(&format!("{folder}/current_clocksource")) {
        Some(source) if source == "tsc" => section.ok("clock source: tsc"),
        Some(source) => section.warn(
            format!("clock source: {source}; the kernel does not trust the time stamp counter, which is the workers' clock"),
            format!("dmesg | grep -i tsc says why; echo tsc > {folder}/current_clocksource, or tsc=reliable on the kernel's command line"),
        ),
        None => section.skip("clock source: the kernel does not say"),
    }
}

/// Whether all cores are there.
fn online(host: &Host, cores: &BTreeSet<u16>, section: &mut Section) -> bool {
    let online = host.cpus("/sys/devices/system/cpu/online");
    if online.is_empty() {
        section.skip("cores: the kernel does not say which are online");
        return true;
    }
    let missing: Vec<_> = cores.difference(&online).collect();
    if missing.is_empty() {
        section.ok(format!("cores are online: {}", listed(cores)));
        return true;
    }
    let online = listed(&online);
    section.fail(
        format!("there is no core {} (online: {online})", listed(missing)),
        "mend dataplane.cores, or bring it up: echo 1 > /sys/devices/system/cpu/cpuN/online",
    );
    false
}

fn isolation(host: &Host, cores: &BTreeSet<u16>, section: &mut Section) {
    let command_line = host.text("/proc/cmdline").unwrap_or_default();
    let on_command_line = |name: &str| {
        let value = command_line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        cpu_list(value.unwrap_or_default())
    };
    let all = listed(cores);
    for (name, has, without) in [
        ("isolcpus", host.cpus("/sys/devices/system/cpu/isolated"), "other processes are scheduled there"),
        (
            "nohz_full",
            host.cpus("/sys/devices/system/cpu/nohz_full"),
            "the kernel's tick interrupts a worker up to 1,000 times a second",
        ),
        ("rcu_nocbs", on_command_line("rcu_nocbs"), "the kernel's deferred work (RCU) runs there"),
    ] {
        let missing: Vec<_> = cores.difference(&has).collect();
        if missing.is_empty() {
            section.ok(format!("{name}: cores {all}"));
            continue;
        }
        let value = if name == "isolcpus" { format!("managed_irq,domain,{all}") } else { all.clone() };
        section.warn(
            format!("{name} lacks core {}: {without}", listed(missing)),
            format!("on the kernel's command line: {name}={value}"),
        );
    }
}

fn interrupts(host: &Host, cores: &BTreeSet<u16>, section: &mut Section) {
    let mut disturbed = BTreeSet::new();
    let mut count = 0;
    for number in host.names("/proc/irq").iter().filter(|name| name.parse::<u32>().is_ok()) {
        // Where it goes now; a kernel or interrupt controller without that has only what is allowed.
        let effective = host.cpus(&format!("/proc/irq/{number}/effective_affinity_list"));
        let allowed = || host.cpus(&format!("/proc/irq/{number}/smp_affinity_list"));
        let goes = if effective.is_empty() { allowed() } else { effective };
        let here: Vec<_> = goes.intersection(cores).copied().collect();
        count += usize::from(!here.is_empty());
        disturbed.extend(here);
    }
    if disturbed.is_empty() {
        section.ok("no interrupt goes to these cores");
    } else {
        section.warn(
            format!("{count} {} on core {}", if count == 1 { "interrupt arrives" } else { "interrupts arrive" }, listed(&disturbed)),
            "stop irqbalance, or tell it (IRQBALANCE_BANNED_CPULIST); write other cores to /proc/irq/*/smp_affinity_list",
        );
    }
}

fn siblings(host: &Host, cores: &BTreeSet<u16>, section: &mut Section) {
    let mut alone = true;
    let isolated = host.cpus("/sys/devices/system/cpu/isolated");
    for &core in cores {
        let threads = host.cpus(&format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list"));
        for &other in threads.iter().filter(|&&other| other != core) {
            // Told once for a pair of workers; an isolated sibling that nobody uses is what a careful person arranges.
            let is_worker = cores.contains(&other);
            if (is_worker && other < core) || (!is_worker && isolated.contains(&other)) {
                continue;
            }
            alone = false;
            let who = if is_worker { "another worker has" } else { "anybody may use" };
            section.warn(
                format!("core {core} shares its execution units with {other}, which {who}"),
                format!("take one thread of each pair, and isolate the other; or: echo 0 > /sys/devices/system/cpu/cpu{other}/online"),
            );
        }
    }
    if alone {
        section.ok("no core shares its execution units (SMT) with somebody else");
    }
}

fn governors(host: &Host, cores: &BTreeSet<u16>, section: &mut Section) {
    let mut slow = Vec::new();
    let mut said = None;
    for core in cores {
        let governor = host.text(&format!("/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor"));
        slow.extend(governor.as_ref().is_some_and(|governor| governor != "performance").then_some(core));
        said = said.or(governor);
    }
    match said {
        None => section.ok("governor: the frequency is not the kernel's to choose"),
        Some(_) if slow.is_empty() => section.ok("governor: performance"),
        Some(_) => section.warn(
            format!("the governor of core {} is not performance: its frequency falls when it waits", listed(slow)),
            "cpupower frequency-set -g performance",
        ),
    }
}

/// Whether ports and cores are on one node.
fn locality(host: &Host, dataplane: &Dataplane, section: &mut Section) {
    if host.nodes().len() < 2 {
        section.ok("NUMA: one node");
        return;
    }
    let nodes: BTreeSet<u16> = dataplane.cores.iter().map(|&core| host.node_of(core)).collect();
    if nodes.len() == 1 {
        section.ok(format!("NUMA: all cores are on node {}", listed(&nodes)));
    } else {
        section.warn(
            format!("NUMA: cores are on nodes {}: some are far from a port", listed(&nodes)),
            "take cores of the node that the ports are on: lscpu -e=cpu,node",
        );
    }
    for port in dataplane.ports.iter().filter(|port| !port.device.kind.is_virtual()) {
        let node = host.number(&format!("/sys/bus/pci/devices/{}/numa_node", port.device.target));
        let Some(node) = node.and_then(|node| u16::try_from(node).ok()) else { continue };
        let far: Vec<_> = dataplane.cores.iter().filter(|&&core| host.node_of(core) != node).collect();
        if far.is_empty() {
            section.ok(format!("NUMA: port {} is on the cores' node", port.name));
        } else {
            section.warn(
                format!("NUMA: port {} is on node {node}, core {} is not: every frame crosses", port.name, listed(far)),
                format!(
                    "take cores of node {node}: {}",
                    listed(&host.cpus(&format!("/sys/devices/system/node/node{node}/cpulist")))
                ),
            );
        }
    }
}
