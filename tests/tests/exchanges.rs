//! Requests and answers through both legs, byte by byte.

use std::sync::Arc;
use weirgate_dataplane::{
    exchange::{Ended, Home},
    port::{Rss, RssFlow, rss::PortsHashed},
    proxy_protocol::Accept,
    route::{Match, Rule},
    snapshot::{Backend, ProxyProtocol, ProxyVersion, Snapshot},
    time::Duration,
};
use weirgate_tests::exchange::{Conn, FRAMES, Legs, Talk, endpoint, gateway, over, to_backend};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const FORWARDED: &str =
    "GET / HTTP/1.1|host: a|x-forwarded-for: 10.0.0.2|x-forwarded-proto: http|x-forwarded-host: a|via: 1.1 weirgate||";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

#[test]
fn a_request_and_its_answer_go_through() {
    let mut talk = Talk::new(&over(1));
    for round in 0..3 {
        talk.says(GET);
        let endpoint = if round == 0 { talk.endpoint() } else { Conn(1) };
        assert_eq!(talk.heard(endpoint), FORWARDED, "the same connection in round {round}");
        talk.answers(endpoint, OK);
        let client = talk.client;
        assert_eq!(talk.heard(client), "HTTP/1.1 200 OK|via: 1.1 weirgate|content-length: 2||hi");
        assert_eq!(talk.ended(), Ended::Complete);
    }
    talk.legs.ends_clean();
}

#[test]
fn heads_come_byte_by_byte() {
    let mut talk = Talk::new(&over(1));
    let request = "POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n";
    for byte in request.as_bytes() {
        talk.legs.says(talk.client, &[*byte]);
        talk.legs.runs();
    }
    let endpoint = talk.endpoint();
    let heard = talk.heard(endpoint);
    assert!(heard.starts_with("POST /p HTTP/1.1|host: a|"), "{heard}");
    assert!(heard.ends_with("transfer-encoding: chunked||1|a|1|b|1|c|0|x-t: 1||"), "{heard}");
    for byte in "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0\r\n\r\n".as_bytes() {
        talk.legs.says(endpoint, &[*byte]);
        talk.legs.runs();
    }
    let client = talk.client;
    let heard = talk.heard(client);
    assert_eq!(heard, "HTTP/1.1 200 OK|via: 1.1 weirgate|transfer-encoding: chunked||1|o|1|k|0||");
    talk.legs.ends_clean();
}

#[test]
fn a_pipeline_is_answered_in_order() {
    let mut talk = Talk::new(&over(1));
    let three: String = (0..3).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    talk.says(&three);
    let endpoint = talk.endpoint();
    for n in 0..3 {
        let heard = talk.heard(endpoint);
        assert!(heard.starts_with(&format!("GET /{n} ")) && heard.matches("GET").count() == 1, "{heard}");
        talk.answers(endpoint, &format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{n}"));
    }
    let client = talk.client;
    let bodies: Vec<_> = talk.heard(client).split("||").map(|part| part.chars().next()).collect();
    assert_eq!(bodies[1..], [Some('0'), Some('1'), Some('2')]);
    talk.legs.ends_clean();
}

#[test]
fn hundreds_of_requests_in_one_segment_are_a_loop() {
    let mut nowhere = over(1);
    Arc::make_mut(&mut nowhere.http[0].rules.routes[0]).hostnames = vec!["b".into()];
    let mut talk = Talk::new(&nowhere);
    talk.says(&GET.repeat(400));
    let client = talk.client;
    assert_eq!(talk.heard(client).matches("HTTP/1.1 404 ").count(), 400);
    talk.legs.ends_clean();
}

#[test]
fn bulk_goes_both_ways() {
    let mut talk = Talk::new(&over(1));
    let body: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    talk.says(&format!("PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()));
    talk.legs.says(talk.client, &body);
    talk.legs.settles(Duration::from_secs(2));
    let endpoint = talk.endpoint();
    let heard = talk.legs.ends().known(endpoint).heard.clone();
    assert!(heard.ends_with(&body), "{} bytes came", heard.len());
    talk.answers(endpoint, &format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()));
    talk.legs.says(endpoint, &body);
    talk.legs.settles(Duration::from_secs(2));
    let client = talk.client;
    let heard = talk.legs.ends().known(client).heard.clone();
    assert!(heard.ends_with(&body), "{} bytes came", heard.len());
    assert_eq!(talk.ended(), Ended::Complete);
    talk.legs.ends_clean();
}

#[test]
fn a_slow_client_closes_the_backends_window() {
    let mut talk = Talk::new(&over(1));
    talk.says(GET);
    let endpoint = talk.endpoint();
    let client = talk.client;
    talk.legs.ends().known(client).deaf = true;
    talk.answers(endpoint, "HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n");
    talk.legs.says(endpoint, &vec![b'x'; 50_000_000]);
    talk.legs.settles(Duration::from_secs(5));
    let held = talk.legs.gateway().pool().in_use();
    assert!(held < FRAMES / 2, "{held} frames are held for a client that does not read");
    let unsaid = talk.legs.ends().known(endpoint).unsaid();
    assert!(unsaid > 30_000_000, "the backend waits with {unsaid} bytes");
    talk.legs.ends_clean();
}

#[test]
fn a_kept_connection_that_was_closed_is_replaced_once() {
    let mut talk = Talk::new(&over(1));
    talk.says(GET);
    let first = talk.endpoint();
    talk.answers(first, OK);
    // The request meets the reset.
    talk.legs.says(talk.client, GET.as_bytes());
    talk.legs.resets(first);
    talk.legs.runs();
    let second = talk.endpoint();
    assert_eq!(talk.heard(second), FORWARDED);
    talk.answers(second, OK);
    let client = talk.client;
    assert_eq!(talk.heard(client).matches("200 OK").count(), 2);
    talk.legs.ends_clean();
}

#[test]
fn what_is_not_idempotent_is_not_sent_twice() {
    let mut talk = Talk::new(&over(1));
    talk.says(GET);
    let first = talk.endpoint();
    talk.answers(first, OK);
    talk.legs.says(talk.client, b"POST / HTTP/1.1\r\nHost: a\r\n\r\n");
    talk.legs.runs();
    talk.legs.resets(first);
    talk.legs.runs();
    let client = talk.client;
    let heard = talk.heard(client);
    assert!(heard.contains("HTTP/1.1 502 Bad Gateway|"), "{heard}");
    assert_eq!((talk.ended(), talk.ended()), (Ended::Complete, Ended::BackendClosed));
    talk.legs.ends_clean();
}

#[test]
fn backends_that_fail_are_told_to_the_client() {
    for (answer, closes, expected, ended) in [
        ("", true, "HTTP/1.1 502 Bad Gateway|", Ended::BackendClosed),
        ("HTTP/1.1 200 OK\r\nContent-Le", true, "HTTP/1.1 502 Bad Gateway|", Ended::BackendTruncated),
        ("garbage\r\n\r\n", false, "HTTP/1.1 502 Bad Gateway|", Ended::BackendRefused),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
            false,
            "HTTP/1.1 502 ",
            Ended::BackendRefused,
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            false,
            "HTTP/1.1 502 ",
            Ended::BackendRefused,
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", true, "HTTP/1.1 200 OK|", Ended::BackendTruncated),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
            true,
            "HTTP/1.1 200 OK|",
            Ended::BackendTruncated,
        ),
        ("HTTP/1.1 200 OK\r\n\r\nuntil the end", true, "HTTP/1.1 200 OK|", Ended::Complete),
    ] {
        let mut talk = Talk::new(&over(1));
        talk.says(GET);
        let endpoint = talk.endpoint();
        talk.answers(endpoint, answer);
        if closes {
            talk.legs.closes(endpoint);
            talk.legs.runs();
        }
        let client = talk.client;
        let heard = talk.heard(client);
        assert!(heard.starts_with(expected), "{answer:?}: {heard}");
        assert_eq!(talk.ended(), ended, "{answer:?}");
        assert!(ended == Ended::Complete || !heard.ends_with("0||"), "what is cut short does not look whole: {heard}");
        if !heard.starts_with("HTTP/1.1 502") && ended != Ended::Complete {
            assert!(talk.legs.ends().known(client).peer_closed, "{answer:?}: the connection ends with it");
        }
        assert_eq!(talk.legs.record(), None, "one record each");
        talk.legs.ends_clean();
    }
}

#[test]
fn refused_connections_are_tried_elsewhere() {
    let mut talk = Talk::new(&over(3));
    talk.legs.refuses();
    talk.says(GET);
    let client = talk.client;
    let heard = talk.heard(client);
    assert!(heard.starts_with("HTTP/1.1 503 Service Unavailable|"), "{heard}");
    let record = talk.legs.record().unwrap();
    assert_eq!((record.ended, record.attempts, record.status), (Ended::ConnectFailed, 3, 503));
    talk.legs.ends_clean();
}

#[test]
fn whoever_takes_too_long_is_told() {
    let mut snapshot = over(1);
    Arc::make_mut(&mut snapshot.http[0].rules.routes[0]).rules[0].timeouts.request_ms = Some(500);
    snapshot.http[0].options.timeouts.request_headers_ms = 1_000;
    snapshot.http[0].options.timeouts.request_body_ms = 300;
    for (request, patience, status, ended) in [
        (GET, 600, "504", Ended::RequestTimeout),
        ("GET / HTTP/1.1\r\nHo", 1_100, "408", Ended::HeadTimeout),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc", 400, "408", Ended::BodySlow),
    ] {
        let mut talk = Talk::new(&snapshot);
        talk.says(request);
        talk.legs.settles(Duration::from_ms(patience));
        let client = talk.client;
        let heard = talk.heard(client);
        assert!(heard.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {heard}");
        assert_eq!(talk.ended(), ended, "{request:?}");
        talk.legs.ends_clean();
    }
}

#[test]
fn a_client_that_leaves_takes_its_request_with_it() {
    let mut talk = Talk::new(&over(1));
    talk.says(GET);
    let endpoint = talk.endpoint();
    talk.legs.resets(talk.client);
    talk.legs.runs();
    assert!(talk.legs.ends().known(endpoint).ended.is_some(), "the backend need not go on");
    assert_eq!(talk.ended(), Ended::ClientGone);
    talk.legs.ends_clean();
}

#[test]
fn an_early_answer_ends_an_upload() {
    let mut talk = Talk::new(&over(1));
    talk.says("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nabc");
    let endpoint = talk.endpoint();
    talk.answers(endpoint, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n");
    let client = talk.client;
    assert_eq!(
        talk.heard(client),
        "HTTP/1.1 413 Content Too Large|via: 1.1 weirgate|content-length: 0|connection: close||"
    );
    // CVE-2025-4366: the rest of it is nobody's request, on neither side.
    talk.says("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(talk.heard(client), "");
    assert!(!talk.heard(endpoint).contains("smuggled"));
    assert!(talk.legs.ends().known(endpoint).ended.is_some());
    talk.legs.ends_clean();
}

#[test]
fn a_hundred_is_given_when_there_is_somebody_to_take_it() {
    let mut talk = Talk::new(&over(1));
    talk.says("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    let (endpoint, client) = (talk.endpoint(), talk.client);
    assert_eq!(talk.heard(client), "HTTP/1.1 100 Continue||");
    talk.says("abc");
    assert!(talk.heard(endpoint).ends_with("content-length: 3||abc"));
    talk.answers(
        endpoint,
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    );
    assert_eq!(
        talk.heard(client),
        "HTTP/1.1 103 Early Hints|link: x|via: 1.1 weirgate||HTTP/1.1 204 No Content|via: 1.1 weirgate||"
    );
    talk.legs.ends_clean();
}

#[test]
fn an_upgrade_becomes_a_tunnel_with_its_answer() {
    let mut talk = Talk::new(&over(1));
    talk.says("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly");
    let (endpoint, client) = (talk.endpoint(), talk.client);
    let heard = talk.heard(endpoint);
    assert!(heard.ends_with("connection: upgrade|upgrade: websocket||"), "nothing before the 101: {heard}");
    talk.answers(
        endpoint,
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello",
    );
    let heard = talk.heard(client);
    assert!(heard.starts_with("HTTP/1.1 101 Switching Protocols|") && heard.ends_with("||hello"), "{heard}");
    assert_eq!(talk.heard(endpoint), "early");
    talk.says("ping");
    assert_eq!(talk.heard(endpoint), "ping");
    talk.legs.closes(talk.client);
    talk.legs.runs();
    assert!(talk.legs.ends().known(endpoint).peer_closed, "one side may close first");
    talk.answers(endpoint, "last");
    assert_eq!(talk.heard(client), "last");
    talk.legs.closes(endpoint);
    talk.legs.runs();
    assert_eq!(talk.ended(), Ended::Complete);
    talk.legs.ends_clean();
}

#[test]
fn connections_are_passed_on_as_they_are() {
    let mut talk = Talk::new(&over(1));
    let client = talk.legs.client(9_000);
    talk.legs.says(client, b"\x00anything");
    talk.legs.runs();
    let endpoint = talk.legs.ends().accepted(0).next().unwrap();
    assert_eq!(talk.heard(endpoint), "\0anything");
    talk.answers(endpoint, "back");
    talk.legs.closes(client);
    talk.legs.runs();
    assert!(talk.legs.ends().known(endpoint).peer_closed);
    talk.answers(endpoint, " and more");
    talk.legs.closes(endpoint);
    talk.legs.runs();
    assert_eq!(talk.heard(client), "back and more");
    assert_eq!(talk.ended(), Ended::Complete);
    talk.legs.ends_clean();
}

#[test]
fn what_waits_behind_a_timeout_is_answered_too() {
    let mut snapshot = over(1);
    Arc::make_mut(&mut snapshot.http[0].rules.routes[0]).rules[0].timeouts.request_ms = Some(500);
    let mut talk = Talk::new(&snapshot);
    talk.says(&GET.repeat(2));
    talk.legs.settles(Duration::from_ms(600));
    let (first, second) = (talk.endpoint(), talk.endpoint());
    assert!(talk.legs.ends().known(first).ended.is_some(), "what was asked there is not waited for");
    talk.answers(second, OK);
    let client = talk.client;
    let heard = talk.heard(client);
    assert!(heard.starts_with("HTTP/1.1 504 ") && heard.ends_with("||hi"), "{heard}");
    talk.legs.ends_clean();
}

#[test]
fn whoever_cannot_be_reached_is_not_waited_for() {
    // No route leads there.
    let mut talk = Talk::new(&gateway(vec![to_backend()], Backend::new("b", &["192.0.2.1:8080".parse().unwrap()])));
    talk.says(GET);
    let client = talk.client;
    let heard = talk.heard(client);
    assert!(heard.starts_with("HTTP/1.1 503 Service Unavailable|") && heard.contains("retry-after: 1|"), "{heard}");
    assert_eq!(talk.ended(), Ended::ConnectImpossible);
    talk.legs.ends_clean();
}

#[test]
fn source_ports_bring_answers_home_or_there_are_none() {
    // The last hash of the table decides: all flows of half the hashes, or of none, come to queue 1.
    for (reta, status) in [(vec![0, 1], "200"), (vec![0, 0], "503")] {
        let rss = Rss { key: (0..52).collect(), reta, ports_hashed: PortsHashed { tcp: true, udp: false } };
        let mut legs = Legs::at_home(&over(1), 7, Home { queue: 1, rss: vec![rss.clone()] });
        let client = legs.client(80);
        legs.says(client, GET.as_bytes());
        legs.runs();
        let reached = legs.ends().accepted(0).next();
        if let Some(endpoint) = reached {
            let known = legs.ends().known(endpoint);
            let (local, remote) = (known.local.unwrap(), known.remote.unwrap());
            let ports = Some((local.port(), remote.port()));
            let flow = RssFlow { source: local.ip(), destination: remote.ip(), ports };
            assert_eq!(rss.queue(&flow), 1, "the endpoint's answers come to our queue");
            legs.says(endpoint, OK.as_bytes());
            legs.runs();
        }
        let heard = String::from_utf8_lossy(&legs.ends().known(client).heard).into_owned();
        assert!(heard.starts_with(&format!("HTTP/1.1 {status} ")), "{heard}");
        if status == "503" {
            assert_eq!(legs.record().unwrap().ended, Ended::ConnectImpossible);
        }
        legs.ends_clean();
    }
}

#[test]
fn a_full_endpoint_takes_no_more() {
    let mut snapshot = over(1);
    snapshot.backends[0].pool.connections_max = 1;
    let mut talk = Talk::new(&snapshot);
    talk.says(GET);
    let second = talk.legs.client(80);
    talk.legs.says(second, GET.as_bytes());
    talk.legs.runs();
    assert!(talk.heard(second).starts_with("HTTP/1.1 503 "));
    assert_eq!(talk.ended(), Ended::ConnectionsFull);
    talk.legs.ends_clean();
}

fn behind_a_proxy(trusted: &str) -> Snapshot {
    let mut snapshot = over(1);
    let proxy = ProxyProtocol { accept: Accept::Any, trusted: vec![trusted.parse().unwrap()] };
    snapshot.http[0].proxy_protocol = Some(proxy.clone());
    snapshot.tcp[0].proxy_protocol = Some(proxy);
    snapshot
}

#[test]
fn a_proxy_says_who_the_client_is() {
    for pieces in [usize::MAX, 1] {
        let mut talk = Talk::new(&behind_a_proxy("10.0.0.0/24"));
        let said = format!("PROXY TCP4 203.0.113.7 10.0.0.1 4711 80\r\n{GET}");
        for piece in said.as_bytes().chunks(pieces.min(said.len())) {
            talk.legs.says(talk.client, piece);
            talk.legs.runs();
        }
        let endpoint = talk.endpoint();
        assert_eq!(talk.heard(endpoint), FORWARDED.replace("10.0.0.2", "203.0.113.7"));
        talk.legs.ends_clean();
    }
}

#[test]
fn strangers_and_bad_headers_are_no_proxies() {
    for (trusted, said) in [
        ("192.0.2.0/24", "PROXY TCP4 203.0.113.7 10.0.0.1 4711 80\r\n"),
        ("10.0.0.0/24", "PROXY TCP4 203.0.113.7\r\n"),
        ("10.0.0.0/24", GET),
    ] {
        let mut talk = Talk::new(&behind_a_proxy(trusted));
        talk.says(said);
        let client = talk.client;
        assert!(talk.legs.ends().known(client).ended.is_some(), "{said:?} from {trusted}");
        assert_eq!(talk.heard(client), "");
        talk.legs.ends_clean();
    }
}

#[test]
fn a_backend_is_told_who_the_client_is() {
    let mut snapshot = behind_a_proxy("10.0.0.0/24");
    snapshot.backends[0].proxy_protocol = Some(ProxyVersion::V1);
    let mut talk = Talk::new(&snapshot);
    talk.says(&format!("PROXY TCP4 203.0.113.7 10.0.0.1 4711 80\r\n{GET}"));
    let header = "PROXY TCP4 203.0.113.7 10.0.0.1 4711 80|";
    let first = talk.endpoint();
    assert_eq!(talk.heard(first), header.to_owned() + &FORWARDED.replace("10.0.0.2", "203.0.113.7"));
    talk.answers(first, OK);
    talk.says(GET);
    let second = talk.endpoint();
    assert!(talk.heard(second).starts_with(header), "a connection belongs to one client, and is not kept for another");
    // The same for bytes.
    let raw = talk.legs.client(9_000);
    talk.legs.says(raw, b"PROXY TCP4 203.0.113.8 10.0.0.1 4712 9000\r\nanything");
    talk.legs.runs();
    let third = talk.endpoint();
    assert_eq!(talk.heard(third), "PROXY TCP4 203.0.113.8 10.0.0.1 4712 9000|anything");
    talk.legs.ends_clean();
}

#[test]
fn a_rule_does_not_pretend_to_be_a_tunnel() {
    let direct = serde_json::from_str(
        r#"{"matches": [{"method": "CONNECT"}], "filters": [{"type": "DirectResponse", "with": {"statusCode": 200}}]}"#,
    )
    .unwrap();
    let mut talk = Talk::new(&gateway(vec![direct], Backend::new("b", &[endpoint(0)])));
    talk.says("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
    let client = talk.client;
    assert!(talk.heard(client).starts_with("HTTP/1.1 400 "));
    talk.legs.ends_clean();
}

/// Tunnels to one backend.
fn tunnels() -> Snapshot {
    let connect = Match { method: Some("CONNECT".into()), ..Match::default() };
    gateway(vec![Rule { matches: vec![connect], ..to_backend() }], Backend::new("b", &[endpoint(0)]))
}

#[test]
fn connect_becomes_a_tunnel_with_a_2xx() {
    let mut talk = Talk::new(&tunnels());
    talk.says("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
    let (endpoint, client) = (talk.endpoint(), talk.client);
    assert!(talk.heard(endpoint).starts_with("CONNECT a:443 HTTP/1.1|host: a:443|"));
    talk.answers(endpoint, "HTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(talk.heard(client), "HTTP/1.1 200 OK|via: 1.1 weirgate||");
    talk.says("anything");
    assert_eq!(talk.heard(endpoint), "anything");
    talk.legs.ends_clean();
}

#[test]
fn an_old_connection_takes_no_further_request() {
    let mut snapshot = over(1);
    snapshot.http[0].options.timeouts.connection_age_ms = Some(1_000);
    Arc::make_mut(&mut snapshot.http[0].rules.routes[0]).hostnames = vec!["b".into()];
    let mut talk = Talk::new(&snapshot);
    talk.says(GET);
    let client = talk.client;
    assert!(!talk.heard(client).contains("connection: close"));
    talk.legs.settles(Duration::from_ms(1_000));
    talk.says(GET);
    assert!(talk.heard(client).contains("connection: close"), "of our own answers, too");
    talk.legs.ends_clean();
}
