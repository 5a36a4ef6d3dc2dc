//! One connection and its model hear the same segments.
//!
//! ```text
//!   input:   setup  record record ...
//!   record:  action  number  acknowledgment  length  time
//! ```
//! Numbers are near the edges that matter, so that most segments are nearly right. The peer's text is a function of its place, or of its place
//! and the segment where two lie about the same place.

use super::{
    bench::{Bench, LOCAL, REMOTE, Text},
    model::{Due, Model, Said},
};
use crate::{
    drops::Drop,
    tcp::{ConnectionId, ConnectionOptions, End, Event, Listen, segment::Flags},
    time::Duration,
};

const IRS: u32 = 0xffff_e000;
const PORTS: (u16, u16) = (40_000, 7);
const CHALLENGE: Duration = Duration::from_ms(500);

/// What the engine has told its application.
#[derive(Default)]
struct Heard {
    id: Option<ConnectionId>,
    bytes: Vec<u8>,
    peer_closed: bool,
    ended: Option<End>,
    events: u32,
}

impl Heard {
    fn take(&mut self, bench: &mut Bench, event: Event) {
        self.events += 1;
        assert!(self.ended.is_none(), "nothing comes after the end");
        match event {
            Event::Accepted { id, .. } => self.id = Some(id),
            Event::Received { id, frame } => {
                let before = self.bytes.len();
                frame.segments().for_each(|part| self.bytes.extend_from_slice(part));
                assert!(self.bytes.len() > before, "something was received");
                bench.out.consume(frame);
                bench.tcp.consume(id, (self.bytes.len() - before) as u32);
            }
            Event::PeerClosed { .. } => {
                assert!(!self.peer_closed, "the peer closes once");
                self.peer_closed = true;
            }
            Event::Closed { reason, .. } => self.ended = Some(reason),
            Event::Connected { .. } | Event::Writable { .. } | Event::Trouble { .. } => {}
        }
    }
}

/// The engine takes, acknowledges and hands up what the model does, and ends when it does.
pub fn tcp_segments(data: &[u8]) {
    let Some((&setup, mut rest)) = data.split_first() else { return };
    let mut bench = Bench::new(4_096, setup, |_| {});
    let listen = Listen { address: None, ports: PORTS.1..=PORTS.1, options: ConnectionOptions::default() };
    bench.tcp.listen(listen).expect("a free port");
    let mut heard = Heard::default();
    let stamps = (setup & 2 != 0).then_some(1_000);
    let Some(iss) = open(&mut bench, &mut heard, stamps, setup) else { return };
    let id = heard.id.expect("it was accepted");
    let mut model = Model::new(bench.now, stamps, 4_000, CHALLENGE);
    let mut closed = false;
    let mut clock = 1_000;
    while let Some((&[action, number, acknowledgment, length, time], after)) = rest.split_first_chunk::<5>() {
        rest = after;
        let time = Duration::from_us([0, 0, 200, 45_000, 501_000][usize::from(time % 5)]);
        if time > Duration::ZERO {
            clock += time.as_us() as u32 / 1_000;
            bench.pass(time, |bench, event| heard.take(bench, event));
            note_sent(&mut bench, &mut model);
        }
        if heard.ended.is_some() {
            // Our FIN was never acknowledged; what the model knows of time ends here.
            assert!(closed && heard.ended == Some(End::TimedOut));
            break;
        }
        if action & 0x1f == 0x1f && !closed {
            closed = true;
            bench.tcp.close(id, &mut bench.out);
            bench.settle(&mut |bench, event| heard.take(bench, event));
            model.close();
            note_sent(&mut bench, &mut model);
            continue;
        }
        let report = bench.tcp.conn(bench.now, id).expect("it is open");
        let edge = model.next + i64::from(report.rcv_wnd);
        assert!(edge >= model.edge || model.peer_closed, "the window's edge does not move left");
        model.edge = model.edge.max(edge);
        let said = segment(&model, action, number, acknowledgment, length, stamps.map(|_| clock));
        let (due, outstanding) = (model.arrive(bench.now, &said), model.fin_outstanding());
        let events = heard.events;
        assert!(bench.hear(REMOTE, &bytes(&said, iss, stamps.is_some())));
        bench.settle(&mut |bench, event| heard.take(bench, event));
        // Where its memory ends the engine may forget what the model remembers; and of two liars about the end of the text it may believe either.
        let limits = [Drop::TcpReassemblyRuns, Drop::TcpReassemblyFull, Drop::TcpReassemblyGivenUp, Drop::TcpAfterFin];
        if limits.iter().any(|reason| bench.out.counters.drops(*reason) > 0) {
            break;
        }
        let taken = heard.events > events;
        compare(&mut bench, &mut model, &heard, due, outstanding, taken, &said);
        if matches!(due, Due::Reset | Due::Done) {
            break;
        }
    }
    bench.end();
}

/// What both must agree on after each segment.
fn compare(bench: &mut Bench, model: &mut Model, heard: &Heard, due: Due, outstanding: bool, taken: bool, said: &Said) {
    let differs = heard.bytes.iter().zip(&model.delivered).position(|(a, b)| a != b);
    let lens = (heard.bytes.len(), model.delivered.len());
    assert!(differs.is_none() && lens.0 == lens.1, "the text differs at {differs:?}, lengths {lens:?}, after {said:?}");
    assert_eq!(heard.peer_closed, model.peer_closed, "after {said:?}");
    match due {
        Due::Reset => return assert_eq!(heard.ended, Some(End::Reset), "after {said:?}"),
        Due::Done => return assert_eq!(heard.ended, Some(End::Graceful), "after {said:?}"),
        _ => assert_eq!(heard.ended, None, "after {said:?}"),
    }
    let sent = note_sent(bench, model);
    if outstanding {
        return; // the FIN may come between, and is sent again in its own time
    }
    let allowed = match due {
        // A window that opens may be told.
        Due::Silence => 0..=u32::from(taken),
        Due::Soon => 0..=1,
        Due::Ack => 1..=2,
        Due::Reset | Due::Done => unreachable!("handled above"),
    };
    assert!(
        allowed.contains(&sent),
        "{sent} segments where {due:?} was due at {:?}, after {said:?}; {model:?}",
        bench.now
    );
}

/// What the engine says of the peer's text. How many segments that were.
fn note_sent(bench: &mut Bench, model: &mut Model) -> u32 {
    let sent = std::mem::take(&mut bench.sent);
    for (_, bytes) in &sent {
        let ack = u32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        let flags = bytes[13];
        assert!(flags & Flags::RST == 0 && flags & Flags::ACK != 0, "no reset is due, {flags:02x}");
        assert_eq!(offset(ack, IRS), model.next, "what is acknowledged is what has come");
        model.acked = model.next;
    }
    sent.len() as u32
}

/// The handshake. Our first number; `None`: the peer's window is scaled in a way that the model does not know.
fn open(bench: &mut Bench, heard: &mut Heard, stamps: Option<u32>, setup: u8) -> Option<u32> {
    let mut options = vec![2, 4, 0x03, 0xe8];
    if setup & 4 != 0 {
        options.extend_from_slice(&[1, 1, 4, 2]);
    }
    if setup & 8 != 0 {
        options.extend_from_slice(&[1, 3, 3, 0]);
    }
    if let Some(value) = stamps {
        options.extend_from_slice(&[1, 1, 8, 10]);
        options.extend_from_slice(&value.to_be_bytes());
        options.extend_from_slice(&[0; 4]);
    }
    let syn =
        Text { ports: PORTS, seq: IRS, ack: 0, flags: Flags::SYN, window: 4_000, options: &options, payload: &[] };
    bench.hear(REMOTE, &syn.bytes());
    bench.settle(&mut |bench, event| heard.take(bench, event));
    let (_, answer) = std::mem::take(&mut bench.sent).into_iter().next()?;
    let iss = u32::from_be_bytes([answer[4], answer[5], answer[6], answer[7]]);
    let ack = Said {
        seq: 0,
        ack: 0,
        syn: false,
        fin: false,
        rst: false,
        has_ack: true,
        window: 4_000,
        timestamp: stamps,
        text: Vec::new(),
    };
    bench.hear(REMOTE, &bytes(&ack, iss, stamps.is_some()));
    bench.settle(&mut |bench, event| heard.take(bench, event));
    bench.sent.clear();
    debug_assert_eq!(LOCAL.len(), 4);
    Some(iss)
}

/// A segment near what is expected.
fn segment(model: &Model, action: u8, number: u8, acknowledgment: u8, length: u8, clock: Option<u32>) -> Said {
    let steps = i64::from(number >> 2);
    let seq = match number & 3 {
        0 => model.next,
        1 => model.next + steps * 50,
        2 => model.next - steps * 30,
        _ => model.edge - 32 + steps,
    };
    let seq = if number == 0xff { seq + (1 << 30) } else { seq };
    let ack = match acknowledgment {
        0..=199 => 0,
        200..=219 => 1,
        220..=229 => 2,
        230..=239 => -1,
        240..=244 => -3_999,
        245..=249 => -4_001,
        _ => 1 << 20,
    };
    // Our FIN, if there is one, is acknowledged by what acknowledges most.
    let kind = action & 0x1f;
    let text_len = if length & 0x80 != 0 { 0 } else { usize::from(length & 0x7f) * 11 };
    let lie = if action & 0x80 != 0 { number ^ acknowledgment } else { 0 };
    let text = (seq..seq + text_len as i64).map(|at| (at ^ at >> 8) as u8 ^ lie).collect();
    let timestamp = clock.map(|clock| match action >> 5 & 3 {
        2 if kind < 8 => Some(clock.wrapping_sub(2_000)),
        0..=2 => Some(clock),
        _ if kind < 4 => None,
        _ => Some(clock + 1),
    });
    Said {
        seq,
        ack,
        syn: kind == 0x1e,
        fin: matches!(kind, 0x18..=0x1b),
        rst: kind == 0x1d,
        has_ack: kind != 0x1c,
        window: 4_000,
        timestamp: timestamp.flatten(),
        text,
    }
}

fn bytes(said: &Said, iss: u32, stamped: bool) -> Vec<u8> {
    let flag = |on: bool, bit: u8| if on { bit } else { 0 };
    let flags = flag(said.syn, Flags::SYN)
        | flag(said.fin, Flags::FIN)
        | flag(said.rst, Flags::RST)
        | flag(said.has_ack, Flags::ACK);
    let mut options = Vec::new();
    if let Some(value) = said.timestamp.filter(|_| stamped) {
        options.extend_from_slice(&[1, 1, 8, 10]);
        options.extend_from_slice(&value.to_be_bytes());
        options.extend_from_slice(&[0; 4]);
    }
    let number = |first: u32, at: i64| first.wrapping_add(1).wrapping_add(at as u32);
    let (seq, ack) = (number(IRS, said.seq), number(iss, said.ack));
    let window = said.window as u16;
    Text { ports: PORTS, seq, ack, flags, window, options: &options, payload: &said.text }.bytes()
}

/// The place of a number in the peer's text.
fn offset(number: u32, first: u32) -> i64 {
    i64::from(number.wrapping_sub(first).wrapping_sub(1) as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_and_the_model_agree() {
        let mut random = fastrand::Rng::with_seed(0x0070_6372);
        for n in 0..20_000 {
            let len = random.usize(1..60) * 5 + 1;
            let data: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(len).collect();
            if std::panic::catch_unwind(|| tcp_segments(&data)).is_err() {
                let hex: String = data.iter().map(|b| format!("{b:02x}")).collect();
                panic!("case {n}: {hex}");
            }
        }
    }
}
