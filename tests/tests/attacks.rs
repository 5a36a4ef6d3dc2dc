//! What a hostile client or backend may send, row by row: what becomes of it, and for what goes on, the exact bytes that the other side gets.
//! Each row is sent whole and byte by byte. The table of all rows, `tests/ATTACKS.md`, is written by `WEIRGATE_WRITE=1` and checked otherwise.

use std::fmt::Write;
use weirgate_dataplane::{
    exchange::Ended,
    http::{Refusal, Side},
    route::Rule,
    snapshot::{Backend, Snapshot},
    time::Duration,
};
use weirgate_tests::exchange::{Conn, Legs, endpoint, gateway, to_backend};

enum Verdict {
    /// A status, a reason, and nothing goes on.
    Refused(u16, Refusal),
    /// Answered here with this status, and nothing goes on.
    Answered(u16),
    /// These bytes go on; `|` stands for CRLF, `~` for what every request gets.
    Forwarded(&'static str),
    /// What the client hears, for what a backend says.
    Heard(&'static str),
}
use Verdict::{Answered, Forwarded, Heard, Refused};

/// Row of the list, case, what is sent, verdict.
type Row = (char, &'static str, &'static str, Verdict);

const ADDED: &str = "x-forwarded-for: 10.0.0.2|x-forwarded-proto: http|x-forwarded-host: a|via: 1.1 weirgate|";

fn requests() -> Vec<Row> {
    use Refusal as R;
    vec![
        (
            'A',
            "Content-Length with Transfer-Encoding",
            "POST / HTTP/1.1|Host: a|Content-Length: 1|Transfer-Encoding: chunked||0||",
            Refused(400, R::ContentLengthAndTransferEncoding),
        ),
        (
            'A',
            "the same, the other way round",
            "POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked|Content-Length: 1||0||",
            Refused(400, R::ContentLengthAndTransferEncoding),
        ),
        (
            'A',
            "two codings",
            "POST / HTTP/1.1|Host: a|Transfer-Encoding: gzip, chunked||0||",
            Refused(501, R::TransferCodingUnknown),
        ),
        (
            'A',
            "an unknown coding",
            "POST / HTTP/1.1|Host: a|Transfer-Encoding: xchunked||0||",
            Refused(400, R::ChunkedNotFinal),
        ),
        (
            'A',
            "chunked not last",
            "POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked, identity||0||",
            Refused(400, R::ChunkedNotFinal),
        ),
        (
            'A',
            "chunked twice",
            "POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked|Transfer-Encoding: chunked||0||",
            Refused(400, R::ChunkedNotFinal),
        ),
        (
            'A',
            "a coding on HTTP/1.0 (CVE-2026-2835)",
            "POST / HTTP/1.0|Host: a|Transfer-Encoding: chunked||0||",
            Refused(400, R::TransferEncodingOn10),
        ),
        (
            'A',
            "a coding after a vertical tab",
            "POST / HTTP/1.1|Host: a|Transfer-Encoding: \u{b}chunked||0||",
            Refused(400, R::FieldValue),
        ),
        (
            'A',
            "two equal lengths",
            "POST / HTTP/1.1|Host: a|Content-Length: 1|Content-Length: 1||x",
            Refused(400, R::ContentLengthSeveral),
        ),
        (
            'A',
            "two lengths",
            "POST / HTTP/1.1|Host: a|Content-Length: 1|Content-Length: 2||x",
            Refused(400, R::ContentLengthSeveral),
        ),
        (
            'A',
            "a list of lengths",
            "POST / HTTP/1.1|Host: a|Content-Length: 1, 1||x",
            Refused(400, R::ContentLengthSeveral),
        ),
        ('A', "an empty length", "POST / HTTP/1.1|Host: a|Content-Length:||x", Refused(400, R::ContentLength)),
        ('A', "a signed length", "POST / HTTP/1.1|Host: a|Content-Length: +1||x", Refused(400, R::ContentLength)),
        ('A', "a hexadecimal length", "POST / HTTP/1.1|Host: a|Content-Length: 0x1||x", Refused(400, R::ContentLength)),
        (
            'A',
            "a length that overflows (CVE-2021-40346)",
            "POST / HTTP/1.1|Host: a|Content-Length: 18446744073709551617||x",
            Refused(400, R::ContentLengthLarge),
        ),
        (
            'A',
            "a signed chunk size",
            "POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked||+1|x|0||",
            Refused(400, R::ChunkSize),
        ),
        (
            'A',
            "a chunk size with a prefix",
            "POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked||0x1|x|0||",
            Refused(400, R::ChunkSize),
        ),
        (
            'A',
            "a chunk size after a space",
            "POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked|| 1|x|0||",
            Refused(400, R::ChunkSize),
        ),
        (
            'A',
            "a chunk size that overflows",
            "POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked||10000000000000001|x|0||",
            Refused(400, R::ChunkLarge),
        ),
        (
            'A',
            "an extension with a bare LF",
            "POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked||1;a\nb|x|0||",
            Refused(400, R::BareLf),
        ),
        (
            'A',
            "an extension with a bare CR",
            "POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked||1;a\rb|x|0||",
            Refused(400, R::BareCr),
        ),
        (
            'A',
            "wrong bytes after a chunk",
            "POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked||1|xy0||",
            Refused(400, R::ChunkEnd),
        ),
        (
            'A',
            "extensions do not go on",
            "POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked||1;a=b|x|0;c||",
            Forwarded("POST / HTTP/1.1|host: a|~transfer-encoding: chunked||1|x|0||"),
        ),
        (
            'A',
            "a length in trailers (RUSTSEC-2021-0079)",
            "POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked||0|Content-Length: 5||",
            Refused(400, R::TrailerField),
        ),
        (
            'A',
            "a host in trailers",
            "POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked||0|Host: b||",
            Refused(400, R::TrailerField),
        ),
        ('A', "a NUL in a value", "GET / HTTP/1.1|Host: a|x: a\0b||", Refused(400, R::FieldValue)),
        ('A', "a bare CR in a value", "GET / HTTP/1.1|Host: a|x: a\rb||", Refused(400, R::BareCr)),
        ('A', "lines that end in LF", "GET / HTTP/1.1\nHost: a\n\n", Refused(400, R::BareLf)),
        ('A', "obs-fold", "GET / HTTP/1.1|Host: a|x: a| b||", Refused(400, R::ObsFold)),
        ('A', "a space before the colon", "GET / HTTP/1.1|Host: a|x : a||", Refused(400, R::FieldNameSpace)),
        ('A', "an empty name (CVE-2023-25725)", "GET / HTTP/1.1|Host: a|: a||", Refused(400, R::FieldNameEmpty)),
        ('A', "a first field that begins with a space", "GET / HTTP/1.1| Host: a||", Refused(400, R::LeadingSpace)),
        ('A', "a wrong version", "GET / HTTP/2.1|Host: a||", Refused(505, R::VersionUnsupported)),
        ('A', "a minor version of later", "GET / HTTP/1.2|Host: a||", Forwarded("GET / HTTP/1.1|host: a|~|")),
        ('A', "a version in other letters", "GET / http/1.1|Host: a||", Refused(400, R::Version)),
        ('A', "HTTP/0.9", "GET /|", Refused(400, R::Http09)),
        ('A', "a fragment", "GET /a#b HTTP/1.1|Host: a||", Refused(400, R::TargetFragment)),
        ('A', "absolute form against Host", "GET http://b/ HTTP/1.1|Host: a||", Refused(400, R::HostMismatch)),
        ('A', "absolute form", "GET http://a/x HTTP/1.1|Host: a||", Forwarded("GET /x HTTP/1.1|host: a|~|")),
        ('A', "userinfo", "GET http://u@a/ HTTP/1.1|Host: a||", Refused(400, R::UserInfo)),
        ('A', "several Hosts (CVE-2019-18802)", "GET / HTTP/1.1|Host: a|Host: a||", Refused(400, R::HostSeveral)),
        ('A', "no Host", "GET / HTTP/1.1||", Refused(400, R::HostMissing)),
        (
            'A',
            "h2c upgrade is not passed on",
            "GET / HTTP/1.1|Host: a|Connection: Upgrade, HTTP2-Settings|Upgrade: h2c|HTTP2-Settings: AAMAAABk||",
            Forwarded("GET / HTTP/1.1|host: a|~|"),
        ),
        (
            'A',
            "a request as content is content",
            "POST / HTTP/1.1|Host: a|Content-Length: 28||GET /x HTTP/1.1\r\nHost: b\r\n\r\n",
            Forwarded("POST / HTTP/1.1|host: a|~content-length: 28||GET /x HTTP/1.1|Host: b||"),
        ),
        ('A', "a TLS hello", "\u{16}\u{3}\u{1}", Refused(400, R::Method)),
        ('A', "get is not GET", "get / HTTP/1.1|Host: a||", Refused(400, R::MethodCase)),
        ('B', "double slashes", "GET //a//b HTTP/1.1|Host: a||", Forwarded("GET /a/b HTTP/1.1|host: a|~|")),
        ('B', "an escaped slash", "GET /a%2Fb HTTP/1.1|Host: a||", Refused(400, R::EscapedSlash)),
        ('B', "an escaped backslash", "GET /a%5Cb HTTP/1.1|Host: a||", Refused(400, R::EscapedSlash)),
        ('B', "a backslash", "GET /a\\b HTTP/1.1|Host: a||", Refused(400, R::Backslash)),
        ('B', "dots with parameters", "GET /a/..;/b HTTP/1.1|Host: a||", Refused(400, R::DotParameters)),
        ('B', "escaped dots", "GET /a/%2e%2e/b HTTP/1.1|Host: a||", Forwarded("GET /b HTTP/1.1|host: a|~|")),
        ('B', "above the root", "GET /../b HTTP/1.1|Host: a||", Refused(400, R::AboveRoot)),
        ('B', "parameters", "GET /a;x=1/b HTTP/1.1|Host: a||", Forwarded("GET /a;x=1/b HTTP/1.1|host: a|~|")),
        (
            'B',
            "a trailing dot and a port",
            "GET / HTTP/1.1|Host: A.:80||",
            Forwarded(
                "GET / HTTP/1.1|host: a:80|x-forwarded-for: 10.0.0.2|x-forwarded-proto: http|x-forwarded-host: a:80|via: 1.1 weirgate||",
            ),
        ),
        ('B', "an underscore in a name", "GET / HTTP/1.1|Host: a|x_id: 1||", Refused(400, R::FieldUnderscore)),
        (
            'B',
            "hop by hop through Connection",
            "GET / HTTP/1.1|Host: a|Connection: x-secret|X-Secret: 1||",
            Forwarded("GET / HTTP/1.1|host: a|~|"),
        ),
        ('B', "Connection names Host", "GET / HTTP/1.1|Host: a|Connection: host||", Refused(400, R::ConnectionNames)),
        (
            'B',
            "trust headers of strangers",
            "GET / HTTP/1.1|Host: a|X-Forwarded-For: 1.1.1.1|X-Real-IP: 1.1.1.1|Forwarded: for=1.1.1.1|X-Original-URL: /admin||",
            Forwarded("GET / HTTP/1.1|host: a|~|"),
        ),
        (
            'B',
            "three dots are a name",
            "GET /rewrite/..%2e/x HTTP/1.1|Host: a||",
            Forwarded("GET /new/.../x HTTP/1.1|host: a|~|"),
        ),
        ('B', "a rule is matched by the normal form", "GET /x/../secret HTTP/1.1|Host: a||", Answered(403)),
        ('B', "and not by how it was written", "GET //%73ecret HTTP/1.1|Host: a||", Answered(403)),
        (
            'B',
            "a repeated field is one value",
            "GET / HTTP/1.1|Host: a|x-role: user|x-role: admin||",
            Forwarded("GET / HTTP/1.1|host: a|x-role: user|x-role: admin|~|"),
        ),
    ]
}

fn responses() -> Vec<Row> {
    const BAD: Verdict = Heard(
        "HTTP/1.1 502 Bad Gateway|server: weirgate|content-type: text/plain; charset=utf-8|content-length: 12||bad gateway\n",
    );
    vec![
        (
            'A',
            "a backend's length with a coding",
            "HTTP/1.1 200 OK|Content-Length: 1|Transfer-Encoding: chunked||0||",
            BAD,
        ),
        ('A', "a backend's two lengths", "HTTP/1.1 200 OK|Content-Length: 1|Content-Length: 2||x", BAD),
        ('A', "a split response", "HTTP/1.1 200 OK|x: a\rb||", BAD),
        (
            'A',
            "1xx without end",
            "HTTP/1.1 103 Early Hints||HTTP/1.1 103 Early Hints||HTTP/1.1 103 Early Hints||HTTP/1.1 103 Early Hints||HTTP/1.1 103 Early Hints||HTTP/1.1 103 Early Hints||HTTP/1.1 103 Early Hints||HTTP/1.1 103 Early Hints||HTTP/1.1 103 Early Hints||HTTP/1.1 103 Early Hints||HTTP/1.1 103 Early Hints||HTTP/1.1 103 Early Hints||HTTP/1.1 103 Early Hints||HTTP/1.1 103 Early Hints||HTTP/1.1 103 Early Hints||HTTP/1.1 103 Early Hints||HTTP/1.1 103 Early Hints||",
            Heard("…bad gateway\n"),
        ),
        ('A', "a 204 with a length", "HTTP/1.1 204 No Content|Content-Length: 5||hello", BAD),
        (
            'A',
            "a 304 with content",
            "HTTP/1.1 304 Not Modified|Content-Length: 5||hello",
            Heard("HTTP/1.1 304 Not Modified|via: 1.1 weirgate|content-length: 5||"),
        ),
        (
            'A',
            "a 101 that nobody asked for (CVE-2026-2833)",
            "HTTP/1.1 101 Switching Protocols|Connection: upgrade|Upgrade: x||",
            BAD,
        ),
        (
            'A',
            "a second answer behind the first",
            "HTTP/1.1 200 OK|Content-Length: 1||xHTTP/1.1 200 OK|Content-Length: 1||y",
            Heard("HTTP/1.1 200 OK|via: 1.1 weirgate|content-length: 1||x"),
        ),
        ('A', "a status that is none", "HTTP/1.1 999 OK||", BAD),
        (
            'A',
            "hop by hop of a backend",
            "HTTP/1.1 200 OK|Connection: x-a, keep-alive|x-a: 1|Keep-Alive: 5|Content-Length: 0||",
            Heard("HTTP/1.1 200 OK|via: 1.1 weirgate|content-length: 0||"),
        ),
    ]
}

fn over() -> Snapshot {
    let rules: Vec<Rule> = serde_json::from_str(
        r#"[{"matches": [{"path": {"value": "/secret"}}], "filters": [{"type": "DirectResponse", "with": {"statusCode": 403}}]},
            {"matches": [{"path": {"value": "/rewrite"}}], "backends": [{"backend": "b"}],
             "filters": [{"type": "UrlRewrite", "with": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"}}}]}]"#,
    )
    .expect("rules");
    gateway(rules.into_iter().chain([to_backend()]).collect(), Backend::new("b", &[endpoint(0)]))
}

fn say(legs: &mut Legs, conn: Conn, bytes: &[u8], whole: bool) {
    for piece in bytes.chunks(if whole { bytes.len() } else { 1 }) {
        legs.says(conn, piece);
        if !whole {
            legs.settles(Duration::from_us(300));
        }
    }
    legs.runs();
}

fn text(legs: &mut Legs, conn: Conn) -> String {
    String::from_utf8_lossy(&legs.ends().known(conn).heard).replace("\r\n", "|")
}

fn check_request((_, case, sent, verdict): &Row, whole: bool) {
    let mut legs = Legs::new(&over(), 1);
    let client = legs.client(80);
    say(&mut legs, client, sent.replace('|', "\r\n").as_bytes(), whole);
    let reached = legs.ends().accepted(0).next();
    let went = reached.map_or(String::new(), |conn| text(&mut legs, conn));
    let heard = text(&mut legs, client);
    match verdict {
        Refused(status, refusal) => {
            assert!(heard.starts_with(&format!("HTTP/1.1 {status} ")), "{case}: {heard}");
            assert!(heard.contains("connection: close|"), "{case}: nothing follows: {heard}");
            let counted = legs.gateway().counters().refusals(Side::Server, *refusal);
            assert_eq!(counted, 1, "{case}: counted as {}", refusal.name());
            assert!(!went.ends_with("0||"), "{case}: what has gone on does not look whole: {went}");
            assert_eq!(legs.record().map(|record| record.ended), Some(Ended::Refused), "{case}");
        }
        Answered(status) => {
            assert!(heard.starts_with(&format!("HTTP/1.1 {status} ")), "{case}: {heard}");
            assert_eq!(went, "", "{case}");
        }
        Forwarded(expected) => {
            assert_eq!(went, expected.replace('~', ADDED), "{case}");
        }
        Heard(_) => unreachable!("of a backend's words"),
    }
    legs.ends_clean();
}

fn check_response((_, case, said, verdict): &Row, whole: bool) {
    let mut legs = Legs::new(&over(), 1);
    let client = legs.client(80);
    say(&mut legs, client, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", true);
    let endpoint = legs.ends().accepted(0).next().expect("the request goes on");
    say(&mut legs, endpoint, said.replace('|', "\r\n").as_bytes(), whole);
    let heard = text(&mut legs, client);
    let Heard(expected) = verdict else { unreachable!("a client hears it") };
    match expected.strip_prefix('…') {
        Some(end) => assert!(heard.ends_with(end), "{case}: {heard}"),
        None => assert_eq!(heard, *expected, "{case}"),
    }
    // The next request never meets what is left of this answer: only what was clean is used again.
    say(&mut legs, client, b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n", true);
    let used_again = text(&mut legs, endpoint).contains("/next");
    assert_eq!(used_again, *case == "hop by hop of a backend", "{case}");
    legs.ends_clean();
}

#[test]
fn hostile_requests() {
    for row in &requests() {
        check_request(row, true);
        check_request(row, false);
    }
}

#[test]
fn hostile_responses() {
    for row in &responses() {
        check_response(row, true);
        check_response(row, false);
    }
}

/// What else is tested, and where.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    ("A", "unread content before the next request (CVE-2025-4366)", "`exchanges::an_early_answer_ends_an_upload`"),
    (
        "A",
        "a tunnel before its 101 (CVE-2026-2833, CVE-2024-23326)",
        "`exchanges::an_upgrade_becomes_a_tunnel_with_its_answer`",
    ),
    (
        "A",
        "an answer's tail in the place of the next client",
        "`hostile::what_an_endpoint_said_is_not_what_the_next_client_says`",
    ),
    ("A", "an answer before its request", "`hostile::an_answer_that_came_before_its_request_is_none`"),
    ("A", "CONNECT past a rule that does not name it", "`hostile::a_rule_for_everything_is_no_rule_for_connect`"),
    ("A", "a request behind a refused PROXY header", "`hostile::a_refused_proxy_header_has_no_second_try`"),
    ("A", "hundreds of requests in one segment", "`exchanges::hundreds_of_requests_in_one_segment_are_a_loop`"),
    ("A", "one byte at a time", "`exchanges::heads_come_byte_by_byte`, and each row here"),
    ("A", "bytes that filters put into fields (CVE-2023-27493)", "`filters::headers`, `http::h1::write` (unit tests)"),
    ("A", "HEAD with content", "`http::h1::receive` (unit tests)"),
    ("B", "dot segments made by a rewrite", "`filters::rewrite` (unit tests): 400, counted `target`"),
    ("B", "fields behind the content", "`hostile::trailers_are_filtered_as_fields_are`, `forwarding`"),
    ("B", "other names for who the client is", "`hostile::strangers_say_nothing_about_themselves`"),
    ("D", "requests without end, answers unread", "`hostile::answers_of_ours_wait_for_a_client_that_does_not_read`"),
    ("D", "single bytes that wait", "`hostile::single_bytes_that_wait_pin_no_frames`"),
    ("D", "frames that wait, of thousands", "`hostile::frames_that_wait_are_given_back_when_others_need_them`"),
    ("D", "heads that are not whole, of hundreds", "`hostile::heads_that_are_not_whole_refuse_nobody_elses`"),
    ("D", "slow heads", "`exchanges::whoever_takes_too_long_is_told`: 408, counted `head_timeout`"),
    ("D", "slow bodies", "`exchanges::whoever_takes_too_long_is_told`: 408, counted `body_slow`"),
    ("D", "slow reads", "`exchanges::a_slow_client_closes_the_backends_window`: bounded, the backend waits"),
    ("D", "one byte per segment", "each row here"),
    ("D", "huge targets, fields, cookies", "`http::h1` (unit tests): 414, 431"),
    (
        "D",
        "source ports exhausted upstream",
        "`exchanges::source_ports_bring_answers_home_or_there_are_none`: 503, counted `connect_impossible`",
    ),
    ("D", "backends that do not answer", "`exchanges::whoever_takes_too_long_is_told`: 504"),
    ("D", "churn", "`exchange_worlds`; the lab's storms"),
];

#[test]
fn the_table_is_what_was_tested() {
    let mut table = String::from(
        "<!-- Written by tests/tests/attacks.rs. -->\n# What a hostile peer sends over HTTP/1.1, and what becomes of it\n\nA: framing, B: normalisation, D: slow \
         and greedy. `|` is CRLF.\n\n| row | case | verdict | test |\n| --- | --- | --- | --- |\n",
    );
    let escaped = |text: &str| text.replace('|', "\\|").replace('\n', "\\n");
    for (rows, test) in [(requests(), "hostile_requests"), (responses(), "hostile_responses")] {
        for (row, case, _, verdict) in rows {
            let verdict = match verdict {
                Refused(status, refusal) => format!("{status}, counted `{}`, connection closed", refusal.name()),
                Answered(status) => format!("{status}, nothing goes on"),
                Forwarded(bytes) => format!("goes on as `{}`", escaped(&bytes.replace('~', "…"))),
                Heard(bytes) => format!("the client hears `{}`", escaped(bytes)),
            };
            writeln!(table, "| {row} | {case} | {verdict} | `attacks::{test}` |").unwrap();
        }
    }
    for (row, case, test) in ELSEWHERE {
        writeln!(table, "| {row} | {case} | as the test says | {test} |").unwrap();
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/ATTACKS.md");
    if std::env::var_os("WEIRGATE_WRITE").is_some() {
        std::fs::write(path, &table).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), table, "write it anew with WEIRGATE_WRITE=1");
}
