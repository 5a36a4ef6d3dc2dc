//! Every path of the admin API: one table, of which both the router and the description are made, so that neither knows a path that the other does not.

use super::{
    api::{self, Applied, ApplyRequest, Code, ErrorBody},
    gate::{Peer, Refusals},
    openapi, pcap, tap,
};
use crate::daemon::{
    certificates, difference,
    engine::{Engine, aside, compile, fail},
    view::{self, Kind},
};
use axum::{
    RequestExt, Router,
    body::{Body, to_bytes},
    extract::{Path, Query, Request, State},
    http::{Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{MethodFilter, on},
};
use schemars::{JsonSchema, SchemaGenerator};
use serde::{Serialize, de::DeserializeOwned};
use std::{pin::Pin, sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use weirgate_dataplane::limits::{CAPTURES_MAX, TAPS_MAX};

/// Content of requests that hold a configuration: 100,000 routes have some thirty million bytes.
const CONFIGURATION_BYTES: usize = 64 << 20;
/// Of them at a time, sent, compared or shown.
const CONFIGURATIONS: usize = 4;
/// Content of all other requests.
pub(super) const CONTENT_BYTES: usize = 64 << 10;
/// Content of more is read where that stops nobody else: the daemon has one thread.
const SMALL_BYTES: usize = 16 << 10;
/// For all of a request's content.
const CONTENT_TIME: Duration = Duration::from_secs(30);

/// What operations work with.
#[derive(Clone)]
pub struct App {
    pub(super) engine: Arc<Engine>,
    pub(super) tcp_writes: bool,
    pub(super) refusals: Arc<Refusals>,
    pub(super) taps: Arc<Semaphore>,
    pub(super) captures: Arc<Semaphore>,
    configurations: Arc<Semaphore>,
}

impl App {
    pub(super) fn new(engine: Arc<Engine>, tcp_writes: bool) -> Self {
        let slots = |number| Arc::new(Semaphore::new(number));
        let (taps, captures, configurations) = (slots(TAPS_MAX), slots(CAPTURES_MAX), slots(CONFIGURATIONS));
        Self { engine, tcp_writes, refusals: Arc::default(), taps, captures, configurations }
    }

    /// Whole configurations take memory, and whoever may only look may ask for them too.
    fn configuration_slot(&self) -> Result<OwnedSemaphorePermit, ErrorBody> {
        let busy = |_| {
            let error = "too many configurations are being sent or compared at a time";
            fail(Code::TooMany, error, "try again in a moment")
        };
        Arc::clone(&self.configurations).try_acquire_owned().map_err(busy)
    }
}

/// What comes of an operation.
pub(super) type Outcome = Result<Response, ErrorBody>;
type Work = Pin<Box<dyn Future<Output = Outcome> + Send>>;
type SchemaOf = fn(&mut SchemaGenerator) -> schemars::Schema;

/// One method of one path.
pub struct Operation {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    pub(super) query: Option<SchemaOf>,
    pub(super) body: Option<SchemaOf>,
    /// `None`: plain text.
    pub(super) response: Option<SchemaOf>,
    /// The response's kind, where it is neither JSON nor plain text.
    pub(super) kind: Option<&'static str>,
    run: fn(App, Request) -> Work,
}

fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> schemars::Schema {
    generator.subschema_for::<T>()
}

/// One row, short enough that a table is one.
macro_rules! operation {
    ($method:ident $path:path, $summary:literal $(, query $query:ty)? $(, body $body:ty)? $(, gives $response:ty)? => $run:expr) => {
        Operation {
            method: Method::$method,
            path: $path,
            summary: $summary,
            query: operation!(@ $($query)?),
            body: operation!(@ $($body)?),
            response: operation!(@ $($response)?),
            kind: None,
            run: |app, request| Box::pin($run(app, request)),
        }
    };
    (@) => { None };
    (@ $type:ty) => { Some(schema::<$type>) };
}

/// All of them.
pub fn operations() -> Vec<Operation> {
    let mut all = vec![
        operation!(GET api::HEALTHZ, "Whether the daemon lives" => healthz),
        operation!(GET api::READYZ, "Whether requests should come here" => readyz),
        operation!(GET api::METRICS, "Metrics in Prometheus' text format" => elsewhere),
        operation!(GET api::OPENAPI, "This description", gives serde_json::Value => description),
        operation!(GET api::STATUS, "How the daemon is", gives api::Status => status),
        operation!(POST api::APPLY, "Put a configuration in force", body ApplyRequest, gives Applied => apply),
        operation!(POST api::CONFIRM, "Keep a change that would go back by itself", body api::ConfirmRequest, gives Applied => confirm),
        operation!(POST api::ROLLBACK, "Put an older revision in force again", body api::RollbackRequest, gives Applied => rollback),
        operation!(GET api::DIFF, "Compare revisions", query api::DiffQuery, gives api::Difference => diff),
        operation!(POST api::DIFF, "Compare files with a revision", body api::DiffRequest, gives api::Difference => diff_files),
        operation!(GET api::REVISIONS, "The history", query api::HistoryQuery, gives api::History => history),
        operation!(GET api::REVISION, "A revision with its content", gives api::RevisionDetails => revision),
        operation!(GET api::LISTENERS, "All listeners", gives api::Listeners => listeners),
        operation!(GET api::LISTENER, "A listener", gives api::Described => listener),
        operation!(GET api::ROUTES, "All routes", gives api::Routes => routes),
        operation!(GET api::ROUTE, "A route", gives api::Described => route),
        operation!(GET api::BACKENDS, "All backends", gives api::Backends => backends),
        operation!(GET api::BACKEND, "A backend", gives api::Described => backend),
        operation!(GET api::CERTIFICATES, "Certificates and authorities, and until when they hold", gives api::Certificates => certificates),
        operation!(GET api::ENDPOINTS, "Endpoints and how they are", query api::EndpointsQuery, gives api::Endpoints => endpoints),
        operation!(POST api::DRAIN_ENDPOINT, "Take an endpoint out, or put it back", body api::DrainEndpointRequest, gives api::Done => drain_endpoint),
        operation!(POST api::DRAIN, "Drain the gateway, or no longer", body api::DrainRequest, gives api::Done => drain),
        operation!(POST api::EXPLAIN, "What becomes of a request, and why", body api::ExplainRequest, gives api::Explained => explain),
        operation!(GET api::CONNECTIONS, "Connections that are open", query api::ConnectionsQuery, gives api::Connections => connections),
        operation!(GET api::METERS, "What has been served", gives api::Meters => meters),
        operation!(GET api::COUNTERS, "The data plane's counters", gives api::Counters => counters),
        operation!(GET api::TAP, "Exchanges as they end, a line each", query api::TapQuery, gives api::TapLine => tap::tap),
        operation!(POST api::PCAP, "Frames as they pass, as a capture in pcapng", body api::CaptureRequest => pcap::pcap),
        operation!(GET api::LOG, "How much is logged", gives api::LogLevel => log),
        operation!(PUT api::LOG, "Log more or less", body api::LogLevel, gives api::Done => set_log),
    ];
    for (path, kind) in [(api::TAP, LINES), (api::PCAP, pcap::KIND)] {
        all.iter_mut().filter(|it| it.path == path).for_each(|it| it.kind = Some(kind));
    }
    all
}

pub(super) fn router() -> Router<App> {
    let own = operations().into_iter().filter(|it| it.path != api::METRICS);
    own.fold(Router::new(), |router, Operation { method, path, run, .. }| {
        let filter = MethodFilter::try_from(method).expect("one of the usual methods");
        let handle = move |State(app): State<App>, request: Request| async move { respond(run(app, request).await) };
        router.route(path, on(filter, handle))
    })
}

/// An outcome as a response.
pub(super) fn respond(outcome: Outcome) -> Response {
    let error = match outcome {
        Ok(response) => return response,
        Err(error) => error,
    };
    let status = StatusCode::from_u16(error.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json_of(&error);
    *response.status_mut() = status;
    response
}

fn json_of(value: &impl Serialize) -> Response {
    let content = serde_json::to_vec(value).expect("string keys only");
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], content).into_response()
}

fn json<T: Serialize>(value: Result<T, ErrorBody>) -> Outcome {
    value.map(|value| json_of(&value))
}

/// The content of a request as one of the API's types. What it says is somebody's word: it never panics.
///
/// # Errors
/// What cannot be read, and where.
pub fn parse<T: DeserializeOwned>(content: &[u8]) -> Result<T, ErrorBody> {
    serde_json::from_slice(content).map_err(|error| {
        fail(Code::BadRequest, format!("the request cannot be read: {error}"), "GET /v1/openapi.json describes it")
    })
}

pub(super) async fn content<T: DeserializeOwned + Send + 'static>(
    request: Request,
    bytes_max: usize,
) -> Result<T, ErrorBody> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    // Also because a web page cannot send this without being asked first whether it may.
    if kind.split(';').next().is_none_or(|kind| !kind.trim().eq_ignore_ascii_case("application/json")) {
        return Err(fail(Code::BadRequest, "content must be application/json", "send Content-Type: application/json"));
    }
    let too_large = || fail(Code::TooLarge, format!("content of more than {bytes_max} bytes"), "");
    let said = request.headers().get(header::CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse::<u64>().ok());
    if said.is_some_and(|len| len > bytes_max as u64) {
        return Err(too_large());
    }
    let read = timeout(CONTENT_TIME, to_bytes(request.into_body(), bytes_max)).await;
    let read = read.map_err(|_| {
        fail(Code::Timeout, format!("the content did not come within {} s", CONTENT_TIME.as_secs()), "")
    })?;
    let content = read.map_err(|error| {
        let is_long = std::error::Error::source(&error)
            .is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>);
        if is_long { too_large() } else { fail(Code::BadRequest, format!("the content broke off: {error}"), "") }
    })?;
    if content.len() <= SMALL_BYTES {
        return parse(&content);
    }
    aside(move || parse(&content)).await?
}

/// The same for content that holds a configuration.
/// The slot is held until all is done with it: the compiler takes more than the reader does.
async fn configuration<T: DeserializeOwned + Send + 'static>(
    app: &App,
    request: Request,
) -> Result<(T, OwnedSemaphorePermit), ErrorBody> {
    let slot = app.configuration_slot()?;
    Ok((content(request, CONFIGURATION_BYTES).await?, slot))
}

pub(super) fn query<T: DeserializeOwned>(request: &Request) -> Result<T, ErrorBody> {
    match Query::try_from_uri(request.uri()) {
        Ok(Query(query)) => Ok(query),
        Err(error) => Err(fail(Code::BadRequest, error.body_text(), "GET /v1/openapi.json describes it")),
    }
}

async fn name(request: &mut Request) -> Result<String, ErrorBody> {
    let name = request.extract_parts::<Path<String>>().await;
    name.map(|Path(name)| name).map_err(|error| fail(Code::BadRequest, error.body_text(), ""))
}

pub(super) fn peer(request: &Request) -> Peer {
    request.extensions().get::<Peer>().expect("the gate has seen it").clone()
}

/// The revision that `If-Match` names, which must be the one that the content names, if both do.
fn base(request: &Request) -> Result<Option<u64>, ErrorBody> {
    let Some(field) = request.headers().get(header::IF_MATCH) else { return Ok(None) };
    let number = field.to_str().ok().and_then(|text| text.trim().trim_matches('"').parse().ok());
    let bad = || fail(Code::BadRequest, "If-Match does not name a revision", "write If-Match: \"12\"");
    number.map(Some).ok_or_else(bad)
}

fn both(field: Option<u64>, content: Option<u64>) -> Result<Option<u64>, ErrorBody> {
    match (field, content) {
        (Some(a), Some(b)) if a != b => {
            Err(fail(Code::BadRequest, format!("If-Match names revision {a}, and base revision {b}"), ""))
        }
        _ => Ok(field.or(content)),
    }
}

/// What others serve is described with the rest.
async fn elsewhere(_: App, _: Request) -> Outcome {
    Err(fail(Code::NotFound, "this is served elsewhere", ""))
}

async fn healthz(_: App, _: Request) -> Outcome {
    Ok("ok\n".into_response())
}

async fn readyz(app: App, _: Request) -> Outcome {
    match app.engine.state().not_ready() {
        None => Ok("ready\n".into_response()),
        Some(why) => Err(fail(Code::NotReady, why, "GET /v1/status says more")),
    }
}

async fn description(_: App, _: Request) -> Outcome {
    Ok(json_of(&openapi::description(&operations())))
}

async fn status(app: App, _: Request) -> Outcome {
    Ok(json_of(&view::status(&app.engine.state())))
}

async fn apply(app: App, request: Request) -> Outcome {
    let (who, field) = (peer(&request).who(), base(&request)?);
    let (mut apply, _slot): (ApplyRequest, _) = configuration(&app, request).await?;
    apply.how.base = both(field, apply.how.base)?;
    json(app.engine.apply(&who, apply).await)
}

async fn confirm(app: App, request: Request) -> Outcome {
    let who = peer(&request).who();
    json(app.engine.confirm(&who, content(request, CONTENT_BYTES).await?).await)
}

async fn rollback(app: App, request: Request) -> Outcome {
    let (who, field) = (peer(&request).who(), base(&request)?);
    let mut rollback: api::RollbackRequest = content(request, CONTENT_BYTES).await?;
    rollback.how.base = both(field, rollback.how.base)?;
    json(app.engine.rollback(&who, rollback).await)
}

async fn diff(app: App, request: Request) -> Outcome {
    let api::DiffQuery { from, to } = query(&request)?;
    let slot = app.configuration_slot()?;
    let nothing = || fail(Code::NotReady, "no revision is in force", "weirgate check");
    let to = to.or(app.engine.state().number()).ok_or_else(nothing)?;
    let before = app.engine.with_store(move |store| store.heads().map(|it| it.revision).find(|&it| it < to)).await;
    let to = app.engine.revision(to).await?;
    let from = match from.or(before) {
        Some(from) => Some(app.engine.revision(from).await?),
        None => None,
    };
    aside(move || {
        let from = from.as_ref().map(|from| (from.head.revision, &from.body));
        let _slot = slot;
        json_of(&difference::between(from, (Some(to.head.revision), &to.body)))
    })
    .await
}

async fn diff_files(app: App, request: Request) -> Outcome {
    let (api::DiffRequest { files, environment, from }, _slot) = configuration(&app, request).await?;
    let new = compile(files, environment.into_iter().collect()).await?;
    let from = match from.or(app.engine.state().number()) {
        Some(from) => Some(app.engine.revision(from).await?),
        None => None,
    };
    aside(move || {
        let from = from.as_ref().map(|from| (from.head.revision, &from.body));
        json_of(&difference::between(from, (None, &new)))
    })
    .await
}

async fn history(app: App, request: Request) -> Outcome {
    let api::HistoryQuery { limit } = query(&request)?;
    let limit = limit.unwrap_or(usize::MAX);
    let revisions = app.engine.with_store(move |store| store.heads().take(limit).cloned().collect()).await;
    Ok(json_of(&api::History { current: app.engine.state().number(), revisions }))
}

async fn revision(app: App, mut request: Request) -> Outcome {
    let name = name(&mut request).await?;
    let number = if name == "current" {
        view::in_force(&app.engine.state())?.0
    } else {
        let bad = |_| fail(Code::BadRequest, format!("{name:?} is no revision"), "write a number, or current");
        name.parse().map_err(bad)?
    };
    let slot = app.configuration_slot()?;
    let revision = app.engine.revision(number).await?;
    aside(move || {
        let _slot = slot;
        let snapshot = serde_json::to_value(&revision.body.snapshot).expect("string keys only");
        let (head, files) = (revision.head.clone(), revision.body.files.clone());
        json_of(&api::RevisionDetails { head, files, snapshot })
    })
    .await
}

async fn listeners(app: App, _: Request) -> Outcome {
    json(view::listeners(&app.engine.state()))
}

async fn routes(app: App, _: Request) -> Outcome {
    let state = app.engine.state();
    aside(move || json(view::routes(&state))).await?
}

async fn backends(app: App, _: Request) -> Outcome {
    json(view::backends(&app.engine.state()).await)
}

async fn certificates(app: App, _: Request) -> Outcome {
    json(certificates::list(&app.engine).await)
}

async fn endpoints(app: App, request: Request) -> Outcome {
    let api::EndpointsQuery { backend } = query(&request)?;
    json(view::endpoints(&app.engine.state(), backend.as_deref()).await)
}

async fn describe(app: App, mut request: Request, kind: Kind) -> Outcome {
    let name = name(&mut request).await?;
    json(view::describe(&app.engine, kind, &name).await)
}

async fn listener(app: App, request: Request) -> Outcome {
    describe(app, request, Kind::Listener).await
}

async fn route(app: App, request: Request) -> Outcome {
    describe(app, request, Kind::Route).await
}

async fn backend(app: App, request: Request) -> Outcome {
    describe(app, request, Kind::Backend).await
}

async fn drain_endpoint(app: App, request: Request) -> Outcome {
    let who = peer(&request).who();
    json(app.engine.drain_endpoint(&who, content(request, CONTENT_BYTES).await?).await)
}

async fn drain(app: App, request: Request) -> Outcome {
    let who = peer(&request).who();
    let api::DrainRequest { drain } = content(request, CONTENT_BYTES).await?;
    json(app.engine.drain(&who, drain).await)
}

async fn explain(app: App, request: Request) -> Outcome {
    json(view::explain(&app.engine, content(request, CONTENT_BYTES).await?).await)
}

async fn connections(app: App, request: Request) -> Outcome {
    let api::ConnectionsQuery { limit } = query(&request)?;
    json(view::connections(&app.engine.state(), limit.unwrap_or(1_000)).await)
}

async fn meters(app: App, _: Request) -> Outcome {
    json(view::meters(&app.engine.state()).await)
}

async fn counters(app: App, _: Request) -> Outcome {
    json(view::counters(&app.engine).await)
}

async fn log(app: App, _: Request) -> Outcome {
    Ok(json_of(&api::LogLevel { filter: app.engine.logs.filter() }))
}

async fn set_log(app: App, request: Request) -> Outcome {
    let who = peer(&request).who();
    let api::LogLevel { filter } = content(request, CONTENT_BYTES).await?;
    json(app.engine.set_log(&who, &filter).await)
}

/// Lines of JSON.
const LINES: &str = "application/x-ndjson";

/// A response of lines that come in time.
pub(super) fn lines(body: Body) -> Response {
    ([(header::CONTENT_TYPE, LINES), (header::CACHE_CONTROL, "no-store")], body).into_response()
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "which thread reads is what is asked")]
mod tests {
    use super::*;
    use std::thread::{self, ThreadId};

    /// Remembers who read it.
    struct Read(ThreadId);

    impl<'de> serde::Deserialize<'de> for Read {
        fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            serde::de::IgnoredAny::deserialize(from).map(|_| Self(thread::current().id()))
        }
    }

    #[tokio::test]
    async fn large_content_is_read_where_it_stops_nobody() {
        for (bytes, is_aside) in [(10, false), (SMALL_BYTES + 10, true)] {
            let text = format!("\"{}\"", "x".repeat(bytes));
            let request =
                Request::post("/").header(header::CONTENT_TYPE, "application/json").body(text.into()).unwrap();
            let Read(thread) = content(request, CONFIGURATION_BYTES).await.unwrap();
            assert_eq!(thread != thread::current().id(), is_aside, "{bytes}");
        }
    }
}
