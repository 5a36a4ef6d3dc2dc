//! What verbs print, against files: `tests/golden/NAME.txt`. With WEIRGATE_BLESS=1 the files are written instead; look at the difference.

use super::{run, values};
use crate::cli::console::Exit;
use std::path::Path;

#[test]
fn every_verb_prints_what_it_did() {
    let gateway = "apiVersion: weirgate/v1\nkind: GatewayConfig\n";
    let file = super::TempFile::new("gateway.yaml", gateway);
    let file = file.path();
    let explain = ["explain", "GET", "http://10.77.0.10/cart/7"];
    for (name, arguments, exit) in [
        ("apply", &["apply", file, "--confirm", "60s"][..], Exit::Done),
        ("apply.json", &["apply", file, "-o", "json"], Exit::Done),
        ("rollback", &["rollback", "10"], Exit::Done),
        ("confirm", &["confirm"], Exit::Done),
        ("diff", &["diff", "--from", "12"], Exit::Findings),
        ("diff-files.json", &["diff", file, "-o", "json"], Exit::Findings),
        ("history", &["history"], Exit::Done),
        ("history.json", &["history", "-o", "json"], Exit::Done),
        ("get-listeners", &["get", "listeners"], Exit::Done),
        ("get-listeners.json", &["get", "listeners", "-o", "json"], Exit::Done),
        ("get-routes", &["get", "routes"], Exit::Done),
        ("get-routes.json", &["get", "route", "shop", "-o", "json"], Exit::Done),
        ("get-backends", &["get", "backends"], Exit::Done),
        ("get-backends.json", &["get", "backends", "-o", "json"], Exit::Done),
        ("cert-list", &["cert", "list"], Exit::Findings),
        ("cert-list.json", &["cert", "list", "-o", "json"], Exit::Findings),
        ("get-endpoints", &["get", "endpoints"], Exit::Done),
        ("get-endpoints.json", &["get", "endpoints", "cart-v1", "-o", "json"], Exit::Done),
        ("get-endpoint", &["get", "endpoint", "cart-v1/10.77.0.11:8080"], Exit::Done),
        ("get-endpoint-unknown", &["get", "endpoint", "cart-v1/10.77.0.9:8080"], Exit::Findings),
        ("get-endpoints.yaml", &["get", "ep", "-o", "yaml"], Exit::Done),
        ("get-revisions", &["get", "revisions", "12"], Exit::Done),
        ("describe-backend", &["describe", "backend", "cart-v1"], Exit::Done),
        ("describe-backend.json", &["describe", "backend", "cart-v1", "-o", "json"], Exit::Done),
        ("describe-revision", &["describe", "revision", "current"], Exit::Done),
        ("explain", &explain, Exit::Done),
        ("explain.json", &[&explain[..], &["-o", "json"]].concat(), Exit::Done),
        ("stat-routes", &["stat", "routes", "--window", "0s"], Exit::Done),
        ("stat-routes.json", &["stat", "routes", "shop", "--window", "0s", "-o", "json"], Exit::Done),
        ("stat-endpoints", &["stat", "endpoints", "cart-v1", "--window", "0"], Exit::Done),
        ("conns", &["conns"], Exit::Done),
        ("conns.json", &["conns", "--side", "upstream", "-o", "json"], Exit::Done),
        ("tap", &["tap", "--limit", "3"], Exit::Done),
        ("tap.json", &["tap", "--limit", "1", "--method", "post", "-o", "json"], Exit::Done),
        ("tap.yaml", &["tap", "--limit", "1", "--path", "/cart", "-o", "yaml"], Exit::Done),
        ("pcap", &["pcap", "-w", "/dev/null"], Exit::Done),
        ("pcap-help", &["pcap", "--help"], Exit::Done),
        ("pcap-direction", &["pcap", "--direction", "up"], Exit::Usage),
        ("pcap-host", &["pcap", "--host", "shop"], Exit::Usage),
        ("pcap-duration", &["pcap", "--duration", "0s"], Exit::Usage),
        ("drain", &["drain"], Exit::Done),
        ("drain-endpoint.json", &["drain", "cart-v1/10.77.0.11:8080", "-o", "json"], Exit::Done),
        ("undrain", &["undrain", "10.77.0.11:8080"], Exit::Done),
        ("config-dump", &["config", "dump"], Exit::Done),
        ("config-dump.json", &["config", "dump", "--revision", "13", "-o", "json"], Exit::Done),
        ("config-dump-compiled.yaml", &["config", "dump", "--compiled", "-o", "yaml"], Exit::Done),
        ("log-level", &["log", "level"], Exit::Done),
        ("log-level.json", &["log", "level", "debug", "-o", "json"], Exit::Done),
        ("version", &["version"], Exit::Done),
        ("version.json", &["version", "-o", "json"], Exit::Done),
    ] {
        let daemon = values::daemon();
        let (ended, out, err) = run(&[arguments, &["--socket", &daemon.socket()]].concat());
        assert_eq!(ended, exit, "{name}: {err}");
        let err = err.replace(env!("CARGO_PKG_VERSION"), "VERSION");
        let said = if err.is_empty() { String::new() } else { format!("\n-- standard error --\n{err}") };
        check(name, &(out.replace(env!("CARGO_PKG_VERSION"), "VERSION") + &said));
    }
}

/// Compares with the file of that name.
pub(crate) fn check(name: &str, said: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/tests/golden");
    let path = folder.join(format!("{name}.txt"));
    if std::env::var_os("WEIRGATE_BLESS").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(&path, said).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(said == wanted, "{name} differs from {}.\nIt says:\n{said}\nIt should say:\n{wanted}", path.display());
}
