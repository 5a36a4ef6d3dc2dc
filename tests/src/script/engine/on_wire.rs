//! A DPDK device on one end of a veth pair, the script on the other, and the machine's clock.
//!
//! ```text
//!   thread in a namespace of its own:   script <-- packet socket --> veth1 <--> veth0 <-- af_packet device --> worker
//! ```
//! The worker has no thread of its own: it runs while the script waits. Nothing else is in the namespace, and no kernel answers there.

use super::{BEGIN, FRAMES, Medium, OURS, SCRIPTS, application::Application};
use crate::script::namespace;
use anyhow::Context;
use smoltcp::phy::{Device as _, RawSocket, RxToken, TxToken};
use std::{
    os::fd::AsRawFd,
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use weirgate_dataplane::{
    limits::{FRAME_ROOM, packet_bytes},
    port::{
        Pool,
        dpdk::{Device, DpdkPort, Eal, EalOptions, Memory, Mempool, WorkerThread},
    },
    snapshot::{InterfaceConfig, PortConfig},
    time::Instant,
    worker::Worker,
};

/// Scripts that run at a time, each with a pool; others wait.
pub(in crate::script) const LANES: usize = 4;

/// DPDK, started for the first script, and its pools that no script has at present.
struct Rig {
    pools: Vec<Mempool>,
    _eal: Eal,
}

static RIG: Mutex<Option<Rig>> = Mutex::new(None);
static GIVEN_BACK: Condvar = Condvar::new();

/// Ends DPDK, if it was started. No script runs any more.
pub(in crate::script) fn end() {
    *RIG.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

impl Rig {
    fn start() -> anyhow::Result<Self> {
        let bytes = LANES * packet_bytes(1, FRAMES as u32, FRAME_ROOM);
        let allowed = rustix::thread::sched_getaffinity(None)?;
        let cpus = (0..1024).filter(|cpu| allowed.is_set(*cpu)).map(|cpu| cpu as u16).collect();
        let options = EalOptions { memory: Memory::Ordinary, bytes, cpus, single_file_segments: false, verbose: false };
        let mut eal = Eal::start(&options)?;
        let pool = |lane| eal.pool(&format!("lane{lane}"), FRAMES as u32, FRAME_ROOM);
        let pools = (0..LANES).map(pool).collect::<Result<_, _>>()?;
        Ok(Self { pools, _eal: eal })
    }
}

/// A wire as a medium. Fields end in this order, after the worker.
pub(in crate::script) struct OnWire {
    began: std::time::Instant,
    socket: RawSocket,
    _device: Device,
    _thread: WorkerThread,
    _lane: Lane,
}

/// A pool, waited for and given back.
struct Lane(Mempool);

impl Lane {
    fn take() -> anyhow::Result<Self> {
        let mut rig = RIG.lock().unwrap_or_else(PoisonError::into_inner);
        if rig.is_none() {
            *rig = Some(Rig::start()?);
        }
        loop {
            if let Some(pool) = rig.as_mut().expect("started").pools.pop() {
                return Ok(Self(pool));
            }
            rig = GIVEN_BACK.wait(rig).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if let Some(rig) = &mut *RIG.lock().unwrap_or_else(PoisonError::into_inner) {
            rig.pools.push(self.0.clone());
            GIVEN_BACK.notify_one();
        }
    }
}

impl OnWire {
    /// Makes a namespace for the calling thread, which never gets out of it again, and everything in it.
    #[allow(clippy::disallowed_methods)] // the wire's time is real
    pub(in crate::script) fn new() -> anyhow::Result<(Self, DpdkPort, Pool)> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let index = NEXT.fetch_add(1, Ordering::Relaxed);
        let lane = Lane::take()?;
        namespace::enter().context("a network namespace")?;
        // Before the interfaces are there, so that none ever says anything by itself.
        std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").context("IPv6 of the interfaces")?;
        let [ours, scripts] = [OURS, SCRIPTS].map(|mac| mac.0.map(|byte| format!("{byte:02x}")).join(":"));
        namespace::ip(&format!(
            "link add veth0 address {ours} type veth peer name veth1 address {scripts}\nlink set veth0 mtu 9000 up\nlink set veth1 mtu 9000 up\n"
        ))?;
        let cores = rustix::thread::sched_getaffinity(None)?;
        let cores: Vec<u16> = (0..1024).filter(|cpu| cores.is_set(*cpu)).map(|cpu| cpu as u16).collect();
        let thread = WorkerThread::enter(cores[index % cores.len()])?;
        let config = PortConfig {
            name: format!("port{index}"),
            device: "af_packet:veth0".parse().map_err(anyhow::Error::msg)?,
            mtu: 1500,
            offloads: true,
            untagged: InterfaceConfig { addresses: Vec::new(), gateways: Vec::new(), routes: Vec::new() },
            vlans: Vec::new(),
        };
        let device = Device::open(&config, index, std::slice::from_ref(&lane.0), false)?;
        let port = device.queues().pop().expect("one queue");
        let socket = RawSocket::new("veth1", smoltcp::phy::Medium::Ethernet).context("a packet socket")?;
        let frames = lane.0.clone().into_pool();
        let began = std::time::Instant::now();
        Ok((Self { began, socket, _device: device, _thread: thread, _lane: lane }, port, frames))
    }
}

impl Medium for OnWire {
    type Port = DpdkPort;

    fn now(&self) -> Instant {
        BEGIN + weirgate_dataplane::time::Duration::from_ns(self.began.elapsed().as_nanos() as u64)
    }
    fn tolerance(&self) -> Duration {
        Duration::from_millis(10)
    }

    fn wait(&mut self, until: Instant) {
        const STEP: u64 = 500_000;
        let ns = until.since(self.now()).as_ns().min(STEP);
        let _ =
            smoltcp::phy::wait(self.socket.as_raw_fd(), Some(smoltcp::time::Duration::from_micros(ns.div_ceil(1_000))));
    }

    fn arrive(&mut self, _: &mut Worker<DpdkPort, Application>, bytes: &[u8]) {
        let token = self.socket.transmit(smoltcp::time::Instant::ZERO).expect("a packet socket takes");
        token.consume(bytes.len(), |buffer| buffer.copy_from_slice(bytes));
    }

    fn next_sent(&mut self, _: &mut Worker<DpdkPort, Application>) -> Option<Vec<u8>> {
        let (frame, _) = self.socket.receive(smoltcp::time::Instant::ZERO)?;
        Some(frame.consume(<[u8]>::to_vec))
    }

    fn check(&self, _: &mut Worker<DpdkPort, Application>) -> Result<(), String> {
        Ok(())
    }
}
