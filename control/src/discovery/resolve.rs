//! Questions to the DNS. hickory does the rest: matching answers to questions, CNAMEs (a bounded number), TCP for what is truncated, other
//! servers when one does not answer. Its cache is off: what is known is kept here, and the time to ask again comes from the TTL.

use super::Options;
use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ProtocolConfig, ResolveHosts, ResolverConfig},
    lookup::Lookup,
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::ResponseCode,
        rr::{Name, RData, RecordType},
    },
};
use std::{
    net::{IpAddr, SocketAddr},
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::Semaphore, time::Instant};

/// Questions that are open at once.
const QUESTIONS_MAX: usize = 32;
/// How long the system's settings are believed before they are read again.
const SETTINGS_AGE_MAX: Duration = Duration::from_secs(60);

/// Whom everybody asks.
pub(super) struct Resolver {
    options: Options,
    open: Semaphore,
    made: Mutex<Option<(Instant, TokioResolver)>>,
}

/// Records, and how long they hold.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Answer<T> {
    pub(super) records: Vec<T>,
    pub(super) ttl: Duration,
}

/// Why there are none.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Missing {
    /// A server says that there are none.
    Empty(String),
    /// Nobody can say.
    Failed(String),
}

impl Missing {
    pub(super) fn into_words(self) -> String {
        match self {
            Self::Empty(why) | Self::Failed(why) => why,
        }
    }

    /// The same with the name that was asked for.
    pub(super) fn about(self, name: &Name) -> Self {
        let told = |why: &str| format!("{}: {why}", name.to_string().trim_end_matches('.'));
        match self {
            Self::Empty(why) => Self::Empty(told(&why)),
            Self::Failed(why) => Self::Failed(told(&why)),
        }
    }
}

/// A target of an SRV record.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Target {
    pub(super) priority: u16,
    pub(super) name: Name,
    pub(super) port: u16,
    pub(super) weight: u16,
}

impl Resolver {
    pub(super) fn new(options: &Options) -> Self {
        Self { options: options.clone(), open: Semaphore::new(QUESTIONS_MAX), made: Mutex::new(None) }
    }

    /// The addresses of one family.
    pub(super) async fn addresses(&self, name: &Name, family: RecordType) -> Result<Answer<IpAddr>, Missing> {
        self.ask(name, family, |data| match data {
            RData::A(a) => Some(IpAddr::V4(a.0)),
            RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
            _ => None,
        })
        .await
    }

    /// The targets of a service.
    pub(super) async fn targets(&self, name: &Name) -> Result<Answer<Target>, Missing> {
        self.ask(name, RecordType::SRV, |data| match data {
            RData::SRV(srv) => Some(Target {
                priority: srv.priority,
                name: srv.target.to_lowercase(),
                port: srv.port,
                weight: srv.weight,
            }),
            _ => None,
        })
        .await
    }

    async fn ask<T>(
        &self,
        name: &Name,
        kind: RecordType,
        pick: impl Fn(&RData) -> Option<T>,
    ) -> Result<Answer<T>, Missing> {
        let _open = self.open.acquire().await.expect("never closed");
        let resolver = self.resolver().map_err(|e| Missing::Failed(format!("no resolver: {e}")))?;
        // The library's own limits come first, unless it has a bad day.
        let tries = u32::try_from(self.options.retries + 1).unwrap_or(u32::MAX);
        let limit = self.options.timeout.saturating_mul(tries).saturating_mul(4);
        let answer = tokio::time::timeout(limit, resolver.lookup(name.clone(), kind)).await;
        let lookup = answer.unwrap_or(Err(NetError::Timeout)).map_err(|error| missing(&error, kind))?;
        records(&lookup, kind, pick)
    }

    /// Made when it is first needed, and again when the system's settings may have changed.
    fn resolver(&self) -> Result<TokioResolver, NetError> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, resolver)) = &*made
            && (!self.options.nameservers.is_empty() || at.elapsed() < SETTINGS_AGE_MAX)
        {
            return Ok(resolver.clone());
        }
        let resolver = build(&self.options)?;
        *made = Some((Instant::now(), resolver.clone()));
        Ok(resolver)
    }
}

fn build(options: &Options) -> Result<TokioResolver, NetError> {
    let mut builder = if options.nameservers.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let servers = options.nameservers.iter().map(server).collect();
        let mut builder = TokioResolver::builder_with_config(
            ResolverConfig::from_name_servers(servers),
            TokioRuntimeProvider::default(),
        );
        builder.options_mut().use_hosts_file = ResolveHosts::Never;
        builder
    };
    let settings = builder.options_mut();
    settings.timeout = options.timeout;
    settings.attempts = options.retries;
    settings.cache_size = 0;
    settings.preserve_intermediates = true; // a CNAME's TTL counts too
    builder.build()
}

fn server(address: &SocketAddr) -> NameServerConfig {
    let connection = |protocol| {
        let mut connection = ConnectionConfig::new(protocol);
        connection.port = address.port();
        connection
    };
    let connections = vec![connection(ProtocolConfig::Udp), connection(ProtocolConfig::Tcp)];
    NameServerConfig::new(address.ip(), true, connections)
}

fn records<T>(lookup: &Lookup, kind: RecordType, pick: impl Fn(&RData) -> Option<T>) -> Result<Answer<T>, Missing> {
    let of_kind = lookup.answers().iter().filter(|record| record.record_type() == kind);
    let records: Vec<T> = of_kind.filter_map(|record| pick(&record.data)).collect();
    if records.is_empty() {
        return Err(Missing::Empty("it has no such records".into()));
    }
    let ttl = lookup.answers().iter().map(|record| record.ttl).min().unwrap_or(0);
    Ok(Answer { records, ttl: Duration::from_secs(ttl.into()) })
}

fn missing(error: &NetError, kind: RecordType) -> Missing {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => Missing::Empty("the name does not exist".into()),
            ResponseCode::NoError => Missing::Empty("it has no such records".into()),
            code => Missing::Failed(format!("{kind}: {code}")),
        },
        error => Missing::Failed(format!("{kind}: {error}")),
    }
}
