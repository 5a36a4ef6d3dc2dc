//! `validate` and `compile`: a configuration, without a daemon.

use super::{
    Outcome, Shown,
    console::{Console, Exit, Failure, Format},
    human::count,
    style::Tone,
};
use crate::{
    config::{self, Control, Environment, Finding, Model},
    daemon::{
        clock,
        engine::key_of,
        overlay::Overlay,
        store::{Body, Held},
    },
    secrets::{self, Loaded},
};
use clap::Args;
use serde::Serialize;
use std::{
    fs::{OpenOptions, Permissions},
    io::Write as _,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};
use weirgate_dataplane::snapshot::Snapshot;

/// Check a configuration, without a daemon; all findings are shown at once
///
/// Several files are one configuration. Nothing is sent to anybody, so it runs wherever the files
/// are: in an editor, in CI. A variable, ${NAME}, is that of the environment of whoever calls it,
/// which need not be the daemon's.
#[derive(Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  weirgate validate gateway.yaml
  weirgate validate -o json base.yaml routes.yaml    # findings with file, line and column, for an editor"
)]
pub(super) struct Validate {
    /// Its files; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Say nothing where nothing is wrong
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    shown: Shown,
}

/// Compile a configuration into the snapshot that a data plane takes at its start
///
/// With the control daemon this is not needed: see `weirgate apply`.
#[derive(Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Example:
  weirgate compile gateway.yaml -o snapshot.json && weirgate-dataplane --snapshot snapshot.json"
)]
pub(super) struct Compile {
    /// Its files; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Where the snapshot goes
    #[arg(short, long, value_name = "SNAPSHOT")]
    output: PathBuf,
}

/// What was found, for programs.
#[derive(Serialize)]
pub(super) struct Findings {
    findings: Vec<Found>,
}

#[derive(Serialize)]
struct Found {
    file: String,
    line: Option<u64>,
    column: Option<u64>,
    field: Option<String>,
    message: String,
}

impl Findings {
    pub(super) fn new(findings: &[Finding]) -> Self {
        let found = |finding: &Finding| {
            let Finding { file, place, field, message } = finding.clone();
            Found { file, line: place.map(|(line, _)| line), column: place.map(|(_, column)| column), field, message }
        };
        Self { findings: findings.iter().map(found).collect() }
    }
}

impl Validate {
    pub(super) fn run(&self, console: &mut Console<'_>) -> Outcome {
        let compiled = compiled(&self.files);
        if self.shown.format != Format::Table {
            let findings = compiled.as_ref().err().map_or(&[][..], Vec::as_slice);
            console.data(self.shown.format, &Findings::new(findings))?;
            return Ok(if compiled.is_ok() { Exit::Done } else { Exit::Findings });
        }
        match compiled {
            Ok(_) if self.quiet => {}
            Ok(model) => console.line(sound(&self.files, &model))?,
            Err(findings) => return say_findings(console, &findings),
        }
        Ok(Exit::Done)
    }
}

impl Compile {
    pub(super) fn run(&self, console: &mut Console<'_>) -> Outcome {
        let model = match compiled(&self.files) {
            Ok(model) => model,
            Err(findings) => return say_findings(console, &findings),
        };
        let snapshot = with_secrets(&model)?;
        for discovery in &model.control.discoveries {
            let backend = discovery.backend();
            console.warn(&format!(
                "backend {backend}: its endpoints are found by the control daemon; this snapshot has none of them"
            ))?;
        }
        // Beside it first, so that nobody reads half a snapshot.
        let unnamed = self.output.with_extension("new");
        let written = write(&unnamed, &snapshot.to_json(), !snapshot.certificates.is_empty());
        written.and_then(|()| std::fs::rename(&unnamed, &self.output)).map_err(|error| {
            Failure::findings(format!("{} cannot be written: {error}", self.output.display()))
                .next("check its folder, its permissions, and the space on its disk")
        })?;
        Ok(Exit::Done)
    }
}

/// What a data plane takes, with what secrets stand for.
fn with_secrets(model: &Model) -> Result<Snapshot, Failure> {
    let now = clock::now_ms() / 1_000;
    let Model { snapshot, control, brought } = model.clone();
    let mut held = Held::new();
    for secret in &control.secrets {
        let read = match brought.get(&secret.name) {
            Some(material) => secrets::check(material, now).map(|()| Loaded::new(material.clone())),
            None => secrets::read(secret, now),
        };
        let loaded = read.map_err(|why| {
            Failure::findings(format!("secrets[{}]: {why}", secret.name))
                .next("mend its files; weirgate check FILE.. shows all of them")
        })?;
        held.insert(key_of(secret), Arc::new(loaded));
    }
    let overlay = Overlay { secrets: Arc::new(held), ..Overlay::default() };
    overlay
        .over(&Body { files: Vec::new(), control: Control { discoveries: Vec::new(), ..control }, snapshot, brought })
        .map_err(Failure::findings)
}

/// Where private keys are in it, nobody else may read it.
fn write(path: &Path, text: &str, is_secret: bool) -> std::io::Result<()> {
    if !is_secret {
        return std::fs::write(path, text);
    }
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())
}

/// Files as they are, with what they include.
pub(super) fn texts(files: &[PathBuf]) -> Result<Vec<(String, String)>, Vec<Finding>> {
    let stdin = |file: &PathBuf| if file == Path::new("-") { "/dev/stdin".into() } else { file.clone() };
    let files: Vec<PathBuf> = files.iter().map(stdin).collect();
    config::read(&files, &Environment::of_process())
}

/// What they come to; the environment is this process's.
pub(super) fn compiled(files: &[PathBuf]) -> Result<Model, Vec<Finding>> {
    config::compile(&texts(files)?, &Environment::of_process())
}

/// Findings for people, on standard error.
pub(super) fn say_findings(console: &mut Console<'_>, findings: &[Finding]) -> Outcome {
    for finding in findings {
        let said = finding.to_string();
        let (place, message) = said.split_at(said.len() - finding.message.len());
        let place = console.err_style.paint(Tone::Strong, place);
        console.say(format_args!("{place}{message}"))?;
    }
    Ok(Exit::Findings)
}

fn sound(files: &[PathBuf], model: &Model) -> String {
    let snapshot = &model.snapshot;
    let files: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    let listeners = snapshot.services.len() + snapshot.http.len() + snapshot.tcp.len();
    let routes = snapshot.http.iter().flat_map(|listener| &listener.rules.routes);
    let routes: std::collections::BTreeSet<_> = routes.map(|route| &route.name).collect();
    format!(
        "{} {} valid: {}, {}, {}, {}",
        files.join(", "),
        if files.len() == 1 { "is" } else { "are" },
        count(snapshot.dataplane.ports.len(), "port"),
        count(listeners, "listener"),
        count(routes.len(), "HTTP route"),
        count(snapshot.backends.len(), "backend"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(arguments: &[&str]) -> (Exit, String, String) {
        super::super::tests::run(arguments)
    }

    #[test]
    fn what_is_valid_is_said_so() {
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/gateway.yaml");
        let (exit, out, err) = run(&["validate", example]);
        let wanted = format!("{example} is valid: 1 port, 2 listeners, 2 HTTP routes, 3 backends\n");
        assert_eq!((exit, out.as_str(), err.as_str()), (Exit::Done, wanted.as_str(), ""));
        assert_eq!(run(&["validate", "-q", example]), (Exit::Done, String::new(), String::new()));
        assert_eq!(run(&["validate", "-o", "json", example]).1, "{\n  \"findings\": []\n}\n");
    }

    #[test]
    fn findings_have_places() {
        let file = super::super::tests::TempFile::new(
            "wrong.yaml",
            "apiVersion: weirgate/v1\nkind: GatewayConfig\ndataplane:\n  cores: [1, 900000]\n  ports: []\n",
        );
        let (exit, out, err) = run(&["validate", "-o", "json", file.path()]);
        let found: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!((exit, err.as_str()), (Exit::Findings, ""));
        let first = &found["findings"][0];
        assert_eq!(first["file"], file.path());
        assert!(first["line"].is_u64() && first["column"].is_u64() && first["message"].is_string(), "{out}");
        assert_eq!(first["field"], "dataplane.cores[1]");
        let (exit, out, err) = run(&["validate", file.path()]);
        assert_eq!((exit, out.as_str()), (Exit::Findings, ""), "findings go to standard error");
        assert_eq!(err.lines().count(), found["findings"].as_array().unwrap().len());
        assert!(err.lines().all(|line| line.starts_with(file.path())), "{err}");
    }

    #[test]
    fn a_snapshot_with_private_keys_is_its_owners() {
        use crate::secrets::tests::{Authority, write};
        let dir = crate::daemon::tests::Dir::new("compile-tls");
        let pair = Authority::new("Test CA").good("shop.example");
        write(dir.path(), &pair);
        let text = crate::daemon::tests::yaml("a")
            .replace("protocol: HTTP}", "protocol: HTTPS, tls: {certificateRefs: [shop]}}")
            + "secrets: [{name: shop, file: {cert: a.pem, key: a.key}}]\n";
        let file = dir.path().join("gateway.yaml");
        std::fs::write(&file, text).unwrap();
        let (file, to) = (file.to_str().unwrap(), dir.path().join("snapshot.json"));
        std::fs::write(&to, "").unwrap();
        let compile = ["compile", file, "-o", to.to_str().unwrap()];
        assert_eq!(run(&compile), (Exit::Done, String::new(), String::new()));
        let snapshot = Snapshot::from_json(&std::fs::read_to_string(&to).unwrap()).unwrap();
        assert_eq!(snapshot.certificates[0].chain, pair.0);
        assert_eq!(std::fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(dir.path().join("a.key"), "").unwrap();
        let (exit, _, err) = run(&compile);
        assert!(exit == Exit::Findings && err.contains("secrets[shop]: there is no private key"), "{err}");
        // Which certificate is shown is known without a daemon, too.
        std::fs::write(dir.path().join("a.key"), &pair.1).unwrap();
        let text = std::fs::read_to_string(file).unwrap().replace("port: 80", "port: 443");
        std::fs::write(file, text).unwrap();
        let (_, out, err) = run(&["explain", "GET", "https://shop.example/a", "--file", file]);
        assert!(out.contains("asked for shop.example; shown shop: it is for shop.example"), "{out}{err}");
    }
}
