//! The neighbour: the kernel's TCP, through sockets in one of the lab's namespaces.

use libtest_mimic::Failed;
use rustix::net::{AddressFamily, SocketType, sockopt};
use std::{
    fs::File,
    io::{self, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpStream},
    os::fd::AsFd,
    sync::OnceLock,
    time::Duration,
};
use weirgate_dataplane::services::{QUOTE, character};

/// A socket that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// The services of the lab's gateway.
pub(crate) const ECHO: u16 = 7;
pub(crate) const DISCARD: u16 = 9;
pub(crate) const QUOTES: u16 = 17;
pub(crate) const CHARGEN: u16 = 19;

pub(crate) const FAMILIES: [&str; 2] = ["10.77.0.10", "fd77::10"];

/// Does something in a thread that stands in a network namespace; what it opens stays there.
pub(crate) fn within<T: Send>(namespace: &str, act: impl FnOnce() -> T + Send) -> T {
    let enter = || {
        let file = File::open(format!("/run/netns/{namespace}"))?;
        let network = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(file.as_fd(), network).map_err(io::Error::from)
    };
    let body = || {
        enter().unwrap_or_else(|error| panic!("namespace {namespace}: {error}"));
        act()
    };
    std::thread::scope(|scope| scope.spawn(body).join().expect("no panic"))
}

pub(crate) fn connect(address: &str, port: u16) -> io::Result<TcpStream> {
    let address: IpAddr = address.parse().expect("an address");
    patient(TcpStream::connect_timeout(&SocketAddr::new(address, port), PATIENCE)?)
}

/// Connects from a port of the caller's choice, which may be in TIME-WAIT on this side; `None` while the kernel still has this pair.
pub(crate) fn connect_from(own_port: u16, address: &str, port: u16) -> io::Result<Option<TcpStream>> {
    let address: IpAddr = address.parse().expect("an address");
    let (family, any): (_, IpAddr) = match address {
        IpAddr::V4(_) => (AddressFamily::INET, [0; 4].into()),
        IpAddr::V6(_) => (AddressFamily::INET6, [0; 16].into()),
    };
    let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &SocketAddr::new(any, own_port))?;
    match rustix::net::connect(&socket, &SocketAddr::new(address, port)) {
        Ok(()) => patient(TcpStream::from(socket)).map(Some),
        Err(rustix::io::Errno::ADDRNOTAVAIL) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn patient(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Its end is a reset instead of a FIN.
pub(crate) fn abort(stream: TcpStream) -> io::Result<()> {
    sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
    drop(stream);
    Ok(())
}

/// Bytes that tell by themselves where they belong: a block of noise again and again, whose length is prime.
const BLOCK: usize = 65_521;
const CHUNK: usize = 64 << 10;

fn noise() -> &'static [u8] {
    static NOISE: OnceLock<Vec<u8>> = OnceLock::new();
    NOISE.get_or_init(|| {
        let mut random = fastrand::Rng::with_seed(7);
        let block: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(BLOCK).collect();
        block.iter().chain(&block).chain(&block).copied().collect()
    })
}

/// The stream's bytes from a place on, at most [`CHUNK`] of them.
pub(crate) fn bytes_at(at: u64, len: usize) -> &'static [u8] {
    let from = (at % BLOCK as u64) as usize;
    &noise()[from..from + len.min(CHUNK)]
}

/// Writes the stream's bytes up to a place.
pub(crate) fn send(mut stream: &TcpStream, from: u64, to: u64) -> io::Result<()> {
    let mut at = from;
    while at < to {
        let bytes = bytes_at(at, usize::try_from(to - at).unwrap_or(CHUNK));
        stream.write_all(bytes)?;
        at += bytes.len() as u64;
    }
    Ok(())
}

/// Reads the stream's bytes up to a place and compares them.
pub(crate) fn expect_bytes(mut stream: &TcpStream, from: u64, to: u64) -> Result<(), Failed> {
    let mut buffer = vec![0; CHUNK];
    let mut at = from;
    while at < to {
        let most = usize::try_from(to - at).unwrap_or(CHUNK).min(CHUNK);
        let len = stream.read(&mut buffer[..most]).map_err(|error| format!("after {at} of {to} bytes: {error}"))?;
        if len == 0 {
            return Err(format!("the end after {at} of {to} bytes").into());
        }
        if buffer[..len] != *bytes_at(at, len) {
            return Err(format!("other bytes than were sent, at {at} to {}", at + len as u64).into());
        }
        at += len as u64;
    }
    Ok(())
}

pub(crate) fn expect_end(mut stream: &TcpStream) -> Result<(), Failed> {
    match stream.read(&mut [0]) {
        Ok(0) => Ok(()),
        Ok(_) => Err("more bytes than were sent".into()),
        Err(error) => Err(format!("instead of the end: {error}").into()),
    }
}

/// Sends bytes to the echo service and a FIN after them, reads them back and their end.
pub(crate) fn echo(address: &str, bytes: u64) -> Result<(), Failed> {
    let stream = connect(address, ECHO)?;
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| send(&stream, 0, bytes).and_then(|()| stream.shutdown(Shutdown::Write)));
        let received = expect_bytes(&stream, 0, bytes).and_then(|()| expect_end(&stream));
        let sent = sender.join().expect("no panic");
        received?;
        Ok(sent?)
    })
}

/// Sends bytes to the discard service; they have arrived when its FIN is there.
pub(crate) fn discard(address: &str, bytes: u64) -> Result<(), Failed> {
    let stream = connect(address, DISCARD)?;
    send(&stream, 0, bytes)?;
    stream.shutdown(Shutdown::Write)?;
    expect_end(&stream)
}

/// Reads what the character generator says, closes, and reads on to its end.
pub(crate) fn chargen(address: &str, bytes: u64) -> Result<(), Failed> {
    let mut stream = connect(address, CHARGEN)?;
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    loop {
        let len = stream.read(&mut buffer).map_err(|error| format!("after {at} of {bytes} bytes: {error}"))?;
        if len == 0 {
            return if at >= bytes { Ok(()) } else { Err(format!("the end after {at} of {bytes} bytes").into()) };
        }
        if let Some(wrong) = (0..len).find(|i| buffer[*i] != character(at + *i as u64)) {
            return Err(format!("character {} is wrong", at + wrong as u64).into());
        }
        let before = at;
        at += len as u64;
        if before < bytes && at >= bytes {
            stream.shutdown(Shutdown::Write)?;
        }
    }
}

/// One request of some bytes and its answer.
pub(crate) fn exchange(stream: &TcpStream, at: u64, len: u64) -> Result<(), Failed> {
    send(stream, at, at + len)?;
    expect_bytes(stream, at, at + len)
}

/// Reads the quote and the end behind it.
pub(crate) fn quote(mut stream: &TcpStream) -> Result<(), Failed> {
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    if text == QUOTE { Ok(()) } else { Err(format!("not the quote: {text:?}").into()) }
}
