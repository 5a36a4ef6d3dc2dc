//! Under the control daemon: what is configured anew while requests come, what dies and comes back.
//!
//! ```text
//!   client: wrk, sockets ---- bridge ---- data plane <--- link --- weirgate-control <--- admin socket --- weirgate apply ..
//! ```

use crate::{
    expect,
    peer::{connect, within},
    world::{Lab, run, run_any, wait_for},
};
use libtest_mimic::Failed;
use std::{
    io::{Read, Write},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

/// What is shown with one lab, which stands for all of them.
pub(crate) const CHECKS: [(&str, fn(&Lab) -> Result<(), Failed>); 6] = [
    ("control::mistakes_are_told_all_at_once", mistakes_are_told),
    ("control::a_live_configuration_explains_itself", explains),
    ("control::frames_are_captured_while_it_runs", captures),
    ("control::a_thousand_applies_under_load", a_thousand_applies),
    ("control::an_ill_endpoint_gets_nothing", an_ill_endpoint),
    ("control::either_process_may_be_killed", either_may_be_killed),
];

/// Configurations of the web listener: one for all weights and endpoints.
fn web(weights: [u32; 2], endpoints: &[u8], more: &str) -> String {
    let list: Vec<_> = endpoints.iter().map(|n| format!("\"10.77.0.1{n}:8080\"")).collect();
    format!(
        "apiVersion: weirgate/v1\nkind: GatewayConfig\nlisteners:\n- {{name: web, port: 80, protocol: HTTP}}\nroutes:\n\
         - kind: HTTPRoute\n  name: cart\n  parentRefs: [{{name: web}}]\n  rules:\n  - name: canary\n    \
         matches: [{{path: {{type: PathPrefix, value: /cart}}, headers: [{{name: x-canary, value: \"1\"}}]}}]\n    \
         backendRefs: [{{name: some}}]\n  - name: all\n    backendRefs: [{{name: some, weight: {}}}, {{name: first, weight: {}}}]\n\
         backends:\n- name: some\n  discovery: {{static: [{}]}}\n{more}- {{name: first, discovery: {{static: [\"10.77.0.11:8080\"]}}}}\n",
        weights[0],
        weights[1],
        list.join(", ")
    )
}

/// The lab's own files, with this in the place of what they say about the web.
fn write(lab: &Lab, web: &str) -> Result<Vec<String>, Failed> {
    let file = lab.file("test.yaml");
    std::fs::write(&file, web)?;
    Ok(vec![lab.file("lab.yaml"), lab.file("admin.yaml"), file])
}

pub(crate) fn weirgate(lab: &Lab, arguments: &[&str]) -> Result<(Option<i32>, String), Failed> {
    let socket = lab.file("admin.sock");
    let program = crate::world::binary("weirgate").display().to_string();
    run_any(&[&[program.as_str()], arguments, &["--socket", &socket]].concat())
}

pub(crate) fn done(lab: &Lab, arguments: &[&str]) -> Result<String, Failed> {
    let (code, said) = weirgate(lab, arguments)?;
    expect(code == Some(0), &format!("{arguments:?} to be done"), &format!("{code:?}: {said}"))?;
    Ok(said)
}

pub(crate) fn apply(lab: &Lab, web: &str) -> Result<String, Failed> {
    let files = write(lab, web)?;
    let files: Vec<_> = files.iter().map(String::as_str).collect();
    done(lab, &[&["apply"], &files[..]].concat())
}

fn mistakes_are_told(lab: &Lab) -> Result<(), Failed> {
    apply(lab, &web([1, 1], &[1, 2], ""))?;
    let before = done(lab, &["history", "-o", "json"])?;
    let wrong = web([1, 1], &[1, 2], "")
        .replace("port: 80,", "port: eighty,")
        .replace("{name: first, weight", "{name: frist, weight")
        .replace("PathPrefix", "PathPrefx");
    let files = write(lab, &wrong)?;
    let files: Vec<_> = files.iter().map(String::as_str).collect();
    let (code, said) = weirgate(lab, &[&["apply"], &files[..]].concat())?;
    expect(code == Some(1), "exit code 1", &format!("{code:?}: {said}"))?;
    let located = said.lines().filter(|line| line.contains("test.yaml:")).count();
    expect(located == 3, "three located findings", &said)?;
    expect(said.contains("did you mean \"first\"?"), "what was meant", &said)?;
    expect(done(lab, &["history", "-o", "json"])? == before, "nothing new in the history", "something")
}

fn explains(lab: &Lab) -> Result<(), Failed> {
    apply(lab, &web([90, 10], &[1, 2], ""))?;
    let said = done(lab, &["explain", "GET", "http://10.77.0.10/cart/7", "-H", "x-canary: 1"])?;
    for wanted in
        ["web", "10.77.0.10", "cart/canary: chosen", "cart/all: matches, but the chosen rule", "10.77.0.12:8080"]
    {
        expect(said.contains(wanted), wanted, &said)?;
    }
    Ok(())
}

/// What passes is written while it passes, and is what tcpdump reads.
fn captures(lab: &Lab) -> Result<(), Failed> {
    apply(lab, &web([1, 1], &[1, 2, 3], ""))?;
    let (file, socket) = (lab.file("frames.pcapng"), lab.file("admin.sock"));
    let begin = |more: &[&str]| {
        _ = std::fs::remove_file(&file);
        let mut command = Command::new(crate::world::binary("weirgate"));
        command.args(["pcap", "--socket", &socket, "-w", &file]).args(more);
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        wait_for("the capture to begin", || Ok(std::fs::metadata(&file).is_ok_and(|it| it.len() > 0)))?;
        Ok::<_, Failed>(child)
    };
    let ended = |child: Child| {
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        expect(output.status.success() && said.contains(" captured, 0 lost"), "every frame", &said)?;
        let frames = said.split(' ').next().and_then(|it| it.parse::<usize>().ok());
        frames.ok_or_else(|| Failed::from(said))
    };
    let read = || run(&["tcpdump", "-nqr", &file]).map(|said| said.lines().filter(|it| it.contains(" IP ")).count());
    let child = begin(&["--host", "10.77.0.2", "--port", "80", "--duration", "10m"])?;
    let said = lab.client(&["curl", "-sS", "--max-time", "20", "http://10.77.0.10/cart/captured"])?;
    expect(said.starts_with("backend-"), "an answer", &said)?;
    let has = |what: &[u8]| Ok(std::fs::read(&file)?.windows(what.len()).any(|it| it == what));
    wait_for("the request to be captured", || has(b"GET /cart/captured "))?;
    wait_for("the answer to be captured", || has(said.as_bytes()))?;
    run(&["kill", "-INT", &child.id().to_string()])?;
    let frames = ended(child)?;
    let said = run(&["tcpdump", "-nAr", &file])?;
    for wanted in ["10.77.0.10.80: Flags [S]", "GET /cart/captured HTTP/1.1", "HTTP/1.1 200 OK"] {
        expect(said.contains(wanted), wanted, &said)?;
    }
    expect(!said.contains(".8080"), "nothing of the backends", &said)?;
    expect(read()? == frames, "as many frames as were told", &format!("{frames}: {said}"))?;
    // It ends by itself.
    let child = begin(&["--count", "5", "--protocol", "tcp", "--snaplen", "54"])?;
    for _ in 0..3 {
        lab.client(&["curl", "-sS", "--max-time", "20", "http://10.77.0.10/"])?;
    }
    expect(ended(child)? == 5 && read()? == 5, "five frames", "others")?;
    let child = begin(&["--port", "9", "--duration", "1s"])?;
    expect(ended(child)? == 0, "no frame", "some")
}

/// wrk for some seconds; every answer is good, and no connection is cut off.
fn wrk(lab: &Lab, seconds: &str) -> std::io::Result<Child> {
    Command::new("ip")
        .args(["netns", "exec", &lab.namespace("client"), "wrk", "-t1", "-c32", "-d", seconds, "http://10.77.0.10/"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

fn went_well(wrk: Child) -> Result<u64, Failed> {
    let output = wrk.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let is_well = output.status.success() && !said.contains("Non-2xx") && !said.contains("Socket errors");
    expect(is_well, "no failure and no reset", &said)?;
    let requests = said.lines().find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok());
    requests.ok_or_else(|| said.into())
}

/// Weights move, endpoints come and go, a thousand times, while requests come: none fails, none is reset.
fn a_thousand_applies(lab: &Lab) -> Result<(), Failed> {
    apply(lab, &web([1, 1], &[1, 2, 3], ""))?;
    let resets = lab.counter("tcp_resets_sent")?;
    let mut load = wrk(lab, "20s")?;
    let mut requests = 0;
    for n in 0..1_000_u32 {
        let endpoints: &[u8] = [&[1, 2, 3][..], &[2, 3], &[3, 1], &[2], &[1, 2]][n as usize % 5];
        apply(lab, &web([n % 7 + 1, n % 3], endpoints, ""))?;
        if load.try_wait()?.is_some() {
            requests += went_well(std::mem::replace(&mut load, wrk(lab, "20s")?))?;
        }
    }
    requests += went_well(load)?;
    expect(requests > 0, "requests", "none")?;
    let bad: u64 = lab
        .values()?
        .iter()
        .filter(|(name, _)| name.starts_with("http_end."))
        .map(|(name, value)| {
            if matches!(name.as_str(), "http_end.complete" | "http_end.answered" | "http_end.client_gone") {
                0
            } else {
                *value
            }
        })
        .sum();
    expect(bad == 0, "no request that ended badly", &bad.to_string())?;
    expect(lab.counter("tcp_resets_sent")? == resets, "no reset", "some")
}

fn an_ill_endpoint(lab: &Lab) -> Result<(), Failed> {
    let checks =
        "  healthChecks: [{http: {path: /, expect: [200]}, interval: 100ms, timeout: 1s, healthy: 1, unhealthy: 2}]\n";
    apply(lab, &web([1, 0], &[1, 2, 3], checks))?;
    let is_healthy = |wanted: bool| {
        wait_for(&format!("endpoint 2 to be {}", if wanted { "healthy" } else { "ill" }), || {
            let said = done(lab, &["get", "endpoints", "-o", "json"])?;
            let all: serde_json::Value = serde_json::from_str(&said)?;
            let list = all["endpoints"].as_array().ok_or("endpoints")?;
            let it = list.iter().find(|it| it["backend"] == "some" && it["address"] == "10.77.0.12:8080");
            Ok(it.is_some_and(|it| it["live"]["healthy"] == wanted))
        })
    };
    is_healthy(true)?;
    lab.backend("stop", "2")?;
    is_healthy(false)?;
    for _ in 0..30 {
        let said = lab.client(&["curl", "-sS", "--max-time", "20", "http://10.77.0.10/"])?;
        expect(said == "backend-1\n" || said == "backend-3\n", "one that is well", &said)?;
    }
    lab.backend("start", "2")?;
    is_healthy(true)
}

/// Requests one after the other, each on its connection until that ends; how many were answered, and how many were not.
fn asks(stop: &AtomicBool, answered: &AtomicU64) -> u64 {
    let (mut failed, mut stream) = (0, None);
    while !stop.load(Ordering::Relaxed) {
        let mut ask = || -> std::io::Result<()> {
            let stream = match &mut stream {
                Some(stream) => stream,
                none => none.insert(connect("10.77.0.10", 80)?),
            };
            stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
            let mut said = Vec::new();
            while !said.ends_with(b"\n") || !said.windows(8).any(|it| it == b"backend-") {
                let mut bytes = [0; 2_048];
                let len = stream.read(&mut bytes)?;
                if len == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                said.extend_from_slice(&bytes[..len]);
            }
            if said.starts_with(b"HTTP/1.1 200 ") { Ok(()) } else { Err(std::io::ErrorKind::InvalidData.into()) }
        };
        match ask() {
            Ok(()) => _ = answered.fetch_add(1, Ordering::Relaxed),
            Err(_) => {
                failed += 1;
                stream = None;
            }
        }
    }
    failed
}

/// The daemon: nobody notices, and the next one goes on where it was. The data plane: it is back, with the last good revision.
/// `WEIRGATE_KILLS` says how often; ten times each by default.
fn either_may_be_killed(lab: &Lab) -> Result<(), Failed> {
    let kills = std::env::var("WEIRGATE_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(10_u32);
    apply(lab, &web([1, 1], &[1, 2, 3], ""))?;
    for n in 0..kills {
        let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
        let namespace = lab.namespace("client");
        let failed = std::thread::scope(|scope| {
            let load = scope.spawn(|| within(&namespace, || asks(&stop, &answered)));
            let killed = daemon_is_killed(lab, n, &answered);
            stop.store(true, Ordering::Relaxed);
            killed.map(|()| load.join().expect("no panic"))
        })?;
        expect(failed == 0, "no request lost with the daemon", &failed.to_string())?;
        dataplane_is_killed(lab)?;
    }
    Ok(())
}

fn daemon_is_killed(lab: &Lab, n: u32, answered: &AtomicU64) -> Result<(), Failed> {
    let some_more = || {
        let from = answered.load(Ordering::Relaxed);
        wait_for("requests to be answered", || Ok(answered.load(Ordering::Relaxed) > from + 20))
    };
    some_more()?;
    let dataplane = lab.pid()?;
    // In the middle of an apply, or not.
    let files = write(lab, &web([n % 5 + 1, 1], &[1, 2, 3], ""))?;
    let mut applying = Command::new(crate::world::binary("weirgate"))
        .args(["apply", "--socket", &lab.file("admin.sock")])
        .args(&files)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    if n.is_multiple_of(2) {
        applying.wait()?;
    }
    lab.kill_control()?;
    applying.wait()?;
    some_more()?;
    lab.start_control()?;
    some_more()?;
    expect(lab.pid()? == dataplane, "the same data plane", "another")?;
    apply(lab, &web([1, n % 4 + 1], &[1, 2, 3], "")).map(|_| ())
}

fn dataplane_is_killed(lab: &Lab) -> Result<(), Failed> {
    let before = lab.pid()?;
    let number = |said: &str| -> Result<u64, Failed> {
        let all: serde_json::Value = serde_json::from_str(said)?;
        let list = all["revisions"].as_array().ok_or("revisions")?;
        Ok(list.first().and_then(|it| it["revision"].as_u64()).ok_or("a number")?)
    };
    let revision = number(&done(lab, &["history", "-o", "json"])?)?;
    run(&["kill", "-9", &before])?;
    wait_for("another data plane that serves", || {
        let said = lab.client(&["curl", "-s", "--max-time", "5", "http://10.77.0.10/"]).unwrap_or_default();
        Ok(said.starts_with("backend-") && lab.pid().is_ok_and(|pid| pid != before))
    })?;
    expect(number(&done(lab, &["history", "-o", "json"])?)? == revision, "the same revision", "another")
}
