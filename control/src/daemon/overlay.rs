//! What lies over a revision: endpoints that discovery found, and those that somebody took out.

use super::{
    engine::key_of,
    store::{Body, Drained, Held, Learned},
};
use crate::config::{Discovery, Secret};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};
use weirgate_dataplane::snapshot::{Endpoint, Snapshot};

/// Revisions times this, and changes of endpoints since, are the numbers of snapshots: 12000003 is revision 12 after three of them.
pub const CHANGES: u64 = 1_000_000;

/// What lies over a revision.
#[derive(Clone, Default, Debug)]
pub struct Overlay {
    /// By source, so that nothing that another source has said is taken for a backend's endpoints.
    pub discovered: Arc<Learned>,
    /// These get no weight.
    pub drained: Arc<BTreeSet<Drained>>,
    /// What secrets stand for.
    pub secrets: Arc<Held>,
}

/// What a source has found, for one revision.
#[derive(Default, Debug)]
pub struct Found {
    /// What is served.
    pub endpoints: Vec<Endpoint>,
    /// What is not: it would lead back to the gateway.
    pub left_out: Vec<Endpoint>,
    /// The source has not answered yet.
    pub pending: bool,
}

impl Overlay {
    /// What the data plane serves of this revision.
    ///
    /// # Errors
    /// What is wrong with an endpoint that was discovered, or what is not known of a secret.
    pub fn over(&self, body: &Body) -> Result<Snapshot, String> {
        let mut snapshot = self.without_secrets(body)?;
        let sources: BTreeMap<&str, &Secret> = body.control.secrets.iter().map(|it| (it.name.as_str(), it)).collect();
        let held = |name: &str| sources.get(name).and_then(|it| self.secrets.get(&key_of(it)));
        let missing = |name: &str| format!("secret {name:?}: what it stands for is not known; apply its files again");
        for it in &mut snapshot.certificates {
            let found = held(&it.name).and_then(|it| it.material.certificate.clone());
            *it = found.ok_or_else(|| missing(&it.name))?;
        }
        for it in &mut snapshot.authorities {
            let found = held(&it.name).and_then(|it| it.material.authorities.clone());
            *it = found.ok_or_else(|| missing(&it.name))?;
        }
        Ok(snapshot)
    }

    /// The same where secrets are names only.
    ///
    /// # Errors
    /// What is wrong with an endpoint that was discovered.
    pub fn without_secrets(&self, body: &Body) -> Result<Snapshot, String> {
        let mut snapshot = body.snapshot.clone();
        let sources: BTreeMap<&str, &Discovery> =
            body.control.discoveries.iter().map(|source| (source.backend(), source)).collect();
        if sources.is_empty() && self.drained.is_empty() {
            return Ok(snapshot);
        }
        let own = own_addresses(&snapshot);
        for backend in &mut snapshot.backends {
            if let Some(source) = sources.get(backend.name.as_str()) {
                backend.endpoints = self.found(source, &own).endpoints;
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

    /// What a source has found. `own` are the gateway's [`own_addresses`].
    pub fn found(&self, source: &Discovery, own: &BTreeSet<IpAddr>) -> Found {
        let Some(all) = self.discovered.get(&source.question()) else {
            return Found { pending: true, ..Found::default() };
        };
        let is_own = |endpoint: &Endpoint| own.contains(&endpoint.address.ip().to_canonical());
        let (left_out, endpoints) = all.iter().copied().partition(is_own);
        Found { endpoints, left_out, pending: false }
    }
}

/// Addresses where the gateway itself answers, and those of everybody in its networks: a request that is sent there comes back, or goes to all.
pub fn own_addresses(snapshot: &Snapshot) -> BTreeSet<IpAddr> {
    let ports = snapshot.dataplane.ports.iter();
    let interfaces =
        ports.flat_map(|port| [&port.untagged].into_iter().chain(port.vlans.iter().map(|it| &it.interface)));
    let cidrs = interfaces.flat_map(|interface| &interface.addresses);
    let mut own: BTreeSet<IpAddr> =
        cidrs.flat_map(|cidr| [Some(cidr.address), cidr.broadcast().map(IpAddr::V4)]).flatten().collect();
    own.extend(snapshot.http.iter().filter_map(|it| it.address));
    own.extend(snapshot.tcp.iter().filter_map(|it| it.address));
    own.extend(snapshot.services.iter().filter_map(|it| it.address));
    own
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::tests::body;

    fn file(backend: &str, path: &str) -> Discovery {
        Discovery::File { backend: backend.into(), path: path.into() }
    }

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
        let overlay = Overlay {
            discovered: Arc::new(Learned::from([(file(&name, "/x"), found)])),
            drained: Arc::new(drained),
            ..Overlay::default()
        };
        // Only where the configuration leaves it to discovery.
        assert_eq!(overlay.over(&body).unwrap(), body.snapshot);
        body.control.discoveries.push(file(&name, "/x"));
        let weights = |s: &Snapshot| s.backends[0].endpoints.iter().map(|it| it.weight).collect::<Vec<_>>();
        assert_eq!(weights(&overlay.over(&body).unwrap()), [3, 0]);
        assert!(Overlay::default().over(&body).unwrap().backends[0].endpoints.is_empty());
        // And only what this source has said.
        body.control.discoveries = vec![file(&name, "/y")];
        assert!(overlay.over(&body).unwrap().backends[0].endpoints.is_empty());
        assert!(overlay.found(&file(&name, "/y"), &BTreeSet::new()).pending);
    }

    #[test]
    fn the_gateways_own_addresses_are_no_endpoints() {
        let mut body = body("a");
        body.snapshot.http[0].address = Some([10, 88, 0, 1].into());
        let name = body.snapshot.backends[0].name.clone();
        body.control.discoveries.push(file(&name, "/x"));
        let all = ["10.77.0.10:80", "10.77.0.255:80", "10.88.0.1:9", "[::ffff:10.77.0.10]:80", "10.77.0.11:80"];
        let found = all.map(|it| Endpoint { address: it.parse().unwrap(), weight: 1 }).to_vec();
        let overlay =
            Overlay { discovered: Arc::new([(file(&name, "/x"), found.clone())].into()), ..Overlay::default() };
        assert_eq!(overlay.over(&body).unwrap().backends[0].endpoints, found[4..]);
        let own = own_addresses(&body.snapshot);
        assert_eq!(overlay.found(&file(&name, "/x"), &own).left_out, found[..4]);
    }
}
