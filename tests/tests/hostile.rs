//! Attacks on the gateway, each a test of its own. They say what must hold.

use std::sync::Arc;
use weirgate_dataplane::{
    counters::Counter,
    drops::Drop,
    exchange::Ended,
    port::Frame,
    proxy_protocol::Accept,
    snapshot::{ProxyProtocol, Snapshot},
    time::Duration,
};
use weirgate_tests::exchange::{Conn, Legs, over};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

/// All frames but one, as when somebody else holds them.
fn all_but_one(legs: &Legs) -> Vec<Frame> {
    let pool = legs.gateway().pool().clone();
    let mut taken: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
    taken.pop();
    taken
}

fn nowhere() -> Snapshot {
    let mut snapshot = over(1);
    Arc::make_mut(&mut snapshot.http[0].rules.routes[0]).hostnames = vec!["b".into()];
    snapshot
}

fn start(snapshot: &Snapshot) -> (Legs, Conn) {
    snapshot.check().expect("a sound snapshot");
    let mut legs = Legs::new(snapshot, 7);
    let client = legs.client(80);
    legs.runs();
    (legs, client)
}

fn says(legs: &mut Legs, conn: Conn, text: &str) {
    legs.says(conn, text.as_bytes());
    legs.runs();
}

fn heard(legs: &mut Legs, conn: Conn) -> String {
    String::from_utf8_lossy(&legs.ends().known(conn).heard).replace("\r\n", "|")
}

fn upstream(legs: &mut Legs, from: usize) -> Conn {
    legs.ends().accepted(from).next().expect("a connection to an endpoint")
}

/// How many seconds pass before somebody who has just come is heard, tried every `step` seconds.
fn outage(legs: &mut Legs, step: u64) -> u64 {
    for waited in (0..600).step_by(step as usize) {
        let fresh = legs.client(80);
        let from = legs.ends().len();
        legs.says(fresh, GET.as_bytes());
        legs.settles(Duration::from_secs(step));
        if !heard(legs, fresh).is_empty() || legs.ends().accepted(from).next().is_some() {
            return waited;
        }
    }
    600
}

/// A client that asks without end and reads nothing: what we answer ourselves must wait as what backends answer does.
#[test]
fn answers_of_ours_wait_for_a_client_that_does_not_read() {
    let (mut legs, client) = start(&nowhere());
    legs.ends().known(client).deaf = true;
    // Some 520 KB.
    for _ in 0..20 {
        legs.says(client, GET.repeat(1_000).as_bytes());
        legs.settles(Duration::from_ms(200));
    }
    let in_use = legs.gateway().pool().in_use();
    let answered = legs.gateway().counters().counter(Counter::Http4xx);
    let said = 20_000 * GET.len() - legs.ends().known(client).unsaid();
    eprintln!("{in_use} frames of 2 KiB are held, {answered} answers, {said} bytes came in");
    assert!(in_use < 1_500, "{in_use} frames are held for a client that does not read");
}

/// The same, and what it does to others.
#[test]
fn a_client_that_does_not_read_keeps_nobody_from_being_answered() {
    let (mut legs, client) = start(&nowhere());
    legs.ends().known(client).deaf = true;
    for _ in 0..20 {
        legs.says(client, GET.repeat(1_000).as_bytes());
        legs.settles(Duration::from_ms(200));
    }
    let other = legs.client(80);
    legs.says(other, GET.as_bytes());
    legs.settles(Duration::from_secs(5));
    let text = heard(&mut legs, other);
    let refused = legs.gateway().counters().drops(Drop::TcpPressure);
    let later = 5 + outage(&mut legs, 1);
    let how = legs.ends().known(client).ended;
    assert!(
        text.starts_with("HTTP/1.1 404 "),
        "not answered within 5 s, one who came {later} s later was; {refused} segments were refused; the client ended: {how:?}"
    );
}

/// When there is no frame for an answer's head, what stands behind it must not stay in the leg's place.
#[test]
fn what_an_endpoint_said_is_not_what_the_next_client_says() {
    let (mut legs, client) = start(&over(1));
    says(&mut legs, client, GET);
    let one = upstream(&mut legs, 0);
    let before = legs.ends().len();
    // The one that is left will be the answer's.
    let taken = all_but_one(&legs);
    let smuggled = "GET /smuggled HTTP/1.1\r\nX-Of: ";
    legs.says(one, format!("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{smuggled}").as_bytes());
    legs.settles(Duration::from_us(400));
    drop(taken);
    legs.settles(Duration::from_ms(50));
    // Somebody else.
    let mut texts = String::new();
    for _ in 0..3 {
        let other = legs.client(80);
        legs.runs();
        says(&mut legs, other, GET);
    }
    let conns: Vec<_> = legs.ends().accepted(before).collect();
    for conn in conns {
        texts += &heard(&mut legs, conn);
    }
    eprintln!("{texts}");
    assert!(!texts.contains("smuggled"), "another client's request began with what an endpoint had said: {texts}");
}

/// The same, as the frames' accounts see it.
#[test]
fn an_answer_without_a_frame_leaves_none_behind() {
    let (mut legs, client) = start(&over(1));
    says(&mut legs, client, GET);
    let one = upstream(&mut legs, 0);
    let taken = all_but_one(&legs);
    legs.says(one, b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nxxxx");
    legs.settles(Duration::from_us(400));
    drop(taken);
    legs.ends_clean();
}

/// A peer that may send no PROXY header is refused: what came in the same burst as its handshake's end is not read.
#[test]
fn a_stranger_at_a_proxys_port_is_not_heard() {
    let mut snapshot = over(1);
    snapshot.http[0].proxy_protocol =
        Some(ProxyProtocol { accept: Accept::Any, trusted: vec!["192.0.2.0/24".parse().unwrap()] });
    let mut legs = Legs::new(&snapshot, 7);
    let client = legs.client(80);
    // With the handshake's last segment.
    legs.says(client, GET.as_bytes());
    legs.runs();
    let requests = legs.gateway().counters().counter(Counter::HttpRequests);
    let record = legs.record();
    assert_eq!((requests, record), (0, None), "a request of somebody who was refused");
}

/// A header that was refused is the connection's end: what follows in the same burst is not another chance.
#[test]
fn a_refused_proxy_header_has_no_second_try() {
    let mut snapshot = over(1);
    snapshot.http[0].proxy_protocol =
        Some(ProxyProtocol { accept: Accept::Any, trusted: vec!["10.0.0.0/24".parse().unwrap()] });
    let (mut legs, client) = start(&snapshot);
    // Two segments of one burst: the first one is no header, the second one is.
    let mut text = "x".repeat(1_460);
    text += "PROXY TCP4 203.0.113.7 10.0.0.1 4711 80\r\n";
    text += GET;
    says(&mut legs, client, &text);
    // The same with the 1,448 bytes that a segment with timestamps holds.
    let other = legs.client(80);
    legs.runs();
    let text = "x".repeat(1_448) + &text[1_460..];
    says(&mut legs, other, &text);
    let requests = legs.gateway().counters().counter(Counter::HttpRequests);
    assert_eq!((requests, legs.record()), (0, None), "a request behind what was refused");
}

/// 10 KiB of input hold less than 1 MiB: single bytes that wait for an answer's end.
#[test]
fn single_bytes_that_wait_pin_no_frames() {
    let (mut legs, client) = start(&over(1));
    says(&mut legs, client, GET);
    let before = legs.gateway().pool().in_use();
    for _ in 0..2_000 {
        legs.says(client, b"G");
        legs.settles(Duration::from_us(150));
    }
    let held = legs.gateway().pool().in_use() - before;
    assert!(held < 512, "2,000 bytes of input hold {held} frames of 2 KiB");
}

/// Those bytes, and those of some hundred others, keep everybody from being heard for as long as endpoints take.
#[test]
fn bytes_that_wait_keep_nobody_from_being_heard() {
    let mut snapshot = over(3);
    for port in 81..85 {
        let mut listener = snapshot.http[0].clone();
        (listener.name, listener.port) = (format!("web{port}"), port);
        snapshot.http.push(listener);
    }
    let (mut legs, client) = start(&snapshot);
    says(&mut legs, client, GET);
    for _ in 0..3_500 {
        legs.says(client, b"G");
        legs.settles(Duration::from_us(150));
    }
    let mut others = Vec::new();
    for n in 0..1_700u16 {
        others.push(legs.client(80 + n % 5));
        if n % 100 == 0 {
            legs.settles(Duration::from_ms(20));
        }
    }
    legs.settles(Duration::from_secs(2));
    for round in [GET, "G"] {
        for other in &others {
            legs.says(*other, round.as_bytes());
        }
        legs.settles(Duration::from_secs(2));
    }
    let in_use = legs.gateway().pool().in_use();
    // Longer than anybody who stands still is left alone when frames are short.
    legs.settles(Duration::from_secs(30));
    let victim = legs.client(80);
    let from = legs.ends().len();
    legs.says(victim, GET.as_bytes());
    legs.settles(Duration::from_secs(10));
    let reached = legs.ends().accepted(from).next().is_some();
    let text = heard(&mut legs, victim);
    let refused = legs.gateway().counters().drops(Drop::TcpPressure);
    let later = 40 + if reached { 0 } else { outage(&mut legs, 5) };
    let how = legs.ends().known(victim).ended;
    assert!(
        reached || !text.is_empty(),
        "nobody heard the request within 10 s, one who came {later} s later was heard ({how:?}); {in_use} frames were in use, {refused} segments were refused"
    );
}

/// Frames that wait for endpoints, of more connections than there are shares: those that stand still longest give theirs back.
#[test]
fn frames_that_wait_are_given_back_when_others_need_them() {
    let (mut legs, _) = start(&over(3));
    let some = |legs: &mut Legs, count: usize, texts: &[String]| {
        let mut conns = Vec::new();
        for n in 0..count {
            conns.push(legs.client(80));
            if n % 100 == 0 {
                legs.settles(Duration::from_ms(20));
            }
        }
        legs.settles(Duration::from_ms(500));
        for text in texts {
            conns.iter().for_each(|conn| legs.says(*conn, text.as_bytes()));
            legs.settles(Duration::from_ms(300));
        }
    };
    // Too long to be put behind each other: all that those may hold who are behind. And a first frame each, for which there is half as much again.
    let long: Vec<String> = [GET.to_owned()].into_iter().chain((0..12).map(|_| "G".repeat(600))).collect();
    some(&mut legs, 350, &long);
    some(&mut legs, 1_600, &[GET.to_owned(), "G".to_owned()]);
    // Two rounds of looking, and what ends in them.
    legs.settles(Duration::from_secs(30));
    let victim = legs.client(80);
    let from = legs.ends().len();
    legs.says(victim, GET.as_bytes());
    legs.settles(Duration::from_secs(2));
    assert!(legs.ends().accepted(from).next().is_some(), "a newcomer's request goes on");
    legs.ends_clean();
}

/// Whoever reads slowly gets the last answer whole: what LINGER counts is what comes behind it.
#[test]
fn a_last_answer_that_is_read_slowly_is_not_cut() {
    // What fits the client's window and our queue, so that the endpoint is done with it while the client reads nothing.
    const LEN: usize = 4_800_000;
    for (pause, persists) in [(2, false), (6, true), (6, false)] {
        let (mut legs, client) = start(&over(1));
        legs.ends().known(client).deaf = true;
        let close = if persists { "" } else { "Connection: close\r\n" };
        says(&mut legs, client, &format!("GET / HTTP/1.1\r\nHost: a\r\n{close}\r\n"));
        let one = upstream(&mut legs, 0);
        says(&mut legs, one, &format!("HTTP/1.1 200 OK\r\nContent-Length: {LEN}\r\n\r\n"));
        legs.says(one, &vec![b'x'; LEN]);
        legs.settles(Duration::from_secs(1));
        let ended = legs.record().map(|record| record.ended);
        assert_eq!(ended, Some(Ended::Complete));
        // It has something else to do for some seconds.
        legs.settles(Duration::from_secs(pause));
        let how = legs.ends().known(client).ended;
        legs.listens(client);
        legs.settles(Duration::from_secs(20));
        let got = legs.ends().known(client).heard.len();
        assert!(
            got > LEN,
            "persists: {persists}, {pause} s of pause: {got} of {LEN} bytes came; ended by then: {how:?}"
        );
    }
}

/// Two answers in one burst to one request: the second one is nobody's, though a request waits.
#[test]
fn an_answer_that_came_before_its_request_is_none() {
    let (mut legs, client) = start(&over(1));
    says(&mut legs, client, &GET.repeat(2));
    let one = upstream(&mut legs, 0);
    // The second one begins with a segment of its own, whether segments hold 1,460 or 1,448 bytes.
    let long = |len: usize| {
        let head = |content: usize| format!("HTTP/1.1 200 OK\r\nContent-Length: {content}\r\n\r\n");
        let content = len - head(1_000).len();
        head(content) + &"x".repeat(content)
    };
    let text = long(1_448) + "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged";
    says(&mut legs, one, &text);
    let text = heard(&mut legs, client);
    assert!(!text.contains("forged"), "the second request got what came before it was sent");
}

/// rfc9110 8.6: no Content-Length in an informational answer, to HEAD neither; and it says nothing about the connection.
#[test]
fn informational_answers_to_head_are_as_those_to_others() {
    let (mut legs, client) = start(&over(1));
    says(&mut legs, client, "HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let one = upstream(&mut legs, 0);
    says(&mut legs, one, "HTTP/1.1 103 Early Hints\r\nlink: x\r\nContent-Length: 0\r\n\r\n");
    let text = heard(&mut legs, client);
    assert_eq!(text, "HTTP/1.1 103 Early Hints|link: x|via: 1.1 weirgate||");
}

/// What a stranger says about himself ends here: all of `X-Forwarded-*`, and what frameworks read in its stead.
#[test]
fn strangers_say_nothing_about_themselves() {
    let mut passed = Vec::new();
    for name in [
        "X-Forwarded-Protocol",
        "X-Forwarded-User",
        "X-Forwarded-Email",
        "X-Forwarded-Uri",
        "X-Forwarded-Method",
        "X-Forwarded-Path",
        "X-Forwarded",
        "Forwarded-For",
        "X-Forwarded-By",
        "X-Original-Forwarded-For",
        "X-Original-Host",
        "X-Client-Ip",
        "X-Cluster-Client-Ip",
        "True-Client-Ip",
        "X-Scheme",
        "Front-End-Https",
        "X-Host",
        "X-Real-Port",
    ] {
        let (mut legs, client) = start(&over(1));
        says(&mut legs, client, &format!("GET / HTTP/1.1\r\nHost: a\r\n{name}: forged\r\n\r\n"));
        let one = upstream(&mut legs, 0);
        if heard(&mut legs, one).contains("forged") {
            passed.push(name);
        }
    }
    assert!(passed.is_empty(), "{passed:?} go on");
}

/// What a listener says about underscores, and a rule about fields, holds behind the content as well.
#[test]
fn trailers_are_filtered_as_fields_are() {
    let (mut legs, client) = start(&over(1));
    says(
        &mut legs,
        client,
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx_forwarded_for: 127.0.0.1\r\ncontent_length: 5\r\n\r\n",
    );
    let one = legs.ends().accepted(0).next();
    let text = one.map_or(String::new(), |one| heard(&mut legs, one));
    assert!(!text.contains("x_forwarded_for: 127.0.0.1") && !text.contains("content_length"), "{text}");
}

/// A rule that does not speak of CONNECT makes no tunnel of it: through that, requests would pass all rules by.
#[test]
fn a_rule_for_everything_is_no_rule_for_connect() {
    let (mut legs, client) = start(&over(1));
    says(&mut legs, client, "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
    let Some(one) = legs.ends().accepted(0).next() else { return };
    // As a server of Go answers whose handler does not look at the method.
    says(&mut legs, one, OK);
    says(&mut legs, client, "GET /admin HTTP/1.1\r\nHost: internal\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n");
    let text = heard(&mut legs, one);
    assert!(!text.contains("/admin"), "{text}");
}

/// Heads that are not whole, of a few hundred connections, keep nobody else's from being whole.
#[test]
fn heads_that_are_not_whole_refuse_nobody_elses() {
    let (mut legs, victim) = start(&over(1));
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nx: {}", "y".repeat(59_000));
    for (rounds, len) in [(12, head.len()), (6, 1_400)] {
        for _ in 0..rounds {
            let some: Vec<_> = (0..47).map(|_| legs.client(80)).collect();
            legs.settles(Duration::from_ms(20));
            for conn in some {
                legs.says(conn, &head.as_bytes()[..len]);
            }
            legs.settles(Duration::from_ms(200));
        }
    }
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {}\r\n\r\n", "c".repeat(3_000));
    says(&mut legs, victim, &long);
    let text = heard(&mut legs, victim);
    assert!(!text.starts_with("HTTP/1.1 431 "), "{text}");
}

/// The end of content that finds no frame is no whole answer.
#[test]
fn an_answer_whose_end_finds_no_frame_is_not_recorded_as_complete() {
    let (mut legs, client) = start(&over(1));
    says(&mut legs, client, GET);
    let one = upstream(&mut legs, 0);
    says(&mut legs, one, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    let taken = all_but_one(&legs);
    legs.says(one, b"0\r\n\r\n");
    legs.settles(Duration::from_us(400));
    drop(taken);
    legs.runs();
    let record = legs.record();
    let text = heard(&mut legs, client);
    let whole = text.ends_with("0||");
    let complete = record.is_some_and(|record| record.ended == Ended::Complete);
    assert_eq!(whole, complete, "{text} {record:?}");
}
