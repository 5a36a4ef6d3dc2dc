//! What is taken, and what is made of it.

use super::{
    super::*,
    driver::{Act, requests, responses},
};
use Act::{Answer, Expect};

#[test]
fn requests_are_read() {
    for (bytes, heard) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET a /\nend\npersists"),
        (
            "GET /p/q?a=b?c HTTP/1.1\r\nHOST: A.Example.:8080\r\n\r\n",
            "GET a.example /p/q port=8080 query=a=b?c\nend\npersists",
        ),
        ("GET /? HTTP/1.1\r\nHost:[::1]\r\n\r\n", "GET [::1] / query=\nend\npersists"),
        // A name in any letters, a value without the space around it, empty or with bytes beyond ASCII.
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX-Id: \t 7 8\t \r\nx-empty:  \r\nx-more: ü:,\"\r\n\r\n",
            "GET a / x-id=7 8 x-empty= x-more=\\xc3\\xbc:,\\\"\nend\npersists",
        ),
        // Other methods are not known and go on.
        ("PURGE /x HTTP/1.1\r\nHost: a\r\n\r\n", "PURGE a /x\nend\npersists"),
        ("m-search /x HTTP/1.1\r\nHost: a\r\n\r\n", "m-search a /x\nend\npersists"),
        // One empty line before a request.
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET a /\nend\npersists"),
        ("", "persists"),
        ("\r\n", "persists"),
        // What browsers send as it is.
        ("GET /a|b^c{d}[e]?f|g^h`\\ HTTP/1.1\r\nHost: a\r\n\r\n", "GET a /a|b^c{d}[e] query=f|g^h`\\\\\nend\npersists"),
        // Forms of targets.
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS a *\nend\npersists"),
        ("GET http://A.b/x?y HTTP/1.1\r\nHost: a.B:80\r\n\r\n", "GET a.b /x query=y\nend\npersists"),
        ("GET HTTPS://a:443?y HTTP/1.1\r\nHost: a\r\n\r\n", "GET a  port=443 query=y\nend\npersists"),
        ("GET http://a/x HTTP/1.0\r\n\r\n", "GET a /x\nend\ncloses"),
        // Content.
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
            "POST a / length=5\nbody hello\nend\npersists",
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "POST a / length=0\nend\npersists"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 005\r\n\r\nhello",
            "POST a / length=5\nbody hello\nend\npersists",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\nhello",
            "POST a / length=9223372036854775807\nbody hello\ntruncated",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:  Chunked \r\n\r\n3\r\nabc\r\n00A;x=\"y\";z\r\n0123456789\r\n0\r\n\r\n",
            "POST a / Chunked\nbody abc0123456789\nend\npersists",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n000;last\r\nX-Sum: 1\r\ny:\r\n\r\n",
            "POST a / Chunked\nbody a\ntrailers x-sum=1 y=\nend\npersists",
        ),
        // Framing stays here; so does what Connection names, in any letters.
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX-Secret: 1\r\nTE: trailers\r\nConnection: te, ,X-SECRET\r\nx-other: 2\r\n\r\n",
            "GET a / x-other=2\nend\npersists",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nClose: x\r\nConnection: close\r\nx-other: 2\r\n\r\n",
            "GET a / x-other=2\nend\ncloses",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nProxy-Authorization: y\r\n\r\n",
            "GET a /\nend\npersists",
        ),
        // Expectations.
        (
            "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\nx",
            "PUT a / length=1 continue\nbody x\nend\npersists",
        ),
        (
            "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n",
            "PUT a / length=0\nend\npersists",
        ),
        (
            "PUT / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
            "PUT a / length=1\nbody x\nend\ncloses",
        ),
    ] {
        assert_eq!(requests(bytes.as_bytes()).heard(), heard, "{bytes:?}");
    }
}

#[test]
fn a_connection_persists_as_its_versions_say() {
    for (bytes, heard) in [
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\n", "GET a /\nend\ncloses"),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Close\r\n\r\n", "GET a /\nend\ncloses"),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nConnection: close\r\n\r\n", "GET a /\nend\ncloses"),
        ("GET / HTTP/1.0\r\n\r\n", "GET  /\nend\ncloses"),
        (
            "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\nGET /b HTTP/1.0\r\n\r\n",
            "GET  /\nend\nGET  /b\nend\ncloses",
        ),
        ("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", "GET  /\nend\ncloses"),
    ] {
        assert_eq!(requests(bytes.as_bytes()).heard(), heard, "{bytes:?}");
    }
}

#[test]
fn a_pipeline_is_read_one_request_at_a_time() {
    let request = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    let bytes = request.repeat(10) + "GET /last HTTP/1.1\r\nHost: a\r\n\r\n";
    let heard = "POST a /x length=2\nbody hi\nend\n".repeat(10) + "GET a /last\nend\npersists";
    assert_eq!(requests(bytes.as_bytes()).heard(), heard);
}

#[test]
fn hundreds_of_requests_may_come_in_one_segment() {
    let bytes = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(500);
    assert_eq!(requests(bytes.as_bytes()).heard(), "GET a /\nend\n".repeat(500) + "persists");
}

#[test]
fn a_tunnel_begins_with_the_answer_and_not_before() {
    let websocket = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let row = |acts: &[Act], bytes: &str| {
        let mut peer = requests(bytes.as_bytes());
        peer.acts = acts;
        peer.heard()
    };
    let smuggled = "GET /admin HTTP/1.1\r\nHost: a\r\n\r\n";
    let bytes = format!("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n{smuggled}");
    assert_eq!(
        row(&[Answer(true)], &bytes),
        "CONNECT a  port=443 Tunnel\nawait\nbody GET /admin HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n\nend\ncloses"
    );
    assert_eq!(row(&[Answer(false)], &bytes), "CONNECT a  port=443 Tunnel\nawait\nend\ncloses");
    assert_eq!(
        row(&[Answer(true)], &format!("{websocket}\x01\x02")),
        "GET a /ws switches\nawait\nbody \\x01\\x02\nend\ncloses"
    );
    assert_eq!(row(&[Answer(false)], &format!("{websocket}{smuggled}")), "GET a /ws switches\nawait\nend\ncloses");
}

#[test]
fn an_upgrade_that_nobody_may_have_is_ignored() {
    for (fields, body) in [
        ("Connection: upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n", ""),
        ("Connection: upgrade\r\nUpgrade: H2C, websocket\r\n", ""),
        ("Connection: upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n", ""),
        ("Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: websocket\r\n", ""),
        ("Connection: upgrade\r\nUpgrade: TLS/1.0\r\n", ""),
        ("Connection: upgrade\r\nUpgrade: HTTP/2.0\r\n", ""),
        ("Connection: upgrade\r\n", ""),
        ("Upgrade: websocket\r\n", ""),
        ("Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n", "x"),
    ] {
        let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}GET /b HTTP/1.1\r\nHost: a\r\n\r\n");
        let content = if body.is_empty() { "" } else { " length=1\nbody x" };
        assert_eq!(
            requests(bytes.as_bytes()).heard(),
            format!("GET a /{content}\nend\nGET a /b\nend\npersists"),
            "{fields:?}"
        );
    }
    let old = "GET / HTTP/1.0\r\nConnection: upgrade, keep-alive\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(requests(old.as_bytes()).heard(), "GET  /\nend\npersists");
}

#[test]
fn responses_are_read() {
    const GET: &[Act] = &[Expect(Asked::Content)];
    const HEAD: &[Act] = &[Expect(Asked::Head)];
    const CONNECT: &[Act] = &[Expect(Asked::Connect)];
    const UPGRADE: &[Act] = &[Expect(Asked::Upgrade)];
    const TWO: &[Act] = &[Expect(Asked::Head), Expect(Asked::Content)];
    for (acts, bytes, heard) in [
        (GET, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\n\r\nhi", "200 length=2 x=y\nbody hi\nend\npersists"),
        (GET, "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "200 length=0\nend\npersists"),
        (GET, "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", "200 length=0\nend\npersists"),
        (GET, "HTTP/1.1 404 N\u{f6} \t such\r\nContent-Length: 0\r\n\r\n", "404 length=0\nend\npersists"),
        (
            GET,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\ngrpc-status: 0\r\n\r\n",
            "200 Chunked\nbody hi\ntrailers grpc-status=0\nend\npersists",
        ),
        (GET, "HTTP/1.1 200 OK\r\n\r\nall that comes", "200 UntilClose\nbody all that comes\nend\ncloses"),
        (GET, "HTTP/1.1 200 OK\r\n\r\n", "200 UntilClose\nend\ncloses"),
        (GET, "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", "200 length=1\nbody x\nend\ncloses"),
        (
            GET,
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx",
            "200 length=1\nbody x\nend\npersists",
        ),
        (
            GET,
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nxyz",
            "200 length=1\nbody x\nend\ncloses",
        ),
        // Without content.
        (GET, "HTTP/1.1 204 No Content\r\n\r\n", "204\nend\npersists"),
        (GET, "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", "204\nend\npersists"),
        (GET, "HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", "304\nend\npersists"),
        (GET, "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", "304\nend\npersists"),
        (HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", "200\nend\npersists"),
        (HEAD, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "200\nend\npersists"),
        (HEAD, "HTTP/1.1 200 OK\r\n\r\n", "200\nend\npersists"),
        (
            TWO,
            "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
            "200\nend\n200 length=2\nbody hi\nend\npersists",
        ),
        // Informational ones.
        (
            GET,
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
            "100\n103 link=x\n200 length=1\nbody x\nend\npersists",
        ),
        // Tunnels.
        (CONNECT, "HTTP/1.1 200 OK\r\n\r\nbytes", "200 Tunnel\nbody bytes\nend\ncloses"),
        // rfc9110 9.3.6 (MUST): what they say about content is ignored.
        (
            CONNECT,
            "HTTP/1.1 299 OK\r\nContent-Length: 2\r\nTransfer-Encoding: x\r\n\r\nbytes",
            "299 Tunnel\nbody bytes\nend\ncloses",
        ),
        (CONNECT, "HTTP/1.1 407 No\r\nContent-Length: 2\r\n\r\nno", "407 length=2\nbody no\nend\npersists"),
        (
            UPGRADE,
            "HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x01\x02",
            "101 Tunnel switches\nbody \\x01\\x02\nend\ncloses",
        ),
        (UPGRADE, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", "200 length=1\nbody x\nend\npersists"),
        // What servers name in Connection, they name; it stays here.
        (
            GET,
            "HTTP/1.1 200 OK\r\nConnection: Transfer-Encoding, x-hop\r\nX-Hop: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "200 Chunked\nend\npersists",
        ),
    ] {
        assert_eq!(responses(acts, bytes.as_bytes()).heard(), heard, "{bytes:?}");
    }
}

#[test]
fn heads_are_bounded_in_bytes_fields_and_line() {
    let limits = Limits::new(64, 128, 3);
    let row = |bytes: &str| {
        let mut peer = requests(bytes.as_bytes());
        peer.limits = limits;
        peer.heard()
    };
    let padded = |line: &str, fields: &str, to: usize| {
        let rest = to - line.len() - fields.len() - 4;
        format!("{line}{fields}p: {}\r\n\r\n", "x".repeat(rest - 3))
    };
    let line = |len: usize| format!("GET /{} HTTP/1.1\r\n", "x".repeat(len - 16));
    let path = "x".repeat(64 - 16);
    assert_eq!(row(&(line(64) + "Host: a\r\n\r\n")), format!("GET a /{path}\nend\npersists"));
    assert_eq!(row(&(line(65) + "Host: a\r\n\r\n")), "target_long");
    assert_eq!(row(&"GET /".repeat(99)), "target_long");
    let fits = padded("GET / HTTP/1.1\r\n", "Host: a\r\n", 128);
    assert_eq!(fits.len(), 128);
    assert!(row(&fits).ends_with("end\npersists"));
    assert_eq!(row(&padded("GET / HTTP/1.1\r\n", "Host: a\r\n", 129)), "head_long");
    assert_eq!(row("GET / HTTP/1.1\r\nHost: a\r\na:\r\nb:\r\n\r\n"), "GET a / a= b=\nend\npersists");
    assert_eq!(row("GET / HTTP/1.1\r\nHost: a\r\na:\r\nb:\r\nc:\r\n"), "fields_many");
    // Each request has its own.
    assert_eq!(row(&fits.repeat(2)).matches("end").count(), 2);

    assert_eq!(
        Limits::new(usize::MAX, usize::MAX, usize::MAX),
        Limits::new(HTTP_HEAD_BYTES_MAX, HTTP_HEAD_BYTES_MAX, HTTP_FIELDS_MAX)
    );
}

#[test]
fn the_largest_head_fits_the_scratch() {
    let mut peer = requests(b"");
    peer.limits = Limits::new(usize::MAX, usize::MAX, usize::MAX);
    let mut bytes = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
    let fields = HTTP_FIELDS_MAX - 1;
    let room = HTTP_HEAD_BYTES_MAX - bytes.len() - 2;
    for n in 0..fields {
        let len = room * (n + 1) / fields - room * n / fields;
        bytes.extend(std::iter::repeat_n(b'N', len - 3));
        bytes.extend(b":\r\n");
    }
    bytes.extend(b"\r\n");
    assert_eq!(bytes.len(), HTTP_HEAD_BYTES_MAX);
    let (mut receiver, mut spans) = (Receiver::new(Side::Server, peer.limits), Spans::new());
    for end in 0..bytes.len() {
        assert_eq!(receiver.step(&bytes[..end], &mut spans), Ok(Step::NeedMore { skip: 0 }));
    }
    assert!(matches!(receiver.step(&bytes, &mut spans), Ok(Step::Head { len, .. }) if len == bytes.len()));
    assert_eq!(spans.request(&bytes).fields().count(), fields);
}

#[test]
fn a_drained_connection_takes_no_further_request() {
    let (mut receiver, mut spans) = (Receiver::new(Side::Server, Limits::default()), Spans::new());
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    assert!(receiver.is_between() && receiver.persists());
    receiver.step(request, &mut spans).unwrap();
    receiver.close_after();
    assert!(!receiver.is_between());
    assert_eq!(receiver.step(b"", &mut spans), Ok(Step::End { skip: 0 }));
    assert_eq!(receiver.step(request, &mut spans), Ok(Step::NeedMore { skip: request.len() }));

    let mut idle = Receiver::new(Side::Client, Limits::default());
    idle.close_after();
    assert!(!idle.persists());
    assert_eq!(idle.step(b"HTTP/1.1 408 ..", &mut spans), Ok(Step::NeedMore { skip: 15 }));
}

#[test]
fn whatever_decides_on_a_request_sees_what_goes_on() {
    use crate::http::normalize::{EscapedSlashes, Normalizer, Options, Underscores, underscores};
    let mut spans = Spans::new();
    let mut read = |bytes: &'static str, then: &mut dyn FnMut(&mut Spans)| {
        let mut receiver = Receiver::new(Side::Server, Limits::default());
        let step = receiver.step(bytes.as_bytes(), &mut spans);
        assert!(matches!(step, Ok(Step::Head { len, .. }) if len == bytes.len()));
        then(&mut spans);
    };
    let bytes =
        "GET /a HTTP/1.1\r\nHost: a\r\nx-id: 1\r\nX_Id: 2\r\nX-Secret: 3\r\nx-id: 4\r\nConnection: x-secret\r\n\r\n";
    read(bytes, &mut |spans| {
        let refused = underscores(Options::default(), spans);
        assert_eq!(refused, Err(Refusal::FieldUnderscore));
    });
    read(bytes, &mut |spans| {
        let allow = Options { underscores: Underscores::Allow, ..Options::default() };
        assert_eq!(underscores(allow, spans), Ok(()));
        assert_eq!(spans.request(bytes.as_bytes()).fields().count(), 3);
        let drop = Options { underscores: Underscores::Drop, ..Options::default() };
        assert_eq!(underscores(drop, spans), Ok(()));
        let fields = spans.request(bytes.as_bytes()).fields;
        assert_eq!(fields.values("x-id").collect::<Vec<_>>(), [b"1", b"4"]);
        assert_eq!(fields.only("x-id"), Err(crate::http::head::Repeated), "neither the first nor the last");
        assert_eq!(fields.only("x-secret"), Ok(None), "what ends here decides nothing");
    });
    let mut normalizer = Normalizer::new();
    for (bytes, path) in [
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "*"),
        ("OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n", "*"),
        ("OPTIONS http://a?x HTTP/1.1\r\nHost: a\r\n\r\n", "/"),
        ("GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", "/"),
        ("GET http://a//b/../%63 HTTP/1.1\r\nHost: a\r\n\r\n", "/c"),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", ""),
    ] {
        read(bytes, &mut |spans| {
            let options = Options { escaped_slashes: EscapedSlashes::Keep, ..Options::default() };
            let found = normalizer.request(options, spans.request(bytes.as_bytes())).unwrap();
            assert_eq!((found.bytes, found.redirect), (path.as_bytes(), false), "{bytes:?}");
        });
    }
}
