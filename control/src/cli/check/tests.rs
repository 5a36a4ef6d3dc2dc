//! Hosts that are made of files.

use crate::cli::{
    console::Exit,
    tests::{TempDir, TempFile, run},
};
use serde_json::Value;

const FLAGS: &str = "flags\t\t: fpu cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3 avx avx2 bmi1 bmi2 f16c fma movbe abm xsave \
                     constant_tsc nonstop_tsc\n";

/// A host that has all that a busy gateway on a NIC wants: two nodes, cores 2 and 3 isolated on node 0 with their NIC.
fn good_host() -> TempDir {
    let host = TempDir::new("host");
    for (file, text) in [
        ("/proc/cpuinfo", FLAGS),
        ("/proc/cmdline", "root=/dev/vda isolcpus=2-3 nohz_full=2-3 rcu_nocbs=2-3"),
        ("/proc/swaps", "Filename Type Size Used Priority\n"),
        (
            "/proc/self/limits",
            "Max open files            65536   65536   files\nMax locked memory         unlimited unlimited bytes\n",
        ),
        ("/proc/irq/9/smp_affinity_list", "0-7\n"),
        ("/proc/irq/9/effective_affinity_list", "1\n"),
        ("/proc/net/route", "Iface\tDestination\neth0\t00000000\n"),
        ("/sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"),
        ("/sys/devices/system/cpu/online", "0-7\n"),
        ("/sys/devices/system/cpu/isolated", "2-3\n"),
        ("/sys/devices/system/cpu/nohz_full", "2-3\n"),
        ("/sys/devices/system/cpu/cpu2/topology/thread_siblings_list", "2\n"),
        ("/sys/devices/system/cpu/cpu3/topology/thread_siblings_list", "3\n"),
        ("/sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "performance\n"),
        ("/sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "performance\n"),
        ("/sys/devices/system/node/node0/cpulist", "0-3\n"),
        ("/sys/devices/system/node/node1/cpulist", "4-7\n"),
        ("/sys/devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages", "512\n"),
        ("/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages", "512\n"),
        ("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "512\n"),
        ("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "512\n"),
        ("/sys/bus/pci/devices/0000:01:00.0/class", "0x020000\n"),
        ("/sys/bus/pci/devices/0000:01:00.0/numa_node", "0\n"),
        ("/sys/class/net/eth1/flags", "0x1003\n"),
        ("/sys/class/net/eth1/mtu", "1500\n"),
        ("/sys/class/net/eth1/queues/rx-0/rps_cpus", "0\n"),
    ] {
        host.write(file, text);
    }
    host.link("/sys/bus/pci/devices/0000:01:00.0/driver", "../../../bus/pci/drivers/vfio-pci");
    host.link("/sys/bus/pci/devices/0000:01:00.0/iommu_group", "../../../kernel/iommu_groups/7");
    host.write("/sys/kernel/iommu_groups/7/devices/0000:01:00.0/x", "");
    host
}

fn gateway(dataplane: &str) -> TempFile {
    let text = format!("apiVersion: weirgate/v1\nkind: GatewayConfig\nmetadata: {{name: a}}\ndataplane:\n{dataplane}");
    TempFile::new("gateway.yaml", &text)
}

fn nic() -> TempFile {
    gateway(
        "  cores: [2, 3]\n  polling: busy\n  ports: [{name: p0, device: \"0000:01:00.0\", addresses: [192.0.2.10/24]}]\n",
    )
}

fn on(device: &str) -> TempFile {
    gateway(&format!("  cores: [2, 3]\n  ports: [{{name: p0, device: \"{device}\", addresses: [192.0.2.10/24]}}]\n"))
}

/// What a check says that is not ok, as `mark: what`.
fn troubles(host: &TempDir, gateway: &TempFile) -> Vec<String> {
    let (exit, out, err) = run(&["check", "--root", host.path(), "-o", "json", gateway.path()]);
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out} {err}"));
    let lines = report["sections"].as_array().unwrap().iter().flat_map(|section| section["lines"].as_array().unwrap());
    let troubles = lines.filter(|line| ["warning", "failure"].contains(&line["mark"].as_str().unwrap()));
    let said: Vec<String> = troubles
        .map(|line| {
            assert!(line["next"].as_str().is_some_and(|next| !next.is_empty()), "nothing to do: {line}");
            format!("{}: {}", line["mark"].as_str().unwrap(), line["what"].as_str().unwrap())
        })
        .collect();
    let has_failures = said.iter().any(|line| line.starts_with("failure"));
    assert_eq!(exit, if has_failures { Exit::Findings } else { Exit::Done }, "{said:?}");
    said
}

#[test]
fn a_host_that_is_ready() {
    let (exit, out, err) = run(&["check", "--root", good_host().path(), nic().path()]);
    let wanted = "\
configuration
-------------
√ valid

processor
---------
√ x86-64-v3
√ clock source: tsc
√ cores are online: 2,3
√ isolcpus: cores 2,3
√ nohz_full: cores 2,3
√ rcu_nocbs: cores 2,3
√ no interrupt goes to these cores
√ no core shares its execution units (SMT) with somebody else
√ governor: performance
√ NUMA: all cores are on node 0
√ NUMA: port p0 is on the cores' node

memory
------
√ hugepages: 512 of 512 of 2MiB free; 94.2MiB needed
√ hugepages on NUMA node 0: 1GiB free, 94.2MiB needed by its 2 workers
√ no swap

limits (of this shell; the systemd units have their own)
--------------------------------------------------------
√ locked memory: unlimited
√ open files: 65536

ports
-----
√ port p0: 0000:01:00.0 has vfio-pci, IOMMU group 7

certificates
------------
- there is none that could expire

ready: nothing to mend
";
    assert_eq!((exit, out.as_str(), err.as_str()), (Exit::Done, wanted, ""));
}

/// One thing is wrong in a host that was ready, and exactly that is said.
#[test]
fn each_fault_has_a_line() {
    for (file, text, wanted) in [
        (
            "/proc/cpuinfo",
            "flags : cx16 constant_tsc nonstop_tsc",
            "failure: the CPU is below x86-64-v3: it has no lahf_lm, popcnt",
        ),
        ("/proc/swaps", "head\n/dev/vdb partition", "warning: 1 swap area in use"),
        ("/proc/cmdline", "rcu_nocbs=3", "warning: rcu_nocbs lacks core 2"),
        ("/proc/irq/9/effective_affinity_list", "3", "warning: 1 interrupt arrives on core 3"),
        (
            "/proc/self/limits",
            "Max open files 256 256 files\nMax locked memory unlimited",
            "failure: open files: 256; ",
        ),
        (
            "/proc/self/limits",
            "Max open files 9999 9 files\nMax locked memory 8388608 1",
            "warning: locked memory: 8MiB; ",
        ),
        ("/sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet", "warning: clock source: hpet"),
        ("/sys/devices/system/cpu/online", "0-2", "failure: there is no core 3 (online: 0,1,2)"),
        ("/sys/devices/system/cpu/isolated", "2", "warning: isolcpus lacks core 3"),
        ("/sys/devices/system/cpu/nohz_full", "", "warning: nohz_full lacks core 2,3"),
        (
            "/sys/devices/system/cpu/cpu2/topology/thread_siblings_list",
            "2-3",
            "warning: core 2 shares its execution units with 3, which another worker has",
        ),
        (
            "/sys/devices/system/cpu/cpu3/topology/thread_siblings_list",
            "3,7",
            "warning: core 3 shares its execution units with 7, which anybody may use",
        ),
        (
            "/sys/devices/system/cpu/cpu3/cpufreq/scaling_governor",
            "powersave",
            "warning: the governor of core 3 is not performance",
        ),
        ("/sys/bus/pci/devices/0000:01:00.0/numa_node", "1", "warning: NUMA: port p0 is on node 1, core 2,3 is not"),
        ("/sys/bus/pci/devices/0000:01:00.0/class", "0x010802", "failure: port p0: 0000:01:00.0 is no network device"),
        (
            "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages",
            "9",
            "failure: hugepages: 9 of 512 of 2MiB free; ",
        ),
        (
            "/sys/devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages",
            "9",
            "warning: hugepages on NUMA node 0: 18MiB free",
        ),
    ] {
        let host = good_host();
        host.write(file, text);
        let said = troubles(&host, &nic());
        let [one] = &said[..] else { panic!("{file}: {said:?}") };
        assert!(one.starts_with(wanted), "{file}: {one}");
    }
}

#[test]
fn drivers_of_a_nic() {
    for (driver, group, wanted) in [
        (Some("vfio-pci"), None, "failure: port p0: 0000:01:00.0 has vfio-pci, but no IOMMU group"),
        (Some("ixgbe"), Some("7"), "failure: port p0: 0000:01:00.0 has the kernel's driver ixgbe; DPDK needs vfio-pci"),
        (Some("uio_pci_generic"), Some("7"), "warning: port p0: 0000:01:00.0 has uio_pci_generic: no IOMMU"),
        (None, Some("7"), "failure: port p0: 0000:01:00.0 has no driver; DPDK needs vfio-pci"),
        (Some("mlx5_core"), Some("7"), ""),
    ] {
        let host = good_host();
        let device = format!("{}/sys/bus/pci/devices/0000:01:00.0", host.path());
        for (name, target) in [("driver", driver), ("iommu_group", group)] {
            std::fs::remove_file(format!("{device}/{name}")).unwrap();
            target.iter().for_each(|target| {
                host.link(&format!("/sys/bus/pci/devices/0000:01:00.0/{name}"), &format!("../x/{target}"));
            });
        }
        let said = troubles(&host, &nic());
        assert_eq!(said.len(), usize::from(!wanted.is_empty()), "{driver:?}: {said:?}");
        assert!(said.iter().all(|line| line.starts_with(wanted)), "{driver:?}: {said:?}");
    }
    let host = good_host();
    host.link("/sys/bus/pci/devices/0000:01:00.1/driver", "../x/ixgbe");
    host.write("/sys/kernel/iommu_groups/7/devices/0000:01:00.1/x", "");
    let said = troubles(&host, &nic());
    assert_eq!(said, ["failure: port p0: IOMMU group 7 holds 0000:01:00.1 too, which the kernel drives"]);
}

#[test]
fn virtual_devices() {
    let host = good_host();
    host.write("/dev/net/tun", "");
    host.write("/run/vhost.sock", "");
    for (device, wanted) in [
        ("af_packet:eth1", ""),
        ("af_packet:eth9", "failure: port p0: there is no interface eth9 in this network namespace"),
        ("af_xdp:eth1", "failure: port p0: eth1 has fewer queues (1) than there are workers (2)"),
        ("tap:gw0", ""),
        ("tap:eth1", "failure: port p0: there is an interface eth1 already; the data plane makes it"),
        ("memif:/run/m.sock,role=server", ""),
        ("memif:/run/m.sock", "failure: port p0: nobody has made the socket /run/m.sock"),
        ("virtio_user:/run/vhost.sock", ""),
        ("vhost:/run/none/v.sock", "failure: port p0: there is no folder /run/none for its socket"),
        ("pcap,rx_pcap=/in.pcap,tx_pcap=/out.pcap", "failure: port p0: there is no /in.pcap"),
        ("null", ""),
    ] {
        let said = troubles(&host, &on(device));
        assert_eq!(said, if wanted.is_empty() { vec![] } else { vec![wanted.to_owned()] }, "{device}");
    }
    for (file, text, wanted) in [
        ("/sys/class/net/eth1/flags", "0x1002", "failure: port p0: eth1 is down"),
        ("/sys/class/net/eth1/mtu", "1400", "failure: port p0: eth1 has an MTU of 1400, the configuration says 1500"),
        ("/proc/net/route", "Iface\neth1\t0001", "warning: port p0: the kernel has addresses on eth1 too"),
    ] {
        let host = good_host();
        host.write(file, text);
        let said = troubles(&host, &on("af_packet:eth1"));
        assert!(said.len() == 1 && said[0].starts_with(wanted), "{said:?}");
    }
}

#[test]
fn a_laptop_is_not_told_to_isolate_cores() {
    let host = good_host();
    host.write("/sys/devices/system/cpu/isolated", "");
    host.write("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "0");
    host.write("/sys/devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages", "512");
    let said = troubles(&host, &on("af_packet:eth1"));
    assert!(said.len() == 1 && said[0].starts_with("warning: hugepages"), "--no-huge will do: {said:?}");
}

#[test]
fn a_configuration_that_is_wrong_is_a_failure() {
    let said = troubles(&good_host(), &gateway("  cores: [2]\n  ports: []\n"));
    assert!(said.len() == 1 && said[0].starts_with("failure: ") && said[0].contains("gateway.yaml"), "{said:?}");
}

/// Offloads, as ethtool words them.
mod offloads {
    use super::super::{Plan, Section, host::Host, ports};
    use crate::{cli::tests::TempDir, config};

    fn said(features: &dyn Fn(&str) -> Result<String, String>) -> String {
        let host = super::good_host();
        pair(&host, "eth1", 5, 6);
        pair(&host, "eth1-br", 6, 5);
        pair(&host, "vlan7", 9, 5);
        let file = super::on("af_packet:eth1");
        let model = crate::cli::validate::compiled(&[file.path().into()]).unwrap();
        let model: config::Model = model;
        let plan = Plan { dataplane: Some(&model.snapshot.dataplane), is_running: false, offloads: features };
        let section: Section = ports::check(&Host::new(std::path::Path::new(host.path())), &plan);
        serde_json::to_string(&section).unwrap()
    }

    fn pair(host: &TempDir, name: &str, index: u32, link: u32) {
        host.write(&format!("/sys/class/net/{name}/ifindex"), &index.to_string());
        host.write(&format!("/sys/class/net/{name}/iflink"), &link.to_string());
    }

    #[test]
    fn an_interface_must_not_merge_and_its_peer_must_finish_what_it_sends() {
        let said = said(&|interface| {
            Ok(match interface {
                "eth1" => "generic-receive-offload: on\ntx-checksumming: on\nrx-vlan-offload: off [fixed]\n",
                "eth1-br" => "generic-receive-offload: on\ntx-checksumming: on\n\ttx-checksum-ipv4: off\n",
                other => panic!("{other} is no part of this"),
            }
            .into())
        });
        assert!(said.contains("eth1 has generic-receive-offload on:"), "{said}");
        assert!(said.contains("eth1-br has tx-checksumming on:"), "{said}");
        assert!(said.contains("ethtool -K eth1-br tx off"), "{said}");
    }

    #[test]
    fn nobody_can_tell_without_ethtool() {
        let said = said(&|_| Err("ethtool is not installed, so nobody can tell".into()));
        assert!(said.contains("skipped") && !said.contains("\"warning\""), "{said}");
    }
}
