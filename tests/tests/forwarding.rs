//! What HTTP asks of whoever stands between two others (RFC 9110 section 7, RFC 9112), byte by byte: `|` is CRLF.

use std::sync::Arc;
use weirgate_dataplane::{
    exchange::Ended,
    filters::{FilterSpec, HeaderModifierSpec},
    route::{Match, Rule},
    snapshot::{Backend, Snapshot},
    time::Duration,
};
use weirgate_tests::exchange::{Conn, Talk, endpoint, gateway, over, to_backend};

fn wire(text: &str) -> String {
    text.replace('|', "\r\n")
}

fn tunnels() -> Snapshot {
    let connect = Match { method: Some("CONNECT".into()), ..Match::default() };
    gateway(vec![Rule { matches: vec![connect], ..to_backend() }], Backend::new("b", &[endpoint(0)]))
}

fn rules(json: &str) -> Snapshot {
    let rule: Rule = serde_json::from_str(json).expect("a rule");
    gateway(vec![rule], Backend::new("b", &[endpoint(0)]))
}

/// What the endpoint gets of a request; `None`: nothing.
fn passed(talk: &mut Talk, request: &str) -> Option<String> {
    let from = talk.legs.ends().len();
    talk.says(&wire(request));
    let conn = talk.legs.ends().accepted(from).next()?;
    Some(talk.heard(conn))
}

/// What the client gets of an answer to a request.
fn answered(snapshot: &Snapshot, request: &str, answer: &str) -> (String, Ended) {
    let mut talk = Talk::new(snapshot);
    talk.says(&wire(request));
    let conn = talk.endpoint();
    talk.answers(conn, &wire(answer));
    let client = talk.client;
    let heard = talk.heard(client);
    let ended = talk.legs.record().map_or(Ended::Stopping, |record| record.ended);
    talk.legs.ends_clean();
    (heard, ended)
}

#[test]
fn requests_go_on_as_the_rfc_says() {
    // The request; what of it goes on, or the status of the answer.
    for (request, wanted) in [
        // rfc9110 7.6.2.
        ("OPTIONS / HTTP/1.1|Host: a|Max-Forwards: 7||", Ok("max-forwards: 6")),
        ("OPTIONS * HTTP/1.1|Host: a|Max-Forwards: 1||", Ok("max-forwards: 0")),
        ("TRACE / HTTP/1.1|Host: a|Max-Forwards: 99999999999||", Ok("max-forwards: 65534")),
        ("OPTIONS / HTTP/1.1|Host: a|Max-Forwards: 0||", Err(204)),
        ("TRACE / HTTP/1.1|Host: a|Max-Forwards: 0||", Err(501)),
        ("OPTIONS / HTTP/1.1|Host: a|Max-Forwards: x||", Err(400)),
        ("OPTIONS / HTTP/1.1|Host: a|Max-Forwards: 1|Max-Forwards: 1||", Err(400)),
        ("GET / HTTP/1.1|Host: a|Max-Forwards: 0||", Ok("max-forwards: 0")),
        // rfc9110 7.4.
        ("GET https://a/ HTTP/1.1|Host: a||", Err(421)),
        ("GET http://a/ HTTP/1.1|Host: a||", Ok("GET / HTTP/1.1|host: a|")),
        // rfc9110 9.3.8.
        ("TRACE / HTTP/1.1|Host: a|Content-Length: 3||abc", Err(400)),
        // rfc9112 9.3: without a host there is none in Forwarded either.
        ("GET / HTTP/1.0||", Ok("GET / HTTP/1.1|host: |x-forwarded-for: 10.0.0.2|x-forwarded-proto: http|via: 1.0")),
    ] {
        let mut talk = Talk::new(&over(1));
        let got = passed(&mut talk, request);
        let client = talk.client;
        let answer = talk.heard(client);
        match (wanted, got) {
            (Ok(part), Some(text)) => assert!(text.contains(part), "{request}: {text}"),
            (Err(status), None) => assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}"),
            (wanted, got) => panic!("{request}: wanted {wanted:?}, {got:?} went on, the answer is {answer:?}"),
        }
        talk.legs.ends_clean();
    }
}

/// rfc9110 7.6.1 (MUST): what Connection names ends here, in front of content and behind it.
#[test]
fn trailers_that_connection_names_end_here() {
    let mut talk = Talk::new(&over(1));
    let request = "POST / HTTP/1.1|Host: a|Connection: x-hop|Transfer-Encoding: chunked|TE: trailers||0|X-Hop: s||";
    let text = passed(&mut talk, request).expect("it goes on");
    assert!(text.ends_with("transfer-encoding: chunked|te: trailers|connection: te||0||"), "{text}");
    let conn = talk.legs.ends().accepted(0).next().expect("the same");
    talk.answers(conn, &wire("HTTP/1.1 200 OK|Connection: x-hop|Transfer-Encoding: chunked||0|X-Hop: s||"));
    let client = talk.client;
    let text = talk.heard(client);
    assert!(text.ends_with("transfer-encoding: chunked||0||"), "{text}");
    talk.legs.ends_clean();
}

/// What a rule takes away it takes away behind the content, too.
#[test]
fn a_rule_holds_for_trailers() {
    let remove = HeaderModifierSpec { remove: vec!["x-secret".into()], ..HeaderModifierSpec::default() };
    let filters = vec![FilterSpec::RequestHeaderModifier(remove.clone()), FilterSpec::ResponseHeaderModifier(remove)];
    let snapshot = gateway(vec![Rule { filters, ..to_backend() }], Backend::new("b", &[endpoint(0)]));
    let mut talk = Talk::new(&snapshot);
    let fields = "x-secret: 1|x-open: 2||";
    let request = format!("POST / HTTP/1.1|Host: a|TE: trailers|Transfer-Encoding: chunked||0|{fields}");
    let text = passed(&mut talk, &request).expect("it goes on");
    assert!(text.ends_with("||0|x-open: 2||"), "{text}");
    let conn = talk.legs.ends().accepted(0).next().expect("the same");
    talk.answers(conn, &wire(&format!("HTTP/1.1 200 OK|Transfer-Encoding: chunked||0|{fields}")));
    let client = talk.client;
    assert!(talk.heard(client).ends_with("||0|x-open: 2||"));
    talk.legs.ends_clean();
}

#[test]
fn answers_go_on_as_the_rfc_says() {
    let (web, connect) = (over(1), tunnels());
    for (snapshot, request, answer, wanted) in [
        // rfc9110 8.6 (MUST NOT): no length in 1xx and 204, to HEAD neither.
        (
            &web,
            "HEAD / HTTP/1.1|Host: a|Connection: close||",
            "HTTP/1.1 103 Early Hints|Link: x||HTTP/1.1 204 No Content|Content-Length: 0||",
            "HTTP/1.1 103 Early Hints|link: x|via: 1.1 weirgate||HTTP/1.1 204 No Content|via: 1.1 weirgate|connection: close||",
        ),
        (
            &web,
            "HEAD / HTTP/1.1|Host: a||",
            "HTTP/1.1 200 OK|Content-Length: 5||",
            "HTTP/1.1 200 OK|via: 1.1 weirgate|content-length: 5||",
        ),
        // rfc9110 15.5.22 (MUST): to what to upgrade.
        (
            &web,
            "GET / HTTP/1.1|Host: a||",
            "HTTP/1.1 426 Upgrade Required|Upgrade: websocket|Connection: Upgrade|Content-Length: 0||",
            "HTTP/1.1 426 Upgrade Required|via: 1.1 weirgate|upgrade: websocket|content-length: 0|connection: upgrade||",
        ),
        // rfc9112 6.3 rule 2, rfc9110 9.3.6: any 2xx to CONNECT is a tunnel, whatever it says of content.
        (
            &connect,
            "CONNECT a:1 HTTP/1.1|Host: a:1||",
            "HTTP/1.1 204 No Content||behind",
            "HTTP/1.1 204 No Content|via: 1.1 weirgate||behind",
        ),
        (
            &connect,
            "CONNECT a:1 HTTP/1.1|Host: a:1||",
            "HTTP/1.1 200 OK|Content-Length: 7|Content-Length: 8|Transfer-Encoding: x||behind",
            "HTTP/1.1 200 OK|via: 1.1 weirgate||behind",
        ),
        // rfc9112 9.6: who is told everything while he still sends is told that the connection ends.
        (
            &web,
            "POST / HTTP/1.1|Host: a|Content-Length: 10||abc",
            "HTTP/1.1 302 Found|Location: /b|Content-Length: 0||",
            "HTTP/1.1 302 Found|location: /b|via: 1.1 weirgate|content-length: 0|connection: close||",
        ),
    ] {
        assert_eq!(answered(snapshot, request, answer).0, wanted, "{request} {answer}");
    }
}

/// rfc9110 6.6.1 (MUST): whoever has a clock adds the time to an answer that goes on without one.
#[test]
fn answers_say_when_they_came() {
    for (said, heard) in [("", "date: Sun, 06 Nov 1994 08:49:37 GMT|"), ("Date: then|", "date: then|")] {
        let mut talk = Talk::new(&over(1));
        talk.legs.tells_time(784_111_777);
        talk.says(&wire("GET / HTTP/1.1|Host: a||"));
        let conn = talk.endpoint();
        talk.answers(conn, &wire(&format!("HTTP/1.1 200 OK|{said}Content-Length: 0||")));
        let client = talk.client;
        let text = talk.heard(client);
        assert!(text.matches("date: ").count() == 1 && text.contains(heard), "{text}");
        talk.legs.ends_clean();
    }
}

/// rfc9110 9.3.2, 8.6: HEAD has no content, refused or not, and no length where there is none.
#[test]
fn answers_of_ours_to_head_have_no_content() {
    let mut talk = Talk::new(&over(1));
    talk.says(&wire("HEAD / HTTP/1.1||"));
    let client = talk.client;
    let text = talk.heard(client);
    assert!(text.starts_with("HTTP/1.1 400 ") && text.ends_with("content-length: 12|connection: close||"), "{text}");
    talk.legs.ends_clean();

    let direct = r#"{"filters": [{"type": "DirectResponse", "with": {"statusCode": 204}}]}"#;
    let mut talk = Talk::new(&rules(direct));
    talk.says(&wire("HEAD / HTTP/1.1|Host: a||"));
    let client = talk.client;
    assert_eq!(talk.heard(client), "HTTP/1.1 204 No Content|server: weirgate||");
    talk.legs.ends_clean();
}

/// rfc9110 4.2.1 (MUST NOT), 10.2.2: where no host is known a redirect names none; and what is no path goes nowhere.
#[test]
fn redirects_name_no_empty_host() {
    let redirect = r#"{"filters": [{"type": "Redirect", "with": {"statusCode": 301}}]}"#;
    for (request, wanted) in [
        ("GET /x?y HTTP/1.0||", "301 Moved Permanently|server: weirgate|location: /x?y|"),
        ("GET /x HTTP/1.1|Host: a||", "301 Moved Permanently|server: weirgate|location: http://a/x|"),
        ("OPTIONS * HTTP/1.1|Host: a||", "400 Bad Request|"),
    ] {
        let mut talk = Talk::new(&rules(redirect));
        talk.says(&wire(request));
        let client = talk.client;
        let text = talk.heard(client);
        assert!(text.starts_with(&format!("HTTP/1.1 {wanted}")), "{request}: {text}");
        talk.legs.ends_clean();
    }
}

/// rfc9112 3.2 (MUST): the target of CONNECT and its Host are the same, rewritten or not.
#[test]
fn connects_target_is_its_host() {
    let rewrite = r#"{"matches": [{"method": "CONNECT"}], "backends": [{"backend": "b", "weight": 1}],
        "filters": [{"type": "UrlRewrite", "with": {"hostname": "db.internal"}}]}"#;
    let mut talk = Talk::new(&rules(rewrite));
    let text = passed(&mut talk, "CONNECT a:5432 HTTP/1.1|Host: a:5432||").expect("it goes on");
    assert!(text.starts_with("CONNECT db.internal:5432 HTTP/1.1|host: db.internal:5432|"), "{text}");
    talk.legs.ends_clean();
}

/// rfc9112 2.2: an empty line behind a request is no beginning of the next one, and its silence no fault.
#[test]
fn an_empty_line_begins_no_request() {
    let mut snapshot = over(1);
    Arc::make_mut(&mut snapshot.http[0].rules.routes[0]).hostnames = vec!["b".into()];
    let mut talk = Talk::new(&snapshot);
    talk.says(&wire("GET / HTTP/1.1|Host: a|||"));
    let client = talk.client;
    assert!(talk.heard(client).starts_with("HTTP/1.1 404 "));
    talk.legs.settles(Duration::from_secs(100));
    assert_eq!(talk.heard(client), "", "no 408");
    assert!(talk.legs.ends().known(client).peer_closed);
    talk.legs.ends_clean();
}

/// rfc9112 9.6: an answer that was made reaches a client that has closed its side at once.
#[test]
fn a_refusal_reaches_whoever_has_closed() {
    for request in ["GET / HTTP/1.1||", "GET / HTTP/1.1|Host: b|Connection: close||x", "\u{1}\u{2}\u{3}||"] {
        let mut snapshot = over(1);
        Arc::make_mut(&mut snapshot.http[0].rules.routes[0]).hostnames = vec!["c".into()];
        let mut talk = Talk::new(&snapshot);
        let client = talk.client;
        talk.legs.says(client, wire(request).as_bytes());
        talk.legs.closes(client);
        talk.legs.runs();
        let text = talk.heard(client);
        assert!(text.starts_with("HTTP/1.1 40"), "{request:?}: {text}");
        assert!(talk.legs.ends().known(client).peer_closed, "{request:?}: closed, not reset");
        talk.legs.ends_clean();
    }
}

/// A connection that is passed on: who will speak, and who will listen.
fn passed_on(from_endpoint: bool) -> (Talk, Conn, Conn) {
    let mut talk = Talk::new(&over(1));
    let client = talk.legs.client(9000);
    talk.legs.runs();
    talk.legs.says(client, b"hello");
    talk.legs.runs();
    let far = talk.endpoint();
    let (speaker, listener) = if from_endpoint { (far, client) } else { (client, far) };
    (talk, speaker, listener)
}

/// rfc9110 9.3.6 (MUST): what came before a side closed is still sent to the other, however slowly that reads.
#[test]
fn a_tunnels_last_bytes_survive_both_ends() {
    // More than the listener and our queue to it take while it does not read; the rest waits here, with its end, or at the speaker.
    for (from_endpoint, len) in [(true, 7_100_000), (false, 7_100_000), (true, 11_300_000), (false, 14_800_000)] {
        let (mut talk, speaker, listener) = passed_on(from_endpoint);
        talk.legs.ends().known(listener).deaf = true;
        talk.legs.says(speaker, &vec![b'x'; len]);
        talk.legs.closes(speaker);
        talk.legs.closes(listener);
        talk.legs.settles(Duration::from_secs(3));
        talk.legs.listens(listener);
        talk.legs.settles(Duration::from_secs(20));
        let heard = talk.legs.ends().known(listener).heard.iter().filter(|&&byte| byte == b'x').count();
        assert_eq!(heard, len, "from the endpoint: {from_endpoint}");
        assert!(talk.legs.ends().known(listener).peer_closed, "and the end");
        talk.legs.ends_clean();
    }
}

/// The same where nothing waits but the end: an end needs no room, and there is none.
#[test]
fn a_tunnels_end_needs_no_room() {
    for from_endpoint in [true, false] {
        // The first time: how much goes until some of it waits here. The second time not that last piece, but the end.
        let mut pieces = usize::MAX;
        for _ in 0..2 {
            let (mut talk, speaker, listener) = passed_on(from_endpoint);
            talk.legs.closes(listener);
            talk.legs.ends().known(listener).deaf = true;
            talk.legs.says(speaker, &vec![b'x'; 6_400_000]);
            talk.legs.settles(Duration::from_secs(1));
            let mut said = 0;
            while said < pieces && !waits(&talk) {
                talk.legs.says(speaker, &[b'x'; 1_400]);
                talk.legs.settles(Duration::from_ms(2));
                said += 1;
            }
            if pieces == usize::MAX {
                pieces = said - 1;
                continue;
            }
            assert!(!waits(&talk), "everything went on");
            talk.legs.closes(speaker);
            talk.legs.settles(Duration::from_secs(1));
            talk.legs.listens(listener);
            talk.legs.settles(Duration::from_secs(20));
            let heard = talk.legs.ends().known(listener).heard.iter().filter(|&&byte| byte == b'x').count();
            assert_eq!(heard, 6_400_000 + pieces * 1_400, "from the endpoint: {from_endpoint}");
            assert!(talk.legs.ends().known(listener).peer_closed, "and the end");
            talk.legs.ends_clean();
        }
    }
}

/// Whether bytes that came wait in the gateway.
fn waits(talk: &Talk) -> bool {
    talk.legs.gateway().tcp().conns(talk.legs.now()).any(|conn| conn.unconsumed > 0)
}

/// A listener's time for heads begins with the first byte of one, whatever came before it, and a 408 is of the request that it is about.
#[test]
fn a_slow_head_behind_an_empty_line_is_no_slower() {
    let mut talk = Talk::new(&over(1));
    // Somebody else's HEAD that is refused as content.
    talk.says(&wire("POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked||"));
    talk.says(&wire("HEAD |"));
    let client = talk.legs.client(80);
    talk.legs.runs();
    talk.legs.says(client, wire("OPTIONS * HTTP/1.1|Host: a|Max-Forwards: 0||").as_bytes());
    talk.legs.runs();
    for piece in ["|", "G", "E", "T"] {
        talk.legs.says(client, wire(piece).as_bytes());
        talk.legs.runs();
    }
    talk.legs.settles(Duration::from_secs(15));
    let text = talk.heard(client);
    assert!(text.contains("HTTP/1.1 408 ") && text.ends_with("request timeout\n"), "{text}");
    talk.legs.ends_clean();
}
