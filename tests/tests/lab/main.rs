//! The data plane on the wire, in the lab of network namespaces: a real kernel neighbour, each kind of virtual device.
//!
//! Needs root, DPDK and the release binaries (`./scripts/test` sees to that); otherwise every test says that it is skipped. One lab stands
//! for each device while its tests run. Nothing here depends on how fast the machine is: a test waits for a condition.

mod control;
mod hostile;
mod http;
mod peer;
mod tcp;
mod tls;
mod world;

use libtest_mimic::{Arguments, Failed, Trial};
use std::process::ExitCode;
use world::{Lab, first_missing, run, wait_for};

const DEVICES: [&str; 3] = ["af_packet", "af_xdp", "tap"];

/// What each device must show, with one worker.
const CHECKS: [(&str, fn(&Lab) -> Result<(), Failed>); 9] = [
    ("pings_of_both_families_lose_nothing", pings_lose_nothing),
    ("small_and_full_sizes_are_answered", sizes_are_answered),
    ("larger_than_the_mtu_is_refused_by_name", fragments_are_refused),
    ("arping_is_answered", arping_is_answered),
    ("a_flood_leaks_no_frame", flood_leaks_nothing),
    ("a_closed_udp_port_is_unreachable", closed_port_is_unreachable),
    ("what_comes_in_goes_out_or_is_named", every_frame_is_accounted_for),
    ("a_second_data_plane_does_no_harm", a_second_one_does_no_harm),
    ("killed_and_up_again", killed_and_up_again),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1); // labs share the machine's two cores and its hugepages
    let missing = first_missing().or_else(http::first_missing);
    if let Some(missing) = missing.as_ref().filter(|_| world::is_required()) {
        eprintln!("the lab is required (WEIRGATE_LAB=required): {missing}");
        return ExitCode::FAILURE;
    }
    if let Some(missing) = &missing {
        eprintln!("lab tests are skipped: {missing}; ./scripts/test installs and builds what they need");
    }
    let mut trials = Vec::new();
    for device in DEVICES {
        for (name, check) in CHECKS {
            trials.push(Trial::test(format!("{device}::{name}"), move || check(&Lab::shared(device))));
        }
        for (name, check) in tcp::CHECKS {
            trials.push(Trial::test(format!("{device}::{name}"), move || check(&Lab::shared(device))));
        }
        for (name, check) in http::CHECKS {
            trials.push(Trial::test(format!("{device}::{name}"), move || check(&Lab::shared(device))));
        }
        trials.push(Trial::test(format!("{device}::two_workers"), move || two_workers(device)));
    }
    for (name, check) in control::CHECKS.into_iter().chain(tls::CHECKS) {
        trials.push(Trial::test(name, move || check(&Lab::controlled())));
    }
    trials.push(Trial::test("http::hostile_backends", hostile::hostile_backends));
    let long = Trial::test("http::a_gibibyte_each_way", hostile::a_gibibyte_each_way);
    trials.push(Trial::test("tcp::a_stopped_gateway_resets_its_connections", tcp::a_stopped_gateway_resets));
    let vlan = Trial::test("a_vlan_is_an_interface", a_vlan_is_an_interface);
    let no_vlan = missing.is_none() && !world::kernel_has_vlans();
    if no_vlan {
        eprintln!("a_vlan_is_an_interface is skipped: this kernel makes no VLAN interfaces (8021q)");
    }
    trials.push(Trial::test("a_static_route_is_taken", a_static_route_is_taken));
    trials.push(Trial::test("a_capture_opens_in_tcpdump", a_capture_opens));
    trials.push(Trial::test("without_hugepages", without_hugepages));
    trials.push(Trial::test("what_cannot_start_says_why", what_cannot_start_says_why));
    let mut trials: Vec<_> = trials.into_iter().map(|trial| trial.with_ignored_flag(missing.is_some())).collect();
    trials.push(vlan.with_ignored_flag(missing.is_some() || no_vlan));
    // Only when asked for: --ignored.
    trials.push(long.with_ignored_flag(true));
    let conclusion = libtest_mimic::run(&arguments, trials);
    Lab::end_shared();
    conclusion.exit_code()
}

fn pings_lose_nothing(lab: &Lab) -> Result<(), Failed> {
    for address in ["10.77.0.10", "fd77::10"] {
        let said = lab.client(&["ping", "-c", "100", "-i", "0.01", "-q", address])?;
        expect(said.contains("100 received"), "100 received", &said)?;
    }
    Ok(())
}

fn sizes_are_answered(lab: &Lab) -> Result<(), Failed> {
    for (address, size) in
        [("10.77.0.10", "0"), ("10.77.0.10", "1"), ("10.77.0.10", "1472"), ("fd77::10", "0"), ("fd77::10", "1452")]
    {
        let said = lab.client(&["ping", "-c", "3", "-i", "0.01", "-s", size, address])?;
        expect(said.contains("3 received"), "3 received", &said)?;
    }
    Ok(())
}

/// IPv4 fragments: the AF_PACKET device's kernel socket puts them together, so that the answer is too long for the link; the other devices
/// hand them over as they are.
fn fragments_are_refused(lab: &Lab) -> Result<(), Failed> {
    let names4: &[&str] = if lab.device == "af_packet" { &["too_long", "ipv4_malformed"] } else { &["ipv4_fragment"] };
    for (address, size, names) in
        [("10.77.0.10", "1473", names4), ("10.77.0.10", "8000", names4), ("fd77::10", "1453", &["ipv6_fragment"])]
    {
        let sum = |lab: &Lab| names.iter().map(|name| lab.counter(&format!("drop.{name}"))).sum::<Result<u64, _>>();
        let before = sum(lab)?;
        lab.client_fails(&["ping", "-c", "1", "-W", "1", "-s", size, address])?;
        wait_for(&format!("one of {names:?} for {size} bytes to {address}"), || Ok(sum(lab)? > before))?;
    }
    Ok(())
}

fn arping_is_answered(lab: &Lab) -> Result<(), Failed> {
    let said = lab.client(&["arping", "-c", "3", "-I", "eth0", "10.77.0.10"])?;
    expect(said.to_lowercase().contains("reply from 10.77.0.10"), "replies", &said)
}

fn flood_leaks_nothing(lab: &Lab) -> Result<(), Failed> {
    let before = lab.quiet()?;
    lab.client(&["ping", "-f", "-q", "-s", "18", "-w", "3", "10.77.0.10"])?;
    wait_for("as many frames in use as before the flood", || {
        Ok(lab.gauge_sum("frames_in_use")? <= before.max(lab.ring_frames()))
    })
}

fn closed_port_is_unreachable(lab: &Lab) -> Result<(), Failed> {
    for address in ["10.77.0.10", "fd77::10"] {
        // A connected UDP socket hears of ICMP errors.
        let script = format!("exec 3<>/dev/udp/{address}/9; echo x >&3; read -rt 5 <&3; true");
        let said = lab.client(&["bash", "-c", &script])?;
        expect(said.contains("Connection refused"), "the port to be refused", &said)?;
    }
    expect(lab.counter("drop.udp_no_listener")? >= 2, "udp_no_listener counted", "less")
}

fn every_frame_is_accounted_for(lab: &Lab) -> Result<(), Failed> {
    lab.quiet()?;
    // A worker writes its column cell by cell, and a neighbour may say something at any time: what does not add up in one look must in another.
    wait_for("every frame to have ended, once", || {
        let values = lab.values()?;
        let sum = |names: &[&str]| names.iter().map(|name| values.get(*name).copied().unwrap_or(0)).sum::<u64>();
        let came = sum(&["rx_frames", "made_frames"]);
        Ok(came > 0 && came == sum(&["tx_frames", "consumed_frames", "dropped_frames", "frames_held"]))
    })?;
    expect(lab.gauge_sum("notices_lost")? == 0, "no notice lost", "some")
}

/// On the same interface: it says why it does not start, and the first goes on.
fn a_second_one_does_no_harm(lab: &Lab) -> Result<(), Failed> {
    let (code, said) = lab.start_another()?;
    let wants = if lab.device == "tap" { "exists already" } else { "another data plane uses this interface" };
    expect(code == Some(1) && said.contains(wants), wants, &format!("exit {code:?}: {said}"))?;
    pings_lose_nothing(lab)
}

fn killed_and_up_again(lab: &Lab) -> Result<(), Failed> {
    run(&["kill", "-KILL", &lab.pid()?])?;
    lab.up_again()?;
    pings_lose_nothing(lab)
}

fn two_workers(device: &str) -> Result<(), Failed> {
    let lab = Lab::up("two", device, &["--workers", "2"])?;
    // Backends and the client have other addresses, so their flows go to either worker; each must learn what the other asked.
    for address in ["10.77.0.10", "fd77::10"] {
        for _ in 0..3 {
            let said = lab.client(&["ping", "-c", "20", "-i", "0.01", "-q", address])?;
            expect(said.contains("20 received"), "20 received", &said)?;
        }
        for source in ["10.77.0.11", "10.77.0.12", "10.77.0.13", "fd77::11", "fd77::12", "fd77::13"] {
            if source.contains(':') == address.contains(':') {
                let said = lab.exec("backend", &["ping", "-c", "5", "-i", "0.01", "-q", "-I", source, address])?;
                expect(said.contains("5 received"), "5 received", &said)?;
            }
        }
    }
    every_frame_is_accounted_for(&lab)?;
    tcp::with_two_workers(&lab)
}

fn a_vlan_is_an_interface() -> Result<(), Failed> {
    let config = world::dataplane("af_packet", "vlans: [{id: 7, addresses: [10.78.0.10/24, fd78::10/64]}]");
    let lab = Lab::up_with("vlan", &config)?;
    lab.client(&["ip", "link", "add", "link", "eth0", "name", "eth0.7", "type", "vlan", "id", "7"])?;
    lab.client(&["ip", "addr", "add", "10.78.0.2/24", "dev", "eth0.7"])?;
    lab.client(&["ip", "addr", "add", "fd78::2/64", "dev", "eth0.7", "nodad"])?;
    lab.client(&["ip", "link", "set", "eth0.7", "up"])?;
    for address in ["10.78.0.10", "fd78::10", "10.77.0.10"] {
        let said = lab.client(&["ping", "-c", "3", "-i", "0.1", "-W", "2", address])?;
        expect(said.contains("3 received"), "3 received", &said)?;
    }
    Ok(())
}

fn a_static_route_is_taken() -> Result<(), Failed> {
    let config = world::dataplane("af_packet", "gateway: [10.77.0.2, fd77::2]");
    let lab = Lab::up_with("route", &config)?;
    lab.client(&["ip", "addr", "add", "192.0.2.1/32", "dev", "lo"])?;
    lab.client(&["ip", "addr", "add", "2001:db8::1/128", "dev", "lo", "nodad"])?;
    for (source, address) in [("192.0.2.1", "10.77.0.10"), ("2001:db8::1", "fd77::10")] {
        let said = lab.client(&["ping", "-c", "3", "-i", "0.1", "-W", "2", "-I", source, address])?;
        expect(said.contains("3 received"), "3 received", &said)?;
    }
    Ok(())
}

fn a_capture_opens() -> Result<(), Failed> {
    let file = std::env::temp_dir().join(format!("weirgate-lab-{}.pcapng", std::process::id()));
    let path = file.display().to_string();
    let lab = Lab::up("pcap", "af_packet", &["--pcap", &path])?;
    lab.client(&["ping", "-c", "5", "-i", "0.05", "10.77.0.10"])?;
    drop(lab);
    let said = run(&["tcpdump", "-nr", &path, "icmp"])?;
    let _ = std::fs::remove_file(&file);
    expect(
        said.matches("ICMP echo request").count() == 5 && said.matches("ICMP echo reply").count() == 5,
        "5 of each",
        &said,
    )
}

fn without_hugepages() -> Result<(), Failed> {
    let lab = Lab::up("nohuge", "af_packet", &["--no-huge"])?;
    pings_lose_nothing(&lab)
}

/// Each row: what is in the snapshot, and what the one sentence must name.
fn what_cannot_start_says_why() -> Result<(), Failed> {
    let port = |device: &str| format!(r#"{{"name": "p0", "device": "{device}", "addresses": ["10.0.0.1/24"]}}"#);
    let rows = [
        (port("af_packet:nothere"), "[0]", "no interface nothere"),
        (port("af_xdp:nothere"), "[0]", "no interface nothere"),
        (port("0000:ff:1f.7"), "[0]", "needs hugepages"),
        (port("memif:/nowhere/at/all.sock"), "[0]", "does not exist"),
        (port("tap:lo"), "[0]", "exists already"),
        (port("null"), "[999]", "core 999 cannot be used; this process may run on"),
        (port("pcap,rx_pcap=/nowhere.pcap"), "[0]", "cannot be opened"),
        (port("null").replace("10.0.0.1/24", "10.0.0.255/24"), "[0]", "cannot be a host's address"),
        (format!("{}, {}", port("null"), port("null")), "[0]", "two ports are named"),
    ];
    for (ports, cores, wants) in rows {
        let snapshot =
            format!(r#"{{"format": 1, "name": "t", "dataplane": {{"cores": {cores}, "ports": [{ports}]}}}}"#);
        let (code, said, leftovers) = world::start_dataplane(&snapshot, &["--no-huge"])?;
        expect(code == Some(1) && said.contains(wants), wants, &format!("exit {code:?}: {said}"))?;
        expect(leftovers.is_empty(), "nothing left behind", &leftovers)?;
    }
    let pci =
        format!(r#"{{"format": 1, "name": "t", "dataplane": {{"cores": [0], "ports": [{}]}}}}"#, port("0000:ff:1f.7"));
    let (code, said, _) = world::start_dataplane(&pci, &[])?;
    expect(code == Some(1) && said.contains("no such PCI device"), "the device that is missing", &said)?;
    // More memory than any machine of ours has in hugepages.
    let greedy = format!(
        r#"{{"format": 1, "name": "t", "dataplane": {{"cores": [0], "framesPerWorker": 4000000, "ports": [{}]}}}}"#,
        port("null")
    );
    let (code, said, _) = world::start_dataplane(&greedy, &[])?;
    expect(code == Some(1) && said.contains("of free hugepages are needed"), "the hugepages that are missing", &said)?;
    let (code, said, _) = world::start_dataplane("{}", &["--no-huge"])?;
    expect(code == Some(1) && said.contains("not a snapshot of format"), "a refusal", &said)
}

fn expect(holds: bool, wanted: &str, got: &str) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(format!("wanted: {wanted}\ngot: {got}").into()) }
}
