//! The binary as a shell runs it: exit codes, pipes, signals, the environment.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::Ordering,
};
use weirgate_dataplane::shm::{Column, Header, Region};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/gateway.yaml");

fn weirgate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weirgate"));
    command.args(arguments).env_remove("WEIRGATE_SOCKET").stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    said(weirgate(arguments).output().unwrap())
}

fn said(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().expect("it ended by itself"), text(output.stdout), text(output.stderr))
}

/// A folder of a test's own, gone when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("weirgate-command-line-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.0.join(name), text).unwrap();
        self.file(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn exit_codes_are_as_they_are_documented() {
    let folder = Folder::new("codes");
    let wrong = folder.write("wrong.yaml", "apiVersion: weirgate/v1\nkind: GatewayConfig\nnonsense: 1\n");
    let nobody = folder.file("nobody.sock");
    for (arguments, code) in [
        (&["--help"][..], 0),
        (&["--version"], 0),
        (&["version", "--client"], 0),
        (&["validate", EXAMPLE], 0),
        (&["validate", &wrong], 1),
        (&["validate", "/nonexistent.yaml"], 1),
        (&["check", &wrong], 1),
        (&["explain", "GET", "http://shop.example.com/", "--file", EXAMPLE], 0),
        (&["explain", "GET", "gopher://shop.example.com/", "--file", EXAMPLE], 1),
        (&["cert", "list", "--socket", &nobody], 3),
        (&["pcap", "--port", "0"], 2),
        (&[], 2),
        (&["nonsense"], 2),
        (&["validate"], 2),
        (&["drain", "cart", "--socket", &nobody], 2),
        (&["top", "--socket", &nobody], 2),
        (&["apply", EXAMPLE, "--socket", &nobody], 3),
        (&["stat", "--run-dir", &folder.file("nothing")], 3),
        (&["stat", "routes", "--socket", &nobody], 3),
        (&["pcap", "--socket", &nobody], 3),
        (&["version", "--socket", &nobody], 3),
    ] {
        let (ended, out, err) = run(arguments);
        assert_eq!(ended, code, "{arguments:?}: {out}{err}");
        assert!(code < 2 || !err.is_empty(), "{arguments:?} says nothing");
        assert!(!out.contains('\x1b') && !err.contains('\x1b'), "{arguments:?} has colours in a pipe");
    }
}

#[test]
fn scripts_compile_explain_and_read_counters_as_before() {
    let folder = Folder::new("scripts");
    let snapshot = folder.file("snapshot.json");
    assert_eq!(run(&["compile", EXAMPLE, "-o", &snapshot]), (0, String::new(), String::new()));
    let compiled = std::fs::read_to_string(&snapshot).unwrap();
    weirgate_dataplane::snapshot::Snapshot::from_json(&compiled).unwrap();
    let (code, _, err) = run(&["compile", EXAMPLE, "-o", &folder.file("no/such/folder.json")]);
    assert!(code == 1 && err.contains("cannot be written"), "{err}");

    let header =
        Header { version: "1".into(), pid: std::process::id(), name: "lab".into(), columns: vec![Column::worker(0)] };
    let region = Region::create(Path::new(&folder.file("counters")), &header).unwrap();
    region.appear().unwrap();
    region.cells(0)[0].store(77, Ordering::Relaxed);
    let run_dir = folder.file("");
    let (code, out, _) = run(&["stat", "--run-dir", &run_dir, "--output", "json"]);
    let statistics: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &statistics["columns"][0]["values"][0]["value"]), (0, &77.into()), "{out}");
    let (code, out, _) = run(&["stat", "--run-dir", &run_dir]);
    assert!(code == 0 && out.starts_with("lab: weirgate 1, process "), "{out}");
}

#[test]
fn a_configuration_comes_through_a_pipe() {
    let mut child = weirgate(&["validate", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&std::fs::read(EXAMPLE).unwrap()).unwrap();
    let (code, out, _) = said(child.wait_with_output().unwrap());
    assert!(code == 0 && out.contains("valid"), "{out}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    // Everything that is printed goes into a pipe that nobody reads.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = weirgate(&["completion", "zsh"]).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let (code, _, err) = said(output.wait_with_output().unwrap());
    assert_eq!((code, err.as_str()), (0, ""));
}

#[test]
fn the_environment_names_the_socket() {
    let output = weirgate(&["conns"]).env("WEIRGATE_SOCKET", "/nonexistent/of-the-environment.sock").output().unwrap();
    let (code, _, err) = said(output);
    assert!(code == 3 && err.contains("of-the-environment.sock"), "{err}");
}

/// Takes one request, and gives it the beginning of a stream.
fn begin_stream(listener: &UnixListener, lines: &str) -> UnixStream {
    let (mut stream, _) = listener.accept().unwrap();
    let mut head = BufReader::new(stream.try_clone().unwrap()).lines();
    assert!(head.next().unwrap().unwrap().starts_with("GET /v1/tap"));
    while head.next().is_some_and(|line| !line.unwrap().is_empty()) {}
    let length = lines.len();
    write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{lines}\r\n").unwrap();
    stream
}

#[test]
fn tap_shows_at_once_and_ends_cleanly_on_ctrl_c() {
    let folder = Folder::new("tap");
    let socket = folder.file("admin.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let mut child: Child =
        weirgate(&["tap", "--socket", &socket]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let exchange = r#"{"exchange": {"at": "2027-01-15T08:00:01Z", "client": "10.77.0.2", "listener": "http", "method": "GET",
        "host": "a", "path": "/b", "status": 200, "ended": "done", "requestBytes": 0, "responseBytes": 1, "attempts": 1,
        "totalUs": 5}}"#;
    let mut stream = begin_stream(&listener, &(exchange.replace('\n', "") + "\n"));
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert!(line.contains("GET a/b  200"), "it is shown while the stream goes on: {line}");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let (code, _, err) = said(child.wait_with_output().unwrap());
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "nobody watches any more");
}
