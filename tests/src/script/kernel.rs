//! The Linux kernel as a target: sockets in a network namespace of their own, whose other end is a TUN device that the script holds.
//!
//! ```text
//!   thread in the namespace:   script <-- IP packets --> tun0 <-- kernel's TCP --> sockets <-- application's calls
//! ```
//! The namespace belongs to the thread that makes it and is gone when that ends. Time is real: everything may be a few milliseconds late.

use super::{
    namespace,
    packet::{self, Base, Bent, Carrier, Flags, Segment},
    parse::{Role, Script},
    target::{AppOption, CLIENT_PORT, End, Family, Flow, LISTEN_PORT, SERVER_PORT, Sent, Target, Unread},
};
use anyhow::{Context, bail, ensure};
use rustix::{
    event::{PollFd, PollFlags},
    io::Errno,
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt},
};
use smoltcp::phy::{Device, RxToken, TunTapInterface, TxToken};
use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    process::Command,
    time::{Duration, Instant},
};

mod settings;

/// The kernel in a namespace of its own.
pub(super) struct Kernel {
    began: Instant,
    addresses: (IpAddr, IpAddr),
    role: Role,
    congestion: String,
    tun: TunTapInterface,
    listener: Option<OwnedFd>,
    sockets: BTreeMap<Flow, Socket>,
    /// Options of sockets that are not there yet.
    options: Vec<(Flow, AppOption)>,
}

struct Socket {
    fd: Option<OwnedFd>,
    local_port: Option<u16>,
    /// The connect() has succeeded, or nothing was to be connected.
    connected: bool,
    unsent: Vec<u8>,
    closing: bool,
    closed: bool,
    end: Option<End>,
}

/// Why scripts cannot run against the kernel here, if they cannot.
pub(super) fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("root is needed to make a network namespace".into());
    }
    if !std::path::Path::new("/dev/net/tun").exists() {
        return Some("there is no /dev/net/tun".into());
    }
    ["ip", "unshare"].iter().find(|tool| Command::new(tool).arg("-V").output().is_err()).map(|t| format!("no {t}"))
}

impl Kernel {
    /// Makes a namespace for the calling thread, which never gets out of it again.
    ///
    /// # Errors
    /// Without root, a TUN device, or when a setting is unknown.
    #[allow(clippy::disallowed_methods)] // the kernel's time is real
    pub(super) fn new(script: &Script, family: Family) -> anyhow::Result<Self> {
        namespace::enter().context("a network namespace")?;
        let tun = settings::apply(script, family)?;
        let addresses = match family {
            Family::Ipv4 => ([10, 7, 0, 1].into(), [10, 7, 0, 2].into()),
            Family::Ipv6 => ([0xfd07, 0, 0, 0, 0, 0, 0, 1].into(), [0xfd07, 0, 0, 0, 0, 0, 0, 2].into()),
        };
        let mut kernel = Self {
            began: Instant::now(),
            addresses,
            role: script.role,
            congestion: script.settings.get("congestion").map_or_else(|| "cubic".into(), Clone::clone),
            tun,
            listener: None,
            sockets: BTreeMap::new(),
            options: Vec::new(),
        };
        kernel.wait_for_answer()?;
        kernel.began = Instant::now();
        Ok(kernel)
    }

    /// The device and its addresses are there, but it takes the kernel some more time to use them: waits until a closed port answers.
    fn wait_for_answer(&mut self) -> anyhow::Result<()> {
        let (target, own) = self.addresses;
        let carrier = Carrier { ecn: 0, ttl: 64, df: true };
        let (flags, payload) = (Flags(Flags::ACK), Vec::new());
        let ack = Segment { flags, seq: 0, ack: 0, win: 0, urgent: 0, options: Vec::new(), payload, carrier };
        let (from, to) = (SocketAddr::new(own, 9), SocketAddr::new(target, 9));
        let ack = packet::build(&ack, from, to, Base { seq: 0, ack: 0 }, Bent::default());
        let mut sent = Vec::new();
        for _ in 0..1000 {
            self.inject(&ack);
            self.run_until(self.now() + Duration::from_millis(2), &mut sent);
            if !sent.is_empty() {
                return Ok(());
            }
        }
        bail!("the kernel does not answer on its TUN device")
    }

    fn family(&self) -> AddressFamily {
        if self.addresses.0.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 }
    }

    fn socket(&self) -> anyhow::Result<OwnedFd> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = rustix::net::socket_with(self.family(), SocketType::STREAM, flags, None)?;
        sockopt::set_tcp_congestion(&fd, &self.congestion).context("the congestion control")?;
        sockopt::set_socket_oobinline(&fd, true)?; // as everything stands in ours
        Ok(fd)
    }

    fn flow(&mut self, flow: Flow) -> anyhow::Result<&mut Socket> {
        self.sockets.get_mut(&flow).context("there is no such connection")
    }

    /// Every packet that the kernel sent so far.
    fn drain(&mut self, sent: &mut Vec<Sent>) {
        while let Some((packet, _)) = self.tun.receive(smoltcp::time::Instant::ZERO) {
            let packet = packet.consume(<[u8]>::to_vec);
            if packet::ends(&packet).is_some() {
                sent.push(Sent { at: self.now(), packet });
            }
        }
    }

    /// Gives sockets what they did not take before.
    fn pump(&mut self) {
        for socket in self.sockets.values_mut() {
            socket.pump();
        }
    }

    fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        while let Ok((fd, Some(address))) = rustix::net::acceptfrom_with(listener, SocketFlags::NONBLOCK) {
            let Ok(address) = SocketAddr::try_from(address) else { continue };
            let flow = address.port().wrapping_sub(CLIENT_PORT);
            let mut socket = Socket::new(fd, Some(LISTEN_PORT));
            socket.connected = true;
            for (_, option) in self.options.iter().filter(|(of, _)| *of == flow) {
                let _ = socket.set(*option);
            }
            self.sockets.insert(flow, socket);
        }
    }

    fn script_port(&self, flow: Flow) -> u16 {
        flow + if self.role == Role::Active { SERVER_PORT } else { CLIENT_PORT }
    }
}

impl Socket {
    fn new(fd: OwnedFd, local_port: Option<u16>) -> Self {
        Self {
            fd: Some(fd),
            local_port,
            connected: false,
            unsent: Vec::new(),
            closing: false,
            closed: false,
            end: None,
        }
    }

    fn pump(&mut self) {
        let Some(fd) = &self.fd else { return };
        if !self.unsent.is_empty() {
            match rustix::net::send(fd, &self.unsent, SendFlags::NOSIGNAL) {
                Ok(taken) => drop(self.unsent.drain(..taken)),
                Err(Errno::AGAIN) => {}
                Err(error) => {
                    self.unsent.clear();
                    self.fail(error);
                }
            }
        }
        if self.closing && self.unsent.is_empty() {
            self.closing = false;
            if let Some(fd) = &self.fd {
                let _ = rustix::net::shutdown(fd, rustix::net::Shutdown::Write);
            }
        }
    }

    fn fail(&mut self, error: Errno) {
        let end = match error {
            Errno::CONNRESET | Errno::PIPE => End::Reset,
            Errno::CONNREFUSED => End::Refused,
            Errno::TIMEDOUT => End::Timeout,
            Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::NOPROTOOPT | Errno::ACCESS => End::Unreachable,
            _ => return,
        };
        self.end.get_or_insert(end);
    }

    fn look_for_error(&mut self) {
        let error = self.fd.as_ref().and_then(|fd| sockopt::socket_error(fd).ok());
        if let Some(Err(error)) = error {
            self.fail(error);
        }
    }

    fn set(&self, option: AppOption) -> anyhow::Result<()> {
        let fd = self.fd.as_ref().context("closed")?;
        let seconds = |s: u32| Duration::from_secs(s.into());
        match option {
            AppOption::Nodelay(on) => sockopt::set_tcp_nodelay(fd, on)?,
            AppOption::Cork(on) => sockopt::set_tcp_cork(fd, on)?,
            AppOption::Keepalive { idle_s, interval_s, probes } => {
                sockopt::set_tcp_keepidle(fd, seconds(idle_s))?;
                sockopt::set_tcp_keepintvl(fd, seconds(interval_s))?;
                sockopt::set_tcp_keepcnt(fd, probes)?;
                sockopt::set_socket_keepalive(fd, true)?;
            }
            AppOption::UserTimeout { ms } => sockopt::set_tcp_user_timeout(fd, ms)?,
            AppOption::HopLimit(n) if sockopt::socket_domain(fd)? == AddressFamily::INET => {
                sockopt::set_ip_ttl(fd, n.into())?;
            }
            AppOption::HopLimit(n) => sockopt::set_ipv6_unicast_hops(fd, Some(n))?,
            AppOption::Linger { s } => sockopt::set_socket_linger(fd, Some(seconds(s.into())))?,
        }
        Ok(())
    }
}

impl Target for Kernel {
    fn addresses(&self) -> (IpAddr, IpAddr) {
        self.addresses
    }

    fn tolerance(&self) -> Duration {
        Duration::from_millis(8)
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn inject(&mut self, packet: &[u8]) {
        let token = self.tun.transmit(smoltcp::time::Instant::ZERO).expect("a TUN device always takes");
        token.consume(packet.len(), |buffer| buffer.copy_from_slice(packet));
    }

    #[allow(clippy::disallowed_methods)] // the kernel's time is real
    fn run_until(&mut self, until: Duration, sent: &mut Vec<Sent>) {
        loop {
            self.pump();
            self.drain(sent);
            let left = until.saturating_sub(self.now());
            if !sent.is_empty() || left.is_zero() {
                return;
            }
            let waits_for_room = self.sockets.values().any(|socket| !socket.unsent.is_empty());
            let left = if waits_for_room { left.min(Duration::from_millis(1)) } else { left };
            if left < Duration::from_millis(1) {
                std::thread::sleep(left);
            } else {
                let _ = smoltcp::phy::wait(self.tun.as_raw_fd(), Some(left.into()));
            }
        }
    }

    fn listen(&mut self, backlog: u32) -> anyhow::Result<()> {
        let fd = self.socket()?;
        sockopt::set_socket_reuseaddr(&fd, true)?;
        rustix::net::bind(&fd, &SocketAddr::new(self.addresses.0, LISTEN_PORT))?;
        rustix::net::listen(&fd, backlog.try_into()?)?;
        self.listener = Some(fd);
        Ok(())
    }

    fn connect(&mut self, flow: Flow) -> anyhow::Result<()> {
        let mut socket = Socket::new(self.socket()?, None);
        for (_, option) in self.options.iter().filter(|(of, _)| *of == flow) {
            socket.set(*option)?;
        }
        let fd = socket.fd.as_ref().expect("just made");
        match rustix::net::connect(fd, &SocketAddr::new(self.addresses.1, self.script_port(flow))) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => bail!("connect: {error}"),
        }
        socket.local_port = SocketAddr::try_from(rustix::net::getsockname(fd)?).ok().map(|address| address.port());
        self.sockets.insert(flow, socket);
        Ok(())
    }

    fn accepted(&mut self, flow: Flow) -> bool {
        self.accept();
        self.sockets.get(&flow).is_some_and(|socket| socket.connected)
    }

    fn connected(&mut self, flow: Flow) -> bool {
        let Some(socket) = self.sockets.get_mut(&flow) else { return false };
        let Some(fd) = &socket.fd else { return false };
        if !socket.connected {
            let mut polled = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::OUT)];
            let now = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
            let writable = rustix::event::poll(&mut polled, Some(&now)).is_ok_and(|n| n > 0);
            let failed = polled[0].revents().contains(PollFlags::ERR);
            if writable && failed {
                socket.look_for_error();
            }
            socket.connected = writable && !failed;
        }
        socket.connected
    }

    fn write(&mut self, flow: Flow, mut bytes: Vec<u8>) -> anyhow::Result<()> {
        let socket = self.flow(flow)?;
        socket.unsent.append(&mut bytes);
        socket.pump();
        Ok(())
    }

    fn unread(&mut self, flow: Flow) -> Unread {
        let mut bytes = vec![0; 4 << 20];
        let Some(socket) = self.sockets.get_mut(&flow) else { return Unread::default() };
        let Some(fd) = &socket.fd else { return Unread::default() };
        let len = match rustix::net::recv(fd, &mut bytes, RecvFlags::PEEK) {
            Ok((len, _)) => len,
            Err(Errno::AGAIN) => return Unread::default(),
            Err(error) => {
                socket.fail(error);
                return Unread::default();
            }
        };
        bytes.truncate(len);
        // RDHUP comes with the FIN, before the bytes are read.
        let mut polled = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::RDHUP)];
        let now = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
        let _ = rustix::event::poll(&mut polled, Some(&now));
        Unread { bytes, eof: polled[0].revents().contains(PollFlags::RDHUP) }
    }

    fn consume(&mut self, flow: Flow, bytes: usize) {
        let Some(fd) = self.sockets.get(&flow).and_then(|socket| socket.fd.as_ref()) else { return };
        let mut taken = vec![0; bytes];
        let _ = rustix::net::recv(fd, &mut taken, RecvFlags::WAITALL);
    }

    fn close(&mut self, flow: Flow) -> anyhow::Result<()> {
        let socket = self.flow(flow)?;
        socket.closing = true;
        socket.closed = true;
        socket.pump();
        Ok(())
    }

    fn release(&mut self, flow: Flow) -> anyhow::Result<()> {
        let socket = self.flow(flow)?;
        ensure!(socket.unsent.is_empty(), "the kernel has not taken everything yet");
        socket.closed = true;
        socket.fd = None;
        Ok(())
    }

    fn abort(&mut self, flow: Flow) -> anyhow::Result<()> {
        let socket = self.flow(flow)?;
        if let Some(fd) = socket.fd.take() {
            sockopt::set_socket_linger(&fd, Some(Duration::ZERO))?;
        }
        socket.end.get_or_insert(End::Aborted);
        Ok(())
    }

    fn set(&mut self, flow: Flow, option: AppOption) -> anyhow::Result<()> {
        match self.sockets.get(&flow) {
            Some(socket) => socket.set(option),
            None => {
                self.options.push((flow, option));
                Ok(())
            }
        }
    }

    fn ended(&mut self, flow: Flow) -> Option<End> {
        let state = self.state(flow)?;
        let unread = self.unread(flow);
        let socket = self.sockets.get_mut(&flow)?;
        socket.look_for_error();
        if socket.end.is_none() && socket.closed && matches!(&*state, "closed" | "time-wait") && unread.bytes.is_empty()
        {
            socket.end = Some(End::Graceful);
        }
        socket.end
    }

    fn state(&mut self, flow: Flow) -> Option<String> {
        let file = if self.addresses.0.is_ipv4() { "tcp" } else { "tcp6" };
        let table = fs::read_to_string(format!("/proc/thread-self/net/{file}")).ok()?;
        let local = self.sockets.get(&flow).map_or(Some(LISTEN_PORT), |socket| socket.local_port)?;
        Some(state_in(&table, local, self.script_port(flow)).unwrap_or("closed").into())
    }

    fn counter(&mut self, _: &str) -> Option<u64> {
        None
    }
}

/// The connection's row in /proc/net/tcp.
fn state_in(table: &str, local: u16, remote: u16) -> Option<&'static str> {
    let port = |column: Option<&str>| u16::from_str_radix(column?.rsplit_once(':')?.1, 16).ok();
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_whitespace().skip(1);
        let ends = (port(columns.next()), port(columns.next()));
        let state = columns.next().filter(|_| ends == (Some(local), Some(remote)))?;
        let names = [
            ("01", "established"),
            ("02", "syn-sent"),
            ("03", "syn-received"),
            ("04", "fin-wait-1"),
            ("05", "fin-wait-2"),
            ("06", "time-wait"),
            ("07", "closed"),
            ("08", "close-wait"),
            ("09", "last-ack"),
            ("0B", "closing"),
            ("0C", "syn-received"),
        ];
        names.iter().find(|(number, _)| *number == state).map(|(_, name)| *name)
    })
}
