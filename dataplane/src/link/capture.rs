//! What is said of captures: which frames are wanted, and the frames.

use crate::capture::{Captured, Direction};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::net::IpAddr;

/// Which frames are wanted: those that fit everything that is said.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct CaptureFilter {
    /// Through this port only, or (`NAME.ID`) through this VLAN of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// This way only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<Way>,
    /// From or to this address, or about it (ARP).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<IpAddr>,
    /// From or to this port of TCP or UDP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Of this protocol only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Keep so many bytes of each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snap_len: Option<u16>,
    /// End after so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// End after so many milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
}

/// Which way a frame goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Way {
    /// It comes in.
    In,
    /// It goes out.
    Out,
}

/// What a frame carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP or ICMPv6, neighbour discovery with it.
    Icmp,
    /// ARP.
    Arp,
}

/// A frame that was seen.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CapturedFrame {
    /// Its port's place among those that [`Answer::Capturing`](super::message::Answer::Capturing) names.
    pub interface: u8,
    /// Which way it went.
    pub direction: Way,
    /// When, in nanoseconds of 1970.
    pub at_ns: u64,
    /// Its length; there may be fewer bytes here.
    pub len: u32,
    /// Frames that were wanted and found no room, since the one before.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost: u64,
    /// Its first bytes, in hexadecimal.
    #[serde(serialize_with = "write", deserialize_with = "read")]
    pub bytes: Vec<u8>,
}

impl From<Captured> for CapturedFrame {
    fn from(Captured { port, direction, at_ns, len, lost, bytes }: Captured) -> Self {
        let direction = match direction {
            Direction::Received => Way::In,
            Direction::Sent => Way::Out,
        };
        Self { interface: port.0, direction, at_ns, len, lost, bytes: bytes.into() }
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn write<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    let digit = |it: u8| char::from(b"0123456789abcdef"[usize::from(it)]);
    let mut text = String::with_capacity(2 * bytes.len());
    bytes.iter().for_each(|it| text.extend([digit(it >> 4), digit(it & 15)]));
    to.serialize_str(&text)
}

fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(from)?;
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |it: u8| char::from(it).to_digit(16).map(|it| it as u8);
    let byte = |pair: &[u8; 2]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
    let bytes = if rest.is_empty() { pairs.iter().map(byte).collect() } else { None };
    bytes.ok_or_else(|| D::Error::custom("these are no bytes in hexadecimal"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_as_they_were_written() {
        let frame = CapturedFrame {
            interface: 1,
            direction: Way::Out,
            at_ns: 5,
            len: 256,
            lost: 0,
            bytes: (0..=255).collect(),
        };
        let text = serde_json::to_string(&frame).unwrap();
        assert_eq!(serde_json::from_str::<CapturedFrame>(&text).unwrap(), frame);
        for wrong in ["\"f\"", "\"fg\"", "\"+1\"", "\"é\"", "7"] {
            let text = text.split("\"bytes\":").next().unwrap().to_owned() + "\"bytes\":" + wrong + "}";
            assert!(serde_json::from_str::<CapturedFrame>(&text).is_err(), "{wrong}");
        }
    }
}
