//! Against a name server on loopback that answers as it is told, and real files.

mod files;
mod names;
mod server;

use super::*;
use crate::daemon::tests::eventually;
use std::time::Duration;

/// Far above what anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// The next update, as addresses with weights.
async fn next(updates: &mut mpsc::Receiver<EndpointUpdate>) -> (String, Vec<(String, u32)>) {
    let update = tokio::time::timeout(LONG, updates.recv()).await.expect("an update").expect("somebody sends");
    (update.source.backend().to_owned(), update.endpoints.iter().map(|e| (e.address.to_string(), e.weight)).collect())
}

/// Addresses with weights as [`next`] has them.
fn list(of: &[(&str, u32)]) -> Vec<(String, u32)> {
    of.iter().map(|(address, weight)| ((*address).to_owned(), *weight)).collect()
}

/// Waits until the only source's status is so.
async fn until(discovery: &Discovery, is: impl Fn(&Status) -> bool) -> Status {
    let look = async || Some(discovery.status().remove(0)).filter(&is);
    eventually(look).await.unwrap_or_else(|| panic!("still {:?}", discovery.status()))
}
