//! Header prediction (Van Jacobson): the segment that comes next on most connections of a gateway, data in order that acknowledges all we have
//! sent, is known by a few comparisons and takes a short way. What is not quite so takes the way of `receive`, which would do just the same with
//! this one; a test holds both against each other.

use super::{
    Tcp,
    connection::{Marks, State},
    segment::{Flags, Segment},
};
use crate::{outbox::Outbox, port::Frame, time::Instant};

/// Of these a connection about which there is nothing special has the timestamps, and no other.
const SPECIAL: u32 = Marks::TIMESTAMPS
    | Marks::PERSIST
    | Marks::PROBED
    | Marks::CLOSED
    | Marks::RELEASED
    | Marks::PEER_CLOSED
    | Marks::FIN_SENT
    | Marks::DSACK
    | Marks::WANTS_ROOM;

impl Tcp {
    /// Whether this is the segment that was to be expected.
    #[inline(always)]
    pub(super) fn is_predicted(&self, i: usize, segment: &Segment) -> bool {
        #[cfg(test)]
        if self.unpredicted {
            return false;
        }
        let hot = &self.connections.hot[i];
        let Some((value, _)) = segment.timestamps else { return false };
        hot.state == State::Established
            && hot.marks.0 & SPECIAL == Marks::TIMESTAMPS
            && segment.flags.0 & !Flags::PSH == Flags::ACK
            && segment.seq == hot.rcv_nxt
            && segment.ack == hot.snd_nxt
            // Some, and within the window.
            && segment.payload_len.wrapping_sub(1) < hot.rcv_adv - hot.rcv_nxt
            // rfc7323 5.3 R1
            && value.wrapping_sub(hot.ts_recent) as i32 >= 0
            && hot.flight.is_none()
            && hot.assembler.is_none()
            && segment.blocks.is_empty()
            && !segment.ce
            && !self.is_short_of_frames(hot.is_behind())
    }

    /// Takes it.
    #[inline(always)]
    pub(super) fn take_predicted(
        &mut self,
        now: Instant,
        i: usize,
        segment: &Segment,
        payload_at: usize,
        mut frame: Frame,
        out: &mut Outbox,
    ) {
        self.hear(now, i);
        let hot = &mut self.connections.hot[i];
        // rfc7323 4.3: our last acknowledgment was of all before it.
        if let Some((value, _)) = segment.timestamps
            && hot.last_ack_sent == segment.seq
        {
            hot.ts_recent = value;
        }
        self.take_window(i, segment);
        if self.connections.hot[i].marks.has(Marks::LONE) {
            self.acknowledge_lone(now, i, segment, out);
        }
        frame.trim_front(payload_at);
        self.deliver(now, i, segment.payload_len, frame);
        self.touch(i);
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use crate::{
        net::{Cidr, Interface, PortIndex, protocol},
        port::Pool,
    };
    use proptest::prelude::*;
    use segment::Flags;
    use smoltcp::wire::EthernetAddress;
    use std::net::IpAddr;

    /// An engine, what stands around it, and what it said last.
    struct End {
        tcp: Tcp,
        out: Outbox,
        heard: Vec<String>,
        id: Option<ConnectionId>,
    }

    const OURS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const THEIRS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    impl End {
        fn new(unpredicted: bool) -> Self {
            let interface = Interface {
                port: PortIndex(0),
                vlan: None,
                mac: EthernetAddress([2, 0, 0, 0, 0, 1]),
                mtu: 1_500,
                offloads: Offloads::default(),
                addresses: vec![Cidr { address: OURS, prefix: 24 }],
            };
            let topology = Topology::new(vec![interface], Vec::new()).unwrap();
            let options = TcpOptions { connections_max: 4, ..TcpOptions::new(1, 512) };
            let mut tcp = Tcp::new(Arc::new(topology), options);
            tcp.unpredicted = unpredicted;
            tcp.listen(Listen { address: None, ports: 80..=80, options: ConnectionOptions::default() }).unwrap();
            Self { tcp, out: Outbox::new(Pool::heap(512), 1, true), heard: Vec::new(), id: None }
        }

        fn hear(&mut self, now: Instant, segment: &[u8], ce: bool) {
            let mut frame = self.out.make().unwrap();
            frame.append_slice(segment).unwrap();
            let packet = Packet {
                interface: InterfaceIndex(0),
                source: THEIRS,
                destination: OURS,
                protocol: protocol::TCP,
                protocol_at: 9,
                hop_limit: 64,
                traffic_class: if ce { 3 } else { 0 },
                group: false,
                network_at: 0,
                transport_at: 0,
                transport_len: segment.len(),
            };
            let mut burst = Segments::new();
            burst.push((packet, frame));
            self.tcp.handle_burst(now, &mut burst, &mut self.out);
        }

        /// The end of a turn; the application answers each message with `answer` bytes.
        fn turn(&mut self, now: Instant, answer: usize) {
            self.heard.clear();
            self.tcp.handle_timers(now, &mut self.out);
            while let Some(event) = self.tcp.poll_event() {
                self.heard.push(format!("{event:?}"));
                match event {
                    Event::Accepted { id, .. } => self.id = Some(id),
                    Event::Received { id, frame } => {
                        self.heard.push(format!("{:?}", frame.to_vec()));
                        self.tcp.consume(id, frame.len() as u32);
                        self.out.consume(frame);
                        if answer > 0 {
                            let mut frame = self.out.make().unwrap();
                            frame.append_slice(&vec![7; answer]).unwrap();
                            if let Err(frame) = self.tcp.send(id, frame, &mut self.out) {
                                self.out.consume(frame);
                            }
                        }
                    }
                    _ => {}
                }
            }
            self.tcp.flush(now, &mut self.out);
            while let Some((answer, frame)) = self.tcp.poll_transmit() {
                self.heard.push(format!("{answer:?} {:?}", frame.to_vec()));
                self.out.consume(frame);
            }
            self.out.free_discards();
            self.tcp.check(now).unwrap();
            self.heard.extend(self.tcp.conns(now).map(|report| format!("{report:?}")));
        }

        fn hot(&self) -> &Hot {
            &self.tcp.connections.hot[self.id.unwrap().index()]
        }
    }

    fn segment(seq: u32, ack: u32, flags: u8, window: u16, timestamps: [u32; 2], rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x30, 0x39, 0, 80];
        bytes.extend(seq.to_be_bytes());
        bytes.extend(ack.to_be_bytes());
        let options = if flags & Flags::SYN != 0 { 16 } else { 12 };
        bytes.extend([((20 + options) / 4) << 4, flags]);
        bytes.extend(window.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend([1, 1, 8, 10]);
        bytes.extend(timestamps.iter().flat_map(|word| word.to_be_bytes()));
        if flags & Flags::SYN != 0 {
            bytes.extend([4, 2, 1, 1]);
        }
        bytes.extend(rest);
        bytes
    }

    #[derive(Clone, Debug)]
    struct Step {
        ms: u64,
        len: usize,
        answer: usize,
        flags: u8,
        window: u16,
        ce: bool,
        /// Mostly nothing: distances from the number, acknowledgment and timestamp that are expected.
        ahead: i32,
        unacked: u32,
        older: u32,
    }

    fn step() -> impl Strategy<Value = Step> {
        let mostly = |other: std::ops::Range<i32>| prop_oneof![4 => Just(0), 1 => other];
        let numbers = (mostly(-30..30), mostly(0..200), mostly(0..3));
        let flags = prop_oneof![6 => Just(Flags::ACK), 6 => Just(Flags::ACK | Flags::PSH), 1 => any::<u8>().prop_map(|f| f & !Flags::RST)];
        let sizes = (0usize..40, prop_oneof![Just(0usize), 1usize..200, 600usize..2_000]);
        (
            prop_oneof![8 => 0u64..5, 1 => 0u64..900],
            sizes,
            flags,
            prop_oneof![Just(60_000u16), any::<u16>()],
            0..20u8,
            numbers,
        )
            .prop_map(|(ms, (len, answer), flags, window, ce, (ahead, unacked, older))| Step {
                ms,
                len,
                answer,
                flags,
                window,
                ce: ce == 0,
                ahead,
                unacked: unacked as u32,
                older: older as u32,
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn a_segment_that_was_predicted_does_what_it_would_have_done_anyway(steps in prop::collection::vec(step(), 1..60)) {
            let mut now = Instant::from_ns(5_000_000_000);
            let mut ends = [End::new(false), End::new(true)];
            for end in &mut ends {
                end.hear(now, &segment(1_000, 0, Flags::SYN, 60_000, [1, 0], &[]), false);
                end.turn(now, 0);
                let iss = end.tcp.half_open.record(0).iss;
                end.hear(now, &segment(1_001, iss.0.wrapping_add(1), Flags::ACK, 60_000, [1, 0], &[]), false);
                end.turn(now, 0);
            }
            for step in steps {
                now = now + Duration::from_ms(step.ms);
                for end in &mut ends {
                    let hot = end.hot();
                    let value = 1 + (now.as_ns() / 1_000_000) as u32 - step.older;
                    let (seq, ack) = (hot.rcv_nxt.0.wrapping_add_signed(step.ahead), hot.snd_nxt.0.wrapping_sub(step.unacked));
                    let text = vec![step.len as u8; step.len];
                    let echo = (now.as_ns() / 1_000_000) as u32;
                    end.hear(now, &segment(seq, ack, step.flags, step.window, [value, echo], &text), step.ce);
                    end.turn(now, step.answer);
                }
                prop_assert_eq!(&ends[0].heard, &ends[1].heard);
            }
        }
    }
}
