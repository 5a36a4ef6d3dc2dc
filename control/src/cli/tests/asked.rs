//! What the daemon is asked, and what becomes of a "no".

use super::{TempFile, daemon::MadeUp, run, values};
use crate::{
    admin::api::{Code, ErrorBody, Finding},
    cli::console::Exit,
};
use serde_json::{Value, json};

const GATEWAY: &str = "apiVersion: weirgate/v1\nkind: GatewayConfig\n";

/// Runs a verb against a daemon; the last request, and how it ended.
fn ask(daemon: &MadeUp, arguments: &[&str]) -> (Exit, String, Value, String, String) {
    let (exit, out, err) = run(&[arguments, &["--socket", &daemon.socket()]].concat());
    let asked = daemon.asked().pop();
    let (what, content) = asked.map(|asked| (asked.what, asked.content)).unwrap_or_default();
    (exit, what, content, out, err)
}

#[test]
fn requests_say_what_was_typed() {
    let file = TempFile::new("gateway.yaml", GATEWAY);
    let files = json!([{"name": file.path(), "text": GATEWAY}]);
    for (arguments, what, content) in [
        (
            &["apply", file.path(), "--dry-run", "--confirm", "1m", "--base", "12", "--restart", "-m", "why"][..],
            "POST /v1/apply",
            json!({"files": files, "dryRun": true, "confirmSeconds": 60, "base": 12, "restart": true, "message": "why"}),
        ),
        (&["apply", file.path()], "POST /v1/apply", json!({"files": files, "dryRun": false, "restart": false})),
        (&["rollback"], "POST /v1/rollback", json!({"dryRun": false, "restart": false})),
        (&["rollback", "7"], "POST /v1/rollback", json!({"to": 7, "dryRun": false, "restart": false})),
        (&["confirm"], "POST /v1/confirm", json!({})),
        (&["diff"], "GET /v1/diff", Value::Null),
        (&["diff", "--from", "1", "--to", "2"], "GET /v1/diff?from=1&to=2", Value::Null),
        (&["diff", file.path(), "--from", "1"], "POST /v1/diff", json!({"files": files, "from": 1})),
        (&["history", "--limit", "5"], "GET /v1/revisions?limit=5", Value::Null),
        (&["get", "endpoints", "a/b"], "GET /v1/endpoints?backend=a%2Fb", Value::Null),
        (&["drain"], "POST /v1/drain", json!({"drain": true})),
        (
            &["undrain", "a/10.0.0.1:80"],
            "POST /v1/endpoints/drain",
            json!({"backend": "a", "address": "10.0.0.1:80", "drain": false}),
        ),
        (
            &["explain", "GET", "http://a/", "-H", "a: b", "--client", "10.0.0.1", "--revision", "3"],
            "POST /v1/explain",
            json!({"method": "GET", "url": "http://a/", "headers": ["a: b"], "client": "10.0.0.1", "revision": 3}),
        ),
        (&["conns", "--limit", "5"], "GET /v1/connections?limit=5", Value::Null),
        (
            &["tap", "--route", "shop", "--status-min", "500", "--rate", "10", "--limit", "1"],
            "GET /v1/tap?perSecond=10&route=shop&statusMin=500",
            Value::Null,
        ),
        (
            &["tap", "--method", "post", "--host", "a", "--path", "/cart", "--limit", "1"],
            "GET /v1/tap?host=a&method=post&path=%2Fcart&perSecond=1000",
            Value::Null,
        ),
        (
            &[
                "pcap",
                "-w",
                "/dev/null",
                "--host",
                "fd00::1",
                "--port",
                "80",
                "--protocol",
                "tcp",
                "--direction",
                "out",
            ],
            "POST /v1/pcap",
            json!({"host": "fd00::1", "port": 80, "protocol": "tcp", "direction": "out"}),
        ),
        (
            &[
                "pcap",
                "-w",
                "/dev/null",
                "--interface",
                "gw0.7",
                "--snaplen",
                "64",
                "--count",
                "9",
                "--duration",
                "1m30s",
            ],
            "POST /v1/pcap",
            json!({"interface": "gw0.7", "direction": "both", "snapLen": 64, "count": 9, "durationMs": 90_000}),
        ),
        (&["log", "level", "debug"], "PUT /v1/log", json!({"filter": "debug"})),
    ] {
        let daemon = values::daemon();
        let (.., err) = ask(&daemon, arguments);
        // What was asked first; the answer may raise another question.
        let asked = &daemon.asked()[0];
        assert_eq!((asked.what.as_str(), &asked.content), (what, &content), "{arguments:?}: {err}");
    }
}

#[test]
fn three_mistakes_are_three_located_errors_and_nothing_else() {
    let finding = |line, message: &str| Finding {
        file: "gateway.yaml".into(),
        line: Some(line),
        column: Some(3),
        field: None,
        message: message.into(),
    };
    let body = ErrorBody {
        error: "the configuration has 3 findings; nothing has changed".into(),
        code: Code::Invalid,
        findings: vec![finding(4, "listeners[0].prot"), finding(9, "routes[0].kind"), finding(20, "backends[1].name")],
        next: None,
    };
    let refusal = serde_json::to_string(&body).unwrap();
    let file = TempFile::new("gateway.yaml", GATEWAY);
    let daemon = MadeUp::new().says_text("POST /v1/apply", 422, refusal);
    let (exit, _, _, out, err) = ask(&daemon, &["apply", file.path()]);
    let wanted = "\
gateway.yaml:4:3: listeners[0].prot
gateway.yaml:9:3: routes[0].kind
gateway.yaml:20:3: backends[1].name
error: the configuration has 3 findings; nothing has changed
";
    assert_eq!((exit, out.as_str(), err.as_str()), (Exit::Findings, "", wanted));
    let (exit, _, _, out, _) = ask(&daemon, &["apply", file.path(), "-o", "json"]);
    let said: ErrorBody = serde_json::from_str(&out).unwrap();
    assert_eq!((exit, said), (Exit::Findings, body), "programs get places as data");
}

#[test]
fn who_says_no_and_why_is_in_the_exit_code() {
    for (status, code, exit) in [
        (409, "conflict", Exit::Findings),
        (403, "forbidden", Exit::Findings),
        (404, "notFound", Exit::Findings),
        (503, "noDataplane", Exit::Unreachable),
    ] {
        let body = format!(r#"{{"error": "no", "code": "{code}", "next": "look there"}}"#);
        let daemon = MadeUp::new().says_text("GET /v1/connections", status, body);
        let (ended, _, _, out, err) = ask(&daemon, &["conns"]);
        assert_eq!((ended, out.as_str(), err.as_str()), (exit, "", "error: no\n  look there\n"), "{code}");
    }
    let garbled = MadeUp::new().says_text("GET /v1/connections", 200, "hello".into());
    let (exit, _, _, _, err) = ask(&garbled, &["conns"]);
    assert!(exit == Exit::Unreachable && err.contains("weirgate version"), "{err}");
}

#[test]
fn a_daemon_that_is_not_there() {
    let file = TempFile::new("gateway.yaml", GATEWAY);
    for arguments in [
        &["apply", file.path()][..],
        &["confirm"],
        &["diff"],
        &["rollback"],
        &["history"],
        &["get", "routes"],
        &["describe", "route", "shop"],
        &["explain", "GET", "http://a/"],
        &["stat", "routes"],
        &["top", "--once"],
        &["tap"],
        &["pcap", "-w", "/nonexistent/frames"],
        &["conns"],
        &["drain"],
        &["undrain", "10.0.0.1:80"],
        &["config", "dump"],
        &["log", "level"],
        &["version"],
    ] {
        let (exit, _, err) = run(&[arguments, &["--socket", "/nonexistent/admin.sock"]].concat());
        assert_eq!(exit, Exit::Unreachable, "{arguments:?}: {err}");
        assert!(err.contains("/nonexistent/admin.sock") && err.contains("is weirgate-control running"), "{err}");
    }
    let (exit, out, _) = run(&["version", "--client", "--socket", "/nonexistent/admin.sock"]);
    assert!(exit == Exit::Done && out.contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn files_that_cannot_be_read_are_not_sent() {
    let daemon = values::daemon();
    let (exit, what, _, _, err) = ask(&daemon, &["apply", "/nonexistent/gateway.yaml"]);
    assert_eq!((exit, what.as_str()), (Exit::Findings, ""), "nobody was asked");
    assert!(err.contains("gateway.yaml") && err.contains("cannot be read"), "{err}");
}

#[test]
fn names_that_nothing_has() {
    let daemon = values::daemon();
    let (exit, _, _, _, err) = ask(&daemon, &["get", "routes", "shpo"]);
    assert_eq!((exit, err.as_str()), (Exit::Findings, "error: there is no route \"shpo\"\n  routes: shop, rest\n"));
    let (exit, _, _, _, err) = ask(&daemon, &["get", "revisions", "99"]);
    assert_eq!(
        (exit, err.as_str()),
        (Exit::Findings, "error: there is no revision 99\n  weirgate history lists them\n")
    );
    assert_eq!(ask(&daemon, &["describe", "revision", "x"]).0, Exit::Usage);
    assert_eq!(ask(&daemon, &["drain", "cart-v1"]).0, Exit::Usage);
    assert_eq!(ask(&daemon, &["diff", "x.yaml", "--to", "3"]).0, Exit::Usage);
    assert_eq!(ask(&daemon, &["apply", "x.yaml", "--confirm", "soon"]).0, Exit::Usage);
}

#[test]
fn a_stream_that_breaks_off_is_said_so() {
    let daemon = values::daemon();
    let (exit, _, _, out, err) = ask(&daemon, &["tap"]);
    assert_eq!((exit, out.lines().count()), (Exit::Unreachable, 3));
    assert!(err.contains("5 more ended") && err.contains("the daemon has closed the stream"), "{err}");
    let end = r#"{"end": {"reason": "the daemon stops"}}"#.to_owned() + "\n";
    let (exit, _, _, _, err) = ask(&MadeUp::new().says_text("GET /v1/tap", 200, end), &["tap"]);
    assert_eq!((exit, err.as_str()), (Exit::Unreachable, "error: the stream has ended: the daemon stops\n"));
}

#[test]
fn a_capture_is_written_as_it_came_and_for_nobody_else() {
    use std::os::unix::fs::PermissionsExt;
    let folder = super::TempDir::new("pcap");
    let path = format!("{}/frames.pcapng", folder.path());
    let (exit, _, _, out, err) = ask(&values::daemon(), &["pcap", "-w", &path]);
    let summary = "2 frames captured, 3 lost because the ring was full\n";
    assert_eq!((exit, out.as_str(), err.as_str()), (Exit::Done, "", summary));
    assert_eq!(std::fs::read(&path).unwrap(), values::capture(None));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // The data plane ended, or the daemon: what came is there, without what is cut off.
    let broken = MadeUp::new().says_bytes("POST /v1/pcap", 200, values::capture(Some("it broke")));
    let (exit, .., err) = ask(&broken, &["pcap", "-w", &path]);
    assert_eq!((exit, err), (Exit::Unreachable, summary.to_owned() + "error: the capture has ended: it broke\n"));
    let whole = values::capture(None);
    let cut = MadeUp::new().says_bytes("POST /v1/pcap", 200, whole[..whole.len() - 70].to_vec());
    let (exit, .., err) = ask(&cut, &["pcap", "-w", &path]);
    assert!(
        exit == Exit::Unreachable && err.contains("1 frame captured") && err.contains("closed the stream"),
        "{err}"
    );
    assert!(whole.starts_with(&std::fs::read(&path).unwrap()));
    // Who is refused loses nothing that was there.
    let body = r#"{"error": "there is no interface \"x\"", "code": "badRequest"}"#.to_owned();
    let refuses = MadeUp::new().says_text("POST /v1/pcap", 400, body);
    let (exit, .., err) = ask(&refuses, &["pcap", "--interface", "x", "-w", &path]);
    assert_eq!((exit, err.as_str()), (Exit::Findings, "error: there is no interface \"x\"\n"));
    assert!(whole.starts_with(&std::fs::read(&path).unwrap()));
    let (exit, .., err) = ask(&values::daemon(), &["pcap", "-w", "/nonexistent/frames"]);
    assert!(exit == Exit::Findings && err.contains("/nonexistent/frames cannot be written"), "{err}");
}

#[test]
fn a_window_is_what_came_between_two_looks() {
    let daemon = MadeUp::new().says("GET /v1/meters", &values::meters(0)).says("GET /v1/meters", &values::meters(1));
    let (exit, _, _, out, err) = ask(&daemon, &["stat", "listeners", "--window", "1s", "-o", "json"]);
    let out: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    let signals = &out["signals"][0];
    assert_eq!(
        (exit, signals["requests"].as_u64(), signals["successRate"].as_f64()),
        (Exit::Done, Some(100), Some(0.99))
    );
    let window = signals["windowSeconds"].as_f64().unwrap();
    assert!(window >= 1.0, "{window}");
    let rate = signals["requestsPerSecond"].as_f64().unwrap();
    assert!((rate * window - 100.0).abs() < 1e-6, "{rate} over {window}");
}

#[test]
fn what_no_longer_runs_needs_a_look() {
    let mut status = values::status();
    status.version = "9.9.9".into();
    status.dataplane.connected = false;
    status.dataplane.trouble = Some("it ended with signal 9".into());
    (status.ready, status.not_ready) = (false, Some("no data plane is connected".into()));
    let daemon = MadeUp::new().says("GET /v1/status", &status);
    let (_, _, _, out, _) = ask(&daemon, &["check", "-o", "json"]);
    for wanted in ["versions differ", "it ended with signal 9"] {
        assert!(out.contains(wanted), "{wanted}: {out}");
    }
    let (_, _, _, out, _) = ask(&values::daemon(), &["check", "-o", "json"]);
    assert!(out.contains("the data plane runs with 2 workers") && out.contains("revision 13 is served"), "{out}");
}
