use super::*;
use crate::{
    link::capture::CaptureFilter,
    net::{Cidr, EthernetAddress, Interface, Topology},
    port::{Capabilities, Offloads, Pool, SimPort},
    snapshot::Dataplane,
    time::Instant,
    worker::{Mailboxes, Worker, WorkerOptions},
};
use std::net::IpAddr;

fn plan(asked: &str) -> Result<Filter, String> {
    let asked: CaptureFilter = serde_json::from_str(asked).unwrap();
    let ports = r#"{"cores": [0], "ports": [
        {"name": "p0", "device": "af_packet:a"}, {"name": "p1", "device": "af_packet:b", "vlans": [{"id": 7}]}]}"#;
    Filter::plan(&asked, &serde_json::from_str::<Dataplane>(ports).unwrap())
}

fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], &ethertype.to_be_bytes(), payload].concat()
}

fn tagged(tpid: u16, id: u16, frame: &[u8]) -> Vec<u8> {
    [&frame[..12], &tpid.to_be_bytes(), &id.to_be_bytes(), &frame[12..]].concat()
}

/// From 10.0.0.2 to 10.0.0.1, with options and as a fragment at `offset`.
fn ipv4(protocol: u8, options: usize, offset: u16, transport: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45 + (options / 4) as u8, 0, 0, 0, 0, 0];
    packet.extend((offset / 8).to_be_bytes());
    packet.extend([64, protocol, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1]);
    packet.resize(20 + options, 1);
    ethernet(0x0800, &[&packet, transport].concat())
}

/// From fd00::2 to fd00::1.
fn ipv6(next: u8, rest: &[u8]) -> Vec<u8> {
    let address = |last: u16| std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last).octets();
    ethernet(0x86dd, &[&[0x60, 0, 0, 0, 0, 0, next, 64][..], &address(2), &address(1), rest].concat())
}

fn arp(sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    ethernet(0x0806, &[&[0, 1, 8, 0, 6, 4, 0, 1][..], &[2, 0, 0, 0, 0, 2], &sender, &[0; 6], &target].concat())
}

/// Ports 40000 and 80.
const PORTS: [u8; 8] = [0x9c, 0x40, 0, 80, 0, 0, 0, 0];

#[test]
fn frames_are_told_apart() {
    let tcp4 = ipv4(6, 0, 0, &PORTS);
    let tcp6 = ipv6(6, &PORTS);
    let hop_by_hop = ipv6(0, &[&[6, 1][..], &[0; 14], &PORTS].concat());
    let fragment6 = |offset: u16| ipv6(44, &[&[6, 0][..], &offset.to_be_bytes(), &[0; 4], &PORTS].concat());
    let endless = ipv6(60, &[60, 0, 0, 0, 0, 0, 0, 0].repeat(40));
    let rows: &[(&str, &[u8], bool)] = &[
        (r#"{"host": "10.0.0.1"}"#, &tcp4, true),
        (r#"{"host": "10.0.0.2"}"#, &tcp4, true),
        (r#"{"host": "10.0.0.3"}"#, &tcp4, false),
        (r#"{"host": "fd00::1", "port": 80}"#, &tcp6, true),
        (r#"{"host": "fd00::2", "port": 40000}"#, &tcp6, true),
        (r#"{"host": "10.0.0.1"}"#, &tcp6, false),
        (r#"{"port": 80}"#, &tcp4, true),
        (r#"{"port": 40000}"#, &tcp4, true),
        (r#"{"port": 81}"#, &tcp4, false),
        (r#"{"port": 80, "protocol": "udp"}"#, &tcp4, false),
        (r#"{"port": 80, "protocol": "udp"}"#, &ipv4(17, 0, 0, &PORTS), true),
        (r#"{"port": 80}"#, &ipv4(6, 40, 0, &PORTS), true),
        // Of a later fragment the bytes where ports would stand are content.
        (r#"{"port": 80}"#, &ipv4(6, 0, 8, &PORTS), false),
        (r#"{"protocol": "tcp"}"#, &ipv4(6, 0, 8, &PORTS), true),
        (r#"{"port": 80}"#, &hop_by_hop, true),
        (r#"{"port": 80}"#, &fragment6(0), true),
        (r#"{"port": 80}"#, &fragment6(8), false),
        (r#"{"protocol": "tcp"}"#, &fragment6(8), true),
        (r#"{"protocol": "tcp"}"#, &endless, false),
        (r#"{"host": "fd00::1"}"#, &endless, true),
        (r#"{"protocol": "icmp"}"#, &ipv4(1, 0, 0, &[8, 0, 0, 0]), true),
        (r#"{"protocol": "icmp"}"#, &ipv6(58, &[135, 0]), true),
        (r#"{"protocol": "icmp"}"#, &tcp4, false),
        // Port 80 of nothing that has ports.
        (r#"{"port": 80}"#, &ipv4(1, 0, 0, &PORTS), false),
        (r#"{"protocol": "arp"}"#, &arp([10, 0, 0, 2], [10, 0, 0, 1]), true),
        (r#"{"host": "10.0.0.1"}"#, &arp([10, 0, 0, 2], [10, 0, 0, 1]), true),
        (r#"{"host": "10.0.0.2"}"#, &arp([10, 0, 0, 2], [10, 0, 0, 1]), true),
        (r#"{"host": "10.0.0.3"}"#, &arp([10, 0, 0, 2], [10, 0, 0, 1]), false),
        (r#"{"protocol": "arp"}"#, &tcp4, false),
        (r#"{"interface": "p1.7"}"#, &tagged(0x8100, 7, &tcp4), true),
        (r#"{"interface": "p1.7", "port": 80}"#, &tagged(0x8100, 0xa007, &tcp4), true),
        (r#"{"interface": "p1.7"}"#, &tagged(0x8100, 8, &tcp4), false),
        (r#"{"interface": "p1.7"}"#, &tcp4, false),
        (r#"{"port": 80}"#, &tagged(0x88a8, 9, &tagged(0x8100, 7, &tcp4)), true),
        (r#"{"port": 80}"#, &ethernet(0x88cc, &PORTS), false),
        ("{}", &[], true),
        (r#"{"protocol": "tcp"}"#, &[], false),
    ];
    for (asked, frame, wanted) in rows {
        assert_eq!(plan(asked).unwrap().wants_bytes(frame), *wanted, "{asked} {frame:02x?}");
    }
    // Wherever a frame is cut off, it is looked at, and what is not there does not match.
    for (asked, frame, _) in rows {
        let filter = plan(asked).unwrap();
        (0..frame.len()).for_each(|len| _ = filter.wants_bytes(&frame[..len]));
        let cut = frame.len().min(13);
        assert!(!plan(r#"{"port": 80}"#).unwrap().wants_bytes(&frame[..cut]));
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (asked, why) in [
        (r#"{"interface": "p2"}"#, "there is no interface \"p2\"; there are: p0, p1, p1.7"),
        (r#"{"port": 80, "protocol": "icmp"}"#, "port 80: only TCP and UDP have ports"),
        (r#"{"host": "fd00::1", "protocol": "arp"}"#, "host fd00::1: ARP speaks of IPv4 only"),
        (r#"{"port": 0}"#, "the port is zero"),
        (r#"{"snapLen": 0}"#, "the number of bytes kept is zero"),
        (r#"{"count": 0}"#, "the number of frames is zero"),
        (r#"{"durationMs": 0}"#, "the duration is zero"),
    ] {
        assert_eq!(plan(asked), Err(why.to_owned()), "{asked}");
    }
    assert!(serde_json::from_str::<CaptureFilter>(r#"{"hosts": "10.0.0.1"}"#).is_err());
}

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

fn worker(pool: &Pool) -> Worker<SimPort> {
    let interface = Interface {
        port: PortIndex(0),
        vlan: None,
        mac: EthernetAddress(MAC),
        mtu: 1_500,
        offloads: Offloads::default(),
        addresses: vec![Cidr { address: IpAddr::from([10, 0, 0, 1]), prefix: 24 }],
    };
    let options = WorkerOptions {
        index: 0,
        pool: pool.clone(),
        topology: Arc::new(Topology::new(vec![interface], Vec::new()).unwrap()),
        mailboxes: Mailboxes::new(1),
        seed: 1,
        connections_max: 64,
        services: Vec::new(),
        verify_rss: false,
    };
    Worker::new(vec![SimPort::new(Capabilities::plain("p0", MAC, 1_500))], options)
}

fn arrive(worker: &mut Worker<SimPort>, pool: &Pool, bytes: &[u8]) {
    let mut frame = pool.alloc().unwrap();
    frame.append_slice(bytes).unwrap();
    worker.port_mut(0).arrive(frame);
}

/// Everything that left, which is what somebody on the wire would have seen.
fn leaves(worker: &mut Worker<SimPort>) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| worker.port_mut(0).take_sent()).map(|frame| frame.to_vec()).collect()
}

fn capture(slot: u8, asked: &str, frames: usize) -> (Capture, Arc<Ring>) {
    let ring = Arc::new(Ring::with_frames(frames));
    (Capture { slot, filter: plan(asked).unwrap(), ring: Arc::clone(&ring) }, ring)
}

fn told(ring: &Ring) -> Vec<Captured> {
    std::iter::from_fn(|| ring.pop()).collect()
}

#[test]
fn a_capture_holds_what_came_and_what_went() {
    let pool = Pool::heap(64);
    let mut worker = worker(&pool);
    let mut now = Instant::from_ns(1_000_000);
    let mut turn = |worker: &mut Worker<SimPort>| {
        now = now + crate::time::Duration::from_us(10);
        worker.turn(now);
        now
    };
    let request = arp([10, 0, 0, 2], [10, 0, 0, 1]);
    arrive(&mut worker, &pool, &request);
    turn(&mut worker);
    leaves(&mut worker);
    let (all, everything) = capture(0, "{}", 64);
    let (sent, answers) = capture(3, r#"{"direction": "out", "protocol": "arp", "snapLen": 14}"#, 64);
    worker.begin_capture(all);
    worker.begin_capture(sent);
    let now = turn(&mut worker);
    worker.set_time_of_day(now, 1_700_000_000_000_000_000);
    // The port has no room at first: what waits there has not gone, and goes once.
    worker.port_mut(0).tx_room = 0;
    arrive(&mut worker, &pool, &request);
    // Nobody takes this one, and it has come all the same.
    arrive(&mut worker, &pool, &ethernet(0x88cc, &PORTS));
    let at = turn(&mut worker);
    turn(&mut worker);
    assert_eq!(answers.pop(), None);
    worker.port_mut(0).tx_room = usize::MAX;
    turn(&mut worker);
    let seen = told(&everything);
    let wire = [vec![request.clone(), ethernet(0x88cc, &PORTS)], leaves(&mut worker)].concat();
    assert_eq!(wire.len(), 3, "two came, one went");
    assert_eq!(seen.iter().map(|it| it.bytes.to_vec()).collect::<Vec<_>>(), wire);
    let ways: Vec<_> = seen.iter().map(|it| it.direction).collect();
    assert_eq!(ways, [Direction::Received, Direction::Received, Direction::Sent]);
    assert_eq!(seen[0].at_ns, 1_700_000_000_000_000_000 + at.as_ns() - now.as_ns());
    assert!(seen[2].at_ns > seen[0].at_ns);
    let seen = told(&answers);
    assert_eq!((seen.len(), seen[0].bytes.len(), seen[0].len as usize), (1, 14, wire[2].len()));
    // One ends; the other goes on.
    worker.end_capture(0);
    arrive(&mut worker, &pool, &request);
    turn(&mut worker);
    assert_eq!((everything.pop(), told(&answers).len()), (None, 1));
    worker.end_capture(3);
    arrive(&mut worker, &pool, &request);
    turn(&mut worker);
    assert_eq!((everything.pop(), answers.pop()), (None, None));
}

#[test]
fn a_full_ring_drops_and_counts_and_nobody_waits() {
    let pool = Pool::heap(64);
    let mut worker = worker(&pool);
    // What it says at its start is not looked at.
    worker.turn(Instant::from_ns(1_000_000));
    leaves(&mut worker);
    let (all, ring) = capture(0, "{}", 4);
    worker.begin_capture(all);
    let mut answered = 0;
    for n in 0..10 {
        arrive(&mut worker, &pool, &arp([10, 0, 0, 2], [10, 0, 0, 1]));
        worker.turn(Instant::from_ns(1_000_001 + n));
        answered += leaves(&mut worker).len();
    }
    assert_eq!(answered, 10, "nobody waits for whoever looks");
    let first = told(&ring);
    assert_eq!(first.iter().map(|it| it.lost).collect::<Vec<_>>(), [0; 4]);
    // Those that found no room are told with the next that does.
    arrive(&mut worker, &pool, &arp([10, 0, 0, 2], [10, 0, 0, 1]));
    worker.turn(Instant::from_ns(2_000_000));
    assert_eq!(told(&ring).iter().map(|it| it.lost).collect::<Vec<_>>(), [16, 0]);
    assert_eq!(ring.take_lost(), 0);
}

#[test]
fn a_ring_is_bounded_in_bytes() {
    let ring = Ring::default();
    let large = |lost| Captured {
        port: PortIndex(0),
        direction: Direction::Sent,
        at_ns: 0,
        len: 1 << 20,
        lost,
        bytes: vec![0; 1 << 20].into(),
    };
    (0..20).for_each(|_| ring.push(large(0)));
    assert_eq!((told(&ring).len(), ring.take_lost()), (16, 4));
    ring.push(large(0));
    assert_eq!(told(&ring), [large(0)], "what was taken out makes room");
}
