//! Segments as they leave: header, options, checksum, and what the port does of it.

use super::{
    connection::Hot,
    options::ConnectionOptions,
    segment::{Block, Flags, HEADER_LEN, SACK_BLOCKS_MAX, TIMESTAMPS_ALIGNED, TIMESTAMPS_ALIGNED_LEN, kind},
    seq::Seq,
    table::{FlowKey, address},
};
use crate::{
    counters::Counter,
    net::{Answer, HOP_LIMIT, InterfaceIndex, checksum::Sum, protocol},
    outbox::Outbox,
    port::{Frame, L4, Offloads, TxOffload},
};
use arrayvec::ArrayVec;

/// Bytes of options that fit a header.
const OPTIONS_MAX: usize = 40;

/// Options in the making.
#[derive(Default)]
pub(super) struct Options {
    /// Value and echo; before all others.
    timestamps: Option<(u32, u32)>,
    others: ArrayVec<u8, OPTIONS_MAX>,
}

impl Options {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.others.len() + if self.timestamps.is_some() { TIMESTAMPS_ALIGNED_LEN } else { 0 }
    }
    // rfc9293 3.1 MUST-69: each fills whole words, so neither an end of list nor padding is ever needed.
    fn put(&mut self, bytes: &[u8]) {
        self.others.try_extend_from_slice(bytes).expect("whoever puts options knows that they fit");
    }

    /// Each segment's, when timestamps are on.
    #[inline]
    pub(super) fn timestamps(&mut self, value: u32, echo: u32) {
        if self.others.is_empty() {
            self.timestamps = Some((value, echo));
        } else {
            self.put(&timestamps(value, echo));
        }
    }

    /// What a SYN offers. Timestamps come apart.
    // rfc9293 3.2 MUST-65; rfc2018 2 a: nobody else calls this.
    pub(super) fn syn(&mut self, mss: u16, wscale: Option<u8>, sack: bool) {
        let [high, low] = mss.to_be_bytes();
        // rfc9293 3.7.1 MUST-14, SHLD-5: the MSS option, in each SYN.
        self.put(&[kind::MSS, 4, high, low]);
        if sack {
            self.put(&[kind::NO_OPERATION, kind::NO_OPERATION, kind::SACK_PERMITTED, 2]);
        }
        if let Some(scale) = wscale {
            self.put(&[kind::NO_OPERATION, kind::WINDOW_SCALE, 3, scale]);
        }
    }

    /// As many blocks as fit.
    pub(super) fn sack(&mut self, blocks: &[Block]) {
        let fit = ((OPTIONS_MAX - self.len() - 4) / 8).min(SACK_BLOCKS_MAX);
        let blocks = &blocks[..blocks.len().min(fit)];
        if blocks.is_empty() {
            return;
        }
        self.put(&[kind::NO_OPERATION, kind::NO_OPERATION, kind::SACK, 2 + 8 * blocks.len() as u8]);
        for (left, right) in blocks {
            self.put(&left.0.to_be_bytes());
            self.put(&right.0.to_be_bytes());
        }
    }
}

#[inline]
fn timestamps(value: u32, echo: u32) -> [u8; TIMESTAMPS_ALIGNED_LEN] {
    let mut bytes = [0; TIMESTAMPS_ALIGNED_LEN];
    bytes[..4].copy_from_slice(&TIMESTAMPS_ALIGNED);
    bytes[4..8].copy_from_slice(&value.to_be_bytes());
    bytes[8..].copy_from_slice(&echo.to_be_bytes());
    bytes
}

/// What a segment of ours says, options and payload apart.
pub(super) struct Header {
    pub(super) seq: Seq,
    pub(super) ack: Seq,
    pub(super) flags: Flags,
    /// Scaled already.
    pub(super) window: u16,
}

/// Puts a header before the payload that `frame` holds. `mss`: the port is to cut the payload into pieces of that size.
#[inline(always)]
pub(super) fn emit(
    key: &FlowKey,
    header: &Header,
    options: &Options,
    mss: Option<u16>,
    frame: &mut Frame,
    offloads: Offloads,
    out: &mut Outbox,
) {
    let header_len = HEADER_LEN + options.len();
    let segment_len = (header_len + frame.len()) as u32;
    let payload =
        if offloads.l4_checksum || frame.is_empty() { Sum::default() } else { Sum::default().add_frame(frame, 0) };
    let bytes = &mut frame.prepend(header_len).expect("every frame of ours has room for headers")[..header_len];
    let (fixed, rest) = bytes.split_first_chunk_mut::<HEADER_LEN>().expect("as long as was asked for");
    fixed[..4].copy_from_slice(&key.ports.to_be_bytes());
    fixed[4..8].copy_from_slice(&header.seq.0.to_be_bytes());
    fixed[8..12].copy_from_slice(&header.ack.0.to_be_bytes());
    fixed[12] = ((header_len / 4) as u8) << 4;
    fixed[13] = header.flags.0;
    fixed[14..16].copy_from_slice(&header.window.to_be_bytes());
    fixed[16..20].fill(0);
    match (options.timestamps, rest.split_first_chunk_mut()) {
        (Some((value, echo)), Some((first, others))) => {
            *first = timestamps(value, echo);
            others.copy_from_slice(&options.others);
        }
        _ => rest.copy_from_slice(&options.others),
    }
    // rfc9293 3.1 MUST-2: every segment has a checksum, whoever computes it.
    let pseudo = key.pseudo_sum().add(&segment_len.to_be_bytes()).add_u16(u16::from(protocol::TCP));
    let checksum = if offloads.l4_checksum {
        // A device that cuts puts each piece's length in itself.
        let pseudo = if mss.is_some() { key.pseudo_sum().add_u16(u16::from(protocol::TCP)) } else { pseudo };
        out.counters.count(Counter::ChecksumsOffloaded);
        pseudo.partial()
    } else {
        pseudo.join(payload).add(bytes).checksum()
    };
    bytes[16..18].copy_from_slice(&checksum.to_be_bytes());
    if offloads.l4_checksum {
        frame.set_tx_offload(TxOffload {
            l4_len: header_len as u8,
            l4_checksum: Some(L4::Tcp),
            tso_segment: mss.unwrap_or(0),
            ipv6: key.is_ipv6(),
            ..TxOffload::default()
        });
    }
}

/// What the IP header of a connection's packets says, as the application chooses.
#[derive(Clone, Copy)]
pub(super) struct Class {
    /// DSCP in the upper six bits.
    pub(super) traffic_class: u8,
    pub(super) hop_limit: u8,
}

impl Default for Class {
    /// Of what belongs to no connection.
    fn default() -> Self {
        Self { traffic_class: 0, hop_limit: HOP_LIMIT }
    }
}

impl Class {
    // rfc9293 3.9.1.9 SHLD-22: the DSCP unchanged.
    pub(super) fn of(options: &ConnectionOptions) -> Self {
        Self { traffic_class: options.dscp << 2, hop_limit: options.hop_limit.max(1) }
    }
}

/// Where a segment goes, in words: an [`Answer`] is written in parts, which is slow to copy as a whole soon after.
pub(super) struct Route {
    local: [u64; 2],
    remote: [u64; 2],
    interface: InterfaceIndex,
    traffic_class: u8,
    hop_limit: u8,
}

impl Route {
    #[inline]
    pub(super) fn new(key: &FlowKey, interface: InterfaceIndex, traffic_class: u8, hop_limit: u8) -> Self {
        Self { local: key.local, remote: key.remote, interface, traffic_class, hop_limit }
    }
    #[inline]
    pub(super) fn answer(&self) -> Answer {
        let (source, destination) = (address(self.local), address(self.remote));
        let Self { interface, traffic_class, hop_limit, .. } = *self;
        Answer { interface, source, destination, protocol: protocol::TCP, traffic_class, hop_limit }
    }
}

impl Hot {
    /// What our next segment acknowledges and announces, with the window that the receive side has settled on.
    #[inline(always)]
    pub(super) fn header(&mut self, seq: Seq, flags: u8) -> Header {
        // Rounded up: an edge that was announced does not move left because the scale is coarse. What the peer reads then is the edge.
        // But not for ever, or whoever sends byte by byte would never see the window close.
        let (window, unit) = (self.rcv_adv.since(self.rcv_nxt), 1 << self.rcv_wscale);
        let room = (self.rcv_buffer + unit).saturating_sub(self.rcv_unconsumed);
        let up = (window + unit - 1) >> self.rcv_wscale;
        // rfc7323 2.3 e: shifted right; a SYN has no such header.
        let scaled = if up << self.rcv_wscale <= room { up } else { window >> self.rcv_wscale }.min(0xffff);
        self.rcv_adv = self.rcv_adv.max(self.rcv_nxt + (scaled << self.rcv_wscale));
        Header { seq, ack: self.rcv_nxt, flags: Flags(flags | Flags::ACK), window: scaled as u16 }
    }
}

impl FlowKey {
    /// The addresses' part of the checksum. An IPv4-mapped word adds 0xffff, which is zero to ones' complement, so both families are summed alike.
    #[inline]
    fn pseudo_sum(&self) -> Sum {
        let [a, b] = self.local;
        let [c, d] = self.remote;
        Sum::default().add_u64(a).add_u64(b).add_u64(c).add_u64(d)
    }
}
