//! What is known at one moment.

use crate::admin::{
    api::{self, CounterColumn, Counters, EndpointSummary, Endpoints, Meters, Status},
    client::{Client, Error},
};
use tokio::time::Instant;

/// What is known at one moment.
pub(super) struct Look {
    pub(super) at: Instant,
    pub(super) status: Status,
    pub(super) counters: Option<Counters>,
    pub(super) meters: Option<Meters>,
    pub(super) endpoints: Vec<EndpointSummary>,
}

impl Look {
    /// Asks for all of it. Without a data plane, the daemon still has its status.
    pub(super) async fn take(client: &Client) -> Result<Self, Error> {
        let status = client.get::<Status>(api::STATUS).await?;
        let counters = client.get::<Counters>(api::COUNTERS).await.ok();
        let meters = client.get::<Meters>(api::METERS).await.ok();
        let endpoints = client.get::<Endpoints>(api::ENDPOINTS).await.map(|all| all.endpoints).unwrap_or_default();
        Ok(Self { at: Instant::now(), status, counters, meters, endpoints })
    }

    /// The workers' columns.
    pub(super) fn workers(&self) -> impl Iterator<Item = &CounterColumn> {
        self.counters.iter().flat_map(|counters| &counters.columns).filter(|column| column.scope == "worker")
    }
}

/// A value of a column; 0 where it has none of that name.
pub(super) fn value(column: &CounterColumn, name: &str) -> u64 {
    column.values.iter().find(|it| it.name == name).map_or(0, |it| it.value)
}
