//! Watched files.

use super::*;
use std::{fs, os::unix::fs::symlink, path::PathBuf};

/// A directory that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("weirgate-discovery-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn watched(path: &std::path::Path) -> (Discovery, mpsc::Receiver<EndpointUpdate>) {
    let (sender, updates) = mpsc::channel(8);
    let mut discovery = Discovery::new(Options::default(), sender);
    discovery.set(&[Source::File { backend: "cart".into(), path: path.to_owned() }]);
    (discovery, updates)
}

#[tokio::test]
async fn a_file_is_read_again_however_it_is_replaced() {
    let folder = Folder::new("replaced");
    let path = folder.0.join("list.yaml");
    fs::write(&path, "- 192.0.2.1:80\n").unwrap();
    let (discovery, mut updates) = watched(&path);
    assert_eq!(next(&mut updates).await, ("cart".into(), list(&[("192.0.2.1:80", 1)])));
    // Written in place.
    fs::write(&path, "- 192.0.2.2:80\n").unwrap();
    assert_eq!(next(&mut updates).await.1, list(&[("192.0.2.2:80", 1)]));
    // Renamed over.
    fs::write(folder.0.join("new"), r#"[{"address": "192.0.2.3:80", "weight": 5}]"#).unwrap();
    fs::rename(folder.0.join("new"), &path).unwrap();
    assert_eq!(next(&mut updates).await.1, list(&[("192.0.2.3:80", 5)]));
    // Emptied on purpose.
    fs::write(&path, "[]").unwrap();
    assert_eq!(next(&mut updates).await.1, Vec::new());
    assert_eq!(discovery.status()[0].failures, 0);
}

#[tokio::test]
async fn a_symbolic_link_that_is_swapped_is_followed() {
    // list.yaml -> ..data/list.yaml, ..data -> one | two: as Kubernetes mounts a ConfigMap.
    let folder = Folder::new("swapped");
    for (version, address) in [("one", "192.0.2.1:80"), ("two", "192.0.2.2:80")] {
        fs::create_dir(folder.0.join(version)).unwrap();
        fs::write(folder.0.join(version).join("list.yaml"), format!("- {address}\n")).unwrap();
    }
    symlink("one", folder.0.join("..data")).unwrap();
    symlink("..data/list.yaml", folder.0.join("list.yaml")).unwrap();
    let (_discovery, mut updates) = watched(&folder.0.join("list.yaml"));
    assert_eq!(next(&mut updates).await.1, list(&[("192.0.2.1:80", 1)]));
    symlink("two", folder.0.join("..data_tmp")).unwrap();
    fs::rename(folder.0.join("..data_tmp"), folder.0.join("..data")).unwrap();
    assert_eq!(next(&mut updates).await.1, list(&[("192.0.2.2:80", 1)]));
}

#[tokio::test]
async fn what_is_no_list_changes_nothing_and_is_said_with_its_place() {
    let folder = Folder::new("broken");
    let path = folder.0.join("list.yaml");
    fs::write(&path, "- 192.0.2.1:80\n").unwrap();
    let (discovery, mut updates) = watched(&path);
    next(&mut updates).await;
    for (text, wants) in [
        ("- 192.0.2.1:80\n- 192.0.2.\n", "list.yaml:2:3: \"192.0.2.\""),
        ("", "list.yaml: it is empty"),
        ("[\"192.0.2.1:80\", \"192.", "list.yaml:1:"),
    ] {
        fs::write(&path, text).unwrap();
        let status = until(&discovery, |status| status.error.as_ref().is_some_and(|e| e.contains(wants))).await;
        assert_eq!(status.endpoints, 1);
    }
    fs::remove_file(&path).unwrap();
    until(&discovery, |status| status.error.as_ref().is_some_and(|e| e.contains("cannot be read"))).await;
    assert_eq!(discovery.known().len(), 1);
    assert!(updates.try_recv().is_err());
    fs::write(&path, "- 192.0.2.1:80\n- 192.0.2.2:80\n").unwrap();
    assert_eq!(next(&mut updates).await.1.len(), 2);
    until(&discovery, |status| status.error.is_none()).await;
}

#[tokio::test]
async fn a_directory_that_comes_later_is_found_and_one_that_is_replaced_found_again() {
    let folder = Folder::new("later");
    let path = folder.0.join("deep").join("list.yaml");
    let (discovery, mut updates) = watched(&path);
    until(&discovery, |status| status.error.is_some()).await;
    for address in ["192.0.2.1:80", "192.0.2.2:80"] {
        let _ = fs::remove_dir_all(folder.0.join("deep"));
        fs::create_dir(folder.0.join("deep")).unwrap();
        fs::write(&path, format!("- {address}\n")).unwrap();
        assert_eq!(next(&mut updates).await.1, list(&[(address, 1)]));
    }
}
