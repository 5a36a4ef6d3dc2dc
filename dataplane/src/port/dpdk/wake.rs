//! Sleeping until a frame arrives: the descriptor that becomes readable when a queue has one.
//!
//! Polling with short sleeps is no way out on a virtual machine: one wake-up by timer costs some 36 us of CPU there (measured with a bare
//! nanosleep loop), so steps of 70 us take a third of a core. Waiting for a descriptor takes nothing and wakes in time.
//!
//! Drivers with receive interrupts give the descriptor themselves. The AF_PACKET and AF_XDP drivers do not, but their sockets are pollable:
//! they are found as the sockets of that family which appear while the device is opened, in the order of the queues.

use super::{StartError, start_error};
use crate::snapshot::DeviceKind;
use dpdk_sys as sys;
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, eventfd, poll},
    fd::{AsFd, BorrowedFd, OwnedFd, RawFd},
    net::AddressFamily,
};
use std::{collections::BTreeSet, fs, io, sync::Arc, time::Duration};

/// What a queue can be waited for with.
#[derive(Clone, Debug)]
pub struct Wake {
    fd: RawFd,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Readable as long as a frame is there: a socket, or the TAP driver's file.
    Level,
    /// An interrupt of this queue: switched on before each wait, and off after it.
    Interrupt {
        port: u16,
        queue: u16,
        /// The descriptor is an eventfd, which counts until it is read. Others (completion channels) the driver reads itself.
        counts: bool,
    },
}

impl Wake {
    /// The driver's receive interrupt of a queue, if it has one.
    pub(super) fn interrupt(kind: DeviceKind, port: u16, queue: u16) -> Option<Self> {
        // SAFETY: a valid, started port and one of its queues; the function only looks.
        let fd = unsafe { sys::rte_eth_dev_rx_intr_ctl_q_get_fd(port, queue) };
        if fd < 0 {
            return None;
        }
        let counts =
            fs::read_link(format!("/proc/self/fd/{fd}")).is_ok_and(|name| name.to_string_lossy().contains("eventfd"));
        // TAP's descriptor carries the frames themselves, and there is nothing to switch.
        let kind = if kind == DeviceKind::Tap { Kind::Level } else { Kind::Interrupt { port, queue, counts } };
        Some(Self { fd, kind })
    }

    /// Two queues with one descriptor would take each other's wake-ups.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.fd == other.fd
    }

    /// A socket of the driver's.
    pub(super) fn socket(fd: RawFd) -> Self {
        Self { fd, kind: Kind::Level }
    }

    fn arm(&self) -> bool {
        match self.kind {
            Kind::Level => true,
            // SAFETY: a valid, started port and one of its queues.
            Kind::Interrupt { port, queue, .. } => unsafe { sys::rte_eth_dev_rx_intr_enable(port, queue) == 0 },
        }
    }

    fn disarm(&self) {
        if let Kind::Interrupt { port, queue, counts } = self.kind {
            // SAFETY: as above.
            unsafe { sys::rte_eth_dev_rx_intr_disable(port, queue) };
            if counts {
                let _ = rustix::io::read(self.borrow(), &mut [0; 8]); // non-blocking, as DPDK makes it
            }
        }
    }

    fn borrow(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is the driver's and stays open while the device is; a Wake is used by workers only, which end before it.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }
}

/// How one worker sleeps, and how others wake it.
pub struct Sleeper {
    wakes: Vec<Wake>,
    bell: Bell,
}

/// Wakes a sleeping worker. Clones ring the same bell.
#[derive(Clone)]
pub struct Bell(Arc<OwnedFd>);

impl Bell {
    /// A silent bell.
    pub fn new() -> Result<Self, StartError> {
        match eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC) {
            Ok(fd) => Ok(Self(Arc::new(fd))),
            Err(error) => start_error(format!("no eventfd for a worker: {error}")),
        }
    }
    /// Wakes the worker, now or when it next goes to sleep.
    pub fn ring(&self) {
        let _ = rustix::io::write(self.0.as_fd(), &1u64.to_ne_bytes());
    }
}

impl Sleeper {
    /// For a worker whose every queue can be waited for.
    pub fn new(wakes: Vec<Wake>, bell: Bell) -> Self {
        Self { wakes, bell }
    }

    /// Switches the interrupts on. Frames that came before are not announced, so the worker looks once more and then waits.
    pub fn arm(&self) -> bool {
        self.wakes.iter().all(Wake::arm)
    }

    /// Waits for a frame, the bell, a signal, or `longest`.
    pub fn wait(&self, longest: Duration) {
        let mut fds: Vec<_> =
            self.wakes.iter().map(|wake| PollFd::from_borrowed_fd(wake.borrow(), PollFlags::IN)).collect();
        fds.push(PollFd::new(&*self.bell.0, PollFlags::IN));
        let timeout = rustix::time::Timespec { tv_sec: longest.as_secs() as _, tv_nsec: longest.subsec_nanos().into() };
        let _ = poll(&mut fds, Some(&timeout));
        let broken = |fd: &PollFd<'_>| fd.revents().intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL);
        if fds.iter().any(broken) {
            // The interface is down or gone. A socket's error is told once it is asked for; a file's is told for ever, so sleep by time.
            for wake in &self.wakes {
                let _ = rustix::net::sockopt::socket_error(wake.borrow());
            }
            let _ = rustix::thread::nanosleep(&rustix::time::Timespec { tv_sec: 0, tv_nsec: 1_000_000 });
        }
        let _ = rustix::io::read(self.bell.0.as_fd(), &mut [0; 8]);
    }

    /// Switches the interrupts off again.
    pub fn disarm(&self) {
        self.wakes.iter().for_each(Wake::disarm);
    }
}

/// The sockets of a driver that are open now.
pub(super) fn driver_sockets(kind: DeviceKind) -> BTreeSet<RawFd> {
    let family = match kind {
        DeviceKind::AfPacket => AddressFamily::PACKET,
        DeviceKind::AfXdp => AddressFamily::from_raw(44), // AF_XDP, linux/socket.h
        _ => return BTreeSet::new(),
    };
    let open = fs::read_dir("/proc/self/fd").map(|files| files.flatten().collect::<Vec<_>>()).unwrap_or_default();
    let number = |file: &fs::DirEntry| file.file_name().to_str()?.parse::<RawFd>().ok();
    open.iter().filter_map(number).filter(|fd| is_socket_of(*fd, family).unwrap_or(false)).collect()
}

fn is_socket_of(fd: RawFd, family: AddressFamily) -> io::Result<bool> {
    // SAFETY: the number was open a moment ago. If it was closed since, the call fails, or answers for another descriptor, which is then not
    // of this family; nothing is read or written.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    Ok(rustix::net::sockopt::socket_domain(fd)? == family)
}
