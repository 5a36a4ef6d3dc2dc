//! The real ports, over DPDK. With `shm/map.rs` the only unsafe code of this crate: above it frames are owned values and nothing
//! can be freed twice or used after.
//!
//! ```text
//!   eal       the library's start and end; one in a process
//!   mempool   a worker's buffers      mbuf   one buffer chain, owned
//!   device    a port: configure, start, statistics, stop
//!   queue     one queue pair of a port: what a worker polls
//!   thread    a worker's thread: its name to DPDK, its core, its clock
//!   wake      how an idle worker sleeps and is woken
//! ```
//! **Order of ends.** Frames before pools, devices before pools, everything before EAL. Types cannot say all of that (a frame
//! does not carry its pool's lifetime; it would cost a word in each), so [`Eal`]'s drop looks: while a frame is out, the
//! memory stays mapped.
#![allow(unsafe_code)]

mod device;
mod eal;
mod mbuf;
mod mempool;
mod queue;
mod thread;
mod wake;

pub use device::{Device, LinkState, PORT_CELLS, PortCell};
pub use eal::{Eal, EalOptions, Memory};
pub(super) use mbuf::{Mbuf, MbufCursor};
pub use mempool::Mempool;
pub use queue::DpdkPort;
pub use thread::{Clock, WorkerThread, pin};
pub use wake::{Bell, Sleeper, Wake};

use std::ffi::CStr;

/// Why the data plane cannot start: what is wrong, and what to do.
#[derive(Debug)]
pub struct StartError(pub String);

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for StartError {}

fn start_error<T>(sentence: impl Into<String>) -> Result<T, StartError> {
    Err(StartError(sentence.into()))
}

/// What a negative answer of DPDK means, in words.
fn reason(code: i32) -> String {
    let errno = if code == -1 {
        // SAFETY: reads a thread-local integer.
        unsafe { dpdk_sys::weir_errno() }
    } else {
        -code
    };
    // SAFETY: rte_strerror takes any number and gives a NUL-terminated string that stays until this thread's next call.
    unsafe { CStr::from_ptr(dpdk_sys::rte_strerror(errno)) }.to_string_lossy().into_owned()
}
