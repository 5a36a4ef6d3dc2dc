//! `secrets`: certificates with their keys, and authorities. What a configuration comes to has their names and where they are; only those that came
//! within a document of Kubernetes are taken out of it here, and what is kept of the document is without them.

use super::{
    Finding, Lost, Source,
    findings::{At, Findings},
    kube::Kube,
    model::{Material, Secret, SecretSource},
    names, place_of,
    print::print_documents,
    raw::{RawKubeSecret, RawSecret, RawSecretFiles},
    read::{Read, Spanned},
    tree::{self, Node, Value},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::{
    borrow::Cow,
    collections::BTreeMap,
    hash::Hasher,
    path::{Component, Path, PathBuf},
};
use weirgate_dataplane::snapshot::{Authorities, Certificate, Key};

/// Instead of what is left out of kept documents.
pub(super) const LEFT_OUT: &str = "LEFT-OUT";
/// Fields of a Kubernetes Secret that may be seen.
const SEEN: [&str; 2] = ["tls.crt", "ca.crt"];

/// All secrets, those of wrong ones too, so that listeners and backends can name them.
#[derive(Default)]
pub(super) struct Secrets<'a> {
    pub(super) list: Vec<Secret>,
    /// Those that came within documents.
    pub(super) brought: BTreeMap<String, Material>,
    kinds: BTreeMap<String, Kinds>,
    lost: Option<&'a Lost>,
}

/// What a secret has.
#[derive(Clone, Copy)]
enum Kinds {
    Certificate,
    Authorities,
    Both,
    /// It is refused for itself.
    Refused,
}

impl Secrets<'_> {
    /// Whether there is one of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.kinds.contains_key(name)
    }
    /// What is wrong with a name that refers to no certificate.
    pub(super) fn find_certificate(&self, name: &str) -> Result<(), String> {
        match self.find(name)? {
            Kinds::Authorities => Err(format!("secret {name:?} has authorities, and no certificate with its key")),
            _ => Ok(()),
        }
    }
    /// The same of authorities.
    pub(super) fn find_authorities(&self, name: &str) -> Result<(), String> {
        match self.find(name)? {
            Kinds::Certificate => Err(format!("secret {name:?} has a certificate with its key, and no authorities")),
            _ => Ok(()),
        }
    }
    fn find(&self, name: &str) -> Result<Kinds, String> {
        let is_lost =
            || self.lost.is_some_and(|lost| lost.may_be(RawSecret::TABLE, name) || lost.any_of(RawKubeSecret::TABLE));
        let missing =
            || format!("there is no secret {name:?}{}", names::hint(name, self.kinds.keys().map(String::as_str)));
        self.kinds.get(name).copied().or_else(|| is_lost().then_some(Kinds::Refused)).ok_or_else(missing)
    }
    fn add(&mut self, name: &str, source: Option<SecretSource>, watch: bool) {
        let kinds = match &source {
            None => Kinds::Refused,
            Some(
                SecretSource::Certificate { .. } | SecretSource::Document { certificate: true, authorities: false, .. },
            ) => Kinds::Certificate,
            Some(SecretSource::Document { certificate: true, .. }) => Kinds::Both,
            Some(_) => Kinds::Authorities,
        };
        self.kinds.insert(name.to_owned(), kinds);
        self.list.extend(source.map(|source| Secret { name: name.to_owned(), source, watch }));
    }
}

/// Compiles those of all files.
pub(super) fn compile<'a>(
    sources: &[Source<'_>],
    kube: &Kube<'_>,
    lost: &'a Lost,
    is_local: bool,
    found: &mut Vec<Finding>,
) -> Secrets<'a> {
    let mut secrets = Secrets { lost: Some(lost), ..Secrets::default() };
    for Source { file, raw } in sources {
        let findings = &mut Findings { file, found };
        for said in &raw.secrets {
            let name = said.value.name.value.as_str();
            let at = At::new(format!("secrets[{name}]"), place_of(said));
            if secrets.has(name) {
                findings.say(&at.said("name", &said.value.name), format!("another secret is named {name:?}"));
                continue;
            }
            let source = source_of(&said.value, &at, is_local, findings);
            secrets.add(name, source, said.value.watch.unwrap_or(true));
        }
    }
    for document in &kube.secrets {
        let findings = &mut Findings { file: document.file, found };
        let name = document.raw.metadata.full_name();
        let at = At::new(format!("Secret[{name}]"), place_of(&document.raw.metadata.name));
        if secrets.has(&name) {
            findings.say(&at, format!("another secret is named {name:?}"));
            continue;
        }
        let material = material_of(&document.raw, &name, &at, findings);
        secrets.add(&name, material.as_ref().map(SecretSource::of), false);
        secrets.brought.extend(material.map(|material| (name, material)));
    }
    secrets
}

fn source_of(raw: &RawSecret, at: &At, is_local: bool, findings: &mut Findings<'_>) -> Option<SecretSource> {
    if let Some(said) = &raw.spiffe {
        let at = at.said("spiffe", said);
        findings.add_of(at.place, at.path, " is not supported in this version");
        return None;
    }
    let such = "write {cert: PATH, key: PATH} or {ca: PATH}";
    let Some(said) = &raw.file else {
        findings.say(at, format!("says nothing: {}", such.replace("write {", "write file: {")));
        return None;
    };
    let (RawSecretFiles { cert, key, ocsp, ca, crl }, at) = (&said.value, at.said("file", said));
    let mut path = |field: &str, said: &Spanned<String>| {
        let path = path_of(findings.file, &said.value, is_local);
        findings.keep(&at.said(field, said), path)
    };
    match (cert, key, ca) {
        (Some(cert), Some(key), None) if crl.is_none() => {
            let (cert, key) = (path("cert", cert), path("key", key));
            let ocsp = match ocsp {
                Some(ocsp) => Some(path("ocsp", ocsp)?),
                None => None,
            };
            Some(SecretSource::Certificate { cert: cert?, key: key?, ocsp })
        }
        (None, None, Some(ca)) if ocsp.is_none() => {
            let ca = path("ca", ca);
            let crl = match crl {
                Some(crl) => Some(path("crl", crl)?),
                None => None,
            };
            Some(SecretSource::Authorities { ca: ca?, crl })
        }
        (Some(_), None, None) => {
            findings.say(&at.field("key"), "missing: a certificate is of no use without its private key");
            None
        }
        (None, Some(_), None) => {
            findings.say(&at.field("cert"), "missing: a private key is of no use without its certificate");
            None
        }
        _ => {
            let message = format!("a certificate with its key (and ocsp), or authorities (and crl): {such}");
            findings.say(&at, message);
            None
        }
    }
}

/// Relative paths are the document's. The daemon does not know where a document was that somebody sent.
fn path_of(file: &str, said: &str, is_local: bool) -> Result<PathBuf, String> {
    if said.is_empty() {
        return Err("an empty path".into());
    }
    let path = Path::new(file).parent().unwrap_or(Path::new("")).join(said);
    let path = if is_local { std::path::absolute(&path).unwrap_or(path) } else { path };
    if !path.is_absolute() {
        return Err(format!("{said:?} is relative, and where {file} is was not said: write an absolute path"));
    }
    let mut clean = PathBuf::new();
    for part in path.components().filter(|part| *part != Component::CurDir) {
        clean.push(part);
    }
    Ok(clean)
}

/// What a Kubernetes Secret holds. No word of it is said in findings.
fn material_of(raw: &RawKubeSecret, name: &str, at: &At, findings: &mut Findings<'_>) -> Option<Material> {
    findings.choose(&at.said("type", &raw.kind), &raw.kind.value, &[("kubernetes.io/tls", ())], &["Opaque"])?;
    let before = findings.found.len();
    let mut text = |field: &str, encoded: &Option<Spanned<String>>, plain: &Option<Spanned<String>>| {
        // As in Kubernetes: stringData counts where both say something.
        let (of, said) = plain.as_ref().map(|said| ("stringData", said)).or(encoded.as_ref().map(|it| ("data", it)))?;
        let at = at.said(&format!("{of}.{field}"), said);
        if said.value.trim() == LEFT_OUT {
            let message = "it was left out when this document was kept: put the key itself there";
            findings.say(&at, message);
            return None;
        }
        if of == "stringData" {
            return Some(said.value.clone());
        }
        let bare: String = said.value.split_ascii_whitespace().collect();
        let decoded = BASE64_STANDARD.decode(bare).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        findings.keep(&at, decoded.ok_or_else(|| "not PEM in base64".into()))
    };
    let (data, plain) = (&raw.data, &raw.string_data);
    let chain = text("tls.crt", &data.cert, &plain.cert);
    let key = text("tls.key", &data.key, &plain.key);
    let roots = text("ca.crt", &data.ca, &plain.ca);
    let is_missing = |encoded: &Option<_>, plain: &Option<_>| encoded.is_none() && plain.is_none();
    for (field, missing) in
        [("tls.crt", is_missing(&data.cert, &plain.cert)), ("tls.key", is_missing(&data.key, &plain.key))]
    {
        if missing {
            findings.say(&at.field(&format!("data.{field}")), "missing: a secret of this type has it");
        }
    }
    let (chain, key) = (chain?, key?);
    let certificate = Certificate { name: name.into(), chain, key: Key::new(key), ocsp: Vec::new() };
    let authorities = roots.map(|roots| Authorities { name: name.into(), roots, revocation_lists: String::new() });
    (findings.found.len() == before).then_some(Material { certificate: Some(certificate), authorities })
}

impl SecretSource {
    /// Of something that came within a document. Equal for the same certificates; their keys say nothing more.
    fn of(material: &Material) -> Self {
        let Material { certificate, authorities } = material;
        let mut hasher = SipHasher13::new();
        let mut add = |text: &str| {
            hasher.write(text.as_bytes());
            hasher.write_u64(text.len() as u64);
        };
        add(certificate.as_ref().map_or("", |it| &it.chain));
        add(authorities.as_ref().map_or("", |it| &it.roots));
        let hash = hasher.finish128();
        let digest = format!("{:016x}{:016x}", hash.h1, hash.h2);
        Self::Document { digest, certificate: certificate.is_some(), authorities: authorities.is_some() }
    }
}

/// A text as it may be kept and shown: documents that hold private keys come without them.
pub fn without_keys<'a>(file: &str, text: &'a str) -> Cow<'a, str> {
    if !text.contains("Secret") {
        return text.into();
    }
    let mut found = Vec::new();
    let (mut documents, _) = tree::parse(text, &mut Findings { file, found: &mut found });
    let is_secret = |node: &Node| node.get("kind").and_then(Node::text) == Some("Secret");
    if !documents.iter().any(is_secret) {
        return text.into();
    }
    for document in documents.iter_mut().filter(|it| is_secret(it)) {
        strip(document);
    }
    print_documents(&documents).into()
}

fn strip(document: &mut Node) {
    let Value::Map(fields) = &mut document.value else { return };
    for (key, node) in fields {
        let Value::Map(inner) = &mut node.value else { continue };
        match &*key.name {
            "data" | "stringData" => {
                for (_, node) in inner.iter_mut().filter(|(key, _)| !SEEN.contains(&&*key.name)) {
                    node.value = Value::Scalar { text: LEFT_OUT.into(), plain: true };
                }
            }
            // kubectl writes the whole secret into one of them.
            "metadata" => inner.retain(|(key, _)| matches!(&*key.name, "name" | "namespace" | "labels")),
            _ => {}
        }
    }
}
