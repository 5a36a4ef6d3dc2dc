//! Raw bindings to DPDK, without opinions: what bindgen generates from `shim.h`, and the shim's functions for what DPDK
//! defines inline. Everything safe is built on top of it, in `dataplane/src/port/dpdk/`.
//!
//! * Written against 22.11; nothing that 23.11 or 24.11 removed or renamed is used.
//! * Constants come from the headers at build, never retyped. bindgen asserts each structure's layout at compile time.
//! * `rte_mbuf` is opaque: its fields are reached by the offsets `WEIR_MBUF_*`, which the C compiler computes.
//! * Where libdpdk is missing the crate is empty ([`FOUND`] is false), so that the workspace's tests run anywhere.
#![allow(non_upper_case_globals, non_camel_case_types, non_snake_case, clippy::all)]
// 128-bit bit-field storage in a few generated types is not passed by value anywhere.
#![allow(improper_ctypes)]
// What bindgen generates for flexible arrays.
#![allow(unsafe_op_in_unsafe_fn)]

/// Whether libdpdk was there when this was built.
pub const FOUND: bool = cfg!(not(dpdk_missing));

#[cfg(not(dpdk_missing))]
include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
