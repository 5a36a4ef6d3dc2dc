//! Each shim function against the library it wraps, in one process: EAL can be started once only.
#![cfg(not(dpdk_missing))]
#![allow(clippy::undocumented_unsafe_blocks)] // the whole file is calls into C, under the one EAL started below

use dpdk_sys::*;
use std::{ffi::CString, ptr};

fn start(devices: &[&str]) {
    let arguments = [
        "shim-test",
        "--no-huge",
        "-m",
        "64",
        "--no-pci",
        "--no-shconf",
        "--no-telemetry",
        "--log-level=*:error",
        "--lcores=0",
    ];
    let mut owned: Vec<CString> = arguments.iter().map(|a| CString::new(*a).unwrap()).collect();
    owned.extend(devices.iter().map(|d| CString::new(format!("--vdev={d}")).unwrap()));
    let mut argv: Vec<_> = owned.iter().map(|a| a.as_ptr().cast_mut()).collect();
    let parsed = unsafe { rte_eal_init(argv.len() as i32, argv.as_mut_ptr()) };
    assert!(parsed >= 0, "EAL starts without hugepages; errno {}", unsafe { weir_errno() });
}

fn read<T: Copy>(mbuf: *const rte_mbuf, offset: u32) -> T {
    unsafe { mbuf.cast::<u8>().add(offset as usize).cast::<T>().read_unaligned() }
}

#[test]
fn every_shim_function_does_what_its_inline_does() {
    start(&["net_null0,size=60"]);
    assert_eq!(size_of::<rte_mbuf>(), WEIR_MBUF_SIZE as usize, "opaque, but as large as it is");

    // Thread state.
    assert_eq!(unsafe { weir_lcore_id() }, 0);
    let (before, after) = unsafe { (weir_rdtsc(), weir_rdtsc()) };
    assert!(after > before && unsafe { rte_get_tsc_hz() } > 1_000_000);
    let absent = unsafe { rte_eth_dev_info_get(77, &mut Default::default()) };
    assert!(absent < 0);

    // Buffers, from full to empty and back.
    let room = 128 + 2048;
    let pool = unsafe { rte_pktmbuf_pool_create(c"shim".as_ptr(), 63, 0, 0, room, -1) };
    assert!(!pool.is_null(), "errno {}", unsafe { weir_errno() });
    let mut frames = [ptr::null_mut(); 63];
    assert_eq!(unsafe { weir_alloc_bulk(pool, frames.as_mut_ptr(), 63) }, 0);
    assert_eq!(unsafe { rte_mempool_in_use_count(pool) }, 63);
    assert!(unsafe { weir_alloc(pool) }.is_null(), "the pool is empty");
    let mut one = [ptr::null_mut(); 1];
    assert_ne!(unsafe { weir_alloc_bulk(pool, one.as_mut_ptr(), 1) }, 0);
    unsafe { rte_pktmbuf_free_bulk(frames.as_mut_ptr(), 63) };
    assert_eq!(unsafe { rte_mempool_in_use_count(pool) }, 0);

    // A fresh buffer's fields, at the offsets that the header gave.
    let head = unsafe { weir_alloc(pool) };
    assert_eq!(read::<u16>(head, WEIR_MBUF_DATA_OFF), RTE_PKTMBUF_HEADROOM as u16);
    assert_eq!(read::<u16>(head, WEIR_MBUF_BUF_LEN), room);
    assert_eq!(read::<u16>(head, WEIR_MBUF_REFCNT), 1);
    assert_eq!(read::<u16>(head, WEIR_MBUF_NB_SEGS), 1);
    assert_eq!(read::<u32>(head, WEIR_MBUF_PKT_LEN), 0);
    assert_eq!(read::<u64>(head, WEIR_MBUF_NEXT), 0);
    assert_eq!(read::<u64>(head, WEIR_MBUF_OL_FLAGS), 0);

    // Sharing: both sides of a clone see shared bytes, until one of them ends.
    let seen =
        |m| (read::<u16>(m, WEIR_MBUF_REFCNT), read::<u64>(m, WEIR_MBUF_OL_FLAGS) & WEIR_RTE_MBUF_F_INDIRECT != 0);
    let clone = unsafe { rte_pktmbuf_clone(head, pool) };
    assert_eq!((seen(head), seen(clone)), ((2, false), (1, true)), "one counts, the other points");
    unsafe { weir_free(clone) };
    assert_eq!(seen(head), (1, false));

    // Chains are freed whole.
    let tail = unsafe { weir_alloc(pool) };
    assert_eq!(unsafe { weir_chain(head, tail) }, 0);
    assert_eq!(read::<u16>(head, WEIR_MBUF_NB_SEGS), 2);
    assert_eq!(read::<u64>(head, WEIR_MBUF_NEXT), tail as u64);

    // Transmit lengths: 7 bits of l2, then 9 of l3, 8 of l4, 16 of tso (rte_mbuf_core.h).
    unsafe { weir_set_tx_lengths(head, 14, 20, 32, 1448) };
    assert_eq!(unsafe { weir_tx_lengths(head) }, 14 | 20 << 7 | 32 << 16 | 1448 << 24);
    unsafe { weir_free(head) };
    assert_eq!(unsafe { rte_mempool_in_use_count(pool) }, 0, "nothing leaked");

    // The null device makes frames from nothing and swallows them.
    let port = 0;
    unsafe {
        let conf = rte_eth_conf::default();
        assert_eq!(rte_eth_dev_configure(port, 1, 1, &conf), 0);
        assert_eq!(rte_eth_rx_queue_setup(port, 0, 64, 0, ptr::null(), pool), 0);
        assert_eq!(rte_eth_tx_queue_setup(port, 0, 64, 0, ptr::null()), 0);
        assert_eq!(rte_eth_dev_start(port), 0);
        let (mut up, mut mbps) = (0, 7);
        assert_eq!(weir_link(port, &mut up, &mut mbps), 0);
        assert_eq!((up, mbps), (1, 10_000), "the null device claims 10 Gbit/s");
        assert!(weir_link(77, &mut up, &mut mbps) < 0);
        let mut burst = [ptr::null_mut(); 32];
        assert_eq!(weir_rx_burst(port, 0, burst.as_mut_ptr(), 32), 32);
        assert_eq!(read::<u16>(burst[0], WEIR_MBUF_DATA_LEN), 60);
        assert_eq!(weir_tx_burst(port, 0, burst.as_mut_ptr(), 32), 32);
        assert_eq!(rte_eth_dev_stop(port), 0);
        assert_eq!(rte_eth_dev_close(port), 0);
        assert_eq!(rte_mempool_in_use_count(pool), 0);
        rte_mempool_free(pool);
        assert_eq!(rte_eal_cleanup(), 0);
    }
}
