//! One queue pair of a device: what a worker polls.

use super::Mbuf;
use crate::{
    limits::BURST_MAX,
    port::{Burst, Capabilities, Frame, FrameQueue, Port, frame::Inner},
};
use arrayvec::ArrayVec;
use dpdk_sys as sys;
use std::{ptr::NonNull, sync::Arc};

/// A queue pair, owned by one worker. Its device stays started as long as this lives: whoever owns both drops this first.
pub struct DpdkPort {
    port: u16,
    queue: u16,
    capabilities: Arc<Capabilities>,
}

impl DpdkPort {
    pub(super) fn new(port: u16, queue: u16, capabilities: Arc<Capabilities>) -> Self {
        Self { port, queue, capabilities }
    }
}

impl Port for DpdkPort {
    #[inline]
    fn rx_burst(&mut self, burst: &mut Burst) {
        let mut frames = [std::ptr::null_mut(); BURST_MAX];
        let room = burst.remaining_capacity() as u16;
        // SAFETY: the device is started with this queue, this value is the only one that polls it (made once for each queue, not Clone), and
        // `frames` has room for as many pointers as are asked for.
        let count = unsafe { sys::weir_rx_burst(self.port, self.queue, frames.as_mut_ptr(), room) };
        for frame in &frames[..usize::from(count)] {
            let mbuf = NonNull::new(*frame).expect("a device gives no null frames");
            burst.push(Frame(Inner::Mbuf(Mbuf::own(mbuf))));
        }
    }

    #[inline]
    fn tx_burst(&mut self, queue: &mut FrameQueue) {
        while !queue.is_empty() {
            let mut frames = ArrayVec::<*mut sys::rte_mbuf, BURST_MAX>::new();
            for frame in queue.iter().take(BURST_MAX) {
                match &frame.0 {
                    Inner::Mbuf(mbuf) => frames.push(mbuf.as_raw()),
                    Inner::Heap(_) => panic!("a heap frame on a DPDK port: pools and ports are of one world"),
                }
            }
            // SAFETY: as for receiving; the pointers are live chains that `queue` owns. The device takes over the first `sent`, which are
            // given up below, and leaves the others alone.
            let sent = unsafe { sys::weir_tx_burst(self.port, self.queue, frames.as_mut_ptr(), frames.len() as u16) };
            for frame in queue.drain(usize::from(sent)) {
                frame.give_up();
            }
            if usize::from(sent) < frames.len() {
                return;
            }
        }
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
}

impl Frame {
    /// The device owns it now.
    fn give_up(self) {
        match self.0 {
            Inner::Mbuf(mbuf) => drop(mbuf.into_raw()),
            Inner::Heap(_) => unreachable!("looked at before"),
        }
    }
}
