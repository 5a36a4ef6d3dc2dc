//! Endpoints from a file that is watched: a list, as in `static`, in YAML or JSON.
//!
//! Its directory is watched rather than the file, which may be replaced by renaming, or be a symbolic link through another that is (as
//! Kubernetes mounts configuration). What lies further away is seen by looking at it now and then.

use super::{dns::is_nobodys, source::Found, watch::Watch};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, value::MapAccessDeserializer},
};
use serde_saphyr::Spanned;
use std::{
    collections::BTreeMap,
    fmt, io,
    net::SocketAddr,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{io::AsyncReadExt, time::sleep};
use weirgate_dataplane::{
    limits::{ENDPOINT_WEIGHT_MAX, ENDPOINTS_MAX},
    snapshot::Endpoint,
};

/// A longer file is not read.
const BYTES_MAX: u64 = 16 << 20;
/// How long a writer is waited for after it has begun.
const QUIET: Duration = Duration::from_millis(50);
/// How often the file is looked at although nothing was said about it.
const LOOK: Duration = Duration::from_secs(5);
/// The same where nothing can be said.
const LOOK_UNWATCHED: Duration = Duration::from_secs(1);

/// What tells one state of a file from another: device, inode, length, and both times.
type Stamp = (u64, u64, u64, i64, i64, i64, i64);

pub(super) async fn run(path: PathBuf, watch: Arc<Watch>, found: Arc<Found>) {
    let watching = watch.directory(path.parent().unwrap_or(Path::new("/")));
    let (mut last, mut good) = (None, false);
    loop {
        let watched = watching.renew();
        // Asked for before the file is looked at, so that no change falls between.
        let changed = watching.changed();
        let mut changed = std::pin::pin!(changed);
        changed.as_mut().enable();
        match look(&path, last).await {
            Ok(None) if good => found.confirmed(),
            Ok(None) => {}
            Ok(Some((stamp, text))) => {
                last = Some(stamp);
                let parsed = parse(&path, &text);
                good = parsed.is_ok();
                match parsed {
                    Ok(endpoints) => {
                        if !found.found(endpoints, None).await {
                            return;
                        }
                    }
                    Err(error) => found.failed(error),
                }
            }
            Err(error) => {
                (last, good) = (None, false);
                found.failed(format!("{} cannot be read: {error}", path.display()));
            }
        }
        tokio::select! {
            () = changed => sleep(QUIET).await,
            () = sleep(if watched { LOOK } else { LOOK_UNWATCHED }) => {}
        }
    }
}

/// The file, if it is another than last time and is not being written just now.
async fn look(path: &Path, last: Option<Stamp>) -> io::Result<Option<(Stamp, String)>> {
    let mut file = tokio::fs::File::open(path).await?;
    let before = stamp(&file.metadata().await?);
    if Some(before) == last {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    (&mut file).take(BYTES_MAX + 1).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(io::Error::other(format!("it is longer than {BYTES_MAX} bytes")));
    }
    if stamp(&file.metadata().await?) != before {
        return Ok(None); // the writer's next step is told too
    }
    let text = String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8"))?;
    Ok(Some((before, text)))
}

fn stamp(of: &std::fs::Metadata) -> Stamp {
    (of.dev(), of.ino(), of.len(), of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec())
}

/// Endpoints of a text; the error has file, line and column. No list at all is a file that is not written yet; `[]` is none on purpose.
fn parse(path: &Path, text: &str) -> Result<Vec<Endpoint>, String> {
    let file = path.display();
    let list: Vec<Spanned<RawEndpoint>> = serde_saphyr::from_str::<Option<_>>(text)
        .map_err(|error| {
            let place = error.location().map_or(String::new(), |at| format!(":{}:{}", at.line(), at.column()));
            let message = error.without_snippet().to_string();
            let end = message.rfind(" at line ").unwrap_or(message.len());
            format!("{file}{place}: {}", &message[..end])
        })?
        .ok_or_else(|| format!("{file}: it is empty; for no endpoints, write []"))?;
    if list.len() > ENDPOINTS_MAX {
        return Err(format!("{file}: {} endpoints; there may be {ENDPOINTS_MAX}", list.len()));
    }
    let mut endpoints = BTreeMap::new();
    for said in &list {
        let at = said.referenced;
        let fault = |what: String| format!("{file}:{}:{}: {what}", at.line(), at.column());
        let Endpoint { address, weight } = said.value.endpoint().map_err(fault)?;
        if endpoints.insert(address, weight).is_some() {
            return Err(fault(format!("{address} stands there twice")));
        }
    }
    Ok(endpoints.into_iter().map(|(address, weight)| Endpoint { address, weight }).collect())
}

/// `"10.1.0.21:8080"`, or `{address: "10.1.0.21:8080", weight: 3}`.
struct RawEndpoint {
    address: String,
    weight: Option<u32>,
}

impl RawEndpoint {
    fn endpoint(&self) -> Result<Endpoint, String> {
        let address: SocketAddr = self.address.parse().map_err(|_| {
            format!("{:?} is no address with a port, such as 10.1.0.21:8080 or [fd00::21]:8080", self.address)
        })?;
        if address.port() == 0 {
            return Err(format!("{address}: port 0 is no port"));
        }
        if is_nobodys(&address.ip().to_canonical()) {
            return Err(format!("{address} is no address of an endpoint"));
        }
        let weight = self.weight.unwrap_or(1);
        if weight > ENDPOINT_WEIGHT_MAX {
            return Err(format!("{address}: a weight of {weight}; it may be {ENDPOINT_WEIGHT_MAX} at most"));
        }
        Ok(Endpoint { address, weight })
    }
}

impl<'de> Deserialize<'de> for RawEndpoint {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Long {
            address: String,
            weight: Option<u32>,
        }
        struct Either;
        impl<'de> de::Visitor<'de> for Either {
            type Value = RawEndpoint;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"ADDRESS:PORT\", or {address: \"ADDRESS:PORT\", weight: N}")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<RawEndpoint, E> {
                Ok(RawEndpoint { address: text.into(), weight: None })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawEndpoint, A::Error> {
                let Long { address, weight } = Long::deserialize(MapAccessDeserializer::new(map))?;
                Ok(RawEndpoint { address, weight })
            }
        }
        from.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<(String, u32)>, String> {
        let endpoints = parse(Path::new("/e/list.yaml"), text)?;
        Ok(endpoints.into_iter().map(|e| (e.address.to_string(), e.weight)).collect())
    }

    #[test]
    fn a_list_is_read_in_yaml_and_json_and_sorted() {
        let wants = Ok(vec![("10.1.0.3:80".into(), 7), ("10.1.0.20:80".into(), 1), ("[fd00::1]:81".into(), 0)]);
        let yaml = "# both forms\n- 10.1.0.20:80\n- {address: '10.1.0.3:80', weight: 7}\n- address: '[fd00::1]:81'\n  weight: 0\n";
        assert_eq!(parsed(yaml), wants);
        let json =
            r#"["10.1.0.20:80", {"address": "10.1.0.3:80", "weight": 7}, {"address": "[fd00::1]:81", "weight": 0}]"#;
        assert_eq!(parsed(json), wants);
        assert_eq!(parsed("[]"), Ok(Vec::new()), "none, on purpose");
    }

    #[test]
    fn what_is_wrong_has_its_place() {
        for (text, wants) in [
            ("", "/e/list.yaml: it is empty"),
            ("\n\n# soon\n", "/e/list.yaml: it is empty"),
            ("- 10.1.0.1:80\n- 10.1.0.2\n", "/e/list.yaml:2:3: \"10.1.0.2\" is no address with a port"),
            ("- 10.1.0.1:80\n- 10.1.0.1:80\n", "/e/list.yaml:2:3: 10.1.0.1:80 stands there twice"),
            ("- 127.0.0.1:80\n", "/e/list.yaml:1:3: 127.0.0.1:80 is no address of an endpoint"),
            ("- 0.0.0.0:80\n", "/e/list.yaml:1:3: 0.0.0.0:80 is no address"),
            ("- 255.255.255.255:80\n", "/e/list.yaml:1:3: 255.255.255.255:80 is no address"),
            ("- '[ff02::1]:80'\n", "/e/list.yaml:1:3: [ff02::1]:80 is no address"),
            ("- '[::ffff:127.0.0.1]:80'\n", "/e/list.yaml:1:3: [::ffff:127.0.0.1]:80 is no address"),
            ("- 10.1.0.1:0\n", "/e/list.yaml:1:3: 10.1.0.1:0: port 0"),
            ("- {address: '10.1.0.1:80', weight: 1001}\n", "/e/list.yaml:1:3: 10.1.0.1:80: a weight of 1001"),
            ("- {address: '10.1.0.1:80', wieght: 1}\n", "/e/list.yaml:1:"),
            ("endpoints: [10.1.0.1:80]\n", "/e/list.yaml:1:1: "),
            ("[\"10.1.0.1:80\", \"10.1.0.2:8", "/e/list.yaml:1:"),
            ("- 10.1.0.1:80\n- - x\n", "/e/list.yaml:2:"),
        ] {
            let error = parsed(text).expect_err(text);
            assert!(error.starts_with(wants), "{text:?}: {error}");
        }
    }
}
