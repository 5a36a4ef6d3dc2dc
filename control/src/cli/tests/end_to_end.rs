//! The command line against the real daemon, which programs a stand-in for a data plane.

use super::{TempDir, run};
use crate::{
    admin::server::Server,
    cli::console::Exit,
    daemon::tests::{PATIENCE, World, yaml},
};
use axum::Router;
use std::sync::Arc;
use tokio::{task::spawn_blocking, time::timeout};
use weirgate_dataplane::link::message::{Event, ExchangeRecord};

/// An operator's desk: files, and a daemon.
struct Desk {
    world: World,
    files: TempDir,
    socket: String,
}

impl Desk {
    async fn new() -> Self {
        let world = World::new("cli").await;
        let mut server = Server::new(Arc::clone(&world.engine), false, Router::new());
        server.bind().await;
        tokio::spawn(server.run());
        let socket = world.dir.path().join("admin.sock").display().to_string();
        Self { world, files: TempDir::new("desk"), socket }
    }

    /// Writes a configuration whose route takes this path; its name.
    fn gateway(&self, path: &str) -> String {
        let name = format!("{path}.yaml");
        // The configuration keeps the socket where it is.
        self.files.write(&name, &(yaml(path) + &format!("admin: {{socket: \"unix://{}\"}}\n", self.socket)));
        format!("{}/{name}", self.files.path())
    }

    /// Types a line.
    async fn types(&self, arguments: &[&str]) -> (Exit, String, String) {
        let arguments: Vec<String> =
            arguments.iter().copied().chain(["--socket", &self.socket]).map(str::to_owned).collect();
        let typed = spawn_blocking(move || run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()));
        timeout(PATIENCE, typed).await.expect("in time").unwrap()
    }

    /// The same, where it must end well; what it prints.
    async fn prints(&self, arguments: &[&str]) -> String {
        let (exit, out, err) = self.types(arguments).await;
        assert_eq!(exit, Exit::Done, "{arguments:?}: {out}{err}");
        out
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_made_looked_at_and_taken_back() {
    let desk = Desk::new().await;
    let (b, c) = (desk.gateway("b"), desk.gateway("c"));
    let said = desk.prints(&["apply", &b, "-m", "the first"]).await;
    assert!(said.contains("revision 1 is in force in every worker"), "{said}");
    assert!(desk.prints(&["apply", &b]).await.starts_with("nothing to change"));
    assert!(desk.prints(&["diff", &b]).await.lines().all(|line| !line.starts_with(['+', '-'])), "nothing differs");
    let (exit, difference, _) = desk.types(&["diff", &c]).await;
    assert!(exit == Exit::Findings && difference.contains("/c"), "{difference}");
    let said = desk.prints(&["apply", &c, "--dry-run"]).await;
    assert!(said.contains("dry run: 1 object would differ from revision 1"), "{said}");
    assert_eq!(desk.world.serves(), "b");

    let said = desk.prints(&["apply", &c, "--base", "1", "--confirm", "5m"]).await;
    assert!(said.contains("revision 2 is in force") && said.contains("goes back to revision 1"), "{said}");
    assert_eq!(desk.prints(&["confirm"]).await, "revision 2 stays in force\n");
    assert_eq!(desk.world.serves(), "c");
    let (exit, _, err) = desk.types(&["apply", &b, "--base", "1"]).await;
    assert!(exit == Exit::Findings && err.contains("revision 2"), "somebody else was faster: {err}");

    assert!(desk.prints(&["rollback"]).await.contains("revision 3 is in force"));
    assert_eq!(desk.world.serves(), "b");
    let history = desk.prints(&["history"]).await;
    let last = history.lines().last().unwrap();
    assert!(history.contains("rollback to 1") && last.contains("apply") && last.contains("the first"), "{history}");
    let dumped = desk.prints(&["config", "dump"]).await;
    assert!(dumped.contains("value: /b"), "{dumped}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dumped_can_be_applied_again() {
    let desk = Desk::new().await;
    let first = desk.gateway("b");
    let whole = yaml("b") + &format!("admin: {{socket: \"unix://{}\"}}\n", desk.socket);
    let (rest, backends) = whole.split_at(whole.find("backends:").expect("the last block but one"));
    let (backends, admin) = backends.split_at(backends.find("admin:").unwrap());
    let head = "apiVersion: weirgate/v1\nkind: GatewayConfig\n";
    desk.files.write("more/backends.yaml", &format!("{head}{backends}"));
    desk.files.write("split.yaml", &format!("{rest}{admin}include:\n- more\n"));
    desk.prints(&["apply", &format!("{}/split.yaml", desk.files.path())]).await;
    let dumped = desk.prints(&["config", "dump"]).await;
    assert!(dumped.contains("# include:"), "{dumped}");
    desk.files.write("dumped.yaml", &dumped);
    desk.prints(&["apply", &first]).await;
    desk.prints(&["apply", &format!("{}/dumped.yaml", desk.files.path())]).await;
    assert!(desk.prints(&["diff", "--from", "1"]).await.lines().all(|line| !line.starts_with(['+', '-'])));
}

#[tokio::test(flavor = "multi_thread")]
async fn three_mistakes_change_nothing() {
    let desk = Desk::new().await;
    desk.prints(&["apply", &desk.gateway("b")]).await;
    let replaced = desk.world.stand_in.inside().replaced;
    let wrong = yaml("c").replace("port: 80,", "port: 800000,").replace("PathPrefix", "PathPerfix");
    desk.files.write("wrong.yaml", &wrong.replace("name: web}]", "name: wbe}]"));
    let file = format!("{}/wrong.yaml", desk.files.path());
    let (exit, out, err) = desk.types(&["apply", &file]).await;
    assert_eq!((exit, out.as_str()), (Exit::Findings, ""));
    let located = |line: &&str| {
        let mut place = line.strip_prefix(&format!("{file}:")).unwrap_or_default().split(':');
        place.by_ref().take(2).all(|number| number.parse::<u32>().is_ok()) && place.next().is_some()
    };
    assert_eq!(err.lines().filter(located).count(), 3, "{err}");
    assert_eq!((desk.world.serves().as_str(), desk.world.stand_in.inside().replaced), ("b", replaced));
    assert!(desk.prints(&["get", "revisions", "-o", "json"]).await.contains("\"current\": 1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_force_can_be_looked_at() {
    let desk = Desk::new().await;
    desk.prints(&["apply", &desk.gateway("b")]).await;
    for (arguments, wanted) in [
        (&["get", "listeners"][..], "http"),
        (&["get", "routes"], "site"),
        (&["get", "backends"], "2/2"),
        (&["get", "endpoints", "web"], "10.77.0.12:8080"),
        (&["describe", "listener", "http"], "Routes:    site"),
        (&["describe", "route", "site"], "Listeners:  http"),
        (&["describe", "backend", "web"], "Endpoints:"),
        (&["explain", "GET", "http://10.77.0.10/b/1"], "chosen"),
        (&["explain", "GET", "http://10.77.0.10/b/1", "-o", "json"], "\"revision\": 1"),
        (&["stat", "routes", "--window", "0s"], ""),
        (&["conns"], "no such connection is open"),
        (&["config", "dump", "--compiled", "-o", "json"], "\"name\": \"test\""),
        (&["log", "level"], ""),
        (&["version"], env!("CARGO_PKG_VERSION")),
        (&["top", "--once"], "test  revision 1  "),
    ] {
        let said = desk.prints(arguments).await;
        assert!(said.contains(wanted), "{arguments:?}: {said}");
    }
    let (_, out, _) = desk.types(&["check"]).await;
    assert!(out.contains("revision 1 is served") && out.contains("port p0:"), "{out}");

    desk.prints(&["drain", "web/10.77.0.11:8080"]).await;
    assert!(desk.prints(&["get", "endpoints"]).await.contains("draining"));
    assert_eq!(desk.prints(&["undrain", "10.77.0.11:8080"]).await, "10.77.0.11:8080 is back\n");
    assert!(!desk.prints(&["get", "endpoints"]).await.contains("draining"));
    desk.prints(&["drain"]).await;
    assert!(desk.world.stand_in.inside().drains);
    desk.prints(&["undrain"]).await;
    assert!(!desk.world.stand_in.inside().drains);
}

#[tokio::test(flavor = "multi_thread")]
async fn exchanges_are_watched_as_they_end() {
    let desk = Desk::new().await;
    desk.prints(&["apply", &desk.gateway("b")]).await;
    let record = ExchangeRecord {
        at_us: 1_800_000_000_000_000,
        client: [10, 77, 0, 2].into(),
        listener: "http".into(),
        route: Some("site".into()),
        rule: None,
        backend: Some("web".into()),
        endpoint: None,
        method: "GET".into(),
        host: "a".into(),
        path: "/b/1".into(),
        status: 502,
        ended: "connect_failed".into(),
        request_bytes: 0,
        response_bytes: 9,
        attempts: 2,
        first_byte_us: None,
        total_us: 1_500,
    };
    let told = async {
        desk.world.stand_in.until(|inside| !inside.taps.is_empty()).await;
        // Nobody watches any more once the one exchange has come.
        let filter = desk.world.stand_in.inside().taps.pop().unwrap();
        desk.world.stand_in.tell(Event::Exchange(Box::new(record)));
        filter
    };
    let (said, filter) = tokio::join!(desk.prints(&["tap", "--status-min", "500", "--limit", "1"]), told);
    assert!(said.contains("GET a/b/1  502  1.5ms"), "{said}");
    assert_eq!(filter.status_min, Some(500));
}
