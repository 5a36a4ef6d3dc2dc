//! Who may do what.
//!
//! Over the Unix socket: processes of root, of the daemon's own user, and of those that `admin.allowedUids` names may do everything, others nothing.
//! Over TCP nobody can be told apart: they may look, and change something only if the daemon was told so at its start.

use super::operations::{App, respond};
use crate::{
    admin::api::{self, Code, ErrorBody},
    daemon::{audit::Outcome, engine::fail, who::Who},
};
use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, header},
    middleware::Next,
    response::Response,
};
use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Mutex,
};

/// The other end of a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Peer {
    /// A process on this machine.
    Process {
        /// Its user.
        uid: u32,
        /// It.
        pid: Option<i32>,
    },
    /// Somebody over TCP.
    Remote(SocketAddr),
}

impl Peer {
    /// For the history and the audit log.
    pub fn who(&self) -> Who {
        match *self {
            Self::Process { uid, pid } => Who::process(uid, pid),
            Self::Remote(address) => Who::remote(address),
        }
    }
}

/// What somebody may do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Rights {
    /// Nothing.
    Nothing,
    /// Look.
    Look,
    /// Everything.
    Everything,
}

/// What a peer may do. `own` is the daemon's user.
pub fn rights(peer: &Peer, allowed: &[u32], own: u32, tcp_writes: bool) -> Rights {
    match peer {
        Peer::Process { uid, .. } if *uid == 0 || *uid == own || allowed.contains(uid) => Rights::Everything,
        Peer::Process { .. } => Rights::Nothing,
        Peer::Remote(_) if tcp_writes => Rights::Everything,
        Peer::Remote(_) => Rights::Look,
    }
}

/// Where revisions are, with their texts.
const REVISION_TEXTS: &str = "/v1/revisions/";

/// What a request takes. Questions with content change nothing.
fn needed(method: &Method, path: &str) -> Rights {
    // What was written is for those who may write: it may hold what others should not see, and to compile something takes time.
    let is_text = path.starts_with(REVISION_TEXTS);
    if is_text {
        return Rights::Everything;
    }
    let is_question = *method == Method::POST && path == api::EXPLAIN;
    if *method == Method::GET || *method == Method::HEAD || is_question { Rights::Look } else { Rights::Everything }
}

/// Lets requests through, or not.
pub(super) async fn gate(State(app): State<App>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().cloned();
    let Some(peer) = peer else { return respond(Err(fail(Code::Internal, "a connection without a peer", ""))) };
    let state = app.engine.state();
    let own = rustix::process::getuid().as_raw();
    let has = rights(&peer, &state.admin().allowed_uids, own, app.tcp_writes);
    let path = request.uri().path().to_owned();
    let mut verdict = Ok(());
    if let Peer::Remote(_) = peer {
        verdict = check_page(request.headers());
    }
    if has < needed(request.method(), &path) {
        verdict = Err(refusal(&peer, has));
    }
    let Err(error) = verdict else { return next.run(request).await };
    if app.refusals.is_due(&peer) {
        let action: String = format!("{} {path}", request.method()).chars().take(200).collect();
        _ = app.engine.note(&peer.who(), &action, None, Outcome::Refused, Some(&error.error)).await;
    }
    respond(Err(error))
}

fn refusal(peer: &Peer, has: Rights) -> ErrorBody {
    match peer {
        Peer::Process { uid, .. } => fail(
            Code::Forbidden,
            format!("user {uid} may not use this socket"),
            "run this as root, or add the user to admin.allowedUids",
        ),
        Peer::Remote(_) if has == Rights::Look => fail(
            Code::Forbidden,
            "over TCP nothing can be changed",
            "use the Unix socket, or start weirgate-control with --allow-tcp-writes",
        ),
        Peer::Remote(_) => fail(Code::Forbidden, "this is not for you", ""),
    }
}

/// Whether a web page could have made somebody's browser ask: one names its origin, or a host that its own name server makes a loopback address.
fn check_page(headers: &HeaderMap) -> Result<(), ErrorBody> {
    let refused = |what: &str| Err(fail(Code::Forbidden, format!("requests of web pages are refused ({what})"), ""));
    if headers.contains_key(header::ORIGIN) {
        return refused("Origin");
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    if name == "localhost" || name.parse::<IpAddr>().is_ok() { Ok(()) } else { refused("Host") }
}

/// Not every refusal is noted, or somebody who may do nothing could push everything else out of the audit log.
#[derive(Default)]
pub(super) struct Refusals(Mutex<HashMap<Option<u32>, u64>>);

/// Milliseconds between notes about one user.
const PAUSE: u64 = 1_000;
/// Users that are remembered.
const USERS: usize = 1_024;

impl Refusals {
    fn is_due(&self, peer: &Peer) -> bool {
        let uid = match peer {
            Peer::Process { uid, .. } => Some(*uid),
            Peer::Remote(_) => None,
        };
        let now = crate::daemon::clock::now_ms();
        let mut last = self.0.lock().expect("nobody panics with it");
        if last.len() >= USERS {
            last.clear();
        }
        match last.get(&uid) {
            Some(&at) if now.saturating_sub(at) < PAUSE => false,
            _ => {
                last.insert(uid, now);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_those_of_the_user() {
        let process = |uid| Peer::Process { uid, pid: None };
        let remote = Peer::Remote(([127, 0, 0, 1], 9).into());
        for (peer, tcp_writes, wanted) in [
            (process(0), false, Rights::Everything),
            (process(990), false, Rights::Everything),
            (process(77), false, Rights::Everything),
            (process(1000), false, Rights::Nothing),
            (process(1000), true, Rights::Nothing),
            (remote.clone(), false, Rights::Look),
            (remote, true, Rights::Everything),
        ] {
            assert_eq!(rights(&peer, &[990], 77, tcp_writes), wanted, "{peer:?}");
        }
    }

    #[test]
    fn questions_change_nothing() {
        for (method, path, wanted) in [
            (Method::GET, api::STATUS, Rights::Look),
            (Method::POST, api::EXPLAIN, Rights::Look),
            (Method::POST, api::DIFF, Rights::Everything),
            (Method::GET, api::DIFF, Rights::Look),
            (Method::GET, api::REVISIONS, Rights::Look),
            (Method::GET, "/v1/revisions/3", Rights::Everything),
            (Method::POST, api::APPLY, Rights::Everything),
            (Method::PUT, api::LOG, Rights::Everything),
            (Method::PUT, api::EXPLAIN, Rights::Everything),
            (Method::POST, "/v1/explain/", Rights::Everything),
        ] {
            assert_eq!(needed(&method, path), wanted, "{method} {path}");
        }
    }

    #[test]
    fn web_pages_are_kept_out() {
        for (name, value, fine) in [
            ("host", "127.0.0.1:9000", true),
            ("host", "[::1]:9000", true),
            ("host", "localhost:9000", true),
            ("host", "evil.example", false),
            ("host", "", false),
            ("origin", "http://127.0.0.1", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("host", "127.0.0.1".parse().unwrap());
            headers.insert(name, value.parse().unwrap());
            assert_eq!(check_page(&headers).is_ok(), fine, "{name}: {value}");
        }
    }
}
