//! How certificates and authorities are: those in force, beside what is on disk now.

use super::{
    engine::{Engine, aside, key_of},
    overlay::Overlay,
    view,
};
use crate::{
    admin::api::{CertificateState, CertificateSummary, Certificates, ErrorBody},
    config::{Secret, SecretSource},
    secrets::{self, Facts, Loaded, Reason, Unusable},
};
use weirgate_dataplane::snapshot::Snapshot;

const DAY: i64 = 86_400;

/// All of them.
///
/// # Errors
/// That nothing is in force.
pub async fn list(engine: &Engine) -> Result<Certificates, ErrorBody> {
    let state = engine.state();
    let (number, revision) = view::in_force(&state)?;
    let now = engine.settings.time.now_ms() / 1_000;
    aside(move || {
        let body = &revision.body;
        let of = |secret: &Secret| {
            let told = state.secrets.get(&secret.name).and_then(|it| it.refused.clone());
            summary(secret, &body.snapshot, &state.overlay, told, now)
        };
        Certificates { revision: number, certificates: body.control.secrets.iter().map(of).collect() }
    })
    .await
}

fn summary(
    secret: &Secret,
    snapshot: &Snapshot,
    overlay: &Overlay,
    told: Option<Unusable>,
    now: u64,
) -> CertificateSummary {
    let held = overlay.secrets.get(&key_of(secret));
    let (state, refused) = on_disk(secret, held.map(|it| &**it), told, now);
    let (listeners, backends) = users(snapshot, &secret.name);
    let (reason, refused) = refused.map(|it| (it.reason, it.message)).unzip();
    CertificateSummary {
        secret: secret.name.clone(),
        files: secret.source.paths().map(|it| it.display().to_string()).collect(),
        watch: secret.watch,
        listeners,
        backends,
        state,
        refused,
        reason,
        warnings: secrets::warnings(secret),
        ..of_facts(&held.map(|it| it.facts.clone()).unwrap_or_default(), now)
    }
}

/// What a certificate says, for answers.
pub(crate) fn of_facts(facts: &Facts, now: u64) -> CertificateSummary {
    let certificate = facts.certificate.as_ref();
    let authorities = || facts.authorities.iter().flat_map(|it| it.names.clone()).collect();
    let (end, update) = (facts.not_after(), facts.next_update());
    CertificateSummary {
        secret: String::new(),
        names: certificate.map_or_else(authorities, |it| it.names.clone()),
        issuer: certificate.map(|it| it.issuer.clone()),
        serial: certificate.map(|it| it.serial.clone()),
        key: certificate.map(|it| it.key.clone()),
        not_before: certificate.map(|it| secrets::time(it.not_before)),
        not_after: end.map(secrets::time),
        days_left: end.map(|at| days(at, now)),
        next_update: update.map(secrets::time),
        update_days_left: update.map(|at| days(at, now)),
        files: Vec::new(),
        watch: false,
        listeners: Vec::new(),
        backends: Vec::new(),
        state: CertificateState::InForce,
        refused: None,
        reason: None,
        warnings: Vec::new(),
    }
}

/// Whole days; below 0 as soon as it is over.
fn days(at: u64, now: u64) -> i64 {
    let seconds = |at| i64::try_from(at).unwrap_or(i64::MAX);
    (seconds(at) - seconds(now)).div_euclid(DAY)
}

fn on_disk(
    secret: &Secret,
    held: Option<&Loaded>,
    told: Option<Unusable>,
    now: u64,
) -> (CertificateState, Option<Unusable>) {
    if let SecretSource::Document { .. } = secret.source {
        return (CertificateState::Document, None);
    }
    match (secrets::read(secret, now), held) {
        (Ok(loaded), Some(held)) if loaded.material == held.material => (CertificateState::InForce, None),
        // It can be read here, and somebody else did not want it.
        (Ok(_), _) => match told.filter(|it| matches!(it.reason, Reason::Refused | Reason::Unnoted)) {
            Some(why) => (CertificateState::Refused, Some(why)),
            None => (CertificateState::Differs, None),
        },
        (Err(why), _) => (CertificateState::Refused, Some(why)),
    }
}

/// Listeners and backends that use a secret.
pub(crate) fn users(snapshot: &Snapshot, name: &str) -> (Vec<String>, Vec<String>) {
    let http = snapshot.http.iter().map(|it| (&it.name, &it.tls));
    let listeners = http.chain(snapshot.tcp.iter().map(|it| (&it.name, &it.tls))).filter(|(_, tls)| {
        tls.as_ref().is_some_and(|tls| {
            tls.certificates.iter().any(|it| it == name)
                || tls.clients.as_ref().is_some_and(|it| it.authorities == name)
        })
    });
    let backends = snapshot.backends.iter().filter(|it| {
        it.tls.as_ref().is_some_and(|tls| tls.authorities == name || tls.certificate.as_deref() == Some(name))
    });
    (listeners.map(|(name, _)| name.clone()).collect(), backends.map(|it| it.name.clone()).collect())
}
