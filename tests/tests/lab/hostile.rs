//! Backends that lie, stall and break off. Each is a small server here, on a port of the backend namespace; each has a path of its own that
//! leads to it alone. Whatever it does, its client gets an error status or a body that is seen to be cut off, and the next request is served.

use crate::{
    expect,
    peer::{self, FAMILIES, abort, connect, within},
    tcp::{leaving_nothing, named},
    world::{Lab, dataplane},
};
use libtest_mimic::Failed;
use std::{
    fmt::Write as _,
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
};

/// What a client sees.
#[derive(Clone, Copy)]
enum Sees {
    /// This status, and an answer that ends as it should.
    Status(u16),
    /// Status 200, and a body that ends before its end.
    CutOff,
    /// Status 200 and this body, no more of it.
    Body(&'static str),
}

/// A server's conduct, once it has read a request's head.
type Conduct = fn(TcpStream) -> io::Result<()>;

const CONDUCTS: [(&str, Conduct, Sees); 18] = [
    ("resets-at-once", abort, Sees::Status(502)),
    ("closes-at-once", |_| Ok(()), Sees::Status(502)),
    ("resets-within-a-head", |s| say(&s, "HTTP/1.1 200 OK\r\ncontent-le").and_then(|()| abort(s)), Sees::Status(502)),
    ("closes-within-a-head", |s| say(&s, "HTTP/1.1 200 OK\r\ncontent-le"), Sees::Status(502)),
    ("resets-within-a-body", |s| say(&s, SHORT).and_then(|()| abort(s)), Sees::CutOff),
    ("says-more-than-it-has", |s| say(&s, SHORT), Sees::CutOff),
    ("has-more-than-it-says", |s| say(&s, LONG).and_then(|()| rest(s)), Sees::Body("0123456789")),
    ("breaks-off-in-a-chunk", |s| say(&s, &chunks("a\r\n01234")), Sees::CutOff),
    ("breaks-off-between-chunks", |s| say(&s, &chunks("a\r\n0123456789\r\n")), Sees::CutOff),
    ("cannot-count-chunks", |s| say(&s, &chunks("4\r\nbody\r\nxyz\r\n")).and_then(|()| rest(s)), Sees::CutOff),
    ("garbage", |s| say(&s, "\0\u{1}no head of any kind\r\n\r\n").and_then(|()| rest(s)), Sees::Status(502)),
    ("two-lengths", |s| answer(&s, "content-length: 4\r\ncontent-length: 5\r\n"), Sees::Status(502)),
    ("length-and-chunks", |s| answer(&s, "content-length: 4\r\ntransfer-encoding: chunked\r\n"), Sees::Status(502)),
    ("negative-length", |s| answer(&s, "content-length: -4\r\n"), Sees::Status(502)),
    ("head-without-end", head_without_end, Sees::Status(502)),
    ("stalls", rest, Sees::Status(504)),
    ("stalls-within-a-body", |s| say(&s, SHORT).and_then(|()| rest(s)), Sees::CutOff),
    // It promises to stay and leaves: the next request may be on its way to it already.
    ("leaves-when-it-is-needed", |s| answer(&s, "content-length: 4\r\n"), Sees::Body("body")),
];

const SHORT: &str = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n0123456789";
const LONG: &str =
    "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged";

fn chunks(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}")
}
fn say(mut stream: &TcpStream, text: &str) -> io::Result<()> {
    stream.write_all(text.as_bytes())
}
/// Says nothing more and waits for the gateway to go.
fn rest(mut stream: TcpStream) -> io::Result<()> {
    io::copy(&mut stream, &mut io::sink()).map(|_| ())
}
fn answer(stream: &TcpStream, fields: &str) -> io::Result<()> {
    say(stream, &format!("HTTP/1.1 200 OK\r\n{fields}\r\nbody"))
}
fn head_without_end(stream: TcpStream) -> io::Result<()> {
    say(&stream, "HTTP/1.1 200 OK\r\n")?;
    let line = format!("x-field: {}\r\n", "x".repeat(1_000));
    (0..1_000).try_for_each(|_| say(&stream, &line))?;
    rest(stream)
}

/// A server on a port of the backend namespace, until the tests end. Its socket belongs there; its threads need not.
fn serve(lab: &Lab, port: u16, conduct: Conduct) -> Result<(), Failed> {
    let listener = within(&lab.namespace("backend"), || TcpListener::bind(("10.77.0.11", port)))?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                // What goes wrong here is the client's to see.
                let _ = head(&stream).and_then(|_| conduct(stream));
            });
        }
    });
    Ok(())
}

/// Byte by byte, so that what follows stays where it is.
fn head(mut stream: &TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

const FIRST_PORT: u16 = 9_000;

fn config<'a>(names: impl Iterator<Item = &'a str> + Clone) -> String {
    let mut text = dataplane("af_packet", "");
    let backend =
        |name: &str, port: u16| format!("- {{name: {name}, discovery: {{static: [\"10.77.0.11:{port}\"]}}}}\n");
    let (mut rules, mut backends) = (String::new(), backend("good", 8_080));
    for (name, port) in names.zip(FIRST_PORT..) {
        writeln!(
            rules,
            "  - matches: [{{path: {{type: PathPrefix, value: /{name}}}}}]\n    backendRefs: [{{name: {name}}}]"
        )
        .expect("a string takes everything");
        backends += &backend(name, port);
    }
    text += "listeners:\n- {name: web, port: 80, protocol: HTTP, http: {timeouts: {streamIdle: 1s}}}\n";
    text += "routes:\n- kind: HTTPRoute\n  name: all\n  parentRefs: [{name: web}]\n  rules:\n";
    text += "  - matches: [{path: {type: Exact, value: /good}}]\n    backendRefs: [{name: good}]\n";
    text + &rules + "backends:\n" + &backends
}

pub(crate) fn hostile_backends() -> Result<(), Failed> {
    let lab = Lab::up_with("hostile", &config(CONDUCTS.iter().map(|(name, ..)| *name)))?;
    for ((_, conduct, _), port) in CONDUCTS.into_iter().zip(FIRST_PORT..) {
        serve(&lab, port, conduct)?;
    }
    // Segments that meet a connection which one side has broken off, and bytes behind the end of an answer.
    let broken = ["tcp_reset_unacceptable", "tcp_data_after_close", "tcp_no_listener", "exchange_over"];
    for (name, _, sees) in CONDUCTS {
        let check = || {
            for _ in 0..3 {
                let got = ask(&format!("/{name}"))?;
                expect(got.fits(sees), &sees.to_string(), &got.0).map_err(|failed| named(name, &failed))?;
                let got = ask("/good")?;
                expect(got.fits(Sees::Body("backend-1\n")), "the next to be served", &got.0)?;
            }
            // And on a connection that goes on, no answer is another's.
            one_after_the_other(name, sees)?;
            lab.backend("stop", "1").and_then(|()| lab.backend("start", "1"))
        };
        leaving_nothing(&lab, &broken, check).map_err(|failed| named(name, &failed))?;
    }
    Ok(())
}

impl std::fmt::Display for Sees {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {status}"),
            Self::CutOff => f.write_str("a body that is cut off"),
            Self::Body(body) => write!(f, "the body {body:?}"),
        }
    }
}

/// All that came until the connection's end.
struct Got(String);

impl Got {
    fn fits(&self, sees: Sees) -> bool {
        let (head, body) = self.0.split_once("\r\n\r\n").unwrap_or((&self.0, ""));
        match sees {
            Sees::Status(status) => head.starts_with(&format!("HTTP/1.1 {status} ")) && self.is_whole(),
            Sees::CutOff => head.starts_with("HTTP/1.1 200 ") && !self.is_whole(),
            Sees::Body(wanted) => head.starts_with("HTTP/1.1 200 ") && body == wanted && self.is_whole(),
        }
    }
    /// As its framing says: without a length and without chunks nobody could tell.
    fn is_whole(&self) -> bool {
        let (head, body) = self.0.split_once("\r\n\r\n").unwrap_or((&self.0, ""));
        let head = head.to_ascii_lowercase();
        match head.lines().find_map(|line| line.strip_prefix("content-length: ")) {
            Some(length) => length.parse() == Ok(body.len()),
            None => head.contains("transfer-encoding: chunked") && body.ends_with("0\r\n\r\n"),
        }
    }
}

fn ask(path: &str) -> Result<Got, Failed> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    all_of(&request).map(Got).map_err(|failed| named(path, &failed))
}

/// What comes after these requests until the connection ends. A reset is an end too, and comes where a body is cut off; silence is none.
fn all_of(requests: &str) -> Result<String, Failed> {
    let mut stream = connect(FAMILIES[0], 80)?;
    say(&stream, requests)?;
    let mut all = Vec::new();
    let ended = stream.read_to_end(&mut all);
    let said = String::from_utf8_lossy(&all).into_owned();
    match ended {
        Err(error) if error.kind() != io::ErrorKind::ConnectionReset => Err(format!("{error} after {said:?}").into()),
        _ => Ok(said),
    }
}

/// The hostile one, then a good one, on one connection; where that lasts, the second answer is the good one's and nothing stands between.
fn one_after_the_other(name: &str, sees: Sees) -> Result<(), Failed> {
    let good = "GET /good HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let said = all_of(&format!("GET /{name} HTTP/1.1\r\nhost: a\r\n\r\n{good}"))?;
    expect(!said.contains("forged"), "no answer of the backend's own making", &said)?;
    match sees {
        Sees::CutOff => expect(!said.contains("backend-1"), "nothing after a body that is cut off", &said),
        Sees::Body(body) => {
            let right = said.contains(&format!("\r\n\r\n{body}HTTP/1.1 200 ")) && said.ends_with("backend-1\n");
            expect(right, "both answers", &said)
        }
        // It may close after an error if it says so; else the request behind it is owed an answer.
        Sees::Status(status) => {
            let says_close =
                said.to_ascii_lowercase().split("\r\n\r\n").next().is_some_and(|h| h.contains("connection: close"));
            let right =
                said.starts_with(&format!("HTTP/1.1 {status} ")) && (says_close || said.ends_with("backend-1\n"));
            expect(right, "an error, and then an answer or a close that was announced", &said)
        }
    }
}

const GIB: u64 = 1 << 30;

/// Bytes that tell by themselves where they belong, each of them compared.
pub(crate) fn a_gibibyte_each_way() -> Result<(), Failed> {
    let lab = Lab::up_with("gibibyte", &config(["gives", "takes"].into_iter()))?;
    serve(&lab, FIRST_PORT, |stream| {
        say(&stream, &format!("HTTP/1.1 200 OK\r\ncontent-length: {GIB}\r\nconnection: close\r\n\r\n"))?;
        peer::send(&stream, 0, GIB)
    })?;
    serve(&lab, FIRST_PORT + 1, |stream| {
        let right = peer::expect_bytes(&stream, 0, GIB).is_ok();
        let status = if right { "204 All of it" } else { "400 Other bytes" };
        say(&stream, &format!("HTTP/1.1 {status}\r\nconnection: close\r\n\r\n"))
    })?;
    leaving_nothing(&lab, &[], || {
        let stream = connect(FAMILIES[0], 80)?;
        say(&stream, "GET /gives HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")?;
        let got = head(&stream)?;
        expect(got.contains(&format!("ength: {GIB}\r\n")), "its length", &got)?;
        peer::expect_bytes(&stream, 0, GIB)?;
        peer::expect_end(&stream)?;
        let stream = connect(FAMILIES[0], 80)?;
        say(&stream, &format!("PUT /takes HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {GIB}\r\n\r\n"))?;
        peer::send(&stream, 0, GIB)?;
        let got = head(&stream)?;
        expect(got.starts_with("HTTP/1.1 204 "), "204", &got)?;
        stream.shutdown(Shutdown::Write)?;
        peer::expect_end(&stream)
    })
}
