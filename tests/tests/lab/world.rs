//! The lab as tests see it: `./scripts/lab` with a name of its own, counters as `weirgate stat` gives them.

use libtest_mimic::Failed;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

/// How long a condition may take to come true: a machine under load is slow, and a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);
const STEP: Duration = Duration::from_millis(20);

/// A lab that stands. Taken down on drop.
pub(crate) struct Lab {
    name: String,
    pub(crate) device: String,
    options: Vec<String>,
}

static SHARED: Mutex<BTreeMap<String, Arc<Lab>>> = Mutex::new(BTreeMap::new());

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the checkout").to_owned()
}

pub(crate) fn binary(name: &str) -> PathBuf {
    root().join("target/release").join(name)
}

/// Whoever says `WEIRGATE_LAB=required` has made sure that nothing is missing: then a lab that is skipped is a failure.
pub(crate) fn is_required() -> bool {
    std::env::var_os("WEIRGATE_LAB").is_some_and(|said| said == "required")
}

/// What is missing for these tests to run, if anything.
pub(crate) fn first_missing() -> Option<String> {
    if std::env::var_os("WEIRGATE_LAB").is_some_and(|said| said == "skip") {
        return Some("WEIRGATE_LAB=skip says so".into());
    }
    if run(&["id", "-u"]).map_or(true, |id| id.trim() != "0") {
        return Some("they need root".into());
    }
    for name in ["weirgate-dataplane", "weirgate-control", "weirgate"] {
        if !binary(name).exists() {
            return Some(format!("target/release/{name} is not built"));
        }
    }
    ["ip", "ping", "arping", "ethtool", "tcpdump"]
        .into_iter()
        .find(|tool| run(&["sh", "-c", &format!("command -v {tool}")]).is_err())
        .map(|tool| format!("{tool} is not installed"))
}

/// Whether VLAN interfaces can be made, tried in a namespace that ends with the command.
pub(crate) fn kernel_has_vlans() -> bool {
    let script = "ip link add a type dummy && ip link add link a name a.7 type vlan id 7 || \
                  { ip link add a type veth peer name b && ip link add link a name a.7 type vlan id 7; }";
    run(&["unshare", "--net", "sh", "-c", script]).is_ok()
}

/// Runs a command to its end; what it wrote, or a failure that shows it.
pub(crate) fn run(command: &[&str]) -> Result<String, Failed> {
    let (code, said) = run_any(command)?;
    if code == Some(0) { Ok(said) } else { Err(format!("{command:?} ended with {code:?}:\n{said}").into()) }
}

pub(crate) fn run_any(command: &[&str]) -> Result<(Option<i32>, String), Failed> {
    let output = Command::new(command[0]).args(&command[1..]).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Ok((output.status.code(), said))
}

/// Waits until something holds.
pub(crate) fn wait_for(what: &str, holds: impl FnMut() -> Result<bool, Failed>) -> Result<(), Failed> {
    wait_within(PATIENCE, what, holds)
}

/// The same for what may take its time.
pub(crate) fn wait_within(
    patience: Duration,
    what: &str,
    mut holds: impl FnMut() -> Result<bool, Failed>,
) -> Result<(), Failed> {
    for _ in 0..patience.as_millis() / STEP.as_millis() {
        if holds()? {
            return Ok(());
        }
        // Between two looks at a condition, not instead of one.
        #[allow(clippy::disallowed_methods)]
        std::thread::sleep(STEP);
    }
    Err(format!("waited {patience:?} in vain for: {what}").into())
}

/// A configuration with one port on the lab's device and `more` in the port's block.
pub(crate) fn dataplane(device: &str, more: &str) -> String {
    format!(
        "apiVersion: weirgate/v1\nkind: GatewayConfig\nmetadata: {{name: lab}}\ndataplane:\n  cores: [0]\n  polling: adaptive\n  ports:\n  \
         - {{name: p0, device: \"{device}:gw0\", addresses: [10.77.0.10/24, fd77::10/64], {more}}}\n"
    )
}

/// Starts the data plane alone and waits for its end: exit code, what it said, and what it has left behind.
pub(crate) fn start_dataplane(snapshot: &str, options: &[&str]) -> Result<(Option<i32>, String, String), Failed> {
    let folder = std::env::temp_dir().join(format!("weirgate-start-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let file = folder.join("snapshot.json");
    std::fs::write(&file, snapshot)?;
    let runtime = folder.join("runtime");
    std::fs::create_dir_all(&runtime)?;
    let output = Command::new("timeout")
        .arg("30")
        .arg(binary("weirgate-dataplane"))
        .arg("--snapshot")
        .arg(&file)
        .arg("--run-dir")
        .arg(folder.join("run"))
        .args(options)
        .env("RUNTIME_DIRECTORY", &runtime)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let left = |folder: PathBuf| {
        let names =
            std::fs::read_dir(folder).map(|d| d.flatten().map(|f| f.path().display().to_string()).collect::<Vec<_>>());
        names.unwrap_or_default()
    };
    let leftovers = [left(folder.join("run")), left(runtime.join("dpdk"))].concat().join(", ");
    std::fs::remove_dir_all(&folder)?;
    Ok((output.status.code(), said, leftovers))
}

impl Lab {
    /// The lab of a device, which stands until the last test.
    pub(crate) fn shared(device: &str) -> Arc<Self> {
        let mut shared = SHARED.lock().expect("no test panics while it holds the lock");
        let up = || Arc::new(Self::up(&device.replace('_', ""), device, &[]).expect("the lab comes up"));
        let lab = shared.entry(device.to_owned()).or_insert_with(up);
        // One test that ends the data plane fails, and not all after it.
        if lab.gauge_sum("turns").is_err() {
            lab.up_again().expect("the lab comes up again");
        }
        Arc::clone(lab)
    }

    /// The one lab that has a daemon.
    pub(crate) fn controlled() -> Arc<Self> {
        let mut shared = SHARED.lock().expect("no test panics while it holds the lock");
        let up = || Arc::new(Self::up("control", "af_packet", &["--daemon"]).expect("the lab comes up"));
        Arc::clone(shared.entry("control".to_owned()).or_insert_with(up))
    }

    /// Takes the shared labs down.
    pub(crate) fn end_shared() {
        SHARED.lock().expect("no test panics while it holds the lock").clear();
    }

    pub(crate) fn up(name: &str, device: &str, options: &[&str]) -> Result<Self, Failed> {
        let mut all = vec!["--device".to_owned(), device.to_owned()];
        all.extend(options.iter().map(ToString::to_string));
        let lab = Self { name: format!("test-{name}"), device: device.to_owned(), options: all };
        lab.up_again()?;
        Ok(lab)
    }

    /// A lab whose gateway has this configuration.
    pub(crate) fn up_with(name: &str, config: &str) -> Result<Self, Failed> {
        let file = std::env::temp_dir().join(format!("weirgate-lab-{name}-{}.yaml", std::process::id()));
        std::fs::write(&file, config)?;
        let lab = Self::up(name, "af_packet", &["--config", &file.display().to_string()]);
        std::fs::remove_file(&file)?;
        lab
    }

    pub(crate) fn up_again(&self) -> Result<(), Failed> {
        let options: Vec<&str> = self.options.iter().map(String::as_str).collect();
        self.script(&[&["up"], options.as_slice()].concat()).map(|_| ())
    }

    fn script(&self, arguments: &[&str]) -> Result<String, Failed> {
        let script = root().join("scripts/lab").display().to_string();
        run(&[&[script.as_str(), arguments[0], "--name", &self.name], &arguments[1..]].concat())
    }

    pub(crate) fn exec(&self, namespace: &str, command: &[&str]) -> Result<String, Failed> {
        self.script(&[&["exec", namespace], command].concat())
    }

    pub(crate) fn client(&self, command: &[&str]) -> Result<String, Failed> {
        self.exec("client", command)
    }

    pub(crate) fn client_fails(&self, command: &[&str]) -> Result<(), Failed> {
        match self.client(command) {
            Ok(said) => Err(format!("{command:?} was to fail and did not:\n{said}").into()),
            Err(_) => Ok(()),
        }
    }

    /// A namespace's name: of the client, the backend or the gateway.
    pub(crate) fn namespace(&self, who: &str) -> String {
        format!("weir-{}-{who}", self.name)
    }

    fn run_dir(&self) -> String {
        format!("/run/weirgate/lab-{}", self.name)
    }

    /// A path in the run directory.
    pub(crate) fn file(&self, path: &str) -> String {
        format!("{}/{path}", self.run_dir())
    }

    /// Ends one of the three backends, or starts it: `stop` or `start`, and its number.
    pub(crate) fn backend(&self, what: &str, number: &str) -> Result<(), Failed> {
        self.script(&["backend", what, number]).map(|_| ())
    }

    /// Starts another data plane with the lab's own snapshot, to its end: exit code and what it said.
    pub(crate) fn start_another(&self) -> Result<(Option<i32>, String), Failed> {
        let folder = std::env::temp_dir().join(format!("weirgate-another-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let (program, snapshot) =
            (binary("weirgate-dataplane").display().to_string(), format!("{}/snapshot.json", self.run_dir()));
        let folder_name = folder.display().to_string();
        let runtime = format!("RUNTIME_DIRECTORY={folder_name}");
        let command = [
            "env",
            &runtime,
            "timeout",
            "20",
            &program,
            "--snapshot",
            &snapshot,
            "--run-dir",
            &folder_name,
            "--no-huge",
        ];
        let script = root().join("scripts/lab").display().to_string();
        let ended = run_any(&[&[script.as_str(), "exec", "--name", &self.name, "gateway"], &command[..]].concat());
        std::fs::remove_dir_all(&folder)?;
        ended
    }

    pub(crate) fn pid(&self) -> Result<String, Failed> {
        // The daemon writes behind it when the process was started.
        let text = std::fs::read_to_string(self.file("dataplane.pid"))?;
        Ok(text.split_whitespace().next().ok_or("a process")?.to_owned())
    }

    /// The daemon dies as it stands.
    pub(crate) fn kill_control(&self) -> Result<(), Failed> {
        let pid = std::fs::read_to_string(self.file("control.pid"))?;
        run(&["kill", "-9", pid.trim()]).map(|_| ())
    }

    /// Another one, in the place of one that died.
    pub(crate) fn start_control(&self) -> Result<(), Failed> {
        self.script(&["control"]).map(|_| ())
    }

    /// Every value, each the sum over all workers.
    pub(crate) fn values(&self) -> Result<BTreeMap<String, u64>, Failed> {
        let weirgate = binary("weirgate").display().to_string();
        let said = run(&[&weirgate, "stat", "--run-dir", &self.run_dir(), "--output", "json"])?;
        let statistics: Value = serde_json::from_str(&said)?;
        let workers = statistics["columns"].as_array().ok_or("columns")?.iter().filter(|c| c["scope"] == "worker");
        let mut sums = BTreeMap::new();
        for worker in workers {
            for value in worker["values"].as_array().ok_or("values")? {
                let name = value["name"].as_str().ok_or("a name")?;
                *sums.entry(name.to_owned()).or_default() += value["value"].as_u64().ok_or("a number")?;
            }
        }
        Ok(sums)
    }

    /// One of them.
    pub(crate) fn gauge_sum(&self, name: &str) -> Result<u64, Failed> {
        Ok(*self.values()?.get(name).ok_or(format!("no value {name}"))?)
    }

    pub(crate) fn counter(&self, name: &str) -> Result<u64, Failed> {
        self.gauge_sum(name)
    }

    /// Waits until no frame comes or goes for a moment; gives the number of frames in use.
    pub(crate) fn quiet(&self) -> Result<u64, Failed> {
        let mut before = u64::MAX;
        let mut still = 0;
        wait_for("the lab to be quiet", || {
            let now = self.gauge_sum("rx_frames")? + self.gauge_sum("tx_frames")?;
            still = if now == before { still + 1 } else { 0 };
            before = now;
            Ok(still == 15)
        })?;
        self.gauge_sum("frames_in_use")
    }

    /// Frames that a device's rings hold when they are full: these are in use and not lost.
    pub(crate) fn ring_frames(&self) -> u64 {
        match self.device.as_str() {
            "af_packet" => 0,
            "tap" => 1_024,
            _ => 4_096,
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Err(error) = self.script(&["down"]) {
            eprintln!("the lab {} did not go down: {}", self.name, error.message().unwrap_or_default());
        }
    }
}
