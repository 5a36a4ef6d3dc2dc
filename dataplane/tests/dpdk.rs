//! Frames over mbufs must be frames over heap memory, byte for byte and buffer for buffer; and a device gives and takes them. One test,
//! because DPDK is started once in a process. Needs neither hugepages nor hardware.
#![cfg(feature = "dpdk")]

use weirgate_dataplane::{
    limits::{BURST_MAX, FRAME_ROOM, packet_bytes},
    port::{
        Burst, Checksum, Frame, FrameQueue, L4, Pool, Port, RxMeta, TxOffload,
        dpdk::{Device, Eal, EalOptions, Memory, WorkerThread},
    },
    snapshot::{InterfaceConfig, PortConfig},
};

const FRAMES: u32 = 1_023;

#[test]
fn mbufs_are_frames_and_devices_move_them() {
    let bytes = packet_bytes(1, FRAMES, FRAME_ROOM);
    let options =
        EalOptions { memory: Memory::Ordinary, bytes, cpus: vec![0], single_file_segments: false, verbose: false };
    let mut eal = Eal::start(&options).expect("DPDK starts without hugepages");
    let mempool = eal.pool("frames", FRAMES, FRAME_ROOM).expect("memory for a thousand frames");
    // Registered, as workers are: so the pool has a cache for this thread, and counts what lies there as free.
    let entered = WorkerThread::enter(0).expect("core 0");
    let mbufs = mempool.clone().into_pool();
    let heap = Pool::heap(FRAMES as usize);

    for seed in 0..200 {
        let (a, b) = (story(&heap, seed), story(&mbufs, seed));
        for (step, (a, b)) in a.iter().zip(&b).enumerate() {
            assert_eq!(a, b, "seed {seed}, step {step}: heap on the left, mbufs on the right");
        }
    }
    assert_eq!((heap.in_use(), mbufs.in_use()), (0, 0), "every buffer came back");
    what_devices_are_told_and_tell(&mbufs);
    the_pool_ends(&mbufs);
    a_device_gives_and_takes(&mempool, &mbufs);
    assert_eq!(mbufs.in_use(), 0, "the closed device has given its ring back");
    drop(entered);
}

/// Does a few hundred things to a few frames, as the seed says; what was seen after each.
fn story(pool: &Pool, seed: u64) -> Vec<String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut frames: Vec<Frame> = Vec::new();
    let mut seen = Vec::new();
    for _ in 0..300 {
        let said = step(pool, &mut random, &mut frames);
        let all: Vec<_> = frames
            .iter()
            .map(|f| (f.len(), f.segment_count(), f.headroom(), f.tailroom(), f.is_shared(), f.to_vec()))
            .collect();
        seen.push(format!("{said}: {} in use, {all:?}", pool.in_use()));
    }
    let mut rest: arrayvec::ArrayVec<Frame, 64> = frames.into_iter().collect();
    Frame::free_all(&mut rest);
    seen.push(format!("{} in use", pool.in_use()));
    seen
}

fn step(pool: &Pool, random: &mut fastrand::Rng, frames: &mut Vec<Frame>) -> &'static str {
    if frames.is_empty() || (frames.len() < 8 && random.u8(..4) == 0) {
        let mut frame = pool.alloc().expect("the pool is large");
        frame.append_slice(&[random.u8(..); 40]).expect("room");
        frames.push(frame);
        return "made";
    }
    let at = random.usize(..frames.len());
    let n = random.usize(..70);
    let several = frames.len() > 1;
    let frame = &mut frames[at];
    match random.u8(..9) {
        0 if !frame.is_shared() => match frame.prepend(n) {
            Ok(bytes) => {
                bytes[..n].fill(random.u8(..));
                "prepended"
            }
            Err(_) => "no headroom",
        },
        1 if frame.segment_count() == 1 && !frame.is_shared() => match frame.append(n) {
            Ok(bytes) => {
                bytes.fill(random.u8(..));
                "appended"
            }
            Err(_) => "no tailroom",
        },
        2 => {
            frame.trim_front(n.min(frame.head().len()));
            "trimmed"
        }
        3 => {
            frame.truncate(frame.len().saturating_sub(n / 4).max(1));
            "truncated"
        }
        4 => {
            let shared = frames[at].share(pool).expect("the pool is large");
            frames.push(shared);
            "shared"
        }
        5 if several => {
            let tail = frames.swap_remove(at);
            let head = &mut frames[0];
            if head.segment_count() + tail.segment_count() <= 8 {
                head.chain(tail);
                "chained"
            } else {
                drop(tail);
                "dropped a long one"
            }
        }
        6 => {
            drop(frames.swap_remove(at));
            "dropped"
        }
        7 if !frame.is_shared() && !frame.head().is_empty() => {
            frame.head_mut()[0] ^= 0xff;
            "written"
        }
        _ => "left alone",
    }
}

fn what_devices_are_told_and_tell(pool: &Pool) {
    let mut frame = pool.alloc().expect("a frame");
    assert_eq!((frame.rx_meta(), frame.tx_offload()), (RxMeta::default(), TxOffload::default()));
    for ip_checksum in [Checksum::Unknown, Checksum::Good, Checksum::Bad, Checksum::Partial] {
        for l4_checksum in [Checksum::Unknown, Checksum::Good, Checksum::Bad, Checksum::Partial] {
            for rss_hash in [None, Some(0xdead_beef)] {
                let meta = RxMeta { ip_checksum, l4_checksum, rss_hash };
                frame.set_rx_meta(meta);
                assert_eq!(frame.rx_meta(), meta);
            }
        }
    }
    let cut = TxOffload {
        l2_len: 18,
        l3_len: 40,
        l4_len: 32,
        ipv6: true,
        ip_checksum: false,
        l4_checksum: Some(L4::Tcp),
        tso_segment: 1_448,
    };
    let sum = TxOffload { l2_len: 14, l3_len: 20, ip_checksum: true, l4_checksum: Some(L4::Udp), ..Default::default() };
    for offload in [cut, sum, TxOffload::default()] {
        frame.set_tx_offload(offload);
        assert_eq!(frame.tx_offload(), offload);
    }
    // Lengths without a flag are an earlier frame's.
    frame.set_tx_offload(TxOffload { l2_len: 14, l3_len: 20, l4_len: 20, ..Default::default() });
    assert_eq!(frame.tx_offload(), TxOffload::default());
}

fn the_pool_ends(pool: &Pool) {
    let all: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!((all.len(), pool.in_use(), pool.capacity()), (FRAMES as usize, FRAMES as usize, FRAMES as usize));
    assert!(all[0].share(pool).is_none(), "a share is a buffer too");
    drop(all);
    assert_eq!(pool.in_use(), 0);
}

fn a_device_gives_and_takes(mempool: &weirgate_dataplane::port::dpdk::Mempool, pool: &Pool) {
    let config = PortConfig {
        name: "p0".into(),
        device: "null,size=60".parse().expect("a device"),
        mtu: 1500,
        offloads: true,
        untagged: InterfaceConfig::default(),
        vlans: Vec::new(),
    };
    let device = Device::open(&config, 0, std::slice::from_ref(mempool), true).expect("the null device opens");
    assert!(device.wake(0).is_none() && device.link().up);
    let mut ports = device.queues();
    let (mut burst, mut queue) = (Burst::new(), FrameQueue::default());
    ports[0].rx_burst(&mut burst);
    assert_eq!((burst.len(), burst[0].len()), (BURST_MAX, 60));
    burst.drain(..).for_each(|frame| queue.push(frame).expect("room"));
    ports[0].tx_burst(&mut queue);
    assert_eq!((queue.len(), queue.bytes()), (0, 0));
    assert_eq!(device.statistics()[..2], [BURST_MAX as u64, BURST_MAX as u64]);
    assert_eq!(pool.in_use(), 0, "what was sent is back");
}
