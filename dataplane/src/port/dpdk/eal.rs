//! DPDK's environment: started once in a process, ended when the last frame is back.

use super::{StartError, mempool::Mempool, start_error};
use crate::snapshot::{Device, DeviceKind};
use dpdk_sys as sys;
use std::{
    ffi::{CStr, CString},
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

/// Where packet memory comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Memory {
    /// Huge pages, of whatever size the machine has free.
    Huge,
    /// Ordinary pages: for virtual devices, slow but always there.
    Ordinary,
}

/// What EAL must know at its start.
#[derive(Clone, Debug)]
pub struct EalOptions {
    /// Where packet memory comes from.
    pub memory: Memory,
    /// How much of it, in bytes.
    pub bytes: usize,
    /// CPUs that the process may use; the starting thread stays on all of them.
    pub cpus: Vec<u16>,
    /// One file for each hugepage size, because another process maps this memory: virtio-user, and memif without copying.
    pub single_file_segments: bool,
    /// Show DPDK's own messages, not only its errors.
    pub verbose: bool,
}

/// DPDK, started. Ends it on drop, unless frames are still out.
pub struct Eal {
    pools: Vec<Mempool>,
    /// Names of the folder that EAL makes for itself even when it keeps nothing there.
    runtime_dir: PathBuf,
}

static STARTED: AtomicBool = AtomicBool::new(false);

impl Eal {
    /// Starts DPDK.
    pub fn start(options: &EalOptions) -> Result<Self, StartError> {
        assert!(!STARTED.swap(true, Ordering::SeqCst), "EAL is started once in a process");
        check_memory(options)?;
        let prefix = format!("{PREFIX}{}", std::process::id());
        remove_abandoned(&runtime_dir(""));
        let arguments: Vec<CString> = arguments(options, &prefix)
            .into_iter()
            .map(|a| CString::new(a).expect("no NUL in our arguments"))
            .collect();
        let mut argv: Vec<_> = arguments.iter().map(|a| a.as_ptr().cast_mut()).collect();
        // SAFETY: rte_eal_init wants argc valid strings, which it may reorder but not free; they outlive the call, and what it keeps it
        // copies. It is called once (STARTED), from one thread.
        let answer = unsafe { sys::rte_eal_init(argv.len() as i32, argv.as_mut_ptr()) };
        let runtime_dir = runtime_dir(&prefix);
        if answer < 0 {
            let _ = fs::remove_dir_all(&runtime_dir);
            return start_error(format!(
                "DPDK did not start: {}. Its own messages are above; run with --verbose for more",
                super::reason(-1)
            ));
        }
        Ok(Self { pools: Vec::new(), runtime_dir })
    }

    /// DPDK's own words for its version.
    pub fn version() -> String {
        // SAFETY: gives a static, NUL-terminated string.
        unsafe { CStr::from_ptr(sys::rte_version()) }.to_string_lossy().into_owned()
    }

    /// Makes a pool of `frames` buffers with so much room each.
    pub fn pool(&mut self, name: &str, frames: u32, room: usize) -> Result<Mempool, StartError> {
        let pool = Mempool::create(name, frames, room)?;
        self.pools.push(pool.clone());
        Ok(pool)
    }
}

impl Drop for Eal {
    fn drop(&mut self) {
        // Devices are closed by now (they borrow nothing of EAL's but are dropped before it by whoever owns both). A frame that is still
        // out points into memory that the clean-up would unmap; then the process ends with it mapped, which costs nothing.
        if self.pools.iter().all(|pool| pool.in_use() == 0) {
            // SAFETY: EAL is up (this value proves it), nothing of its memory is in use, and no call follows.
            unsafe { sys::rte_eal_cleanup() };
        }
        let _ = fs::remove_dir_all(&self.runtime_dir);
    }
}

fn arguments(options: &EalOptions, prefix: &str) -> Vec<String> {
    let cpus: Vec<String> = options.cpus.iter().map(u16::to_string).collect();
    let mut arguments: Vec<String> = [
        "weirgate-dataplane",
        "--no-telemetry",
        // No device is taken because it is there: each one is probed by name. This one is a bridge if anything, which no driver takes.
        "-a",
        "0000:00:00.0",
    ]
    .map(str::to_owned)
    .into();
    arguments.push(format!("--file-prefix={prefix}"));
    arguments.push(format!("--lcores=0@({})", cpus.join(",")));
    arguments.push(format!("--log-level=*:{}", if options.verbose { "info" } else { "error" }));
    match options.memory {
        // Nothing on disk: no files in hugetlbfs, no shared configuration.
        Memory::Huge => {
            arguments.push("--in-memory".into());
            arguments.extend(options.single_file_segments.then(|| "--single-file-segments".to_owned()));
        }
        Memory::Ordinary => {
            let mib = options.bytes.div_ceil(1 << 20);
            arguments.extend(["--no-huge".into(), "--no-shconf".into(), "-m".into(), mib.to_string()]);
        }
    }
    arguments
}

/// Before the process's number, in the name of its runtime folder.
const PREFIX: &str = "weirgate-";

/// Removes the folders of data planes that were killed.
fn remove_abandoned(folders: &Path) {
    let Ok(folders) = fs::read_dir(folders) else { return };
    for folder in folders.flatten() {
        let name = folder.file_name().to_string_lossy().into_owned();
        let process: Option<u32> = name.strip_prefix(PREFIX).and_then(|pid| pid.parse().ok());
        if process.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            let _ = fs::remove_dir_all(folder.path());
        }
    }
}

/// rte_eal_get_runtime_dir is not for us: we need the name also when the start failed. The rule is eal_create_runtime_dir's.
fn runtime_dir(prefix: &str) -> PathBuf {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let base = match set("RUNTIME_DIRECTORY") {
        Some(folder) => folder,
        None if rustix::process::getuid().is_root() => PathBuf::from("/var/run"),
        None => set("XDG_RUNTIME_DIR").unwrap_or_else(|| PathBuf::from("/tmp")),
    };
    base.join("dpdk").join(prefix)
}

fn check_memory(options: &EalOptions) -> Result<(), StartError> {
    if options.memory == Memory::Ordinary {
        return Ok(());
    }
    let free = free_hugepage_bytes();
    if free >= options.bytes {
        return Ok(());
    }
    let (need, have) = (options.bytes.div_ceil(1 << 20), free >> 20);
    start_error(format!(
        "{need} MiB of free hugepages are needed and {have} MiB are there: run scripts/setup-host --hugepages-2m {}, or use --no-huge if all \
         devices are virtual",
        options.bytes.div_ceil(2 << 20) + 16
    ))
}

fn free_hugepage_bytes() -> usize {
    let Ok(sizes) = fs::read_dir("/sys/kernel/mm/hugepages") else { return 0 };
    let free = |folder: PathBuf| {
        let kib: usize = folder.file_name()?.to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let pages: usize = fs::read_to_string(folder.join("free_hugepages")).ok()?.trim().parse().ok()?;
        Some(kib * 1024 * pages)
    };
    sizes.flatten().filter_map(|size| free(size.path())).sum()
}

/// What can be said about a device before DPDK tries it; DPDK's own message would name neither the device nor the remedy.
pub(super) fn check_device(device: &Device) -> Result<(), StartError> {
    if !rustix::process::geteuid().is_root() && device.kind != DeviceKind::Null {
        return start_error(format!(
            "device {device}: root is needed (or CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN and CAP_IPC_LOCK)"
        ));
    }
    check_driver(device)?;
    let target = &device.target;
    match device.kind {
        DeviceKind::Pci => check_pci(target),
        DeviceKind::AfXdp | DeviceKind::AfPacket if !has_interface(target) => start_error(format!(
            "device {device}: this network namespace has no interface {target}; `ip link` lists them"
        )),
        DeviceKind::Tap if has_interface(target) => start_error(format!(
            "device {device}: an interface {target} exists already; the data plane makes its own, so choose another name or delete it"
        )),
        DeviceKind::Tap if !Path::new("/dev/net/tun").exists() => {
            start_error(format!("device {device}: /dev/net/tun is missing; run modprobe tun"))
        }
        DeviceKind::Memif | DeviceKind::Vhost | DeviceKind::VirtioUser
            if Path::new(target).parent().is_some_and(|folder| !folder.as_os_str().is_empty() && !folder.exists()) =>
        {
            start_error(format!("device {device}: the folder of {target} does not exist; make it first"))
        }
        _ => Ok(()),
    }
}

/// Whether the thread's network namespace has an interface of this name. (/sys shows the namespace in which it was mounted.)
fn has_interface(name: &str) -> bool {
    let Ok(table) = fs::read_to_string("/proc/thread-self/net/dev") else {
        return Path::new("/sys/class/net").join(name).exists();
    };
    table.lines().any(|line| line.split_once(':').is_some_and(|(interface, _)| interface.trim() == name))
}

/// DPDK loads every driver in one folder; without the file there is no such device.
fn check_driver(device: &Device) -> Result<(), StartError> {
    let (library, package) = match device.kind {
        DeviceKind::Pci => ("librte_bus_pci.so", "librte-bus-pci"),
        DeviceKind::AfXdp => ("librte_net_af_xdp.so", "librte-net-af-xdp"),
        DeviceKind::AfPacket => ("librte_net_af_packet.so", "librte-net-af-packet"),
        DeviceKind::Tap => ("librte_net_tap.so", "librte-net-tap"),
        DeviceKind::Memif => ("librte_net_memif.so", "librte-net-memif"),
        DeviceKind::VirtioUser => ("librte_net_virtio.so", "librte-net-virtio"),
        DeviceKind::Vhost => ("librte_net_vhost.so", "librte-net-vhost"),
        DeviceKind::Pcap => ("librte_net_pcap.so", "librte-net-pcap"),
        DeviceKind::Null => ("librte_net_null.so", "librte-net-null"),
    };
    let folder = CStr::from_bytes_with_nul(sys::RTE_EAL_PMD_PATH).map_or("", |path| path.to_str().unwrap_or_default());
    let found = fs::read_dir(folder)
        .map(|files| files.flatten().any(|file| file.file_name().to_string_lossy().starts_with(library)))
        .unwrap_or(true); // no such folder: DPDK was built another way, and will say itself what it lacks
    if found {
        return Ok(());
    }
    start_error(format!(
        "device {device}: its driver {library} is not in {folder}; install {package} (or all of libdpdk-dev)"
    ))
}

fn check_pci(address: &str) -> Result<(), StartError> {
    let folder = Path::new("/sys/bus/pci/devices").join(address);
    if !folder.exists() {
        return start_error(format!("device {address}: there is no such PCI device; `lspci -D` lists them"));
    }
    let driver = fs::read_link(folder.join("driver")).ok();
    let driver = driver.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    match driver.as_deref() {
        // mlx5 is bifurcated: DPDK works beside the kernel's driver.
        Some("vfio-pci" | "uio_pci_generic" | "igb_uio" | "uio_hv_generic" | "mlx5_core") => Ok(()),
        Some(other) => start_error(format!(
            "device {address}: the kernel's driver {other} owns it; run scripts/setup-host --device {address} to give it to vfio-pci"
        )),
        None => start_error(format!(
            "device {address}: no driver owns it; run scripts/setup-host --device {address} to give it to vfio-pci"
        )),
    }
}
