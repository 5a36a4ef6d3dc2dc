//! TLS of listeners and backends, made of a snapshot beside the workers: certificates are read and checked there, once for all workers.

use crate::{
    snapshot::{BackendTls, ListenerTls, Secrets},
    time::Duration,
    tls::{self, ClientContext, Clock, ServerContext},
};
use rustls::crypto::CryptoProvider;
use std::sync::Arc;

/// What contexts are made with.
pub(super) struct Contexts {
    provider: Arc<CryptoProvider>,
    clock: Clock,
}

/// TLS on a listener.
#[derive(Clone)]
pub(super) struct Terminates {
    pub(super) context: Arc<ServerContext>,
    /// A handshake that takes longer ends.
    pub(super) patience: Duration,
}

impl Default for Contexts {
    fn default() -> Self {
        Self::new(tls::provider())
    }
}

impl Contexts {
    pub(super) fn new(provider: Arc<CryptoProvider>) -> Self {
        Self { provider, clock: Clock::default() }
    }

    /// By which certificates are judged.
    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// A listener's.
    ///
    /// # Errors
    /// What is wrong with what it names.
    pub(super) fn server(&self, tls: &ListenerTls, secrets: &Secrets<'_>) -> Result<Terminates, String> {
        let named = |e: tls::ContextError| match e {
            tls::ContextError::Certificate(n, why) => format!("certificate {:?}: {why}", tls.certificates[n]),
            e => e.to_string(),
        };
        let context = ServerContext::new(&tls.policy(secrets)?, &self.provider, &self.clock).map_err(named)?;
        Ok(Terminates { context, patience: Duration::from_ms(tls.handshake_ms) })
    }

    /// A backend's.
    ///
    /// # Errors
    /// What is wrong with what it names.
    pub(super) fn client(&self, tls: &BackendTls, secrets: &Secrets<'_>) -> Result<Arc<ClientContext>, String> {
        let named = |e: tls::ContextError| match (e, &tls.certificate) {
            (tls::ContextError::Certificate(_, why), Some(name)) => format!("certificate {name:?}: {why}"),
            (e, _) => e.to_string(),
        };
        ClientContext::new(&tls.policy(secrets)?, &self.provider, &self.clock).map_err(named)
    }
}
