//! A daemon that says what a test made up, over a real socket; and remembers what it was asked.

use super::TempDir;
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{Method, StatusCode, Uri},
};
use serde::Serialize;
use serde_json::Value;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    thread::JoinHandle,
};
use tokio::sync::oneshot;

/// It listens until it is dropped.
pub(crate) struct MadeUp {
    folder: TempDir,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// By `METHOD path`; of several, each is given once, and the last again and again.
    answers: Mutex<HashMap<String, Vec<(u16, Vec<u8>)>>>,
    asked: Mutex<Vec<Asked>>,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// `POST /v1/apply?x=1`.
    pub(crate) what: String,
    /// Its content; null without.
    pub(crate) content: Value,
}

impl MadeUp {
    pub(crate) fn new() -> Self {
        let folder = TempDir::new("daemon");
        let shared = Arc::new(Shared::default());
        let (stop, stopped) = oneshot::channel();
        let path = format!("{}/admin.sock", folder.path());
        let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let state = shared.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::UnixListener::from_std(listener).unwrap();
                let router = Router::new().fallback(answer).with_state(state);
                tokio::select! {
                    ended = async { axum::serve(listener, router).await } => ended.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        Self { folder, shared, stop: Some(stop), thread: Some(thread) }
    }

    /// Says this from now on.
    pub(crate) fn says(self, what: &str, value: &impl Serialize) -> Self {
        self.says_text(what, 200, serde_json::to_string(value).unwrap())
    }

    /// The same with any status and content.
    pub(crate) fn says_text(self, what: &str, status: u16, text: String) -> Self {
        self.says_bytes(what, status, text.into())
    }

    /// The same with content that is no text.
    pub(crate) fn says_bytes(self, what: &str, status: u16, content: Vec<u8>) -> Self {
        let mut answers = self.shared.answers.lock().unwrap();
        answers.entry(what.to_owned()).or_default().push((status, content));
        drop(answers);
        self
    }

    pub(crate) fn socket(&self) -> String {
        format!("{}/admin.sock", self.folder.path())
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }
}

async fn answer(State(shared): State<Arc<Shared>>, method: Method, uri: Uri, content: Bytes) -> (StatusCode, Vec<u8>) {
    let content = serde_json::from_slice(&content).unwrap_or(Value::Null);
    shared.asked.lock().unwrap().push(Asked { what: format!("{method} {uri}"), content });
    let mut answers = shared.answers.lock().unwrap();
    let known = answers.get_mut(&format!("{method} {}", uri.path()));
    let (status, content) = match known {
        Some(several) if several.len() > 1 => several.remove(0),
        Some(one) => one[0].clone(),
        None => (404, r#"{"error": "there is no such thing", "code": "notFound"}"#.into()),
    };
    (StatusCode::from_u16(status).unwrap(), content)
}

impl Drop for MadeUp {
    fn drop(&mut self) {
        _ = self.stop.take().map(|stop| stop.send(()));
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the made-up daemon has failed");
        }
    }
}
