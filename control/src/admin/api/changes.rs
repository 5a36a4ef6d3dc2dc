//! Requests that change what is in force, and the history of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A configuration file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SourceFile {
    /// Its name, as findings call it.
    pub name: String,
    /// What stands in it.
    pub text: String,
}

/// Puts a configuration in force.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct ApplyRequest {
    /// All of it. Files that these include must be among them.
    pub files: Vec<SourceFile>,
    /// What `${NAME}` in them stands for. The daemon's own variables are nobody's business.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// How it is put in force.
    #[serde(flatten)]
    pub how: How,
}

/// How something is put in force. Its fields stand beside those of the request.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct How {
    /// Why; for the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The revision that this was made for: when another is in force, this is refused (409).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<u64>,
    /// Only say what would change.
    pub dry_run: bool,
    /// Go back by itself after so many seconds, unless it is confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm_seconds: Option<u64>,
    /// The data plane may be restarted, if its block has changed.
    pub restart: bool,
}

/// Keeps a change that would go back by itself.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct ConfirmRequest {
    /// Which; without it, whichever waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
}

/// Puts an older revision in force again, under a new number.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct RollbackRequest {
    /// Which; without it, the one that was in force before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    /// How it is put in force.
    #[serde(flatten)]
    pub how: How,
}

/// What came of a change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Applied {
    /// What is in force now. After a dry run, and when nothing differs, what was in force before.
    pub revision: u64,
    /// Whether anything is different now; for a dry run, whether it would be.
    pub changed: bool,
    /// It was a dry run.
    #[serde(default)]
    pub dry_run: bool,
    /// The data plane was restarted; for a dry run, it would have to be.
    #[serde(default)]
    pub restart: bool,
    /// From the question's arrival at the data plane until all workers had it, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_us: Option<u64>,
    /// When it goes back by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unconfirmed: Option<Unconfirmed>,
    /// What is different.
    pub difference: Difference,
}

/// A change that goes back by itself unless it is confirmed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Unconfirmed {
    /// It.
    pub revision: u64,
    /// Where it goes back to.
    pub back_to: u64,
    /// When.
    pub until: String,
    /// Seconds left.
    pub seconds_left: u64,
}

/// Which revisions are compared.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct DiffQuery {
    /// The older; without it, the one before `to`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// The newer; without it, what is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
}

/// Compares files with a revision. Nothing changes.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct DiffRequest {
    /// The configuration.
    pub files: Vec<SourceFile>,
    /// What `${NAME}` in them stands for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// The revision; without it, what is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
}

/// What differs, object by object.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// The older revision; 0: none.
    pub from: u64,
    /// The newer one; `None`: it has no number yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    /// What is new, gone or different.
    pub changes: Vec<ObjectChange>,
    /// How many more there are than are listed.
    #[serde(default)]
    pub unlisted: u64,
    /// The same as text for people: lines with `+` and `-`.
    pub text: String,
}

/// An object that is new, gone or different.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectChange {
    /// What it is.
    pub kind: ObjectKind,
    /// Its name. A route's name has its listener's before it: `http/shop`.
    pub name: String,
    /// What became of it.
    pub change: Change,
    /// The fields that differ, as `loadBalancing` or `rules[0].backends`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
}

/// What an object is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ObjectKind {
    /// The node: its name.
    Node,
    /// What takes a restart to change.
    Dataplane,
    /// A listener.
    Listener,
    /// A route.
    Route,
    /// A backend.
    Backend,
    /// What only the daemon knows: discoveries, admin, metrics.
    Control,
}

/// What became of an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It is different.
    Changed,
}

/// How much of the history is wanted.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct HistoryQuery {
    /// At most so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// The history, the newest first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// What is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<u64>,
    /// All that are kept.
    pub revisions: Vec<RevisionHead>,
}

/// A revision without its content.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevisionHead {
    /// Its number.
    pub revision: u64,
    /// When it was made.
    pub at: String,
    /// The user, by number; `None`: it came over TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The user, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Where it came from.
    pub source: ChangeSource,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// A checksum of what it comes to: equal for equal configurations.
    pub digest: String,
}

/// Where a change came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ChangeSource {
    /// The files, when the daemon started.
    Start,
    /// The files, when they changed.
    Watch,
    /// The files, when SIGHUP came.
    Signal,
    /// A request.
    Api,
    /// Somebody went back.
    Rollback {
        /// To this revision.
        to: u64,
    },
    /// A change that nobody confirmed went back by itself.
    Unconfirmed {
        /// To this revision.
        to: u64,
    },
}

/// A revision with its content.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevisionDetails {
    /// Who, when, why.
    pub head: RevisionHead,
    /// The files that it was made of.
    pub files: Vec<SourceFile>,
    /// What the data plane gets, without discovered endpoints; its format is the data plane's.
    pub snapshot: serde_json::Value,
}
