//! A worker's buffers.

use super::{Mbuf, StartError, start_error};
use crate::{
    limits::{FRAME_DESCRIPTOR, HEADROOM, POOL_CACHE as CACHE},
    port::Pool,
};
use dpdk_sys as sys;
use std::{ffi::CString, ptr::NonNull};

/// A pool of mbufs. Lives as long as EAL; clones are the same pool.
#[derive(Clone)]
pub struct Mempool {
    pool: NonNull<sys::rte_mempool>,
    capacity: u32,
}

// SAFETY: rte_mempool is made for concurrent use: its ring is multi-producer and multi-consumer, and each registered thread has a
// cache of its own. The pointer stays valid until EAL ends.
unsafe impl Send for Mempool {}
// SAFETY: as above; every method takes `&self` and goes through those rings and caches.
unsafe impl Sync for Mempool {}

impl Mempool {
    pub(super) fn create(name: &str, frames: u32, room: usize) -> Result<Self, StartError> {
        const {
            assert!(
                HEADROOM == sys::RTE_PKTMBUF_HEADROOM as usize,
                "DPDK puts the same headroom before a received frame"
            );
        };
        const {
            assert!(
                FRAME_DESCRIPTOR >= sys::WEIR_MBUF_SIZE as usize + 128,
                "an mbuf, and a mempool's words before and after it"
            );
        };
        const { assert!(CACHE as u64 <= sys::WEIR_RTE_MEMPOOL_CACHE_MAX_SIZE) };
        let name = CString::new(name).expect("no NUL in our names");
        let room = (HEADROOM + room) as u16;
        // SAFETY: the name is a NUL-terminated string that outlives the call (DPDK copies it); numbers are within their ranges, -1 is any
        // memory node.
        let pool = unsafe { sys::rte_pktmbuf_pool_create(name.as_ptr(), frames, CACHE, 0, room, -1) };
        match NonNull::new(pool) {
            Some(pool) => Ok(Self { pool, capacity: frames }),
            None => start_error(format!(
                "no memory for {frames} frames ({}): add hugepages (scripts/setup-host --hugepages-2m N) or lower memory.framesPerWorker",
                super::reason(-1)
            )),
        }
    }

    pub(super) fn as_ptr(&self) -> *mut sys::rte_mempool {
        self.pool.as_ptr()
    }

    /// This pool as any pool.
    pub fn into_pool(self) -> Pool {
        Pool::over(self)
    }

    pub(in crate::port) fn alloc(&self) -> Option<Mbuf> {
        // SAFETY: the pool is valid (EAL is up while any handle is used). A buffer that it gives is ours alone.
        NonNull::new(unsafe { sys::weir_alloc(self.as_ptr()) }).map(Mbuf::own)
    }
    pub(in crate::port) fn capacity(&self) -> usize {
        self.capacity as usize
    }
    pub(in crate::port) fn in_use(&self) -> usize {
        // SAFETY: the pool is valid; the function only reads counters.
        unsafe { sys::rte_mempool_in_use_count(self.as_ptr()) as usize }
    }
}
