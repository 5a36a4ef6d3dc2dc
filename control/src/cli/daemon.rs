//! The daemon, as verbs ask it.

use super::{
    console::{Exit, Failure},
    validate::texts,
};
use crate::admin::{
    api::{self, Code, SourceFile},
    client::{Client, Error},
};
use clap::Args;
use std::path::PathBuf;

/// Which daemon is asked.
#[derive(Args, Clone)]
pub(super) struct At {
    /// The daemon's admin socket
    #[arg(long, value_name = "PATH", env = "WEIRGATE_SOCKET", default_value = api::SOCKET, hide_env_values = true)]
    socket: PathBuf,
}

impl At {
    pub(super) fn client(&self) -> Client {
        Client::new(&self.socket)
    }
}

/// Runs what waits for a daemon.
pub(super) struct Daemon;

impl Daemon {
    pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("an epoll instance and a thread are all it needs").block_on(future)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match &error {
            Error::Refused { body, .. } => match body.code {
                Code::NoDataplane => Exit::Unreachable,
                _ => Exit::Findings,
            },
            _ => Exit::Unreachable,
        };
        let findings = match &error {
            Error::Refused { body, .. } => body.findings.iter().map(said).collect(),
            _ => Vec::new(),
        };
        Self::Told { exit, findings, message: error.to_string(), next: error.next() }
    }
}

/// A finding as `validate` shows it.
pub(super) fn said(finding: &api::Finding) -> String {
    let api::Finding { file, line, column, message, .. } = finding;
    let number = |number: &Option<u64>| number.map(|number| format!(":{number}")).unwrap_or_default();
    format!("{file}{}{}: {message}", number(line), number(column))
}

/// Files as a daemon takes them.
pub(super) fn sources(files: &[PathBuf]) -> Result<Vec<SourceFile>, Failure> {
    let texts = texts(files).map_err(|findings| Failure::Told {
        exit: Exit::Findings,
        findings: findings.iter().map(ToString::to_string).collect(),
        message: "nothing was sent to the daemon".into(),
        next: None,
    })?;
    Ok(texts.into_iter().map(|(name, text)| SourceFile { name, text }).collect())
}
