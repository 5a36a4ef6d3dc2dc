//! `GET /metrics`.

use super::{Format, Input, encode};
use crate::config::Metrics;
use axum::{
    Router,
    extract::State,
    http::{
        HeaderMap,
        header::{ACCEPT, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use std::{future::Future, pin::Pin, sync::Arc};

/// Gathers what is told, when it is asked for, with the options that are in force.
pub type Gather = dyn Fn() -> Pin<Box<dyn Future<Output = (Input, Metrics)> + Send>> + Send + Sync;

/// A router of `GET /metrics` alone.
pub fn router<F>(gather: impl Fn() -> F + Send + Sync + 'static) -> Router
where
    F: Future<Output = (Input, Metrics)> + Send + 'static,
{
    let gather: Arc<Gather> = Arc::new(move || Box::pin(gather()));
    Router::new().route("/metrics", get(metrics)).with_state(gather)
}

async fn metrics(State(gather): State<Arc<Gather>>, fields: HeaderMap) -> Response {
    let (input, options) = gather().await;
    response(&fields, &input, &options)
}

/// The answer, in the format that the client likes best.
pub fn response(fields: &HeaderMap, input: &Input, options: &Metrics) -> Response {
    let accept: Vec<_> = fields.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let format = Format::wanted(Some(&accept.join(",")));
    ([(CONTENT_TYPE, format.content_type())], encode(input, options, format)).into_response()
}
