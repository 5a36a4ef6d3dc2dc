//! TLS of listeners and backends, made of a snapshot beside the workers: certificates are read and checked there, once for all workers.

use crate::{
    limits::TLS_TICKET_SECONDS,
    snapshot::{BackendTls, ListenerTls, Secrets},
    time::Duration,
    tls::{self, ClientContext, Clock, ServerContext, TicketKey, TicketKeys},
};
use rustls::{KeyLog, crypto::CryptoProvider};
use std::sync::Arc;

/// What contexts are made with.
pub(super) struct Contexts {
    provider: Arc<CryptoProvider>,
    clock: Clock,
    tickets: Tickets,
    key_log: Option<Arc<dyn KeyLog>>,
}

/// Keys of tickets, made here: a session goes on at any worker of this data plane, as long as it lives.
struct Tickets {
    keys: Option<TicketKeys>,
    /// Since when the current one is.
    since: u64,
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
        Self { provider, clock: Clock::default(), tickets: Tickets { keys: None, since: 0 }, key_log: None }
    }

    pub(super) fn set_key_log(&mut self, log: Arc<dyn KeyLog>) {
        self.key_log = Some(log);
    }

    /// Sees to a first key.
    pub(super) fn have_tickets(&mut self) {
        if self.tickets.keys.is_none() {
            self.rotate_tickets();
        }
    }

    /// Sees to a current key; `true`: it is another one than before.
    pub(super) fn rotate_tickets(&mut self) -> bool {
        let now = self.clock.unix_seconds();
        if self.tickets.keys.is_some() && now < self.tickets.since + u64::from(TLS_TICKET_SECONDS) {
            return false;
        }
        let (mut name, mut key) = ([0; 16], [0; 32]);
        let random = self.provider.secure_random;
        if random.fill(&mut name).and_then(|()| random.fill(&mut key)).is_err() {
            // Without entropy what there is goes on to serve, and without any key nothing is resumed.
            return false;
        }
        let previous = self.tickets.keys.take().map(|keys| keys.current);
        let (current, lifetime) = (TicketKey { name, key }, TLS_TICKET_SECONDS);
        self.tickets = Tickets { keys: Some(TicketKeys { current, next: None, previous, lifetime }), since: now };
        true
    }

    /// The same, with the current keys.
    pub(super) fn with_tickets(&self, terminates: &Terminates) -> Terminates {
        let Some(keys) = &self.tickets.keys else { return terminates.clone() };
        Terminates { context: terminates.context.with_tickets(keys), patience: terminates.patience }
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
        let context = self.key_log.iter().fold(context, |it, log| it.with_key_log(Arc::clone(log)));
        Ok(self.with_tickets(&Terminates { context, patience: Duration::from_ms(tls.handshake_ms) }))
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
        let context = ClientContext::new(&tls.policy(secrets)?, &self.provider, &self.clock).map_err(named)?;
        Ok(self.key_log.iter().fold(context, |it, log| it.with_key_log(Arc::clone(log))))
    }
}
