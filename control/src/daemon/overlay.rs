//! What lies over a revision: endpoints that discovery found, and those that somebody took out.

use super::store::{Body, Drained};
use crate::config::Discovery;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use weirgate_dataplane::snapshot::{Endpoint, Snapshot};

/// Revisions times this, and changes of endpoints since, are the numbers of snapshots: 12000003 is revision 12 after three of them.
pub const CHANGES: u64 = 1_000_000;

/// What lies over a revision.
#[derive(Clone, Default, Debug)]
pub struct Overlay {
    /// By backend.
    pub discovered: Arc<BTreeMap<String, Vec<Endpoint>>>,
    /// These get no weight.
    pub drained: Arc<BTreeSet<Drained>>,
}

impl Overlay {
    /// What the data plane serves of this revision.
    ///
    /// # Errors
    /// What is wrong with an endpoint that was discovered.
    pub fn over(&self, body: &Body) -> Result<Snapshot, String> {
        let mut snapshot = body.snapshot.clone();
        let discovered: BTreeSet<&str> = body.control.discoveries.iter().map(Discovery::backend).collect();
        if discovered.is_empty() && self.drained.is_empty() {
            return Ok(snapshot);
        }
        for backend in &mut snapshot.backends {
            if discovered.contains(backend.name.as_str()) {
                backend.endpoints = self.discovered.get(&backend.name).cloned().unwrap_or_default();
                backend.check()?;
            }
        }
        for Drained { backend, address } in self.drained.iter() {
            let backend = snapshot.backends.iter_mut().find(|it| it.name == *backend);
            let endpoint = backend.and_then(|backend| backend.endpoints.iter_mut().find(|it| it.address == *address));
            if let Some(endpoint) = endpoint {
                endpoint.weight = 0;
            }
        }
        Ok(snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::tests::body;

    #[test]
    fn discovered_endpoints_come_in_and_drained_ones_get_no_weight() {
        let mut body = body("a");
        let address = |n: u8| ([10, 0, 0, n], 80).into();
        let name = body.snapshot.backends[0].name.clone();
        let found = vec![Endpoint { address: address(1), weight: 3 }, Endpoint { address: address(2), weight: 3 }];
        let drained = BTreeSet::from([
            Drained { backend: name.clone(), address: address(2) },
            Drained { backend: "gone".into(), address: address(2) },
        ]);
        let overlay =
            Overlay { discovered: Arc::new(BTreeMap::from([(name.clone(), found)])), drained: Arc::new(drained) };
        // Only where the configuration leaves it to discovery.
        assert_eq!(overlay.over(&body).unwrap(), body.snapshot);
        let path = "/x".into();
        body.control.discoveries.push(Discovery::File { backend: name, path });
        let weights = |s: &Snapshot| s.backends[0].endpoints.iter().map(|it| it.weight).collect::<Vec<_>>();
        assert_eq!(weights(&overlay.over(&body).unwrap()), [3, 0]);
        assert!(Overlay::default().over(&body).unwrap().backends[0].endpoints.is_empty());
    }
}
