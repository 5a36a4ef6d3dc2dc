//! The admin API over real sockets.

use super::{
    api,
    client::{Chunks, Client},
    operations,
    server::Server,
};
use crate::{
    admin::api::{Applied, ApplyRequest, Code, ErrorBody, Status},
    daemon::tests::{PATIENCE, World, audit_lines, eventually, files, yaml},
};
use axum::Router;
use serde_json::{Value, json};
use std::{net::SocketAddr, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use weirgate_dataplane::{
    limits::{CAPTURES_MAX, TAPS_MAX},
    link::{
        capture::{CapturedFrame, Way},
        message::{Event, ExchangeRecord},
    },
    port::pcapng::{Direction, Packet, Writer},
};

/// A daemon with its admin API.
async fn served(name: &str) -> (World, Client) {
    let world = World::new(name).await;
    let mut server = Server::new(Arc::clone(&world.engine), false, Router::new());
    server.bind().await;
    tokio::spawn(server.run());
    let client = Client::new(world.dir.path().join("admin.sock")).with_patience(PATIENCE);
    (world, client)
}

/// The configuration keeps the socket where it is.
fn request(world: &World, path: &str, more: &str) -> ApplyRequest {
    let socket = world.dir.path().join("admin.sock");
    let mut request = ApplyRequest { files: files(path), ..ApplyRequest::default() };
    request.files[0].text = yaml(path) + &format!("admin: {{socket: \"unix://{}\"{more}}}\n", socket.display());
    request
}

/// What comes back for these bytes.
async fn raw(world: &World, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(world.dir.path().join("admin.sock")).await.unwrap();
    // It may be refused before it is read whole.
    _ = stream.write_all(bytes).await;
    let mut all = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut all)).await.expect("in time").unwrap_or_default();
    String::from_utf8_lossy(&all).into_owned()
}

fn refusal(error: super::client::Error) -> ErrorBody {
    match error {
        super::client::Error::Refused { body, .. } => *body,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_day_of_an_operator() {
    let (world, client) = served("admin-day").await;
    assert_eq!(client.text(api::HEALTHZ).await.unwrap(), "ok\n");
    let error = refusal(client.text(api::READYZ).await.unwrap_err());
    assert_eq!(error.code, Code::NotReady);
    let applied: Applied = client.post(api::APPLY, &request(&world, "b", "")).await.unwrap();
    assert_eq!(applied.revision, 1);
    assert_eq!(client.text(api::READYZ).await.unwrap(), "ready\n");
    let status: Status = client.get(api::STATUS).await.unwrap();
    assert!(status.ready && status.dataplane.connected);
    assert_eq!(status.revision.unwrap().uid, Some(rustix::process::getuid().as_raw()));
    _ = client.post::<Applied>(api::APPLY, &request(&world, "c", "")).await.unwrap();

    let history: api::History = client.get(api::REVISIONS).await.unwrap();
    assert_eq!((history.current, history.revisions.len()), (Some(2), 2));
    let difference: api::Difference = client.get(api::DIFF).await.unwrap();
    assert_eq!((difference.from, difference.to, difference.changes.len()), (1, Some(2), 1));
    let details: api::RevisionDetails = client.get(&api::of(api::REVISION, "current")).await.unwrap();
    assert_eq!((details.head.revision, &details.snapshot["name"]), (2, &json!("test")));
    let listeners: api::Listeners = client.get(api::LISTENERS).await.unwrap();
    assert_eq!((listeners.listeners[0].name.as_str(), listeners.listeners[0].routes), ("http", 1));
    let routes: api::Routes = client.get(api::ROUTES).await.unwrap();
    assert_eq!((&routes.routes[0].backends, &routes.routes[0].listeners), (&vec!["web".into()], &vec!["http".into()]));
    let backends: api::Backends = client.get(api::BACKENDS).await.unwrap();
    assert_eq!((backends.backends[0].endpoints, backends.backends[0].healthy), (2, Some(2)));
    let described: api::Described = client.get(&api::of(api::BACKEND, "web")).await.unwrap();
    assert_eq!((described.endpoints.len(), &described.routes), (2, &vec!["site".to_owned()]));
    let error = refusal(client.get::<Value>(&api::of(api::ROUTE, "a/b")).await.unwrap_err());
    assert_eq!((error.code, error.error.as_str()), (Code::NotFound, "there is no route \"a/b\""));
    let query = api::EndpointsQuery { backend: Some("nope".into()) };
    assert_eq!(refusal(client.get_with::<Value>(api::ENDPOINTS, &query).await.unwrap_err()).code, Code::NotFound);

    let question = json!({"method": "GET", "url": "http://10.77.0.10/c/1"});
    let explained: api::Explained = client.post(api::EXPLAIN, &question).await.unwrap();
    assert!(
        explained.text.contains("rules     site/#0: chosen") && explained.text.contains("10.77.0.11:8080 of web: well"),
        "{}",
        explained.text
    );
    let connections: api::Connections = client.get(api::CONNECTIONS).await.unwrap();
    assert_eq!(connections.total, 0);
    _ = client.get::<api::Meters>(api::METERS).await.unwrap();
    assert_eq!(refusal(client.get::<Value>(api::COUNTERS).await.unwrap_err()).code, Code::NoDataplane);

    let done: api::Done = client.post(api::DRAIN, &json!({"drain": true})).await.unwrap();
    assert!(done.changed && world.stand_in.inside().drains);
    assert_eq!(refusal(client.text(api::READYZ).await.unwrap_err()).error, "the gateway drains");
    _ = client.post::<api::Done>(api::DRAIN, &json!({"drain": false})).await.unwrap();
    let error = refusal(client.put::<Value>(api::LOG, &json!({"filter": "a=b=c"})).await.unwrap_err());
    assert_eq!(error.code, Code::BadRequest);
    _ = client.put::<api::Done>(api::LOG, &json!({"filter": "debug"})).await.unwrap();
    assert_eq!(client.get::<api::LogLevel>(api::LOG).await.unwrap().filter, "debug");
    let back: Applied = client.post(api::ROLLBACK, &json!({"to": 1, "base": 2})).await.unwrap();
    assert_eq!(back.revision, 3);
    let error = refusal(client.post::<Value>(api::ROLLBACK, &json!({"to": 1, "base": 2})).await.unwrap_err());
    assert_eq!(error.code, Code::Conflict);
}

#[tokio::test]
async fn if_match_is_the_base() {
    let (world, client) = served("admin-if-match").await;
    _ = client.post::<Applied>(api::APPLY, &request(&world, "b", "")).await.unwrap();
    let body = serde_json::to_string(&request(&world, "c", "")).unwrap();
    let head = |tag: &str| {
        format!(
            "POST /v1/apply HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nIf-Match: {tag}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    for (tag, wanted) in [("\"7\"", "HTTP/1.1 409"), ("nonsense", "HTTP/1.1 400"), ("\"1\"", "HTTP/1.1 200")] {
        let response = raw(&world, head(tag).as_bytes()).await;
        assert!(response.starts_with(wanted), "{tag}: {response}");
    }
}

#[tokio::test]
async fn hostile_requests_are_refused_and_the_next_one_is_served() {
    let (world, client) = served("admin-hostile").await;
    let json = "Host: x\r\nContent-Type: application/json\r\n";
    let long = "a".repeat(100_000);
    let deep = "[".repeat(50_000);
    for (bytes, wanted) in [
        ("nonsense\r\n\r\n".to_owned(), "HTTP/1.1 400"),
        (format!("GET /{long} HTTP/1.1\r\n\r\n"), "HTTP/1.1 4"),
        (format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(1_000)), "HTTP/1.1 431"),
        (format!("POST /v1/drain HTTP/1.1\r\n{json}Content-Length: 99999999999\r\n\r\n"), "HTTP/1.1 413"),
        (format!("POST /v1/drain HTTP/1.1\r\n{json}Content-Length: 100000\r\n\r\n{long}"), "HTTP/1.1 413"),
        (
            format!("POST /v1/drain HTTP/1.1\r\n{json}Transfer-Encoding: chunked\r\n\r\n186a0\r\n{long}\r\n0\r\n\r\n"),
            "HTTP/1.1 413",
        ),
        (format!("POST /v1/drain HTTP/1.1\r\n{json}Content-Length: 50000\r\n\r\n{deep}"), "HTTP/1.1 400"),
        (
            format!("POST /v1/drain HTTP/1.1\r\n{json}Content-Length: 26\r\n\r\n{{\"drain\": true, \"more\": 1}}"),
            "HTTP/1.1 400",
        ),
        (
            "POST /v1/drain HTTP/1.1\r\nHost: x\r\nContent-Length: 15\r\n\r\n{\"drain\": true}".to_owned(),
            "HTTP/1.1 400",
        ),
        ("GET /v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "HTTP/1.1 404"),
        ("DELETE /v1/status HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "HTTP/1.1 405"),
        ("GET /v1/diff?from=x HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "HTTP/1.1 400"),
        ("GET /v1/diff?form=1 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "HTTP/1.1 400"),
        ("GET /v1/routes/%ff HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "HTTP/1.1 400"),
    ] {
        let response = raw(&world, bytes.as_bytes()).await;
        assert!(response.starts_with(wanted), "{}: {response}", &bytes[..bytes.len().min(80)]);
        if !bytes.starts_with("nonsense") && response.contains("application/json") {
            let body = response.split("\r\n\r\n").nth(1).unwrap();
            serde_json::from_str::<ErrorBody>(body).unwrap_or_else(|error| panic!("{error}: {response}"));
        }
    }
    assert!(!world.engine.state().draining);
    // Many who say nothing, or half a head, hold nobody up who comes within the bounds.
    let mut silent = Vec::new();
    for n in 0..32 {
        let mut stream = UnixStream::connect(client.socket()).await.unwrap();
        if n % 2 == 0 {
            stream.write_all(b"GET /healthz HT").await.unwrap();
        }
        silent.push(stream);
    }
    assert_eq!(client.text(api::HEALTHZ).await.unwrap(), "ok\n");
}

fn record(path: &str) -> Event {
    Event::Exchange(Box::new(ExchangeRecord {
        at_us: 0,
        client: [10, 77, 0, 2].into(),
        listener: "http".into(),
        route: Some("site".into()),
        rule: None,
        backend: Some("web".into()),
        endpoint: None,
        method: "GET".into(),
        host: "user:pw@shop.example".into(),
        path: path.into(),
        status: 200,
        ended: "done".into(),
        request_bytes: 0,
        response_bytes: 5,
        attempts: 1,
        first_byte_us: Some(80),
        total_us: 90,
    }))
}

#[tokio::test]
async fn a_tap_costs_nothing_when_nobody_watches() {
    let (world, client) = served("admin-tap").await;
    assert!(world.stand_in.inside().taps.is_empty());
    let query = api::TapQuery { route: Some("site".into()), ..api::TapQuery::default() };
    let mut lines = client.stream::<api::TapLine>(api::TAP, &query).await.unwrap();
    let filter = world.stand_in.inside().taps.pop().unwrap();
    assert_eq!((filter.route.as_deref(), filter.per_second), (Some("site"), Some(1_000)));
    world.stand_in.tell(record("/reset/abcdef?token=1"));
    world.stand_in.tell(Event::Missed { count: 3 });
    world.stand_in.tell(record("/"));
    let mut next = async || timeout(PATIENCE, lines.next()).await.expect("in time").unwrap().unwrap();
    match next().await {
        api::TapLine::Exchange(it) => {
            assert_eq!((it.path.as_str(), it.host.as_str()), ("/reset/[redacted]", "shop.example"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(next().await, api::TapLine::Missed { count: 3 });
    assert!(matches!(next().await, api::TapLine::Exchange(_)));
    drop(lines);
    world.stand_in.until(|it| it.taps.is_empty()).await;
    // There are only so many, and the data plane's end is theirs.
    let mut streams = Vec::new();
    let query = api::TapQuery { path: Some("/reset/a".into()), method: Some("get".into()), ..api::TapQuery::default() };
    for _ in 0..TAPS_MAX {
        streams.push(client.stream::<api::TapLine>(api::TAP, &query).await.unwrap());
    }
    let error = client.stream::<api::TapLine>(api::TAP, &query).await.err().unwrap();
    assert_eq!(refusal(error).code, Code::TooMany);
    let filter = world.stand_in.inside().taps.pop().unwrap();
    assert_eq!((filter.path.as_deref(), filter.method.as_deref()), (Some("/reset/a"), Some("get")));
    // What is left out of a path cannot be found out by asking for it.
    world.stand_in.tell(record("/reset/abcdef"));
    world.stand_in.stop();
    let last = timeout(PATIENCE, streams[0].next()).await.expect("in time").unwrap().unwrap();
    assert!(matches!(last, api::TapLine::End { .. }), "{last:?}");
    assert!(timeout(PATIENCE, streams[0].next()).await.expect("in time").unwrap().is_none());
}

fn frame(lost: u64) -> Event {
    let bytes = vec![7; 42];
    Event::Frame(Box::new(CapturedFrame { interface: 0, direction: Way::In, at_ns: 5, len: 60, lost, bytes }))
}

/// All that comes of a capture.
async fn rest(chunks: &mut Chunks) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(chunk) = timeout(PATIENCE, chunks.next()).await.expect("in time").unwrap() {
        all.extend_from_slice(&chunk);
    }
    all
}

/// What such a capture holds: its frames, and how it ends.
fn whole(lost: &[u64], ended: Option<(u64, Option<&str>)>, file: &[u8]) -> bool {
    let mut writer = Writer::new(Vec::new()).unwrap();
    writer.interface("p0").unwrap();
    for &lost in lost {
        let packet = Packet { interface: 0, ns: 5, direction: Direction::Received, len: 60, lost, bytes: &[7; 42] };
        writer.packet(&packet).unwrap();
    }
    let frames = std::mem::take(writer.get_mut());
    let Some((lost_all, why)) = ended else { return file == frames };
    writer.statistics(0, lost.len() as u64, lost_all, why).unwrap();
    let end = std::mem::take(writer.get_mut());
    // But for the time of the end.
    file.strip_prefix(&frames[..])
        .is_some_and(|it| it.len() == end.len() && it[..12] == end[..12] && it[20..] == end[20..])
}

#[tokio::test]
async fn a_capture_comes_as_it_passes_and_is_noted() {
    let (world, client) = served("admin-pcap").await;
    let asked = api::CaptureRequest { host: Some("10.77.0.2".into()), port: Some(80), ..Default::default() };
    let mut chunks = client.chunks(api::PCAP, &asked).await.unwrap();
    let filter = world.stand_in.inside().captures.pop().unwrap();
    assert_eq!((filter.host, filter.port, filter.direction), (Some([10, 77, 0, 2].into()), Some(80), None));
    let head = timeout(PATIENCE, chunks.next()).await.expect("in time").unwrap().unwrap();
    assert!(whole(&[], None, &head), "a reader knows that it has begun");
    for event in [frame(0), frame(2), Event::CaptureEnd { lost: 1 }] {
        world.stand_in.tell(event);
    }
    let file = [head.to_vec(), rest(&mut chunks).await].concat();
    assert!(whole(&[0, 2], Some((3, None)), &file), "{file:02x?}");
    world.stand_in.until(|it| it.captures.is_empty()).await;
    let noted = async {
        loop {
            let lines: Vec<_> = audit_lines(&world.dir).into_iter().filter(|it| it["action"] == "pcap").collect();
            if lines.len() == 2 {
                return lines;
            }
            tokio::task::yield_now().await;
        }
    };
    let lines = timeout(PATIENCE, noted).await.expect("it is noted");
    assert_eq!((&lines[0]["outcome"], &lines[0]["uid"]), (&json!("begun"), &json!(rustix::process::getuid().as_raw())));
    assert!(lines[0]["detail"].as_str().unwrap().contains("10.77.0.2"), "{}", lines[0]);
    assert_eq!((&lines[1]["outcome"], &lines[1]["detail"]), (&json!("done"), &json!("2 frames, 3 lost")));
    // It ends with the client,
    let chunks = client.chunks(api::PCAP, &asked).await.unwrap();
    assert_eq!(world.stand_in.inside().captures.len(), 1);
    drop(chunks);
    world.stand_in.until(|it| it.captures.is_empty()).await;
    // and with the data plane, which it says.
    let mut several = Vec::new();
    while several.len() < CAPTURES_MAX {
        match client.chunks(api::PCAP, &api::CaptureRequest::default()).await {
            Ok(chunks) => several.push(chunks),
            // The one that has just gone is still being noted.
            Err(error) => assert_eq!(refusal(error).code, Code::TooMany),
        }
    }
    let error = refusal(client.chunks(api::PCAP, &asked).await.err().unwrap());
    assert_eq!(error.error, "there are 4 captures already, which is as many as there may be");
    world.stand_in.tell(frame(0));
    world.stand_in.stop();
    let file = rest(&mut several[0]).await;
    assert!(whole(&[0], Some((0, Some("the data plane closed it"))), &file), "{file:02x?}");
}

#[tokio::test]
async fn captures_that_make_no_sense_are_refused() {
    let (world, client) = served("admin-pcap-wrong").await;
    for (body, said) in [
        (json!({"host": "shop"}), "host \"shop\" is no IP address"),
        (json!({"hosts": "10.0.0.1"}), "unknown field"),
        (json!({"port": 70_000}), "the request cannot be read"),
        (json!({"interface": "nope"}), "there is no such interface"),
    ] {
        let error = refusal(client.chunks(api::PCAP, &body).await.err().unwrap());
        assert!(error.code == Code::BadRequest && error.error.contains(said), "{error:?}");
    }
    let outcomes: Vec<_> = audit_lines(&world.dir).iter().map(|it| it["outcome"].clone()).collect();
    assert_eq!(outcomes, ["begun", "refused"], "what was asked of the data plane");
    assert!(world.stand_in.inside().captures.is_empty());
}

#[tokio::test]
async fn over_tcp_one_may_look_only() {
    let (world, client) = served("admin-tcp").await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let more = format!(", tcp: \"{free}\"");
    _ = client.post::<Applied>(api::APPLY, &request(&world, "b", &more)).await.unwrap();
    let status = "GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert!(tcp(free, status).await.starts_with("HTTP/1.1 200"));
    let drain = "POST /v1/drain HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"drain\": true}";
    let refused = tcp(free, drain).await;
    assert!(refused.starts_with("HTTP/1.1 403") && refused.contains("--allow-tcp-writes"), "{refused}");
    let pcap = drain.replace("/v1/drain", "/v1/pcap").replace("{\"drain\": true}", "{\"port\": 80   }");
    assert!(tcp(free, &pcap).await.starts_with("HTTP/1.1 403"), "frames show what only some may see");
    let page = "GET /v1/status HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    assert!(tcp(free, page).await.starts_with("HTTP/1.1 403"));
    let noted = audit_lines(&world.dir);
    let refusals: Vec<_> = noted.iter().filter(|it| it["outcome"] == "refused").collect();
    assert_eq!(refusals.len(), 1, "the second came too soon to be noted");
    assert_eq!((&refusals[0]["action"], &refusals[0]["uid"]), (&json!("POST /v1/drain"), &Value::Null));
    // Without it in the configuration nobody listens there any more.
    _ = client.post::<Applied>(api::APPLY, &request(&world, "b", "")).await.unwrap();
    let closed = async || TcpStream::connect(free).await.is_err().then_some(());
    eventually(closed).await.expect("it is closed");
}

#[tokio::test]
async fn many_over_tcp_keep_nobody_from_the_unix_socket() {
    let (world, client) = served("admin-flood").await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let more = format!(", tcp: \"{free}\"");
    _ = client.post::<Applied>(api::APPLY, &request(&world, "b", &more)).await.unwrap();
    assert!(tcp(free, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.starts_with("HTTP/1.1 200"));
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(free).await.unwrap());
    }
    let mut nothing = [0];
    tokio::select! {
        asked = client.text(api::HEALTHZ) => assert_eq!(asked.unwrap(), "ok\n"),
        _ = silent[0].read(&mut nothing) => panic!("the first of them was given up before anybody else had a turn"),
    }
}

async fn tcp(address: SocketAddr, request: &str) -> String {
    let mut all = Vec::new();
    let asked = async {
        // The socket is opened a moment after the change is in force.
        let mut stream = eventually(async || TcpStream::connect(address).await.ok()).await.expect("it is opened");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.read_to_end(&mut all).await.unwrap();
    };
    timeout(PATIENCE, asked).await.expect("in time");
    String::from_utf8(all).unwrap()
}

#[tokio::test]
async fn the_description_has_every_path_and_every_type() {
    let (_world, client) = served("admin-openapi").await;
    let description: Value = client.get(api::OPENAPI).await.unwrap();
    let paths = description["paths"].as_object().unwrap();
    for operation in operations::operations() {
        let described = &paths[operation.path][operation.method.as_str().to_lowercase()];
        assert!(described["summary"].is_string(), "{} {}", operation.method, operation.path);
        let parameters = described["parameters"].as_array().map_or(0, Vec::len);
        assert!(parameters > 0 || (operation.query.is_none() && !operation.path.contains('{')), "{}", operation.path);
        assert_eq!(described["requestBody"].is_object(), operation.body.is_some(), "{}", operation.path);
    }
    // Every path of the API's list is among them.
    let list = include_str!("api.rs").lines().filter_map(|line| line.strip_prefix("pub const ")?.split('"').nth(1));
    for path in list.filter(|path| !path.ends_with(".sock")) {
        assert!(paths.contains_key(path), "{path}");
    }
    let mut ids: Vec<_> = paths
        .values()
        .flat_map(|it| it.as_object().unwrap().values())
        .map(|it| it["operationId"].as_str().unwrap())
        .collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all);
    let text = description.to_string();
    for reference in text.split("\"$ref\":\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(description.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    assert!(description.pointer("/components/schemas/ApplyRequest/properties/dryRun").is_some());
}

#[tokio::test]
async fn what_cannot_be_opened_is_refused_and_at_the_start_something_else_is_used() {
    let (world, client) = served("admin-open").await;
    let _: Applied = client.post(api::APPLY, &request(&world, "b", "")).await.unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let tcp = format!(", tcp: \"{address}\"");
    let audit = format!(", audit: {}/state", world.dir.path().display());
    for (more, said) in [(&tcp, "admin.tcp"), (&audit, "admin.audit")] {
        let error = refusal(client.post::<Applied>(api::APPLY, &request(&world, "c", more)).await.unwrap_err());
        assert_eq!(error.code, Code::Invalid);
        assert!(error.error.starts_with(said) && error.next.is_some(), "{error:?}");
    }
    assert_eq!((world.engine.state().number(), world.serves().as_str()), (Some(1), "b"));
    drop(taken);
    let _: Applied = client.post(api::APPLY, &request(&world, "c", &tcp)).await.unwrap();
    // What is no socket is not replaced by one.
    let precious = world.dir.path().join("precious");
    std::fs::write(&precious, "words").unwrap();
    let mut over = request(&world, "d", "");
    over.files[0].text = yaml("d") + &format!("admin: {{socket: \"unix://{}\"}}\n", precious.display());
    let error = refusal(client.post::<Applied>(api::APPLY, &over).await.unwrap_err());
    assert!(error.error.contains("no socket"), "{error:?}");
    assert_eq!(std::fs::read_to_string(&precious).unwrap(), "words");
    // At the next start somebody else has it, and the socket's directory is none.
    let blocked = world.dir.path().join("file");
    std::fs::write(&blocked, "").unwrap();
    let mut elsewhere = request(&world, "d", "");
    elsewhere.files[0].text = yaml("d") + &format!("admin: {{socket: \"unix://{}/s\"}}\n", blocked.display());
    let error = refusal(client.post::<Applied>(api::APPLY, &elsewhere).await.unwrap_err());
    assert!(error.error.starts_with("admin.socket"), "{error:?}");
    std::fs::remove_file(&blocked).unwrap();
    let _: Applied = client.post(api::APPLY, &elsewhere).await.unwrap();
    std::fs::remove_dir_all(&blocked).unwrap();
    std::fs::write(&blocked, "").unwrap();
    let mut server = Server::new(Arc::clone(&world.engine), false, Router::new());
    server.bind().await;
    tokio::spawn(server.run());
    let client = Client::new(world.dir.path().join("admin.sock")).with_patience(PATIENCE);
    assert_eq!(client.text(api::HEALTHZ).await.unwrap(), "ok\n");
}
