//! A closed loop of 64-byte ICMP echo requests over one port: whoever is at the other end, one that answers echo or one that swaps
//! hardware addresses, sends each frame back, and the loop sends the next.
//!
//! Its own work for a packet is small on purpose: a prepared frame is copied (one cache line), nothing is parsed but the EtherType. With a memif
//! client in zero-copy mode the other end does all the copying.

use anyhow::{Context, bail};
use clap::Args;
use std::time::Duration as StdDuration;
use weirgate_dataplane::{
    limits::{BURST_MAX, FRAME_ROOM, packet_bytes},
    net::checksum::Sum,
    port::{
        Burst, Frame, FrameQueue, Pool, Port,
        dpdk::{Clock, Device, Eal, EalOptions, Memory, WorkerThread},
    },
    snapshot::{InterfaceConfig, PortConfig},
    time::{Duration, Instant},
};

#[derive(Args)]
pub(crate) struct Options {
    /// The port, such as memif:/run/m.sock,role=client,zero-copy=yes.
    #[arg(long)]
    device: String,
    /// The core of the loop.
    #[arg(long, default_value_t = 1)]
    core: u16,
    /// How long is measured.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// The other end's hardware address.
    #[arg(long, default_value = "02:00:00:00:00:01")]
    to: String,
    /// Frames under way at most.
    #[arg(long, default_value_t = 512)]
    window: u32,
}

/// Ethernet 14, IPv4 20, ICMP 8, data 18: 60 bytes, 64 with the frame check sequence.
const FRAME_LEN: usize = 60;
const OURS: [u8; 6] = [2, 0, 0, 0, 0, 2];
const OUR_ADDRESS: [u8; 4] = [10, 99, 0, 2];
const THEIR_ADDRESS: [u8; 4] = [10, 99, 0, 1];
/// Nothing came back for so long: what is under way is lost.
const LOST_AFTER: Duration = Duration::from_ms(5);
const WARM_UP: Duration = Duration::from_ms(500);
const FRAMES: u32 = 8_192;

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let to = mac(&options.to)?;
    let config = PortConfig {
        name: "load".into(),
        device: options.device.parse().map_err(anyhow::Error::msg)?,
        mtu: 1500,
        offloads: false,
        untagged: InterfaceConfig::default(),
        vlans: Vec::new(),
    };
    let bytes = packet_bytes(1, FRAMES, FRAME_ROOM);
    let mut eal = Eal::start(&EalOptions {
        memory: Memory::Huge,
        bytes,
        cpus: vec![options.core],
        single_file_segments: config.device.shares_memory(),
        verbose: false,
    })?;
    let pool = eal.pool("load", FRAMES, FRAME_ROOM)?;
    let device = Device::open(&config, 0, std::slice::from_ref(&pool), false)?;
    let entered = WorkerThread::enter(options.core)?;
    wait_for_link(&device)?;
    let mut queues = device.queues();
    let mut generator = Generator::new(queues.remove(0), pool.into_pool(), to, options.window);
    let result = generator.measure(options.seconds);
    drop((generator, queues, entered));
    drop(device);
    println!("{:.0}", result?);
    Ok(())
}

pub(crate) fn wait_for_link(device: &Device) -> anyhow::Result<()> {
    for _ in 0..200 {
        if device.link().up {
            return Ok(());
        }
        #[allow(clippy::disallowed_methods)] // waits for another process, outside any loop that is measured
        std::thread::sleep(StdDuration::from_millis(50));
    }
    bail!("nobody is at the other end of the port")
}

fn mac(text: &str) -> anyhow::Result<[u8; 6]> {
    let bytes: Result<Vec<u8>, _> = text.split(':').map(|part| u8::from_str_radix(part, 16)).collect();
    bytes.ok().and_then(|b| b.try_into().ok()).with_context(|| format!("{text:?} is not a hardware address"))
}

struct Generator<P: Port> {
    port: P,
    pool: Pool,
    queue: FrameQueue,
    request: [u8; FRAME_LEN],
    /// `under_way <= window`
    under_way: u32,
    window: u32,
    returned: u64,
}

impl<P: Port> Generator<P> {
    fn new(port: P, pool: Pool, to: [u8; 6], window: u32) -> Self {
        Self { port, pool, queue: FrameQueue::default(), request: request(to), under_way: 0, window, returned: 0 }
    }

    /// Packets that came back in a second.
    fn measure(&mut self, seconds: u64) -> anyhow::Result<f64> {
        self.introduce()?;
        let clock = Clock::start();
        self.run_until(&clock, clock.now() + WARM_UP);
        let (from, before) = (clock.now(), self.returned);
        self.run_until(&clock, from + Duration::from_secs(seconds));
        let length = clock.now().since(from).as_ns() as f64 / 1e9;
        let count = self.returned - before;
        if count == 0 {
            bail!("nothing came back");
        }
        Ok(count as f64 / length)
    }

    fn run_until(&mut self, clock: &Clock, end: Instant) {
        let mut burst = Burst::new();
        let mut heard_at = clock.now();
        loop {
            self.port.rx_burst(&mut burst);
            if burst.is_empty() {
                let now = clock.now();
                if now >= end {
                    return;
                }
                if now.since(heard_at) > LOST_AFTER {
                    self.under_way = 0;
                    heard_at = now;
                }
            } else {
                heard_at = clock.now();
                if heard_at >= end {
                    return;
                }
                self.take(&mut burst);
            }
            self.send();
        }
    }

    fn take(&mut self, burst: &mut Burst) {
        let mut echoes = 0;
        for frame in burst.iter() {
            match frame.head().get(12..14) {
                Some([8, 0]) => echoes += 1,
                // The other end asks who we are.
                Some([8, 6]) => self.answer_arp(),
                _ => {}
            }
        }
        self.returned += u64::from(echoes);
        self.under_way -= echoes.min(self.under_way);
        Frame::free_all(burst);
    }

    fn send(&mut self) {
        let room = (self.window - self.under_way).min(BURST_MAX as u32 - self.queue.len() as u32);
        for _ in 0..room {
            let Some(mut frame) = self.pool.alloc() else { break };
            if frame.append_slice(&self.request).is_err() || self.queue.push(frame).is_err() {
                break;
            }
            self.under_way += 1;
        }
        self.port.tx_burst(&mut self.queue);
    }

    /// Says who we are, so that the other end need not ask before its first answer.
    fn introduce(&mut self) -> anyhow::Result<()> {
        self.arp(1);
        self.port.tx_burst(&mut self.queue);
        Ok(())
    }

    fn answer_arp(&mut self) {
        self.arp(2);
    }

    fn arp(&mut self, operation: u8) {
        let mut bytes = [0; FRAME_LEN];
        bytes[..6].copy_from_slice(&self.request[..6]);
        bytes[6..12].copy_from_slice(&OURS);
        bytes[12..22].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, operation]);
        bytes[22..28].copy_from_slice(&OURS);
        bytes[28..32].copy_from_slice(&OUR_ADDRESS);
        bytes[32..38].copy_from_slice(&self.request[..6]);
        bytes[38..42].copy_from_slice(&THEIR_ADDRESS);
        if let Some(mut frame) = self.pool.alloc()
            && frame.append_slice(&bytes).is_ok()
        {
            let _ = self.queue.push(frame); // full: it will ask again
        }
    }
}

/// An echo request of 64 bytes with its frame check sequence.
fn request(to: [u8; 6]) -> [u8; FRAME_LEN] {
    let mut f = [0; FRAME_LEN];
    f[..6].copy_from_slice(&to);
    f[6..12].copy_from_slice(&OURS);
    f[12..24].copy_from_slice(&[8, 0, 0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 1]);
    f[26..30].copy_from_slice(&OUR_ADDRESS);
    f[30..34].copy_from_slice(&THEIR_ADDRESS);
    let sum = Sum::default().add(&f[14..34]).checksum();
    f[24..26].copy_from_slice(&sum.to_be_bytes());
    f[34] = 8;
    f[38..42].copy_from_slice(&[0x77, 0x65, 0, 1]);
    let sum = Sum::default().add(&f[34..]).checksum();
    f[36..38].copy_from_slice(&sum.to_be_bytes());
    f
}
