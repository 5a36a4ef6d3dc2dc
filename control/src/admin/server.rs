//! Sockets and connections of the admin API. Everything that a peer may take is bounded: connections, heads, content, time.

use super::{
    api::{Code, READYZ},
    gate::{Peer, gate},
    operations::{self, App, respond},
};
use crate::{
    config::{Admin, Control},
    daemon::{
        audit::Audit,
        engine::{Engine, Settings, State, audit_path, fail},
    },
};
use axum::{Router, body::Body, http::Request, middleware};
use hyper::{body::Incoming, server::conn::http1, service::Service};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::sleep,
};

/// Connections at a time, over either kind of socket, so that nobody over TCP keeps others from the Unix socket; more wait in the kernel's queue.
const CONNECTIONS: usize = 64;
/// Readers of metrics at a time.
const READERS: usize = 16;
/// Between tries to open what could not be opened.
const RETRY: Duration = Duration::from_secs(5);
/// For a request's head.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// For a whole connection that is no stream: a change may wait for a data plane that drains and starts.
const TIME: Duration = Duration::from_secs(320);
/// The same for a reader of metrics.
const METRICS_TIME: Duration = Duration::from_secs(60);
/// Bytes and fields of a head.
const HEAD_BYTES: usize = 16 << 10;
const HEAD_FIELDS: usize = 64;

/// Marks a connection as a stream, which has no end of its own.
#[derive(Clone, Default)]
pub(super) struct Streams(Arc<AtomicBool>);

impl Streams {
    pub(super) fn mark(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// All sockets.
pub struct Server {
    engine: Arc<Engine>,
    app: Router,
    unix: Option<(PathBuf, UnixListener)>,
    tcp: Option<(SocketAddr, TcpListener)>,
    unix_slots: Arc<Semaphore>,
    tcp_slots: Arc<Semaphore>,
    /// What could not be opened.
    fault: Option<String>,
}

impl Server {
    /// One that serves this engine. `more` are paths of others, such as metrics; they too are only for those who may look.
    pub fn new(engine: Arc<Engine>, tcp_writes: bool, more: Router) -> Self {
        let app = App::new(Arc::clone(&engine), tcp_writes);
        let router = operations::router().with_state(app.clone()).merge(more);
        let router = router
            .fallback(|| async {
                respond(Err(fail(Code::NotFound, "there is no such path", "GET /v1/openapi.json lists them")))
            })
            .method_not_allowed_fallback(|| async {
                respond(Err(fail(Code::MethodNotAllowed, "not with this method", "GET /v1/openapi.json lists them")))
            })
            .layer(middleware::from_fn_with_state(app, gate));
        let slots = || Arc::new(Semaphore::new(CONNECTIONS));
        Self { engine, app: router, unix: None, tcp: None, unix_slots: slots(), tcp_slots: slots(), fault: None }
    }

    /// Opens the sockets that the configuration wants, and closes others. What cannot be opened is logged, once for as long as it stays so, and tried
    /// again by [`Self::run`]; without any Unix socket there is one beside the data plane's meanwhile.
    pub async fn bind(&mut self) {
        let (socket, tcp) = sockets(&self.engine.state(), &self.engine.settings.run_dir);
        let mut faults = Vec::new();
        if self.unix.as_ref().is_none_or(|(path, _)| *path != socket)
            && let Err(error) = self.open_unix(&socket).await
        {
            faults.push(format!("the admin socket {} cannot be opened: {error}", socket.display()));
            let instead = self.engine.settings.run_dir.join("admin.sock");
            if self.unix.is_none() && instead != socket {
                let opened = self.open_unix(&instead).await;
                faults.extend(opened.err().map(|error| format!("{}: {error}", instead.display())));
            }
            faults.extend(self.unix.as_ref().map(|(path, _)| format!("{} is used", path.display())));
        }
        if self.tcp.as_ref().map(|(address, _)| *address) != tcp {
            self.tcp = None;
        }
        if let Some(address) = tcp.filter(|_| self.tcp.is_none()) {
            match TcpListener::bind(address).await {
                Ok(listener) => {
                    self.tcp = Some((address, listener));
                    tracing::info!(%address, ready = READYZ, "admin API over TCP");
                }
                Err(error) => faults.push(format!("admin.tcp: {address} cannot be listened at: {error}")),
            }
        }
        let fault = (!faults.is_empty()).then(|| faults.join("; "));
        if let Some(fault) = fault.as_ref().filter(|fault| self.fault.as_ref() != Some(fault)) {
            tracing::error!("{fault}; it is tried again every {} s", RETRY.as_secs());
        }
        self.fault = fault;
    }

    async fn open_unix(&mut self, path: &Path) -> io::Result<()> {
        let listener = bind_unix(path).await?;
        if let Some((old, _)) = self.unix.replace((path.to_owned(), listener)) {
            _ = fs::remove_file(old);
        }
        tracing::info!(socket = %path.display(), "admin API");
        Ok(())
    }

    /// Serves for ever.
    pub async fn run(mut self) {
        let mut state = self.engine.watch();
        loop {
            let wanted = sockets(&state.borrow_and_update(), &self.engine.settings.run_dir);
            let is_other = |state: &State| sockets(state, &self.engine.settings.run_dir) != wanted;
            tokio::select! {
                (slot, accepted) = within(&self.unix_slots, accept_unix(self.unix.as_ref())) => match accepted {
                    Ok((stream, peer)) => self.serve(stream, peer, slot),
                    Err(error) => refused(&error).await,
                },
                (slot, accepted) = within(&self.tcp_slots, accept_tcp(self.tcp.as_ref())) => match accepted {
                    Ok((stream, peer)) => self.serve(stream, peer, slot),
                    Err(error) => refused(&error).await,
                },
                () = until(&mut state, is_other) => self.bind().await,
                () = sleep(RETRY), if self.fault.is_some() => self.bind().await,
            }
        }
    }

    fn serve<S>(&self, stream: S, peer: Peer, slot: OwnedSemaphorePermit)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let app = TowerToHyperService::new(self.app.clone());
        tokio::spawn(async move {
            converse(stream, peer, app, TIME).await;
            drop(slot);
        });
    }
}

/// Accepts when there is a slot for it.
async fn within<T>(slots: &Arc<Semaphore>, accept: impl Future<Output = T>) -> (OwnedSemaphorePermit, T) {
    let slot = Arc::clone(slots).acquire_owned().await.expect("nobody closes it");
    (slot, accept.await)
}

/// One request, and its answer.
async fn converse<S>(stream: S, peer: Peer, app: TowerToHyperService<Router>, time: Duration)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let streams = Streams::default();
    let mark = streams.clone();
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        request.extensions_mut().insert(mark.clone());
        app.call(request.map(Body::new))
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).keep_alive(false);
    http.max_buf_size(HEAD_BYTES).max_headers(HEAD_FIELDS);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    loop {
        tokio::select! {
            // What goes wrong here is the peer's fault, or its wish.
            _ = &mut connection => return,
            () = sleep(time) => if !streams.0.load(Ordering::Relaxed) { return },
        }
    }
}

async fn until(state: &mut watch::Receiver<State>, condition: impl Fn(&State) -> bool) {
    _ = state.wait_for(condition).await;
}

/// Serves metrics where the configuration wants them, besides the admin API; for ever. Whoever reaches that address may read them.
pub async fn serve_metrics(engine: Arc<Engine>, metrics: Router) {
    let mut state = engine.watch();
    let slots = Arc::new(Semaphore::new(READERS));
    let mut is_told = false;
    let address_of = |state: &State| state.control().and_then(|control| control.metrics.address);
    loop {
        let address = address_of(&state.borrow_and_update());
        let mut listener = None;
        if let Some(address) = address {
            match TcpListener::bind(address).await {
                Ok(bound) => listener = Some((address, bound)),
                Err(error) if is_told => tracing::debug!(%error, "metrics still cannot be served at {address}"),
                Err(error) => {
                    let again = RETRY.as_secs();
                    tracing::error!(%error, "metrics cannot be served at {address}; it is tried again every {again} s");
                }
            }
        }
        is_told = address.is_some() && listener.is_none();
        loop {
            tokio::select! {
                (slot, accepted) = within(&slots, accept_tcp(listener.as_ref())) => match accepted {
                    Ok((stream, peer)) => {
                        let app = TowerToHyperService::new(metrics.clone());
                        tokio::spawn(async move {
                            converse(stream, peer, app, METRICS_TIME).await;
                            drop(slot);
                        });
                    }
                    Err(error) => refused(&error).await,
                },
                () = until(&mut state, |state| address_of(state) != address) => {
                    is_told = false;
                    break;
                }
                () = sleep(RETRY), if is_told => break,
            }
        }
    }
}

/// Whether what a configuration wants anew can be opened, found out by doing it for a moment.
///
/// # Errors
/// What cannot, and why.
pub async fn check_openable(new: &Control, old: &Control, settings: &Settings) -> Result<(), String> {
    let (admin, socket) = (&new.admin, &new.admin.socket);
    // The one beside the data plane's is open while there is no other.
    if *socket != old.admin.socket && *socket != settings.run_dir.join("admin.sock") {
        let error = |error: io::Error| format!("admin.socket: {} cannot be opened: {error}", socket.display());
        if socket.is_dir() {
            return Err(error(io::ErrorKind::IsADirectory.into()));
        }
        let (unready, _listener) = bind_unready(socket).await.map_err(error)?;
        _ = fs::remove_file(unready);
    }
    // What this daemon holds itself is free once the change is in force.
    let held: Vec<u16> = [old.admin.tcp, old.metrics.address].into_iter().flatten().map(|it| it.port()).collect();
    for (field, address) in [("admin.tcp", admin.tcp), ("metrics.prometheus.address", new.metrics.address)] {
        if let Some(address) = address.filter(|it| it.port() == 0 || !held.contains(&it.port())) {
            let bound = TcpListener::bind(address).await;
            bound.map_err(|error| format!("{field}: {address} cannot be listened at: {error}"))?;
        }
    }
    if admin.audit != old.admin.audit {
        let path = audit_path(admin, &settings.state_dir);
        let opened =
            tokio::task::spawn_blocking(move || Audit::open(&path).map_err(|e| format!("{}: {e}", path.display())));
        let opened = opened.await.map_err(|error| error.to_string())?;
        opened.map_err(|error| format!("admin.audit: {error}"))?;
    }
    Ok(())
}

/// Where it listens by what is in force. While nothing is, beside the data plane's socket.
fn sockets(state: &State, run_dir: &Path) -> (PathBuf, Option<SocketAddr>) {
    match &state.revision {
        Some(revision) => {
            let Admin { socket, tcp, .. } = &revision.body.control.admin;
            (socket.clone(), *tcp)
        }
        None => (run_dir.join("admin.sock"), None),
    }
}

async fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let (unready, listener) = bind_unready(path).await?;
    fs::rename(&unready, path)?;
    Ok(listener)
}

/// Under another name first, until its mode is right.
async fn bind_unready(path: &Path) -> io::Result<(PathBuf, UnixListener)> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    if fs::symlink_metadata(path).is_ok_and(|it| !it.file_type().is_socket()) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something that is no socket stands there"));
    }
    if tokio::net::UnixStream::connect(path).await.is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"));
    }
    let mut unready = path.as_os_str().to_owned();
    unready.push(format!(".{}", std::process::id()));
    let unready = PathBuf::from(unready);
    _ = fs::remove_file(&unready);
    let listener = UnixListener::bind(&unready)?;
    fs::set_permissions(&unready, fs::Permissions::from_mode(0o660))?;
    Ok((unready, listener))
}

async fn accept_unix(listener: Option<&(PathBuf, UnixListener)>) -> io::Result<(tokio::net::UnixStream, Peer)> {
    let Some((_, listener)) = listener else { return std::future::pending().await };
    let (stream, _) = listener.accept().await?;
    let peer = stream.peer_cred()?;
    Ok((stream, Peer::Process { uid: peer.uid(), pid: peer.pid() }))
}

async fn accept_tcp(listener: Option<&(SocketAddr, TcpListener)>) -> io::Result<(tokio::net::TcpStream, Peer)> {
    let Some((_, listener)) = listener else { return std::future::pending().await };
    let (stream, address) = listener.accept().await?;
    Ok((stream, Peer::Remote(address)))
}

/// Out of descriptors, perhaps: a moment later there may be some.
async fn refused(error: &io::Error) {
    tracing::warn!(%error, "a connection to the admin API is not taken");
    sleep(Duration::from_millis(100)).await;
}
