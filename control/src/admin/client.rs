//! The other end of the admin API: one request for each connection, over the Unix socket.
//!
//! ```no_run
//! # async fn example() -> Result<(), weirgate_control::admin::client::Error> {
//! use weirgate_control::admin::{api, client::Client};
//! let client = Client::new(api::SOCKET);
//! let status: api::Status = client.get(api::STATUS).await?;
//! let base = status.revision.map(|head| head.revision);
//! let request = api::RollbackRequest { to: None, how: api::How { base, ..Default::default() } };
//! let applied: api::Applied = client.post(api::ROLLBACK, &request).await?;
//! # Ok(()) }
//! ```

use super::api::{Code, ErrorBody, escaped};
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fmt, io,
    marker::PhantomData,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{net::UnixStream, time::timeout};

/// A response that is not a stream: a snapshot of 100,000 routes has some thirty million bytes.
const RESPONSE_MAX: usize = 256 << 20;
/// A line of a stream.
const LINE_MAX: usize = 1 << 20;

/// Asks one daemon.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    patience: Duration,
}

impl Client {
    /// Of the daemon whose admin socket this is.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        // A change may wait for a data plane that drains and starts again.
        Self { socket: socket.into(), patience: Duration::from_secs(330) }
    }

    /// How long a response may take.
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Where it asks.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Gets what is at a path of [`api`](super::api).
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.read(self.send(Method::GET, path, None).await?).await
    }

    /// The same, with a query such as [`DiffQuery`](super::api::DiffQuery).
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get_with<T: DeserializeOwned>(&self, path: &str, query: &impl Serialize) -> Result<T, Error> {
        self.get(&with_query(path, query)).await
    }

    /// What is at a path, as text: metrics, or the OpenAPI description as it is.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn text(&self, path: &str) -> Result<String, Error> {
        let content = self.content(self.send(Method::GET, path, None).await?).await?;
        String::from_utf8(content.into()).map_err(|_| Error::Garbled("the response is not text".into()))
    }

    /// Sends a request that changes something, or asks something with content.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Error> {
        self.read(self.send(Method::POST, path, Some(json(body))).await?).await
    }

    /// Puts something at a path.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn put<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Error> {
        self.read(self.send(Method::PUT, path, Some(json(body))).await?).await
    }

    /// Opens a stream of lines, such as [`TAP`](super::api::TAP). Dropping it ends it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn stream<T: DeserializeOwned>(&self, path: &str, query: &impl Serialize) -> Result<Lines<T>, Error> {
        let response = self.send(Method::GET, &with_query(path, query), None).await?;
        if !response.status().is_success() {
            return Err(self.refusal(response).await);
        }
        Ok(Lines { body: response.into_body(), bytes: Vec::new(), of: PhantomData })
    }

    /// Opens a stream of bytes, such as [`PCAP`](super::api::PCAP). Dropping it ends it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn chunks(&self, path: &str, body: &impl Serialize) -> Result<Chunks, Error> {
        let response = self.send(Method::POST, path, Some(json(body))).await?;
        if !response.status().is_success() {
            return Err(self.refusal(response).await);
        }
        Ok(Chunks(response.into_body()))
    }

    async fn send(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Response<Incoming>, Error> {
        let unreachable = |error| Error::Unreachable { socket: self.socket.clone(), error };
        let stream = UnixStream::connect(&self.socket).await.map_err(unreachable)?;
        let garbled = |error: hyper::Error| Error::Garbled(error.to_string());
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(garbled)?;
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "weirgate");
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(Bytes::from(body.unwrap_or_default())));
        let request = request.map_err(|error| Error::Garbled(format!("{path:?} is no path: {error}")))?;
        let response = timeout(self.patience, sender.send_request(request)).await;
        response.map_err(|_| Error::Silent(self.patience))?.map_err(garbled)
    }

    async fn content(&self, response: Response<Incoming>) -> Result<Bytes, Error> {
        if !response.status().is_success() {
            return Err(self.refusal(response).await);
        }
        self.whole(response).await
    }

    async fn read<T: DeserializeOwned>(&self, response: Response<Incoming>) -> Result<T, Error> {
        let content = self.content(response).await?;
        serde_json::from_slice(&content).map_err(|error| Error::Garbled(error.to_string()))
    }

    async fn whole(&self, response: Response<Incoming>) -> Result<Bytes, Error> {
        let body = http_body_util::Limited::new(response.into_body(), RESPONSE_MAX);
        let body = timeout(self.patience, body.collect()).await.map_err(|_| Error::Silent(self.patience))?;
        Ok(body.map_err(|error| Error::Garbled(error.to_string()))?.to_bytes())
    }

    async fn refusal(&self, response: Response<Incoming>) -> Error {
        let status = response.status();
        let content = match self.whole(response).await {
            Ok(content) => content,
            Err(error) => return error,
        };
        let body = serde_json::from_slice(&content).unwrap_or_else(|_| ErrorBody {
            error: format!("{status}: {}", String::from_utf8_lossy(&content[..content.len().min(200)])),
            code: Code::Internal,
            findings: Vec::new(),
            next: None,
        });
        Error::Refused { status, body: Box::new(body) }
    }
}

/// A stream of bytes.
pub struct Chunks(Incoming);

impl Chunks {
    /// The next ones; `None`: the daemon has ended the stream. May be given up and called again.
    ///
    /// # Errors
    /// That the stream broke off.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match self.0.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    // Or trailers.
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(error)) => return Err(Error::Garbled(error.to_string())),
            }
        }
    }
}

/// A stream of lines.
pub struct Lines<T> {
    body: Incoming,
    bytes: Vec<u8>,
    of: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Lines<T> {
    /// The next line; `None`: the daemon has ended the stream. May be given up and called again.
    ///
    /// # Errors
    /// That the stream broke off, or what came is no such line.
    pub async fn next(&mut self) -> Result<Option<T>, Error> {
        loop {
            if let Some(end) = self.bytes.iter().position(|&b| b == b'\n') {
                let line: Vec<u8> = self.bytes.drain(..=end).collect();
                return serde_json::from_slice(&line).map(Some).map_err(|error| Error::Garbled(error.to_string()));
            }
            if self.bytes.len() > LINE_MAX {
                return Err(Error::Garbled("a line without end".into()));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => self.bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
                Some(Err(error)) => return Err(Error::Garbled(error.to_string())),
            }
        }
    }
}

/// Why there is no response that helps.
#[derive(Debug)]
pub enum Error {
    /// The daemon cannot be reached.
    Unreachable {
        /// Where it was looked for.
        socket: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The daemon says no.
    Refused {
        /// The status.
        status: StatusCode,
        /// Why, and what to do next.
        body: Box<ErrorBody>,
    },
    /// Nothing comes.
    Silent(Duration),
    /// What comes is not what this version understands, or broke off.
    Garbled(String),
}

impl Error {
    /// Whether the daemon was not there, or did not answer.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Silent(_))
    }

    /// What to check next.
    pub fn next(&self) -> Option<String> {
        let next = match self {
            Self::Unreachable { socket, error } => match error.kind() {
                io::ErrorKind::NotFound => format!(
                    "is weirgate-control running, and is {} its admin.socket? systemctl status weirgate",
                    socket.display()
                ),
                io::ErrorKind::ConnectionRefused => {
                    "the socket is there, and nobody listens: weirgate-control has ended; journalctl -u weirgate".into()
                }
                io::ErrorKind::PermissionDenied => {
                    let socket = socket.display();
                    format!("run this as root, or as a user who may open the socket: ls -l {socket}")
                }
                _ => return None,
            },
            Self::Refused { body, .. } => return body.next.clone(),
            Self::Silent(_) => "what does the daemon log? journalctl -u weirgate".into(),
            Self::Garbled(_) => "are daemon and command line of the same version? weirgate version".into(),
        };
        Some(next)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { socket, error } => {
                write!(f, "the daemon cannot be reached at {}: {error}", socket.display())
            }
            Self::Refused { body, .. } => f.write_str(&body.error),
            Self::Silent(patience) => write!(f, "the daemon has not answered within {} s", patience.as_secs()),
            Self::Garbled(error) => write!(f, "the daemon's response cannot be used: {error}"),
        }
    }
}

impl std::error::Error for Error {}

fn json(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("string keys only")
}

/// A path with the fields of a query that are set.
fn with_query(path: &str, query: &impl Serialize) -> String {
    let mut path = path.to_owned();
    let mut mark = '?';
    let serde_json::Value::Object(fields) = serde_json::to_value(query).expect("string keys only") else { return path };
    for (name, value) in fields {
        let value = match value {
            serde_json::Value::Null => continue,
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        path += &format!("{mark}{name}={}", escaped(&value));
        mark = '&';
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::api::{self, DiffQuery, EndpointsQuery, Status};

    #[test]
    fn queries_hold_what_is_set() {
        assert_eq!(with_query(api::DIFF, &DiffQuery::default()), "/v1/diff");
        assert_eq!(with_query(api::DIFF, &DiffQuery { from: Some(1), to: Some(2) }), "/v1/diff?from=1&to=2");
        let query = EndpointsQuery { backend: Some("a&b ü".into()) };
        assert_eq!(with_query(api::ENDPOINTS, &query), "/v1/endpoints?backend=a%26b%20%C3%BC");
    }

    #[tokio::test]
    async fn who_is_not_there_is_told_apart() {
        let error = Client::new("/nonexistent/admin.sock").get::<Status>(api::STATUS).await.unwrap_err();
        assert!(error.is_unreachable(), "{error:?}");
        assert!(error.to_string().contains("/nonexistent/admin.sock"), "{error}");
        assert!(error.next().unwrap().contains("is weirgate-control running"));
    }
}
