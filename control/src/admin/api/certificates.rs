//! Certificates and authorities that are in force. Nothing here has a private key in it.

use crate::secrets::Reason;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// All certificates and authorities.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Certificates {
    /// What is in force.
    pub revision: u64,
    /// In the configuration's order.
    pub certificates: Vec<CertificateSummary>,
}

/// A secret: a certificate with its key, or authorities.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateSummary {
    /// Its name.
    pub secret: String,
    /// Names that it is for; of authorities, their own.
    pub names: Vec<String>,
    /// Who has signed it; `None`: these are authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Its number, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// The kind of its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// From when on it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    /// Until when; of authorities, until the last of them ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
    /// Whole days until then; below 0, it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days_left: Option<i64>,
    /// Until when the first list of what is revoked holds: afterwards nobody is believed whom it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_update: Option<String>,
    /// Whole days until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_days_left: Option<i64>,
    /// Its files.
    pub files: Vec<String>,
    /// Whether they are watched.
    pub watch: bool,
    /// Listeners that use it.
    pub listeners: Vec<String>,
    /// Backends that use it.
    pub backends: Vec<String>,
    /// Whether what is on disk is in force.
    pub state: CertificateState,
    /// Why what is on disk is not in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// The same as a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What should be mended all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Whether what is on disk is in force.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum CertificateState {
    /// It is.
    InForce,
    /// There is another one, which can be used: it comes in a moment if it is watched, else with the next apply.
    Differs,
    /// It cannot be used: what was before is in force.
    Refused,
    /// There is nothing on disk: it came within a document.
    Document,
}
