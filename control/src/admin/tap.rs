//! Exchanges as a stream of lines. Each stream has a link of its own to the data plane, with its own filter: while nobody watches, the data plane tells
//! nothing, and one who reads slowly holds nobody up.

use super::{
    api::{Code, ErrorBody, Exchange, TapLine, TapQuery},
    operations::{App, Outcome, lines, query},
    server::Streams,
};
use crate::daemon::{
    clock,
    engine::fail,
    link::{Link, LinkError},
};
use axum::{
    body::{Body, Bytes},
    extract::Request,
};
use hyper::body::Frame;
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::timeout,
};
use weirgate_dataplane::{
    limits::TAPS_MAX,
    link::{
        SOCKET,
        message::{Ask, Event, ExchangeRecord, Refusal, TapFilter},
    },
};

/// Lines that wait for a slow reader; others are counted.
const WAITING: usize = 256;
/// A reader that takes nothing for so long is gone.
const PATIENCE: Duration = Duration::from_secs(30);
/// Exchanges in a second, unless somebody says otherwise, and at most.
const PER_SECOND: u32 = 1_000;
const PER_SECOND_MAX: u32 = 10_000;

pub(super) async fn tap(app: App, request: Request) -> Outcome {
    let TapQuery { route, backend, status_min, method, host, path, per_second } = query(&request)?;
    let per_second = Some(per_second.unwrap_or(PER_SECOND).clamp(1, PER_SECOND_MAX));
    let too_many = |_| {
        let message = format!("there are {TAPS_MAX} taps already, which is as many as there may be");
        fail(Code::TooMany, message, "end one of them (weirgate tap)")
    };
    let slot = app.taps.clone().try_acquire_owned().map_err(too_many)?;
    let (link, events) = Link::connect(&app.engine.settings.run_dir.join(SOCKET)).await?;
    let filter = TapFilter { route, backend, status_min, method, host, path: path.clone(), per_second };
    link.ask(Ask::Tap { filter }).await.map_err(refused)?;
    if let Some(streams) = request.extensions().get::<Streams>() {
        streams.mark();
    }
    let (sender, receiver) = mpsc::channel(WAITING);
    tokio::spawn(pump(link, events, sender, path.unwrap_or_default(), slot));
    Ok(lines(Body::new(Chunks(receiver))))
}

/// Why the data plane does not begin a stream.
pub(super) fn refused(error: LinkError) -> ErrorBody {
    match &error {
        LinkError::Refused(Refusal::TooMany { .. }) => {
            fail(Code::TooMany, error.to_string(), "end one of them (weirgate tap, weirgate pcap)")
        }
        LinkError::Refused(Refusal::Unsound { reason }) => fail(Code::BadRequest, reason.clone(), ""),
        _ => error.into(),
    }
}

/// Until the reader or the data plane goes. A path that begins with `prefix` only before secrets are left out is not told: that would say what they are.
async fn pump(
    link: Link,
    mut events: mpsc::Receiver<Event>,
    to: mpsc::Sender<Bytes>,
    prefix: String,
    _slot: OwnedSemaphorePermit,
) {
    let mut missed = 0;
    loop {
        let event = tokio::select! {
            // What was told before the end comes before it.
            biased;
            () = to.closed() => break,
            Some(event) = events.recv() => event,
            why = link.broken() => {
                _ = timeout(PATIENCE, to.send(line(&TapLine::End { reason: why }))).await;
                return;
            }
        };
        match event {
            Event::Exchange(record) => {
                let exchange = exchange(*record);
                if !exchange.path.starts_with(&prefix) {
                    continue;
                }
                if missed > 0 && to.try_send(line(&TapLine::Missed { count: missed })).is_ok() {
                    missed = 0;
                }
                match to.try_send(line(&TapLine::Exchange(Box::new(exchange)))) {
                    Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
                    Err(mpsc::error::TrySendError::Full(_)) => {
                        missed += 1;
                        // The link's own queue fills meanwhile, and then the data plane counts what it leaves out.
                        match timeout(PATIENCE, to.reserve()).await {
                            Ok(Ok(_)) => {}
                            Ok(Err(_)) | Err(_) => break,
                        }
                    }
                }
            }
            Event::Missed { count } => missed += count,
            Event::Health { .. } | Event::Frame(_) | Event::CaptureEnd { .. } => {}
        }
    }
    // Nobody takes events any more, so that the answer is not behind them.
    drop(events);
    _ = link.ask(Ask::Untap).await;
}

fn line(line: &TapLine) -> Bytes {
    let mut line = serde_json::to_vec(line).expect("string keys only");
    line.push(b'\n');
    line.into()
}

/// A body that comes in time.
pub(super) struct Chunks(pub(super) mpsc::Receiver<Bytes>);

impl hyper::body::Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}

fn exchange(it: ExchangeRecord) -> Exchange {
    Exchange {
        at: clock::rfc3339(it.at_us / 1_000),
        client: it.client.to_string(),
        listener: it.listener,
        route: it.route,
        rule: it.rule,
        backend: it.backend,
        endpoint: it.endpoint.map(|it| it.to_string()),
        method: it.method,
        // Credentials before an @ are no part of a host.
        host: it.host.rsplit('@').next().unwrap_or_default().to_owned(),
        path: redacted(&it.path),
        status: it.status,
        ended: it.ended,
        request_bytes: it.request_bytes,
        response_bytes: it.response_bytes,
        attempts: it.attempts,
        first_byte_us: it.first_byte_us,
        total_us: it.total_us,
    }
}

/// Steps of a path after which a secret stands.
const BEFORE_SECRETS: [&str; 11] =
    ["token", "tokens", "secret", "secrets", "password", "passwd", "reset", "invite", "apikey", "api-key", "session"];
/// Letters and digits, mixed, of this length are more likely a secret than a name.
const SECRET_LEN: usize = 24;

/// A path without its query, and without steps that look like secrets.
fn redacted(path: &str) -> String {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let mut last = "";
    let mut steps = Vec::new();
    for step in path.split('/') {
        let after = BEFORE_SECRETS.iter().any(|word| last.eq_ignore_ascii_case(word));
        steps.push(if !step.is_empty() && (after || is_random(step)) { "[redacted]" } else { step });
        last = step;
    }
    steps.join("/")
}

fn is_random(step: &str) -> bool {
    // A UUID names something; it does not open it.
    let is_uuid = step.len() == 36 && step.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    let is_token = step.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.=~+%".contains(&b));
    let digits = step.bytes().filter(u8::is_ascii_digit).count();
    let letters = step.bytes().filter(u8::is_ascii_alphabetic).count();
    let is_mixed = digits >= 3 && letters >= 3 && !step.contains("--");
    step.starts_with("eyJ") && step.len() >= SECRET_LEN || is_token && !is_uuid && is_mixed && step.len() >= SECRET_LEN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_paths_are_left_out() {
        for (path, wanted) in [
            ("/cart/7?token=abc", "/cart/7"),
            ("/reset/abc/x", "/reset/[redacted]/x"),
            ("/v1/Token/1", "/v1/Token/[redacted]"),
            ("/a/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc", "/a/[redacted]"),
            ("/hook/T0001B0002xXyYzZ9988776655/", "/hook/[redacted]/"),
            ("/objects/123e4567-e89b-12d3-a456-426614174000", "/objects/123e4567-e89b-12d3-a456-426614174000"),
            ("/an-article-with-a-long-name-of-words", "/an-article-with-a-long-name-of-words"),
            ("/", "/"),
            ("*", "*"),
            ("", ""),
        ] {
            assert_eq!(redacted(path), wanted);
        }
    }
}
