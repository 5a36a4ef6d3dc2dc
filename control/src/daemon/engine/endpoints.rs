//! Endpoints that come and go: each batch is one change of what is served, never a revision.

use super::Engine;
use crate::{daemon::link::LinkError, discovery::EndpointUpdate};
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::mpsc;
use weirgate_dataplane::snapshot::{Backend, Endpoint};

/// Updates that are taken together.
const BATCH: usize = 1_024;

impl Engine {
    /// Takes what discovery finds until nobody looks any more.
    pub(in crate::daemon) async fn take_endpoints(self: Arc<Self>, mut updates: mpsc::Receiver<EndpointUpdate>) {
        let mut batch = Vec::new();
        while updates.recv_many(&mut batch, BATCH).await > 0 {
            self.endpoints(std::mem::take(&mut batch)).await;
        }
    }

    /// Puts them over the revision that is in force.
    pub async fn endpoints(&self, updates: Vec<EndpointUpdate>) {
        let mut changes = self.changes.lock().await;
        let state = self.state();
        let mut discovered = BTreeMap::clone(&state.overlay.discovered);
        let olds: Vec<(String, Option<Vec<Endpoint>>)> = updates
            .into_iter()
            .filter_map(|EndpointUpdate { backend, endpoints }| {
                let alone = Backend { endpoints, ..Backend::new(&backend, &[]) };
                if let Err(error) = alone.check() {
                    tracing::error!(error, "what discovery found cannot be served; the endpoints stay as they are");
                    return None;
                }
                tracing::info!(backend, endpoints = alone.endpoints.len(), "endpoints have changed");
                let old = discovered.insert(backend.clone(), alone.endpoints);
                Some((backend, old))
            })
            .collect();
        let mut overlay = state.overlay.clone();
        overlay.discovered = Arc::new(discovered.clone());
        if let Some(revision) = &state.revision
            && state.link.is_some()
        {
            let told = match overlay.over(&revision.body) {
                Ok(snapshot) => self.tell(&mut changes, snapshot, revision.head.revision).await,
                Err(error) => Err(LinkError::Lost(error)),
            };
            match told {
                Ok(_) => self.publish_served(&changes),
                Err(error @ LinkError::Refused(_)) => {
                    tracing::error!(%error, "the data plane refuses these endpoints; they stay as they are");
                    for (backend, old) in olds {
                        match old {
                            Some(old) => _ = discovered.insert(backend, old),
                            None => _ = discovered.remove(&backend),
                        }
                    }
                    overlay.discovered = Arc::new(discovered);
                }
                // When it is connected again it gets them.
                Err(error) => tracing::warn!(%error, "endpoints have changed, and the data plane does not hear of it"),
            }
        }
        let found = Arc::clone(&overlay.discovered);
        self.publish(|state| state.overlay = overlay);
        drop(changes);
        if let Err(error) = self.with_store(move |store| store.save_endpoints(&found)).await {
            tracing::warn!(%error, "what discovery found cannot be written: a start would have to ask again");
        }
    }
}
