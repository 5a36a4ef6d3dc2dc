//! The one seam to hardware. Above it nothing knows whether a frame came from a NIC, a virtual device or the simulator.
//!
//! ```text
//!   Port (trait)      one receive and one transmit queue of one device, owned by one worker
//!   frame, pool       the owned buffer that travels through every layer, and where it comes from
//!   rss               which queue a flow arrives on: Toeplitz and the indirection table
//!   sim               a port in memory, for the simulator, the benches and the fuzzers
//!   pcapng            writes what passes any port into a file that Wireshark opens
//!   dpdk/             the real ones (feature `dpdk`), and with `dpdk-sys` and `shm` the only unsafe code
//! ```

#[cfg(feature = "dpdk")]
pub mod dpdk;
mod frame;
mod heap;
pub mod pcapng;
mod queue;
pub mod rss;
mod sim;

pub use frame::{Checksum, Frame, L4, NoRoom, RxMeta, Segments, TxOffload};
pub use heap::Pool;
pub use queue::{Burst, FrameQueue};
pub use sim::SimPort;

pub use rss::{Flow as RssFlow, Rss};

/// One queue pair of one device. Methods do not block and do not allocate.
pub trait Port {
    /// Appends the frames that have arrived to `burst`, as many as it has room for. Nobody else holds their bytes: the layers above write
    /// answers over them.
    fn rx_burst(&mut self, burst: &mut Burst);

    /// Takes frames from the front of `queue`, as many as the device has room for; the others stay, in order.
    fn tx_burst(&mut self, queue: &mut FrameQueue);

    /// What the device does for us and how it is set. Does not change while the port runs.
    fn capabilities(&self) -> &Capabilities;
}

/// What a device does for us, as configured (not: what it could do).
#[derive(Clone, PartialEq, Debug)]
pub struct Capabilities {
    /// The name in the configuration.
    pub name: String,
    /// The hardware address.
    pub mac: [u8; 6],
    /// The longest IP packet, in bytes.
    pub mtu: u16,
    /// What it computes for us.
    pub offloads: Offloads,
    /// How it spreads flows over queues, where that is known and readable.
    pub rss: Option<Rss>,
}

/// Work on sent frames that a device takes from us.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Offloads {
    /// Sends frames of several segments.
    pub segments: bool,
    /// Fills in the IPv4 header's checksum.
    pub ipv4_checksum: bool,
    /// Fills in TCP and UDP checksums.
    pub l4_checksum: bool,
    /// Cuts long TCP segments.
    pub tso: bool,
}

impl Capabilities {
    /// A device that does nothing for us.
    pub fn plain(name: &str, mac: [u8; 6], mtu: u16) -> Self {
        Self { name: name.to_owned(), mac, mtu, offloads: Offloads::default(), rss: None }
    }
}
