//! What tests of the daemon share.

use super::store::Body;
use crate::{admin::api::SourceFile, config};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory that goes with its owner.
pub(crate) struct Dir(PathBuf);

impl Dir {
    pub(crate) fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("weirgate-{name}-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A small configuration: one listener, one route, one backend. `path` is what the route takes.
pub(crate) fn yaml(path: &str) -> String {
    format!(
        "apiVersion: weirgate/v1\nkind: GatewayConfig\nmetadata: {{name: test}}\n\
         dataplane:\n  cores: [0]\n  ports: [{{name: p0, device: \"af_packet:gw0\", addresses: [10.77.0.10/24]}}]\n\
         listeners:\n- {{name: http, port: 80, protocol: HTTP}}\n\
         routes:\n- kind: HTTPRoute\n  name: site\n  parentRefs: [{{name: http}}]\n  rules:\n\
         \x20 - matches: [{{path: {{type: PathPrefix, value: /{path}}}}}]\n    backendRefs: [{{name: web}}]\n\
         backends:\n- {{name: web, discovery: {{static: [\"10.77.0.11:8080\", \"10.77.0.12:8080\"]}}}}\n"
    )
}

pub(crate) fn files(path: &str) -> Vec<SourceFile> {
    vec![SourceFile { name: "gateway.yaml".into(), text: yaml(path) }]
}

pub(crate) fn body(path: &str) -> Body {
    let text = vec![("gateway.yaml".to_owned(), yaml(path))];
    let model = config::compile(&text, &config::Environment::default());
    let model = model.unwrap_or_else(|findings| panic!("{findings:?}"));
    Body { files: files(path), control: model.control, snapshot: model.snapshot }
}
