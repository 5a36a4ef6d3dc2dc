//! A real Prometheus, if there is one: what it thinks of our text, and the dashboard's queries.
//!
//! It runs on a port of loopback with its own configuration and store, scrapes a sample that grows, and ends with the test.
//! `WEIRGATE_PROMETHEUS=required` makes its absence a failure; `./scripts/test` installs the package.

use super::sample::sample;
use crate::{
    config::Metrics,
    daemon::tests::eventually,
    metrics::{Format, encode, router},
};
use serde_json::Value;
use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
};

/// Whether a program is there; if it must be and is not, the test fails.
async fn is_there(program: &str) -> bool {
    let mut asked = Command::new(program);
    let found = asked.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().await.is_ok();
    let required = std::env::var("WEIRGATE_PROMETHEUS").is_ok_and(|value| value == "required");
    assert!(found || !required, "{program} is required (WEIRGATE_PROMETHEUS=required): install the package prometheus");
    if !found {
        eprintln!("skipped: there is no {program}; ./scripts/test installs it");
    }
    found
}

#[tokio::test]
async fn promtool_has_nothing_to_say() {
    if !is_there("promtool").await {
        return;
    }
    let mut check = Command::new("promtool");
    check.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut check = check.spawn().unwrap();
    let text = encode(&sample(1), &Metrics::default(), Format::Plain);
    check.stdin.take().unwrap().write_all(text.as_bytes()).await.unwrap();
    let output = check.wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[tokio::test]
async fn every_query_of_the_dashboard_has_a_result() {
    if !is_there("prometheus").await {
        return;
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/dashboards/weirgate.json");
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let queries = queries(&dashboard);
    assert!(queries.len() >= 30, "{}: is it read right?", queries.len());
    let server = Prometheus::start(serve_sample().await).await;
    for (panel, query) in &queries {
        let asked = server.until(query, has_numbers).await;
        asked.unwrap_or_else(|last| panic!("{panel}: {query}: {last}"));
    }
    // A change may not have happened yet, but what asks for it must be right.
    for annotation in dashboard["annotations"]["list"].as_array().unwrap() {
        let query = annotation["expr"].as_str().unwrap().replace("$instance", ".*");
        let answer = server.ask(&query).await;
        assert_eq!(answer["status"], "success", "{query}: {answer}");
    }
    // Every scrape has been a good one, in the format that it likes best.
    let bad = "count_over_time(up{job=\"weirgate\"}[10m]) - sum_over_time(up{job=\"weirgate\"}[10m])";
    let bad = server.ask(bad).await;
    assert_eq!(bad["data"]["result"][0]["value"][1], "0", "{bad}");
    for (variable, metric, label) in variables(&dashboard) {
        let series = server.ask(&format!("count by ({label}) ({metric})")).await;
        assert!(has_numbers(&series), "{variable}: {series}");
    }
}

/// All queries with their panel's title, the variables replaced as Grafana does.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        for target in panel["targets"].as_array().into_iter().flatten() {
            let mut query = target["expr"].as_str().unwrap().replace("$__rate_interval", "1m");
            for variable in dashboard["templating"]["list"].as_array().unwrap() {
                query = query.replace(&format!("${}", variable["name"].as_str().unwrap()), ".*");
            }
            assert!(!query.contains('$'), "{title}: an unknown variable: {query}");
            all.push((title.to_owned(), query));
        }
    }
    all
}

/// Variables that are filled by `label_values(METRIC, LABEL)`.
fn variables(dashboard: &Value) -> Vec<(String, String, String)> {
    let list = dashboard["templating"]["list"].as_array().unwrap();
    let queried = list.iter().filter(|variable| variable["type"] == "query");
    let parts = queried.map(|variable| {
        let query = variable["query"]["query"].as_str().unwrap();
        let inside = query.strip_prefix("label_values(").and_then(|q| q.strip_suffix(')')).expect(query);
        let (metric, label) = inside.rsplit_once(", ").expect(query);
        (variable["name"].to_string(), metric.to_owned(), label.to_owned())
    });
    parts.collect()
}

/// Whether a query has succeeded with at least one number, and nothing else.
fn has_numbers(answer: &Value) -> bool {
    let result = answer["data"]["result"].as_array();
    answer["status"] == "success"
        && result.is_some_and(|result| {
            let value = |series: &Value| series["value"][1].as_str().and_then(|text| text.parse::<f64>().ok());
            !result.is_empty() && result.iter().all(|series| value(series).is_some_and(f64::is_finite))
        })
}

/// Serves a sample that grows each time that it is read, as the daemon would.
async fn serve_sample() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let reads = Arc::new(AtomicU64::new(0));
    let router = router(move || {
        let n = reads.fetch_add(1, Ordering::Relaxed) + 1;
        async move { (sample(n), Metrics::default()) }
    });
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

struct Prometheus {
    address: SocketAddr,
    folder: PathBuf,
    process: Child,
}

impl Prometheus {
    async fn start(target: SocketAddr) -> Self {
        let folder = std::env::temp_dir().join(format!("weirgate-prometheus-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let configuration = format!(
            "global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}\n\
             scrape_configs:\n- job_name: weirgate\n  static_configs: [{{targets: ['{target}']}}]\n"
        );
        fs::write(folder.join("prometheus.yml"), configuration).unwrap();
        let address = {
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            free.local_addr().unwrap()
        };
        let log = fs::File::create(folder.join("log")).unwrap();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("store").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let server = Self { address, folder, process };
        if let Err(last) = server.until("up{job=\"weirgate\"} == 1", has_numbers).await {
            let log = fs::read_to_string(server.folder.join("log")).unwrap();
            panic!("Prometheus does not scrape: {last}\n{log}");
        }
        server
    }

    /// Asks until the answer is so; the last one if it never was.
    async fn until(&self, query: &str, is: impl Fn(&Value) -> bool) -> Result<(), Value> {
        let last = Mutex::new(Value::Null);
        let look = async || {
            let answer = self.ask(query).await;
            // What does not parse never will.
            let is_over = is(&answer) || answer["errorType"] == "bad_data";
            *last.lock().unwrap() = answer;
            is_over.then_some(())
        };
        _ = eventually(look).await;
        let last = last.into_inner().unwrap();
        if is(&last) { Ok(()) } else { Err(last) }
    }

    async fn ask(&self, query: &str) -> Value {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let request = format!("GET /api/v1/query?query={encoded} HTTP/1.0\r\n\r\n");
        let exchange = async {
            let mut stream = TcpStream::connect(self.address).await?;
            stream.write_all(request.as_bytes()).await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            std::io::Result::Ok(answer)
        };
        let answer = match exchange.await {
            Ok(answer) => String::from_utf8(answer).unwrap(),
            Err(error) => return Value::String(error.to_string()), // not up yet
        };
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).unwrap_or(Value::String(answer))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.start_kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
