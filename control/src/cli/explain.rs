//! `explain`: what becomes of a request, and why.

use super::{
    Outcome, Shown,
    console::{Console, Exit, Failure},
    daemon::{At, Daemon},
    validate::{compiled, say_findings},
};
use crate::{
    admin::api::{self, ExplainRequest, Explained},
    config::Model,
    daemon::clock,
    explain::{self, Question},
    secrets::{self, Facts},
};
use clap::Args;
use serde_json::Value;
use std::{net::IpAddr, path::PathBuf};

/// Say what becomes of a request, with each rule's reason; nothing is sent
///
/// The request is read as a listener would read it, refusals included, and every rule says why it
/// takes it or does not. The daemon is asked about what is in force; with --file, the files are,
/// and no daemon.
#[derive(Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  weirgate explain GET http://10.77.0.10/cart/7 -H 'x-canary: 1'
  weirgate explain GET http://10.77.0.10/cart/7 --revision 12      # would it have gone elsewhere?
  weirgate explain GET https://shop.example.com/                   # and which certificate is shown?
  weirgate explain GET http://shop.example.com/ --client 10.0.0.7 --file gateway.yaml -o json"
)]
pub(super) struct Explain {
    /// Its method
    #[arg(value_name = "METHOD")]
    method: String,
    /// Its URL, such as http://shop.example.com/cart/7
    #[arg(value_name = "URL")]
    url: String,
    /// A field, as 'name: value'; may stand there several times
    #[arg(short = 'H', long = "header", value_name = "FIELD")]
    fields: Vec<String>,
    /// Ask these files, instead of the daemon; several are one configuration
    #[arg(short, long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Ask this revision, instead of the one in force
    #[arg(long, value_name = "REVISION", conflicts_with = "files")]
    revision: Option<u64>,
    /// Who sends it: from those that a listener trusts, forwarding fields are believed
    #[arg(long, value_name = "ADDRESS", default_value = "192.0.2.1")]
    client: IpAddr,
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    shown: Shown,
}

impl Explain {
    pub(super) fn run(&self, console: &mut Console<'_>) -> Outcome {
        if self.files.is_empty() {
            return self.live(console);
        }
        match compiled(&self.files) {
            Ok(model) => self.offline(console, &model),
            Err(findings) => say_findings(console, &findings),
        }
    }

    fn offline(&self, console: &mut Console<'_>, model: &Model) -> Outcome {
        let snapshot = &model.snapshot;
        let now = clock::now_ms() / 1_000;
        let names = model.control.secrets.iter().filter_map(|secret| {
            let brought = model.brought.get(&secret.name).map(Facts::of);
            let facts = brought.or_else(|| secrets::read(secret, now).ok().map(|it| it.facts))?;
            Some((secret.name.clone(), facts.certificate?.names))
        });
        let names = names.collect();
        let Self { method, url, fields, client, .. } = self;
        let question = Question { method: method.clone(), url: url.clone(), fields: fields.clone(), client: *client };
        let explanation = explain::explain(snapshot, &names, &question).map_err(Failure::findings)?;
        console
            .show(self.shown.format, &explanation, |console, explanation| console.print(&explanation.to_string()))?;
        Ok(Exit::Done)
    }

    fn live(&self, console: &mut Console<'_>) -> Outcome {
        let request = ExplainRequest {
            method: self.method.clone(),
            url: self.url.clone(),
            headers: self.fields.clone(),
            client: Some(self.client.to_string()),
            revision: self.revision,
        };
        let explained: Explained = Daemon::block_on(self.at.client().post(api::EXPLAIN, &request))?;
        console.show(self.shown.format, &merged(&explained)?, |console, _| console.print(&explained.text))?;
        Ok(Exit::Done)
    }
}

/// The fields of an explanation, as files have them too, and those that only a daemon knows.
fn merged(explained: &Explained) -> Result<Value, Failure> {
    let mut all = explained.explanation.clone();
    let Value::Object(fields) = &mut all else {
        return Err(Failure::findings("the daemon's explanation is not what this version understands")
            .next("are daemon and command line of the same version? weirgate version"));
    };
    fields.insert("revision".into(), explained.revision.into());
    let endpoints = serde_json::to_value(&explained.endpoints).expect("string keys only");
    fields.insert("endpoints".into(), endpoints);
    Ok(all)
}
