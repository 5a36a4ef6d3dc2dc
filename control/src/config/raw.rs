//! The configuration as it is written: every field has a place here, also those whose feature does not work yet.

mod backends;
mod dataplane;
mod listeners;
mod routes;

pub(super) use backends::{RawBackend, RawEndpoint, RawHashOn, RawLoadBalancing, RawPool};
pub(super) use dataplane::{RawDataplane, RawInterface, RawPort};
pub(super) use listeners::{RawHttp, RawListener, RawProxyProtocol, RawTimeouts};
pub(super) use routes::{
    RawBackendRef, RawCondition, RawFilter, RawHeader, RawHeaderModifier, RawMatch, RawNewPath, RawPath, RawRoute,
    RawRule,
};

use super::{Place, place_of};
use serde::{Deserialize, de::IgnoredAny};
use serde_saphyr::Spanned;

/// A field that is refused: its path, from the block that it stands in, and its place.
pub(super) type Refused = (&'static str, Place);

/// A field that is known and does not work yet.
type Later = Option<Spanned<IgnoredAny>>;

fn refused<const N: usize>(fields: [(&'static str, &Later); N]) -> Vec<Refused> {
    fields.into_iter().filter_map(|(path, field)| field.as_ref().map(|value| (path, place_of(value)))).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawFile {
    pub(super) api_version: Option<Spanned<String>>,
    pub(super) kind: Option<Spanned<String>>,
    pub(super) metadata: Option<RawMetadata>,
    pub(super) dataplane: Option<Spanned<RawDataplane>>,
    #[serde(default)]
    pub(super) listeners: Vec<Spanned<RawListener>>,
    #[serde(default)]
    pub(super) routes: Vec<Spanned<RawRoute>>,
    #[serde(default)]
    pub(super) backends: Vec<Spanned<RawBackend>>,
    secrets: Later,
    policies: Later,
    observability: Later,
    admin: Later,
    xds: Later,
}

impl RawFile {
    pub(super) fn refused(&self) -> Vec<Refused> {
        refused([
            ("secrets", &self.secrets),
            ("policies", &self.policies),
            ("observability", &self.observability),
            ("admin", &self.admin),
            ("xds", &self.xds),
        ])
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawMetadata {
    pub(super) name: Option<String>,
    /// Labels are for whoever reads the file; nothing selects by them yet, and nothing would behave differently.
    #[allow(dead_code)]
    labels: Option<IgnoredAny>,
}
