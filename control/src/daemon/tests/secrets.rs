//! Certificates as they are put in force, change under the daemon, and are kept.

use super::*;
use crate::{
    admin::api::{CertificateState, Code},
    daemon::certificates,
    secrets::{
        Reason,
        tests::{Authority, NOW},
    },
};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

/// The small configuration with an HTTPS listener, whose pair is in this directory.
fn secure(dir: &Path, path: &str) -> Vec<SourceFile> {
    let dir = dir.display();
    let text =
        yaml(path).replace("port: 80, protocol: HTTP}", "port: 443, protocol: HTTPS, tls: {certificateRefs: [shop]}}");
    let text = text + &format!("secrets: [{{name: shop, file: {{cert: {dir}/a.pem, key: {dir}/a.key}}}}]\n");
    vec![SourceFile { name: "gateway.yaml".into(), text }]
}

/// A world with a pair in `tls`, and that in force.
struct Secure {
    world: World,
    authority: Authority,
    tls: PathBuf,
}

fn settings(settings: &mut Settings) {
    settings.time = TimeOfDay::of(|| NOW * 1_000);
}

impl Secure {
    async fn new(name: &str) -> Self {
        let dir = Dir::new(name);
        let tls = dir.path().join("tls");
        fs::create_dir(&tls).unwrap();
        let stand_in = StandIn::start(dir.path(), Some(body("a").snapshot));
        let world = World::with(dir, stand_in, None, settings);
        world.until(|state| state.link.is_some()).await;
        let this = Self { world, authority: Authority::new("Test CA"), tls };
        this.put(&this.authority.good("shop.example"));
        this.apply("b").await.unwrap();
        this
    }

    fn put(&self, pair: &(String, String)) {
        crate::secrets::tests::write(&self.tls, pair);
    }

    async fn apply(&self, path: &str) -> Result<Applied, ErrorBody> {
        self.world.apply_with(path, |it| it.files = secure(&self.tls, path)).await
    }

    fn watch(&self) {
        tokio::spawn(Arc::clone(&self.world.engine).mind_secrets());
    }

    async fn serves(&self, chain: &str) {
        self.world.stand_in.until(|it| chain_of(it).is_some_and(|it| it == chain)).await;
    }
}

fn chain_of(inside: &stand_in::Inside) -> Option<String> {
    Some(inside.snapshot.as_ref()?.certificates.first()?.chain.clone())
}

/// Every file below a directory.
fn all_files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|it| it.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { all_files(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn a_pair_is_in_force_and_its_key_stands_in_one_file_only() {
    let it = Secure::new("secrets-apply").await;
    let (chain, key) =
        (fs::read_to_string(it.tls.join("a.pem")).unwrap(), fs::read_to_string(it.tls.join("a.key")).unwrap());
    it.serves(&chain).await;
    let secret_line = key.lines().nth(1).unwrap();
    let state_dir = it.world.dir.path().join("state");
    let has_key = |path: &PathBuf| fs::read_to_string(path).is_ok_and(|text| text.contains(secret_line));
    let holders: Vec<_> = all_files(&state_dir).into_iter().filter(has_key).collect();
    assert_eq!(holders, [state_dir.join("secrets.json")]);
    assert_eq!(fs::metadata(&holders[0]).unwrap().permissions().mode() & 0o777, 0o600);
    let list = certificates::list(&it.world.engine).await.unwrap();
    let [shop] = &list.certificates[..] else { panic!("{list:?}") };
    assert_eq!(
        (shop.state, &shop.listeners[..], &shop.names[..]),
        (CertificateState::InForce, &["http".into()][..], &["shop.example".into()][..])
    );
    assert!(!serde_json::to_string(&list).unwrap().contains(secret_line));
    let revision = it.world.engine.revision(1).await.unwrap();
    assert!(!format!("{revision:?}{:?}", it.world.engine.state().overlay).contains(secret_line));
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_at_first_and_kept_out_later() {
    let it = Secure::new("secrets-refused").await;
    let (chain, _) = (fs::read_to_string(it.tls.join("a.pem")).unwrap(), ());
    it.put(&it.authority.issue("shop.example", (2020, 2021)));
    // The old pair stays in force, whatever else changes.
    let applied = it.apply("c").await.unwrap();
    assert_eq!((it.world.serves().as_str(), applied.revision), ("c", 2));
    it.serves(&chain).await;
    let refused = it.world.engine.state().secrets["shop"].refused.clone().unwrap();
    assert_eq!(refused.reason, Reason::Expired);
    // Where there was none before, the change is refused.
    let other = it.tls.with_file_name("other");
    fs::create_dir(&other).unwrap();
    let error = it.world.apply_with("d", |apply| apply.files = secure(&other, "d")).await.unwrap_err();
    assert_eq!(error.code, Code::Invalid);
    assert!(
        error.findings[0].message.starts_with("secrets[shop]: ")
            && error.findings[0].message.contains("a.pem cannot be read"),
        "{error:?}"
    );
    assert_eq!(it.world.serves(), "c");
}

#[tokio::test]
async fn a_changed_pair_is_a_change_of_what_is_served_and_no_revision() {
    let it = Secure::new("secrets-watch").await;
    it.watch();
    for n in 0..3 {
        let pair = it.authority.good("shop.example");
        // One after the other, with a while in between in which they do not fit.
        fs::write(it.tls.join("a.pem"), &pair.0).unwrap();
        tokio::time::sleep(Duration::from_millis(50 * n)).await;
        fs::write(it.tls.join("a.key"), &pair.1).unwrap();
        it.serves(&pair.0).await;
    }
    it.world.until(|state| state.secrets.get("shop").is_some_and(|it| it.updates == 3 && it.refused.is_none())).await;
    assert_eq!(it.world.engine.state().number(), Some(1));
    let noted = eventually(async || {
        let lines = audit_lines(&it.world.dir);
        let is_done = |line: &&serde_json::Value| line["action"] == "renewSecrets" && line["outcome"] == "done";
        (lines.iter().filter(is_done).count() == 3).then_some(lines)
    });
    let refused = noted.await.expect("in the audit log").into_iter().any(|line| line["outcome"] == "refused");
    assert!(!refused, "a rotation is no fault");
}

#[tokio::test]
async fn a_pair_that_stays_wrong_is_told_and_the_old_one_stays() {
    let it = Secure::new("secrets-wrong").await;
    let old = fs::read_to_string(it.tls.join("a.pem")).unwrap();
    it.watch();
    let (chain, key) = it.authority.good("shop.example");
    fs::write(it.tls.join("a.pem"), &chain).unwrap();
    let refused = |state: &crate::daemon::engine::State| state.secrets.get("shop").and_then(|it| it.refused.clone());
    it.world.until(|state| refused(state).is_some_and(|it| it.reason == Reason::Mismatch)).await;
    it.serves(&old).await;
    let list = certificates::list(&it.world.engine).await.unwrap();
    assert_eq!(
        (list.certificates[0].state, list.certificates[0].reason),
        (CertificateState::Refused, Some(Reason::Mismatch))
    );
    fs::write(it.tls.join("a.key"), &key).unwrap();
    it.serves(&chain).await;
    it.world.until(|state| refused(state).is_none()).await;
    // The data plane has the last word.
    it.world.stand_in.set(|inside| inside.refuse = Some("not this one".into()));
    it.put(&it.authority.good("shop.example"));
    it.world
        .until(|state| {
            refused(state).is_some_and(|it| it.reason == Reason::Refused && it.message.contains("not this one"))
        })
        .await;
    it.serves(&chain).await;
}

#[tokio::test]
async fn links_that_are_swapped_are_followed() {
    let it = Secure::new("secrets-links").await;
    let put = |version: &str| {
        let pair = it.authority.good("shop.example");
        let dir = it.tls.join(version);
        fs::create_dir(&dir).unwrap();
        crate::secrets::tests::write(&dir, &pair);
        // As Kubernetes does it: a new link in the old one's place.
        symlink(version, it.tls.join("..new")).unwrap();
        fs::rename(it.tls.join("..new"), it.tls.join("..data")).unwrap();
        pair.0
    };
    let first = put("..1");
    for name in ["a.pem", "a.key"] {
        fs::remove_file(it.tls.join(name)).unwrap();
        symlink(Path::new("..data").join(name), it.tls.join(name)).unwrap();
    }
    it.watch();
    it.serves(&first).await;
    let second = put("..2");
    it.serves(&second).await;
}

#[tokio::test]
async fn the_next_start_needs_no_file() {
    let it = Secure::new("secrets-kept").await;
    let chain = fs::read_to_string(it.tls.join("a.pem")).unwrap();
    fs::remove_dir_all(&it.tls).unwrap();
    let (dir, stand_in) = it.world.kill().await;
    stand_in.set(|inside| inside.snapshot = None);
    let next = World::with(dir, stand_in, None, settings);
    next.engine.load_secrets().await;
    assert!(!next.engine.lacks_secrets());
    next.engine.boot_last();
    assert_eq!(next.engine.state().boot.unwrap().certificates[0].chain, chain);
    next.stand_in.until(|it| chain_of(it).is_some_and(|it| it == chain)).await;
}
