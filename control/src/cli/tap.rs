//! `tap`: exchanges as they end.

use super::{
    Outcome,
    console::{Console, Exit, Failure, Format},
    daemon::{At, Daemon},
    human::{bytes, micros},
    style::{Style, Tone},
};
use crate::admin::api::{self, Exchange, TapLine, TapQuery};
use clap::Args;
use std::io;

/// Show requests as they end, until Ctrl-C
///
/// Paths come without their query, and without segments that look like secrets; no header fields
/// and no content are shown. At most --rate exchanges a second are told, others are counted; when
/// nobody watches, it costs nothing.
#[derive(Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  weirgate tap --route shop
  weirgate tap --status-min 500 --limit 10
  weirgate tap --path /cart --method POST -o json | jq .totalUs     # a line of JSON for each"
)]
pub(super) struct Tap {
    /// Of this route only
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// To this backend only
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// With at least this status
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(100..600))]
    status_min: Option<u16>,
    /// With this method only
    #[arg(long, value_name = "METHOD")]
    method: Option<String>,
    /// To this host only
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// With a path that begins so
    #[arg(long, value_name = "PREFIX")]
    path: Option<String>,
    /// At most so many in a second; others are counted
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000)]
    rate: u32,
    /// End after so many
    #[arg(long, value_name = "NUMBER")]
    limit: Option<u64>,
    #[command(flatten)]
    at: At,
    /// How to show them: json is a line for each, yaml a document for each
    #[arg(short = 'o', long = "output", value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
}

impl Tap {
    pub(super) fn run(&self, console: &mut Console<'_>) -> Outcome {
        Daemon::block_on(async {
            tokio::select! {
                outcome = self.watch(console) => outcome,
                // How it is meant to end.
                _ = tokio::signal::ctrl_c() => Ok(Exit::Done),
            }
        })
    }

    async fn watch(&self, console: &mut Console<'_>) -> Outcome {
        let query = TapQuery {
            route: self.route.clone(),
            backend: self.backend.clone(),
            status_min: self.status_min,
            method: self.method.clone(),
            host: self.host.clone(),
            path: self.path.clone(),
            per_second: Some(self.rate),
        };
        let mut lines = self.at.client().stream::<TapLine>(api::TAP, &query).await?;
        let mut left = self.limit.unwrap_or(u64::MAX);
        while left > 0 {
            match lines.next().await? {
                Some(TapLine::Exchange(exchange)) => {
                    self.show(console, &exchange)?;
                    left -= 1;
                }
                Some(TapLine::Missed { count }) => {
                    console.warn(&format!("{count} more ended than could be told: narrow it down, or raise --rate"))?;
                }
                Some(TapLine::End { reason }) => {
                    return Err(Failure::new(Exit::Unreachable, format!("the stream has ended: {reason}")));
                }
                None => {
                    return Err(Failure::new(Exit::Unreachable, "the daemon has closed the stream")
                        .next("is it still running? journalctl -u weirgate"));
                }
            }
        }
        Ok(Exit::Done)
    }

    fn show(&self, console: &mut Console<'_>, exchange: &Exchange) -> io::Result<()> {
        match self.format {
            Format::Table => console.line(line(exchange, console.style))?,
            Format::Json => console.line(serde_json::to_string(exchange)?)?,
            Format::Yaml => {
                console.line("---")?;
                console.data(Format::Yaml, exchange)?;
            }
        }
        console.flush()
    }
}

/// `14:03:05.123  10.77.0.2  GET shop.example.com/cart/7  200  1.2ms  http shop/cart -> cart-v1 10.77.0.11:8080`
fn line(it: &Exchange, style: Style) -> String {
    let time = it.at.split_once('T').map_or(it.at.as_str(), |(_, time)| time.trim_end_matches('Z'));
    let tone = match it.status {
        200..400 => Tone::Good,
        400..500 => Tone::Doubtful,
        _ => Tone::Bad,
    };
    let status = if it.status == 0 { "---".to_owned() } else { it.status.to_string() };
    let rule = match (&it.route, &it.rule) {
        (Some(route), Some(rule)) => format!(" {route}/{rule}"),
        (Some(route), None) => format!(" {route}"),
        _ => String::new(),
    };
    let to = match (&it.backend, &it.endpoint) {
        (Some(backend), Some(endpoint)) => format!(" -> {backend} {endpoint}"),
        (Some(backend), None) => format!(" -> {backend}"),
        _ => String::new(),
    };
    let tries = if it.attempts > 1 { format!(" after {} tries", it.attempts) } else { String::new() };
    format!(
        "{}  {}  {} {}{}  {}  {}  {}/{}  {}{rule}{to}{tries}  {}",
        style.paint(Tone::Faint, time),
        it.client,
        it.method,
        it.host,
        it.path,
        style.paint(tone, &status),
        micros(it.total_us),
        bytes(it.request_bytes),
        bytes(it.response_bytes),
        it.listener,
        it.ended,
    )
}
