//! Who wants a change.

use crate::daemon::clock;
use serde::{Deserialize, Serialize};

/// Who wants a change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Who {
    /// The user, by number; `None`: unknown, as over TCP.
    pub uid: Option<u32>,
    /// The process.
    pub pid: Option<i32>,
    /// The user, by name.
    pub user: Option<String>,
    /// How it came: `unix`, an address of a TCP peer, or `daemon`.
    pub via: String,
}

impl Who {
    /// The daemon itself.
    pub fn daemon() -> Self {
        let uid = rustix::process::getuid().as_raw();
        Self { uid: Some(uid), pid: None, user: user_name(uid), via: "daemon".into() }
    }

    /// A process at the other end of a Unix socket.
    pub fn process(uid: u32, pid: Option<i32>) -> Self {
        Self { uid: Some(uid), pid, user: user_name(uid), via: "unix".into() }
    }

    /// Somebody over TCP.
    pub fn remote(address: std::net::SocketAddr) -> Self {
        Self { uid: None, pid: None, user: None, via: address.to_string() }
    }
}

/// The name of a user in `/etc/passwd`.
fn user_name(uid: u32) -> Option<String> {
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    let of_line = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid.to_string()).then(|| name.to_owned())
    };
    passwd.lines().find_map(of_line)
}

/// Now, as it is written down.
pub(super) fn at() -> String {
    clock::rfc3339(clock::now_ms())
}
