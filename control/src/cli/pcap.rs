//! `pcap`: frames from inside the data plane.

use super::{
    Outcome,
    console::{Console, Exit, Failure},
    daemon::{At, Daemon},
    human::{count, seconds},
};
use crate::admin::{
    api::{self, CaptureDirection, CaptureProtocol, CaptureRequest},
    client::Chunks,
};
use clap::Args;
use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    net::IpAddr,
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
};
use tokio::signal::unix::{SignalKind, signal};
use weirgate_dataplane::port::pcapng::{PACKET, STATISTICS};

/// Capture frames from inside the running data plane, until Ctrl-C
///
/// tcpdump cannot see the port of a kernel-bypass data plane. This writes what passes there, both
/// ways, as pcapng with nanoseconds: as the device gave it, and as it was given to the device, which
/// may still fill in checksums and cut long segments. What finds no room on its way is counted, and
/// no worker waits; when nobody captures, it costs nothing.
/// It shows requests with everything in them. It takes the right to change things, and is noted in
/// the audit log.
#[derive(Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  weirgate pcap -w frames.pcapng --host 10.77.0.2 --port 80
  weirgate pcap -w - | wireshark -k -i -
  weirgate pcap --protocol arp --duration 10s -w - | tcpdump -nr -
  weirgate pcap --interface gw0.7 --direction in --snaplen 128 --count 1000 -w heads.pcapng"
)]
pub(super) struct Pcap {
    /// Through this port only, or (NAME.ID) through this VLAN of it
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// This way only
    #[arg(long, value_enum, default_value_t, value_name = "WAY")]
    direction: CaptureDirection,
    /// From or to this address, or about it (ARP)
    #[arg(long, value_name = "IP")]
    host: Option<IpAddr>,
    /// From or to this port of TCP or UDP
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Of this protocol only; icmp is ICMP and ICMPv6
    #[arg(long, value_enum, value_name = "NAME")]
    protocol: Option<CaptureProtocol>,
    /// Keep so many bytes of each frame; without it, all
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(1..))]
    snaplen: Option<u16>,
    /// End after so many frames
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this time: 10s, 5m
    #[arg(long, value_name = "TIME", value_parser = duration)]
    duration: Option<u64>,
    /// Where to; - is standard output
    #[arg(short = 'w', long = "write", value_name = "FILE", default_value = "-")]
    to: PathBuf,
    #[command(flatten)]
    at: At,
}

fn duration(text: &str) -> Result<u64, String> {
    match seconds(text)? {
        0 => Err("a capture of no time".into()),
        seconds => Ok(seconds),
    }
}

impl Pcap {
    pub(super) fn run(&self, console: &mut Console<'_>) -> Outcome {
        let is_to_console = self.to.as_os_str() == "-";
        if is_to_console && console.width.is_some() {
            return Err(Failure::usage("a capture is nothing to read on a terminal")
                .next("write it to a file: -w frames.pcapng\nor into a program: -w - | wireshark -k -i -"));
        }
        let mut tally = Tally::default();
        let outcome = Daemon::block_on(async {
            let mut terminated = signal(SignalKind::terminate())?;
            tokio::select! {
                outcome = self.copy(console, is_to_console, &mut tally) => outcome,
                // How it is meant to end.
                _ = tokio::signal::ctrl_c() => Ok(Exit::Done),
                _ = terminated.recv() => Ok(Exit::Done),
            }
        });
        let outcome = match outcome {
            // Whoever reads has seen enough.
            Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Done),
            outcome => outcome,
        };
        if tally.has_begun {
            let frames = count(usize::try_from(tally.frames).unwrap_or(usize::MAX), "frame");
            console.say(format_args!("{frames} captured, {} lost because the ring was full", tally.lost))?;
        }
        outcome
    }

    async fn copy(&self, console: &mut Console<'_>, is_to_console: bool, tally: &mut Tally) -> Outcome {
        let request = CaptureRequest {
            interface: self.interface.clone(),
            direction: self.direction,
            host: self.host.map(|host| host.to_string()),
            port: self.port,
            protocol: self.protocol,
            snap_len: self.snaplen,
            count: self.count,
            duration_ms: self.duration.map(|seconds| seconds.saturating_mul(1_000)),
        };
        let mut chunks: Chunks = self.at.client().chunks(api::PCAP, &request).await?;
        // Not before it is known that something comes: an older capture may be there.
        let mut file = if is_to_console { None } else { Some(self.open()?) };
        // However it ends: it is whole if it says so itself.
        while let Ok(Some(chunk)) = chunks.next().await {
            tally.bytes.extend_from_slice(&chunk);
            let whole = tally.count_whole().map_err(|why| Failure::new(Exit::Unreachable, why))?;
            match &mut file {
                Some(file) => file.write_all(&tally.bytes[..whole]).map_err(|error| self.unwritable(&error))?,
                None => console.bytes(&tally.bytes[..whole])?,
            }
            tally.bytes.drain(..whole);
        }
        match &tally.end {
            Some(None) => Ok(Exit::Done),
            Some(Some(why)) => Err(Failure::new(Exit::Unreachable, format!("the capture has ended: {why}"))),
            None => Err(Failure::new(Exit::Unreachable, "the daemon has closed the stream")
                .next("is it still running? journalctl -u weirgate")),
        }
    }

    /// For nobody but its owner: it shows what others should not see.
    fn open(&self) -> Result<File, Failure> {
        let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&self.to);
        opened.map_err(|error| self.unwritable(&error))
    }

    fn unwritable(&self, error: &io::Error) -> Failure {
        Failure::findings(format!("{} cannot be written: {error}", self.to.display()))
    }
}

/// A capture as it comes: only whole blocks go on, so that whatever ends it leaves a file that can be read.
#[derive(Default)]
struct Tally {
    bytes: Vec<u8>,
    has_begun: bool,
    frames: u64,
    lost: u64,
    /// It is whole; and why it ended, if that is worth a word.
    end: Option<Option<String>>,
}

/// The largest block that is believed.
const BLOCK_MAX: usize = 1 << 20;

impl Tally {
    /// Counts the whole blocks at the front. How many bytes they have.
    fn count_whole(&mut self) -> Result<usize, String> {
        let (mut at, bytes) = (0, std::mem::take(&mut self.bytes));
        while let Some(len) = word(&bytes, at + 4) {
            let len = len as usize;
            if !(12..=BLOCK_MAX).contains(&len) || !len.is_multiple_of(4) {
                return Err("what the daemon sends is no capture".into());
            }
            let Some(block) = bytes.get(at..at + len) else { break };
            self.count(word(block, 0).unwrap_or_default(), &block[8..len - 4]);
            at += len;
        }
        self.bytes = bytes;
        Ok(at)
    }

    fn count(&mut self, kind: u32, body: &[u8]) {
        self.has_begun = true;
        match kind {
            PACKET => {
                self.frames += 1;
                let kept = word(body, 12).unwrap_or_default() as usize;
                for (code, value) in options(body, 20 + kept.next_multiple_of(4)) {
                    if let (4, Ok(lost)) = (code, <[u8; 8]>::try_from(value)) {
                        self.lost += u64::from_le_bytes(lost);
                    }
                }
            }
            STATISTICS => {
                let mut why = None;
                for (code, value) in options(body, 12) {
                    match (code, <[u8; 8]>::try_from(value)) {
                        (1, _) => why = Some(String::from_utf8_lossy(value).into_owned()),
                        (7, Ok(lost)) => self.lost = u64::from_le_bytes(lost),
                        _ => {}
                    }
                }
                self.end = Some(why);
            }
            _ => {}
        }
    }
}

/// A block's options, by code.
fn options(body: &[u8], at: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = body.get(at..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (head, after) = rest.split_first_chunk::<4>()?;
        let (code, len) = (u16::from_le_bytes([head[0], head[1]]), usize::from(u16::from_le_bytes([head[2], head[3]])));
        let value = after.get(..len).filter(|_| code != 0)?;
        rest = after.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((code, value))
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|it| u32::from_le_bytes(*it))
}

#[cfg(test)]
mod tests {
    use super::*;
    use weirgate_dataplane::port::pcapng::{Direction, Packet, Writer};

    #[test]
    fn blocks_are_counted_however_they_are_cut() {
        let mut writer = Writer::new(Vec::new()).unwrap();
        writer.interface("gw0").unwrap();
        for lost in [0, 3] {
            let packet = Packet { interface: 0, ns: 1, direction: Direction::Sent, len: 90, lost, bytes: b"abcde" };
            writer.packet(&packet).unwrap();
        }
        writer.statistics(2, 2, 7, Some("it broke")).unwrap();
        let all = std::mem::take(writer.get_mut());
        for cut in 0..=all.len() {
            let (mut tally, mut gone) = (Tally::default(), Vec::new());
            for part in [&all[..cut], &all[cut..]] {
                tally.bytes.extend_from_slice(part);
                let whole = tally.count_whole().unwrap();
                gone.extend(tally.bytes.drain(..whole));
            }
            assert_eq!((gone == all, tally.frames, tally.lost), (true, 2, 7), "cut at {cut}");
            assert_eq!(tally.end, Some(Some("it broke".into())));
        }
        let mut tally = Tally { bytes: b"{\"error\": \"no\"}".to_vec(), ..Tally::default() };
        assert!(tally.count_whole().is_err());
    }
}
