use super::{
    super::{Asked, Limits, Receiver, Step},
    *,
};
use crate::http::{Side, Spans};

type Bytes = ArrayVec<u8, 4096>;
type Trailers = [(&'static [u8], &'static [u8])];

fn request(bytes: &mut Bytes) -> Head<'_, Bytes> {
    Head::request(bytes, b"POST", &[b"/a", b"?", b"b"], b"a", Some(1)).unwrap()
}

fn response(bytes: &mut Bytes, status: u16, peer: Version) -> Head<'_, Bytes> {
    Head::response(bytes, status, peer).unwrap()
}

fn no_trailers() -> std::iter::Empty<(&'static [u8], &'static [u8])> {
    std::iter::empty()
}

#[track_caller]
fn is(bytes: &Bytes, expected: &str) {
    assert_eq!(bytes.escape_ascii().to_string(), expected.as_bytes().escape_ascii().to_string());
}

#[test]
fn what_a_head_says_is_what_it_does() {
    const LINE: &str = "POST /a?b HTTP/1.1\r\nhost: a:1\r\n";
    for (body, persists, fields) in [
        (Body::None, true, ""),
        (Body::None, false, "connection: close\r\n"),
        (Body::Length(0), true, "content-length: 0\r\n"),
        (Body::Length(u64::MAX), true, "content-length: 18446744073709551615\r\n"),
        (Body::Chunked, true, "transfer-encoding: chunked\r\n"),
    ] {
        let mut bytes = Bytes::new();
        let _ = request(&mut bytes).end(body, persists).unwrap();
        is(&bytes, &format!("{LINE}{fields}\r\n"));
    }
    use Version::{Http10, Http11};
    for (status, peer, body, persists, text) in [
        (200, Http11, Body::None, true, "200 OK\r\ncontent-length: 0\r\n"),
        (200, Http11, Body::Length(5), false, "200 OK\r\ncontent-length: 5\r\nconnection: close\r\n"),
        (200, Http11, Body::Chunked, true, "200 OK\r\ntransfer-encoding: chunked\r\n"),
        (200, Http11, Body::UntilClose, true, "200 OK\r\ntransfer-encoding: chunked\r\n"),
        (200, Http10, Body::Length(5), true, "200 OK\r\ncontent-length: 5\r\nconnection: keep-alive\r\n"),
        (200, Http10, Body::Chunked, true, "200 OK\r\nconnection: close\r\n"),
        (299, Http11, Body::None, true, "299 \r\ncontent-length: 0\r\n"),
        (200, Http11, Body::Tunnel, true, "200 OK\r\n"),
        (204, Http11, Body::Tunnel, true, "204 No Content\r\n"),
        (100, Http11, Body::None, true, "100 Continue\r\n"),
        (204, Http11, Body::None, true, "204 No Content\r\n"),
        (304, Http11, Body::Length(0), true, "304 Not Modified\r\n"),
    ] {
        let mut bytes = Bytes::new();
        let _ = response(&mut bytes, status, peer).end(body, persists).unwrap();
        is(&bytes, &format!("HTTP/1.1 {text}\r\n"));
    }
}

#[test]
fn content_is_refused_where_there_is_none() {
    for (status, body) in
        [(204, Body::Length(1)), (204, Body::Chunked), (304, Body::UntilClose), (103, Body::Length(1))]
    {
        assert_eq!(
            response(&mut Bytes::new(), status, Version::Http11).end(body, true),
            Err(WriteError::Content),
            "{status} {body:?}"
        );
    }
    assert_eq!(request(&mut Bytes::new()).end(Body::UntilClose, true), Err(WriteError::Content));
    assert_eq!(Head::response(&mut Bytes::new(), 100, Version::Http10).err(), Some(WriteError::Content));
}

#[test]
fn other_ends_of_a_head() {
    let mut bytes = Bytes::new();
    let _ = response(&mut bytes, 304, Version::Http11).end_without_content(Some(7), true).unwrap();
    is(&bytes, "HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n");
    bytes.clear();
    let _ = response(&mut bytes, 101, Version::Http11).end_with_upgrade(b"websocket").unwrap();
    is(&bytes, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    for (persists, connection) in [(true, "te"), (false, "close, te")] {
        bytes.clear();
        let mut head = request(&mut bytes);
        head.te_trailers();
        let _ = head.end(Body::None, persists).unwrap();
        is(&bytes, &format!("POST /a?b HTTP/1.1\r\nhost: a:1\r\nte: trailers\r\nconnection: {connection}\r\n\r\n"));
    }
}

#[test]
fn nothing_is_written_that_ends_a_line_or_frames_a_message() {
    for (name, value, error) in [
        ("x", "a\r\nb: c", WriteError::Unsound),
        ("x", "a\nb", WriteError::Unsound),
        ("x", "a\0", WriteError::Unsound),
        ("x", "\x7f", WriteError::Unsound),
        ("x y", "a", WriteError::Unsound),
        ("x:", "a", WriteError::Unsound),
        ("", "a", WriteError::Unsound),
        (":path", "a", WriteError::Unsound),
        ("x\r\ny", "a", WriteError::Unsound),
        ("Content-Length", "5", WriteError::Framing),
        ("transfer-encoding", "chunked", WriteError::Framing),
        ("CONNECTION", "close", WriteError::Framing),
        ("host", "b", WriteError::Framing),
        ("upgrade", "h2c", WriteError::Framing),
        ("http2-settings", "x", WriteError::Framing),
    ] {
        let mut bytes = Bytes::new();
        assert_eq!(request(&mut bytes).field(name.as_bytes(), value.as_bytes()), Err(error), "{name:?}: {value:?}");
    }
    let mut bytes = Bytes::new();
    for (method, target, authority) in [
        ("GET X", "/", "a"),
        ("", "/", "a"),
        ("GET", "/ HTTP/1.1\r\n", "a"),
        ("GET", "/a b", "a"),
        ("GET", "", "a"),
        ("GET", "/\u{fc}", "a"),
        ("GET", "/", "a\r\nx: y"),
        ("GET", "/", "a b"),
    ] {
        let head = Head::request(&mut bytes, method.as_bytes(), &[target.as_bytes()], authority.as_bytes(), None);
        assert_eq!(head.err(), Some(WriteError::Unsound), "{method:?} {target:?} {authority:?}");
    }
    assert_eq!(Head::response(&mut bytes, 600, Version::Http11).err(), Some(WriteError::Unsound));
    assert!(bytes.is_empty());
}

#[test]
fn content_is_as_long_as_was_said() {
    let mut bytes = Bytes::new();
    let mut content = request(&mut bytes).end(Body::Length(5), true).unwrap();
    let head = bytes.len();
    content.before(&mut bytes, 3).unwrap();
    assert_eq!(content.end(&mut bytes, no_trailers()), Err(WriteError::Content), "two are missing");
    assert_eq!(content.before(&mut bytes, 3), Err(WriteError::Content), "one too many");
    content.before(&mut bytes, 2).unwrap();
    content.before(&mut bytes, 0).unwrap();
    assert_eq!(content.end(&mut bytes, no_trailers()), Ok(()));
    assert_eq!(bytes.len(), head, "a length needs nothing more");
}

#[test]
fn chunks_are_framed_and_trailers_sifted() {
    let trailers: &Trailers =
        &[(b"grpc-status", b"0"), (b"Content-Length", b"5"), (b"host", b"b"), (b"set-cookie", b"x"), (b"x-sum", b"1")];
    let mut bytes = Bytes::new();
    let mut content = response(&mut bytes, 200, Version::Http11).end(Body::Chunked, true).unwrap();
    bytes.clear();
    for payload in [&b"a"[..], b"", b"0123456789abcdef0"] {
        content.before(&mut bytes, payload.len() as u64).unwrap();
        bytes.put(payload).unwrap();
    }
    content.end(&mut bytes, trailers.iter().copied()).unwrap();
    is(&bytes, "1\r\na\r\n11\r\n0123456789abcdef0\r\n0\r\ngrpc-status: 0\r\nx-sum: 1\r\n\r\n");
}

#[test]
fn what_is_written_is_read() {
    for body in [Body::None, Body::Length(6), Body::Chunked] {
        let mut bytes = Bytes::new();
        let mut head = request(&mut bytes);
        head.field(b"x-id", b" 1 \t").unwrap();
        let mut content = head.end(body, true).unwrap();
        if body != Body::None {
            for payload in [b"abc", b"def"] {
                content.before(&mut bytes, 3).unwrap();
                bytes.put(payload).unwrap();
            }
        }
        content.end(&mut bytes, [(&b"x-sum"[..], &b"1"[..])].into_iter()).unwrap();

        let (mut receiver, mut spans) = (Receiver::new(Side::Server, Limits::default()), Spans::new());
        let (mut rest, mut payload, mut ended) = (&bytes[..], Vec::new(), false);
        while !ended {
            let step = receiver.step(rest, &mut spans).unwrap();
            match step {
                Step::Head { framing, .. } => assert_eq!(framing.body, body),
                Step::Body { skip, len } => payload.extend_from_slice(&rest[skip..][..len]),
                Step::End { .. } => ended = true,
                Step::Trailers { .. } => assert_eq!(body, Body::Chunked),
                other => panic!("{other:?}"),
            }
            rest = &rest[step.used()..];
        }
        assert!(rest.is_empty());
        assert_eq!(payload, if body == Body::None { &b""[..] } else { b"abcdef" });
    }
    let mut bytes = Bytes::new();
    let _ = response(&mut bytes, 418, Version::Http11).end(Body::None, false).unwrap();
    let mut receiver = Receiver::new(Side::Client, Limits::default());
    receiver.expect(Asked::Content);
    assert!(matches!(receiver.step(&bytes, &mut Spans::new()), Ok(Step::Head { len, .. }) if len == bytes.len()));
}

#[test]
fn a_head_may_be_longer_than_a_frame() {
    let pool = Pool::heap(3);
    let value = [b'x'; 1500];
    let write = |frames: &mut Frames<'_, 3>, fields: usize| {
        let mut head = Head::request(frames, b"GET", &[b"/"], b"a", None)?;
        for _ in 0..fields {
            head.field(b"x", &value)?;
        }
        head.end(Body::None, true).map(drop)
    };
    let mut frames = Frames::new(&pool);
    write(&mut frames, 3).unwrap();
    let frames = frames.into_inner();
    assert_eq!(frames.len(), 3);
    let bytes: Vec<u8> = frames.iter().flat_map(Frame::to_vec).collect();
    let mut spans = Spans::new();
    let step = Receiver::new(Side::Server, Limits::default()).step(&bytes, &mut spans).unwrap();
    assert_eq!(step.used(), bytes.len());
    assert_eq!(spans.request(&bytes).fields.values("x").filter(|v| *v == value).count(), 3);
    drop(frames);
    assert_eq!(write(&mut Frames::new(&pool), 5), Err(WriteError::Full));
    assert_eq!(pool.in_use(), 0);
}
