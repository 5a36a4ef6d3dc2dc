//! A worker's thread as DPDK and the kernel see it, and its clock.

use super::{StartError, start_error};
use crate::time::Instant;
use dpdk_sys as sys;
use std::marker::PhantomData;

/// Registers the calling thread with DPDK for as long as it lives: pools give registered threads a cache of their own. Stays on
/// its thread.
pub struct WorkerThread(PhantomData<*const ()>);

impl WorkerThread {
    /// Pins the calling thread to `core` and registers it.
    pub fn enter(core: u16) -> Result<Self, StartError> {
        pin(core)?;
        // SAFETY: EAL is up (workers start after it) and this thread is not registered yet.
        if unsafe { sys::rte_thread_register() } < 0 {
            return start_error(format!("DPDK takes no more threads: {}", super::reason(-1)));
        }
        Ok(Self(PhantomData))
    }
}

impl Drop for WorkerThread {
    fn drop(&mut self) {
        // SAFETY: this thread is registered (this value proves it, and it cannot leave the thread).
        unsafe { sys::rte_thread_unregister() };
    }
}

/// Pins the calling thread to one core.
pub fn pin(core: u16) -> Result<(), StartError> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(usize::from(core));
    match rustix::thread::sched_setaffinity(None, &set) {
        Ok(()) => Ok(()),
        Err(error) => start_error(format!(
            "core {core} cannot be used ({error}): dataplane.cores may name only what nproc and the process's cpuset allow"
        )),
    }
}

/// Nanoseconds by the time-stamp counter: 20 cycles a reading, no system call.
#[derive(Clone, Copy)]
pub struct Clock {
    start: u64,
    /// Nanoseconds per tick, times 2^32.
    scale: u64,
}

impl Clock {
    /// Starts at zero.
    pub fn start() -> Self {
        // SAFETY: EAL has measured the frequency at its start; both calls only read.
        let (start, hz) = unsafe { (sys::weir_rdtsc(), sys::rte_get_tsc_hz()) };
        Self { start, scale: ((1_000_000_000_u128 << 32) / u128::from(hz)) as u64 }
    }

    /// Now.
    #[inline]
    pub fn now(&self) -> Instant {
        // SAFETY: reads a register.
        let ticks = unsafe { sys::weir_rdtsc() }.wrapping_sub(self.start);
        Instant::from_ns(((u128::from(ticks) * u128::from(self.scale)) >> 32) as u64)
    }
}
