//! Established connections: content both ways, KeyUpdate, ends, and what a peer may do wrong.

use super::talk::{Cast, Cut, Talk, pattern};
use crate::{
    limits::{TLS_EMPTY_RECORDS_MAX, TLS_KEY_UPDATES_MAX, TLS_TICKETS_MAX, TLS_WARNINGS_MAX},
    port::Frame,
    time::Duration,
    tls::{
        Event, Room, TlsRefusal, Version,
        record::{ContentType, Seal},
    },
};
use proptest::prelude::*;
use rustls::{
    ServerConnection, client::UnbufferedClientConnection, pki_types::ServerName, unbuffered::ConnectionState,
};
use std::{collections::VecDeque, sync::Arc};

/// A talk in which the peer's records are made by hand after the handshake.
struct Forger {
    talk: Talk,
    seal: Seal,
    kernel: rustls::kernel::KernelConnection<rustls::client::ClientConnectionData>,
}

/// A client that gives its secrets away.
fn forger(version: Version) -> Forger {
    let cast = Cast::new().only(version);
    let mut config = cast.foreign_client_config(None);
    config.enable_secret_extraction = true;
    let mut client =
        UnbufferedClientConnection::new(Arc::new(config), ServerName::try_from(super::talk::NAME).unwrap()).unwrap();
    let mut talk = cast.serve();
    let mut theirs = Vec::new();
    loop {
        let status = client.process_tls_records(&mut theirs);
        let discard = status.discard;
        let mut says = Vec::new();
        let is_done = match status.state.unwrap() {
            ConnectionState::EncodeTlsData(mut data) => {
                says.resize(20_000, 0);
                let len = data.encode(&mut says).unwrap();
                says.truncate(len);
                false
            }
            ConnectionState::TransmitTlsData(data) => {
                data.done();
                false
            }
            ConnectionState::BlockedHandshake => false,
            ConnectionState::WriteTraffic(_) => true,
            other => panic!("{other:?}"),
        };
        theirs.drain(..discard);
        talk.hear(&says);
        while let Some(frame) = talk.ours.poll_output(&mut talk.out) {
            theirs.extend(frame.to_vec());
            talk.out.consume(frame);
        }
        if is_done && theirs.is_empty() {
            break;
        }
    }
    assert!(talk.ours.is_established());
    let (secrets, kernel) = client.dangerous_into_kernel_connection().unwrap();
    talk.out.free_discards();
    Forger { talk, seal: Seal::new(version, secrets.tx.0, &secrets.tx.1), kernel }
}

impl Forger {
    fn record(&mut self, kind: ContentType, plain: &[u8]) -> Vec<u8> {
        let mut record = vec![0; self.seal.front()];
        record.extend_from_slice(plain);
        record.resize(record.len() + self.seal.back(), 0);
        self.seal.seal(kind, &mut record);
        record
    }
    fn says(&mut self, kind: ContentType, plain: &[u8]) {
        let record = self.record(kind, plain);
        self.talk.hear(&record);
    }
    fn updates_key(&mut self, request: u8) {
        self.says(ContentType::Handshake, &[24, 0, 0, 1, request]);
        let (seq, secrets) = self.kernel.update_tx_secret().unwrap();
        self.seal = Seal::new(Version::Tls13, seq, &secrets);
    }
    /// It was refused so, and nothing is left.
    fn ends(mut self, refusal: TlsRefusal) {
        assert_eq!(self.talk.events.last(), Some(&Event::Refused(refusal)));
        let alert = self.talk.ours.poll_output(&mut self.talk.out);
        assert_eq!(alert.is_some(), refusal.alert().is_some(), "the peer is told");
        drop(alert);
        assert!(self.talk.ours.poll_output(&mut self.talk.out).is_none());
        self.talk.hear(&[0; 100]);
        self.talk.settle();
    }
}

#[test]
fn whole_records_leave_as_one_frame_of_plaintext() {
    let mut f = forger(Version::Tls13);
    let mut bytes = f.record(ContentType::ApplicationData, b"one");
    bytes.extend(f.record(ContentType::ApplicationData, b""));
    bytes.extend(f.record(ContentType::ApplicationData, b"two"));
    bytes.extend(f.record(ContentType::ApplicationData, b"three"));
    let frame = f.talk.plain(&bytes);
    f.talk.ours.handle_frame(frame, &mut f.talk.room, &mut f.talk.out);
    let frame = f.talk.ours.poll_plaintext(&mut f.talk.room, &mut f.talk.out).unwrap();
    assert_eq!(frame.to_vec(), b"onetwothree");
    assert_eq!(f.talk.ours.take_overhead() as usize, bytes.len() - frame.len());
    assert!(f.talk.ours.poll_plaintext(&mut f.talk.room, &mut f.talk.out).is_none());
    assert_eq!(f.talk.out.pool.in_use(), 0, "no other frame was needed");
}

#[test]
fn content_before_what_is_wrong_is_good() {
    let mut f = forger(Version::Tls13);
    let mut bytes = f.record(ContentType::ApplicationData, b"good");
    bytes.extend(f.record(ContentType::Alert, &[2, 80]));
    f.talk.hear(&bytes);
    assert_eq!(f.talk.received, b"good");
    f.ends(TlsRefusal::PeerAlert(80));
}

#[test]
fn each_damaged_byte_is_refused() {
    for version in [Version::Tls12, Version::Tls13] {
        for i in 0..45 {
            let mut f = forger(version);
            let mut record = f.record(ContentType::ApplicationData, b"twenty-one bytes here");
            if i >= record.len() {
                continue;
            }
            record[i] ^= 0x41;
            f.talk.hear(&record);
            if i == 2 {
                // rfc8446 5.1: the version is "ignored for all purposes".
                assert_eq!(f.talk.received, b"twenty-one bytes here");
                continue;
            }
            f.talk.hear(&vec![0; 20_000]);
            assert_eq!(f.talk.received, b"");
            match f.talk.events[..] {
                [Event::Established, Event::Refused(refusal)] => {
                    let possible = match i {
                        0 | 1 => [TlsRefusal::RecordInvalid, TlsRefusal::RecordInvalid],
                        3 => [TlsRefusal::RecordTooLong, TlsRefusal::BadRecordMac],
                        _ => [TlsRefusal::BadRecordMac, TlsRefusal::BadRecordMac],
                    };
                    assert!(possible.contains(&refusal), "{version:?} byte {i}: {refusal:?}");
                }
                _ => panic!("{version:?} byte {i}: {:?}", f.talk.events),
            }
        }
    }
}

#[test]
fn types_within_and_without_are_checked() {
    for (outer, plain, version, refusal) in [
        (ContentType::Handshake, &[20, 0, 0, 0][..], Version::Tls13, TlsRefusal::UnexpectedMessage), // Finished
        (ContentType::Handshake, &[4, 0, 0, 0], Version::Tls13, TlsRefusal::UnexpectedMessage), // a client's ticket
        (ContentType::Handshake, &[13, 0, 0, 0], Version::Tls13, TlsRefusal::UnexpectedMessage), // CertificateRequest
        (ContentType::Handshake, &[], Version::Tls13, TlsRefusal::UnexpectedMessage),
        (ContentType::Handshake, &[24, 0, 0, 1, 2], Version::Tls13, TlsRefusal::MessageInvalid),
        (ContentType::Handshake, &[24, 0, 0, 1, 0, 24, 0, 0, 1, 0], Version::Tls13, TlsRefusal::UnexpectedMessage),
        (ContentType::ChangeCipherSpec, &[1], Version::Tls13, TlsRefusal::UnexpectedMessage),
        (ContentType::ChangeCipherSpec, &[1], Version::Tls12, TlsRefusal::UnexpectedMessage),
        (ContentType::Handshake, &[20, 0, 0, 0], Version::Tls12, TlsRefusal::UnexpectedMessage),
        (ContentType::Alert, &[2], Version::Tls13, TlsRefusal::MessageInvalid),
        (ContentType::Alert, &[1, 40], Version::Tls13, TlsRefusal::PeerAlert(40)),
        (ContentType::Alert, &[2, 40], Version::Tls12, TlsRefusal::PeerAlert(40)),
    ] {
        let mut f = forger(version);
        f.says(outer, plain);
        f.ends(refusal);
    }
}

#[test]
fn records_in_the_clear_have_no_place() {
    for (record, refusal) in [
        (&[21, 3, 3, 0, 2, 1, 0][..], TlsRefusal::UnexpectedMessage),
        (&[22, 3, 3, 0, 4, 0, 0, 0, 0], TlsRefusal::UnexpectedMessage),
        (&[20, 3, 3, 0, 1, 2], TlsRefusal::UnexpectedMessage),
        (&[23, 3, 3, 0, 0], TlsRefusal::BadRecordMac),
        (&[23, 3, 3, 0x41, 1], TlsRefusal::RecordTooLong),
        (&[24, 3, 3, 0, 1, 0], TlsRefusal::RecordInvalid),
    ] {
        let mut f = forger(Version::Tls13);
        f.talk.hear(record);
        f.ends(refusal);
    }
    let mut f = forger(Version::Tls13);
    f.talk.hear(&[20, 3, 3, 0, 1, 1]);
    f.says(ContentType::ApplicationData, b"after it");
    assert_eq!(f.talk.received, b"after it", "before the first protected record it is tolerated");
    f.talk.hear(&[20, 3, 3, 0, 1, 1]);
    f.ends(TlsRefusal::UnexpectedMessage);
}

#[test]
fn floods_are_bounded() {
    let mut f = forger(Version::Tls13);
    for _ in 0..TLS_EMPTY_RECORDS_MAX {
        f.says(ContentType::ApplicationData, b"");
    }
    f.says(ContentType::ApplicationData, b"x");
    assert_eq!(f.talk.received, b"x");
    for _ in 0..=TLS_EMPTY_RECORDS_MAX {
        f.says(ContentType::ApplicationData, b"");
    }
    f.ends(TlsRefusal::TooManyEmptyRecords);

    let mut f = forger(Version::Tls13);
    for _ in 0..TLS_KEY_UPDATES_MAX {
        f.updates_key(1);
    }
    f.says(ContentType::ApplicationData, b"x");
    assert_eq!(f.talk.received, b"x");
    assert_eq!(f.talk.ours.poll_output(&mut f.talk.out).map(|frame| frame.len()), Some(5 + 5 + 1 + 16));
    assert!(f.talk.ours.poll_output(&mut f.talk.out).is_none(), "one answer is enough");
    for _ in 0..=TLS_KEY_UPDATES_MAX {
        f.updates_key(0);
    }
    f.ends(TlsRefusal::TooManyKeyUpdates);

    let mut f = forger(Version::Tls12);
    for _ in 0..=TLS_WARNINGS_MAX {
        f.says(ContentType::Alert, &[1, 90]);
    }
    f.ends(TlsRefusal::TooManyWarnings);
}

#[test]
fn renegotiation_is_declined_and_then_refused() {
    let mut f = forger(Version::Tls12);
    for _ in 0..TLS_WARNINGS_MAX {
        f.says(ContentType::Handshake, &[1, 0, 0, 0]);
        let warning = f.talk.ours.poll_output(&mut f.talk.out).unwrap();
        assert_eq!((warning.head()[0], warning.len()), (21, 5 + 8 + 2 + 16));
    }
    f.says(ContentType::Handshake, &[1, 0, 0, 0]);
    f.ends(TlsRefusal::Renegotiation);
    let mut f = forger(Version::Tls13);
    f.says(ContentType::Handshake, &[1, 0, 0, 0]);
    f.ends(TlsRefusal::UnexpectedMessage);
}

#[test]
fn parts_of_messages_are_put_together_and_nothing_comes_between() {
    let mut f = forger(Version::Tls13);
    f.says(ContentType::Handshake, &[24, 0]);
    f.says(ContentType::Handshake, &[0, 1, 0]);
    let (seq, secrets) = f.kernel.update_tx_secret().unwrap();
    f.seal = Seal::new(Version::Tls13, seq, &secrets);
    f.says(ContentType::ApplicationData, b"new key");
    assert_eq!(f.talk.received, b"new key");
    f.says(ContentType::Handshake, &[24, 0]);
    f.says(ContentType::ApplicationData, b"between");
    f.ends(TlsRefusal::UnexpectedMessage);
}

#[test]
fn a_cut_end_is_told_from_a_said_one() {
    for version in [Version::Tls12, Version::Tls13] {
        let mut f = forger(version);
        f.says(ContentType::ApplicationData, b"all of it");
        f.talk.ours.handle_end(&mut f.talk.room, &mut f.talk.out);
        f.talk.poll();
        assert_eq!(f.talk.events, [Event::Established, Event::PeerClosed { clean: false }]);
        f.talk.settle();

        let mut f = forger(version);
        let record = f.record(ContentType::ApplicationData, &pattern(3_000));
        f.talk.hear(&record[..2_000]);
        f.talk.ours.handle_end(&mut f.talk.room, &mut f.talk.out);
        f.talk.poll();
        assert_eq!(f.talk.events, [Event::Established, Event::PeerClosed { clean: false }]);
        f.talk.settle();

        let mut f = forger(version);
        f.says(ContentType::Alert, &[1, 0]);
        f.talk.hear(b"what comes behind means nothing");
        f.talk.ours.handle_end(&mut f.talk.room, &mut f.talk.out);
        f.talk.poll();
        assert_eq!(f.talk.events, [Event::Established, Event::PeerClosed { clean: true }]);
        // Ours goes on until we say so.
        let (mut plain, mut sealed) = (VecDeque::from([f.talk.plain(b"last words")]), VecDeque::new());
        f.talk.ours.seal(f.talk.now, &mut plain, &mut sealed, &mut f.talk.room, &mut f.talk.out);
        assert_eq!((plain.len(), sealed.len()), (0, 1));
        f.talk.ours.close();
        assert!(f.talk.ours.poll_output(&mut f.talk.out).is_some());
        sealed.clear();
        f.talk.settle();
    }
}

#[test]
fn a_server_may_not_send_tickets_without_end() {
    let cast = Cast::new().only(Version::Tls13);
    let mut foreign = cast.foreign_server_config();
    foreign.send_tls13_tickets = usize::from(TLS_TICKETS_MAX) + 1;
    foreign.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
    let peer = ServerConnection::new(Arc::new(foreign)).unwrap().into();
    let mut talk = Talk::new(crate::tls::Session::client(&cast.client_context()), peer);
    talk.pump();
    assert_eq!(talk.events, [Event::Established, Event::Refused(TlsRefusal::TooManyTickets)]);
    talk.settle();
}

#[test]
fn the_peer_asks_for_new_keys_and_gets_them() {
    for is_server in [true, false] {
        let mut talk = Cast::new().only(Version::Tls13).either(is_server);
        talk.pump();
        for round in 0..3 {
            talk.peer.refresh_traffic_keys().unwrap();
            talk.peer_sends(b"new ");
            talk.send(&[b"keys"]);
            assert_eq!((talk.received.len(), talk.peer_received.len()), (4 * (round + 1), 4 * (round + 1)));
        }
        assert_eq!(talk.peer_error, None);
        talk.settle();
    }
}

#[test]
fn a_burst_begins_with_records_of_a_segment_and_goes_on_with_long_ones() {
    for version in [Version::Tls12, Version::Tls13] {
        let mut talk = Cast::new().only(version).serve();
        talk.pump();
        talk.sent.clear();
        let content = pattern(200_000);
        let pieces: Vec<_> = content.chunks(1_448).collect();
        talk.send(&pieces);
        assert_eq!(talk.peer_received, content);
        let records = talk.records();
        let small = records.iter().take_while(|(_, len)| *len <= 1_443).count();
        assert!((45..=47).contains(&small), "{small} of them make 64 KiB");
        assert!(records[small..records.len() - 1].iter().all(|(_, len)| *len > 16_384), "{records:?}");
        // After a second of silence it begins anew.
        talk.wait(Duration::from_secs(1));
        talk.send(&pieces[..10]);
        assert!(talk.records().iter().all(|(_, len)| *len <= 1_443));
        talk.settle();
    }
}

#[test]
fn a_long_record_leaves_in_the_frames_that_its_content_came_in() {
    let mut talk = Cast::new().serve();
    talk.pump();
    let content = pattern(16_384);
    for _ in 0..5 {
        talk.send(&content.chunks(1_448).collect::<Vec<_>>());
    }
    talk.peer_received.clear();
    let mut plain: VecDeque<Frame> = content.chunks(1_448).map(|bytes| talk.plain(bytes)).collect();
    let (frames, mut sealed) = (plain.len(), VecDeque::new());
    talk.ours.seal(talk.now, &mut plain, &mut sealed, &mut talk.room, &mut talk.out);
    assert_eq!((sealed.len(), talk.wire.in_use(), talk.out.pool.in_use()), (frames, frames, 0));
    let (last, full) = sealed.iter().collect::<Vec<_>>().split_last().map(|(l, f)| (l.len(), f.to_vec())).unwrap();
    assert!(last < 1_448 && full.iter().all(|frame| frame.len() == 1_448), "cut into segments");
    // One of them is somebody else's, too: it is copied, and a fresh one takes its place.
    let mut plain: VecDeque<Frame> = content.chunks(1_448).map(|bytes| talk.plain(bytes)).collect();
    let other = plain[3].share(&talk.wire).unwrap();
    talk.ours.seal(talk.now, &mut plain, &mut sealed, &mut talk.room, &mut talk.out);
    assert_eq!((talk.out.pool.in_use(), other.to_vec()), (1, content[3 * 1_448..4 * 1_448].to_vec()));
    drop(other);
    sealed.drain(..).collect::<Vec<_>>().into_iter().for_each(|frame| talk.tell(frame));
    assert_eq!(talk.peer_received, [&content[..], &content[..]].concat());
    talk.settle();
}

#[test]
fn a_small_frame_of_its_own_is_sealed_where_it_is() {
    let mut talk = Cast::new().serve();
    talk.pump();
    let frame = talk.plain(b"answer");
    let (mut plain, mut sealed) = (VecDeque::from([frame]), VecDeque::new());
    talk.ours.seal(talk.now, &mut plain, &mut sealed, &mut talk.room, &mut talk.out);
    assert_eq!((talk.out.pool.in_use(), talk.wire.in_use()), (0, 1), "no other frame was needed");
    // Not so one that somebody else reads.
    let frame = talk.plain(b"shared");
    let other = frame.share(&talk.wire).unwrap();
    plain.push_back(frame);
    talk.ours.seal(talk.now, &mut plain, &mut sealed, &mut talk.room, &mut talk.out);
    assert_eq!((talk.out.pool.in_use(), other.to_vec()), (1, b"shared".to_vec()));
    drop(other);
    sealed.drain(..).collect::<Vec<_>>().into_iter().for_each(|frame| talk.tell(frame));
    assert_eq!(talk.peer_received, b"answershared");
    talk.settle();
}

#[test]
fn an_empty_pool_delays_and_loses_nothing() {
    for is_server in [true, false] {
        let mut talk = Cast::new().either(is_server);
        talk.pump();
        let mut taken: Vec<Frame> = std::iter::from_fn(|| talk.out.pool.alloc()).collect();
        let content = pattern(50_000);
        talk.peer_sends(&content);
        assert!(talk.received.len() < 1_448, "records that cross frames wait");
        assert!(talk.ours.held() > 0);
        // Chains and shared frames, too, can be sealed only into fresh frames.
        let mut plain: VecDeque<Frame> = content.chunks(1_900).map(|bytes| talk.plain(bytes)).collect();
        let mut sealed = VecDeque::new();
        let frames = plain.len();
        talk.ours.seal(talk.now, &mut plain, &mut sealed, &mut talk.room, &mut talk.out);
        assert_eq!((plain.len(), sealed.len()), (frames, 0));
        // With a single frame all goes on.
        taken.pop();
        while talk.received.len() < content.len() {
            let before = talk.received.len();
            talk.poll();
            assert!(talk.received.len() > before, "it goes on");
        }
        assert_eq!(talk.received, content);
        while !plain.is_empty() {
            talk.ours.seal(talk.now, &mut plain, &mut sealed, &mut talk.room, &mut talk.out);
            assert!(!sealed.is_empty(), "it goes on");
            sealed.drain(..).collect::<Vec<_>>().into_iter().for_each(|frame| talk.tell(frame));
        }
        assert_eq!(talk.peer_received, content);
        taken.clear();
        talk.settle();
    }
}

#[test]
fn without_memory_for_what_is_not_whole_a_session_is_refused() {
    let mut f = forger(Version::Tls13);
    f.talk.room = Room::new(10_000);
    let record = f.record(ContentType::ApplicationData, &pattern(16_000));
    f.talk.hear(&record);
    f.ends(TlsRefusal::OutOfMemory);
}

#[test]
fn a_session_that_is_dropped_gives_everything_back() {
    let mut f = forger(Version::Tls13);
    let record = f.record(ContentType::ApplicationData, &pattern(16_000));
    f.talk.hear(&record[..10_000]);
    assert!(f.talk.room.used() > 10_000);
    let cast = Cast::new();
    f.talk.ours = crate::tls::Session::server(&cast.server_context());
    assert_eq!((f.talk.room.used(), f.talk.wire.in_use(), f.talk.out.pool.in_use()), (0, 0, 0));
}

#[test]
fn a_spent_key_is_replaced_or_ends_the_connection() {
    let limit = crate::limits::TLS_RECORDS_MAX;
    for version in [Version::Tls12, Version::Tls13] {
        let cast = Cast::new().only(version);
        let mut talk = cast.serve();
        let mut server = crate::tls::Session::server(&cast.server_context());
        let mut client = crate::tls::Session::client(&cast.client_context());
        let (room, out) = (&mut talk.room, &mut talk.out);
        for _ in 0..3 {
            while let Some(frame) = client.poll_output(out) {
                server.handle_frame(frame, room, out);
            }
            while let Some(frame) = server.poll_output(out) {
                client.handle_frame(frame, room, out);
            }
        }
        // 64 records are spared for the end, so one more may be sent.
        server.skip_to(limit - 65, 1);
        client.skip_to(1, limit - 65);
        let mut heard = 0;
        for _ in 0..3 {
            let mut frame = out.make().unwrap();
            frame.append_slice(b"word").unwrap();
            let (mut plain, mut sealed) = (VecDeque::from([frame]), VecDeque::new());
            server.seal(talk.now, &mut plain, &mut sealed, room, out);
            sealed.into_iter().for_each(|frame| client.handle_frame(frame, room, out));
            while let Some(frame) = client.poll_plaintext(room, out) {
                heard += frame.len();
            }
        }
        match version {
            Version::Tls13 => assert_eq!((heard, server.refusal(), client.refusal()), (12, None, None)),
            Version::Tls12 => {
                assert_eq!((heard, server.refusal()), (4, Some(TlsRefusal::KeysSpent)));
                assert_eq!(client.refusal(), Some(TlsRefusal::PeerAlert(80)));
            }
        }
    }
}

#[test]
fn established_comes_before_plaintext_even_when_the_end_comes_with_it() {
    let mut talk = Cast::new().only(Version::Tls13).serve();
    let hello = talk.peer_says();
    talk.hear(&hello);
    talk.say();
    std::io::Write::write_all(&mut talk.peer.writer(), b"hello").unwrap();
    let mut theirs = talk.peer_says();
    theirs.extend([0; 40]);
    talk.cut = Cut::Segments;
    let frame = talk.plain(&theirs);
    talk.ours.handle_frame(frame, &mut talk.room, &mut talk.out);
    assert_eq!(talk.ours.poll_event(), Some(Event::Established));
    assert_eq!(talk.ours.poll_event(), None, "the plaintext comes first");
    let frame = talk.ours.poll_plaintext(&mut talk.room, &mut talk.out).unwrap();
    assert_eq!(frame.to_vec(), b"hello");
    assert_eq!(talk.ours.poll_event(), Some(Event::Refused(TlsRefusal::RecordInvalid)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_is_said_in_whatever_pieces_is_heard(
        seed: u64,
        is_server: bool,
        is_tls13: bool,
        words in proptest::collection::vec((any::<bool>(), 1usize..40_000, 1usize..2_000), 1..8),
    ) {
        let version = if is_tls13 { Version::Tls13 } else { Version::Tls12 };
        let mut talk = Cast::new().only(version).either(is_server);
        talk.cut = Cut::Random(fastrand::Rng::with_seed(seed));
        talk.pump();
        let (mut said, mut heard) = (Vec::new(), Vec::new());
        for (is_ours, len, piece) in words {
            let bytes = pattern(len);
            if is_ours {
                talk.send(&bytes.chunks(piece.clamp(1 + len / 500, 1_900)).collect::<Vec<_>>());
                said.extend(bytes);
            } else {
                talk.peer_sends(&bytes);
                heard.extend(bytes);
            }
        }
        prop_assert_eq!(&talk.peer_error, &None);
        prop_assert!(talk.peer_received == said && talk.received == heard);
        talk.settle();
    }
}
