//! HTTP through the gateway: curl, Python's client, wrk and raw sockets on one side, three nginx on the other.
//!
//! ```text
//!   client: curl, python3, wrk, sockets ---- bridge ---- data plane, ports 80 and 8081 ---- bridge ---- nginx 1, 2, 3
//! ```
//! Configuration: the lab's own. What hostile backends do to it is in [`super::hostile`].

use crate::{
    expect,
    peer::connect,
    tcp::{each_family, leaving_nothing},
    world::{Lab, run, wait_for},
};
use libtest_mimic::Failed;
use std::io::{Read, Write};

/// What each device must show.
pub(crate) const CHECKS: [(&str, fn(&Lab) -> Result<(), Failed>); 11] = [
    ("http::both_families_and_head", both_families_and_head),
    ("http::nothing_there_is_404", nothing_there),
    ("http::requests_say_who_was_before", requests_say_who),
    ("http::bodies_keep_their_hash", bodies_keep_their_hash),
    ("http::pipelined_requests_are_answered_in_order", pipelined),
    ("http::a_head_may_come_byte_by_byte", byte_by_byte),
    ("http::python_keeps_its_connection", python),
    ("http::load_brings_no_error", under_load),
    ("http::an_endpoint_ends_and_comes_back", an_endpoint_ends),
    ("http::bytes_pass_as_they_are", bytes_pass),
    ("http::ten_thousand_stay_connected", ten_thousand),
];

/// As [`leaving_nothing`], once the backends' connections are over too: each nginx ends and starts again, and what was kept open goes with it.
fn leaving_no_connection(
    lab: &Lab,
    expected: &[&str],
    act: impl FnOnce() -> Result<(), Failed> + Send,
) -> Result<(), Failed> {
    leaving_nothing(lab, expected, || {
        let done = act();
        for n in ["1", "2", "3"] {
            lab.backend("stop", n)?;
            lab.backend("start", n)?;
        }
        done
    })
}

fn curl(lab: &Lab, arguments: &[&str]) -> Result<String, Failed> {
    lab.client(&[&["curl", "-sS", "--max-time", "60"], arguments].concat())
}

fn url(address: &str, path: &str) -> String {
    if address.contains(':') { format!("http://[{address}]{path}") } else { format!("http://{address}{path}") }
}

fn both_families_and_head(lab: &Lab) -> Result<(), Failed> {
    leaving_no_connection(lab, &[], || {
        each_family(|address| {
            let said = curl(lab, &[&url(address, "/one")])?;
            expect(said == "backend-1\n", "backend-1", &said)?;
            let said = curl(lab, &["--head", &url(address, "/one/300")])?.to_lowercase();
            let right = said.starts_with("http/1.1 200") && said.contains("content-length: 300\r\n");
            expect(right && said.contains("x-backend: backend-1\r\n"), "a head that tells of 300 bytes", &said)?;
            let said = curl(lab, &["-i", &url(address, "/teapot")])?;
            expect(said.starts_with("HTTP/1.1 418 ") && said.ends_with("\r\n\r\nshort and stout\n"), "418", &said)
        })
    })
}

fn nothing_there(lab: &Lab) -> Result<(), Failed> {
    leaving_no_connection(lab, &[], || {
        let status = ["-o", "/dev/null", "-w", "%{http_code}"];
        for (host, path, wanted) in [
            ("elsewhere.example", "/cart", "404"),
            ("shop.example", "/nothing", "404"),
            ("shop.example", "/cart", "200"),
        ] {
            let host = format!("host: {host}");
            let said = curl(lab, &[&status[..], &["-H", &host, &format!("http://10.77.0.10:8081{path}")]].concat())?;
            expect(said == wanted, &format!("{wanted} for {path} of {host}"), &said)?;
        }
        Ok(())
    })
}

fn requests_say_who(lab: &Lab) -> Result<(), Failed> {
    leaving_no_connection(lab, &[], || {
        let sent =
            ["-H", "host: shop.example", "-H", "connection: x-secret", "-H", "x-secret: 1", "-H", "x-env: forged"];
        let said = curl(lab, &[&sent[..], &["http://10.77.0.10/cart"]].concat())?;
        for line in ["request: GET /headers HTTP/1.1", "host: shop.example", "x-forwarded-for: 10.77.0.2", "x-env: lab"]
        {
            expect(said.lines().any(|one| one == line), line, &said)?;
        }
        Ok(())
    })
}

/// 64 MiB with a length and in chunks, each way.
fn bodies_keep_their_hash(lab: &Lab) -> Result<(), Failed> {
    let big = lab.file("files/big");
    let wanted = hash(&run(&["sha256sum", &big])?);
    leaving_no_connection(lab, &[], || {
        each_family(|address| {
            let pipe = |command: &str| lab.client(&["sh", "-c", command]);
            let (get, put) = (url(address, "/big"), url(address, "/upload/test"));
            expect(hash(&pipe(&format!("curl -sS '{get}' | sha256sum"))?) == wanted, "the same bytes", "others")?;
            for how in
                [format!("-T {big}"), format!("-X PUT -T - <{big}"), format!("-H 'expect: 100-continue' -T {big}")]
            {
                pipe(&format!("curl -sS --fail '{put}' {how}"))?;
                let back = pipe(&format!("curl -sS '{put}' | sha256sum"))?;
                expect(hash(&back) == wanted, &format!("the same bytes after {how}"), &back)?;
                curl(lab, &["--fail", "-X", "DELETE", &put])?;
            }
            for how in ["-H 'content-type: a/b'", "-H 'transfer-encoding: chunked'"] {
                let said = pipe(&format!("curl -sS {how} --data-binary @{big} '{}'", url(address, "/sink")))?;
                expect(said == "received 67108864\n", "64 MiB received", &said)?;
            }
            Ok(())
        })
    })
}

fn hash(said: &str) -> String {
    said.split_whitespace().next().unwrap_or_default().to_owned()
}

/// One write, a hundred requests of two kinds; answers in order.
fn pipelined(lab: &Lab) -> Result<(), Failed> {
    leaving_no_connection(lab, &[], || {
        each_family(|address| {
            let mut stream = connect(address, 80)?;
            let mut requests = String::new();
            for n in 0..100 {
                let path = if n % 2 == 0 { "/one" } else { "/teapot" };
                let end = if n == 99 { "connection: close\r\n" } else { "" };
                requests += &format!("GET {path} HTTP/1.1\r\nhost: a\r\n{end}\r\n");
            }
            stream.write_all(requests.as_bytes())?;
            let mut said = String::new();
            stream.read_to_string(&mut said)?;
            let bodies: Vec<&str> =
                said.lines().filter(|line| ["backend-1", "short and stout"].contains(line)).collect();
            expect(
                bodies == ["backend-1", "short and stout"].repeat(50),
                "50 of each, by turns",
                &format!("{bodies:?}"),
            )
        })
    })
}

fn byte_by_byte(lab: &Lab) -> Result<(), Failed> {
    leaving_no_connection(lab, &[], || {
        each_family(|address| {
            let mut stream = connect(address, 80)?;
            for byte in b"GET /one HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n" {
                stream.write_all(&[*byte])?; // a segment each: Nagle's algorithm is off
            }
            let mut said = String::new();
            stream.read_to_string(&mut said)?;
            expect(said.starts_with("HTTP/1.1 200 ") && said.ends_with("\r\n\r\nbackend-1\n"), "200", &said)
        })
    })
}

fn python(lab: &Lab) -> Result<(), Failed> {
    const SESSION: &str = r"
import http.client, sys
c = http.client.HTTPConnection(sys.argv[1], 80, timeout=60)
c.connect()
sock = c.sock
def ask(method, path, body=None, **more):
    c.request(method, path, body=body, **more)
    r = c.getresponse()
    said = r.read()
    assert c.sock is sock, 'the connection did not last'
    return r.status, said
for n in range(100):
    assert ask('GET', '/one') == (200, b'backend-1\n')
    assert ask('HEAD', '/one') == (200, b'')
assert ask('GET', '/300')[1] == b'0' * 299 + b'\n'
assert ask('GET', '/upload/none')[0] == 404
parts = [bytes([n % 251]) * (n * 37 % 9000 + 1) for n in range(500)]
size = sum(map(len, parts))
status, said = ask('POST', '/sink', iter(parts), encode_chunked=True, headers={'transfer-encoding': 'chunked'})
assert (status, said) == (200, b'received %d\n' % size), (status, said)
assert ask('PUT', '/upload/python', b''.join(parts))[0] in (201, 204)
assert ask('GET', '/upload/python') == (200, b''.join(parts))
assert ask('DELETE', '/upload/python')[0] == 204
print('done')
";
    leaving_no_connection(lab, &[], || {
        each_family(|address| {
            let said = lab.client(&["python3", "-c", SESSION, address])?;
            expect(said == "done\n", "done", &said)
        })
    })
}

fn under_load(lab: &Lab) -> Result<(), Failed> {
    // What wrk had asked for when its time was over finds nobody.
    leaving_no_connection(lab, &["tcp_reset_unacceptable", "tcp_data_after_close"], || {
        each_family(|address| {
            let said = lab.client(&["wrk", "-t1", "-c64", "-d2", &url(address, "/")])?;
            let rate = said.lines().find(|line| line.starts_with("Requests/sec")).unwrap_or("no rate");
            eprintln!("  {}: {address}: {rate}", lab.device);
            let failed = said.contains("Socket errors") || said.contains("Non-2xx");
            expect(!failed && rate.starts_with("Requests"), "no error", &said)
        })
    })
}

/// Refused connections are nobody's business but the gateway's; and an endpoint that is back is used.
fn an_endpoint_ends(lab: &Lab) -> Result<(), Failed> {
    leaving_no_connection(lab, &[], || {
        let names = |count: u32| curl(lab, &["--fail", &format!("http://10.77.0.10/?[1-{count}]")]);
        let said = names(30)?;
        expect(["1", "2", "3"].iter().all(|n| said.contains(n)), "all three", &said)?;
        lab.backend("stop", "2")?;
        let said = names(100)?;
        expect(said.lines().count() == 100 && !said.contains('2'), "100 answers of the others", &said)?;
        lab.backend("start", "2")?;
        wait_for("the endpoint to be used again", || Ok(names(10)?.contains('2')))
    })
}

fn bytes_pass(lab: &Lab) -> Result<(), Failed> {
    leaving_no_connection(lab, &[], || {
        each_family(|address| {
            let mut stream = connect(address, 8080)?;
            // A field that HTTP would take out, and a body that ends with the connection.
            stream.write_all(b"GET /headers HTTP/1.0\r\nx-env: raw\r\n\r\n")?;
            let mut said = String::new();
            stream.read_to_string(&mut said)?;
            let right = said.contains("request: GET /headers HTTP/1.0\n") && said.contains("x-forwarded-for: \n");
            expect(right && said.contains("x-env: raw\n"), "the request as it was sent", &said)
        })
    })
}

/// Ten thousand clients are connected at the same time, and each is answered twice on its connection.
fn ten_thousand(lab: &Lab) -> Result<(), Failed> {
    const CLIENTS: usize = 10_000;
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let wanted = CLIENTS as u64 + 1_000;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < wanted) {
        let maximum = maximum.map(|maximum| maximum.max(wanted));
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum })?;
    }
    leaving_no_connection(lab, &[], || {
        let mut streams = (0..CLIENTS).map(|_| connect("10.77.0.10", 80)).collect::<Result<Vec<_>, _>>()?;
        // The first alone, so that the backend's hardware address is known: few packets may wait for that.
        let (first, others) = streams.split_at_mut(1);
        for _ in 0..2 {
            for some in std::iter::once(&mut *first).chain(others.chunks_mut(200)) {
                for stream in &mut *some {
                    stream.write_all(b"GET /one HTTP/1.1\r\nhost: a\r\n\r\n")?;
                }
                for stream in some {
                    let mut said = Vec::new();
                    while !said.ends_with(b"backend-1\n") {
                        let mut bytes = [0; 1024];
                        let len = stream.read(&mut bytes)?;
                        said.extend_from_slice(&bytes[..len]);
                        let right = len > 0 && b"HTTP/1.1 200 ".starts_with(&said[..said.len().min(13)]);
                        expect(right, "backend-1", &String::from_utf8_lossy(&said))?;
                    }
                }
            }
        }
        let connections = lab.gauge_sum("tcp_connections")?;
        expect(connections >= CLIENTS as u64, "ten thousand connections", &connections.to_string())
    })
}

/// The tools that these tests use beside those of every lab.
pub(crate) fn first_missing() -> Option<String> {
    let missing = |tool: &&str| run(&["sh", "-c", &format!("command -v {tool}")]).is_err();
    ["nginx", "curl", "wrk", "python3"].into_iter().find(missing).map(|tool| format!("{tool} is not installed"))
}
