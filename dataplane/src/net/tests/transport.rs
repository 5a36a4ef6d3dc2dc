//! TCP and UDP up to their checksums.

use super::*;

fn v4(protocol: u8, message: &[u8]) -> Vec<u8> {
    from_peer4(&FROM_PEER4.packet(protocol, message))
}
fn v6(protocol: u8, message: &[u8]) -> Vec<u8> {
    from_peer6(&FROM_PEER6.packet(protocol, message))
}
fn changed(mut message: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    message[at..at + bytes.len()].copy_from_slice(bytes);
    message
}
/// What a kernel leaves for its device to finish: the sum of the pseudo-header, not inverted.
fn half_made(
    source: impl Into<IpAddr>,
    destination: impl Into<IpAddr>,
    protocol: u8,
    at: usize,
    message: Vec<u8>,
) -> Vec<u8> {
    let sum = !internet_checksum(&[&pseudo_header(source.into(), destination.into(), protocol, message.len())]);
    changed(message, at, &sum.to_be_bytes())
}

#[test]
fn sound_messages_are_handed_up() {
    for frame in [
        v4(UDP, &udp(PEER4, US4, b"")),
        v4(UDP, &udp(PEER4, US4, b"odd")),
        v6(UDP, &udp(PEER6, US6, b"odd")),
        v4(TCP, &tcp(PEER4, US4, 5, b"")),
        v4(TCP, &tcp(PEER4, US4, 6, &[2, 4, 5, 0xb4])),
        v6(TCP, &tcp(PEER6, US6, 15, &[1; 40])),
        v6(TCP, &tcp(PEER6, US6, 5, b"data!")),
    ] {
        let mut gw = Gateway::new();
        assert!(matches!(gw.hear(&frame), Fate::Up(_)), "{}", hex(&[frame])[0]);
    }
}

#[test]
fn a_message_may_come_in_several_buffers_after_its_header() {
    let mut gw = Gateway::new();
    let frame = v4(TCP, &tcp(PEER4, US4, 5, &[7; 101]));
    for cuts in [&[54][..], &[55], &[55, 56, 57], &[60, 154]] {
        assert!(matches!(gw.hear_chained(&frame, cuts), Fate::Up(_)), "{cuts:?}");
    }
    assert_eq!(gw.hear_chained(&frame, &[53]), Fate::Dropped(Drop::HeadersSplit));
    assert_eq!(gw.hear_chained(&v6(UDP, &udp(PEER6, US6, b"")), &[61]), Fate::Dropped(Drop::HeadersSplit));
}

#[test]
fn headers_that_do_not_fit_are_dropped() {
    let udp_long = |len: u16| changed(udp(PEER4, US4, b"data"), 4, &len.to_be_bytes());
    for (name, frame) in [
        ("UDP, 7 bytes", v4(UDP, &[0; 7])),
        ("UDP, length 7", v4(UDP, &udp_long(7))),
        ("UDP, length 0", v4(UDP, &udp_long(0))),
        ("UDP, longer than the packet", v4(UDP, &udp_long(13))),
        ("UDP over IPv6, length 0 (a jumbogram)", v6(UDP, &changed(udp(PEER6, US6, b"data"), 4, &[0, 0]))),
        ("TCP, 19 bytes", v4(TCP, &[0x50; 19])),
        ("TCP, data offset 0", v4(TCP, &tcp(PEER4, US4, 0, b""))),
        ("TCP, data offset 4", v4(TCP, &tcp(PEER4, US4, 4, b""))),
        ("TCP, data offset beyond the segment", v4(TCP, &tcp(PEER4, US4, 6, b"abc"))),
        ("TCP, data offset 15 of nothing", v6(TCP, &tcp(PEER6, US6, 15, b""))),
    ] {
        let mut gw = Gateway::new();
        assert_eq!(gw.hear(&frame), Fate::Dropped(Drop::TransportMalformed), "{name}");
        // A device that calls the checksum good does not make the header fit.
        assert_eq!(
            gw.hear_with(&frame, Checksum::Good, Checksum::Good),
            Fate::Dropped(Drop::TransportMalformed),
            "{name}"
        );
    }
}

/// RFC 768: the checksum covers what the length says. What follows inside the packet is nobody's.
#[test]
fn a_datagram_ends_where_its_own_length_says() {
    let surplus = [udp(PEER4, US4, b"odd"), b"surplus".to_vec()].concat();
    let surplus6 = [udp(PEER6, US6, b"odd"), b"surplus".to_vec()].concat();
    for said in [Checksum::Unknown, Checksum::Good, Checksum::Bad] {
        let mut gw = Gateway::new();
        for frame in [v4(UDP, &surplus), v6(UDP, &surplus6)] {
            let Fate::Up(packet) = gw.hear_with(&frame, Checksum::Unknown, said) else { panic!("{said:?}") };
            assert_eq!(packet.transport_len, 11);
        }
    }
    let summed_to_the_end = sealed(PEER4.into(), US4.into(), UDP, 6, surplus);
    send!(Gateway::new(), v4(UDP, &summed_to_the_end) => TransportChecksum);
}

/// For each state of a checksum, what becomes of it under each flag of the device.
#[test]
fn devices_are_believed_when_they_say_good_and_checked_when_they_say_bad() {
    let segment = tcp(PEER4, US4, 5, b"data!");
    let right = v4(TCP, &segment);
    let wrong = v4(TCP, &changed(segment.clone(), 16, &[0xde, 0xad]));
    let half = v4(TCP, &half_made(PEER4, US4, TCP, 16, segment));
    let segment = tcp(PEER6, US6, 5, b"data!");
    let half6 = v6(TCP, &half_made(PEER6, US6, TCP, 16, segment));
    let half_udp = v4(UDP, &half_made(PEER4, US4, UDP, 6, udp(PEER4, US4, b"data")));
    use Checksum::{Bad, Good, Partial, Unknown};
    for (name, frame, said, reason) in [
        ("right", &right, Unknown, None),
        ("right", &right, Good, None),
        ("right", &right, Bad, None),
        ("right", &right, Partial, None),
        ("wrong", &wrong, Unknown, Some(Drop::TransportChecksum)),
        ("wrong", &wrong, Good, None),
        ("wrong", &wrong, Bad, Some(Drop::TransportChecksum)),
        ("wrong", &wrong, Partial, Some(Drop::TransportChecksumPartial)),
        ("half-made", &half, Unknown, Some(Drop::TransportChecksumPartial)),
        ("half-made", &half, Good, None),
        ("half-made", &half, Bad, Some(Drop::TransportChecksumPartial)),
        ("half-made", &half, Partial, Some(Drop::TransportChecksumPartial)),
        ("half-made, v6", &half6, Unknown, Some(Drop::TransportChecksumPartial)),
        ("half-made, UDP", &half_udp, Unknown, Some(Drop::TransportChecksumPartial)),
    ] {
        let mut gw = Gateway::new();
        match gw.hear_with(frame, Unknown, said) {
            Fate::Up(_) => assert_eq!(reason, None, "{name}, {said:?}"),
            fate => assert_eq!(Some(fate), reason.map(Fate::Dropped), "{name}, {said:?}"),
        }
        let disagreed = name == "right" && said == Bad;
        assert_eq!(gw.count(Counter::ChecksumDisagreements), u64::from(disagreed), "{name}, {said:?}");
        assert_eq!(gw.count(Counter::ChecksumsOffloaded), u64::from(said == Good), "{name}, {said:?}");
    }
}

#[test]
fn udp_may_go_without_a_checksum_over_ipv4_only() {
    let mut gw = Gateway::new();
    let none4 = v4(UDP, &changed(udp(PEER4, US4, b"data"), 6, &[0, 0]));
    assert!(matches!(gw.hear(&none4), Fate::Up(_)));
    send!(gw, v6(UDP, &changed(udp(PEER6, US6, b"data"), 6, &[0, 0])) => TransportChecksum);
    // Some devices call a checksum that is not there a good one.
    let none6 = v6(UDP, &changed(udp(PEER6, US6, b"data"), 6, &[0, 0]));
    assert_eq!(gw.hear_with(&none6, Checksum::Unknown, Checksum::Good), Fate::Dropped(Drop::TransportChecksum));
    // TCP has no such thing.
    send!(gw, v4(TCP, &changed(tcp(PEER4, US4, 5, b"data"), 16, &[0, 0])) => TransportChecksum);
}
