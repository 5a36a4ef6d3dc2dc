//! A port: probed by name, configured for so many queues, started, and given back.

use super::{DpdkPort, Mempool, StartError, Wake, eal, start_error, wake::driver_sockets};
use crate::{
    limits::{AF_PACKET_RING, ETHERNET_MAX, FRAME_ROOM, RING_DESCRIPTORS},
    port::{
        Capabilities, Offloads,
        rss::{PortsHashed, Rss},
    },
    snapshot::{DeviceKind, PortConfig},
};
use dpdk_sys as sys;
use rustix::fd::RawFd;
use std::{
    collections::BTreeSet,
    ffi::{CStr, CString},
    io::ErrorKind,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    ptr,
    sync::{Arc, Mutex, PoisonError},
};

/// A started device. Stops and closes it on drop; its queues must be gone by then.
pub struct Device {
    /// Usually one, with a queue for each worker. A driver that finds only one queue on an interface (AF_XDP on a veth) is probed once for each
    /// worker instead, and the worker's queue is the one queue of its own part.
    parts: Vec<Part>,
    capabilities: Arc<Capabilities>,
    driver: String,
    /// Dropped after the parts.
    _claim: Option<UnixDatagram>,
}

/// One DPDK port. Stops and closes it on drop.
struct Part {
    port: u16,
    queues: u16,
    /// What each queue can be waited for with; empty if they cannot.
    wakes: Vec<Wake>,
}

/// One value about a port that is published beside the workers' counters.
#[derive(Clone, Copy)]
pub struct PortCell {
    /// Its name.
    pub name: &'static str,
    /// What it means, in a sentence.
    pub help: &'static str,
}

/// What [`Device::statistics`] gives, in its order.
pub const PORT_CELLS: [PortCell; 10] = [
    PortCell { name: "rx_frames", help: "Frames that the device has received." },
    PortCell { name: "tx_frames", help: "Frames that the device has sent." },
    PortCell { name: "rx_bytes", help: "Bytes of the received frames." },
    PortCell { name: "tx_bytes", help: "Bytes of the sent frames." },
    PortCell { name: "rx_missed", help: "Frames lost because a receive ring was full." },
    PortCell { name: "rx_errors", help: "Frames that arrived broken." },
    PortCell { name: "tx_errors", help: "Frames that could not be sent." },
    PortCell { name: "rx_no_buffer", help: "Times that the pool had no buffer for the receive ring." },
    PortCell { name: "link_up", help: "1 while the link is up." },
    PortCell { name: "link_mbps", help: "The link's speed in Mbit/s, or 0 when it is not known." },
];

/// Whether the link is up, and how fast.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkState {
    /// Frames can pass.
    pub up: bool,
    /// In Mbit/s; 0: not known.
    pub mbps: u32,
}

impl Device {
    /// What can be said about a device before DPDK starts.
    pub fn check(config: &PortConfig) -> Result<(), StartError> {
        eal::check_device(&config.device).map_err(|error| StartError(format!("port {}: {error}", config.name)))
    }

    /// Probes, configures and starts a device with one queue pair for each pool; queue `i` receives into pool `i`. With `interrupts` its queues
    /// can be waited for, where the driver can.
    pub fn open(config: &PortConfig, index: usize, pools: &[Mempool], interrupts: bool) -> Result<Self, StartError> {
        Self::check(config)?;
        let claim = claim(config)?;
        let split = if config.device.kind == DeviceKind::AfXdp { pools.len() } else { 1 };
        let mut device = Self {
            parts: Vec::with_capacity(split),
            capabilities: Arc::new(Capabilities::plain(&config.name, [0; 6], config.mtu)),
            driver: String::new(),
            _claim: claim,
        };
        for (part, pools) in pools.chunks(pools.len() / split).enumerate() {
            let queues = pools.len() as u16;
            let (name, devargs) = devargs(config, index, part, queues);
            // From here on the part is ours to close, whatever fails.
            let sockets = driver_sockets(config.device.kind);
            let mut part = Part { port: probe(config, &name, &devargs)?, queues, wakes: Vec::new() };
            device.configure(&part, config, interrupts)?;
            part.start(config, pools)?;
            if interrupts {
                part.find_wakes(config.device.kind, &sockets);
            }
            device.parts.push(part);
        }
        let rss = if split == 1 { device.parts[0].read_rss(config) } else { None };
        Arc::get_mut(&mut device.capabilities).expect("no queue was given out yet").rss = rss;
        Ok(device)
    }

    /// One queue pair for each worker, in order. To be called once.
    pub fn queues(&self) -> Vec<DpdkPort> {
        let queues_of = |part: &Part| (0..part.queues).map(|queue| (part.port, queue)).collect::<Vec<_>>();
        let all = self.parts.iter().flat_map(queues_of);
        all.map(|(port, queue)| DpdkPort::new(port, queue, Arc::clone(&self.capabilities))).collect()
    }

    /// What a worker's queue can be waited for with, where that is possible.
    pub fn wake(&self, worker: usize) -> Option<Wake> {
        let mut queue = worker;
        for part in &self.parts {
            match queue.checked_sub(usize::from(part.queues)) {
                Some(rest) => queue = rest,
                None => return part.wakes.get(queue).cloned(),
            }
        }
        None
    }

    /// What it does for us.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// DPDK's name for its driver.
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// Whether the link is up.
    pub fn link(&self) -> LinkState {
        let (mut up, mut mbps) = (0, 0);
        // SAFETY: a valid port and two numbers to fill; does not wait.
        let answer = unsafe { sys::weir_link(self.parts[0].port, &mut up, &mut mbps) };
        LinkState { up: answer >= 0 && up != 0, mbps }
    }

    /// The device's own counts, in the order of [`PORT_CELLS`].
    pub fn statistics(&self) -> [u64; PORT_CELLS.len()] {
        let mut sum = [0; PORT_CELLS.len()];
        for part in &self.parts {
            let mut s = sys::rte_eth_stats::default();
            // SAFETY: a valid port and a structure to fill.
            unsafe { sys::rte_eth_stats_get(part.port, &mut s) };
            let counts = [s.ipackets, s.opackets, s.ibytes, s.obytes, s.imissed, s.ierrors, s.oerrors, s.rx_nombuf];
            sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        let link = self.link();
        sum[8] = u64::from(link.up);
        sum[9] = u64::from(link.mbps);
        sum
    }

    /// Configures a part, and learns from it what the device is.
    fn configure(&mut self, part: &Part, config: &PortConfig, interrupts: bool) -> Result<(), StartError> {
        let &Part { port, queues, .. } = part;
        let mut info = sys::rte_eth_dev_info::default();
        // SAFETY: a valid port and a structure to fill.
        check(unsafe { sys::rte_eth_dev_info_get(port, &mut info) }, config, "does not describe itself")?;
        if !info.driver_name.is_null() {
            // SAFETY: a NUL-terminated string of the driver's, which stays as long as the driver.
            self.driver = unsafe { CStr::from_ptr(info.driver_name) }.to_string_lossy().into_owned();
        }
        let most = info.max_rx_queues.min(info.max_tx_queues);
        if queues > most {
            return start_error(format!(
                "port {}: {} has {most} queue{} and {queues} workers need one each: list fewer cores, or give the device more queues",
                config.name,
                config.device,
                if most == 1 { "" } else { "s" }
            ));
        }
        if config.mtu > info.max_mtu {
            return start_error(format!(
                "port {}: an MTU of {}; {} carries {} at most",
                config.name, config.mtu, config.device, info.max_mtu
            ));
        }
        let plan = Plan::new(config, &info, queues);
        let mut conf = sys::rte_eth_conf::default();
        conf.rxmode.mtu = u32::from(config.mtu);
        conf.rxmode.offloads = plan.rx_offloads;
        conf.txmode.offloads = plan.tx_offloads;
        if plan.rss_flows != 0 {
            conf.rxmode.mq_mode = sys::RTE_ETH_MQ_RX_RSS;
            conf.rx_adv_conf.rss_conf.rss_hf = plan.rss_flows;
        }
        conf.intr_conf.set_rxq(u32::from(interrupts && has_interrupts(config.device.kind)));
        // SAFETY: a valid port that is not started, and a configuration that outlives the call.
        let answer = unsafe { sys::rte_eth_dev_configure(port, queues, queues, &conf) };
        check(answer, config, "refuses its configuration")?;

        let mut mac = sys::rte_ether_addr::default();
        // SAFETY: a valid port and a structure to fill.
        check(unsafe { sys::rte_eth_macaddr_get(port, &mut mac) }, config, "tells no hardware address")?;
        let has = |bit: u64| plan.tx_offloads & bit == bit;
        self.capabilities = Arc::new(Capabilities {
            name: config.name.clone(),
            mac: mac.addr_bytes,
            mtu: config.mtu,
            offloads: Offloads {
                segments: has(sys::WEIR_RTE_ETH_TX_OFFLOAD_MULTI_SEGS),
                ipv4_checksum: has(sys::WEIR_RTE_ETH_TX_OFFLOAD_IPV4_CKSUM),
                l4_checksum: has(sys::WEIR_RTE_ETH_TX_OFFLOAD_TCP_CKSUM | sys::WEIR_RTE_ETH_TX_OFFLOAD_UDP_CKSUM),
                tso: has(sys::WEIR_RTE_ETH_TX_OFFLOAD_TCP_TSO),
            },
            rss: None,
        });
        Ok(())
    }
}

impl Part {
    fn start(&self, config: &PortConfig, pools: &[Mempool]) -> Result<(), StartError> {
        let (mut rx_descriptors, mut tx_descriptors) = (RING_DESCRIPTORS, RING_DESCRIPTORS);
        // SAFETY: a valid, configured port; the two numbers are adjusted in place.
        let answer =
            unsafe { sys::rte_eth_dev_adjust_nb_rx_tx_desc(self.port, &mut rx_descriptors, &mut tx_descriptors) };
        check(answer, config, "tells no ring sizes")?;
        for (queue, pool) in (0..).zip(pools) {
            // SAFETY: a configured port that is not started, a queue below its number of queues, the default configuration (null), and a
            // pool that lives as long as EAL.
            let answer = unsafe {
                sys::rte_eth_rx_queue_setup(self.port, queue, rx_descriptors, u32::MAX, ptr::null(), pool.as_ptr())
            };
            check(answer, config, &format!("gives no receive queue {queue}"))?;
            // SAFETY: as above.
            let answer =
                unsafe { sys::rte_eth_tx_queue_setup(self.port, queue, tx_descriptors, u32::MAX, ptr::null()) };
            check(answer, config, &format!("gives no transmit queue {queue}"))?;
        }
        // SAFETY: a configured port with all queues set up.
        check(unsafe { sys::rte_eth_dev_start(self.port) }, config, "does not start")?;
        // Neighbour solicitations come to groups. Devices without filters say that they cannot, and need not.
        // SAFETY: a valid port.
        unsafe { sys::rte_eth_allmulticast_enable(self.port) };
        Ok(())
    }

    /// Finds what each queue can be waited for with; `before` are the driver's sockets from before it was probed.
    fn find_wakes(&mut self, kind: DeviceKind, before: &BTreeSet<RawFd>) {
        let interrupts = || (0..self.queues).filter_map(|queue| Wake::interrupt(kind, self.port, queue)).collect();
        let sockets = || driver_sockets(kind).difference(before).map(|fd| Wake::socket(*fd)).collect();
        let found: Vec<Wake> = if has_interrupts(kind) { interrupts() } else { sockets() };
        // One for each queue, each another, or we do not know which is whose.
        let shared = found.iter().enumerate().any(|(i, wake)| found[..i].iter().any(|other| wake.is_same(other)));
        if found.len() == usize::from(self.queues) && !shared {
            self.wakes = found;
        }
    }

    /// Reads key and indirection table back; `None` where the device does not tell.
    fn read_rss(&self, config: &PortConfig) -> Option<Rss> {
        if config.device.kind != DeviceKind::Pci || self.queues < 2 {
            return None;
        }
        let mut info = sys::rte_eth_dev_info::default();
        // SAFETY: a valid port and a structure to fill.
        if unsafe { sys::rte_eth_dev_info_get(self.port, &mut info) } < 0
            || info.reta_size == 0
            || info.hash_key_size == 0
        {
            return None;
        }
        let mut key = vec![0; usize::from(info.hash_key_size)];
        let mut conf =
            sys::rte_eth_rss_conf { rss_key: key.as_mut_ptr(), rss_key_len: info.hash_key_size, ..Default::default() };
        // SAFETY: a valid port; the key's buffer has the size that the device asked for.
        if unsafe { sys::rte_eth_dev_rss_hash_conf_get(self.port, &mut conf) } < 0 {
            return None;
        }
        let group = sys::WEIR_RTE_ETH_RETA_GROUP_SIZE as usize;
        let size = usize::from(info.reta_size);
        let mut table =
            vec![sys::rte_eth_rss_reta_entry64 { mask: u64::MAX, ..Default::default() }; size.div_ceil(group)];
        // SAFETY: a valid port; the table has a group for each 64 entries of the size that the device told.
        if unsafe { sys::rte_eth_dev_rss_reta_query(self.port, table.as_mut_ptr(), info.reta_size) } < 0 {
            return None;
        }
        let reta = table.iter().flat_map(|entry| entry.reta).take(size).collect();
        let both = |a: u64, b: u64| conf.rss_hf & (a | b) == a | b;
        let ports_hashed = PortsHashed {
            tcp: both(sys::WEIR_RTE_ETH_RSS_NONFRAG_IPV4_TCP, sys::WEIR_RTE_ETH_RSS_NONFRAG_IPV6_TCP),
            udp: both(sys::WEIR_RTE_ETH_RSS_NONFRAG_IPV4_UDP, sys::WEIR_RTE_ETH_RSS_NONFRAG_IPV6_UDP),
        };
        Some(Rss { key, reta, ports_hashed })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _alone = DEVICES.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: no other thread of ours adds or takes devices meanwhile; a valid port whose queues nobody polls any more (they are dropped before it by whoever owns both). Stopping frees the
        // frames in its rings, closing gives the device back to the kernel.
        unsafe {
            sys::rte_eth_dev_stop(self.port);
            sys::rte_eth_dev_close(self.port);
        }
    }
}

/// Whether the driver is asked for receive interrupts.
fn has_interrupts(kind: DeviceKind) -> bool {
    matches!(kind, DeviceKind::Pci | DeviceKind::Tap)
}

/// What is asked of a device, of what it offers.
struct Plan {
    rx_offloads: u64,
    tx_offloads: u64,
    rss_flows: u64,
}

impl Plan {
    fn new(config: &PortConfig, info: &sys::rte_eth_dev_info, queues: u16) -> Self {
        // Virtual devices compute what they offer on our own CPU; we do that better ourselves.
        let hardware = config.device.kind == DeviceKind::Pci;
        let checksums = config.offloads && hardware;
        let mut rx = 0;
        let mut tx = sys::WEIR_RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
        if checksums {
            rx |= sys::WEIR_RTE_ETH_RX_OFFLOAD_IPV4_CKSUM
                | sys::WEIR_RTE_ETH_RX_OFFLOAD_TCP_CKSUM
                | sys::WEIR_RTE_ETH_RX_OFFLOAD_UDP_CKSUM;
            tx |= sys::WEIR_RTE_ETH_TX_OFFLOAD_IPV4_CKSUM
                | sys::WEIR_RTE_ETH_TX_OFFLOAD_TCP_CKSUM
                | sys::WEIR_RTE_ETH_TX_OFFLOAD_UDP_CKSUM
                | sys::WEIR_RTE_ETH_TX_OFFLOAD_TCP_TSO;
        }
        if usize::from(config.mtu) + ETHERNET_MAX > FRAME_ROOM {
            rx |= sys::WEIR_RTE_ETH_RX_OFFLOAD_SCATTER;
        }
        let spread = hardware && queues > 1;
        if spread {
            rx |= sys::WEIR_RTE_ETH_RX_OFFLOAD_RSS_HASH;
        }
        let flows = sys::WEIR_RTE_ETH_RSS_IPV4
            | sys::WEIR_RTE_ETH_RSS_IPV6
            | sys::WEIR_RTE_ETH_RSS_NONFRAG_IPV4_TCP
            | sys::WEIR_RTE_ETH_RSS_NONFRAG_IPV6_TCP
            | sys::WEIR_RTE_ETH_RSS_NONFRAG_IPV4_UDP
            | sys::WEIR_RTE_ETH_RSS_NONFRAG_IPV6_UDP
            // Some devices have no bit for IP as a whole, but for what is left of it.
            | sys::WEIR_RTE_ETH_RSS_FRAG_IPV4
            | sys::WEIR_RTE_ETH_RSS_NONFRAG_IPV4_OTHER
            | sys::WEIR_RTE_ETH_RSS_FRAG_IPV6
            | sys::WEIR_RTE_ETH_RSS_NONFRAG_IPV6_OTHER;
        Self {
            rx_offloads: rx & info.rx_offload_capa,
            tx_offloads: tx & info.tx_offload_capa,
            rss_flows: if spread { flows & info.flow_type_rss_offloads } else { 0 },
        }
    }
}

/// DPDK's name of a part of a device and what its driver is told.
fn devargs(config: &PortConfig, index: usize, part: usize, queues: u16) -> (String, String) {
    let device = &config.device;
    let target = &device.target;
    let vdev = |driver: &str| format!("{driver}{index}");
    let (name, own) = match device.kind {
        DeviceKind::Pci => (target.clone(), Vec::new()),
        // A veth tells its queues in a way that the driver does not see, so it takes one queue at a time.
        DeviceKind::AfXdp => (
            format!("net_af_xdp{index}_{part}"),
            vec![format!("iface={target}"), format!("start_queue={part}"), "queue_count=1".into()],
        ),
        DeviceKind::AfPacket => {
            let (queues, ring) = (format!("qpairs={queues}"), format!("framecnt={AF_PACKET_RING}"));
            (vdev("net_af_packet"), vec![format!("iface={target}"), queues, ring])
        }
        DeviceKind::Tap => (vdev("net_tap"), vec![format!("iface={target}")]),
        DeviceKind::Memif => (vdev("net_memif"), vec![format!("socket={target}"), "socket-abstract=no".into()]),
        DeviceKind::VirtioUser => (vdev("net_virtio_user"), vec![format!("path={target}"), format!("queues={queues}")]),
        DeviceKind::Vhost => (vdev("net_vhost"), vec![format!("iface={target}"), format!("queues={queues}")]),
        DeviceKind::Pcap => (vdev("net_pcap"), Vec::new()),
        DeviceKind::Null => (vdev("net_null"), Vec::new()),
    };
    // What the operator says about a key replaces what we say.
    let key = |argument: &str| argument.split('=').next().unwrap_or_default().to_owned();
    let said: Vec<String> = device.arguments.iter().map(|a| key(a)).collect();
    let own = own.into_iter().filter(|argument| !said.contains(&key(argument)));
    let devargs =
        std::iter::once(name.clone()).chain(own).chain(device.arguments.iter().cloned()).collect::<Vec<_>>().join(",");
    (name, devargs)
}

/// DPDK's lists of devices have no lock that covers a whole probe, or a close: two threads at once corrupt them.
static DEVICES: Mutex<()> = Mutex::new(());

fn probe(config: &PortConfig, name: &str, devargs: &str) -> Result<u16, StartError> {
    let (name, devargs) = (c_string(name), c_string(devargs));
    let _alone = DEVICES.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: a NUL-terminated string that outlives the call; EAL is up; no other thread of ours adds or takes devices meanwhile.
    let answer = unsafe { sys::rte_dev_probe(devargs.as_ptr()) };
    if answer < 0 {
        let why = super::reason(answer);
        return start_error(format!(
            "port {}: {} cannot be opened ({why}): {}",
            config.name,
            config.device,
            hint(config)
        ));
    }
    let mut port = 0;
    // SAFETY: a NUL-terminated name and a number to fill.
    let answer = unsafe { sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &mut port) };
    check(answer, config, "was probed but has no port")?;
    Ok(port)
}

fn c_string(text: &str) -> CString {
    CString::new(text).expect("a device's name is checked to be printable")
}

/// Makes an interface of the kernel ours among data planes. Two on one AF_XDP queue would not only fail the second: its driver, giving up, takes
/// the program of the first off the interface; and two on one AF_PACKET interface would both answer. An abstract socket's name is known in its
/// network namespace only, as the interface's is, and ends with the process.
fn claim(config: &PortConfig) -> Result<Option<UnixDatagram>, StartError> {
    if !matches!(config.device.kind, DeviceKind::AfXdp | DeviceKind::AfPacket) {
        return Ok(None);
    }
    let name = format!("weirgate/interface/{}", config.device.target);
    match SocketAddr::from_abstract_name(name).and_then(|name| UnixDatagram::bind_addr(&name)) {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if error.kind() == ErrorKind::AddrInUse => start_error(format!(
            "port {}: {}: another data plane uses this interface; stop it first, or choose another interface",
            config.name, config.device
        )),
        Err(error) => start_error(format!("port {}: {} cannot be claimed: {error}", config.name, config.device)),
    }
}

/// What to look at when a device does not open or start.
fn hint(config: &PortConfig) -> &'static str {
    match config.device.kind {
        DeviceKind::Pci => {
            "is another process using it, is its IOMMU group whole on vfio-pci, and may this process lock enough memory?"
        }
        DeviceKind::AfXdp => {
            "is another process using the queue, does the interface have as many queues as there are workers, and does the kernel have AF_XDP?"
        }
        DeviceKind::Memif => "is another process the server of this socket (or, with role=server, is it in use)?",
        _ => "are its arguments right, and is it free?",
    }
}

fn check(answer: i32, config: &PortConfig, what: &str) -> Result<(), StartError> {
    if answer >= 0 {
        return Ok(());
    }
    let why = super::reason(answer);
    start_error(format!("port {}: {} {what} ({why}): {}", config.name, config.device, hint(config)))
}
