//! Names of devices, as an operator writes them: `0000:01:00.0`, or `KIND:TARGET` with options for the driver behind commas.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};

/// A device and what its driver is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// What it is.
    pub kind: DeviceKind,
    /// A PCI address, an interface, a socket or a folder of the host, by kind; empty for `null`.
    pub target: String,
    /// Further `key=value` arguments for the DPDK driver, as they are.
    pub arguments: Vec<String>,
}

/// What a device is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceKind {
    /// A NIC by its PCI address, on vfio-pci or a bifurcated driver.
    Pci,
    /// An interface of the host through AF_XDP sockets.
    AfXdp,
    /// An interface of the host through AF_PACKET sockets.
    AfPacket,
    /// An interface of the host that this makes.
    Tap,
    /// Shared memory with another process, by its socket.
    Memif,
    /// A virtio device whose other end is a vhost socket.
    VirtioUser,
    /// The vhost end of a virtio device.
    Vhost,
    /// Files: `rx_pcap=IN,tx_pcap=OUT` in the arguments.
    Pcap,
    /// Swallows everything, and gives empty frames without end unless it is told `no-rx=1`.
    Null,
}

impl DeviceKind {
    const VIRTUAL: [(&'static str, Self); 8] = [
        ("af_xdp", Self::AfXdp),
        ("af_packet", Self::AfPacket),
        ("tap", Self::Tap),
        ("memif", Self::Memif),
        ("virtio_user", Self::VirtioUser),
        ("vhost", Self::Vhost),
        ("pcap", Self::Pcap),
        ("null", Self::Null),
    ];

    /// As it stands before the colon.
    pub fn name(self) -> &'static str {
        Self::VIRTUAL.iter().find(|(_, kind)| *kind == self).map_or("pci", |(name, _)| name)
    }
    /// Whether it works without hardware, and so without hugepages.
    pub fn is_virtual(self) -> bool {
        self != Self::Pci
    }
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let first = parts.next().unwrap_or_default();
        let arguments: Vec<String> = parts.map(str::to_owned).collect();
        let sound = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_graphic());
        if let Some(wrong) = arguments.iter().find(|a| !sound(a) || !a.contains('=')) {
            return Err(format!("device {text:?}: {wrong:?} is not an argument of the form key=value"));
        }
        if is_pci_address(first) {
            return Ok(Self { kind: DeviceKind::Pci, target: first.to_ascii_lowercase(), arguments });
        }
        let (name, target) = first.split_once(':').unwrap_or((first, ""));
        let Some((_, kind)) = DeviceKind::VIRTUAL.iter().find(|(known, _)| *known == name) else {
            let known: Vec<_> = DeviceKind::VIRTUAL.iter().map(|(name, _)| *name).collect();
            return Err(format!(
                "device {text:?} is neither a PCI address such as 0000:01:00.0 nor one of {}",
                known.join(", ")
            ));
        };
        let needs_target = !matches!(kind, DeviceKind::Null | DeviceKind::Pcap);
        let fits = if needs_target { sound(target) } else { target.is_empty() };
        if !fits {
            return Err(format!(
                "device {text:?}: {name} {} a target after a colon",
                if needs_target { "needs" } else { "takes no" }
            ));
        }
        Ok(Self { kind: *kind, target: target.to_owned(), arguments })
    }
}

impl Device {
    /// Whether the process at the other end maps our packet memory.
    pub fn shares_memory(&self) -> bool {
        self.kind == DeviceKind::VirtioUser
            || (self.kind == DeviceKind::Memif && self.arguments.iter().any(|a| a == "zero-copy=yes"))
    }
}

/// `dddd:bb:dd.f`, all hexadecimal but the function.
fn is_pci_address(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 12
        && bytes.iter().enumerate().all(|(at, b)| match at {
            4 | 7 => *b == b':',
            10 => *b == b'.',
            11 => (b'0'..=b'7').contains(b),
            _ => b.is_ascii_hexdigit(),
        })
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            DeviceKind::Pci => f.write_str(&self.target)?,
            kind if self.target.is_empty() => f.write_str(kind.name())?,
            kind => write!(f, "{}:{}", kind.name(), self.target)?,
        }
        self.arguments.iter().try_for_each(|a| write!(f, ",{a}"))
    }
}

impl Serialize for Device {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Device {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_and_written() {
        for (text, kind, target) in [
            ("0000:01:00.0", DeviceKind::Pci, "0000:01:00.0"),
            ("0000:3b:00.1,representor=[0]", DeviceKind::Pci, "0000:3b:00.1"),
            ("af_xdp:gw0", DeviceKind::AfXdp, "gw0"),
            ("af_packet:gw0,qdisc_bypass=0", DeviceKind::AfPacket, "gw0"),
            ("memif:/run/m.sock,role=client,id=3", DeviceKind::Memif, "/run/m.sock"),
            ("pcap,rx_pcap=in.pcap,tx_pcap=out.pcap", DeviceKind::Pcap, ""),
            ("null", DeviceKind::Null, ""),
        ] {
            let device: Device = text.parse().unwrap();
            assert_eq!((device.kind, device.target.as_str(), device.to_string()), (kind, target, text.to_owned()));
        }
        for wrong in [
            "",
            "eth0",
            "af_packet",
            "af_packet:",
            "0000:01:00",
            "0000:01:00.9",
            "null:x",
            "null: x",
            "pcap:a b",
            "tap:a b",
            "tap:x,y",
        ] {
            assert!(wrong.parse::<Device>().is_err(), "{wrong}");
        }
    }
}
